//! What the planted engines ask of a filesystem: a `FaultFs` has it, and through the interposed door so has a
//! folder.

use std::io;
use std::os::unix::fs::FileExt;

use faultfs::fs::Storage;
use faultfs::trace::Mark;

pub(crate) trait Files {
    type File: FileExt + Storage;
    /// For reading.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// For reading and writing; made where it is not there.
    fn open_or_create(&self, name: &str) -> io::Result<Self::File>;
    /// For reading and writing; it must not be there.
    fn create_new(&self, name: &str) -> io::Result<Self::File>;
    fn exists(&self, name: &str) -> io::Result<bool>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn sync_dir(&self) -> io::Result<()>;
    fn mark(&self, mark: Mark);
}
