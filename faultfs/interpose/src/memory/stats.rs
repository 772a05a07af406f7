//! What `stat` and its kin tell.

use std::ffi::c_int;
use std::mem::{MaybeUninit, zeroed};
use std::ptr;

use faultfs::disk::Body;
use faultfs::op::Ino;
use libc::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, EINVAL, timespec};

use super::place::Place;
use super::{Mount, Outcome};

const SECOND: i64 = 1_000_000_000;

impl Mount {
    /// The number that an inode shows, which no inode of another mount has.
    pub(super) fn number(&self, ino: Ino) -> u64 {
        self.generation << 32 | u64::from(ino.0)
    }

    pub(super) fn stat(&self, ino: Ino) -> libc::stat {
        let inode = self.inode(ino);
        let meta = &self.inodes[ino.0 as usize];
        let kind = match &inode.body {
            Body::File(_) => libc::S_IFREG,
            Body::Dir(_) => libc::S_IFDIR,
            Body::Symlink(_) => libc::S_IFLNK,
        };
        let dirs = || {
            let entries = self.entries(ino).into_iter().flatten();
            entries.filter(|(_, ino)| self.is_dir(**ino)).count() as u64
        };
        // SAFETY: all zeros are valid for it.
        let mut stat: libc::stat = unsafe { zeroed() };
        stat.st_dev = self.root.dev;
        stat.st_ino = self.number(ino);
        stat.st_mode = kind | self.mode(ino);
        stat.st_nlink = match &inode.body {
            Body::Dir(_) if meta.links == 0 => 0,
            Body::Dir(_) => 2 + dirs(),
            _ => self.links(ino).into(),
        };
        (stat.st_uid, stat.st_gid) = (self.root.uid, self.root.gid);
        stat.st_size = self.len(ino) as i64;
        stat.st_blksize = 4096;
        let [accessed, modified, changed] = meta.times;
        (stat.st_atime, stat.st_atime_nsec) = (accessed / SECOND, accessed % SECOND);
        (stat.st_mtime, stat.st_mtime_nsec) = (modified / SECOND, modified % SECOND);
        (stat.st_ctime, stat.st_ctime_nsec) = (changed / SECOND, changed % SECOND);
        stat.st_blocks = match &inode.body {
            Body::File(_) => (stat.st_size as u64).div_ceil(4096) as i64 * 8,
            _ => 0,
        };
        stat
    }

    /// `stat` and its kin of an inode, to an address.
    pub(super) fn put_stat(&self, ino: Ino, into: usize) -> Outcome {
        let into = ptr::with_exposed_provenance_mut::<libc::stat>(into);
        // SAFETY: the program answers for the address.
        unsafe { into.write_unaligned(self.stat(ino)) };
        Ok(0)
    }

    /// `newfstatat`.
    pub(super) fn stat_at(&self, place: &Place<'_>, flags: c_int, into: usize) -> Outcome {
        if flags & !(AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | AT_EMPTY_PATH) != 0 {
            return Err(EINVAL);
        }
        self.put_stat(self.at(place, flags & AT_SYMLINK_NOFOLLOW == 0)?, into)
    }

    pub(super) fn statx(&self, place: &Place<'_>, flags: c_int, into: usize) -> Outcome {
        const SYNC: c_int = libc::AT_STATX_FORCE_SYNC | libc::AT_STATX_DONT_SYNC;
        const KNOWN: c_int = AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | AT_EMPTY_PATH | SYNC;
        if flags & !KNOWN != 0 || flags & SYNC == SYNC {
            return Err(EINVAL);
        }
        let stat = self.stat(self.at(place, flags & AT_SYMLINK_NOFOLLOW == 0)?);
        // SAFETY: all zeros are valid for it.
        let mut all: libc::statx = unsafe { MaybeUninit::zeroed().assume_init() };
        all.stx_mask = libc::STATX_BASIC_STATS;
        all.stx_blksize = stat.st_blksize as u32;
        all.stx_nlink = stat.st_nlink as u32;
        (all.stx_uid, all.stx_gid) = (stat.st_uid, stat.st_gid);
        all.stx_mode = stat.st_mode as u16;
        all.stx_ino = stat.st_ino;
        (all.stx_size, all.stx_blocks) = (stat.st_size as u64, stat.st_blocks as u64);
        let set = |time: &mut libc::statx_timestamp, seconds: i64, nanoseconds: i64| {
            (time.tv_sec, time.tv_nsec) = (seconds, nanoseconds as u32);
        };
        set(&mut all.stx_atime, stat.st_atime, stat.st_atime_nsec);
        set(&mut all.stx_mtime, stat.st_mtime, stat.st_mtime_nsec);
        set(&mut all.stx_ctime, stat.st_ctime, stat.st_ctime_nsec);
        all.stx_dev_major = libc::major(stat.st_dev);
        all.stx_dev_minor = libc::minor(stat.st_dev);
        let into = ptr::with_exposed_provenance_mut::<libc::statx>(into);
        // SAFETY: the program answers for the address.
        unsafe { into.write_unaligned(all) };
        Ok(0)
    }

    /// `utimensat`: access and modification time.
    pub(super) fn set_times(&mut self, ino: Ino, given: Option<[timespec; 2]>) -> Outcome {
        let now = self.now();
        let given = given.unwrap_or([timespec { tv_sec: 0, tv_nsec: libc::UTIME_NOW }; 2]);
        let meta = self.meta(ino);
        for (time, given) in meta.times.iter_mut().zip(given) {
            *time = match given.tv_nsec {
                libc::UTIME_OMIT => continue,
                libc::UTIME_NOW => now,
                nanoseconds @ 0..SECOND => given.tv_sec.saturating_mul(SECOND) + nanoseconds,
                _ => return Err(EINVAL),
            };
        }
        meta.times[2] = now;
        Ok(0)
    }
}
