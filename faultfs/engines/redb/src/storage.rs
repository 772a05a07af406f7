//! `StorageBackend` as redb 1 and 2 have it: a read gives a buffer, and a sync is told whether it may be
//! late. The adapter of `faultfs` is for redb 3 and 4, and does the same.

use std::io;
use std::os::unix::fs::FileExt;

use faultfs::FaultFile;
use faultfs::fs::FsFile;
use redb::StorageBackend;

pub(crate) fn storage(file: FaultFile<FsFile>) -> impl StorageBackend {
    Storage(file)
}

/// What redb's own `FileBackend` does on Linux, on a file of a `FaultFs`.
#[derive(Debug)]
struct Storage(FaultFile<FsFile>);

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; len];
        self.0.read_exact_at(&mut buffer, offset)?;
        Ok(buffer)
    }

    #[track_caller]
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    #[track_caller]
    fn sync_data(&self, _eventual: bool) -> io::Result<()> {
        self.0.sync_data()
    }

    #[track_caller]
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
