//! What a mapping of a file can.

use std::io;
use std::ops::Range;

/// A shared mapping of a file, for reading: `memmap2::Mmap`, or an [`FsMap`]. Implement it for your own, and
/// a [`FaultMap`] around it has faults.
///
/// [`FaultMap`]: crate::FaultMap
/// [`FsMap`]: crate::fs::FsMap
#[expect(clippy::len_without_is_empty, reason = "`FaultMap` has it; a mapping of nothing is rare")]
pub trait Mapping {
    /// How many bytes are mapped.
    fn len(&self) -> usize;

    /// The first of them, counted from the start of the file, where that is known; else 0.
    fn offset(&self) -> u64 {
        0
    }

    /// Shows `look` these bytes.
    ///
    /// # Panics
    ///
    /// Where they are not all mapped.
    fn read<T>(&self, range: Range<usize>, look: impl FnOnce(&[u8]) -> T) -> io::Result<T>;
}

/// A shared mapping of a file, for reading and writing: `memmap2::MmapMut`, or an [`FsMapMut`].
///
/// [`FsMapMut`]: crate::fs::FsMapMut
pub trait MappingMut: Mapping {
    /// Has `change` change these bytes.
    ///
    /// # Panics
    ///
    /// Where they are not all mapped.
    fn edit<T>(
        &mut self,
        range: Range<usize>,
        change: impl FnOnce(&mut [u8]) -> T,
    ) -> io::Result<T>;

    /// Stores `data` from byte `offset` on.
    ///
    /// # Panics
    ///
    /// Where not all of it has room.
    fn write_all_at(&mut self, data: &[u8], offset: usize) -> io::Result<()>;

    /// Makes the pages of a range durable: `msync` with `MS_SYNC`.
    fn flush_range(&self, offset: usize, len: usize) -> io::Result<()>;

    /// `msync` with `MS_ASYNC`.
    fn flush_async_range(&self, offset: usize, len: usize) -> io::Result<()>;
}

#[cfg(feature = "memmap2")]
impl Mapping for memmap2::Mmap {
    fn len(&self) -> usize {
        (**self).len()
    }

    #[inline]
    fn read<T>(&self, range: Range<usize>, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        Ok(look(&self[range]))
    }
}

#[cfg(feature = "memmap2")]
impl Mapping for memmap2::MmapMut {
    fn len(&self) -> usize {
        (**self).len()
    }

    #[inline]
    fn read<T>(&self, range: Range<usize>, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        Ok(look(&self[range]))
    }
}

#[cfg(feature = "memmap2")]
impl MappingMut for memmap2::MmapMut {
    #[inline]
    fn edit<T>(
        &mut self,
        range: Range<usize>,
        change: impl FnOnce(&mut [u8]) -> T,
    ) -> io::Result<T> {
        Ok(change(&mut self[range]))
    }

    #[inline]
    fn write_all_at(&mut self, data: &[u8], offset: usize) -> io::Result<()> {
        self[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn flush_range(&self, offset: usize, len: usize) -> io::Result<()> {
        memmap2::MmapMut::flush_range(self, offset, len)
    }

    fn flush_async_range(&self, offset: usize, len: usize) -> io::Result<()> {
        memmap2::MmapMut::flush_async_range(self, offset, len)
    }
}
