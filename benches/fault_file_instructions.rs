//! What an unarmed `FaultFile` costs in instructions, counted by callgrind: 1000 calls each, on the bare
//! file, through a `FaultFile` without an injector, and through one with an empty plan.
//!
//! Needs valgrind, and the gungraun-runner of the version in Cargo.lock.

// The attributes make undocumented items.
#![allow(missing_docs)]

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use faultfs::fs::Storage;
use faultfs::{FaultFile, Injector};
use gungraun::prelude::*;

const CALLS: usize = 1000;

fn bare() -> File {
    let mut file = tempfile::tempfile_in("/dev/shm").expect("a temporary file");
    file.write_all(&[7; 64 * CALLS]).expect("room for 64 KB");
    file.seek(SeekFrom::Start(0)).expect("a file has a start");
    file
}

fn unarmed() -> FaultFile {
    FaultFile::new(bare())
}

fn empty_plan() -> FaultFile {
    FaultFile::armed(bare(), &Injector::default(), "1.wal")
}

fn reads<F: Read>(mut file: F) -> F {
    let mut buf = [0; 64];
    for _ in 0..CALLS {
        black_box(black_box(&mut file).read(black_box(&mut buf))).expect("a read");
    }
    file
}

fn writes<F: FileExt>(file: F) -> F {
    for _ in 0..CALLS {
        black_box(black_box(&file).write_at(black_box(&[7; 64]), 0)).expect("a write");
    }
    file
}

fn syncs<F: Storage>(file: F) -> F {
    for _ in 0..CALLS {
        black_box(black_box(&file).sync_data()).expect("a sync");
    }
    file
}

#[library_benchmark]
#[bench::bare(setup = bare)]
fn bare_read(file: File) -> File {
    reads(file)
}

#[library_benchmark]
#[bench::bare(setup = bare)]
fn bare_write_at(file: File) -> File {
    writes(file)
}

#[library_benchmark]
#[bench::bare(setup = bare)]
fn bare_sync_data(file: File) -> File {
    syncs(file)
}

#[library_benchmark]
#[bench::unarmed(setup = unarmed)]
fn unarmed_read(file: FaultFile) -> FaultFile {
    reads(file)
}

#[library_benchmark]
#[bench::unarmed(setup = unarmed)]
fn unarmed_write_at(file: FaultFile) -> FaultFile {
    writes(file)
}

#[library_benchmark]
#[bench::unarmed(setup = unarmed)]
fn unarmed_sync_data(file: FaultFile) -> FaultFile {
    syncs(file)
}

#[library_benchmark]
#[bench::empty_plan(setup = empty_plan)]
fn empty_plan_read(file: FaultFile) -> FaultFile {
    reads(file)
}

#[library_benchmark]
#[bench::empty_plan(setup = empty_plan)]
fn empty_plan_write_at(file: FaultFile) -> FaultFile {
    writes(file)
}

#[library_benchmark]
#[bench::empty_plan(setup = empty_plan)]
fn empty_plan_sync_data(file: FaultFile) -> FaultFile {
    syncs(file)
}

library_benchmark_group!(
    name = calls,
    benchmarks = [
        bare_read,
        unarmed_read,
        empty_plan_read,
        bare_write_at,
        unarmed_write_at,
        empty_plan_write_at,
        bare_sync_data,
        unarmed_sync_data,
        empty_plan_sync_data
    ]
);
main!(library_benchmark_groups = calls);
