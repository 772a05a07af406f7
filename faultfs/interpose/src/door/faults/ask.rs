//! What a system call asks for, in the terms of a plan.

use std::ffi::c_int;
use std::ops::Range;
use std::slice;

use faultfs::Reach;
use faultfs::plan::OpKind;
use libc::iovec;

use super::super::files::PARTS_MAX;
use super::super::sys::{self, Returned};
use super::super::{Call, DOOR, maps};
use super::halves::{self, At};
use super::text::What;

/// A call as rules match it.
pub(super) struct Asked {
    pub(super) kind: OpKind,
    pub(super) what: What,
    pub(super) other: Option<What>,
    pub(super) offset: Option<u64>,
    pub(super) len: u64,
    /// An open that asks for write access.
    pub(super) writes: bool,
    /// What the door can do beyond carrying the call out.
    pub(super) reach: Reach,
}

impl Asked {
    fn new(kind: OpKind, what: What) -> Option<Self> {
        let (offset, reach) = (None, Reach::Call);
        Some(Self { kind, what, other: None, offset, len: 0, writes: false, reach })
    }

    /// The bytes of the file that a sync is about.
    pub(super) fn synced(&self) -> Range<u64> {
        match (self.kind, self.offset) {
            (OpKind::SyncMap, Some(offset)) => offset..offset.saturating_add(self.len),
            _ => 0..u64::MAX,
        }
    }

    fn sized(kind: OpKind, what: What, len: u64) -> Option<Self> {
        Some(Self { len, ..Self::new(kind, what)? })
    }

    fn between(kind: OpKind, what: What, other: What) -> Option<Self> {
        Some(Self { other: Some(other), ..Self::new(kind, what)? })
    }
}

/// What a call asks for; none for what no rule is about.
pub(super) fn of(call: &Call) -> Option<Asked> {
    const CWD: c_int = libc::AT_FDCWD;
    let [a, b, c, d, e, _] = call.args;
    let (fd, path) = (a as c_int, What::Path);
    match call.number {
        libc::SYS_read
        | libc::SYS_readv
        | libc::SYS_pread64
        | libc::SYS_preadv
        | libc::SYS_preadv2 => moved(call, OpKind::Read),
        libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_pwrite64
        | libc::SYS_pwritev
        | libc::SYS_pwritev2 => moved(call, OpKind::Write),
        libc::SYS_copy_file_range => copied(c as c_int, d, e),
        libc::SYS_sendfile => copied(fd, 0, d),
        libc::SYS_open => opened(CWD, a, b as c_int),
        libc::SYS_creat => opened(CWD, a, libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY),
        libc::SYS_openat => opened(fd, b, c as c_int),
        libc::SYS_openat2 => opened(fd, b, how(c, d)?),
        libc::SYS_mknod => Asked::new(OpKind::Create, path(CWD, a)),
        libc::SYS_mknodat => Asked::new(OpKind::Create, path(fd, b)),
        libc::SYS_fsync | libc::SYS_fdatasync => {
            let is_dir = DOOR.behind(fd)?.is(libc::S_IFDIR);
            let kind = if is_dir { OpKind::SyncDir } else { OpKind::Sync };
            Some(Asked { reach: Reach::Filesystem, ..Asked::new(kind, What::Fd(fd))? })
        }
        libc::SYS_mmap => on(e as c_int, |what| Asked::new(OpKind::Map, what)),
        libc::SYS_msync if c as c_int & libc::MS_SYNC != 0 => match maps::find(a, b) {
            maps::Found::One { file, offset, len, .. } if file != 0 => {
                let asked = Asked::sized(OpKind::SyncMap, What::Fd(file), len)?;
                Some(Asked { offset: Some(offset), reach: Reach::Filesystem, ..asked })
            }
            _ => None,
        },
        libc::SYS_sync | libc::SYS_syncfs => Asked::new(OpKind::SyncAll, What::Everything),
        libc::SYS_ftruncate => {
            let size = DOOR.behind(fd).map(|stat| stat.size);
            on(fd, |what| resized(what, size, b as u64))
        }
        libc::SYS_truncate => {
            let size = sys::fstatat(CWD, a, 0).ok().map(|stat| stat.size);
            resized(path(CWD, a), size, b as u64)
        }
        libc::SYS_fallocate => {
            // Other modes leave the size alone.
            let size = DOOR.behind(fd).filter(|_| b as c_int == 0).map(|stat| stat.size);
            on(fd, |what| resized(what, size, (c as u64).saturating_add(d as u64)))
        }
        libc::SYS_fchmod => on(fd, |what| Asked::new(OpKind::SetMode, what)),
        libc::SYS_chmod => Asked::new(OpKind::SetMode, path(CWD, a)),
        libc::SYS_fchmodat | libc::SYS_fchmodat2 => Asked::new(OpKind::SetMode, path(fd, b)),
        libc::SYS_fstat => on(fd, |what| Asked::new(OpKind::Metadata, what)),
        libc::SYS_stat | libc::SYS_lstat | libc::SYS_access => {
            Asked::new(OpKind::Metadata, path(CWD, a))
        }
        libc::SYS_newfstatat => looked(fd, b, d as c_int),
        libc::SYS_statx => looked(fd, b, c as c_int),
        libc::SYS_faccessat | libc::SYS_faccessat2 => Asked::new(OpKind::Metadata, path(fd, b)),
        libc::SYS_getdents64 => on(fd, listed),
        libc::SYS_readlink => Asked::new(OpKind::ReadLink, path(CWD, a)),
        libc::SYS_readlinkat => Asked::new(OpKind::ReadLink, path(fd, b)),
        libc::SYS_rename => renamed((CWD, a), (CWD, b), 0),
        libc::SYS_renameat => renamed((fd, b), (c as c_int, d), 0),
        libc::SYS_renameat2 => renamed((fd, b), (c as c_int, d), e as u32),
        libc::SYS_link => Asked::between(OpKind::Link, path(CWD, a), path(CWD, b)),
        libc::SYS_linkat => {
            let from = if e as c_int & libc::AT_EMPTY_PATH != 0 && is_empty(b) {
                What::Fd(fd)
            } else {
                path(fd, b)
            };
            Asked::between(OpKind::Link, from, path(c as c_int, d))
        }
        libc::SYS_unlink => Asked::new(OpKind::Remove, path(CWD, a)),
        libc::SYS_rmdir => Asked::new(OpKind::RemoveDir, path(CWD, a)),
        libc::SYS_unlinkat => {
            let dir = c as c_int & libc::AT_REMOVEDIR != 0;
            Asked::new(if dir { OpKind::RemoveDir } else { OpKind::Remove }, path(fd, b))
        }
        libc::SYS_symlink => Asked::new(OpKind::Symlink, path(CWD, b)),
        libc::SYS_symlinkat => Asked::new(OpKind::Symlink, path(b as c_int, c)),
        libc::SYS_mkdir => Asked::new(OpKind::CreateDir, path(CWD, a)),
        libc::SYS_mkdirat => Asked::new(OpKind::CreateDir, path(fd, b)),
        _ => None,
    }
}

/// A call on a descriptor that may be below the root.
fn on(fd: c_int, asked: impl FnOnce(What) -> Option<Asked>) -> Option<Asked> {
    if DOOR.fds.get(fd) == 0 { None } else { asked(What::Fd(fd)) }
}

/// A change of size; grows from `size`.
fn resized(what: What, size: Option<u64>, len: u64) -> Option<Asked> {
    Some(Asked { offset: size, reach: Reach::File, ..Asked::sized(OpKind::SetLen, what, len)? })
}

/// A rename. Half of one is one of a regular file, in the place of another or of none.
fn renamed(from: At, to: At, flags: u32) -> Option<Asked> {
    let exchange = flags & libc::RENAME_EXCHANGE != 0;
    let kind = if exchange { OpKind::Exchange } else { OpKind::Rename };
    let halves = flags == 0 && halves::are_possible(from, to);
    let reach = if halves { Reach::Filesystem } else { Reach::Call };
    let asked = Asked::between(kind, What::Path(from.0, from.1), What::Path(to.0, to.1))?;
    Some(Asked { reach, ..asked })
}

/// A read or write of a file.
fn moved(call: &Call, kind: OpKind) -> Option<Asked> {
    let fd = call.args[0] as c_int;
    if DOOR.fds.get(fd) == 0 || !DOOR.behind(fd)?.is(libc::S_IFREG) {
        return None;
    }
    let len = parts(call, |parts| {
        parts.iter().fold(0u64, |len, part| len.saturating_add(part.iov_len as u64))
    })?;
    let offset = if kind == OpKind::Write { written_at(call) } else { offset(call) };
    Some(Asked { offset, len, reach: Reach::Filesystem, ..Asked::new(kind, What::Fd(fd))? })
}

/// Shows the parts of memory that a read or write is about; none where the kernel refuses them.
pub(super) fn parts<T>(call: &Call, see: impl FnOnce(&[iovec]) -> T) -> Option<T> {
    let [_, address, count, ..] = call.args;
    if is_single(call) {
        let base = std::ptr::with_exposed_provenance_mut(address);
        return Some(see(&[iovec { iov_base: base, iov_len: count }]));
    }
    if count > PARTS_MAX {
        return None;
    }
    // SAFETY: the program answers for the vector, see `Call::new`.
    Some(see(unsafe { slice::from_raw_parts(std::ptr::with_exposed_provenance(address), count) }))
}

pub(super) fn is_single(call: &Call) -> bool {
    matches!(call.number, libc::SYS_read | libc::SYS_write | libc::SYS_pread64 | libc::SYS_pwrite64)
}

/// Where a read or a write that does not append begins.
fn offset(call: &Call) -> Option<u64> {
    match is_at_position(call) {
        true => here(call),
        false => Some(call.args[3] as u64).filter(|at| i64::try_from(*at).is_ok()),
    }
}

/// Whether a read or a write begins at the file's position, and moves it.
pub(super) fn is_at_position(call: &Call) -> bool {
    match call.number {
        libc::SYS_read | libc::SYS_write | libc::SYS_readv | libc::SYS_writev => true,
        libc::SYS_preadv2 | libc::SYS_pwritev2 => call.args[3] == usize::MAX,
        _ => false,
    }
}

fn written_at(call: &Call) -> Option<u64> {
    let fd = call.args[0] as c_int;
    let flags = if call.number == libc::SYS_pwritev2 { call.args[5] as c_int } else { 0 };
    let open = sys::open_flags(fd) & libc::O_APPEND != 0 && flags & libc::RWF_NOAPPEND == 0;
    match open || flags & libc::RWF_APPEND != 0 {
        true => Some(DOOR.behind(fd)?.size),
        false => offset(call),
    }
}

fn here(call: &Call) -> Option<u64> {
    u64::try_from(sys::position(call.args[0] as c_int)).ok()
}

/// A copy into a file.
fn copied(to: c_int, at: usize, len: usize) -> Option<Asked> {
    let offset = match at {
        0 => u64::try_from(sys::position(to)).ok(),
        // SAFETY: the program answers for the address, see `Call::new`.
        _ => u64::try_from(unsafe { std::ptr::with_exposed_provenance::<i64>(at).read() }).ok(),
    };
    let asked = |what| Some(Asked { offset, ..Asked::sized(OpKind::Write, what, len as u64)? });
    on(to, asked)
}

fn opened(dir: c_int, path: usize, flags: c_int) -> Option<Asked> {
    if flags & libc::O_PATH != 0 {
        return None;
    }
    let unnamed = flags & libc::O_TMPFILE == libc::O_TMPFILE;
    let absent = || sys::fstatat(dir, path, 0).err() == Some(-(libc::ENOENT as Returned));
    let creates = unnamed || flags & libc::O_CREAT != 0 && absent();
    let kind = if creates { OpKind::Create } else { OpKind::Open };
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
    Some(Asked { writes, ..Asked::new(kind, What::Path(dir, path))? })
}

/// The flags of an `openat2`.
fn how(address: usize, len: usize) -> Option<c_int> {
    // SAFETY: the program answers for the address; the flags are the first word there.
    let flags = || unsafe { std::ptr::with_exposed_provenance::<u64>(address).read() };
    (len >= size_of::<[u64; 3]>()).then(|| flags() as c_int)
}

/// `fstatat` and its kin, of a path or of a descriptor.
fn looked(dir: c_int, path: usize, flags: c_int) -> Option<Asked> {
    let of_open = flags & libc::AT_EMPTY_PATH != 0 && is_empty(path);
    match of_open {
        true => on(dir, |what| Asked::new(OpKind::Metadata, what)),
        false => Asked::new(OpKind::Metadata, What::Path(dir, path)),
    }
}

/// A listing takes several calls; the first is the one that counts.
fn listed(what: What) -> Option<Asked> {
    let What::Fd(fd) = what else { return None };
    if sys::position(fd) == 0 { Asked::new(OpKind::ReadDir, what) } else { None }
}

/// No path, or one of no length, which is allowed for the descriptor itself.
fn is_empty(path: usize) -> bool {
    if path == 0 {
        return true;
    }
    // SAFETY: the kernel has just read there, and found the end of a path.
    sys::is_path(path) && unsafe { std::ptr::with_exposed_provenance::<u8>(path).read() } == 0
}
