//! Making, moving and removing names; modes and listings.

use std::ffi::c_int;
use std::ptr;

use faultfs::disk::Body;
use faultfs::op::{Ino, Kind, Name, Op, Slot};
use libc::{
    EBADF, EBUSY, EEXIST, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, PATH_MAX,
};

use super::place::{From, Place};
use super::tree::{End, Found};
use super::{ESCAPED, Mount, Outcome, unserved};

impl Mount {
    /// Walks to the parent of what a call makes, moves or removes.
    fn found(&self, place: &Place<'_>) -> Result<Found, c_int> {
        let found = self.walk(self.start(place)?, &place.path, End::Kept)?;
        // The root's own name is not in the mount.
        let is_root = found.name.is_none() && found.ino == Some(Ino::ROOT) && !dots(&place.path);
        if is_root { Err(ESCAPED) } else { Ok(found) }
    }

    /// The slot of a name that is to be made.
    fn vacant(&mut self, place: &Place<'_>, is_dir: bool) -> Result<Slot, c_int> {
        let found = self.found(place)?;
        if found.ino.is_some() {
            return Err(EEXIST);
        }
        if found.slash && !is_dir {
            return Err(ENOENT);
        }
        self.may_change(found.dir)?;
        found.slot().ok_or(EEXIST)
    }

    fn create(&mut self, slot: Slot, kind: Kind, mode: u32) -> Outcome {
        let (ino, dir) = (self.disk.fresh_ino(), slot.dir);
        self.apply(&Op::Create { slot, ino, kind, mode });
        self.touch(dir, true);
        self.meta(ino).links = 1;
        self.meta(ino).parent = dir;
        self.touch(ino, true);
        Ok(0)
    }

    pub(super) fn make_dir(&mut self, place: &Place<'_>, mode: u32) -> Outcome {
        let slot = self.vacant(place, true)?;
        self.create(slot, Kind::Dir, mode & 0o1777 & !self.umask)
    }

    pub(super) fn make_node(&mut self, place: &Place<'_>, mode: u32) -> Outcome {
        let kind = mode & libc::S_IFMT;
        if kind != 0 && kind != libc::S_IFREG {
            unserved(&"a device, pipe or socket");
            return Err(EPERM);
        }
        let slot = self.vacant(place, false)?;
        self.create(slot, Kind::File, mode & 0o7777 & !self.umask)
    }

    pub(super) fn make_symlink(&mut self, target: &[u8], place: &Place<'_>) -> Outcome {
        match target.len() {
            0 => return Err(ENOENT),
            len if len >= PATH_MAX as usize => return Err(ENAMETOOLONG),
            _ => {}
        }
        let slot = self.vacant(place, false)?;
        self.create(slot, Kind::Symlink(Name::new(target)), 0o777)
    }

    pub(super) fn link(&mut self, from: &Place<'_>, to: &Place<'_>, follow: bool) -> Outcome {
        let ino = self.at(from, follow)?;
        let slot = self.vacant(to, false)?;
        if self.is_dir(ino) {
            return Err(EPERM);
        }
        let unnamed = self.links(ino) == 0;
        let meta = self.meta(ino);
        if meta.unlinkable || unnamed && !matches!(from.from, From::Open(_)) {
            return Err(ENOENT);
        }
        meta.links += 1;
        self.touch(slot.dir, true);
        self.touch(ino, false);
        self.apply(&Op::Link { ino, slot });
        Ok(0)
    }

    pub(super) fn unlink(&mut self, place: &Place<'_>) -> Outcome {
        let found = self.found(place)?;
        let Some(slot) = found.slot() else { return Err(EISDIR) };
        let ino = found.ino.ok_or(ENOENT)?;
        if found.slash {
            return Err(if self.is_dir(ino) { EISDIR } else { ENOTDIR });
        }
        self.may_change(found.dir)?;
        if self.is_dir(ino) {
            return Err(EISDIR);
        }
        self.remove(slot, ino);
        Ok(0)
    }

    pub(super) fn remove_dir(&mut self, place: &Place<'_>) -> Outcome {
        let found = self.found(place)?;
        let Some(slot) = found.slot() else {
            let above = place.path.strip_suffix(b"/").unwrap_or(&place.path).ends_with(b"..");
            return Err(if above { ENOTEMPTY } else { EINVAL });
        };
        let ino = found.ino.ok_or(ENOENT)?;
        self.may_change(found.dir)?;
        if !self.entries(ino).ok_or(ENOTDIR)?.is_empty() {
            return Err(ENOTEMPTY);
        }
        self.remove(slot, ino);
        Ok(0)
    }

    fn remove(&mut self, slot: Slot, ino: Ino) {
        self.touch(slot.dir, true);
        self.apply(&Op::Unlink { slot });
        self.meta(ino).links -= 1;
        self.touch(ino, false);
    }

    pub(super) fn rename(&mut self, from: &Place<'_>, to: &Place<'_>, flags: u32) -> Outcome {
        const NO_REPLACE: u32 = libc::RENAME_NOREPLACE;
        const EXCHANGE: u32 = libc::RENAME_EXCHANGE;
        if flags & !(NO_REPLACE | EXCHANGE | libc::RENAME_WHITEOUT) != 0
            || flags & EXCHANGE != 0 && flags != EXCHANGE
        {
            return Err(EINVAL);
        }
        if flags & libc::RENAME_WHITEOUT != 0 {
            unserved(&"a rename that leaves a whiteout");
            return Err(EINVAL);
        }
        let exchange = flags == EXCHANGE;
        let (old, new) = (self.found(from)?, self.found(to)?);
        let source = old.slot().ok_or(EBUSY)?;
        let target = new.slot().ok_or(if flags == NO_REPLACE { EEXIST } else { EBUSY })?;
        let moved = old.ino.ok_or(ENOENT)?;
        if flags == NO_REPLACE && new.ino.is_some() {
            return Err(EEXIST);
        }
        if exchange && new.ino.is_none() {
            return Err(ENOENT);
        }
        let slashes = old.slash || new.slash && !exchange;
        if !self.is_dir(moved) && slashes {
            return Err(ENOTDIR);
        }
        if exchange && old.slash | new.slash && new.ino.is_some_and(|ino| !self.is_dir(ino)) {
            return Err(ENOTDIR);
        }
        self.check_ancestors(moved, new.dir, EINVAL)?;
        if let Some(replaced) = new.ino {
            self.check_ancestors(replaced, old.dir, if exchange { EINVAL } else { ENOTEMPTY })?;
            if replaced == moved {
                return Ok(0);
            }
        }
        self.may_change(old.dir)?;
        self.may_change(new.dir)?;
        if let Some(replaced) = new.ino.filter(|_| !exchange) {
            match (self.is_dir(moved), self.entries(replaced)) {
                (true, None) => return Err(ENOTDIR),
                (false, Some(_)) => return Err(EISDIR),
                (true, Some(entries)) if !entries.is_empty() => return Err(ENOTEMPTY),
                _ => {}
            }
            self.meta(replaced).links -= 1;
            self.touch(replaced, false);
        }
        self.meta(moved).parent = new.dir;
        if let Some(other) = new.ino.filter(|_| exchange) {
            self.meta(other).parent = old.dir;
            self.touch(other, false);
        }
        self.apply(&Op::Rename { from: source, to: target, exchange });
        self.touch(old.dir, true);
        self.touch(new.dir, true);
        self.touch(moved, false);
        Ok(0)
    }

    /// An error where `ino` is `dir` or above it.
    fn check_ancestors(&self, ino: Ino, dir: Ino, error: c_int) -> Outcome {
        let mut at = dir;
        while at != ino {
            if at == Ino::ROOT {
                return Ok(0);
            }
            at = self.inodes[at.0 as usize].parent;
        }
        Err(error)
    }

    pub(super) fn read_link(&mut self, place: &Place<'_>, into: usize, len: usize) -> Outcome {
        if len as isize <= 0 {
            return Err(EINVAL);
        }
        if let From::Open(_) = place.from
            && !self.is_symlink(self.start(place)?)
        {
            unserved(&"the path of a descriptor in /proc");
            return Err(ENOENT);
        }
        let ino = self.at(place, false)?;
        let Body::Symlink(target) = &self.inode(ino).body else { return Err(EINVAL) };
        let count = target.as_bytes().len().min(len);
        let into = ptr::with_exposed_provenance_mut(into);
        // SAFETY: the program answers for a buffer of that length.
        unsafe { ptr::copy_nonoverlapping(target.as_bytes().as_ptr(), into, count) };
        Ok(count)
    }

    pub(super) fn set_mode(&mut self, ino: Ino, mode: u32) -> Outcome {
        if self.is_symlink(ino) {
            return Err(libc::EOPNOTSUPP);
        }
        self.apply(&Op::SetMode { ino, mode: mode & 0o7777 });
        self.touch(ino, false);
        Ok(0)
    }

    /// All is ours and stays so.
    pub(super) fn set_owner(&mut self, ino: Ino, uid: u32, gid: u32) -> Outcome {
        let same = |id: u32, ours: u32| id == u32::MAX || id == ours;
        if !same(uid, self.root.uid) || !same(gid, self.root.gid) {
            unserved(&"another owner of a file");
        }
        self.touch(ino, false);
        Ok(0)
    }

    /// `getdents64`. The names are those from when the directory was last read from its start, without
    /// those that have gone since.
    pub(super) fn list(&mut self, fd: c_int, into: usize, len: usize) -> Outcome {
        let open = self.opens.get(fd).ok_or(EBADF)?;
        if open.flags & libc::O_PATH != 0 {
            return Err(EBADF);
        }
        let (dir, mut position) = (open.ino, open.position as usize);
        let entries = self.entries(dir).ok_or(ENOTDIR)?;
        if position == 0 {
            let above = self.inodes[dir.0 as usize].parent;
            let dots = [(Name::new("."), dir), (Name::new(".."), above)];
            let entries = entries.iter().map(|(name, ino)| (name.clone(), *ino));
            let listing = dots.into_iter().chain(entries).collect();
            self.opens.get_mut(fd).ok_or(EBADF)?.listing = listing;
        }
        let mut done = 0;
        if self.inodes[dir.0 as usize].links == 0 {
            return Err(ENOENT);
        }
        let listing = &self.opens.get(fd).ok_or(EBADF)?.listing;
        while let Some((name, ino)) = listing.get(position) {
            position += 1;
            let dots = dots(name.as_bytes());
            let now = self.disk.entries(dir).and_then(|entries| entries.get(name));
            if !dots && now != Some(ino) {
                continue;
            }
            let size = (HEAD + name.as_bytes().len() + 1).next_multiple_of(8);
            if done + size > len {
                position -= 1;
                if done == 0 {
                    return Err(EINVAL);
                }
                break;
            }
            let number = self.number(*ino);
            let kind = match self.inode(*ino).body {
                Body::File(_) => libc::DT_REG,
                Body::Dir(_) => libc::DT_DIR,
                Body::Symlink(_) => libc::DT_LNK,
            };
            // SAFETY: the program answers for a buffer of that length, and the entry fits.
            unsafe { put_entry(into + done, number, position as u64, size, kind, name.as_bytes()) };
            done += size;
        }
        self.opens.get_mut(fd).ok_or(EBADF)?.position = position as u64;
        Ok(done)
    }
}

/// Inode number, next position, length of the entry, kind.
const HEAD: usize = 8 + 8 + 2 + 1;

/// # Safety
/// There are `size` bytes at the address, a multiple of 8 that the name fits into.
unsafe fn put_entry(at: usize, number: u64, next: u64, size: usize, kind: u8, name: &[u8]) {
    let mut entry = vec![0; size];
    entry[..8].copy_from_slice(&number.to_le_bytes());
    entry[8..16].copy_from_slice(&next.to_le_bytes());
    entry[16..18].copy_from_slice(&(size as u16).to_le_bytes());
    entry[18] = kind;
    entry[HEAD..HEAD + name.len()].copy_from_slice(name);
    // SAFETY: the caller answers for the memory.
    unsafe { ptr::copy_nonoverlapping(entry.as_ptr(), ptr::with_exposed_provenance_mut(at), size) };
}

/// Whether a path ends in `.` or `..`.
fn dots(path: &[u8]) -> bool {
    let last = path.rsplit(|&b| b == b'/').find(|part| !part.is_empty());
    matches!(last, Some(b"." | b".."))
}
