//! The libc functions that this package puts in the place of libc's.
//!
//! Each turns its arguments into the system call that libc would make and passes the door. With
//! no session active that is a load, a branch and the system call. Variadic functions of C are
//! defined here with all the arguments they may be given: on the supported target integer
//! arguments are passed alike in both cases.
//!
//! What libc does besides is left out: these functions are no cancellation points.

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::mem::transmute;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::*};

use libc::{clockid_t, iovec, mode_t, off_t, size_t, ssize_t, time_t, timespec, timeval};

use crate::door::{Call, seeds, sys};
use crate::trap;

/// An argument as the kernel takes it: a full word.
pub(crate) trait Word {
    fn word(self) -> usize;
}

macro_rules! words {
    ($($kind:ty),*) => {$(
        impl Word for $kind {
            fn word(self) -> usize {
                self as usize
            }
        }
    )*};
}
words!(c_int, c_uint, c_long, size_t);

impl<T> Word for *const T {
    fn word(self) -> usize {
        self.expose_provenance()
    }
}

impl<T> Word for *mut T {
    fn word(self) -> usize {
        self.expose_provenance()
    }
}

/// A result as libc gives it: -1 and `errno` for what the kernel refused.
pub(crate) fn told(returned: isize) -> isize {
    if !(-4095..0).contains(&returned) {
        return returned;
    }
    // SAFETY: libc gives a valid address of this thread's `errno`.
    unsafe { *libc::__errno_location() = -returned as c_int };
    -1
}

/// Functions that are one system call, under one or more names.
macro_rules! calls {
    ($([$($name:ident)+] $args:tt -> $ret:ty = $number:ident $given:tt;)*) => {
        $($(call!($name $args -> $ret = $number $given);)+)*

        /// The address of every one: referring to them links them into the program.
        pub(crate) static OVERRIDES: &[(&str, Address)] =
            &[$($((stringify!($name), Address($name as *const ()))),+),*];
    };
}

macro_rules! call {
    (
        $name:ident ($($arg:ident: $kind:ty),*) -> $ret:ty = $number:ident ($($given:expr),*)
    ) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $kind),*) -> $ret {
            let args = sys::args([$(Word::word($given)),*]);
            // SAFETY: the caller answers for the arguments, as to libc.
            told(unsafe { Call::new(libc::$number, args) }.pass()) as $ret
        }
    };
}

pub(crate) use {call, calls};

/// Where a function is.
pub(crate) struct Address(pub(crate) *const ());
// SAFETY: the address of a function is never used to access memory.
unsafe impl Sync for Address {}

calls! {
    [open open64 __open_2 __open64_2] (path: *const c_char, flags: c_int, mode: mode_t) -> c_int
        = SYS_openat(libc::AT_FDCWD, path, flags, mode);
    [openat openat64 __openat_2 __openat64_2]
        (dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int
        = SYS_openat(dir, path, flags, mode);
    [creat creat64] (path: *const c_char, mode: mode_t) -> c_int = SYS_creat(path, mode);
    [close] (fd: c_int) -> c_int = SYS_close(fd);
    [close_range] (first: c_uint, last: c_uint, flags: c_int) -> c_int
        = SYS_close_range(first, last, flags);
    [dup] (fd: c_int) -> c_int = SYS_dup(fd);
    [dup2] (fd: c_int, to: c_int) -> c_int = SYS_dup2(fd, to);
    [dup3] (fd: c_int, to: c_int, flags: c_int) -> c_int = SYS_dup3(fd, to, flags);
    [fcntl fcntl64] (fd: c_int, command: c_int, arg: size_t) -> c_int
        = SYS_fcntl(fd, command, arg);
    [ioctl] (fd: c_int, request: size_t, arg: size_t) -> c_int = SYS_ioctl(fd, request, arg);

    [read] (fd: c_int, into: *mut c_void, len: size_t) -> ssize_t = SYS_read(fd, into, len);
    [write] (fd: c_int, from: *const c_void, len: size_t) -> ssize_t = SYS_write(fd, from, len);
    [pwrite pwrite64] (fd: c_int, from: *const c_void, len: size_t, at: off_t) -> ssize_t
        = SYS_pwrite64(fd, from, len, at);
    [writev] (fd: c_int, parts: *const iovec, count: c_int) -> ssize_t
        = SYS_writev(fd, parts, count);
    [pwritev pwritev64] (fd: c_int, parts: *const iovec, count: c_int, at: off_t) -> ssize_t
        = SYS_pwritev(fd, parts, count, at, 0usize);
    [pwritev2 pwritev64v2]
        (fd: c_int, parts: *const iovec, count: c_int, at: off_t, flags: c_int) -> ssize_t
        = SYS_pwritev2(fd, parts, count, at, 0usize, flags);
    [ftruncate ftruncate64] (fd: c_int, len: off_t) -> c_int = SYS_ftruncate(fd, len);
    [truncate truncate64] (path: *const c_char, len: off_t) -> c_int = SYS_truncate(path, len);
    [fallocate fallocate64] (fd: c_int, mode: c_int, at: off_t, len: off_t) -> c_int
        = SYS_fallocate(fd, mode, at, len);
    [copy_file_range] (
        from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, len: size_t, flags: c_uint
    ) -> ssize_t = SYS_copy_file_range(from, from_at, to, to_at, len, flags);
    [sendfile sendfile64] (to: c_int, from: c_int, from_at: *mut off_t, len: size_t) -> ssize_t
        = SYS_sendfile(to, from, from_at, len);
    [splice] (
        from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, len: size_t, flags: c_uint
    ) -> ssize_t = SYS_splice(from, from_at, to, to_at, len, flags);

    [fsync] (fd: c_int) -> c_int = SYS_fsync(fd);
    [fdatasync] (fd: c_int) -> c_int = SYS_fdatasync(fd);
    [syncfs] (fd: c_int) -> c_int = SYS_syncfs(fd);
    [sync_file_range] (fd: c_int, at: off_t, len: off_t, flags: c_uint) -> c_int
        = SYS_sync_file_range(fd, at, len, flags);
    [msync] (address: *mut c_void, len: size_t, flags: c_int) -> c_int
        = SYS_msync(address, len, flags);
    [mmap mmap64] (
        address: *mut c_void, len: size_t, protection: c_int, flags: c_int, fd: c_int, at: off_t
    ) -> *mut c_void = SYS_mmap(address, len, protection, flags, fd, at);
    [munmap] (address: *mut c_void, len: size_t) -> c_int = SYS_munmap(address, len);
    [mprotect] (address: *mut c_void, len: size_t, protection: c_int) -> c_int
        = SYS_mprotect(address, len, protection);
    [mremap] (
        address: *mut c_void, len: size_t, new_len: size_t, flags: c_int, to: *mut c_void
    ) -> *mut c_void = SYS_mremap(address, len, new_len, flags, to);

    [rename] (from: *const c_char, to: *const c_char) -> c_int = SYS_rename(from, to);
    [renameat] (from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char) -> c_int
        = SYS_renameat(from_dir, from, to_dir, to);
    [renameat2] (
        from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_uint
    ) -> c_int = SYS_renameat2(from_dir, from, to_dir, to, flags);
    [link] (from: *const c_char, to: *const c_char) -> c_int = SYS_link(from, to);
    [linkat] (
        from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_int
    ) -> c_int = SYS_linkat(from_dir, from, to_dir, to, flags);
    [unlink] (path: *const c_char) -> c_int = SYS_unlink(path);
    [unlinkat] (dir: c_int, path: *const c_char, flags: c_int) -> c_int
        = SYS_unlinkat(dir, path, flags);
    [rmdir] (path: *const c_char) -> c_int = SYS_rmdir(path);
    [mkdir] (path: *const c_char, mode: mode_t) -> c_int = SYS_mkdir(path, mode);
    [mkdirat] (dir: c_int, path: *const c_char, mode: mode_t) -> c_int
        = SYS_mkdirat(dir, path, mode);
    [mknod] (path: *const c_char, mode: mode_t, device: size_t) -> c_int
        = SYS_mknod(path, mode, device);
    [mknodat] (dir: c_int, path: *const c_char, mode: mode_t, device: size_t) -> c_int
        = SYS_mknodat(dir, path, mode, device);
    [mkfifo] (path: *const c_char, mode: mode_t) -> c_int
        = SYS_mknod(path, mode | libc::S_IFIFO, 0usize);
    [mkfifoat] (dir: c_int, path: *const c_char, mode: mode_t) -> c_int
        = SYS_mknodat(dir, path, mode | libc::S_IFIFO, 0usize);
    [symlink] (target: *const c_char, path: *const c_char) -> c_int = SYS_symlink(target, path);
    [symlinkat] (target: *const c_char, dir: c_int, path: *const c_char) -> c_int
        = SYS_symlinkat(target, dir, path);
    [chmod] (path: *const c_char, mode: mode_t) -> c_int = SYS_chmod(path, mode);
    [fchmod] (fd: c_int, mode: mode_t) -> c_int = SYS_fchmod(fd, mode);

    [setxattr] (
        path: *const c_char, name: *const c_char, value: *const c_void, len: size_t, flags: c_int
    ) -> c_int = SYS_setxattr(path, name, value, len, flags);
    [lsetxattr] (
        path: *const c_char, name: *const c_char, value: *const c_void, len: size_t, flags: c_int
    ) -> c_int = SYS_lsetxattr(path, name, value, len, flags);
    [fsetxattr] (
        fd: c_int, name: *const c_char, value: *const c_void, len: size_t, flags: c_int
    ) -> c_int = SYS_fsetxattr(fd, name, value, len, flags);
    [removexattr] (path: *const c_char, name: *const c_char) -> c_int = SYS_removexattr(path, name);
    [lremovexattr] (path: *const c_char, name: *const c_char) -> c_int
        = SYS_lremovexattr(path, name);
    [fremovexattr] (fd: c_int, name: *const c_char) -> c_int = SYS_fremovexattr(fd, name);

    [getrandom] (into: *mut c_void, len: size_t, flags: c_uint) -> ssize_t
        = SYS_getrandom(into, len, flags);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: size_t,
    b: size_t,
    c: size_t,
    d: size_t,
    e: size_t,
    f: size_t,
) -> c_long {
    // SAFETY: the caller answers for the arguments; those it did not give are not looked at.
    told(unsafe { Call::new(number, [a, b, c, d, e, f]) }.pass()) as c_long
}

#[unsafe(no_mangle)]
extern "C" fn sync() {
    // SAFETY: no arguments.
    unsafe { Call::new(libc::SYS_sync, [0; 6]) }.pass();
}

/// The error is what it returns; `errno` stays.
#[unsafe(no_mangle)]
extern "C" fn posix_fallocate(fd: c_int, at: off_t, len: off_t) -> c_int {
    let args = sys::args([fd.word(), 0, at.word(), len.word()]);
    // SAFETY: no addresses.
    -(unsafe { Call::new(libc::SYS_fallocate, args) }.pass() as c_int)
}

#[unsafe(no_mangle)]
extern "C" fn posix_fallocate64(fd: c_int, at: off_t, len: off_t) -> c_int {
    posix_fallocate(fd, at, len)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fchmodat(
    dir: c_int,
    path: *const c_char,
    mode: mode_t,
    flags: c_int,
) -> c_int {
    // The older call takes no flags at all.
    let number = if flags == 0 { libc::SYS_fchmodat } else { libc::SYS_fchmodat2 };
    let args = sys::args([dir.word(), path.word(), mode.word(), flags.word()]);
    // SAFETY: the caller answers for the arguments.
    told(unsafe { Call::new(number, args) }.pass()) as c_int
}

/// `remove` of the C standard: a file, or an empty directory.
#[unsafe(no_mangle)]
unsafe extern "C" fn remove(path: *const c_char) -> c_int {
    let args = sys::args([path.word()]);
    // SAFETY: the caller answers for the path.
    let unlinked = unsafe { Call::new(libc::SYS_unlink, args) }.pass();
    if unlinked != -(libc::EISDIR as isize) {
        return told(unlinked) as c_int;
    }
    // SAFETY: as above.
    told(unsafe { Call::new(libc::SYS_rmdir, args) }.pass()) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(into: *mut c_void, len: size_t) -> c_int {
    if len > 256 {
        return told(-(libc::EIO as isize)) as c_int;
    }
    // SAFETY: the caller answers for the memory. So few bytes never come in parts.
    let filled = unsafe { Call::new(libc::SYS_getrandom, sys::args([into.word(), len, 0])) }.pass();
    told(filled.min(0)) as c_int
}

/// Nobody may block the signal of the trap: a trapped call would be the end of the process.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(how: c_int, set: *const u64, old: *mut u64) -> c_int {
    // SAFETY: the caller answers for the addresses.
    -(unsafe { set_mask(how, set, old) } as c_int)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigprocmask(how: c_int, set: *const u64, old: *mut u64) -> c_int {
    // SAFETY: the caller answers for the addresses.
    told(unsafe { set_mask(how, set, old) }) as c_int
}

/// # Safety
/// Each address is null or valid for a set of signals, of which the kernel knows the first word.
unsafe fn set_mask(how: c_int, set: *const u64, old: *mut u64) -> isize {
    // SAFETY: the caller answers for the address.
    let wanted = unsafe { set.as_ref() }.copied();
    let masked =
        wanted.map(|set| if how == libc::SIG_UNBLOCK { set } else { set & !unblockable() });
    let set = masked.as_ref().map_or(ptr::null(), ptr::from_ref);
    let args = sys::args([how.word(), set.word(), old.word(), size_of::<u64>()]);
    // SAFETY: a local, and what the caller answers for.
    unsafe { sys::raw(libc::SYS_rt_sigprocmask, args) }
}

/// The two signals that glibc keeps for itself, as its own functions do, and that of the trap.
fn unblockable() -> u64 {
    let trap = if trap::is_installed() { 1 << (libc::SIGSYS - 1) } else { 0 };
    0b11 << 31 | trap
}

/// libc's own clock, which asks the kernel without entering it.
static CLOCK: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

type Clock = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;

/// Run when the program is loaded: later, the first to ask for the time might be an allocator that
/// holds its own lock, which looking up a symbol may need.
#[used]
#[unsafe(link_section = ".init_array")]
static FIND_CLOCK: extern "C" fn() = {
    extern "C" fn find() {
        // SAFETY: a null-terminated name.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr()) };
        CLOCK.store(found, Relaxed);
    }
    find
};

fn libc_clock() -> Option<Clock> {
    // SAFETY: null or libc's function of that name and type.
    unsafe { transmute::<*mut c_void, Option<Clock>>(CLOCK.load(Relaxed)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, into: *mut timespec) -> c_int {
    let wall = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE);
    match libc_clock() {
        // SAFETY: the caller answers for the address.
        Some(libc) if !wall || !seeds::serves() => unsafe { libc(clock, into) },
        _ => {
            let args = sys::args([clock.word(), into.word()]);
            // SAFETY: the caller answers for the address.
            told(unsafe { Call::new(libc::SYS_clock_gettime, args) }.pass()) as c_int
        }
    }
}

/// The zone has been without meaning since glibc 2.31 and is left as it is.
#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(into: *mut timeval, _zone: *mut c_void) -> c_int {
    let now = wall_clock();
    // SAFETY: the caller answers for the address.
    unsafe { into.write(timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1_000 }) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn time(into: *mut time_t) -> time_t {
    let now = wall_clock().tv_sec;
    if !into.is_null() {
        // SAFETY: the caller answers for the address.
        unsafe { into.write(now) };
    }
    now
}

fn wall_clock() -> timespec {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the address is that of a local.
    unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    now
}
