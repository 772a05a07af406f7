//! `FaultMap`: a mapping of a file, with faults.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;

use super::door::{Gate, Injector};
use super::mapping::{Mapping, MappingMut};

/// A shared mapping of a file whose page faults and syncs may go wrong: around a `memmap2::MmapMut` or
/// `memmap2::Mmap` of your own, with the feature `memmap2`, or a file of a [`FaultFs`] that is mapped by
/// [`map_mut`].
///
/// Where `memmap2` has slices this has calls: `map.read(range, |bytes| …)?` for `&map[range]`,
/// `map.edit(range, |bytes| …)?` for `&mut map[range]`; syncs have the same names. A store into a slice tells
/// nobody when it happens, and a fault in the access of a slice cannot be told but by a signal.
///
/// With the package's feature `faults` off it is the inner type and nothing else.
///
/// ```
/// use faultfs::FaultFs;
/// use faultfs::errno::EIO;
/// use faultfs::plan::on;
///
/// let fs = FaultFs::mem();
/// let file = fs.create_new("pages")?;
/// file.set_len(8192)?;
/// let mut map = file.map_mut()?;
/// map.write_all_at(b"header", 0)?;
/// map.edit(4096..8192, |page| page.fill(7))?;
/// fs.arm(on::msync().at(4096..8192).take(1).fail(EIO));
/// map.flush_range(0, 4096)?;
/// assert_eq!(map.flush_range(4096, 4096).unwrap_err().raw_os_error(), Some(5));
/// assert_eq!(map.read(0..6, <[u8]>::to_vec)?, b"header");
/// fs.injector().finish().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Faults
///
/// An access of mapped bytes is a `load` or a `store`, one for each call here; a sync is an `msync`. Where the
/// kernel would raise `SIGBUS`, since a page cannot be read, has no room on the device, or lies behind the end
/// of the file, the call returns the error that the kernel had met, and of kind `UnexpectedEof` for the last.
/// In production the process dies there: an engine may pass the error on, and must promise nothing that it
/// does afterwards. A store that fails has changed nothing, but where it spans several pages, those before the
/// one that has no room. Each fault of a page that is read wrong strikes the loads, and no store.
///
/// A sync that fails does as that of a file ([`fail_sync`]), of its pages alone; of the error that is kept for
/// a file description its mappings are told, too, since a mapping holds the one that it was made with
/// (mm/msync.c calls `vfs_fsync_range` on it).
///
/// # After a crash
///
/// Of a file of a [`FaultFs`] each store is recorded when the call ends. Nothing of it is durable before a
/// sync of its pages, or of the whole file, has succeeded; until then each page may be, in any order, and may
/// be torn. [`flush_range`] covers the pages that its range touches, and of the file's size what was set by
/// `set_len` or came with data in these pages. [`flush_async`] makes nothing durable (msync(2), `MS_ASYNC`).
///
/// [`FaultFs`]: crate::FaultFs
/// [`map_mut`]: crate::FaultFile::map_mut
/// [`fail_sync`]: crate::plan::When::fail_sync
/// [`flush_range`]: FaultMap::flush_range
/// [`flush_async`]: FaultMap::flush_async
#[cfg_attr(not(feature = "faults"), repr(transparent))]
pub struct FaultMap<M> {
    inner: M,
    gate: Gate,
}

impl<M> FaultMap<M> {
    /// A mapping with which nothing goes wrong.
    pub const fn new(inner: M) -> Self {
        FaultMap { inner, gate: Gate::OPEN }
    }

    /// A mapping whose calls are judged by `injector`; `path` is what the rules of its plan compare with their
    /// patterns. Offsets of rules are counted from the start of the mapping.
    pub fn armed(inner: M, injector: &Injector, path: impl AsRef<Path>) -> Self {
        FaultMap { inner, gate: Gate::new(injector, path.as_ref()) }
    }

    /// A mapping behind a door that knows its file.
    #[cfg(feature = "faults")]
    pub(super) fn behind(gate: Gate, inner: M) -> Self {
        FaultMap { inner, gate }
    }

    /// What it wraps. Calls on it pass the faults by.
    pub fn get_ref(&self) -> &M {
        &self.inner
    }

    /// What it wraps. Calls on it pass the faults by.
    pub fn get_mut(&mut self) -> &mut M {
        &mut self.inner
    }

    /// What it wraps.
    pub fn into_inner(self) -> M {
        self.inner
    }
}

impl<M: Mapping> FaultMap<M> {
    /// How many bytes are mapped: also where the file has become longer or shorter.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// True where none are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows `look` these bytes. Behind the end of the file, in its last page, they are zeros.
    ///
    /// # Panics
    ///
    /// Where the range is not inside the mapping.
    #[inline]
    #[track_caller]
    pub fn read<T>(&self, range: Range<usize>, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        match self.gate.armed() {
            None => self.inner.read(range, look),
            Some(door) => door.load(&self.inner, range, look),
        }
    }

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Panics
    ///
    /// Where they are not all inside the mapping.
    #[inline]
    #[track_caller]
    pub fn read_exact_at(&self, buf: &mut [u8], offset: usize) -> io::Result<()> {
        self.read(offset..offset + buf.len(), |bytes| buf.copy_from_slice(bytes))
    }
}

impl<M: MappingMut> FaultMap<M> {
    /// Stores `data` from byte `offset` on. What lies behind the end of the file does not come into it.
    ///
    /// # Panics
    ///
    /// Where not all of it is inside the mapping.
    #[inline]
    #[track_caller]
    pub fn write_all_at(&mut self, data: &[u8], offset: usize) -> io::Result<()> {
        match self.gate.armed() {
            None => self.inner.write_all_at(data, offset),
            Some(door) => door.store(&mut self.inner, data, offset),
        }
    }

    /// Has `change` change these bytes. Of a file of a [`FaultFs`](crate::FaultFs) it changes a copy, which
    /// is stored when it returns, page by page, where a page has become another: to store what is there
    /// already (which makes a page dirty again that a failed sync has left clean) use
    /// [`write_all_at`](FaultMap::write_all_at). Where it panics nothing is stored; where a page of the range
    /// cannot be accessed it is not called.
    ///
    /// # Panics
    ///
    /// Where the range is not inside the mapping; where `change` asks something of the same filesystem, since
    /// that would come before the stores.
    #[inline]
    #[track_caller]
    pub fn edit<T>(
        &mut self,
        range: Range<usize>,
        change: impl FnOnce(&mut [u8]) -> T,
    ) -> io::Result<T> {
        match self.gate.armed() {
            None => self.inner.edit(range, change),
            Some(door) => door.edit(&mut self.inner, range, change),
        }
    }

    /// Makes the whole mapping durable: `memmap2::MmapMut::flush`.
    #[inline]
    #[track_caller]
    pub fn flush(&self) -> io::Result<()> {
        self.flush_range(0, self.len())
    }

    /// Makes the pages durable that these bytes touch: `memmap2::MmapMut::flush_range`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where they are not inside the mapping.
    #[inline]
    #[track_caller]
    pub fn flush_range(&self, offset: usize, len: usize) -> io::Result<()> {
        match self.gate.armed() {
            None => self.inner.flush_range(offset, len),
            Some(door) => door.msync(&self.inner, offset, len),
        }
    }

    /// Makes nothing durable: `memmap2::MmapMut::flush_async`. Linux does nothing at all (msync(2),
    /// `MS_ASYNC`), so nothing goes wrong either.
    #[inline]
    #[track_caller]
    pub fn flush_async(&self) -> io::Result<()> {
        self.flush_async_range(0, self.len())
    }

    /// Makes nothing durable: `memmap2::MmapMut::flush_async_range`.
    ///
    /// # Errors
    ///
    /// As for [`flush_range`](FaultMap::flush_range).
    #[inline]
    #[track_caller]
    pub fn flush_async_range(&self, offset: usize, len: usize) -> io::Result<()> {
        self.inner.flush_async_range(offset, len)
    }
}

impl<M> From<M> for FaultMap<M> {
    /// A mapping with which nothing goes wrong.
    fn from(inner: M) -> Self {
        FaultMap::new(inner)
    }
}

impl<M: fmt::Debug> fmt::Debug for FaultMap<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("FaultMap");
        out.field("inner", &self.inner);
        self.gate.describe(&mut out);
        out.finish_non_exhaustive()
    }
}
