//! The libc functions for what is only looked at: nothing to record, all to serve.

use std::ffi::{c_char, c_int, c_uint, c_void};

use libc::{gid_t, iovec, off_t, size_t, ssize_t, timespec, uid_t};

use crate::door::{Call, sys};
use crate::symbols::{Address, Word, call, calls, told};

calls! {
    [pread pread64] (fd: c_int, into: *mut c_void, len: size_t, at: off_t) -> ssize_t
        = SYS_pread64(fd, into, len, at);
    [readv] (fd: c_int, parts: *const iovec, count: c_int) -> ssize_t = SYS_readv(fd, parts, count);
    [preadv preadv64] (fd: c_int, parts: *const iovec, count: c_int, at: off_t) -> ssize_t
        = SYS_preadv(fd, parts, count, at, 0usize);
    [preadv2 preadv64v2]
        (fd: c_int, parts: *const iovec, count: c_int, at: off_t, flags: c_int) -> ssize_t
        = SYS_preadv2(fd, parts, count, at, 0usize, flags);
    [lseek lseek64] (fd: c_int, by: off_t, whence: c_int) -> off_t = SYS_lseek(fd, by, whence);

    [stat stat64] (path: *const c_char, into: *mut c_void) -> c_int = SYS_stat(path, into);
    [lstat lstat64] (path: *const c_char, into: *mut c_void) -> c_int = SYS_lstat(path, into);
    [fstat fstat64] (fd: c_int, into: *mut c_void) -> c_int = SYS_fstat(fd, into);
    [fstatat fstatat64]
        (dir: c_int, path: *const c_char, into: *mut c_void, flags: c_int) -> c_int
        = SYS_newfstatat(dir, path, into, flags);
    [statx]
        (dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, into: *mut c_void) -> c_int
        = SYS_statx(dir, path, flags, mask, into);
    [access] (path: *const c_char, want: c_int) -> c_int = SYS_access(path, want);
    [readlink] (path: *const c_char, into: *mut c_char, len: size_t) -> ssize_t
        = SYS_readlink(path, into, len);
    [readlinkat] (dir: c_int, path: *const c_char, into: *mut c_char, len: size_t) -> ssize_t
        = SYS_readlinkat(dir, path, into, len);

    [flock] (fd: c_int, operation: c_int) -> c_int = SYS_flock(fd, operation);
    [chown] (path: *const c_char, uid: uid_t, gid: gid_t) -> c_int = SYS_chown(path, uid, gid);
    [fchown] (fd: c_int, uid: uid_t, gid: gid_t) -> c_int = SYS_fchown(fd, uid, gid);
    [futimens] (fd: c_int, times: *const timespec) -> c_int
        = SYS_utimensat(fd, 0usize, times, 0usize);
    [utimensat]
        (dir: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int
        = SYS_utimensat(dir, path, times, flags);
}
