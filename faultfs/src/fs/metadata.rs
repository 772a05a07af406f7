//! What can be known about an inode, and what a directory lists.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::FaultFs;
use super::folder::Stat;
use crate::disk::{Body, Inode};
use crate::op::Ino;

/// Attributes of an inode. This corresponds to [`std::fs::Metadata`], without times: nothing that a test
/// decides may depend on a clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    pub(super) ino: Ino,
    pub(super) file_type: FileType,
    pub(super) len: u64,
    pub(super) mode: u32,
}

impl Metadata {
    pub(super) fn of(ino: Ino, inode: &Inode) -> Metadata {
        let (file_type, len) = match &inode.body {
            Body::File(content) => (FileType::File, content.len()),
            Body::Dir(_) => (FileType::Dir, 0),
            Body::Symlink(target) => (FileType::Symlink, target.as_bytes().len() as u64),
        };
        Metadata { ino, file_type, len, mode: inode.mode }
    }

    /// As a real folder has it.
    pub(super) fn updated(self, stat: &Stat) -> Metadata {
        let Stat { file_type, len, mode } = *stat;
        Metadata { file_type, len, mode, ..self }
    }

    /// What it is.
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// True for a regular file.
    pub fn is_file(&self) -> bool {
        self.file_type == FileType::File
    }

    /// True for a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type == FileType::Dir
    }

    /// True for a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.file_type == FileType::Symlink
    }

    /// The size of a file or of a link's target in bytes; 0 for a directory, whose size differs from
    /// filesystem to filesystem.
    #[allow(clippy::len_without_is_empty, reason = "a size, as in std")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Permission bits.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// The inode, as the trace names it. Equal numbers are one file.
    pub fn ino(&self) -> Ino {
        self.ino
    }
}

/// What an inode is. This corresponds to [`std::fs::FileType`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
}

/// The entries of a directory in the byte order of their names. This corresponds to
/// [`std::fs::ReadDir`]; the list is taken when it is asked for.
#[derive(Debug)]
pub struct ReadDir {
    pub(super) fs: FaultFs,
    pub(super) dir: PathBuf,
    pub(super) entries: std::vec::IntoIter<(OsString, FileType)>,
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        let (name, file_type) = self.entries.next()?;
        Some(Ok(DirEntry { fs: self.fs.clone(), path: self.dir.join(name), file_type }))
    }
}

/// A name in a directory. This corresponds to [`std::fs::DirEntry`].
#[derive(Debug)]
pub struct DirEntry {
    fs: FaultFs,
    path: PathBuf,
    file_type: FileType,
}

impl DirEntry {
    /// The path that was listed, with the name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name.
    pub fn file_name(&self) -> &OsStr {
        self.path.file_name().expect("an entry has a name")
    }

    /// What it is; a symbolic link is one.
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// Attributes; those of a symbolic link are its own.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.fs.symlink_metadata(&self.path)
    }
}

pub(super) fn os_string(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

pub(super) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
