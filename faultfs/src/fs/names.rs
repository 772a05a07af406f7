//! What a call on paths does: the op that it becomes, or the error of a Linux kernel.
//!
//! One function per call, on the picture of the disk, changing nothing. The order of the checks is the
//! kernel's, because the order decides which of two errors the caller sees.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::path::{Follow, Last, Place, Roots};
use crate::disk::{Body, Disk, Inode};
use crate::errno::{
    EBUSY, EEXIST, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, Errno,
};
use crate::op::{Ino, Name, Op, Slot};
use crate::reads::Reads;

/// Bytes of a symbolic link's target, with a NUL (limits.h).
const TARGET_MAX: usize = 4096;

/// The picture of a disk, and the names it goes by.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) disk: &'a Disk,
    pub(crate) roots: &'a Roots,
    pub(crate) reads: Option<&'a Reads>,
}

/// What an open of a path comes to.
#[derive(Debug)]
pub(crate) enum Opened {
    /// This inode.
    Found(Ino),
    /// A new file here.
    New(Slot),
}

impl<'a> Names<'a> {
    fn walk(&self, path: &Path, follow: Follow) -> io::Result<Place> {
        self.roots.walk(self.disk, self.reads, path, follow)
    }

    fn is_empty(&self, dir: Ino) -> Option<bool> {
        let entries = self.disk.entries(dir)?;
        self.reads.iter().for_each(|reads| reads.list(dir));
        Some(entries.is_empty())
    }

    fn is_dir(&self, ino: Ino) -> bool {
        self.disk.entries(ino).is_some()
    }

    /// `stat`, or `lstat` with [`Follow::Slash`].
    pub(crate) fn find(&self, path: &Path, follow: Follow) -> io::Result<(Ino, &'a Inode)> {
        let ino = self.walk(path, follow)?.ino()?;
        Ok((ino, self.disk.get(ino).expect("a name stands for an inode")))
    }

    /// A directory by its path.
    pub(crate) fn dir(&self, path: &Path) -> io::Result<Ino> {
        match self.find(path, Follow::Always)? {
            (ino, Inode { body: Body::Dir(_), .. }) => Ok(ino),
            _ => Err(ENOTDIR.into()),
        }
    }

    /// The path of a directory from the root, without links and dots.
    pub(crate) fn physical(&self, path: &Path) -> io::Result<PathBuf> {
        let place = self.walk(path, Follow::Always)?;
        let mut dirs = place.dirs.clone();
        if let Last::Name(..) = place.last {
            dirs.push(place.ino()?);
        }
        let mut physical = PathBuf::from(".");
        for pair in dirs.windows(2) {
            self.reads.iter().for_each(|reads| reads.list(pair[0]));
            let mut entries = self.disk.entries(pair[0]).into_iter().flatten();
            let named = entries.find(|(_, ino)| **ino == pair[1]);
            let (name, _) = named.expect("a walk goes from directory to entry");
            physical.push(OsStr::from_bytes(name.as_bytes()));
        }
        Ok(physical)
    }

    /// `open`, by what it asks for beyond reading.
    pub(crate) fn open(
        &self,
        path: &Path,
        write: bool,
        create: bool,
        exclusive: bool,
    ) -> io::Result<Opened> {
        let follow = match (create, exclusive) {
            (_, true) => Follow::Never,
            (true, false) => Follow::Create,
            (false, false) => Follow::Always,
        };
        let place = self.walk(path, follow)?;
        if exclusive {
            return match &place.last {
                Last::Name(..) | Last::TooLong if place.slash => Err(EISDIR.into()),
                Last::Name(slot, None) => Ok(Opened::New(slot.clone())),
                Last::TooLong => Err(ENAMETOOLONG.into()),
                _ => Err(EEXIST.into()),
            };
        }
        match &place.last {
            Last::Name(slot, None) if create => Ok(Opened::New(slot.clone())),
            _ => match place.ino()? {
                ino if self.is_dir(ino) && (write || create) => Err(EISDIR.into()),
                ino => Ok(Opened::Found(ino)),
            },
        }
    }

    /// The empty slot for a new name; `dir`: it is to be a directory, so a slash may follow.
    pub(crate) fn vacant(&self, path: &Path, dir: bool) -> io::Result<Slot> {
        let place = self.walk(path, Follow::Never)?;
        match place.slot(EEXIST)? {
            (_, Some(_)) => Err(EEXIST.into()),
            (_, None) if place.slash && !dir => Err(ENOENT.into()),
            (slot, None) => Ok(slot.clone()),
        }
    }

    /// `symlink`: where the link will stand.
    pub(crate) fn symlink(&self, target: &Name, path: &Path) -> io::Result<Slot> {
        match target.as_bytes().len() {
            0 => Err(ENOENT.into()),
            TARGET_MAX.. => Err(ENAMETOOLONG.into()),
            _ => self.vacant(path, false),
        }
    }

    /// `link`, which does not follow a symbolic link.
    pub(crate) fn link(&self, from: &Path, to: &Path) -> io::Result<Op> {
        let (ino, _) = self.find(from, Follow::Slash)?;
        let slot = self.vacant(to, false)?;
        if self.is_dir(ino) {
            return Err(EPERM.into());
        }
        Ok(Op::Link { ino, slot })
    }

    /// `unlink`.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<Op> {
        let place = self.walk(path, Follow::Never)?;
        let (slot, found) = place.slot(EISDIR)?;
        match found.ok_or(ENOENT)? {
            ino if self.is_dir(ino) => Err(EISDIR.into()),
            _ if place.slash => Err(ENOTDIR.into()),
            _ => Ok(Op::Unlink { slot: slot.clone() }),
        }
    }

    /// `rmdir`.
    pub(crate) fn remove_dir(&self, path: &Path) -> io::Result<Op> {
        let place = self.walk(path, Follow::Never)?;
        let nameless = match place.last {
            Last::Dot => EINVAL,
            Last::DotDot => ENOTEMPTY,
            _ => EBUSY,
        };
        let (slot, found) = place.slot(nameless)?;
        match self.is_empty(found.ok_or(ENOENT)?) {
            None => Err(ENOTDIR.into()),
            Some(false) => Err(ENOTEMPTY.into()),
            Some(true) => Ok(Op::Unlink { slot: slot.clone() }),
        }
    }

    /// `rename`, or `renameat2` with `RENAME_EXCHANGE`. `None`: both names are one file, and nothing
    /// happens.
    pub(crate) fn rename(&self, from: &Path, to: &Path, exchange: bool) -> io::Result<Option<Op>> {
        let (source, target) = (self.walk(from, Follow::Never)?, self.walk(to, Follow::Never)?);
        if source.is_nameless() || target.is_nameless() {
            return Err(EBUSY.into());
        }
        let (old, found) = source.slot(EBUSY)?;
        let moved = found.ok_or(ENOENT)?;
        let (new, other) = target.slot(EBUSY)?;
        if exchange && other.is_none() {
            return Err(ENOENT.into());
        }
        self.check_slashes(&source, &target, moved, other, exchange)?;
        // Neither may be moved into itself: an ancestor can not become its own descendant.
        if target.dirs.contains(&moved) {
            return Err(EINVAL.into());
        }
        if other.is_some_and(|other| source.dirs.contains(&other)) {
            return Err(if exchange { EINVAL } else { ENOTEMPTY }.into());
        }
        match other {
            Some(other) if other == moved => return Ok(None),
            Some(other) if !exchange => self.check_replaced(moved, other)?,
            _ => {}
        }
        let (from, to) = (old.clone(), new.clone());
        Ok(Some(Op::Rename { from, to, exchange }))
    }

    /// A slash after a name says that it is a directory.
    fn check_slashes(
        &self,
        source: &Place,
        target: &Place,
        moved: Ino,
        other: Option<Ino>,
        exchange: bool,
    ) -> Result<(), Errno> {
        let claims_dir = source.slash || (target.slash && !exchange);
        if claims_dir && !self.is_dir(moved) {
            return Err(ENOTDIR);
        }
        if exchange && target.slash && other.is_some_and(|other| !self.is_dir(other)) {
            return Err(ENOTDIR);
        }
        Ok(())
    }

    /// A rename replaces a file by a file, and an empty directory by a directory.
    fn check_replaced(&self, moved: Ino, other: Ino) -> Result<(), Errno> {
        match (self.is_dir(moved), self.is_empty(other)) {
            (true, None) => Err(ENOTDIR),
            (false, Some(_)) => Err(EISDIR),
            (true, Some(false)) => Err(ENOTEMPTY),
            _ => Ok(()),
        }
    }
}
