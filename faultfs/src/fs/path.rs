//! From a path to an inode, as the kernel walks it (path_resolution(7)).

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::disk::{Body, Disk};
use crate::errno::{EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, Errno};
use crate::op::{Ino, Slot};
use crate::reads::Reads;

/// Symbolic links that one walk may follow (path_resolution(7)).
const LINKS_MAX: u32 = 40;
/// Bytes of a path with its final NUL (limits.h).
const PATH_MAX: usize = 4096;
/// Bytes of a name (limits.h).
const NAME_MAX: usize = 255;

/// What to do with a symbolic link in the last component.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Follow {
    /// Follow it.
    Always,
    /// Follow it only where a slash comes after it (`lstat`, `link`, `readlink`).
    Slash,
    /// The last component is a name to be made, removed or moved.
    Never,
    /// As `Always`, for `O_CREAT`: a slash after the last component is an error.
    Create,
}

/// Where a walk ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// Directories from the root to the one that holds the last component; where the last component is
    /// not a name, to the directory that it means.
    pub(crate) dirs: Vec<Ino>,
    pub(crate) last: Last,
    /// A slash follows the last component.
    pub(crate) slash: bool,
}

/// The last component of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Last {
    /// A name, and what it stands for.
    Name(Slot, Option<Ino>),
    /// A name that no filesystem has. The kernel says so only when it looks the name up, which may be
    /// after other errors.
    TooLong,
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// Nothing but slashes.
    Root,
}

impl Place {
    /// The inode that the path leads to.
    ///
    /// # Errors
    ///
    /// `ENOENT` where there is none.
    pub(crate) fn ino(&self) -> Result<Ino, Errno> {
        match &self.last {
            Last::Name(_, found) => found.ok_or(ENOENT),
            Last::TooLong => Err(ENAMETOOLONG),
            _ => Ok(*self.dirs.last().expect("a walk starts at the root")),
        }
    }

    /// The slot that the path names; `refused` where it is one of `.`, `..` and `/`.
    pub(crate) fn slot(&self, refused: Errno) -> Result<(&Slot, Option<Ino>), Errno> {
        match &self.last {
            Last::Name(slot, found) => Ok((slot, *found)),
            Last::TooLong => Err(ENAMETOOLONG),
            _ => Err(refused),
        }
    }

    /// True for `.`, `..` and `/`.
    pub(crate) fn is_nameless(&self) -> bool {
        matches!(self.last, Last::Dot | Last::DotDot | Last::Root)
    }
}

/// The names by which a filesystem may be called from outside: none for one in memory, which is its
/// own world, where `/` is its root; the folder's absolute paths for a real one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roots(pub(crate) Vec<PathBuf>);

impl Roots {
    /// `path` as a path from the root.
    ///
    /// # Errors
    ///
    /// Where it is an absolute path to somewhere else.
    pub(crate) fn strip<'a>(&self, path: &'a [u8]) -> io::Result<&'a [u8]> {
        if self.0.is_empty() || !path.starts_with(b"/") {
            return Ok(path);
        }
        let below = self.0.iter().find_map(|root| {
            let rest = path.strip_prefix(root.as_os_str().as_bytes())?;
            (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
        });
        match below {
            Some(rest) => Ok(if rest.is_empty() { b"/" } else { rest }),
            None => Err(outside(path)),
        }
    }

    /// Walks `path` on `disk`.
    ///
    /// # Errors
    ///
    /// The kernel's, or `InvalidInput` where the path leaves the root.
    pub(crate) fn walk(
        &self,
        disk: &Disk,
        reads: Option<&Reads>,
        path: &Path,
        follow: Follow,
    ) -> io::Result<Place> {
        let path = path.as_os_str().as_bytes();
        if path.contains(&0) {
            return Err(EINVAL.into());
        }
        if path.is_empty() {
            return Err(ENOENT.into());
        }
        if path.len() >= PATH_MAX {
            return Err(ENAMETOOLONG.into());
        }
        let dirs = vec![Ino::ROOT];
        let mut walk = Walk { disk, reads, roots: self, dirs, links: 0, slash: false };
        let place = walk.run(path, follow)?;
        if place.slash && follow != Follow::Never {
            let found = place.ino()?;
            if disk.entries(found).is_none() {
                return Err(ENOTDIR.into());
            }
        }
        Ok(place)
    }
}

struct Walk<'a> {
    disk: &'a Disk,
    reads: Option<&'a Reads>,
    roots: &'a Roots,
    dirs: Vec<Ino>,
    links: u32,
    slash: bool,
}

impl Walk<'_> {
    fn run(&mut self, path: &[u8], follow: Follow) -> io::Result<Place> {
        let mut pending = Vec::new();
        self.push(path, &mut pending)?;
        let end = |walk: &Self, last| Place { dirs: walk.dirs.clone(), last, slash: walk.slash };
        while let Some(component) = pending.pop() {
            let is_last = pending.is_empty();
            match &component[..] {
                b"." if is_last => return Ok(end(self, Last::Dot)),
                b"." => {}
                b".." => {
                    if self.dirs.len() == 1 {
                        return Err(outside(path));
                    }
                    self.dirs.pop();
                    if is_last {
                        return Ok(end(self, Last::DotDot));
                    }
                }
                name => {
                    if is_last && self.slash && follow == Follow::Create {
                        return Err(EISDIR.into());
                    }
                    if name.len() > NAME_MAX {
                        return match is_last {
                            true => Ok(end(self, Last::TooLong)),
                            false => Err(ENAMETOOLONG.into()),
                        };
                    }
                    let slot = Slot::new(*self.dirs.last().expect("never empty"), name);
                    self.reads.iter().for_each(|reads| reads.entry(slot.dir, name));
                    let found = self.disk.lookup(&slot);
                    let body = found.and_then(|ino| self.disk.get(ino)).map(|inode| &inode.body);
                    let follow_last = match follow {
                        Follow::Always | Follow::Create => true,
                        Follow::Slash => self.slash,
                        Follow::Never => false,
                    };
                    match body {
                        Some(Body::Symlink(target)) if !is_last || follow_last => {
                            self.links += 1;
                            if self.links > LINKS_MAX {
                                return Err(ELOOP.into());
                            }
                            self.push(target.as_bytes(), &mut pending)?;
                        }
                        _ if is_last => return Ok(end(self, Last::Name(slot, found))),
                        Some(Body::Dir(_)) => self.dirs.extend(found),
                        Some(_) => return Err(ENOTDIR.into()),
                        None => return Err(ENOENT.into()),
                    }
                }
            }
        }
        Ok(end(self, Last::Root))
    }

    /// Puts the components of `path` on top of what is still to be walked.
    fn push(&mut self, path: &[u8], pending: &mut Vec<Vec<u8>>) -> io::Result<()> {
        let path = self.roots.strip(path)?;
        if path.starts_with(b"/") {
            self.dirs.truncate(1);
        }
        if pending.is_empty() {
            self.slash |= path.ends_with(b"/");
        }
        let components = path.split(|&b| b == b'/').filter(|c| !c.is_empty());
        pending.extend(components.rev().map(<[u8]>::to_vec));
        Ok(())
    }
}

fn outside(path: &[u8]) -> io::Error {
    let path = String::from_utf8_lossy(path);
    let message = format!(
        "{path} leads out of the filesystem: use a path relative to its root, or one below it"
    );
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// The path as rules see it: from the root, without `.`, `..` and doubled slashes; symbolic links stay.
pub(crate) fn plain(roots: &Roots, path: &Path) -> PathBuf {
    let below = roots.0.iter().find_map(|root| path.strip_prefix(root).ok()).unwrap_or(path);
    let mut plain = PathBuf::new();
    for component in below.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    match plain.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => plain,
    }
}
