//! `FaultFile` as the storage of a redb database, of redb 3 and 4.

use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;

use redb::StorageBackend;

use super::{FaultFile, Storage};

/// Whatever reads and writes at offsets, has a size and can be synced holds a database: a
/// [`std::fs::File`], a file of a `FaultFs`, or a backend of redb's in a [`RedbBackend`].
///
/// ```
/// # #[cfg(feature = "faults")] {
/// use faultfs::fs::RedbBackend;
/// use faultfs::errno::EIO;
/// use faultfs::plan::on;
/// use faultfs::{FaultFile, Injector};
/// use redb::backends::InMemoryBackend;
/// use redb::{Database, TableDefinition};
///
/// const TABLE: TableDefinition<'_, u64, u64> = TableDefinition::new("table");
/// let injector = Injector::default();
/// let memory = RedbBackend(InMemoryBackend::new());
/// let db = Database::builder()
///     .create_with_backend(FaultFile::armed(memory, &injector, "app.redb"))
///     .unwrap();
/// injector.arm(on::sync().take(1).fail(EIO));
/// let transaction = db.begin_write().unwrap();
/// transaction.open_table(TABLE).unwrap().insert(1, 1).unwrap();
/// assert!(transaction.commit().is_err());
/// injector.finish().unwrap();
/// # }
/// ```
impl<F> StorageBackend for FaultFile<F>
where
    F: Storage + FileExt + fmt::Debug + Send + Sync + 'static,
{
    fn len(&self) -> io::Result<u64> {
        self.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, offset)
    }

    #[track_caller]
    fn set_len(&self, len: u64) -> io::Result<()> {
        Storage::set_len(self, len)
    }

    #[track_caller]
    fn sync_data(&self) -> io::Result<()> {
        Storage::sync_data(self)
    }

    #[track_caller]
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_all_at(data, offset)
    }
}

/// A backend of redb's as a file, so that a [`FaultFile`] can be put around it. What it locks is free
/// again once it is dropped with its database.
#[derive(Debug)]
pub struct RedbBackend<B>(pub B);

impl<B: StorageBackend> Storage for RedbBackend<B> {
    fn size(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl<B: StorageBackend> FileExt for RedbBackend<B> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.0.len()?.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        self.0.read(offset, &mut buf[..len])?;
        Ok(len)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write(offset, buf)?;
        Ok(buf.len())
    }
}
