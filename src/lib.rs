//! Named fail points for production code: nothing when off, next to nothing when idle.
//!
//! A fail point is a place in the code at which a test can make something happen: an error, a
//! panic, a pause in which it looks at the world, a call back. The code names the place; the test
//! decides.
//!
//! ```
//! use faultpoint::{Scenario, fault_point};
//! use std::io;
//!
//! // The engine.
//! fn append(log: &mut Vec<u8>, record: &[u8]) -> io::Result<()> {
//!     log.extend(record);
//!     fault_point!("log_append_unsynced")?;
//!     Ok(())
//! }
//!
//! // Its test.
//! # if !faultpoint::has_failpoints() { return }
//! let faults = Scenario::new();
//! faults.arm("log_append_unsynced", "2*off->1*return(ENOSPC)");
//! let mut log = Vec::new();
//! assert!(append(&mut log, b"a").is_ok());
//! assert!(append(&mut log, b"b").is_ok());
//! assert_eq!(append(&mut log, b"c").unwrap_err().kind(), io::ErrorKind::StorageFull);
//! faults.finish();
//! ```
//!
//! # On and off
//!
//! The macros make sites only with the feature `failpoints`, which is off by default. Off, they are
//! no code at all (`fault_point!` is a constant `Ok(())`), this package has no dependencies, and
//! what stands at a site is still type-checked. On, a site is a `static` word: an idle pass loads
//! it and branches, whatever is armed at other points or in other scopes. Arming in an off build is
//! an error, never a test that passes because it injects nothing.
//!
//! # Scopes
//!
//! A [`Scenario`] is one test's own: tests arm the same names in one process at the same time. The
//! thread that begins it is in its scope; an engine takes [`Scope::current`] when it is opened and
//! enters it on the threads and tasks that it starts. An [`Instance`] is a scope within a
//! scenario, to tell two stores apart. What [`cfg()`] and `FAILPOINTS` arm holds for the whole
//! process, beside all scenarios: a thread asks its innermost scope first, the process last, and
//! the first that has armed the name decides alone.
//!
//! # Asynchronous code
//!
//! [`fault_point_async!`] sleeps and pauses without holding up its thread, under any executor. A
//! task that is spawned through [`Scope::wrap`] is in that scope on whatever thread it is polled;
//! one that is spawned bare is in the scope of the thread that happens to poll it.
//!
//! # What must hold
//!
//! Arming a name that no site has is an error with the nearest name. At its end a scenario fails
//! if a point it armed was never reached, or was reached but never did what was asked without
//! chance. [`catalogue()`] lists all sites in the program, [`coverage()`] says which were passed.
//!
//! # Chance
//!
//! `p%` draws from the scenario's seed: the value of `FAULTPOINT_SEED`, 0 without one, or what
//! [`Scenario::seeded`] was given. Which passes of a point fire depends on the seed, the name and
//! the number of the pass, on nothing else. A test that panics with chances armed prints its seed.
//!
//! # In the place of the `fail` crate
//!
//! `fail = { package = "faultpoint", version = "..." }` compiles what is written for `fail` 0.5:
//! the three forms of [`fail_point!`], [`cfg()`], [`cfg_callback`], [`remove`], [`list`],
//! [`FailGuard`], [`FailScenario`], [`has_failpoints`], the `failpoints` feature, the action
//! grammar, the `FAILPOINTS` variable. What differs, because it misled there:
//!
//! - A chance must be from 0 to 100, in decimal digits, and is drawn from a seed. `-1%` passed and
//!   then panicked at the site, `200%` and `NaN%` passed, and no run could be repeated.
//! - `->` and `;` may stand in an argument. Parentheses in an argument nest; one without its
//!   partner is written `\(` or `\)`, a backslash before one of these or itself `\\`.
//! - `off`, `pause` and `yield` take no argument: `pause(100)` paused for ever.
//! - [`cfg()`] says once on standard error when no site has the name.
//! - With the feature off [`cfg()`] and the guards give an error, and [`list`] is empty.
//! - A malformed `FAILPOINTS` panics in [`FailScenario::setup`] alone, and leaves nothing behind.
//! - An inner [`FailGuard`] gives back what it covered, as far as it had come, and a [`FailScenario`] may be set up within
//!   another of the same thread.
//! - The condition of the third form is evaluated only while the point is armed, or somebody
//!   [listens](listen()) to all passes.
//! - Closures are type-checked with the feature off.
//! - [`remove`], and dropping a guard, wait for a callback that is running on another thread.
//!
//! # A running process
//!
//! With the feature `control` a program can be told from outside (module `control`, or
//! `cargo faultfs points` at a shell) to list, arm, count and wait, over a Unix socket that only its owner
//! can open. Unlike [`cfg()`] it is strict about names.
//!
//! # Disks
//!
//! A fail point is a moment; what a disk does at that moment is the business of the package `faultfs`,
//! which [listens](listen()) to passes: at a point the next sync fails, the disk stops answering, the power
//! goes, or every disk is looked at that a power cut could leave there. Its module `points` says how.
//!
//! # Foreign points
//!
//! With the feature `foreign`, points of dependencies that use the `fail` crate are turned on and
//! obey the same scenarios. [`Instance::arm_foreign`](Instance) arms them for a scope, with counts,
//! waits, pauses and callbacks. An early return is what `fail` does only by itself and for the
//! whole process: [`cfg()`], [`FailGuard`] and `FAILPOINTS` arm it there, uncounted and with
//! `fail`'s own chances; a scenario refuses it. `fail` does not list its points, so they are in no
//! catalogue, and a wrong name shows when it is never reached.
//!
//! # Limits
//!
//! - Passes of an idle site are not counted, only that there was one.
//! - A name that is not a literal is in no catalogue, is looked up while anything is armed, and
//!   makes unknown names pass: any of them may be computed. They must still be reached.
//! - Without link-time collection (WebAssembly, Miri) a site is known from its first pass on.
//! - A scope reaches the threads that were given it. A thread that an engine starts without its
//!   scope sees what the process has armed, nothing else.
//! - The panic of a test lets go whoever pauses, by a panic hook that is set with the first
//!   scenario and calls the one before it. A hook that replaces it takes that away; then a pause
//!   ends with its time limit.

#![forbid(unsafe_code)]

mod action;
mod arg;
mod armed;
mod callback;
mod catalogue;
mod compat;
#[cfg(all(feature = "control-client", unix))]
pub mod control;
mod coverage;
mod draw;
mod errno;
mod error;
mod family;
#[cfg(feature = "foreign")]
mod foreign;
mod limits;
mod macros;
mod passes;
mod point;
mod scenario;
mod scope;
mod seed;
mod site;
mod suggest;
mod sweep;
mod timer;
mod unwind;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

pub use action::{Action, Actions, Chance, Task};
pub use arg::Arg;
pub use armed::Armed;
pub use callback::{Hit, Outcome};
pub use catalogue::{catalogue, check_point};
#[doc(hidden)]
pub use compat::eval;
pub use compat::{FailGuard, FailScenario, cfg, cfg_callback, has_failpoints, list, remove};
pub use coverage::{Coverage, PointCoverage, coverage};
pub use error::Error;
pub use passes::{Listening, Pass, last_passes, listen};
pub use scenario::{Instance, Scenario};
pub use scope::{Entered, Scope};
pub use site::Site;
pub use sweep::{Run, Sweep, SweepReport};
