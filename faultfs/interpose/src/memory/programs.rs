//! Starting programs and forking while a disk is mounted: neither a child nor another program has the
//! files. It is refused as where there is no process to be had, and noted.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute;
use std::sync::atomic::{AtomicPtr, Ordering::*};

use libc::pid_t;

use super::{calls, unserved};
use crate::symbols::Address;

/// libc's own function, looked for once.
fn libc_own(name: &CStr, found: &AtomicPtr<c_void>) -> *mut c_void {
    let known = found.load(Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: a null-terminated name.
    let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    found.store(address, Relaxed);
    address
}

fn is_refused() -> bool {
    let refused = calls::is_active();
    if refused {
        unserved(&"a program or a child process that was started");
    }
    refused
}

#[unsafe(no_mangle)]
extern "C" fn fork() -> pid_t {
    static FOUND: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    let own = libc_own(c"fork", &FOUND);
    if is_refused() || own.is_null() {
        // SAFETY: libc gives a valid address of this thread's `errno`.
        unsafe { *libc::__errno_location() = libc::EAGAIN };
        return -1;
    }
    // SAFETY: libc's function of that name and type.
    unsafe { transmute::<*mut c_void, extern "C" fn() -> pid_t>(own)() }
}

type Spawn = unsafe extern "C" fn(
    *mut c_int,
    *const c_char,
    *const c_void,
    *const c_void,
    *const *mut c_char,
    *const *mut c_char,
) -> c_int;

macro_rules! spawns {
    ($($name:ident $text:literal)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            pid: *mut c_int,
            path: *const c_char,
            actions: *const c_void,
            attributes: *const c_void,
            arguments: *const *mut c_char,
            environment: *const *mut c_char,
        ) -> c_int {
            static FOUND: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
            let own = libc_own($text, &FOUND);
            if is_refused() || own.is_null() {
                return libc::EAGAIN;
            }
            // SAFETY: libc's function of that name and type; the caller answers for the arguments.
            unsafe {
                let own = transmute::<*mut c_void, Spawn>(own);
                own(pid, path, actions, attributes, arguments, environment)
            }
        }
    )*};
}

spawns! { posix_spawn c"posix_spawn" posix_spawnp c"posix_spawnp" }

macro_rules! shells {
    ($($name:ident $text:literal ($($argument:ident: $kind:ty),*) -> $result:ty = $refused:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $kind),*) -> $result {
            static FOUND: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
            let own = libc_own($text, &FOUND);
            if is_refused() || own.is_null() {
                // SAFETY: libc gives a valid address of this thread's `errno`.
                unsafe { *libc::__errno_location() = libc::EAGAIN };
                return $refused;
            }
            // SAFETY: libc's function of that name and type; the caller answers for the arguments.
            unsafe {
                transmute::<*mut c_void, unsafe extern "C" fn($($kind),*) -> $result>(own)(
                    $($argument),*
                )
            }
        }
    )*};
}

shells! {
    system c"system" (command: *const c_char) -> c_int = -1;
    popen c"popen" (command: *const c_char, mode: *const c_char) -> *mut c_void
        = std::ptr::null_mut();
}

/// The address of every one: referring to them links them into the program.
pub(crate) static OVERRIDES: &[(&str, Address)] = &[
    ("fork", Address(fork as *const ())),
    ("posix_spawn", Address(posix_spawn as *const ())),
    ("posix_spawnp", Address(posix_spawnp as *const ())),
    ("system", Address(system as *const ())),
    ("popen", Address(popen as *const ())),
];
