//! What is trapped in a process that serves disks from memory: system calls that do not come from us,
//! on our descriptors and on whatever they name by a path.

use std::io;
use std::mem::offset_of;
use std::sync::{Mutex, PoisonError};

use libc::*;

use super::{FIRST, identity};
use crate::trap::{self, allow, code, equal, load, of_this_architecture, trapped};

/// Traps what bypasses libc's symbols, from now on, in all threads.
pub(crate) fn trap_all() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*installed {
        trap::install(filter())?;
        identity::follow()?;
        *installed = true;
    }
    Ok(())
}

/// Calls by which of their arguments are descriptors: trapped when one of those is ours.
const BY_DESCRIPTOR: &[(&[usize], &[i64])] = &[
    (
        &[0],
        &[
            SYS_close,
            SYS_dup,
            SYS_fcntl,
            SYS_ioctl,
            SYS_flock,
            SYS_read,
            SYS_write,
            SYS_pread64,
            SYS_pwrite64,
            SYS_readv,
            SYS_writev,
            SYS_preadv,
            SYS_pwritev,
            SYS_preadv2,
            SYS_pwritev2,
            SYS_lseek,
            SYS_fstat,
            SYS_ftruncate,
            SYS_fsync,
            SYS_fdatasync,
            SYS_syncfs,
            SYS_sync_file_range,
            SYS_readahead,
            SYS_fadvise64,
            SYS_fallocate,
            SYS_getdents,
            SYS_getdents64,
            SYS_fchmod,
            SYS_fchown,
            SYS_fchdir,
            SYS_fstatfs,
            SYS_fsetxattr,
            SYS_fgetxattr,
            SYS_flistxattr,
            SYS_fremovexattr,
            SYS_vmsplice,
        ],
    ),
    (&[0, 1], &[SYS_dup2, SYS_dup3, SYS_sendfile, SYS_tee]),
    (&[0, 2], &[SYS_copy_file_range, SYS_splice]),
    (&[1], &[SYS_close_range]),
    (&[2], &[SYS_epoll_ctl]),
    (&[4], &[SYS_mmap]),
];

/// Calls of paths, and those that are refused or followed whatever they say.
const ALWAYS: &[i64] = &[
    SYS_open,
    SYS_creat,
    SYS_openat,
    SYS_openat2,
    SYS_stat,
    SYS_lstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_access,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_readlink,
    SYS_readlinkat,
    SYS_mkdir,
    SYS_mkdirat,
    SYS_mknod,
    SYS_mknodat,
    SYS_symlink,
    SYS_symlinkat,
    SYS_unlink,
    SYS_unlinkat,
    SYS_rmdir,
    SYS_rename,
    SYS_renameat,
    SYS_renameat2,
    SYS_link,
    SYS_linkat,
    SYS_truncate,
    SYS_chmod,
    SYS_fchmodat,
    SYS_fchmodat2,
    SYS_chown,
    SYS_lchown,
    SYS_fchownat,
    SYS_utime,
    SYS_utimes,
    SYS_futimesat,
    SYS_utimensat,
    SYS_statfs,
    SYS_chdir,
    SYS_chroot,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_getxattr,
    SYS_lgetxattr,
    SYS_listxattr,
    SYS_llistxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_inotify_add_watch,
    SYS_name_to_handle_at,
    SYS_umask,
    SYS_setuid,
    SYS_setreuid,
    SYS_setresuid,
    SYS_unshare,
    SYS_setns,
    SYS_io_setup,
    SYS_io_uring_setup,
];

const NOT_BELOW: u32 = BPF_JMP | BPF_JGE | BPF_K;
const SKIP: u32 = BPF_JMP | BPF_JA;

fn filter() -> Vec<sock_filter> {
    let mut program = of_this_architecture();
    for &(arguments, calls) in BY_DESCRIPTOR {
        let block = if_one_is_ours(arguments);
        // A hit skips the remaining comparisons and the way around the block.
        for (index, &call) in calls.iter().enumerate() {
            program.push(equal(call as u32, (calls.len() - index) as u8, 0));
        }
        program.push(code(SKIP, block.len() as u32));
        program.extend(block);
    }
    for (index, &call) in ALWAYS.iter().enumerate() {
        program.push(equal(call as u32, (ALWAYS.len() - index) as u8, 0));
    }
    program.push(allow());
    program.extend(trapped());
    program
}

/// Traps where one of these arguments is a descriptor of ours, and ends there in any case.
fn if_one_is_ours(arguments: &[usize]) -> Vec<sock_filter> {
    let not_below = |k: u32, jt: u8, jf: u8| sock_filter { jt, jf, ..code(NOT_BELOW, k) };
    let mut block = Vec::new();
    for (index, &argument) in arguments.iter().enumerate() {
        let behind = 3 * (arguments.len() - index - 1) + 1;
        block.push(load((offset_of!(seccomp_data, args) + 8 * argument) as u32));
        block.push(not_below(FIRST as u32, 0, 1));
        // Negative numbers mean other things.
        block.push(not_below(1 << 31, 0, behind as u8));
    }
    block.push(allow());
    block.extend(trapped());
    block
}
