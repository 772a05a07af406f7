//! The kernel's calls for tracing, with the types that they take.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;

use libc::{pid_t, sock_filter, user_regs_struct};

use super::super::start::Start;
use super::spawn::spawn;

/// Why a thread is not running.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    Ended(ExitStatus),
    /// A signal is about to reach it, or a stop signal has stopped it.
    Signal(c_int),
    /// A call that the filter lists is about to be made.
    Entry,
    /// The call that it was let into has returned.
    Exit,
    /// It runs another program; what was its number before.
    Program(pid_t),
    /// It has made a thread or a process, or whatever else is of no interest.
    Other,
}

/// Starts what is traced by this thread, and all that it starts with it. Of the calls that `filter`
/// names it stops at the entry.
pub(super) fn start(start: &Start, mut filter: Vec<sock_filter>) -> io::Result<pid_t> {
    // Whoever loses its parent gets this process, which waits for all of them: nobody else has to bury them.
    // SAFETY: no addresses.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = spawn(start, &mut filter)?;
    // It stops before the first instruction of its program.
    match wait()? {
        Some((stopped, Stop::Signal(libc::SIGTRAP))) if stopped == pid => {}
        other => return Err(io::Error::other(format!("a traced program began with {other:?}"))),
    }
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC;
    request(libc::PTRACE_SETOPTIONS, pid, options as usize)?;
    unblock_signals(pid)?;
    Ok(pid)
}

/// As a program expects it of a shell.
fn unblock_signals(thread: pid_t) -> io::Result<()> {
    const PTRACE_SETSIGMASK: libc::c_uint = 0x420b;
    let none = 0u64;
    let (len, at) = (size_of_val(&none), &raw const none);
    // SAFETY: the address of a mask of that length.
    match unsafe { libc::ptrace(PTRACE_SETSIGMASK, thread, len, at) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Waits until a traced thread stops or ends; none when there is none any more.
pub(super) fn wait() -> io::Result<Option<(pid_t, Stop)>> {
    let mut status = 0;
    let thread = loop {
        // SAFETY: the address of a local.
        let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if thread >= 0 {
            break thread;
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error if error.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
            error => return Err(error),
        }
    };
    if !libc::WIFSTOPPED(status) {
        return Ok(Some((thread, Stop::Ended(ExitStatus::from_raw(status)))));
    }
    let stop = match (libc::WSTOPSIG(status), status >> 16) {
        (_, libc::PTRACE_EVENT_SECCOMP) => Stop::Entry,
        (_, libc::PTRACE_EVENT_EXEC) => Stop::Program(message(thread).unwrap_or(thread)),
        (_, 1..) => Stop::Other,
        (signal, _) if signal == libc::SIGTRAP | 0x80 => Stop::Exit,
        (signal, _) => Stop::Signal(signal),
    };
    Ok(Some((thread, stop)))
}

/// Lets a thread go on, with a signal or with 0.
pub(super) fn go_on(thread: pid_t, signal: c_int) -> io::Result<()> {
    request(libc::PTRACE_CONT, thread, signal as usize)
}

/// Lets a thread go on to the end of the call that it is about to make.
pub(super) fn to_exit(thread: pid_t) -> io::Result<()> {
    request(libc::PTRACE_SYSCALL, thread, 0)
}

/// Whether a stop signal has stopped the whole process, so that there is none to hand on.
pub(super) fn is_group_stop(thread: pid_t) -> bool {
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    request(libc::PTRACE_GETSIGINFO, thread, info.as_mut_ptr().expose_provenance()).is_err()
}

pub(super) fn registers(thread: pid_t) -> io::Result<user_regs_struct> {
    let mut registers = MaybeUninit::<user_regs_struct>::uninit();
    request(libc::PTRACE_GETREGS, thread, registers.as_mut_ptr().expose_provenance())?;
    // SAFETY: filled in, as the request succeeded.
    Ok(unsafe { registers.assume_init() })
}

pub(super) fn set_registers(thread: pid_t, to: &user_regs_struct) -> io::Result<()> {
    request(libc::PTRACE_SETREGS, thread, ptr::from_ref(to).expose_provenance())
}

/// Ends the process of a thread.
pub(super) fn kill(thread: pid_t) {
    // SAFETY: no addresses. Where it has ended already nobody else has its number: it is not yet waited for.
    unsafe { libc::kill(thread, libc::SIGKILL) };
}

fn message(thread: pid_t) -> io::Result<pid_t> {
    let mut message = 0usize;
    request(libc::PTRACE_GETEVENTMSG, thread, (&raw mut message).expose_provenance())?;
    Ok(message as pid_t)
}

fn request(request: libc::c_uint, thread: pid_t, data: usize) -> io::Result<()> {
    // SAFETY: the requests above take a number or the address of a local of the type that they fill or read.
    match unsafe { libc::ptrace(request, thread, 0usize, data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
