//! Names and inodes: how a path is walked, and what is known of an inode besides the disk.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::c_int;

use faultfs::disk::{Body, Inode};
use faultfs::op::{Ino, Name, Op, Slot};
use libc::{EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR};

use super::locks::Locks;
use super::maps::Memfd;
use super::{ESCAPED, Mount, Outcome};

/// How many symbolic links a path may lead through, as in the kernel.
const LINKS_MAX: u32 = 40;
const NAME_MAX: usize = 255;

/// What is known of an inode besides what the disk holds.
pub(super) struct Meta {
    /// Names of a file; 1 or 0 for a directory that is there or removed.
    pub(super) links: u32,
    /// Opened by `O_TMPFILE | O_EXCL`: never to get a name.
    pub(super) unlinkable: bool,
    /// Of a directory.
    pub(super) parent: Ino,
    /// Nanoseconds since 1970: access, modification, change.
    pub(super) times: [i64; 3],
    pub(super) locks: Locks,
    /// Where the content is from the first mapping on.
    pub(super) memfd: Option<Memfd>,
}

/// What becomes of a symbolic link at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is what the call is about.
    Kept,
    /// The same, unless a slash stands behind it.
    Seen,
    Followed,
}

impl End {
    pub(super) fn followed_if(follow: bool) -> End {
        if follow { End::Followed } else { End::Seen }
    }
}

/// Where a path leads.
pub(super) struct Found {
    pub(super) dir: Ino,
    /// None for `.`, `..` and the start itself.
    pub(super) name: Option<Name>,
    pub(super) ino: Option<Ino>,
    /// It ended in a slash.
    pub(super) slash: bool,
}

impl Found {
    /// The slot, where the path ends in a name.
    pub(super) fn slot(&self) -> Option<Slot> {
        Some(Slot { dir: self.dir, name: self.name.clone()? })
    }
}

impl Mount {
    pub(super) fn meta(&mut self, ino: Ino) -> &mut Meta {
        let index = ino.0 as usize;
        let times = [self.clock; 3];
        while self.inodes.len() <= index {
            self.inodes.push(Meta {
                links: 0,
                unlinkable: false,
                parent: Ino::ROOT,
                times,
                locks: Locks::default(),
                memfd: None,
            });
        }
        &mut self.inodes[index]
    }

    /// Counts the names below a directory; those whose inode is lost are no names.
    pub(super) fn count(&mut self, dir: Ino) {
        let entries: Vec<_> = self.disk.entries(dir).into_iter().flatten().collect();
        let entries: Vec<(Name, Ino)> = entries.iter().map(|(n, i)| ((*n).clone(), **i)).collect();
        for (name, ino) in entries {
            if self.disk.get(ino).is_none() {
                // Not the recovery's doing, and what nobody can see.
                self.disk.apply(&Op::Unlink { slot: Slot { dir, name } });
                continue;
            }
            let meta = self.meta(ino);
            meta.links += 1;
            let seen = meta.links > 1;
            if !seen && self.disk.entries(ino).is_some() {
                self.meta(ino).parent = dir;
                self.count(ino);
            }
        }
    }

    pub(super) fn inode(&self, ino: Ino) -> &Inode {
        self.disk.get(ino).expect("what is named or open is there")
    }

    pub(super) fn is_dir(&self, ino: Ino) -> bool {
        matches!(self.inode(ino).body, Body::Dir(_))
    }

    pub(super) fn is_symlink(&self, ino: Ino) -> bool {
        matches!(self.inode(ino).body, Body::Symlink(_))
    }

    /// Whether we may do what the bits (4 read, 2 write, 1 search or execute) say.
    pub(super) fn may(&self, ino: Ino, want: u32) -> Result<(), c_int> {
        let anything = self.is_privileged() && (want & 1 == 0 || self.is_dir(ino));
        let allowed = anything || {
            let mode = self.mode(ino);
            if self.is_privileged() { mode & 0o111 != 0 } else { mode >> 6 & want == want }
        };
        if allowed { Ok(()) } else { Err(EACCES) }
    }

    /// Permission bits, which are read by that.
    pub(super) fn mode(&self, ino: Ino) -> u32 {
        self.reads.mode(ino);
        self.inode(ino).mode
    }

    /// The number of names, which is read by that.
    pub(super) fn links(&self, ino: Ino) -> u32 {
        self.reads.links(ino);
        self.inodes[ino.0 as usize].links
    }

    /// The entries of a directory, all of which are read by that.
    pub(super) fn entries(&self, ino: Ino) -> Option<&BTreeMap<Name, Ino>> {
        let entries = self.disk.entries(ino)?;
        self.reads.list(ino);
        Some(entries)
    }

    /// Notes a change of an inode, and of its content where that is what changed.
    pub(super) fn touch(&mut self, ino: Ino, content: bool) {
        let now = self.now();
        let times = &mut self.meta(ino).times;
        times[2] = now;
        if content {
            times[1] = now;
        }
    }

    /// Walks a path.
    pub(super) fn walk(&self, start: Ino, path: &[u8], end_is: End) -> Result<Found, c_int> {
        let mut rest = Cow::Borrowed(path);
        let (mut at, mut links) = (start, 0);
        loop {
            let path = trim(&rest);
            if path.is_empty() {
                return Ok(Found { dir: at, name: None, ino: Some(at), slash: !rest.is_empty() });
            }
            let end = path.iter().position(|&b| b == b'/').unwrap_or(path.len());
            let (name, tail) = path.split_at(end);
            let next = self.step(at, name)?;
            let (last, slash) = (trim(tail).is_empty(), !tail.is_empty());
            if let Some(Body::Symlink(target)) = next.map(|ino| &self.inode(ino).body)
                && (!last || end_is == End::Followed || slash && end_is == End::Seen)
            {
                links += 1;
                if links > LINKS_MAX {
                    return Err(ELOOP);
                }
                let (from, target) = self.target(at, target.as_bytes())?;
                at = from;
                rest = Cow::Owned([target, tail].concat());
                continue;
            }
            if last {
                let name = (name != b"." && name != b"..").then(|| Name::new(name));
                return Ok(Found { dir: at, name, ino: next, slash });
            }
            at = next.ok_or(ENOENT)?;
            let len = tail.len();
            let skip = rest.len() - len;
            rest = match rest {
                Cow::Borrowed(rest) => Cow::Borrowed(&rest[skip..]),
                Cow::Owned(rest) => Cow::Owned(rest[skip..].to_vec()),
            };
        }
    }

    /// Where a symbolic link in `dir` continues, and by what.
    fn target<'a>(&self, dir: Ino, target: &'a [u8]) -> Result<(Ino, &'a [u8]), c_int> {
        if !target.starts_with(b"/") {
            return Ok((dir, target));
        }
        match target.strip_prefix(self.root_path()) {
            Some(rest) if rest.is_empty() || rest.starts_with(b"/") => Ok((Ino::ROOT, rest)),
            _ => Err(ESCAPED),
        }
    }

    fn step(&self, at: Ino, name: &[u8]) -> Result<Option<Ino>, c_int> {
        let entries = self.disk.entries(at).ok_or(ENOTDIR)?;
        self.may(at, 1)?;
        match name {
            b"." => Ok(Some(at)),
            b".." if at == Ino::ROOT => Err(ESCAPED),
            b".." => Ok(Some(self.inodes[at.0 as usize].parent)),
            _ if name.len() > NAME_MAX => Err(ENAMETOOLONG),
            _ => {
                self.reads.entry(at, name);
                Ok(entries.get(name).copied())
            }
        }
    }

    /// The inode that a path leads to.
    pub(super) fn existing(&self, start: Ino, path: &[u8], follow: bool) -> Result<Ino, c_int> {
        let found = self.walk(start, path, End::followed_if(follow))?;
        let ino = found.ino.ok_or(ENOENT)?;
        if found.slash && !self.is_dir(ino) {
            return Err(ENOTDIR);
        }
        Ok(ino)
    }

    /// Whether names may be made and removed in a directory.
    pub(super) fn may_change(&self, dir: Ino) -> Outcome {
        if self.inodes[dir.0 as usize].links == 0 {
            return Err(ENOENT);
        }
        self.may(dir, 3).map(|()| 0)
    }
}

fn trim(mut path: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] = path {
        path = rest;
    }
    path
}
