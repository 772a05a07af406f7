//! A traced child made without a copy of this process: what `fork` copies of a worker's memory, and what both then
//! copy when they write to it, costs a tenth of a check.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr;

use super::super::start::Start;
use crate::door::sys::{self, Returned};
use libc::{pid_t, sock_filter, sock_fprog};

/// Starts a program that is traced by this thread and has the filter. It stops before its first instruction, with
/// signals blocked.
pub(super) fn spawn(start: &Start, filter: &mut [sock_filter]) -> io::Result<pid_t> {
    let variables = start.variables()?;
    let (words, variables) = (addresses(start.words()), addresses(&variables));
    let len = u16::try_from(filter.len()).expect("a short filter");
    let program = sock_fprog { len, filter: filter.as_mut_ptr() };
    // Their copies have numbers from 3 on, so that none stands where another is to be.
    let copies = start.files().iter().map(File::try_clone).collect::<io::Result<Vec<File>>>()?;
    let mut child = Child {
        words: words.as_ptr(),
        variables: variables.as_ptr(),
        folder: start.folder(),
        files: std::array::from_fn(|at| copies[at].as_raw_fd()),
        program: &program,
        failed: 0,
    };
    let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK_LEN);
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end.cast::<c_void>();
    let before = block_signals()?;
    let (flags, at) = (libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, &raw mut child);
    // SAFETY: this thread goes on when the child has another memory or has ended, so that all it was given lives as
    // long; the stack is its own, large enough for system calls, and aligned. No handler of a signal runs on it.
    let pid = unsafe { libc::clone(enter, top, flags, at.cast::<c_void>()) };
    let error = io::Error::last_os_error();
    set_signals(&before)?;
    if pid < 0 {
        return Err(error);
    }
    if child.failed != 0 {
        // SAFETY: no addresses are given. It has ended.
        unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WALL) };
        return Err(io::Error::from_raw_os_error(-child.failed as c_int));
    }
    Ok(pid)
}

/// In units of sixteen bytes.
const STACK_LEN: usize = 4096;

/// What the child needs.
struct Child<'a> {
    words: *const *const c_char,
    variables: *const *const c_char,
    folder: &'a CStr,
    files: [c_int; 3],
    program: &'a sock_fprog,
    /// The error of the first call that failed, as the kernel gives it.
    failed: Returned,
}

/// A list that ends in null.
fn addresses(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// The child, in the memory of its parent: it makes system calls and nothing else.
extern "C" fn enter(child: *mut c_void) -> c_int {
    // SAFETY: what `spawn` gave; the parent waits.
    let child = unsafe { &mut *child.cast::<Child<'_>>() };
    child.failed = child.prepare();
    // SAFETY: no addresses.
    unsafe { sys::raw(libc::SYS_exit_group, sys::args([127])) };
    unreachable!("it has ended")
}

impl Child<'_> {
    /// Returns with the error of the first call that failed.
    fn prepare(&self) -> Returned {
        // The handler of `struct sigaction` as the kernel has it, its flags, and so on: the default.
        let default = [0u64; 4];
        let address = |at: *const c_char| at.expose_provenance();
        let filter = ptr::from_ref(self.program).expose_provenance();
        let handler = default.as_ptr().expose_provenance();
        let calls = [
            (libc::SYS_dup2, [self.files[0] as usize, 0, 0, 0]),
            (libc::SYS_dup2, [self.files[1] as usize, 1, 0, 0]),
            (libc::SYS_dup2, [self.files[2] as usize, 2, 0, 0]),
            (libc::SYS_chdir, [address(self.folder.as_ptr()), 0, 0, 0]),
            // Rust has it ignored, which a program would inherit.
            (libc::SYS_rt_sigaction, [libc::SIGPIPE as usize, handler, 0, size_of::<u64>()]),
            (libc::SYS_ptrace, [libc::PTRACE_TRACEME as usize, 0, 0, 0]),
            (libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0]),
            (libc::SYS_seccomp, [libc::SECCOMP_SET_MODE_FILTER as usize, 0, filter, 0]),
            (
                libc::SYS_execve,
                [
                    // SAFETY: the first of a list that has one.
                    address(unsafe { *self.words }),
                    self.words.expose_provenance(),
                    self.variables.expose_provenance(),
                    0,
                ],
            ),
        ];
        for (number, args) in calls {
            // SAFETY: texts that end in zero, lists that end in null, and locals, all of them alive.
            let result = unsafe { sys::raw(number, sys::args(args)) };
            if result < 0 {
                return result;
            }
        }
        0
    }
}

/// Blocks all signals of this thread but the one by which a traced program stops at its start, which nobody else
/// sends; the mask from before.
fn block_signals() -> io::Result<libc::sigset_t> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the addresses of locals of that type, of which the first is filled in before it is read.
    let failed = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigdelset(all.as_mut_ptr(), libc::SIGTRAP);
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr())
    };
    match failed {
        // SAFETY: filled in.
        0 => Ok(unsafe { before.assume_init() }),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn set_signals(mask: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the address of a mask.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use super::*;

    #[test]
    fn what_cannot_start_says_why_and_leaves_no_child() {
        let null = || File::open("/dev/null").unwrap();
        let files = [null(), null(), null()];
        let start = Start::shell(OsStr::new("true"), Path::new("/no/such"), files).unwrap();
        let error = spawn(&start, &mut [crate::trap::allow()]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        // SAFETY: no addresses are given.
        let left = unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) };
        assert!(left <= 0);
    }
}
