//! `FaultFile`: a file, or anything that reads and writes like one, with faults.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::panic::{Location, RefUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::storage::Storage;
use crate::errno::Errno;
use crate::injector::{Call, Injection, Injector};
use crate::op::SyncKind;
use crate::plan::OpKind;

/// A file whose reads, writes and syncs may go wrong, around a [`std::fs::File`] or around anything
/// that reads and writes: what `F` can, `FaultFile<F>` can.
///
/// Without an injector it passes every call on, at the cost of one comparison; with one whose plan is
/// empty, of two. Neither locks nor allocates. The tests of an engine arm it:
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
pub struct FaultFile<F = std::fs::File> {
    inner: F,
    door: Option<Arc<Door>>,
}

/// Where a file's calls are judged.
struct Door {
    injector: Injector,
    path: Box<Path>,
    witness: Option<Arc<dyn Witness>>,
}

/// What a recorded file knows about its own calls, and is told of their faults.
pub(super) trait Witness: Send + Sync + RefUnwindSafe {
    /// The kind of a call: the sync of a directory is one of its own.
    fn kind(&self, kind: OpKind) -> OpKind;

    /// Where a read or write goes.
    fn offset(&self, kind: OpKind, at: Option<u64>) -> Option<u64>;

    /// A fault is about to be injected.
    fn injected(&self, call: &Call<'_>, injection: &Injection);

    /// A sync failed before its effect.
    fn sync_failed(&self, kind: SyncKind, errno: Errno, caller: &'static Location<'static>);
}

/// What is left of a call that a fault cut short: how many bytes are moved (1 for a call that moves
/// none and is carried out), and the error that is returned in place of the result.
pub(super) struct Cut {
    len: usize,
    errno: Option<Errno>,
}

impl Cut {
    /// The error of a call that is not carried out.
    pub(super) fn before(&self) -> io::Result<()> {
        match self.errno {
            Some(errno) if self.len == 0 => Err(errno.into()),
            _ => Ok(()),
        }
    }

    /// What the caller is told of a call that was carried out.
    pub(super) fn after<T>(&self, done: io::Result<T>) -> io::Result<T> {
        match self.errno {
            Some(errno) => done.and(Err(errno.into())),
            None => done,
        }
    }
}

impl<F> FaultFile<F> {
    /// A file on which nothing goes wrong.
    pub const fn new(inner: F) -> Self {
        FaultFile { inner, door: None }
    }

    /// A file whose calls are judged by `injector`; `path` is what the rules of its plan compare with
    /// their patterns.
    pub fn armed(inner: F, injector: &Injector, path: impl AsRef<Path>) -> Self {
        let (injector, path) = (injector.clone(), path.as_ref().into());
        FaultFile { inner, door: Some(Arc::new(Door { injector, path, witness: None })) }
    }

    /// A file that is told of its faults.
    pub(super) fn witnessed(
        witness: Arc<dyn Witness>,
        inner: F,
        injector: &Injector,
        path: PathBuf,
    ) -> Self {
        let (injector, path) = (injector.clone(), path.into());
        FaultFile { inner, door: Some(Arc::new(Door { injector, path, witness: Some(witness) })) }
    }

    /// Another file behind the same door.
    pub(super) fn with_inner(&self, inner: F) -> Self {
        FaultFile { inner, door: self.door.clone() }
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

    /// What goes wrong with a call. The usual answer, nothing, takes one or two comparisons.
    #[inline]
    pub(super) fn cut(&self, kind: OpKind, at: Option<u64>, len: usize) -> Option<Cut> {
        match &self.door {
            Some(door) if door.injector.is_armed() => door.cut(kind, at, len),
            _ => None,
        }
    }

    #[inline]
    #[track_caller]
    fn cut_sync(&self, kind: SyncKind) -> Option<Cut> {
        match &self.door {
            Some(door) if door.injector.is_armed() => door.cut_sync(kind, Location::caller()),
            _ => None,
        }
    }
}

impl Door {
    #[cold]
    fn cut(&self, kind: OpKind, at: Option<u64>, len: usize) -> Option<Cut> {
        let (kind, offset) = match &self.witness {
            Some(witness) => (witness.kind(kind), witness.offset(kind, at)),
            None => (kind, at),
        };
        let call = Call { offset, len: len as u64, ..Call::new(kind, &self.path) };
        let injection = self.injector.decide(&call)?;
        if let Some(witness) = &self.witness {
            witness.injected(&call, &injection);
        }
        // A call that moves no data has one thing to do, and does it or not.
        let whole = if matches!(kind, OpKind::Read | OpKind::Write) { len } else { 1 };
        let (len, errno) = injection.fault.cut(offset, whole);
        Some(Cut { len, errno })
    }

    #[cold]
    fn cut_sync(&self, kind: SyncKind, caller: &'static Location<'static>) -> Option<Cut> {
        let cut = self.cut(OpKind::Sync, None, 0)?;
        if let (0, Some(errno), Some(witness)) = (cut.len, cut.errno, &self.witness) {
            witness.sync_failed(kind, errno, caller);
        }
        Some(cut)
    }
}

impl<F: Storage> FaultFile<F> {
    /// The size in bytes.
    #[inline]
    pub fn size(&self) -> io::Result<u64> {
        match self.cut(OpKind::Metadata, None, 0) {
            None => self.inner.size(),
            Some(cut) => {
                cut.before()?;
                cut.after(self.inner.size())
            }
        }
    }

    /// Sets the size in bytes. This corresponds to [`std::fs::File::set_len`].
    #[inline]
    #[track_caller]
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match self.cut(OpKind::SetLen, None, usize::try_from(len).unwrap_or(usize::MAX)) {
            None => self.inner.set_len(len),
            Some(cut) => {
                cut.before()?;
                cut.after(self.inner.set_len(len))
            }
        }
    }

    /// Makes data and metadata durable. This corresponds to [`std::fs::File::sync_all`].
    #[inline]
    #[track_caller]
    pub fn sync_all(&self) -> io::Result<()> {
        match self.cut_sync(SyncKind::All) {
            None => self.inner.sync_all(),
            Some(cut) => {
                cut.before()?;
                cut.after(self.inner.sync_all())
            }
        }
    }

    /// Makes data durable. This corresponds to [`std::fs::File::sync_data`].
    #[inline]
    #[track_caller]
    pub fn sync_data(&self) -> io::Result<()> {
        match self.cut_sync(SyncKind::Data) {
            None => self.inner.sync_data(),
            Some(cut) => {
                cut.before()?;
                cut.after(self.inner.sync_data())
            }
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
        match self.cut(OpKind::Metadata, None, 0) {
            None => self.inner.metadata(),
            Some(cut) => {
                cut.before()?;
                cut.after(self.inner.metadata())
            }
        }
    }

    /// Sets the permission bits. This corresponds to [`std::fs::File::set_permissions`].
    pub fn set_permissions(&self, permissions: std::fs::Permissions) -> io::Result<()> {
        match self.cut(OpKind::SetMode, None, 0) {
            None => self.inner.set_permissions(permissions),
            Some(cut) => {
                cut.before()?;
                cut.after(self.inner.set_permissions(permissions))
            }
        }
    }

    /// A second handle that shares the cursor. This corresponds to [`std::fs::File::try_clone`].
    pub fn try_clone(&self) -> io::Result<FaultFile> {
        Ok(FaultFile { inner: self.inner.try_clone()?, door: self.door.clone() })
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
        if let Some(door) = &self.door {
            out.field("path", &door.path).field("plan", &door.injector);
        }
        out.finish_non_exhaustive()
    }
}

impl<F: Read> Read for FaultFile<F> {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.cut(OpKind::Read, None, buf.len()) {
            None => self.inner.read(buf),
            Some(cut) => cut_read(&mut self.inner, buf, cut),
        }
    }

    #[inline]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self.cut(OpKind::Read, None, bufs.iter().map(|b| b.len()).sum()) {
            None => self.inner.read_vectored(bufs),
            Some(cut) => cut_read_vectored(&mut self.inner, bufs, cut),
        }
    }
}

impl<'a, F> Read for &'a FaultFile<F>
where
    &'a F: Read,
{
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.cut(OpKind::Read, None, buf.len()) {
            None => (&self.inner).read(buf),
            Some(cut) => cut_read(&mut &self.inner, buf, cut),
        }
    }

    #[inline]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self.cut(OpKind::Read, None, bufs.iter().map(|b| b.len()).sum()) {
            None => (&self.inner).read_vectored(bufs),
            Some(cut) => cut_read_vectored(&mut &self.inner, bufs, cut),
        }
    }
}

impl<F: Write> Write for FaultFile<F> {
    #[inline]
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self.cut(OpKind::Write, None, buf.len()) {
            None => self.inner.write(buf),
            Some(cut) => cut_write(&mut self.inner, buf, cut),
        }
    }

    #[inline]
    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.cut(OpKind::Write, None, bufs.iter().map(|b| b.len()).sum()) {
            None => self.inner.write_vectored(bufs),
            Some(cut) => cut_write(&mut self.inner, &bufs_to_vec(bufs), cut),
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
        match self.cut(OpKind::Write, None, buf.len()) {
            None => (&self.inner).write(buf),
            Some(cut) => cut_write(&mut &self.inner, buf, cut),
        }
    }

    #[inline]
    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.cut(OpKind::Write, None, bufs.iter().map(|b| b.len()).sum()) {
            None => (&self.inner).write_vectored(bufs),
            Some(cut) => cut_write(&mut &self.inner, &bufs_to_vec(bufs), cut),
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
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.cut(OpKind::Read, Some(offset), buf.len()) {
            None => self.inner.read_at(buf, offset),
            Some(cut) => cut_read(&mut At { file: &self.inner, offset }, buf, cut),
        }
    }

    #[inline]
    #[track_caller]
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        match self.cut(OpKind::Write, Some(offset), buf.len()) {
            None => self.inner.write_at(buf, offset),
            Some(cut) => cut_write(&mut At { file: &self.inner, offset }, buf, cut),
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

#[cold]
fn cut_read(inner: &mut impl Read, buf: &mut [u8], cut: Cut) -> io::Result<usize> {
    cut.before()?;
    cut.after(inner.read(&mut buf[..cut.len]))
}

#[cold]
fn cut_read_vectored(
    inner: &mut impl Read,
    bufs: &mut [IoSliceMut<'_>],
    cut: Cut,
) -> io::Result<usize> {
    let mut whole = vec![0; bufs.iter().map(|b| b.len()).sum()];
    let count = cut_read(inner, &mut whole, cut)?;
    let mut rest = &whole[..count];
    for buf in bufs {
        let len = rest.len().min(buf.len());
        let (head, tail) = rest.split_at(len);
        buf[..len].copy_from_slice(head);
        rest = tail;
    }
    Ok(count)
}

#[cold]
#[track_caller]
fn cut_write(inner: &mut impl Write, buf: &[u8], cut: Cut) -> io::Result<usize> {
    let Cut { len, errno } = cut;
    match errno {
        None => inner.write(&buf[..len]),
        Some(errno) => {
            inner.write_all(&buf[..len])?;
            Err(errno.into())
        }
    }
}

fn bufs_to_vec(bufs: &[IoSlice<'_>]) -> Vec<u8> {
    bufs.iter().flat_map(|buf| buf.iter().copied()).collect()
}

/// A file at an offset, as a stream.
struct At<'a, F> {
    file: &'a F,
    offset: u64,
}

impl<F: FileExt> Read for At<'_, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buf, self.offset)
    }
}

impl<F: FileExt> Write for At<'_, F> {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write_at(buf, self.offset)
    }

    #[track_caller]
    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        self.file.write_all_at(buf, self.offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
