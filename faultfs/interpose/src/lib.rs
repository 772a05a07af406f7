//! The interposed door: records the file calls of the process it is linked into, the engine
//! unchanged.
//!
//! Named in `[dev-dependencies]` and used, this package puts its own `open64`, `pwrite64`,
//! `fdatasync`, `rename`, `mmap` and their kin in the place of libc's, for everything in the
//! program: the standard library, C code, every crate. While a [`Session`] is active, calls that
//! reach files below its root are written to a log before and after the kernel does them; all
//! else, and everything when there is no session, goes straight to the kernel. Code that makes
//! system calls of its own is caught by [`Options::trap`].
//!
//! The real bytes go to the real folder. [`decode`] reads the log, in this process or, if it died,
//! in another, into a [`Trace`](faultfs::trace::Trace); [`verify`] compares what the trace leads
//! to with the folder.
//!
//! Each record knows from where in the source it was asked for: the stack of its thread is walked at the call, by
//! the unwind tables of the program and without allocating, also below the handler of a trapped call. What the
//! addresses mean is looked up when the log is read. The site of an op is the innermost line that is not of this
//! package, libc, the standard library, or one of a few packages that pass calls on (`rustix`, `tempfile`, …);
//! its callers follow, up to what started the session. Rules about call sites work alike.
//!
//! Programs into which nobody links this package are recorded from outside, with all that they start: [`Traced`].
//!
//! The same functions serve the disks of an exploration to its check without a folder: [`Mounted`]. There
//! nothing goes wrong: what a check finds on the disk of a state is to be what the crash has left.
//!
//! # Limits
//!
//! Linux on x86-64 with glibc; elsewhere the package builds, and [`Session::start`] says that the
//! door is not available.
//!
//! What is seen and cannot be recorded makes the trace say so
//! ([`Trace::unmodelled`](faultfs::trace::Trace::unmodelled)): names moved into the root or out of
//! it, clones and extended attributes, ranges of files collapsed or inserted, devices and pipes,
//! children that were forked and write, calls from a signal handler that interrupted the door, a
//! full log. `io_uring` and `libaio` are refused as by a kernel without them, `splice` into a file
//! below the root as by a file system without it. Owners and times are not followed.
//!
//! Stores through shared mappings are found by comparing with a copy before each record: their
//! order between two records, and stores undone before the next, cannot be seen. Not seen either,
//! and left to [`verify`]: programs started by this one, files below the root that were mapped before
//! the session, and without the trap what libc does inside itself (`fopen` and its family,
//! `mkstemp`) and system calls made without libc.
//!
//! With the trap, a thread that libc itself starts with all signals blocked (those of `aio_write` and
//! its kin) ends the process at its first file call. Mappings that are unmapped or made writable by
//! system calls made without libc are not followed, with the trap or without.
//!
//! Call sites need the debug info of the program: line tables will do (`debug = "line-tables-only"` in its profile;
//! Cargo's `dev` and `test` have them). With names only, a site is the name of a function; a stripped program has
//! none. In optimised code a function may be gone whose last act was the call: then its caller is the site.
//! Split debug info is not read. Code loaded during the session, or made by it, ends a walk. Dynamic libraries
//! that are there at its start are never unloaded.
//!
//! An access of mapped memory is no call: rules about `load` and `store` never fire here, and so fail the run.
//! The `SIGBUS` of the kernel behind the end of a file is its own. A process that dies of one leaves what any
//! other death there does, which the profile `process-kill` covers.
//!
//! The functions put in place are no cancellation points. A data address that the kernel would
//! refuse with `EFAULT` faults in a write below the root.

#![cfg_attr(
    all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"),
    allow(unsafe_code, reason = "system calls, libc's symbols, signal handling, shared memory")
)]

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod door;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod memory;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod removals;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod session;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod symbols;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod trap;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
#[path = "unavailable.rs"]
mod session;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
#[path = "unmountable.rs"]
mod memory;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
#[path = "unkept.rs"]
mod removals;

#[cfg(unix)]
mod decode;
#[cfg(unix)]
mod explore;
#[cfg(unix)]
mod lines;
#[cfg(unix)]
mod record;
#[cfg(unix)]
mod sites;
#[cfg(unix)]
mod traced;
#[cfg(unix)]
mod verify;

use std::io;
use std::panic::Location;
use std::path::Path;

use faultfs::Injector;
use faultfs::fs::{Capacity, Rot};
use faultfs::points::{self, Listening};

#[cfg(unix)]
pub use decode::{calls, decode};
#[cfg(unix)]
pub use explore::{Interposed, explore};
#[cfg(unix)]
pub use faultfs::folder::snapshot;
pub use memory::Mounted;
#[cfg(unix)]
pub use traced::{Commands, Restored, Traced};
#[cfg(unix)]
pub use verify::verify;

/// What to record, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The folder whose files are recorded, by whatever path they are reached. It must exist, and no
    /// file below it may be open.
    pub root: &'a Path,
    /// The file that the log is written to, outside the root. It is replaced.
    pub log: &'a Path,
    /// How long the log may get, from 16 KiB; [`LOG_BYTES_MAX`] will do for most. The file is sparse: it
    /// takes what was written, rounded up to 1 MiB.
    pub log_bytes_max: u64,
    /// Whether to trap system calls that do not come through libc's symbols. The trap stays in
    /// the process, and in what it executes, for good: for leaf processes that start no programs
    /// and block no signals around file calls. Costs some microseconds a trapped call.
    pub trap: bool,
    /// What `getrandom`, `getentropy`, `/dev/random` and `/dev/urandom` are served from. The wall clock
    /// starts at 2024-01-01 and advances by a microsecond at each look, so whoever waits for a time of
    /// it finds it past; clocks that measure spans are left alone.
    pub seed: u64,
    /// What goes wrong: asked before each call below the root, with the path relative to it. `None`:
    /// nothing, and nobody is asked.
    ///
    /// A file that is open is called by the name that it has now; one without a name by the last it
    /// had, or by its directory. The injected faults stand in
    /// [`Trace::injected`](faultfs::trace::Trace::injected).
    pub injector: Option<&'a Injector>,
    /// Whether every call below the root is written down, with what only looks: see [`calls`].
    pub observe: bool,
}

impl<'a> Options<'a> {
    /// A recording of `root` to `log`, of a length that does for most, without the trap, from the seed
    /// 0, with nothing that goes wrong.
    pub fn new(root: &'a Path, log: &'a Path) -> Self {
        let (trap, seed, observe) = (false, 0, false);
        Options { root, log, log_bytes_max: LOG_BYTES_MAX, trap, seed, injector: None, observe }
    }
}

/// A length of log for most recordings: 1 GiB.
pub const LOG_BYTES_MAX: u64 = 1 << 30;

/// A recording that is going on. One at a time in a process; it covers all threads. Of the fail points that
/// are passed it hears as [`points`] says.
#[derive(Debug)]
#[must_use = "dropping the session ends the recording"]
pub struct Session {
    /// Hears of the fail points that the program passes.
    _listening: Listening,
}

impl Session {
    /// Starts to record.
    ///
    /// # Errors
    /// `Unsupported` where the door does not exist or its functions are not those that the
    /// program calls; `InvalidInput` when a file below the root is open already or the log too short;
    /// `ResourceBusy` when a session is active; else what the kernel says of the root, the log or the trap.
    pub fn start(options: &Options<'_>) -> io::Result<Self> {
        session::start(options)?;
        let _listening = points::listen(|pass| {
            let site = points::site(pass);
            session::passed(pass.name(), &site.file, site.line);
        });
        Ok(Self { _listening })
    }

    /// Ends the recording. The log is complete when this returns; a sync that another thread
    /// still waits for stays without an end.
    pub fn finish(self) {}
}

impl Drop for Session {
    fn drop(&mut self) {
        session::finish();
    }
}

/// The power goes now, for the record: what comes later is not in the trace, marks neither, and
/// [`explore()`] looks at the disks of exactly this moment. The program goes on with its real files, and
/// knows nothing of it. At a fail point: `faults.on("log_written", |_| faultfs_interpose::cut_power())`.
/// Nothing without a session.
pub fn cut_power() {
    session::cut();
}

/// Marks that the engine is about to be asked for `id`. Nothing without a session.
#[track_caller]
pub fn begin(id: u64) {
    session::mark(0, id, Some(Location::caller()));
}

/// Marks that the engine has acknowledged `id`. Nothing without a session.
#[track_caller]
pub fn ack(id: u64) {
    session::mark(1, id, Some(Location::caller()));
}

/// Marks that the engine has failed at `id`. Nothing without a session.
#[track_caller]
pub fn failed(id: u64) {
    session::mark(2, id, Some(Location::caller()));
}

/// Drops the clean pages of a file below the root from memory, as a kernel does that needs room. What a
/// failed sync left there alone is gone: those pages read as the device has them, zeros where it never
/// had any. Without a failed sync nothing changes.
///
/// # Errors
///
/// `NotFound` without a session with an [injector](Options::injector), `EISDIR` and `EINVAL` for what is no regular file below the root; else
/// what opening the file gives.
pub fn evict(path: impl AsRef<Path>) -> io::Result<()> {
    session::evict(path.as_ref())
}

/// Stored bytes of a file below the root have changed on the device, as they do without anybody's doing: see
/// [`FaultFs::rot`](faultfs::FaultFs::rot).
///
/// # Errors
///
/// `NotFound` without a session with an [injector](Options::injector), `EISDIR` and `EINVAL` for what is no
/// regular file below the root, `InvalidInput` where the file has changes that no sync has written; else
/// what opening the file gives.
pub fn rot(path: impl AsRef<Path>, rot: Rot) -> io::Result<()> {
    session::rot(path.as_ref(), rot)
}

/// How much the disk below the root holds from now on: see [`Capacity`]. What is there counts, as does a file
/// without a name as long as somebody has it open.
///
/// A disk with a limit reserves nothing: `fallocate` fails with `EOPNOTSUPP`, as on filesystems that cannot.
/// A store through a mapping is never refused for want of space, and takes it.
///
/// # Errors
///
/// `NotFound` without a session with an [injector](Options::injector).
pub fn set_capacity(capacity: Capacity) -> io::Result<()> {
    session::set_capacity(capacity)
}

/// Whether the file calls of this program reach the door.
pub fn is_linked() -> bool {
    session::is_linked()
}
