//! `FaultMap` around real mappings of `memmap2`, with faults and with the feature `faults` off: `cargo test -p
//! faultfs --features memmap2 --test memmap`, and the same with `--no-default-features`.
#![cfg(feature = "memmap2")]
#![allow(unsafe_code, reason = "a real mapping is made by an unsafe function")]

use std::fs::File;
use std::io;

use faultfs::fs::{Mapping, MappingMut};
use faultfs::{FaultMap, Injector};
use memmap2::{Mmap, MmapMut, MmapOptions};

/// Two pages that no other process knows.
fn map() -> MmapMut {
    MmapOptions::new().len(8192).map_anon().unwrap()
}

/// An engine's own pages, as production code has them.
struct Pages<M> {
    map: FaultMap<M>,
}

impl<M: MappingMut> Pages<M> {
    fn put(&mut self, page: usize, byte: u8) -> io::Result<()> {
        let range = page * 4096..(page + 1) * 4096;
        self.map.edit(range.clone(), |bytes| bytes.fill(byte))?;
        self.map.flush_range(range.start, range.len())
    }
}

impl<M: Mapping> Pages<M> {
    fn sum(&self, page: usize) -> io::Result<u64> {
        let range = page * 4096..(page + 1) * 4096;
        self.map.read(range, |bytes| bytes.iter().map(|&byte| u64::from(byte)).sum())
    }
}

#[test]
fn every_call_reaches_the_mapping() {
    let mut pages = Pages { map: FaultMap::armed(map(), &Injector::default(), "pages") };
    pages.put(1, 3).unwrap();
    assert_eq!((pages.sum(0).unwrap(), pages.sum(1).unwrap()), (0, 3 * 4096));
    let map = &mut pages.map;
    map.write_all_at(b"end", 8189).unwrap();
    let mut found = [0; 4];
    map.read_exact_at(&mut found, 8188).unwrap();
    assert_eq!(&found, b"\x03end");
    assert_eq!((map.len(), map.is_empty()), (8192, false));
    map.flush().unwrap();
    map.flush_async().unwrap();
    map.flush_async_range(0, 1).unwrap();
    assert_eq!(map.flush_range(1, 8192).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    map.get_mut()[0] = 7;
    assert_eq!(map.get_ref()[0], 7);
}

#[test]
fn a_mapping_for_reading_is_read() {
    let path = std::env::current_exe().unwrap();
    let file = File::open(&path).unwrap();
    // SAFETY: the file is this program, which the kernel keeps from being written while it runs.
    let map = FaultMap::new(unsafe { Mmap::map(&file).unwrap() });
    assert_eq!(map.read(0..4, <[u8]>::to_vec).unwrap(), b"\x7fELF");
    assert_eq!(map.len() as u64, file.metadata().unwrap().len());
}

#[cfg(not(feature = "faults"))]
#[test]
fn the_mapping_is_all_there_is() {
    assert_eq!(size_of::<FaultMap<MmapMut>>(), size_of::<MmapMut>());
    assert_eq!(align_of::<FaultMap<MmapMut>>(), align_of::<MmapMut>());
}

#[cfg(feature = "faults")]
mod faults {
    use super::*;
    use faultfs::errno::{EIO, ENOSPC};
    use faultfs::fault::SyncFailure;
    use faultfs::plan::on;

    #[test]
    fn accesses_and_syncs_go_wrong() {
        let injector = Injector::new([
            on::load().path("pages").at(4096..8192).take(1).fail(EIO),
            on::store().at(0..4096).take(1).fail(ENOSPC),
            on::msync().skip(1).take(1).fail_sync(SyncFailure::XFS, EIO),
        ]);
        let mut pages = Pages { map: FaultMap::armed(map(), &injector, "pages") };
        pages.put(1, 1).unwrap();
        assert_eq!(pages.put(0, 1).unwrap_err().raw_os_error(), Some(ENOSPC.raw()));
        assert_eq!(pages.sum(0).unwrap(), 0, "nothing was stored");
        assert_eq!(pages.sum(1).unwrap_err().raw_os_error(), Some(EIO.raw()));
        assert_eq!(pages.sum(1).unwrap(), 4096);
        assert_eq!(pages.put(0, 1).unwrap_err().raw_os_error(), Some(EIO.raw()));
        assert_eq!(pages.sum(0).unwrap(), 4096, "it was stored and not synced");
        injector.finish().unwrap();
    }

    #[test]
    fn what_is_loaded_is_spoilt_and_the_mapping_keeps_it() {
        let injector = Injector::new([
            on::load().take(1).flip(8),
            on::load().skip(1).take(1).garbage(0..4, 1),
            on::load().latent(4096..4097, EIO),
        ]);
        let map = FaultMap::armed(map(), &injector, "pages");
        let read = || map.read(0..4, <[u8]>::to_vec).unwrap();
        assert_eq!(read(), [0, 1, 0, 0]);
        assert_ne!(read(), [0; 4]);
        assert_eq!(read(), [0; 4]);
        assert!(map.read(4000..4608, |_| ()).is_err());
        assert!(map.read(4608..4609, |_| ()).is_ok());
        injector.finish().unwrap();
    }
}
