//! Files that recovery removes are kept for the next state, while a check runs on real files: see
//! [`Stash`].

use std::ffi::{CStr, OsStr, c_int};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use faultfs::folder::Stash;

use crate::door::sys::{self, Returned};
use crate::door::{Call, DOOR};

/// `fcntl.h` of the kernel; the libc crate lacks it.
const F_SETSIG: usize = 10;

static STASH: Mutex<Option<Arc<Stash>>> = Mutex::new(None);

/// While it lives, what is removed by its whole path is offered to a stash first; unless a recording or a
/// mount takes the door.
#[derive(Debug)]
#[must_use]
pub(crate) struct Removals(());

impl Removals {
    /// None while the door does something else.
    pub(crate) fn kept_in(stash: &Arc<Stash>) -> Option<Removals> {
        *STASH.lock().unwrap_or_else(PoisonError::into_inner) = Some(stash.clone());
        DOOR.keep().then_some(Removals(()))
    }
}

impl Drop for Removals {
    fn drop(&mut self) {
        DOOR.keep_no_more();
        *STASH.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Whether a call may remove a file, told where its number is a constant: all others go on as ever.
#[inline]
pub(crate) fn concern(number: libc::c_long) -> bool {
    matches!(number, libc::SYS_unlink | libc::SYS_unlinkat)
}

/// Does what is asked, removals by way of the stash where that will do.
#[inline(never)]
pub(crate) fn pass(call: &Call) -> Returned {
    let path = match call.number {
        libc::SYS_unlink => call.args[0],
        libc::SYS_unlinkat if call.args[2] as c_int & libc::AT_REMOVEDIR == 0 => call.args[1],
        _ => return call.perform(),
    };
    if path == 0 {
        return call.perform();
    }
    // SAFETY: the program answers for the path, which it gave to a call that reads it.
    let path = unsafe { CStr::from_ptr(ptr::with_exposed_provenance(path)) }.to_bytes();
    // The stash knows whole paths, which mean the same wherever a call starts from. Somebody else may hold
    // the lock, in a forked child for ever.
    let is_kept = match STASH.try_lock() {
        Ok(stash) => stash.as_ref().is_some_and(|s| s.remove(Path::new(OsStr::from_bytes(path)))),
        Err(_) => false,
    };
    if is_kept { 0 } else { call.perform() }
}

/// Whether nobody else has the file open or mapped: then, and only then, may its descriptor have a lease
/// on all access (`F_SETLEASE` in fcntl(2), `check_conflicting_open` in `fs/locks.c`). A descriptor that is
/// good for nothing but its path (`O_PATH`) does not count there.
pub(crate) fn is_alone(fd: BorrowedFd<'_>) -> bool {
    let lease = |kind: c_int| {
        let args = [fd.as_raw_fd() as usize, libc::F_SETLEASE as usize, kind as usize];
        // SAFETY: no addresses.
        unsafe { sys::raw(libc::SYS_fcntl, sys::args(args)) }
    };
    // Who opens the file just now waits a moment, and its owner is told: by a signal that is ignored
    // unless somebody asks for it, not by the usual one, which ends the process.
    let args = [fd.as_raw_fd() as usize, F_SETSIG, libc::SIGURG as usize];
    // SAFETY: no addresses.
    let told = unsafe { sys::raw(libc::SYS_fcntl, sys::args(args)) };
    told == 0 && lease(libc::F_WRLCK) == 0 && lease(libc::F_UNLCK) == 0
}
