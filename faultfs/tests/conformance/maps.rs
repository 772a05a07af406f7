//! Mappings: those of a `FaultFs`, and of the bare folder real ones, of `memmap2`.
#![allow(unsafe_code, reason = "a real mapping is made by an unsafe function")]

use std::io;
use std::ops::Range;

use faultfs::FaultMap;
use faultfs::fs::{File, FsMap, FsMapMut};
use faultfs::op::PAGE;
use memmap2::{Mmap, MmapMut, MmapOptions};

use crate::ask::{HANDLES, MapAsk, data, shown};

/// A part of a mapping of `len` bytes.
fn part(len: usize, count: usize, at: usize) -> Range<usize> {
    let start = at.min(len);
    start..(start + count).min(len)
}

/// The mappings of a `FaultFs`, in slots.
#[derive(Default)]
pub(crate) struct FaultyMaps([Option<Mapped>; HANDLES]);

enum Mapped {
    Read(FaultMap<FsMap>),
    Write(FaultMap<FsMapMut>),
}

impl FaultyMaps {
    /// `file` is what the slot of handles holds.
    pub(crate) fn try_run(
        &mut self,
        slot: usize,
        file: Option<&File>,
        ask: &MapAsk,
    ) -> io::Result<String> {
        let done = |()| "done".to_owned();
        if let MapAsk::Map(offset, len, writes) = *ask {
            let file = file.ok_or(io::ErrorKind::NotConnected)?;
            self.0[slot] = Some(match writes {
                true => Mapped::Write(file.map_mut_range(offset, len)?),
                false => Mapped::Read(file.map_range(offset, len)?),
            });
            return Ok("mapped".into());
        }
        let map = match (self.0[slot].as_mut().ok_or(io::ErrorKind::NotConnected)?, ask) {
            (Mapped::Read(map), MapAsk::Load(count, at)) => {
                return map.read(part(map.len(), *count, *at), shown);
            }
            (Mapped::Read(_), _) => return Err(io::ErrorKind::Unsupported.into()),
            (Mapped::Write(map), _) => map,
        };
        match *ask {
            MapAsk::Map(..) => unreachable!("it is no ask of a mapping"),
            MapAsk::Load(count, at) => map.read(part(map.len(), count, at), shown),
            MapAsk::Store(count, at) => {
                let range = part(map.len(), count, at);
                map.write_all_at(&data(range.len()), range.start).map(done)
            }
            MapAsk::Edit(count, at) => {
                let range = part(map.len(), count, at);
                map.edit(range, |bytes| bytes.copy_from_slice(&data(bytes.len()))).map(done)
            }
            MapAsk::Flush(count, at) => map.flush_range(at, count).map(done),
        }
    }
}

/// The mappings of a bare folder, in slots.
#[derive(Default)]
pub(crate) struct BareMaps([Option<BareMap>; HANDLES]);

impl BareMaps {
    /// `file` is what the slot of handles holds.
    pub(crate) fn try_run(
        &mut self,
        slot: usize,
        file: Option<&std::fs::File>,
        ask: &MapAsk,
    ) -> io::Result<String> {
        let done = |()| "done".to_owned();
        if let MapAsk::Map(offset, len, writes) = *ask {
            let file = file.ok_or(io::ErrorKind::NotConnected)?;
            self.0[slot] = Some(BareMap::new(file, offset, len, writes)?);
            return Ok("mapped".into());
        }
        let map = self.0[slot].as_mut().ok_or(io::ErrorKind::NotConnected)?;
        if matches!(map.bytes, Bytes::Read(_)) && !matches!(ask, MapAsk::Load(..)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        match *ask {
            MapAsk::Map(..) => unreachable!("it is no ask of a mapping"),
            MapAsk::Load(count, at) => Ok(shown(&map.load(part(map.len(), count, at))?)),
            MapAsk::Store(count, at) => {
                let range = part(map.len(), count, at);
                map.store(&data(range.len()), range.start).map(done)
            }
            // All of it must be there before any is changed.
            MapAsk::Edit(count, at) => {
                let range = part(map.len(), count, at);
                map.clip(range.clone())?;
                map.store(&data(range.len()), range.start).map(done)
            }
            MapAsk::Flush(count, at) => map.flush(at, count).map(done),
        }
    }
}

/// A real shared mapping, and its file.
struct BareMap {
    file: std::fs::File,
    offset: u64,
    bytes: Bytes,
}

enum Bytes {
    Read(Mmap),
    Write(MmapMut),
}

impl BareMap {
    fn new(file: &std::fs::File, offset: u64, len: usize, writes: bool) -> io::Result<BareMap> {
        let mut options = MmapOptions::new();
        options.offset(offset).len(len);
        let bytes = if writes {
            // SAFETY: the file is changed by this thread only, and not while a slice of the mapping is
            // borrowed; `clip` keeps accesses before the end of its last page.
            Bytes::Write(unsafe { options.map_mut(file)? })
        } else {
            // SAFETY: as above.
            Bytes::Read(unsafe { options.map(file)? })
        };
        Ok(BareMap { file: file.try_clone()?, offset, bytes })
    }

    /// What of a range lies before the end of the file; an error where a part lies behind its last page: there
    /// the kernel raises `SIGBUS`.
    fn clip(&self, range: Range<usize>) -> io::Result<Range<usize>> {
        let size = self.file.metadata()?.len();
        if !range.is_empty() && self.offset + range.end as u64 > size.next_multiple_of(PAGE) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = size.saturating_sub(self.offset).min(range.end as u64) as usize;
        Ok(range.start.min(end)..end)
    }

    /// Bytes behind the end of the file are those of the page.
    fn load(&self, range: Range<usize>) -> io::Result<Vec<u8>> {
        self.clip(range.clone())?;
        Ok(match &self.bytes {
            Bytes::Read(bytes) => bytes[range].to_vec(),
            Bytes::Write(bytes) => bytes[range].to_vec(),
        })
    }

    /// What lies behind the end of the file is left out: it would stay in the page, and filesystems differ in
    /// whether it comes up when the file grows.
    fn store(&mut self, data: &[u8], at: usize) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        let pages = size.next_multiple_of(PAGE).saturating_sub(self.offset) as usize;
        let clipped = self.clip(at..(at + data.len()).min(pages.max(at)))?;
        let Bytes::Write(bytes) = &mut self.bytes else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        bytes[clipped.clone()].copy_from_slice(&data[..clipped.len()]);
        self.clip(at..at + data.len()).map(drop)
    }

    fn flush(&self, at: usize, len: usize) -> io::Result<()> {
        match &self.bytes {
            Bytes::Write(bytes) => bytes.flush_range(at, len),
            Bytes::Read(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn len(&self) -> usize {
        match &self.bytes {
            Bytes::Read(bytes) => bytes.len(),
            Bytes::Write(bytes) => bytes.len(),
        }
    }
}
