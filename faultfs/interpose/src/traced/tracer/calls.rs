//! The calls that change something below the root, or make it durable: what is written down of each.
//!
//! A call is looked at when it is about to be made, and where that tells something, again when it has returned.

use std::ffi::c_int;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use libc::sock_filter;

use super::mapped::Mapped;
use super::recording::Recording;
use super::tracee::Call;
use crate::door::flags_of;
use crate::record::Kind;
use crate::trap;

/// What is done when a call has returned, with what it returned.
pub(super) type Exit = Box<dyn FnOnce(&mut Recording, i64)>;

/// How a call goes on.
pub(super) enum Then {
    /// It is of no interest.
    Go,
    /// It is looked at again at its end.
    Wait(Exit),
    /// The same, and nobody changes anything in between.
    Hold(Exit),
    /// As on a kernel that does not have it.
    Refuse,
}

const CWD: c_int = libc::AT_FDCWD;
pub(super) const TMPFILE_BIT: c_int = libc::O_TMPFILE & !libc::O_DIRECTORY;
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940D;
/// A file that is mapped is compared as a whole at each record: larger ones would take too long.
const MAPPED_MAX: u64 = 64 << 20;

/// The calls at whose entry a traced thread stops.
pub(super) fn filter() -> Vec<sock_filter> {
    const CREATE: u32 = libc::O_CREAT as u32;
    const TRUNC: u32 = libc::O_TRUNC as u32;
    const TMP: u32 = TMPFILE_BIT as u32;
    const ANY: &[u32] =
        &[CREATE, TRUNC, TMP, CREATE | TRUNC, CREATE | TMP, TRUNC | TMP, CREATE | TRUNC | TMP];
    const MASK: u32 = CREATE | TRUNC | TMP;
    const SOMETIMES: &[trap::Sometimes] = &[
        (libc::SYS_open, 1, MASK, ANY),
        (libc::SYS_openat, 2, MASK, ANY),
        (libc::SYS_ioctl, 1, u32::MAX, &[FICLONE, FICLONERANGE]),
        (
            libc::SYS_mmap,
            3,
            (libc::MAP_TYPE | libc::MAP_ANONYMOUS) as u32,
            &[libc::MAP_SHARED as u32, libc::MAP_SHARED_VALIDATE as u32],
        ),
    ];
    // Descriptors are looked up when they are used, and chance and time stay what they are.
    const NEVER: [i64; 7] = [
        libc::SYS_close,
        libc::SYS_close_range,
        libc::SYS_dup,
        libc::SYS_dup2,
        libc::SYS_dup3,
        libc::SYS_mremap,
        libc::SYS_getrandom,
    ];
    let sometimes = |call: &i64| SOMETIMES.iter().any(|(sometimes, ..)| sometimes == call);
    let always = trap::ALWAYS.iter().filter(|call| !NEVER.contains(call) && !sometimes(call));
    let always: Vec<i64> = always.copied().collect();
    trap::filter(SOMETIMES, &always, &[trap::traced()])
}

impl Recording {
    /// Whether a call has to wait while another one is changing something.
    pub(super) fn may_change(&self, call: &Call) -> bool {
        match call.number {
            libc::SYS_fsync
            | libc::SYS_fdatasync
            | libc::SYS_sync
            | libc::SYS_syncfs
            | libc::SYS_sync_file_range
            | libc::SYS_msync => false,
            libc::SYS_write
            | libc::SYS_pwrite64
            | libc::SYS_writev
            | libc::SYS_pwritev
            | libc::SYS_pwritev2
            | libc::SYS_sendfile => call.file(call.fd(0)).is_some_and(|file| self.is_below(&file)),
            libc::SYS_splice | libc::SYS_copy_file_range => {
                call.file(call.fd(2)).is_some_and(|file| self.is_below(&file))
            }
            _ => true,
        }
    }

    /// A call is about to be made.
    pub(super) fn entered(&mut self, call: Call) -> Then {
        let [a, b, c, d, e, _] = call.args;
        let (fd_a, fd_c) = (a as c_int, c as c_int);
        match call.number {
            libc::SYS_write
            | libc::SYS_pwrite64
            | libc::SYS_writev
            | libc::SYS_pwritev
            | libc::SYS_pwritev2 => self.write(call),
            libc::SYS_open => self.open(call, CWD, a, b as c_int, c),
            libc::SYS_creat => {
                self.open(call, CWD, a, libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY, b)
            }
            libc::SYS_openat => self.open(call, fd_a, b, c as c_int, d),
            libc::SYS_openat2 => match call.words(c, 2) {
                Some(how) => self.open(call, fd_a, b, how[0] as c_int, how[1]),
                None => Then::Go,
            },
            libc::SYS_mknod => self.make_node(call, CWD, a, b),
            libc::SYS_mknodat => self.make_node(call, fd_a, b, c),
            libc::SYS_ftruncate => self.set_len(call, call.name_of(fd_a), b),
            libc::SYS_truncate => match call.path(CWD, a) {
                Some(path) => self.set_len(call, path, b),
                None => Then::Go,
            },
            libc::SYS_fallocate => self.allocate(call),
            libc::SYS_fchmod => self.set_mode(call, Some(call.name_of(fd_a)), b, 0),
            libc::SYS_chmod => self.set_mode(call, call.path(CWD, a), b, 0),
            libc::SYS_fchmodat => self.set_mode(call, call.path(fd_a, b), c, 0),
            libc::SYS_fchmodat2 => self.set_mode(call, call.path(fd_a, b), c, d as c_int),
            libc::SYS_ioctl => self.beyond(Some(call.name_of(fd_a)), true, "a file was cloned"),
            libc::SYS_fsetxattr => self.set_attribute(call, Some(call.name_of(fd_a)), true),
            libc::SYS_setxattr => self.set_attribute(call, call.path(CWD, a), true),
            libc::SYS_lsetxattr => self.set_attribute(call, call.path(CWD, a), false),
            libc::SYS_fremovexattr => self.beyond(Some(call.name_of(fd_a)), true, ATTRIBUTES),
            libc::SYS_removexattr => self.beyond(call.path(CWD, a), true, ATTRIBUTES),
            libc::SYS_lremovexattr => self.beyond(call.path(CWD, a), false, ATTRIBUTES),
            libc::SYS_sendfile => self.copied(call, fd_a, None),
            libc::SYS_splice | libc::SYS_copy_file_range => self.copied(call, fd_c, Some(d)),
            libc::SYS_fsync | libc::SYS_fdatasync => self.sync(call, Kind::Sync, &[]),
            libc::SYS_sync_file_range => self.sync(call, Kind::SyncRange, &[b, c, d]),
            libc::SYS_sync => self.sync_all(call),
            libc::SYS_syncfs => match call.file(fd_a) {
                Some(file) if self.is_on_device(&file) => self.sync_all(call),
                _ => Then::Go,
            },
            libc::SYS_msync => self.sync_mapping(call),
            libc::SYS_mmap => self.map(call),
            libc::SYS_rename => self.rename(call, (CWD, a), (CWD, b), 0),
            libc::SYS_renameat => self.rename(call, (fd_a, b), (fd_c, d), 0),
            libc::SYS_renameat2 => self.rename(call, (fd_a, b), (fd_c, d), e as u32),
            libc::SYS_link => self.link(call, (CWD, a), (CWD, b), 0),
            libc::SYS_linkat => self.link(call, (fd_a, b), (fd_c, d), e as c_int),
            libc::SYS_unlink => self.unlink(call, CWD, a, Kind::Unlink),
            libc::SYS_rmdir => self.unlink(call, CWD, a, Kind::RemoveDir),
            libc::SYS_unlinkat if c as c_int & libc::AT_REMOVEDIR != 0 => {
                self.unlink(call, fd_a, b, Kind::RemoveDir)
            }
            libc::SYS_unlinkat => self.unlink(call, fd_a, b, Kind::Unlink),
            libc::SYS_mkdir => self.make(call, call.path(CWD, a), Kind::MakeDir, Some(b), &[]),
            libc::SYS_mkdirat => self.make(call, call.path(fd_a, b), Kind::MakeDir, Some(c), &[]),
            libc::SYS_symlink => self.symlink(call, a, CWD, b),
            libc::SYS_symlinkat => self.symlink(call, a, b as c_int, c),
            libc::SYS_io_setup | libc::SYS_io_uring_setup => Then::Refuse,
            _ => Then::Go,
        }
    }

    pub(super) fn below(&self, path: &Path, follow: bool) -> Option<Metadata> {
        let found = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
        found.ok().filter(|file| self.is_below(file))
    }

    /// A call of which the start says all.
    pub(super) fn simple(
        &mut self,
        call: Call,
        kind: Kind,
        words: &[u64],
        name: &[u8],
        done: impl FnOnce(&mut Recording) + 'static,
    ) -> Then {
        let start = self.start(&call, kind, words, name, &[]);
        Then::Hold(Box::new(move |recording, returned| {
            recording.end(&call, start, returned, None);
            if returned >= 0 {
                done(recording);
            }
        }))
    }

    /// `write`, `pwrite64`, `writev`, `pwritev`, `pwritev2`.
    fn write(&mut self, call: Call) -> Then {
        let fd = call.fd(0);
        let Some(file) = call.file(fd) else { return Then::Go };
        if self.is_output(&file) {
            return Then::Wait(Box::new(move |recording, _| recording.listen(&call)));
        }
        if !file.is_file() || !self.is_below(&file) {
            return Then::Go;
        }
        let [_, from, count, at, ..] = call.args;
        let at = match call.number {
            libc::SYS_write | libc::SYS_writev => None,
            libc::SYS_pwritev2 if at == u64::MAX => None,
            _ => Some(at),
        };
        let asked = if call.number == libc::SYS_pwritev2 { call.args[5] as c_int } else { 0 };
        let data = match call.number {
            libc::SYS_write | libc::SYS_pwrite64 => call.memory(from, count as usize).ok(),
            _ => gathered(&call, from, count as usize),
        };
        let (Some(opened), Some(data)) = (call.opened(fd), data) else {
            return done(1, "what was written cannot be read from the program's memory");
        };
        if data.is_empty() {
            return Then::Go;
        }
        let appends = (opened.flags & libc::O_APPEND != 0 && asked & libc::RWF_NOAPPEND == 0)
            || asked & libc::RWF_APPEND != 0;
        let offset = if appends { file.size() } else { at.unwrap_or(opened.position) };
        let ino = file.ino();
        let words = [ino, offset, flags_of(opened.flags, asked, appends)];
        let start = self.start(&call, Kind::Write, &words, &[], &data);
        let direct = opened.flags & libc::O_DIRECT != 0;
        Then::Hold(Box::new(move |recording, returned| {
            recording.end(&call, start, returned, None);
            if let Ok(written) = usize::try_from(returned) {
                recording.mapped.wrote(ino, offset, &data[..written.min(data.len())]);
            } else if direct {
                recording.unmodelled("a direct write failed, and may have been done in part");
            }
        }))
    }

    /// Calls that move bytes within the kernel: what they were is read from the file afterwards.
    fn copied(&mut self, call: Call, to: c_int, at: Option<u64>) -> Then {
        let Some(file) = call.file(to) else { return Then::Go };
        if self.is_output(&file) {
            return Then::Wait(Box::new(move |recording, _| recording.listen(&call)));
        }
        if !file.is_file() || !self.is_below(&file) {
            return Then::Go;
        }
        let Some(opened) = call.opened(to) else { return Then::Go };
        let appends = opened.flags & libc::O_APPEND != 0;
        let given = at.filter(|&at| at != 0).and_then(|at| call.words(at, 1));
        let offset = match given {
            _ if appends => file.size(),
            Some(given) => given[0],
            None => opened.position,
        };
        let Ok(reader) = fs::File::open(call.name_of(to)) else { return self.unreadable() };
        Then::Hold(Box::new(move |recording, returned| {
            let Ok(len @ 1..) = usize::try_from(returned) else { return };
            let mut data = vec![0; len];
            if reader.read_exact_at(&mut data, offset).is_err() {
                return recording.unmodelled(UNREADABLE);
            }
            let words = [file.ino(), offset, flags_of(opened.flags, 0, appends)];
            recording.mapped.wrote(file.ino(), offset, &data);
            let start = recording.start(&call, Kind::Write, &words, &[], &data);
            recording.end(&call, start, returned, None);
        }))
    }

    fn unreadable(&mut self) -> Then {
        self.unmodelled(UNREADABLE);
        Then::Go
    }

    fn set_len(&mut self, call: Call, path: PathBuf, len: u64) -> Then {
        let Some(file) = self.below(&path, true) else { return Then::Go };
        let ino = file.ino();
        self.simple(call, Kind::SetLen, &[ino, len], &[], move |recording| {
            recording.mapped.resized(ino, len);
        })
    }

    fn allocate(&mut self, call: Call) -> Then {
        let [_, mode, offset, len, ..] = call.args;
        let path = call.name_of(call.fd(0));
        let Some(file) = self.below(&path, true) else { return Then::Go };
        let (ino, old) = (file.ino(), file.len());
        let end = offset.saturating_add(len);
        let words = [ino, u64::from(mode as u32), offset, len];
        self.simple(call, Kind::Allocate, &words, &[], move |recording| {
            if mode as c_int & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) != 0 {
                recording.mapped.zeroed(ino, offset, end);
            }
            if mode as c_int & libc::FALLOC_FL_KEEP_SIZE == 0 {
                recording.mapped.resized(ino, old.max(end));
            }
        })
    }

    fn set_mode(&mut self, call: Call, path: Option<PathBuf>, mode: u64, flags: c_int) -> Then {
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
        match path.and_then(|path| self.below(&path, follow)) {
            Some(file) => self.simple(call, Kind::Chmod, &[file.ino(), mode], &[], |_| {}),
            None => Then::Go,
        }
    }

    /// `setxattr` and its kin. `sed -i`, `install` and others set permission bits by a list of access rights that
    /// says no more than these.
    fn set_attribute(&mut self, call: Call, path: Option<PathBuf>, follow: bool) -> Then {
        let [_, name, value, len, ..] = call.args;
        let is_rights = call.text(name).is_some_and(|name| name == b"system.posix_acl_access");
        let rights = call.memory(value, (len as usize).min(RIGHTS_MAX)).ok();
        let bits = rights.filter(|_| is_rights).and_then(|rights| bits_of(&rights));
        let file = path.as_ref().and_then(|path| self.below(path, follow));
        match (bits, file) {
            (Some(bits), Some(file)) => {
                let mode = file.mode() & 0o7000 | bits;
                self.simple(call, Kind::Chmod, &[file.ino(), mode.into()], &[], |_| {})
            }
            _ => self.beyond(path, follow, ATTRIBUTES),
        }
    }

    /// A call that the log cannot tell.
    fn beyond(&mut self, path: Option<PathBuf>, follow: bool, what: &'static str) -> Then {
        match path.and_then(|path| self.below(&path, follow)) {
            Some(_) => done(0, what),
            None => Then::Go,
        }
    }

    fn sync(&mut self, call: Call, kind: Kind, range: &[u64]) -> Then {
        let Some(file) = call.file(call.fd(0)).filter(|file| self.is_below(file)) else {
            return Then::Go;
        };
        let mut words = vec![file.ino()];
        words.extend(range);
        self.waited_for(call, kind, &words)
    }

    fn sync_all(&mut self, call: Call) -> Then {
        self.waited_for(call, Kind::SyncAll, &[])
    }

    fn sync_mapping(&mut self, call: Call) -> Then {
        let [at, len, flags, ..] = call.args;
        let Some((dev, ino, offset)) = call.mapped(at) else { return Then::Go };
        if !self.is_ours(dev, ino) {
            return Then::Go;
        }
        self.waited_for(call, Kind::Msync, &[ino, offset, len, flags, 0])
    }

    fn waited_for(&mut self, call: Call, kind: Kind, words: &[u64]) -> Then {
        let start = self.start(&call, kind, words, &[], &[]);
        Then::Wait(Box::new(move |recording, returned| {
            recording.end(&call, start, returned, None);
        }))
    }

    fn map(&mut self, call: Call) -> Then {
        let fd = call.fd(4);
        let Some(file) = call.file(fd).filter(|file| file.is_file() && self.is_below(file)) else {
            return Then::Go;
        };
        // Through one that is opened to be read nobody can ever store.
        let writes = |flags: c_int| flags & libc::O_ACCMODE == libc::O_RDWR;
        if !call.opened(fd).is_some_and(|opened| writes(opened.flags)) {
            return Then::Go;
        }
        if file.len() > MAPPED_MAX {
            self.unmodelled("a file of more than 64 MiB was mapped to be shared");
            return Then::Go;
        }
        let Ok(file) = Mapped::open(&call.name_of(fd)) else { return self.unreadable() };
        Then::Hold(Box::new(move |recording, returned| {
            let failed = (-4095..0).contains(&returned);
            if !failed && recording.mapped.add(file).is_err() {
                recording.unmodelled(UNREADABLE);
            }
        }))
    }
}

const ATTRIBUTES: &str = "an extended attribute was changed";
/// Bytes of a list of access rights that is looked at: more than the least one has.
const RIGHTS_MAX: usize = 64;
const UNREADABLE: &str = "a file below the root cannot be read by the one who records";

/// A call that the log cannot tell, where it takes effect: where it returns so much, or more.
pub(super) fn done(least: i64, what: &'static str) -> Then {
    Then::Wait(Box::new(move |recording, returned| {
        if returned >= least {
            recording.unmodelled(what);
        }
    }))
}

/// The bytes of a vector of parts; fewer where some cannot be read.
fn gathered(call: &Call, at: u64, count: usize) -> Option<Vec<u8>> {
    const PARTS_MAX: usize = 1024;
    if count > PARTS_MAX {
        return None; // refused by the kernel
    }
    let mut data = Vec::new();
    for part in call.words(at, count * 2)?.chunks_exact(2) {
        let bytes = call.memory(part[0], part[1] as usize).ok()?;
        let whole = bytes.len() == part[1] as usize;
        data.extend(bytes);
        if !whole {
            break;
        }
    }
    Some(data)
}

/// The permission bits that a list of access rights stands for, as `linux/posix_acl_xattr.h` has it: none where it has
/// rights of other users and groups.
fn bits_of(rights: &[u8]) -> Option<u32> {
    const VERSION: [u8; 4] = 2u32.to_le_bytes();
    const OWNER: u16 = 1;
    const GROUP: u16 = 4;
    const OTHERS: u16 = 32;
    let (version, entries) = rights.split_at_checked(VERSION.len())?;
    if version != VERSION || entries.len() != 3 * 8 {
        return None;
    }
    entries.chunks_exact(8).try_fold(0, |bits, entry| {
        let half = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        let shift = match half(0) {
            OWNER => 6,
            GROUP => 3,
            OTHERS => 0,
            _ => return None,
        };
        Some(bits | u32::from(half(2) & 0o7) << shift)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_that_are_no_more_than_bits_are_told_from_others() {
        let list = |entries: &[(u16, u16)]| {
            let entry = |&(tag, bits): &(u16, u16)| {
                [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &[0xFF; 4]].concat()
            };
            [vec![2, 0, 0, 0], entries.iter().flat_map(entry).collect()].concat()
        };
        assert_eq!(bits_of(&list(&[(1, 6), (4, 4), (32, 0)])), Some(0o640));
        // A named user, and a mask.
        assert_eq!(bits_of(&list(&[(1, 6), (2, 7), (4, 4), (16, 7), (32, 0)])), None);
        assert_eq!(bits_of(&list(&[(1, 6), (16, 4), (32, 0)])), None);
        assert_eq!(bits_of(&[]), None);
    }
}
