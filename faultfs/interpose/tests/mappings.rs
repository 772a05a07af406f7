//! Stores through shared mappings.

#![allow(unsafe_code, reason = "calls of C")]

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::thread;

use common::{Recording, words};
use faultfs_interpose::{ack, begin};
use memmap2::{Mmap, MmapMut, MmapOptions, RemapOptions};

#[test]
fn stores_through_mappings_are_recorded() {
    stores_are_recorded_where_they_can_be_ordered();
    a_mapping_that_becomes_writable_is_watched_from_then_on();
    looking_at_a_sparse_file_does_not_fill_it();
}

fn a_mapping_that_becomes_writable_is_watched_from_then_on() {
    let recording = Recording::new();
    let trace = recording.record_whole(false, |root| {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(root.join("map")).unwrap();
        file.write_all_at(&[1; 8192], 0).unwrap();
        // SAFETY: nobody shortens the file below what is touched.
        let map = unsafe { Mmap::map(&file).unwrap() };
        file.write_all_at(&[2; 10], 0).unwrap();
        assert_eq!(map[9], 2);
        let mut map = map.make_mut().unwrap();
        map[5000] = 3;
        file.sync_all().unwrap();
    });
    let expected = [
        "create map",
        "write map 0+8192",
        "write map 0+10",
        "mapped store map 4096+4096",
        "fsync map",
    ];
    assert_eq!(words(&trace), expected);
}

/// In memory: a read through a mapping of tmpfs gives a hole a page.
fn looking_at_a_sparse_file_does_not_fill_it() {
    let memory = Path::new("/dev/shm");
    let recording = if memory.is_dir() { Recording::new_in(memory) } else { Recording::new() };
    let trace = recording.record_whole(false, |root| {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(root.join("map")).unwrap();
        file.set_len(64 << 20).unwrap();
        // SAFETY: nobody shortens the file.
        let mut map = unsafe { MmapMut::map_mut(&file).unwrap() };
        map[33 << 20] = 1;
        file.sync_all().unwrap();
        map[(33 << 20) + 1] = 2;
        file.write_all_at(b"x", 0).unwrap();
        assert!(file.metadata().unwrap().blocks() < 100, "{}", file.metadata().unwrap().blocks());
    });
    assert_eq!(trace.ops.len(), 6);
}

fn stores_are_recorded_where_they_can_be_ordered() {
    let recording = Recording::new();
    let trace = recording.record_whole(false, |root| {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true);
        let file = options.open(root.join("map")).unwrap();
        file.set_len(3 * 4096).unwrap();
        // SAFETY: nobody shortens the file below what is touched.
        let mut map = unsafe { MmapMut::map_mut(&file).unwrap() };
        map[10] = 1;
        map[2 * 4096] = 2;
        map.flush_range(0, 4096).unwrap();
        begin(1);
        map[4096] = 3;
        ack(1);
        // A write through the descriptor is no store, though the mapping shows it.
        file.write_all_at(b"written", 5000).unwrap();
        assert_eq!(&map[5000..5007], b"written");
        map.flush_async().unwrap();
        // Past the end of the file after it was cut: neither seen nor touched.
        file.set_len(4096 + 100).unwrap();
        map[4096 + 50] = 4;
        file.sync_all().unwrap();
        file.set_len(2 * 4096).unwrap();
        map[4096 + 150] = 5;
        // From a second mapping, and from another thread.
        // SAFETY: as above.
        let mut second = unsafe { MmapOptions::new().offset(4096).map_mut(&file).unwrap() };
        thread::scope(|scope| _ = scope.spawn(|| second[200] = 6));
        drop(second);
        // SAFETY: as above; the new part is touched after the file has grown.
        unsafe { map.remap(5 * 4096, RemapOptions::new().may_move(true)).unwrap() };
        file.set_len(5 * 4096).unwrap();
        map[4 * 4096] = 7;
        drop(map);
        file.write_all_at(b"x", 0).unwrap();
        // Left in place to the end of the session.
        // SAFETY: as above.
        let mut last = unsafe { MmapMut::map_mut(&file).unwrap() };
        last[3] = 8;
        std::mem::forget(last);
    });
    let expected = [
        "create map",
        "set length map 12288",
        "mapped store map 0+4096",
        "mapped store map 8192+4096",
        "msync map",
        "mapped store map 4096+4096",
        "write map 5000+7",
        "start write-back map",
        "set length map 4196",
        "mapped store map 4096+100",
        "fsync map",
        "set length map 8192",
        "mapped store map 4096+4096",
        "set length map 20480",
        "mapped store map 16384+4096",
        "write map 0+1",
        "mapped store map 0+4096",
    ];
    assert_eq!(words(&trace), expected);
    let marks: Vec<u64> = trace.marks.iter().map(|mark| mark.0).collect();
    assert!(marks[0] < trace.ops[5].start);
    assert!(trace.ops[5].end.unwrap() < marks[1]);
}
