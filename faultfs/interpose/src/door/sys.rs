//! The only way from the door to the kernel: one `syscall` instruction and typed calls around it.
//!
//! Nothing here allocates, takes a lock, touches `errno` or calls libc, so all of it may run inside
//! a signal handler. The seccomp filter knows the instruction by the address behind it and lets
//! it pass; any other `syscall` instruction of the process may be trapped.

use std::arch::naked_asm;
use std::ffi::c_int;
use std::mem::MaybeUninit;

/// A kernel result as the kernel gives it: a value, or a negated `errno`.
pub(crate) type Returned = isize;

/// The six words a system call takes.
pub(crate) type Args = [usize; 6];

/// Performs one system call.
///
/// # Safety
/// As for the system call itself.
#[unsafe(naked)]
unsafe extern "C" fn stub(
    number: usize,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> Returned {
    naked_asm!(
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",
        "mov r8, r9",
        "mov r9, [rsp + 8]",
        "syscall",
        ".globl faultfs_interpose_behind_syscall",
        ".hidden faultfs_interpose_behind_syscall",
        "faultfs_interpose_behind_syscall:",
        "ret",
    )
}

unsafe extern "C" {
    safe static faultfs_interpose_behind_syscall: u8;
}

/// The address behind our `syscall` instruction, which is what a seccomp filter sees of it.
pub(crate) fn behind_syscall() -> u64 {
    (&raw const faultfs_interpose_behind_syscall).addr() as u64
}

/// Performs system call `number` with `args`.
///
/// # Safety
/// As for the system call: every argument that the kernel takes for an address must be valid for
/// what the kernel does with it, or be an address whose refusal (`EFAULT`) the caller wants.
#[inline]
pub(crate) unsafe fn raw(number: i64, args: Args) -> Returned {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the caller answers for the arguments; the stub follows the C calling convention.
    unsafe { stub(number as usize, a, b, c, d, e, f) }
}

/// The arguments of a call that takes fewer than six.
pub(crate) fn args<const N: usize>(given: [usize; N]) -> Args {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&given);
    all
}

/// What the door needs to know of an inode.
#[derive(Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) mode: u32,
    pub(crate) links: u64,
    pub(crate) size: u64,
    pub(crate) rdev: u64,
}

impl Stat {
    pub(crate) fn is(&self, kind: libc::mode_t) -> bool {
        self.mode & libc::S_IFMT == kind
    }

    /// Whether it is `/dev/random` or `/dev/urandom`.
    pub(crate) fn is_random(&self) -> bool {
        let devices = [libc::makedev(1, 8), libc::makedev(1, 9)];
        self.is(libc::S_IFCHR) && devices.contains(&self.rdev)
    }

    /// What the kernel left in `filled`. Taken by value, after the call: a reference that was held across
    /// it would promise the compiler that nobody writes there.
    fn of(returned: Returned, filled: MaybeUninit<libc::stat>) -> Result<Self, Returned> {
        if returned < 0 {
            return Err(returned);
        }
        // SAFETY: the kernel has filled it in, as it returned success.
        let stat = unsafe { filled.assume_init() };
        Ok(Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            mode: stat.st_mode,
            links: stat.st_nlink,
            size: stat.st_size as u64,
            rdev: stat.st_rdev,
        })
    }
}

/// `fstat`.
pub(crate) fn fstat(fd: c_int) -> Result<Stat, Returned> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    let into = stat.as_mut_ptr().expose_provenance();
    // SAFETY: the kernel writes to `stat`, whose address was exposed.
    let returned = unsafe { raw(libc::SYS_fstat, args([fd as usize, into])) };
    Stat::of(returned, stat)
}

/// `fstatat` of the path at an address.
pub(crate) fn fstatat(dir: c_int, path: usize, flags: c_int) -> Result<Stat, Returned> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    let into = stat.as_mut_ptr().expose_provenance();
    let given = args([dir as usize, path, into, flags as usize]);
    // SAFETY: the kernel writes to `stat`, whose address was exposed, and reads a path that is
    // null-terminated or the program's own, whose refusal is the program's affair.
    Stat::of(unsafe { raw(libc::SYS_newfstatat, given) }, stat)
}

/// Where the next `read` or `write` of `fd` begins.
pub(crate) fn position(fd: c_int) -> Returned {
    // SAFETY: `lseek` takes no address.
    unsafe { raw(libc::SYS_lseek, args([fd as usize, 0, libc::SEEK_CUR as usize])) }
}

/// Moves where the next `read` or `write` of `fd` begins.
pub(crate) fn seek(fd: c_int, to: u64) -> Returned {
    // SAFETY: `lseek` takes no address.
    unsafe { raw(libc::SYS_lseek, args([fd as usize, to as usize, libc::SEEK_SET as usize])) }
}

/// The flags of the open file: access mode, `O_APPEND`, `O_DIRECT`, `O_DSYNC`, `O_SYNC`.
pub(crate) fn open_flags(fd: c_int) -> c_int {
    // SAFETY: `F_GETFL` takes no address.
    let flags = unsafe { raw(libc::SYS_fcntl, args([fd as usize, libc::F_GETFL as usize])) };
    if flags < 0 { 0 } else { flags as c_int }
}

/// The calling thread's id.
pub(crate) fn thread() -> u32 {
    // SAFETY: no arguments.
    unsafe { raw(libc::SYS_gettid, [0; 6]) as u32 }
}

/// Maps memory; the address, or a negated `errno`.
///
/// # Safety
/// `at` must be 0, or a range that the caller owns.
pub(crate) unsafe fn map(given: Args) -> Returned {
    // SAFETY: the caller answers for the address.
    unsafe { raw(libc::SYS_mmap, given) }
}

/// Unmaps memory that the door mapped for itself.
///
/// # Safety
/// Nothing may use the range afterwards.
pub(crate) unsafe fn unmap(address: usize, len: usize) {
    // SAFETY: the caller answers for the range.
    unsafe { raw(libc::SYS_munmap, args([address, len])) };
}

/// Whether a path can be read at an address that the program gave. The kernel is the first to look, so
/// that a bad address is its finding and not our fault.
pub(crate) fn is_path(path: usize) -> bool {
    let looked = fstatat(libc::AT_FDCWD, path, libc::AT_SYMLINK_NOFOLLOW);
    looked.err() != Some(-(libc::EFAULT as Returned))
}
