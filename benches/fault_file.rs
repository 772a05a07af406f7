//! What an unarmed `FaultFile` costs: the same calls on the bare file beside it, in one process.
//!
//! The file lies in the RAM-backed temporary folder where there is one (`/dev/shm`), so that the kernel's
//! share is as small as it gets.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use faultfs::errno::EIO;
use faultfs::plan::{Plan, on};
use faultfs::{FaultFile, Injector};

fn temp_file() -> File {
    let ram = Path::new("/dev/shm");
    match ram.is_dir() {
        true => tempfile::tempfile_in(ram).expect("a temporary file"),
        false => tempfile::tempfile().expect("a temporary file"),
    }
}

/// A plan of `count` rules that match nothing here.
fn elsewhere(count: usize) -> Plan {
    (0..count).map(|i| on::write().path(&format!("other-{i}.wal")).fail(EIO).optional()).collect()
}

fn positional<F: FileExt>(c: &mut Criterion, name: &str, file: &F) {
    for size in [64, 4096] {
        let mut buf = vec![7; size];
        file.write_all_at(&buf, 0).expect("room for 4 KiB");
        c.bench_with_input(BenchmarkId::new(format!("write_at/{name}"), size), &(), |b, ()| {
            b.iter(|| black_box(file.write_at(black_box(&buf), 0)).expect("a write"));
        });
        c.bench_with_input(BenchmarkId::new(format!("read_at/{name}"), size), &(), |b, ()| {
            b.iter(|| black_box(file.read_at(black_box(&mut buf), 0)).expect("a read"));
        });
    }
}

fn fault_file(c: &mut Criterion) {
    positional(c, "bare", &temp_file());
    positional(c, "unarmed", &FaultFile::new(temp_file()));
    let empty = Injector::default();
    positional(c, "empty plan", &FaultFile::armed(temp_file(), &empty, "1.wal"));
    for count in [1, 100] {
        let injector = Injector::new(elsewhere(count));
        let file = FaultFile::armed(temp_file(), &injector, "1.wal");
        positional(c, &format!("{count} rules that do not match"), &file);
    }
}

/// The wrapper alone, around a file that does nothing: the difference to `bare` is the wrapper's.
struct Nothing;

impl FileExt for Nothing {
    #[inline(never)]
    fn read_at(&self, buf: &mut [u8], _: u64) -> std::io::Result<usize> {
        Ok(black_box(buf.len()))
    }

    #[inline(never)]
    fn write_at(&self, buf: &[u8], _: u64) -> std::io::Result<usize> {
        Ok(black_box(buf.len()))
    }
}

fn without_kernel(c: &mut Criterion) {
    positional(c, "bare, no kernel", &Nothing);
    positional(c, "unarmed, no kernel", &FaultFile::new(Nothing));
    let empty = Injector::default();
    positional(c, "empty plan, no kernel", &FaultFile::armed(Nothing, &empty, "1.wal"));
}

criterion_group!(benches, fault_file, without_kernel);
criterion_main!(benches);
