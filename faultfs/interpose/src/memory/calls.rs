//! Which call is whose, and what its arguments mean.

#![allow(non_upper_case_globals, reason = "the names of system calls, as patterns")]

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use libc::*;

use super::contents::{parts, position};
use super::maps;
use super::place::{Place, is_ours};
use super::{ABOVE_CHANGED, ESCAPED, LEFT_TO, Mount, Outcome, ROOT, hold, identity, unserved};
use crate::door::Call;
use crate::door::sys::{self, Returned};

const CWD: usize = AT_FDCWD as usize;

/// Serves a call, or lets the kernel do it.
#[inline(never)]
pub(crate) fn pass(call: &Call) -> Returned {
    match serve(call) {
        None => {
            if changes_outside(call) {
                ABOVE_CHANGED.store(true, Relaxed);
            }
            call.perform()
        }
        Some(Ok(value)) => value as Returned,
        Some(Err(ESCAPED)) => {
            unserved(&"a path that leads out of the root");
            call.perform()
        }
        Some(Err(error)) => -(error as Returned),
    }
}

/// What the mount does; without one the call is the kernel's, which does not know our descriptors.
fn on_mount(serve: impl FnOnce(&mut Mount) -> Outcome) -> Option<Outcome> {
    hold().as_mut().map(serve)
}

/// Whether a descriptor is one that an earlier mount left open. It is good for nothing but to be closed,
/// as its owner, who may be any thread, believes that it is open.
fn is_left(fd: usize) -> bool {
    (super::FIRST..LEFT_TO.load(Relaxed)).contains(&(fd as c_int))
}

/// A call of a descriptor.
fn on(fd: usize, serve: impl FnOnce(&mut Mount, c_int) -> Outcome) -> Option<Outcome> {
    let fd = fd as c_int;
    if !is_ours(fd) {
        return None;
    }
    on_mount(|mount| serve(mount, fd))
}

/// A call of a path. `empty`: none means the descriptor itself.
fn at(
    dir: usize,
    path: usize,
    empty: bool,
    serve: impl FnOnce(&mut Mount, &Place<'_>) -> Outcome,
) -> Option<Outcome> {
    let place = Place::of(dir as c_int, path, empty)?;
    on_mount(|mount| serve(mount, &place))
}

/// A call of two paths.
fn between(
    from: (usize, usize, bool),
    to: (usize, usize),
    serve: impl FnOnce(&mut Mount, &Place<'_>, &Place<'_>) -> Outcome,
) -> Option<Outcome> {
    let from = Place::of(from.0 as c_int, from.1, from.2);
    let to = Place::of(to.0 as c_int, to.1, false);
    match (from, to) {
        (None, None) => None,
        (Some(from), Some(to)) => on_mount(|mount| serve(mount, &from, &to)),
        _ => {
            unserved(&"a name moved into the root or out of it");
            Some(Err(EXDEV))
        }
    }
}

fn serve(call: &Call) -> Option<Outcome> {
    let [a, b, c, ..] = call.args;
    match call.number {
        SYS_close | SYS_dup | SYS_dup2 | SYS_dup3 | SYS_fcntl | SYS_ioctl | SYS_flock => {
            descriptors(call)
        }
        SYS_read => on(a, |m, fd| m.read(fd, &[(b, clamp(c))], None)),
        SYS_write => on(a, |m, fd| m.write(fd, &[(b, clamp(c))], None)),
        SYS_pread64 | SYS_pwrite64 | SYS_readv | SYS_writev | SYS_preadv | SYS_pwritev
        | SYS_preadv2 | SYS_pwritev2 => vectors(call),
        SYS_lseek => on(a, |m, fd| m.seek(fd, b, c as c_int)),
        SYS_fstat => on(a, |m, fd| {
            let ino = m.opens.get(fd).ok_or(EBADF)?.ino;
            m.put_stat(ino, b)
        }),
        SYS_ftruncate => on(a, |m, fd| m.truncate_open(fd, b)),
        SYS_fsync | SYS_fdatasync | SYS_syncfs | SYS_sync_file_range | SYS_readahead
        | SYS_fadvise64 => on(a, Mount::sync),
        SYS_fallocate => on(a, |m, fd| m.allocate(fd, b as c_int, c, call.args[3])),
        SYS_copy_file_range | SYS_sendfile | SYS_splice | SYS_tee | SYS_vmsplice => copies(call),
        SYS_mmap => {
            maps::make_room(call);
            on(call.args[4], |m, _| m.map(call.args))
        }
        SYS_munmap | SYS_mremap => maps::changed(call),
        SYS_mprotect => {
            maps::protected(call);
            None
        }
        SYS_getdents64 => on(a, |m, fd| m.list(fd, b, c)),
        SYS_fchmod | SYS_fchown | SYS_fchdir | SYS_fstatfs | SYS_fsetxattr | SYS_fgetxattr
        | SYS_flistxattr | SYS_fremovexattr | SYS_getdents => metadata_of_open(call),
        SYS_close_range => {
            if b as c_uint as i64 >= i64::from(super::FIRST)
                && c as c_uint & CLOSE_RANGE_CLOEXEC == 0
            {
                unserved(&"close_range");
            }
            None
        }
        SYS_epoll_ctl => on(c, |m, fd| m.sync(fd).and(Err(EPERM))),
        SYS_umask => {
            let mut held = hold();
            let umask = &mut held.as_mut()?.umask;
            *umask = a as u32 & 0o777;
            None
        }
        SYS_setuid | SYS_setreuid | SYS_setresuid | SYS_unshare | SYS_setns => {
            identity::forget_user();
            unserved(&"another user, or another namespace");
            None
        }
        SYS_io_setup | SYS_io_uring_setup => {
            unserved(&"io_uring or libaio");
            Some(Err(ENOSYS))
        }
        _ => paths(call),
    }
}

/// Whether a call that is not ours may change what is told of a folder.
fn changes_outside(call: &Call) -> bool {
    match call.number {
        SYS_openat => call.args[2] as c_int & O_CREAT != 0,
        SYS_open => call.args[1] as c_int & O_CREAT != 0,
        SYS_creat | SYS_openat2 | SYS_mkdir | SYS_mkdirat | SYS_mknod | SYS_mknodat
        | SYS_symlink | SYS_symlinkat | SYS_unlink | SYS_unlinkat | SYS_rmdir | SYS_rename
        | SYS_renameat | SYS_renameat2 | SYS_link | SYS_linkat | SYS_chmod | SYS_fchmodat
        | SYS_fchmodat2 | SYS_chown | SYS_lchown | SYS_fchownat | SYS_utimensat | SYS_utimes
        | SYS_futimesat | SYS_utime | SYS_fchmod | SYS_fchown => true,
        _ => false,
    }
}

fn descriptors(call: &Call) -> Option<Outcome> {
    let [a, b, c, ..] = call.args;
    match call.number {
        SYS_close if is_left(a) => Some(Ok(0)),
        SYS_fcntl if is_left(a) && b as c_int == F_GETFD => Some(Ok(FD_CLOEXEC as usize)),
        SYS_close => on(a, Mount::close),
        SYS_dup => on(a, |m, fd| m.duplicate(fd, 0, false)),
        SYS_dup2 | SYS_dup3 if is_ours(a as c_int) || is_ours(b as c_int) => {
            if call.number == SYS_dup3 && a == b {
                return Some(Err(EINVAL));
            }
            let cloexec = call.number == SYS_dup3 && c as c_int & O_CLOEXEC != 0;
            on_mount(|m| m.duplicate_to(a as c_int, b as c_int, cloexec))
        }
        SYS_fcntl => match b as c_int {
            F_SETLKW | F_OFD_SETLKW => patiently(|| on(a, |m, fd| m.lock_range(fd, b as c_int, c))),
            F_SETLK | F_GETLK | F_OFD_SETLK | F_OFD_GETLK => {
                on(a, |m, fd| m.lock_range(fd, b as c_int, c))
            }
            command => on(a, |m, fd| m.control(fd, command, c)),
        },
        SYS_ioctl => on(a, |m, fd| m.control_device(fd, b as u32, c)),
        SYS_flock if b as c_int & LOCK_NB == 0 => {
            patiently(|| on(a, |m, fd| m.lock_whole(fd, b as c_int)))
        }
        SYS_flock => on(a, |m, fd| m.lock_whole(fd, b as c_int)),
        _ => None,
    }
}

/// Asks for a lock until it is given: by another thread, as there is nobody else.
fn patiently(ask: impl Fn() -> Option<Outcome>) -> Option<Outcome> {
    loop {
        match ask() {
            Some(Err(EAGAIN)) => {}
            answer => return answer,
        }
        let short = timespec { tv_sec: 0, tv_nsec: 100_000 };
        let given = sys::args([ptr::from_ref(&short).expose_provenance(), 0]);
        // SAFETY: the address of a local.
        unsafe { sys::raw(SYS_nanosleep, given) };
    }
}

fn vectors(call: &Call) -> Option<Outcome> {
    let [a, b, c, d, _, flags] = call.args;
    on(a, |m, fd| {
        let one = [(b, clamp(c))];
        match call.number {
            SYS_pread64 => m.read(fd, &one, Some(position(d)?)),
            SYS_pwrite64 => m.write(fd, &one, Some(position(d)?)),
            SYS_readv => m.read(fd, &parts(b, c)?, None),
            SYS_writev => m.write(fd, &parts(b, c)?, None),
            SYS_preadv => m.read(fd, &parts(b, c)?, Some(position(d)?)),
            SYS_pwritev => m.write(fd, &parts(b, c)?, Some(position(d)?)),
            number => {
                // Hints, and syncs of what needs none.
                const KNOWN: c_int = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT;
                if flags as c_int & !KNOWN != 0 {
                    unserved(&"a flag of preadv2 or pwritev2");
                    return Err(EOPNOTSUPP);
                }
                let at = if d as i64 == -1 { None } else { Some(position(d)?) };
                match number {
                    SYS_preadv2 => m.read(fd, &parts(b, c)?, at),
                    _ => m.write(fd, &parts(b, c)?, at),
                }
            }
        }
    })
}

fn clamp(count: usize) -> usize {
    count.min(0x7fff_f000)
}

fn copies(call: &Call) -> Option<Outcome> {
    let [a, b, c, d, len, flags] = call.args;
    let ours = |fd: usize| is_ours(fd as c_int);
    match call.number {
        SYS_copy_file_range if ours(a) && ours(c) => on_mount(|m| match flags {
            0 => m.copy((a as c_int, b), (c as c_int, d), len),
            _ => Err(EINVAL),
        }),
        // As between two file systems.
        SYS_copy_file_range if ours(a) || ours(c) => Some(Err(EXDEV)),
        SYS_sendfile if ours(a) && ours(b) => {
            on_mount(|m| m.copy((b as c_int, c), (a as c_int, 0), d))
        }
        SYS_sendfile if ours(b) => on_mount(|m| m.send(b as c_int, a as c_int, c, d)),
        SYS_sendfile => on(a, Mount::receive),
        // As by a file system without them.
        SYS_splice if ours(a) || ours(c) => Some(Err(EINVAL)),
        SYS_tee if ours(a) || ours(b) => Some(Err(EINVAL)),
        SYS_vmsplice if ours(a) => Some(Err(EBADF)),
        _ => None,
    }
}

fn metadata_of_open(call: &Call) -> Option<Outcome> {
    let [a, b, c, ..] = call.args;
    on(a, |m, fd| {
        let open = m.opens.get(fd).ok_or(EBADF)?;
        let (ino, is_path) = (open.ino, open.flags & O_PATH != 0);
        match call.number {
            SYS_fstatfs => real_statfs(&m.root.path, b),
            _ if is_path => Err(EBADF),
            SYS_fchmod => m.set_mode(ino, b as u32),
            SYS_fchown => m.set_owner(ino, b as u32, c as u32),
            SYS_flistxattr => Ok(0),
            SYS_fgetxattr | SYS_fremovexattr => Err(ENODATA),
            _ => {
                unserved(&"an extended attribute, fchdir or an old call");
                Err(EOPNOTSUPP)
            }
        }
    })
}

fn paths(call: &Call) -> Option<Outcome> {
    let [a, b, c, d, e, _] = call.args;
    let follow = |flags: usize| flags as c_int & AT_SYMLINK_NOFOLLOW == 0;
    let empty = |flags: usize| flags as c_int & AT_EMPTY_PATH != 0;
    match call.number {
        SYS_openat => at(a, b, false, |m, p| m.open_at(p, c as c_int, d as u32)),
        SYS_open => at(CWD, a, false, |m, p| m.open_at(p, b as c_int, c as u32)),
        SYS_creat => at(CWD, a, false, |m, p| m.open_at(p, O_CREAT | O_TRUNC | O_WRONLY, b as u32)),
        // As by a kernel without it: whoever asks knows what to do then.
        SYS_openat2 => at(a, b, false, |_, _| Err(ENOSYS)),
        SYS_stat => at(CWD, a, false, |m, p| m.stat_at(p, 0, b)).or_else(|| above(a, b)),
        SYS_lstat => {
            at(CWD, a, false, |m, p| m.stat_at(p, AT_SYMLINK_NOFOLLOW, b)).or_else(|| above(a, b))
        }
        SYS_newfstatat => at(a, b, empty(d), |m, p| m.stat_at(p, d as c_int, c)),
        SYS_statx => at(a, b, empty(c), |m, p| m.statx(p, c as c_int, e)),
        SYS_access => at(CWD, a, false, |m, p| m.access(p, b as c_int, 0)),
        SYS_faccessat => at(a, b, false, |m, p| m.access(p, c as c_int, 0)),
        SYS_faccessat2 => at(a, b, empty(d), |m, p| m.access(p, c as c_int, d as c_int)),
        SYS_readlink => at(CWD, a, false, |m, p| m.read_link(p, b, c)),
        SYS_readlinkat => at(a, b, true, |m, p| m.read_link(p, c, d)),
        SYS_mkdir => at(CWD, a, false, |m, p| m.make_dir(p, b as u32)),
        SYS_mkdirat => at(a, b, false, |m, p| m.make_dir(p, c as u32)),
        SYS_mknod => at(CWD, a, false, |m, p| m.make_node(p, b as u32)),
        SYS_mknodat => at(a, b, false, |m, p| m.make_node(p, c as u32)),
        SYS_symlink => at(CWD, b, false, |m, p| m.make_symlink(text(a), p)),
        SYS_symlinkat => at(b, c, false, |m, p| m.make_symlink(text(a), p)),
        SYS_unlink => at(CWD, a, false, |m, p| m.unlink(p)),
        SYS_rmdir => at(CWD, a, false, |m, p| m.remove_dir(p)),
        SYS_unlinkat => at(a, b, false, |m, p| match c as c_int {
            0 => m.unlink(p),
            AT_REMOVEDIR => m.remove_dir(p),
            _ => Err(EINVAL),
        }),
        SYS_rename => between((CWD, a, false), (CWD, b), |m, p, q| m.rename(p, q, 0)),
        SYS_renameat => between((a, b, false), (c, d), |m, p, q| m.rename(p, q, 0)),
        SYS_renameat2 => between((a, b, false), (c, d), |m, p, q| m.rename(p, q, e as u32)),
        SYS_link => between((CWD, a, false), (CWD, b), |m, p, q| m.link(p, q, false)),
        SYS_linkat if e as c_int & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 => None,
        SYS_linkat => between((a, b, empty(e)), (c, d), |m, p, q| {
            m.link(p, q, e as c_int & AT_SYMLINK_FOLLOW != 0)
        }),
        SYS_truncate if (b as i64) < 0 => None,
        SYS_truncate => at(CWD, a, false, |m, p| {
            let ino = m.at(p, true)?;
            m.truncate(ino, b)
        }),
        SYS_chmod => at(CWD, a, false, |m, p| set_mode(m, p, b, true)),
        SYS_fchmodat => at(a, b, false, |m, p| set_mode(m, p, c, true)),
        SYS_fchmodat2 => at(a, b, empty(d), |m, p| set_mode(m, p, c, follow(d))),
        SYS_chown => at(CWD, a, false, |m, p| set_owner(m, p, (b, c), true)),
        SYS_lchown => at(CWD, a, false, |m, p| set_owner(m, p, (b, c), false)),
        SYS_fchownat => at(a, b, empty(e), |m, p| set_owner(m, p, (c, d), follow(e))),
        SYS_utimensat => at(a, b, b == 0 || empty(d), |m, p| {
            let ino = m.at(p, follow(d))?;
            m.set_times(ino, times(c, 1))
        }),
        SYS_utimes => at(CWD, a, false, |m, p| {
            let ino = m.at(p, true)?;
            m.set_times(ino, times(b, 1_000))
        }),
        SYS_futimesat => at(a, b, b == 0, |m, p| {
            let ino = m.at(p, true)?;
            m.set_times(ino, times(c, 1_000))
        }),
        SYS_statfs => at(CWD, a, false, |m, p| {
            m.at(p, true)?;
            real_statfs(&m.root.path, b)
        }),
        SYS_getxattr | SYS_lgetxattr | SYS_removexattr | SYS_lremovexattr => {
            at(CWD, a, false, |m, p| m.at(p, true).and(Err(ENODATA)))
        }
        SYS_listxattr | SYS_llistxattr => at(CWD, a, false, |m, p| m.at(p, true).map(|_| 0)),
        _ => refused(call),
    }
}

/// Calls that know nothing of the mount: seen, answered by the real and empty folder, and noted.
fn refused(call: &Call) -> Option<Outcome> {
    let [a, b, ..] = call.args;
    let place = match call.number {
        SYS_chdir | SYS_chroot | SYS_utime | SYS_setxattr | SYS_lsetxattr | SYS_uselib => {
            Place::of(AT_FDCWD, a, false)
        }
        SYS_inotify_add_watch => Place::of(AT_FDCWD, b, false),
        SYS_name_to_handle_at => Place::of(a as c_int, b, true),
        _ => None,
    };
    place?;
    unserved(&"a call on a path that is not served: chdir, utime, setxattr, inotify and their kin");
    None
}

fn set_mode(mount: &mut Mount, place: &Place<'_>, mode: usize, follow: bool) -> Outcome {
    let ino = mount.at(place, follow)?;
    mount.set_mode(ino, mode as u32)
}

fn set_owner(mount: &mut Mount, place: &Place<'_>, of: (usize, usize), follow: bool) -> Outcome {
    let ino = mount.at(place, follow)?;
    mount.set_owner(ino, of.0 as u32, of.1 as u32)
}

fn text<'a>(address: usize) -> &'a [u8] {
    // SAFETY: the program answers for the text until its call returns.
    unsafe { CStr::from_ptr(ptr::with_exposed_provenance(address)) }.to_bytes()
}

/// Two times at an address, where there are any; `unit`: nanoseconds in what their second half counts.
fn times(address: usize, unit: i64) -> Option<[timespec; 2]> {
    // SAFETY: null, or the program answers for the address; both kinds of time are two words.
    let given = unsafe { ptr::with_exposed_provenance::<[timespec; 2]>(address).as_ref() }?;
    Some(given.map(|time| timespec { tv_nsec: time.tv_nsec.saturating_mul(unit), ..time }))
}

/// `statfs` of the real folder, to an address.
fn real_statfs(folder: &Path, into: usize) -> Outcome {
    let path = [folder.as_os_str().as_bytes(), b"\0"].concat();
    let given = sys::args([path.as_ptr().expose_provenance(), into]);
    // SAFETY: a path that ends in zero; the program answers for the address.
    let returned = unsafe { sys::raw(SYS_statfs, given) };
    usize::try_from(returned).map_err(|_| -returned as c_int)
}

/// `stat` of a folder above the root, none of which is a symbolic link: walking there and back is what a
/// database does first when it opens.
fn above(path: usize, into: usize) -> Option<Outcome> {
    if path == 0 || ABOVE_CHANGED.load(Relaxed) {
        return None;
    }
    // SAFETY: set before there was a mount, and never freed.
    let root = unsafe { ROOT.load(Acquire).as_ref() }?;
    let path = text(path);
    let is_above = root.path.as_os_str().as_bytes().starts_with(path);
    let (_, found) = root.above.iter().find(|(len, _)| is_above && *len == path.len())?;
    // SAFETY: the program answers for the address.
    unsafe { ptr::with_exposed_provenance_mut::<stat>(into).write_unaligned(*found) };
    Some(Ok(0))
}

/// `stat` of a real folder.
pub(super) fn real_metadata(folder: &Path) -> Option<stat> {
    let path = [folder.as_os_str().as_bytes(), b"\0"].concat();
    // SAFETY: a path that ends in zero.
    unsafe { real_stat(SYS_stat, path.as_ptr().expose_provenance()) }
}

/// When an open folder was last changed.
pub(super) fn change_time(folder: c_int) -> Option<(i64, i64)> {
    // SAFETY: no address.
    let found = unsafe { real_stat(SYS_fstat, folder as usize) }?;
    Some((found.st_ctime, found.st_ctime_nsec))
}

/// # Safety
/// As for the call's first argument.
unsafe fn real_stat(number: c_long, of: usize) -> Option<stat> {
    let mut found = MaybeUninit::<stat>::uninit();
    let into = found.as_mut_ptr().expose_provenance();
    // SAFETY: the caller answers for the one, the other is the address of a local.
    let returned = unsafe { sys::raw(number, sys::args([of, into])) };
    // SAFETY: filled in, as the call succeeded.
    (returned == 0).then(|| unsafe { found.assume_init() })
}

/// Whether a mount is active: for what no call shows.
pub(super) fn is_active() -> bool {
    hold().is_some()
}
