//! Fail points and disk faults together: what a fail point of the engine does to its disk, and what a
//! record knows of the points that were passed.
//!
//! An engine names its places with the package `faultpoint`, and its tests turn on that package's feature
//! `failpoints`; `faultfs` listens, and never turns it on by itself. Without the feature nothing is
//! heard, and asking for a point is an error.
//!
//! # At a point
//!
//! [`arm`], [`freeze`] and [`cut_power`] are callbacks for a point of a scenario:
//!
//! ```
//! use faultfs::errno::EIO;
//! use faultfs::plan::on;
//! use faultfs::{FaultFs, points};
//! use faultpoint::{Scenario, fail_point};
//! use std::io::Write;
//!
//! fn append(fs: &FaultFs, record: &[u8]) -> std::io::Result<()> {
//!     let mut log = fs.create("db.log")?;
//!     log.write_all(record)?;
//!     fail_point!("log_written");
//!     log.sync_data()
//! }
//!
//! # if !faultpoint::has_failpoints() { return Ok(()) }
//! let faults = Scenario::new();
//! let fs = FaultFs::mem();
//! faults.on("log_written", points::arm(fs.injector(), on::sync().path("*.log").take(1).fail(EIO)));
//! assert_eq!(append(&fs, b"record").unwrap_err().raw_os_error(), Some(5));
//! assert_eq!(fs.trace().injected[0].points[0].as_ref(), "log_written");
//! # faults.finish();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The same as one rule of a plan, which is text too: `sync *.log after point log_written take 1 ->
//! fail EIO` ([`When::after_point`](crate::plan::When::after_point)).
//!
//! # Crashes at a point
//!
//! [`Explore::at_point`](crate::explore::Explore::at_point) recovers from the disks of the moments at
//! which a point was passed, and of no other; the run goes on after each. [`cut_power`] ends it at a pass.
//!
//! # Whose passes
//!
//! A filesystem hears the threads of the [scope](faultpoint::Scope) that it was made in, an injector those
//! of the scope that it was first armed in; made outside of any, all threads of the process. Tests that
//! run at once are kept apart by a [`Scenario`] each; [`explore`](crate::explore())
//! records in a process of its own, and [in this one](crate::explore::Explore::in_process) in a scope of
//! its own.

use std::path::Path;
use std::sync::Arc;

use faultpoint::{Hit, Scenario, Scope};
pub use faultpoint::{Listening, Pass};

use crate::fs::FaultFs;
use crate::injector::Injector;
use crate::plan::Plan;
use crate::trace::Site;

/// At each pass of the point the rules of `plan` are armed, behind those that are there. So
/// `on::sync().take(1).fail(EIO)` fails the next sync after every pass.
///
/// # Panics
///
/// Where [`Injector::arm`] does, at once.
#[track_caller]
pub fn arm<P: Into<Plan>>(
    injector: &Injector,
    plan: P,
) -> impl Fn(&mut Hit<'_>) + Send + Sync + use<P> {
    let (injector, plan) = (injector.clone(), plan.into());
    check(&plan);
    move |_| injector.arm(plan.clone())
}

/// At the point the filesystem [freezes](FaultFs::freeze). It thaws by [`FaultFs::thaw`], at the latest
/// at the end of the scenario or when its test panics, before anything is dropped.
pub fn freeze(fs: &FaultFs) -> impl Fn(&mut Hit<'_>) + Send + Sync + use<> {
    let fs = fs.clone();
    move |hit| {
        fs.freeze();
        let fs = fs.clone();
        hit.at_end(move || fs.thaw());
    }
}

/// At the point the power is [cut](FaultFs::cut_power).
pub fn cut_power(fs: &FaultFs) -> impl Fn(&mut Hit<'_>) + Send + Sync + use<> {
    let fs = fs.clone();
    move |_| fs.cut_power()
}

/// Only at pass `number` of the point, counted from 1: `at_pass(3, cut_power(&fs))`.
///
/// # Panics
///
/// Where `number` is 0.
#[track_caller]
pub fn at_pass(
    number: u64,
    act: impl Fn(&mut Hit<'_>) + Send + Sync + 'static,
) -> impl Fn(&mut Hit<'_>) + Send + Sync + 'static {
    assert!(number > 0, "passes are counted from 1");
    move |hit| {
        if hit.number() == number {
            act(hit);
        }
    }
}

/// Hears the threads of the present scope, or all where there is none. For doors.
pub fn listen(heard: impl Fn(Pass<'_>) + Send + Sync + 'static) -> Listening {
    faultpoint::listen(&Scope::current(), heard)
}

/// Until dropped, what this thread makes hears this thread only, and those that are given its scope.
pub(crate) fn own_scope() -> Option<Scenario> {
    faultpoint::has_failpoints().then(Scenario::new)
}

/// Where a point is, as records name it. For doors.
pub fn site(pass: Pass<'_>) -> Site {
    let site = pass.site();
    // Cargo compiles dependencies by absolute paths; where they lie is no part of a run.
    let file = Path::new(site.file());
    let file =
        if file.is_absolute() { file.file_name().map(Path::new) } else { None }.unwrap_or(file);
    Site { file: file.to_string_lossy().into(), line: site.line() }
}

/// The points that this thread has passed last.
pub(crate) fn last() -> Vec<Arc<str>> {
    faultpoint::last_passes()
}

/// That the program has the fail points after which rules of the plan begin.
///
/// # Panics
///
/// Where it has not, or all are compiled out.
#[track_caller]
pub(crate) fn check(plan: &Plan) {
    for rule in plan.rules() {
        if let Some(Err(error)) = rule.after_point().map(faultpoint::check_point) {
            panic!("`{rule}` can never fire: {error}");
        }
    }
}
