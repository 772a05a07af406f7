//! Without the feature `faults`: what production code names, and nothing behind it.
//!
//! `fs/file.rs` is the same in both builds. Here a gate has no state and a door no value, so that the way
//! through them is no code at all.

#[path = "fs/file.rs"]
mod file;
#[path = "fs/map.rs"]
mod map;
#[path = "fs/mapping.rs"]
mod mapping;
#[cfg(feature = "redb")]
#[path = "fs/redb.rs"]
mod redb;
#[path = "fs/storage.rs"]
mod storage;
#[cfg(feature = "tokio")]
#[path = "fs/tokio.rs"]
mod tokio;

pub use file::FaultFile;
pub use map::FaultMap;
pub use mapping::{Mapping, MappingMut};
#[cfg(feature = "redb")]
pub use redb::RedbBackend;
pub use storage::Storage;

/// Decides nothing: the feature `faults` is off.
///
/// ```
/// use faultfs::{FaultFile, Injector};
///
/// let log = FaultFile::armed(vec![7], &Injector::default(), "log");
/// assert_eq!(size_of_val(&log), size_of::<Vec<i32>>());
/// assert!(!Injector::default().is_armed());
/// ```
#[derive(Clone, Default, Debug)]
pub struct Injector(());

impl Injector {
    /// False: nothing can go wrong.
    pub fn is_armed(&self) -> bool {
        false
    }
}

mod door {
    use std::fmt::DebugStruct;
    use std::io::{self, IoSlice, IoSliceMut, Read, Write};
    use std::ops::Range;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    pub(super) use super::Injector;
    use super::Storage;

    /// The way to a door that is not there.
    #[derive(Clone)]
    pub(super) struct Gate;

    impl Gate {
        pub(super) const OPEN: Gate = Gate;

        pub(super) fn new(_: &Injector, _: &Path) -> Gate {
            Gate
        }

        #[inline(always)]
        pub(super) fn armed(&self) -> Option<&Door> {
            None
        }

        pub(super) fn describe(&self, _: &mut DebugStruct<'_, '_>) {}
    }

    /// There is none.
    pub(super) enum Door {}

    #[rustfmt::skip]
    impl Door {
        pub(super) fn read(&self, _: &mut impl Read, _: &mut [u8]) -> io::Result<usize> { match *self {} }
        pub(super) fn read_at(&self, _: &impl FileExt, _: u64, _: &mut [u8]) -> io::Result<usize> { match *self {} }
        pub(super) fn read_vectored(&self, _: &mut impl Read, _: &mut [IoSliceMut<'_>]) -> io::Result<usize> { match *self {} }
        pub(super) fn write(&self, _: &mut impl Write, _: &[u8]) -> io::Result<usize> { match *self {} }
        pub(super) fn write_at(&self, _: &impl FileExt, _: u64, _: &[u8]) -> io::Result<usize> { match *self {} }
        pub(super) fn write_vectored(&self, _: &mut impl Write, _: &[IoSlice<'_>]) -> io::Result<usize> { match *self {} }
        pub(super) fn set_len(&self, _: &impl Storage, _: u64) -> io::Result<()> { match *self {} }
        pub(super) fn sync(&self, _: &impl Storage, _: SyncKind) -> io::Result<()> { match *self {} }
        pub(super) fn load<M, T>(&self, _: &M, _: Range<usize>, _: impl FnOnce(&[u8]) -> T) -> io::Result<T> { match *self {} }
        pub(super) fn store<M>(&self, _: &mut M, _: &[u8], _: usize) -> io::Result<()> { match *self {} }
        pub(super) fn edit<M, T>(&self, _: &mut M, _: Range<usize>, _: impl FnOnce(&mut [u8]) -> T) -> io::Result<T> { match *self {} }
        pub(super) fn msync<M>(&self, _: &M, _: usize, _: usize) -> io::Result<()> { match *self {} }
        pub(super) fn call<T>(&self, _: OpKind, _: impl FnOnce() -> io::Result<T>) -> io::Result<T> { match *self {} }
    }

    pub(super) enum SyncKind {
        All,
        Data,
    }

    pub(super) enum OpKind {
        Metadata,
        SetMode,
        #[cfg(feature = "tokio")]
        SetLen,
        #[cfg(feature = "tokio")]
        Sync,
    }
}

#[cfg(feature = "tokio")]
mod poll {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::door::{Door, OpKind};

    #[rustfmt::skip]
    pub(super) fn poll_read(door: &Door, _: Pin<&mut impl AsyncRead>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> { match *door {} }
    #[rustfmt::skip]
    pub(super) fn poll_write(door: &Door, _: Pin<&mut impl AsyncWrite>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> { match *door {} }
    #[rustfmt::skip]
    pub(super) async fn call(door: &Door, _: OpKind, _: u64, _: impl Future<Output = io::Result<()>>) -> io::Result<()> { match *door {} }
}
