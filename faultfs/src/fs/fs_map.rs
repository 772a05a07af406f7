//! A mapping of a file of a `FaultFs`, without its faults.
//!
//! It maps nothing: loads and stores go to the file itself, which on Linux is one with its shared mappings
//! (mmap(2), `MAP_SHARED`). So there is nothing unsafe about it, every store has its place in the record, and a
//! page that is not there is an error.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::Location;
use std::sync::Arc;

use super::file::FaultFile;
use super::handle::{FsFile, Open};
use super::map::FaultMap;
use super::map_door::changed_in_pages;
use super::mapping::{Mapping, MappingMut};
use super::power::Wants;
use super::shared::{Caller, Shared, State, outcome};
use crate::errno::{EACCES, ENODEV, ENOSPC};
use crate::op::{Bytes, Found, Op, PAGE};
use crate::plan::OpKind;
use crate::trace::Outcome;

/// A mapping of a file of a [`FaultFs`](crate::FaultFs) for reading, as the inside of a [`FaultMap`].
pub struct FsMap {
    file: FsFile,
    offset: u64,
    len: usize,
}

/// A mapping of a file of a [`FaultFs`](crate::FaultFs) for reading and writing, as the inside of a
/// [`FaultMap`]: it records what is asked of it.
pub struct FsMapMut {
    map: FsMap,
    /// The file of a real folder, open for writing anywhere.
    real: Option<File>,
}

impl FaultFile<FsFile> {
    /// Maps the file as it is now, for reading. This corresponds to `memmap2::Mmap::map`.
    ///
    /// # Errors
    ///
    /// `EACCES` where the file is not open for reading; `ENODEV` for a directory.
    #[track_caller]
    pub fn map(&self) -> io::Result<FaultMap<FsMap>> {
        self.mapped(|file| FsMap::new(file, None))
    }

    /// Maps `len` bytes from `offset` on for reading, also where the file has not so many yet. This
    /// corresponds to `memmap2::MmapOptions` with `offset` and `len`.
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map); `InvalidInput` where no file can have these bytes.
    #[track_caller]
    pub fn map_range(&self, offset: u64, len: usize) -> io::Result<FaultMap<FsMap>> {
        self.mapped(|file| FsMap::new(file, Some((offset, len))))
    }

    /// Maps the file as it is now, for reading and writing. This corresponds to
    /// `memmap2::MmapMut::map_mut`.
    ///
    /// # Errors
    ///
    /// `EACCES` where the file is not open for both.
    #[track_caller]
    pub fn map_mut(&self) -> io::Result<FaultMap<FsMapMut>> {
        self.mapped(|file| FsMapMut::new(file, None))
    }

    /// Maps `len` bytes from `offset` on for reading and writing, also where the file has not so many yet.
    /// This corresponds to `memmap2::MmapOptions` with `offset` and `len`.
    ///
    /// # Errors
    ///
    /// As for [`map_mut`](Self::map_mut); `InvalidInput` where no file can have these bytes.
    #[track_caller]
    pub fn map_mut_range(&self, offset: u64, len: usize) -> io::Result<FaultMap<FsMapMut>> {
        self.mapped(|file| FsMapMut::new(file, Some((offset, len))))
    }

    #[track_caller]
    fn mapped<M>(&self, map: impl FnOnce(&FsFile) -> io::Result<M>) -> io::Result<FaultMap<M>> {
        let inner = match self.gate().armed() {
            None => map(self.get_ref()),
            Some(door) => door.call(OpKind::Map, || map(self.get_ref())),
        };
        Ok(FaultMap::behind(self.gate().clone(), inner?))
    }
}

impl FsMap {
    fn new(file: &FsFile, range: Option<(u64, usize)>) -> io::Result<FsMap> {
        let open = file.open();
        let state = open.shared.enter(Wants::Look)?;
        if !open.options.read {
            return Err(EACCES.into());
        }
        if file.is_dir() {
            return Err(ENODEV.into());
        }
        let invalid = |message| io::Error::new(io::ErrorKind::InvalidInput, message);
        let (offset, len) = match range {
            Some(range) => range,
            None => {
                let len = usize::try_from(open.len(&state)?);
                (0, len.map_err(|_| invalid("the file is larger than memory can be"))?)
            }
        };
        match offset.checked_add(len as u64) {
            Some(end) if i64::try_from(end).is_ok() => {
                Ok(FsMap { file: file.clone(), offset, len })
            }
            _ => Err(invalid("a file has at most 2^63 - 1 bytes")),
        }
    }

    fn open(&self) -> &Open {
        self.file.open()
    }

    #[track_caller]
    fn check(&self, range: &Range<usize>) {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "the range {range:?} is not inside the mapping, which has {} bytes",
            self.len
        );
    }

    /// Where in the file a byte of the mapping lies.
    fn at(&self, byte: usize) -> u64 {
        self.offset + byte as u64
    }

    #[track_caller]
    fn load(&self, range: Range<usize>) -> io::Result<Vec<u8>> {
        self.check(&range);
        let (open, at) = (self.open(), self.at(range.start));
        let state = open.shared.enter(Wants::Look)?;
        let size = open.len(&state)?;
        let mut bytes = vec![0; range.len()];
        let len = within(size, at, range.len());
        match &open.real {
            None => {
                open.content(&state)?.read_at(&mut bytes[..len], at);
                state.reading(|reads| reads.bytes(open.ino, at, len as u64));
            }
            Some(real) => real.read_exact_at(&mut bytes[..len], at)?,
        }
        match within(end_of_pages(size), at, range.len()) {
            there if there < range.len() => Err(bus_error(at + there as u64, size)),
            _ => Ok(bytes),
        }
    }
}

impl FsMapMut {
    fn new(file: &FsFile, range: Option<(u64, usize)>) -> io::Result<FsMapMut> {
        let open = file.open();
        if !open.options.writes() {
            return Err(EACCES.into());
        }
        let map = FsMap::new(file, range)?;
        Ok(FsMapMut { map, real: open.reopened()? })
    }

    /// Stores `data` at a byte of the mapping, as far as there are pages for it.
    fn store(&self, data: &[u8], byte: usize, caller: Caller) -> io::Result<()> {
        let (open, at) = (self.map.open(), self.map.at(byte));
        let state = &mut *open.shared.enter(Wants::Change)?;
        let size = open.len(state)?;
        let len = within(size, at, data.len());
        let room = state.room_for(open.ino, at, len as u64) as usize;
        self.record(state, &data[..room], at, caller)?;
        if room < len {
            let data = Bytes::new(&data[room..len]);
            let op = Op::MapStore {
                ino: open.ino,
                offset: at + room as u64,
                data,
                found: Found::Stored,
            };
            state.note_failed(caller, op, ENOSPC);
            return Err(ENOSPC.into());
        }
        match within(end_of_pages(size), at, data.len()) {
            there if there < data.len() => Err(bus_error(at + there as u64, size)),
            _ => Ok(()),
        }
    }

    fn record(&self, state: &mut State, data: &[u8], at: u64, caller: Caller) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let (ino, bytes) = (self.map.open().ino, Bytes::new(data));
        let op = Op::MapStore { ino, offset: at, data: bytes, found: Found::Stored };
        let started = state.start(caller, op);
        let stored = self.real.as_ref().map_or(Ok(()), |real| real.write_all_at(data, at));
        state.end(started, outcome(&stored));
        stored
    }

    fn check_flush(&self, offset: usize, len: usize) -> io::Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.map.len => Ok(()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl Mapping for FsMap {
    fn len(&self) -> usize {
        self.len
    }

    fn offset(&self) -> u64 {
        self.offset
    }

    #[track_caller]
    fn read<T>(&self, range: Range<usize>, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        Ok(look(&self.load(range)?))
    }
}

impl Mapping for FsMapMut {
    fn len(&self) -> usize {
        self.map.len
    }

    fn offset(&self) -> u64 {
        self.map.offset
    }

    #[track_caller]
    fn read<T>(&self, range: Range<usize>, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        self.map.read(range, look)
    }
}

impl MappingMut for FsMapMut {
    #[track_caller]
    fn edit<T>(
        &mut self,
        range: Range<usize>,
        change: impl FnOnce(&mut [u8]) -> T,
    ) -> io::Result<T> {
        let caller = Location::caller();
        let before = self.map.load(range.clone())?;
        let mut after = before.clone();
        let editing = Editing::begin(&self.map.open().shared);
        let value = change(&mut after);
        drop(editing);
        for span in changed_in_pages(self.map.at(range.start), &before, &after) {
            self.store(&after[span.clone()], range.start + span.start, caller)?;
        }
        Ok(value)
    }

    #[track_caller]
    fn write_all_at(&mut self, data: &[u8], offset: usize) -> io::Result<()> {
        self.map.check(&(offset..offset.saturating_add(data.len())));
        self.store(data, offset, Location::caller())
    }

    #[track_caller]
    fn flush_range(&self, offset: usize, len: usize) -> io::Result<()> {
        self.check_flush(offset, len)?;
        let at = self.map.at(offset);
        // The kernel is asked for whole pages, and for none it does nothing.
        if len == 0 && at.is_multiple_of(PAGE) {
            return Ok(());
        }
        let open = self.map.open();
        let op = Op::SyncMap { ino: open.ino, offset: at, len: len as u64 };
        open.synced(op, Location::caller(), File::sync_data)
    }

    #[track_caller]
    fn flush_async_range(&self, offset: usize, len: usize) -> io::Result<()> {
        self.check_flush(offset, len)?;
        let open = self.map.open();
        let mut state = open.shared.enter(Wants::Change)?;
        let started = state.start(Location::caller(), Op::StartWriteback { ino: open.ino });
        state.end(started, Outcome::Done);
        Ok(())
    }
}

/// How many of `len` bytes from `at` on lie before `end`.
fn within(end: u64, at: u64, len: usize) -> usize {
    usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(len)
}

/// The end of the page in which a file ends: up to there a mapping can be accessed (mmap(2), `SIGBUS`).
fn end_of_pages(size: u64) -> u64 {
    size.div_ceil(PAGE).saturating_mul(PAGE)
}

fn bus_error(at: u64, size: u64) -> io::Error {
    let message = format!(
        "byte {at} lies behind the page in which the file ends, which has {size} bytes: the kernel raises \
         SIGBUS; make the file longer before you access its mapping"
    );
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}

thread_local! {
    /// The filesystems of whose mappings this thread changes bytes that are not stored yet.
    static EDITED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// While it lives this thread must not ask its filesystem for anything: see [`check_not_editing`].
struct Editing;

impl Editing {
    fn begin(shared: &Arc<Shared>) -> Editing {
        EDITED.with_borrow_mut(|edited| edited.push(address(shared)));
        Editing
    }
}

impl Drop for Editing {
    fn drop(&mut self) {
        EDITED.with_borrow_mut(Vec::pop);
    }
}

/// Who the filesystem is; nothing else depends on it.
fn address(shared: &Shared) -> usize {
    std::ptr::from_ref(shared).addr()
}

/// Where the record would get something out of order.
///
/// # Panics
///
/// Where this thread is within a [`FaultMap::edit`] of the filesystem.
pub(super) fn check_not_editing(shared: &Shared) {
    let editing = EDITED.with_borrow(|edited| edited.contains(&address(shared)));
    assert!(
        !editing,
        "the filesystem was asked for something by the closure of `FaultMap::edit`, whose stores are \
         recorded when it returns; ask before or after it"
    );
}

impl fmt::Debug for FsMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FsMap { file, offset, len } = self;
        f.debug_struct("FsMap")
            .field("file", file)
            .field("offset", offset)
            .field("len", len)
            .finish()
    }
}

impl fmt::Debug for FsMapMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FsMap { file, offset, len } = &self.map;
        let mut out = f.debug_struct("FsMapMut");
        out.field("file", file).field("offset", offset).field("len", len).finish_non_exhaustive()
    }
}
