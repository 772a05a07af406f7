//! What a `FaultFile` costs in instructions of its own, counted by callgrind; the kernel's are not, they
//! are the same. `benches/fault_file.sh` runs it, with faults compiled in and without. Needs valgrind, and
//! the gungraun-runner of the version in Cargo.lock.

// The attributes make undocumented items.
#![allow(missing_docs)]

mod fault_file;

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use fault_file::{CALLS, State, bare, fault_file as file, partial};
use faultfs::FaultFile;
use faultfs::fs::Storage;
use gungraun::prelude::*;
use partial_io::{PartialRead, PartialWrite};

fn reads<const LEN: usize, F: Read>(mut file: F) -> F {
    let mut buf = vec![0; LEN];
    for _ in 0..CALLS {
        black_box(black_box(&mut file).read(black_box(&mut buf))).expect("a read");
    }
    file
}

fn writes<const LEN: usize, F: Write>(mut file: F) -> F {
    let data = vec![7; LEN];
    for _ in 0..CALLS {
        black_box(black_box(&mut file).write(black_box(&data))).expect("a write");
    }
    file
}

fn reads_at<const LEN: usize, F: FileExt>(file: F) -> F {
    let mut buf = vec![0; LEN];
    for _ in 0..CALLS {
        black_box(black_box(&file).read_at(black_box(&mut buf), 0)).expect("a read");
    }
    file
}

fn writes_at<const LEN: usize, F: FileExt>(file: F) -> F {
    let data = vec![7; LEN];
    for _ in 0..CALLS {
        black_box(black_box(&file).write_at(black_box(&data), 0)).expect("a write");
    }
    file
}

fn syncs<const LEN: usize, F: Storage>(file: F) -> F {
    for _ in 0..CALLS {
        black_box(black_box(&file).sync_data()).expect("a sync");
    }
    file
}

/// One call: on the bare file, and in each state of a `FaultFile`.
macro_rules! call {
    ($name:ident $bare:ident $calls:ident $len:literal) => {
        #[library_benchmark(setup = bare)]
        #[bench::bare()]
        fn $bare(file: File) -> File {
            $calls::<$len, _>(file)
        }

        #[cfg(feature = "faults")]
        #[library_benchmark(setup = file)]
        #[bench::unarmed(State::Unarmed)]
        #[bench::empty_plan(State::EmptyPlan)]
        #[bench::rules_1(State::Rules(1))]
        #[bench::rules_100(State::Rules(100))]
        fn $name(file: FaultFile) -> FaultFile {
            $calls::<$len, _>(file)
        }

        #[cfg(not(feature = "faults"))]
        #[library_benchmark(setup = file)]
        #[bench::off(State::Unarmed)]
        fn $name(file: FaultFile) -> FaultFile {
            $calls::<$len, _>(file)
        }
    };
}

call!(read_64 bare_read_64 reads 64);
call!(read_4096 bare_read_4096 reads 4096);
call!(write_64 bare_write_64 writes 64);
call!(write_4096 bare_write_4096 writes 4096);
call!(read_at_64 bare_read_at_64 reads_at 64);
call!(write_at_4096 bare_write_at_4096 writes_at 4096);
call!(sync_data bare_sync_data syncs 0);

#[library_benchmark(setup = partial::read)]
#[bench::partial_io()]
fn partial_read_64(file: PartialRead<File>) -> PartialRead<File> {
    reads::<64, _>(file)
}

#[library_benchmark(setup = partial::write)]
#[bench::partial_io()]
fn partial_write_64(file: PartialWrite<File>) -> PartialWrite<File> {
    writes::<64, _>(file)
}

library_benchmark_group!(
    name = calls,
    benchmarks = [
        bare_read_64,
        read_64,
        partial_read_64,
        bare_read_4096,
        read_4096,
        bare_write_64,
        write_64,
        partial_write_64,
        bare_write_4096,
        write_4096,
        bare_read_at_64,
        read_at_64,
        bare_write_at_4096,
        write_at_4096,
        bare_sync_data,
        sync_data
    ]
);
main!(library_benchmark_groups = calls);
