//! The calls of a filesystem on a real folder, relative to its descriptor.
//!
//! Paths are handed to the kernel as they came, so that it judges them; that they stay below the folder
//! has been checked on the picture before.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, CWD};
use rustix::fs::{AtFlags, FileType as Type, Mode, OFlags, RenameFlags};

use super::metadata::FileType;
use super::options::OpenOptions;
use super::path::{Follow, Roots};
use crate::op::SyncKind;

#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    roots: Roots,
}

/// What the kernel says of an inode.
#[derive(Debug)]
pub(super) struct Stat {
    pub(super) file_type: FileType,
    pub(super) len: u64,
    pub(super) mode: u32,
}

impl Folder {
    pub(super) fn open(path: &Path, roots: Roots) -> io::Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = sys::open(path, flags, Mode::empty())?;
        Ok(Folder { fd, roots })
    }

    /// Opens a file; `mode` are the bits that it is given if it is made now.
    pub(super) fn open_file(
        &self,
        path: &Path,
        options: &OpenOptions,
        mode: Option<u32>,
    ) -> io::Result<File> {
        let created = Mode::from_raw_mode(options.mode);
        let fd = sys::openat(&self.fd, self.below(path)?, flags(options), created)?;
        set_exact_mode(&fd, mode)?;
        Ok(File::from(fd))
    }

    /// Makes a file without a name.
    pub(super) fn create_unnamed(&self, dir: &Path, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let fd = sys::openat(&self.fd, self.below(dir)?, flags, Mode::from_raw_mode(mode))?;
        set_exact_mode(&fd, Some(mode))?;
        Ok(File::from(fd))
    }

    /// Names an open file. Linking by descriptor alone needs a privilege; through `/proc` it does not
    /// (open(2), O_TMPFILE).
    pub(super) fn link_file(&self, file: &File, to: &Path) -> io::Result<()> {
        let from = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(sys::linkat(CWD, from, &self.fd, self.below(to)?, AtFlags::SYMLINK_FOLLOW)?)
    }

    pub(super) fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        let path = self.below(path)?;
        sys::mkdirat(&self.fd, &path, Mode::from_raw_mode(mode))?;
        let made = sys::statat(&self.fd, &path, AtFlags::empty())?;
        if made.st_mode & 0o7777 != mode {
            sys::chmodat(&self.fd, &path, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        Ok(sys::unlinkat(&self.fd, self.below(path)?, AtFlags::empty())?)
    }

    pub(super) fn remove_dir(&self, path: &Path) -> io::Result<()> {
        Ok(sys::unlinkat(&self.fd, self.below(path)?, AtFlags::REMOVEDIR)?)
    }

    pub(super) fn rename(&self, from: &Path, to: &Path, exchange: bool) -> io::Result<()> {
        let flags = if exchange { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
        Ok(sys::renameat_with(&self.fd, self.below(from)?, &self.fd, self.below(to)?, flags)?)
    }

    /// Gives a file the name `to` too, in place of what that stands for.
    pub(super) fn leave_both_names(&self, from: &Path, to: &Path) -> io::Result<()> {
        // What is removed may be a link through which `from` leads.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(sys::openat(&self.fd, self.below(from)?, flags, Mode::empty())?);
        match self.remove(to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => self.link_file(&file, to),
        }
    }

    pub(super) fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.below(from)?, self.below(to)?);
        Ok(sys::linkat(&self.fd, from, &self.fd, to, AtFlags::empty())?)
    }

    pub(super) fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        Ok(sys::symlinkat(target, &self.fd, self.below(path)?)?)
    }

    pub(super) fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let target = sys::readlinkat(&self.fd, self.below(path)?, Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    pub(super) fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        Ok(sys::chmodat(&self.fd, self.below(path)?, mode, AtFlags::empty())?)
    }

    pub(super) fn stat(&self, path: &Path, follow: Follow) -> io::Result<Stat> {
        let flags = match follow {
            Follow::Always => AtFlags::empty(),
            _ => AtFlags::SYMLINK_NOFOLLOW,
        };
        Ok(Stat::new(&sys::statat(&self.fd, self.below(path)?, flags)?))
    }

    /// The names in a directory, in byte order.
    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = sys::openat(&self.fd, self.below(path)?, flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in sys::Dir::read_from(dir)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn sync_all(&self) -> io::Result<()> {
        Ok(sys::syncfs(&self.fd)?)
    }

    /// `path` relative to the folder.
    fn below(&self, path: &Path) -> io::Result<PathBuf> {
        let bytes = path.as_os_str().as_bytes();
        if !bytes.starts_with(b"/") {
            return Ok(path.to_path_buf());
        }
        let rest = self.roots.strip(bytes)?;
        let start = rest.iter().position(|&b| b != b'/').unwrap_or(rest.len());
        match &rest[start..] {
            b"" => Ok(PathBuf::from(".")),
            rest => Ok(PathBuf::from(OsString::from_vec(rest.to_vec()))),
        }
    }
}

impl Stat {
    fn new(stat: &sys::Stat) -> Stat {
        let file_type = match Type::from_raw_mode(stat.st_mode) {
            Type::Directory => FileType::Dir,
            Type::Symlink => FileType::Symlink,
            _ => FileType::File,
        };
        let len = match file_type {
            FileType::Dir => 0,
            _ => u64::try_from(stat.st_size).expect("a size is not negative"),
        };
        Stat { file_type, len, mode: stat.st_mode & 0o7777 }
    }

    pub(super) fn of(file: &File) -> io::Result<Stat> {
        Ok(Stat::new(&sys::fstat(file)?))
    }
}

/// The bits that were asked for, whatever the umask of this process: a run is the same anywhere.
fn set_exact_mode(file: &impl AsFd, mode: Option<u32>) -> io::Result<()> {
    let Some(mode) = mode else { return Ok(()) };
    if sys::fstat(file)?.st_mode & 0o7777 != mode {
        sys::fchmod(file, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

/// The flags of open(2). `O_DIRECT` is recorded and not passed on: what the folder lies on need not
/// know it.
fn flags(options: &OpenOptions) -> OFlags {
    let mut flags = OFlags::CLOEXEC
        | match (options.read, options.writes()) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            _ => OFlags::RDONLY,
        };
    flags.set(OFlags::APPEND, options.append);
    match (options.create, options.truncate, options.create_new) {
        (_, _, true) => flags |= OFlags::CREATE | OFlags::EXCL,
        (create, truncate, false) => {
            flags.set(OFlags::CREATE, create);
            flags.set(OFlags::TRUNC, truncate);
        }
    }
    match options.sync {
        Some(SyncKind::All) => flags |= OFlags::SYNC,
        Some(SyncKind::Data) => flags |= OFlags::DSYNC,
        None => {}
    }
    flags
}
