//! The trap: a seccomp filter for file calls that do not come through libc's symbols.
//!
//! The filter lets our own `syscall` instruction pass and turns those of anybody else, for the
//! calls listed here, into a SIGSYS whose handler passes the same door. It needs no privilege,
//! covers all threads, and stays until the process ends, even across `exec`, where the handler
//! does not: for processes that start no programs only.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::{offset_of, zeroed};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::*};

use libc::{seccomp_data, sock_filter, sock_fprog};

use crate::door::{Call, sys};

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Whether the process has the trap, which it cannot lose again.
pub(crate) fn is_installed() -> bool {
    INSTALLED.load(Relaxed)
}

/// Traps what a recording must see and what bypasses libc's symbols, from now on, in all threads.
pub(crate) fn install_for_recording() -> io::Result<()> {
    static FOR_RECORDING: AtomicBool = AtomicBool::new(false);
    if FOR_RECORDING.swap(true, SeqCst) {
        return Ok(());
    }
    install(filter(SOMETIMES, ALWAYS, &trapped()))
}

/// Traps what can go wrong as well and changes nothing, from now on, in all threads.
pub(crate) fn install_for_faults() -> io::Result<()> {
    static FOR_FAULTS: AtomicBool = AtomicBool::new(false);
    if FOR_FAULTS.swap(true, SeqCst) {
        return Ok(());
    }
    install(filter(&[], LOOKS, &trapped()))
}

/// Has the kernel run a filter at each system call, from now on, in all threads. Filters add up.
pub(crate) fn install(mut filter: Vec<sock_filter>) -> io::Result<()> {
    INSTALLED.store(true, SeqCst);
    install_handler()?;
    let program = sock_fprog {
        len: u16::try_from(filter.len()).expect("a short filter"),
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: no addresses.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (operation, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_TSYNC);
    // SAFETY: the program and the filter that it refers to live until the call returns.
    let refused = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) };
    match refused {
        0 => Ok(()),
        // -1, or the id of a thread that has a filter of its own.
        _ => Err(io::Error::other(format!(
            "the kernel refused to trap system calls: {}",
            io::Error::last_os_error()
        ))),
    }
}

fn install_handler() -> io::Result<()> {
    // SAFETY: a zeroed `sigaction` is an empty one.
    let mut action: libc::sigaction = unsafe { zeroed() };
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_trapped;
    action.sa_sigaction = handler as usize;
    // No deferring: a signal handler that interrupts ours may make file calls as well.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_RESTART;
    // SAFETY: the handler is async-signal-safe, as the whole door is; the set is a local.
    let refused = unsafe {
        let mut trap: libc::sigset_t = zeroed();
        libc::sigaddset(&raw mut trap, libc::SIGSYS);
        libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut()) != 0
            || libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const trap, ptr::null_mut()) != 0
    };
    if refused { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Passes the door in the place of the trapped call and returns to behind its instruction.
extern "C" fn on_trapped(_: c_int, _: *mut libc::siginfo_t, at: *mut c_void) {
    // SAFETY: the kernel gives the interrupted thread's registers, and restores them from here.
    let registers = unsafe { &mut (*at.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let word = |register: c_int| registers[register as usize] as usize;
    let args = [
        word(libc::REG_RDI),
        word(libc::REG_RSI),
        word(libc::REG_RDX),
        word(libc::REG_R10),
        word(libc::REG_R8),
        word(libc::REG_R9),
    ];
    let number = registers[libc::REG_RAX as usize];
    // SAFETY: whoever made the system call answers for its arguments.
    registers[libc::REG_RAX as usize] = unsafe { Call::new(number, args) }.pass() as i64;
}

/// Trapped whatever their arguments.
pub(crate) const ALWAYS: &[i64] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_msync,
    libc::SYS_mremap,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rmdir,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_mknod,
    libc::SYS_mknodat,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_getrandom,
    libc::SYS_io_setup,
    libc::SYS_io_uring_setup,
];

/// Trapped where faults are injected: what only looks.
const LOOKS: &[i64] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_fstat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
];

/// A call, one of its arguments, the bits of it that count, and the values to trap.
pub(crate) type Sometimes = (i64, usize, u32, &'static [u32]);

/// Trapped for some values of one argument: those of `fcntl` that copy a descriptor, of `ioctl`
/// that share blocks, of `mmap` that map shared. (`munmap` is not: libc calls it with signals
/// blocked when a thread ends, where a trap is death.)
const SOMETIMES: &[Sometimes] = &[
    (libc::SYS_fcntl, 1, u32::MAX, &[libc::F_DUPFD as u32, libc::F_DUPFD_CLOEXEC as u32]),
    (libc::SYS_ioctl, 1, u32::MAX, &[0x4004_9409 /* FICLONE */, 0x4020_940D /* FICLONERANGE */]),
    (
        libc::SYS_mmap,
        3,
        (libc::MAP_TYPE | libc::MAP_ANONYMOUS) as u32,
        &[libc::MAP_SHARED as u32, libc::MAP_SHARED_VALIDATE as u32],
    ),
];

const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// The program that the kernel runs at each system call. Looks at the number first: calls that
/// are not listed end there, which kernels from 5.11 on remember without running the program. `hit` is how it
/// ends for the others.
pub(crate) fn filter(
    sometimes: &[Sometimes],
    always: &[i64],
    hit: &[sock_filter],
) -> Vec<sock_filter> {
    let mut program = of_this_architecture();
    for &(call, arg, mask, values) in sometimes {
        let at = offset_of!(seccomp_data, args) as u32 + 8 * arg as u32;
        let mut block = vec![load(at), code(AND, mask)];
        for (index, &value) in values.iter().enumerate() {
            // A hit skips the remaining comparisons and the way out.
            block.push(equal(value, (values.len() - index) as u8, 0));
        }
        block.push(allow());
        block.extend(hit);
        program.push(equal(call as u32, 0, block.len() as u8));
        program.extend(block);
    }
    for (index, &call) in always.iter().enumerate() {
        program.push(equal(call as u32, (always.len() - index) as u8, 0));
    }
    program.push(allow());
    program.extend(hit);
    program
}

/// The beginning of a program: other architectures pass, and the number of the call is at hand.
pub(crate) fn of_this_architecture() -> Vec<sock_filter> {
    let (architecture, number) = (offset_of!(seccomp_data, arch), offset_of!(seccomp_data, nr));
    vec![load(architecture as u32), equal(AUDIT_ARCH_X86_64, 1, 0), allow(), load(number as u32)]
}

/// The end of a program or a branch: a trap for all instructions but ours.
pub(crate) fn trapped() -> [sock_filter; 6] {
    let from = offset_of!(seccomp_data, instruction_pointer) as u32;
    let ours = sys::behind_syscall();
    [
        load(from),
        equal(ours as u32, 0, 3),
        load(from + 4),
        equal((ours >> 32) as u32, 0, 1),
        allow(),
        code(RETURN, libc::SECCOMP_RET_TRAP),
    ]
}

/// The end of a program or a branch: a stop for whoever traces the thread.
pub(crate) fn traced() -> sock_filter {
    code(RETURN, libc::SECCOMP_RET_TRACE)
}

pub(crate) fn allow() -> sock_filter {
    code(RETURN, libc::SECCOMP_RET_ALLOW)
}

pub(crate) fn load(offset: u32) -> sock_filter {
    code(LOAD, offset)
}

pub(crate) fn equal(value: u32, then: u8, otherwise: u8) -> sock_filter {
    sock_filter { jt: then, jf: otherwise, ..code(EQUAL, value) }
}

pub(crate) fn code(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do, for the instructions that the filter uses.
    fn run(data: &seccomp_data) -> u32 {
        let word = |offset: u32| match offset {
            0 => data.nr as u32,
            4 => data.arch,
            8 => data.instruction_pointer as u32,
            12 => (data.instruction_pointer >> 32) as u32,
            _ => {
                let arg = data.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
            }
        };
        let (program, mut at, mut kept) = (filter(SOMETIMES, ALWAYS, &trapped()), 0, 0);
        loop {
            let step = program[at];
            at += 1;
            match u32::from(step.code) {
                LOAD => kept = word(step.k),
                AND => kept &= step.k,
                EQUAL => at += usize::from(if kept == step.k { step.jt } else { step.jf }),
                RETURN => return step.k,
                other => panic!("{other} is not used"),
            }
        }
    }

    fn call(number: i64, args: [u64; 6], from: u64) -> u32 {
        let arch = AUDIT_ARCH_X86_64;
        run(&seccomp_data { nr: number as c_int, arch, instruction_pointer: from, args })
    }

    const TRAP: u32 = libc::SECCOMP_RET_TRAP;
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    #[test]
    fn listed_calls_are_trapped_unless_they_are_ours() {
        for &number in ALWAYS {
            assert_eq!(call(number, [0; 6], 4711), TRAP, "{number}");
            assert_eq!(call(number, [0; 6], sys::behind_syscall()), ALLOW, "{number}");
            assert_eq!(call(number, [0; 6], sys::behind_syscall() ^ 1 << 32), TRAP, "{number}");
        }
        for number in [libc::SYS_read, libc::SYS_futex, libc::SYS_munmap, libc::SYS_exit_group] {
            assert_eq!(call(number, [0; 6], 4711), ALLOW, "{number}");
        }
    }

    #[test]
    fn anonymous_and_private_mappings_are_not_trapped() {
        let map = |flags: c_int| call(libc::SYS_mmap, [0, 0, 0, flags as u64, 3, 0], 4711);
        assert_eq!(map(libc::MAP_SHARED), TRAP);
        assert_eq!(map(libc::MAP_SHARED_VALIDATE | libc::MAP_FIXED), TRAP);
        assert_eq!(map(libc::MAP_PRIVATE), ALLOW);
        assert_eq!(map(libc::MAP_SHARED | libc::MAP_ANONYMOUS), ALLOW);
        assert_eq!(map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS), ALLOW);
    }

    #[test]
    fn only_what_copies_a_descriptor_is_trapped_of_fcntl() {
        let control = |command: c_int| call(libc::SYS_fcntl, [0, command as u64, 0, 0, 0, 0], 4711);
        assert_eq!(control(libc::F_DUPFD), TRAP);
        assert_eq!(control(libc::F_DUPFD_CLOEXEC), TRAP);
        assert_eq!(control(libc::F_SETLK), ALLOW);
    }

    #[test]
    fn other_architectures_pass() {
        let nr = libc::SYS_write as c_int;
        let other = seccomp_data { nr, arch: 0, instruction_pointer: 4711, args: [0; 6] };
        assert_eq!(run(&other), ALLOW);
    }
}
