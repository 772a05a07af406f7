//! What an engine can ask of a filesystem, in terms of inodes, never of paths.
//!
//! Paths are resolved by the door that saw the call; what reaches the trace names inodes and directory
//! slots, so that hard links, unlinked but open files and renamed directories need no special case.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes per page of the page cache, the unit in which dirty data is written back.
pub const PAGE: u64 = 4096;
/// Bytes per sector, the unit that no device tears: every filesystem of the ALICE study (table 1) keeps
/// a single-sector overwrite whole.
pub const SECTOR: u64 = 512;

/// An inode of the recorded filesystem. Numbers are given in the order of creation, so they are the
/// same in every run of a deterministic workload.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Ino(pub u32);

impl Ino {
    /// The directory that the session was given.
    pub const ROOT: Ino = Ino(0);
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One component of a path: any bytes but `/` and NUL, as the kernel has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// A name from its bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Name(Arc::from(bytes.as_ref()))
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Written data: kept once, shared by everything that refers to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Bytes(Arc<[u8]>);

impl Bytes {
    /// Takes a copy of `data`.
    pub fn new(data: &[u8]) -> Self {
        Bytes(Arc::from(data))
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

// As a row of bytes, which is taken in one go; the same, where it is saved, as a sequence of small numbers,
// which is what a text has in its place.
impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Row;
        impl<'de> Visitor<'de> for Row {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::new(bytes))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut row: A) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = row.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bytes(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Row)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// A place in a directory. What stands there over time are versions of one slot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Slot {
    /// The directory.
    pub dir: Ino,
    /// The name in it.
    pub name: Name,
}

impl Slot {
    /// The slot `name` of `dir`.
    pub fn new(dir: Ino, name: impl AsRef<[u8]>) -> Self {
        Slot { dir, name: Name::new(name) }
    }
}

/// What an inode is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link and its target.
    Symlink(Name),
}

/// How much a sync covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SyncKind {
    /// `fsync`, `O_SYNC`: data and all metadata of the inode.
    All,
    /// `fdatasync`, `O_DSYNC`: data and the metadata needed to read it back (size and mapping), not
    /// mode or times (fdatasync(2)).
    Data,
}

/// One request that changes the filesystem or makes a change durable. Reads are not recorded: a crash
/// cannot tell that they happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// A new inode under a new name: `open(O_CREAT)`, `mkdir`, `symlink`.
    Create {
        /// Where it is named.
        slot: Slot,
        /// The new inode.
        ino: Ino,
        /// What it is.
        kind: Kind,
        /// Permission bits after the umask.
        mode: u32,
    },
    /// A new regular file without a name: `open(O_TMPFILE)`.
    CreateUnnamed {
        /// The new inode.
        ino: Ino,
        /// Permission bits after the umask.
        mode: u32,
    },
    /// A further name of an inode: `link`, also the first name of an unnamed file.
    Link {
        /// The inode that gets a name.
        ino: Ino,
        /// The new name.
        slot: Slot,
    },
    /// A name goes: `unlink`, `rmdir`.
    Unlink {
        /// The slot that becomes empty.
        slot: Slot,
    },
    /// `rename`: the source slot becomes empty, the target slot names what the source named. With
    /// `exchange` (`RENAME_EXCHANGE`) the two swap.
    Rename {
        /// The old name.
        from: Slot,
        /// The new name.
        to: Slot,
        /// Swap instead of replace.
        exchange: bool,
    },
    /// Bytes written by `write`, `pwrite` and their kin, at the offset that the kernel resolved.
    Write {
        /// The file.
        ino: Ino,
        /// First byte written.
        offset: u64,
        /// What was written.
        data: Bytes,
        /// `O_DIRECT`: past the page cache.
        direct: bool,
        /// `O_SYNC`, `O_DSYNC`, `RWF_SYNC`, `RWF_DSYNC`: the write is a sync of itself.
        sync: Option<SyncKind>,
    },
    /// Bytes found changed in a shared writable mapping. No order is kept of what was stored through mappings until
    /// an `msync` or a sync of the file (msync(2)): see the [models](crate::model).
    MapStore {
        /// The mapped file.
        ino: Ino,
        /// First byte that may have changed.
        offset: u64,
        /// The content now.
        data: Bytes,
        /// How it was seen.
        found: Found,
    },
    /// The size is set: `ftruncate`, `O_TRUNC`, and `fallocate` where it extends the file.
    SetLen {
        /// The file.
        ino: Ino,
        /// Its new size in bytes.
        len: u64,
    },
    /// A range reads as zeros from now on, the size stays: `FALLOC_FL_PUNCH_HOLE`,
    /// `FALLOC_FL_ZERO_RANGE` with `KEEP_SIZE`.
    Zero {
        /// The file.
        ino: Ino,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// `chmod`.
    SetMode {
        /// The inode.
        ino: Ino,
        /// The new permission bits.
        mode: u32,
    },
    /// `fsync` or `fdatasync` of a file or directory.
    Sync {
        /// The inode that is synced.
        ino: Ino,
        /// What is covered.
        kind: SyncKind,
    },
    /// `msync(MS_SYNC)` of a range of a mapped file.
    SyncMap {
        /// The mapped file.
        ino: Ino,
        /// First byte of the range.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// `sync` or `syncfs`: everything that was asked before.
    SyncAll,
    /// `sync_file_range` or `msync(MS_ASYNC)`: starts write-back, makes nothing durable (neither size
    /// nor mapping nor the device's cache are covered: sync_file_range(2), "Warning").
    StartWriteback {
        /// The file.
        ino: Ino,
    },
}

/// How a store through a mapping was noticed.
///
/// ```
/// use faultfs::op::Found;
///
/// // Stores through a map of a `FaultFs` are calls; what a program stores through `mmap` is found later.
/// assert!(Found::Stored < Found::Compared);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Found {
    /// As it was done.
    Stored,
    /// By comparing the mappings with what they held: all that is new in a page since the comparison before.
    Compared,
    /// By the comparison that found the op before this, also a store: nobody saw which came first.
    Together,
}

impl Op {
    /// The word that reports and plans use for the op.
    pub fn word(&self) -> &'static str {
        match self {
            Op::Create { kind: Kind::File, .. } => "create",
            Op::Create { kind: Kind::Dir, .. } => "mkdir",
            Op::Create { kind: Kind::Symlink(_), .. } => "symlink",
            Op::CreateUnnamed { .. } => "create unnamed",
            Op::Link { .. } => "link",
            Op::Unlink { .. } => "unlink",
            Op::Rename { exchange: false, .. } => "rename",
            Op::Rename { exchange: true, .. } => "exchange",
            Op::Write { .. } => "write",
            Op::MapStore { .. } => "mapped store",
            Op::SetLen { .. } => "set length",
            Op::Zero { .. } => "zero range",
            Op::SetMode { .. } => "set mode",
            Op::Sync { kind: SyncKind::All, .. } => "fsync",
            Op::Sync { kind: SyncKind::Data, .. } => "fdatasync",
            Op::SyncMap { .. } => "msync",
            Op::SyncAll => "sync",
            Op::StartWriteback { .. } => "start write-back",
        }
    }

    /// True where the op can make earlier ops durable.
    pub fn is_sync(&self) -> bool {
        matches!(
            self,
            Op::Sync { .. } | Op::SyncMap { .. } | Op::SyncAll | Op::Write { sync: Some(_), .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Saved traces and the hashes in tokens stay what they are.
    #[test]
    fn bytes_are_saved_as_a_sequence_is() {
        for plain in [vec![], vec![0, 127, 128, 255], vec![7; 5000]] {
            let bytes = Bytes::new(&plain);
            let saved = postcard::to_stdvec(&bytes).unwrap();
            assert_eq!(saved, postcard::to_stdvec(&plain).unwrap());
            assert_eq!(postcard::from_bytes::<Bytes>(&saved).unwrap(), bytes);
            assert!(postcard::from_bytes::<Bytes>(&saved[..saved.len() - 1]).is_err());
        }
    }
}
