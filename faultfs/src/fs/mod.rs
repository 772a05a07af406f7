//! The typed door: files and filesystems that an engine is written against.
//!
//! [`FaultFs`] is a filesystem, in memory or on a folder; [`FaultFile`] a file of it, or anything of
//! yours that reads and writes.

mod at;
mod capacity;
mod dirs;
mod door;
mod failed_sync;
mod faultfs;
mod file;
mod folder;
mod fs_map;
mod handle;
mod iter;
mod map;
mod map_door;
mod mapping;
mod metadata;
mod names;
mod options;
mod path;
#[cfg(feature = "tokio")]
mod poll;
mod power;
#[cfg(feature = "raft-engine")]
mod raft_engine;
#[cfg(feature = "redb")]
mod redb;
mod rot;
mod shared;
mod storage;
#[cfg(feature = "tokio")]
mod tokio;
mod witness;
mod writeback;

pub use capacity::Capacity;
pub use faultfs::FaultFs;
pub use file::FaultFile;
pub use fs_map::{FsMap, FsMapMut};
pub use handle::FsFile;
pub use iter::FaultIter;
pub use map::FaultMap;
pub use mapping::{Mapping, MappingMut};
pub use metadata::{DirEntry, FileType, Metadata, ReadDir};
pub use options::OpenOptions;
#[cfg(feature = "raft-engine")]
pub use raft_engine::{FaultFileSystem, RaftHandle, RaftWriter};
#[cfg(feature = "redb")]
pub use redb::RedbBackend;
pub use rot::Rot;
pub use storage::Storage;

/// A file of a [`FaultFs`].
pub type File = FaultFile<FsFile>;
