//! The typed door: files and filesystems that an engine is written against.

mod file;
mod storage;

pub use file::FaultFile;
pub use storage::Storage;
