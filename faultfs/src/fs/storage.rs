//! What a file has beyond std's traits.

use std::fs::File;
use std::io;
use std::sync::Arc;

/// What files and storage backends have that neither `Read`, `Write`, `Seek` nor `FileExt` says: a
/// size, and syncs. Implement it for your own backend, and a [`FaultFile`] around it has them too.
///
/// [`FaultFile`]: crate::FaultFile
pub trait Storage {
    /// The size in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Sets the size in bytes. This corresponds to [`std::fs::File::set_len`].
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes data and metadata durable. This corresponds to [`std::fs::File::sync_all`].
    fn sync_all(&self) -> io::Result<()>;

    /// Makes data durable. This corresponds to [`std::fs::File::sync_data`].
    fn sync_data(&self) -> io::Result<()>;
}

impl Storage for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_data()
    }
}

#[cfg(feature = "faults")]
impl Storage for tempfile::NamedTempFile {
    fn size(&self) -> io::Result<u64> {
        self.as_file().size()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.as_file().set_len(len)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.as_file().sync_all()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.as_file().sync_data()
    }
}

macro_rules! through_pointer {
    ($($pointer:ty),*) => {$(
        impl<T: Storage + ?Sized> Storage for $pointer {
            fn size(&self) -> io::Result<u64> {
                (**self).size()
            }

            fn set_len(&self, len: u64) -> io::Result<()> {
                (**self).set_len(len)
            }

            fn sync_all(&self) -> io::Result<()> {
                (**self).sync_all()
            }

            fn sync_data(&self) -> io::Result<()> {
                (**self).sync_data()
            }
        }
    )*};
}

through_pointer!(&T, Box<T>, Arc<T>);
