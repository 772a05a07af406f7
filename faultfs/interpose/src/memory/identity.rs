//! Who the process is. Engines ask again and again, SQLite at each file that it opens, and the kernel takes
//! longer to say than the call that it is asked for takes here.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicPtr, Ordering::*};

use libc::{pid_t, uid_t};

use crate::door::{DOOR, sys};
use crate::symbols::Address;

/// In memory that every forked child finds empty: 0 where the kernel is to be asked. Null until changes of
/// who we are can be seen.
static PID: AtomicPtr<AtomicI32> = AtomicPtr::new(std::ptr::null_mut());
/// The effective user since the mount began, or -1.
static USER: AtomicI64 = AtomicI64::new(UNKNOWN);
const UNKNOWN: i64 = -1;

/// From now on calls that change the user are trapped, and what is known holds until one comes.
pub(super) fn follow() -> std::io::Result<()> {
    static FOLLOWS: AtomicBool = AtomicBool::new(false);
    if !FOLLOWS.swap(true, SeqCst) {
        PID.store(crate::session::map_unforked()?.cast(), Release);
    }
    Ok(())
}

/// The user may be another one.
pub(super) fn forget_user() {
    USER.store(UNKNOWN, Relaxed);
}

fn ask(number: i64) -> c_int {
    // SAFETY: no arguments.
    unsafe { sys::raw(number, [0; 6]) as c_int }
}

/// The cell of the process number, while what is known holds.
fn known() -> Option<&'static AtomicI32> {
    // SAFETY: null, or a page that is never unmapped, zeroed, and used by nobody else.
    unsafe { DOOR.is_mounted().then(|| PID.load(Acquire)).and_then(|pid| pid.as_ref()) }
}

#[unsafe(no_mangle)]
extern "C" fn getpid() -> pid_t {
    let Some(cell) = known() else { return ask(libc::SYS_getpid) };
    match cell.load(Relaxed) {
        0 => {
            let pid = ask(libc::SYS_getpid);
            cell.store(pid, Relaxed);
            pid
        }
        pid => pid,
    }
}

#[unsafe(no_mangle)]
extern "C" fn geteuid() -> uid_t {
    if known().is_none() {
        return ask(libc::SYS_geteuid) as uid_t;
    }
    match USER.load(Relaxed) {
        UNKNOWN => {
            let user = ask(libc::SYS_geteuid) as uid_t;
            USER.store(user.into(), Relaxed);
            user
        }
        user => user as uid_t,
    }
}

/// The address of every one: referring to them links them into the program.
pub(crate) static OVERRIDES: &[(&str, Address)] =
    &[("getpid", Address(getpid as *const ())), ("geteuid", Address(geteuid as *const ()))];
