//! `FaultFile`: a file, or anything that reads and writes like one, with faults.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::door::{Gate, Injector, OpKind, SyncKind};
use super::storage::Storage;

/// A file whose reads, writes and syncs may go wrong, around a [`std::fs::File`] or around anything
/// that reads and writes: what `F` can, `FaultFile<F>` can.
///
/// Without an injector it passes every call on, at the cost of one comparison; with one whose plan is
/// empty, of two. Neither locks nor allocates. With the package's feature `faults` off it is the inner
/// type and nothing else, and an [`Injector`] is nothing at all: production code can name both. The tests
/// of an engine arm it:
///
/// ```
/// use faultfs::errno::EIO;
/// use faultfs::fault::Part;
/// use faultfs::plan::on;
/// use faultfs::{FaultFile, Injector};
/// use std::io::Write;
///
/// let file = tempfile::NamedTempFile::new()?;
/// let injector = Injector::new([
///     on::write().skip(1).take(1).torn(Part::Bytes(3), EIO),
///     on::sync().path("*.wal").fail(EIO),
/// ]);
/// let mut wal = FaultFile::armed(file.reopen()?, &injector, "1.wal");
/// wal.write_all(b"first.")?;
/// assert_eq!(wal.write_all(b"second").unwrap_err().raw_os_error(), Some(5));
/// assert_eq!(std::fs::read(file.path())?, b"first.sec");
/// assert_eq!(wal.sync_data().unwrap_err().raw_os_error(), Some(5));
/// injector.finish().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Faults
///
/// One call is one op, whichever method made it: `write_all` is as many writes as it takes, a vectored
/// write is one. `flush` and `seek` are no ops: they ask nothing of a disk. A read or write that goes
/// wrong in part moves the cursor by the part; after `fail` it is where it was.
///
/// # After a crash
///
/// A `FaultFile` around your own file knows nothing of crashes; one that was opened by a [`FaultFs`]
/// is recorded.
///
/// [`FaultFs`]: crate::FaultFs
#[cfg_attr(not(feature = "faults"), repr(transparent))]
pub struct FaultFile<F = std::fs::File> {
    inner: F,
    gate: Gate,
}

impl<F> FaultFile<F> {
    /// A file on which nothing goes wrong.
    pub const fn new(inner: F) -> Self {
        FaultFile { inner, gate: Gate::OPEN }
    }

    /// A file whose calls are judged by `injector`; `path` is what the rules of its plan compare with
    /// their patterns.
    pub fn armed(inner: F, injector: &Injector, path: impl AsRef<Path>) -> Self {
        FaultFile { inner, gate: Gate::new(injector, path.as_ref()) }
    }

    /// A file behind a door that knows it.
    #[cfg(feature = "faults")]
    pub(super) fn behind(gate: Gate, inner: F) -> Self {
        FaultFile { inner, gate }
    }

    #[cfg(feature = "tokio")]
    pub(super) fn parts(&mut self) -> (&mut F, &Gate) {
        (&mut self.inner, &self.gate)
    }

    #[cfg(any(feature = "faults", feature = "tokio"))]
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What it wraps. Calls on it pass the faults by.
    pub fn get_ref(&self) -> &F {
        &self.inner
    }

    /// What it wraps. Calls on it pass the faults by.
    pub fn get_mut(&mut self) -> &mut F {
        &mut self.inner
    }

    /// What it wraps.
    pub fn into_inner(self) -> F {
        self.inner
    }
}

impl<F: Storage> FaultFile<F> {
    /// The size in bytes.
    #[inline]
    #[track_caller]
    pub fn size(&self) -> io::Result<u64> {
        match self.gate.armed() {
            None => self.inner.size(),
            Some(door) => door.call(OpKind::Metadata, || self.inner.size()),
        }
    }

    /// Sets the size in bytes. This corresponds to [`std::fs::File::set_len`].
    #[inline]
    #[track_caller]
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match self.gate.armed() {
            None => self.inner.set_len(len),
            Some(door) => door.set_len(&self.inner, len),
        }
    }

    /// Makes data and metadata durable. This corresponds to [`std::fs::File::sync_all`].
    #[inline]
    #[track_caller]
    pub fn sync_all(&self) -> io::Result<()> {
        match self.gate.armed() {
            None => self.inner.sync_all(),
            Some(door) => door.sync(&self.inner, SyncKind::All),
        }
    }

    /// Makes data durable. This corresponds to [`std::fs::File::sync_data`].
    #[inline]
    #[track_caller]
    pub fn sync_data(&self) -> io::Result<()> {
        match self.gate.armed() {
            None => self.inner.sync_data(),
            Some(door) => door.sync(&self.inner, SyncKind::Data),
        }
    }
}

impl<F: Storage> Storage for FaultFile<F> {
    fn size(&self) -> io::Result<u64> {
        self.size()
    }

    #[track_caller]
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    #[track_caller]
    fn sync_all(&self) -> io::Result<()> {
        self.sync_all()
    }

    #[track_caller]
    fn sync_data(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl FaultFile {
    /// Attributes of the file. This corresponds to [`std::fs::File::metadata`].
    pub fn metadata(&self) -> io::Result<std::fs::Metadata> {
        match self.gate.armed() {
            None => self.inner.metadata(),
            Some(door) => door.call(OpKind::Metadata, || self.inner.metadata()),
        }
    }

    /// Sets the permission bits. This corresponds to [`std::fs::File::set_permissions`].
    pub fn set_permissions(&self, permissions: std::fs::Permissions) -> io::Result<()> {
        match self.gate.armed() {
            None => self.inner.set_permissions(permissions),
            Some(door) => door.call(OpKind::SetMode, || self.inner.set_permissions(permissions)),
        }
    }

    /// A second handle that shares the cursor. This corresponds to [`std::fs::File::try_clone`].
    pub fn try_clone(&self) -> io::Result<FaultFile> {
        Ok(FaultFile { inner: self.inner.try_clone()?, gate: self.gate.clone() })
    }
}

impl<F> From<F> for FaultFile<F> {
    /// A file on which nothing goes wrong.
    fn from(inner: F) -> Self {
        FaultFile::new(inner)
    }
}

impl<F: fmt::Debug> fmt::Debug for FaultFile<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("FaultFile");
        out.field("inner", &self.inner);
        self.gate.describe(&mut out);
        out.finish_non_exhaustive()
    }
}

impl<F: Read> Read for FaultFile<F> {
    #[inline]
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.gate.armed() {
            None => self.inner.read(buf),
            Some(door) => door.read(&mut self.inner, buf),
        }
    }

    #[inline]
    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self.gate.armed() {
            None => self.inner.read_vectored(bufs),
            Some(door) => door.read_vectored(&mut self.inner, bufs),
        }
    }
}

impl<'a, F> Read for &'a FaultFile<F>
where
    &'a F: Read,
{
    #[inline]
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.gate.armed() {
            None => (&self.inner).read(buf),
            Some(door) => door.read(&mut &self.inner, buf),
        }
    }

    #[inline]
    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self.gate.armed() {
            None => (&self.inner).read_vectored(bufs),
            Some(door) => door.read_vectored(&mut &self.inner, bufs),
        }
    }
}

impl<F: Write> Write for FaultFile<F> {
    #[inline]
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self.gate.armed() {
            None => self.inner.write(buf),
            Some(door) => door.write(&mut self.inner, buf),
        }
    }

    #[inline]
    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.gate.armed() {
            None => self.inner.write_vectored(bufs),
            Some(door) => door.write_vectored(&mut self.inner, bufs),
        }
    }

    #[track_caller]
    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        let mut rest = buf;
        while !rest.is_empty() {
            rest = &rest[progress(self.write(rest))?..];
        }
        Ok(())
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<'a, F> Write for &'a FaultFile<F>
where
    &'a F: Write,
{
    #[inline]
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self.gate.armed() {
            None => (&self.inner).write(buf),
            Some(door) => door.write(&mut &self.inner, buf),
        }
    }

    #[inline]
    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.gate.armed() {
            None => (&self.inner).write_vectored(bufs),
            Some(door) => door.write_vectored(&mut &self.inner, bufs),
        }
    }

    #[track_caller]
    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        let mut rest = buf;
        while !rest.is_empty() {
            rest = &rest[progress(self.write(rest))?..];
        }
        Ok(())
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        (&self.inner).flush()
    }
}

impl<F: Seek> Seek for FaultFile<F> {
    #[inline]
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }

    #[inline]
    fn stream_position(&mut self) -> io::Result<u64> {
        self.inner.stream_position()
    }
}

impl<'a, F> Seek for &'a FaultFile<F>
where
    &'a F: Seek,
{
    #[inline]
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&self.inner).seek(to)
    }

    #[inline]
    fn stream_position(&mut self) -> io::Result<u64> {
        (&self.inner).stream_position()
    }
}

impl<F: FileExt> FileExt for FaultFile<F> {
    #[inline]
    #[track_caller]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.gate.armed() {
            None => self.inner.read_at(buf, offset),
            Some(door) => door.read_at(&self.inner, offset, buf),
        }
    }

    #[inline]
    #[track_caller]
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        match self.gate.armed() {
            None => self.inner.write_at(buf, offset),
            Some(door) => door.write_at(&self.inner, offset, buf),
        }
    }

    #[track_caller]
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            done += progress(self.write_at(&buf[done..], offset + done as u64))?;
        }
        Ok(())
    }
}

/// One step of a loop that writes everything: how far it came. An interruption is tried again.
fn progress(wrote: io::Result<usize>) -> io::Result<usize> {
    match wrote {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other,
    }
}
