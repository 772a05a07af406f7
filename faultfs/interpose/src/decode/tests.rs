use std::io::Cursor;

use faultfs::op::SyncKind;

use super::*;
use crate::record::linux;
use crate::record::made::Maker;

const ROOT: u64 = 100;

/// A log of a session whose root was empty.
fn session() -> Maker {
    let mut log = Maker::new();
    log.add(Kind::Known, &[ROOT], b"", b"");
    log
}

/// An operation that returned `returned` and made `ino`.
fn done(log: &mut Maker, start: u64, returned: i64, ino: u64) {
    log.add(Kind::End, &[start, returned as u64, ino, 0o100_644], b"", b"");
}

fn create(log: &mut Maker, name: &[u8], ino: u64) {
    let start = log.add(Kind::Open, &[ROOT, 0, 0o101, 0o666], name, b"");
    done(log, start, 3, ino);
}

fn write(log: &mut Maker, ino: u64, offset: u64, data: &[u8]) -> u64 {
    log.add(Kind::Write, &[ino, offset, 0], b"", data)
}

fn trace(log: &mut Maker) -> Trace {
    decode_log(&log.log(), Disk::new(), "made by hand").unwrap()
}

fn whole(log: &mut Maker) -> Trace {
    let trace = trace(log);
    assert_eq!(trace.unmodelled, [""; 0]);
    trace
}

fn content(trace: &Trace, name: &str) -> Vec<u8> {
    let disk = trace.replay();
    let ino = disk.lookup(&Slot::new(Ino::ROOT, name)).unwrap();
    disk.content(ino).unwrap().to_vec()
}

#[test]
fn a_short_write_holds_what_was_written() {
    let mut log = session();
    create(&mut log, b"f", 5);
    for (data, returned) in [(b"abcdef", 4), (b"ghijkl", 0), (b"mnopqr", -28)] {
        let start = write(&mut log, 5, 4, data);
        done(&mut log, start, returned, 0);
    }
    let trace = whole(&mut log);
    assert_eq!(content(&trace, "f"), b"\0\0\0\0abcd");
    // The one that wrote nothing is nothing; the one that failed is kept with its errno.
    assert_eq!(trace.ops.len(), 3);
    assert_eq!(trace.ops[2].errno, Some(28));
}

#[test]
fn what_has_not_ended_is_in_flight() {
    let mut log = session();
    create(&mut log, b"f", 5);
    let sync = log.add_by(Kind::Sync, 2, linux::FDATASYNC, &[5], b"", b"");
    write(&mut log, 5, 0, b"x");
    let trace = whole(&mut log);
    assert_eq!(trace.ops[1].end, None);
    assert!(matches!(trace.ops[1].op, Op::Sync { kind: SyncKind::Data, .. }));
    assert_eq!(trace.ops[2].end, None);
    assert_eq!(content(&trace, "f"), b"");
    assert_eq!(trace.ops.iter().map(|op| op.thread).collect::<Vec<_>>(), [0, 1, 0]);

    // Writes started meanwhile are not covered by it: the stamps tell.
    done(&mut log, sync, 0, 0);
    let trace = whole(&mut log);
    assert!(trace.ops[2].start < trace.ops[1].end.unwrap());
}

#[test]
fn an_inode_number_that_is_used_again_is_another_inode() {
    let mut log = session();
    create(&mut log, b"old", 5);
    let start = write(&mut log, 5, 0, b"old");
    done(&mut log, start, 3, 0);
    let start = log.add(Kind::Unlink, &[ROOT, 5], b"old", b"");
    done(&mut log, start, 0, 0);
    create(&mut log, b"new", 5);
    let start = write(&mut log, 5, 1, b"n");
    done(&mut log, start, 1, 0);
    assert_eq!(content(&whole(&mut log), "new"), b"\0n");
}

#[test]
fn a_rename_between_two_names_of_one_inode_changes_nothing() {
    let mut log = session();
    create(&mut log, b"a", 5);
    let start = log.add(Kind::Link, &[5, ROOT], b"b", b"");
    done(&mut log, start, 0, 0);
    let start = log.add(Kind::Rename, &[ROOT, 5, ROOT, 5, 0], b"a", b"b");
    done(&mut log, start, 0, 0);
    assert_eq!(whole(&mut log).replay().walk().len(), 2);
}

#[test]
fn allocation_extends_and_zeroes_as_its_mode_says() {
    let mut log = session();
    create(&mut log, b"f", 5);
    let start = write(&mut log, 5, 0, b"0123456789");
    done(&mut log, start, 10, 0);
    let mut allocate = |mode: i32, offset: u64, len: u64| {
        let start = log.add(Kind::Allocate, &[5, mode as u64, offset, len], b"", b"");
        done(&mut log, start, 0, 0);
    };
    allocate(0, 0, 5);
    allocate(linux::KEEP_SIZE, 0, 500);
    allocate(linux::PUNCH_HOLE | linux::KEEP_SIZE, 1, 2);
    allocate(linux::ZERO_RANGE, 8, 4);
    assert_eq!(content(&whole(&mut log), "f"), b"0\x00\x0034567\0\0\0\0");

    let start = log.add(Kind::Allocate, &[5, 8, 0, 4096], b"", b"");
    done(&mut log, start, 0, 0);
    assert_eq!(trace(&mut log).unmodelled, ["fallocate with mode 0x8"]);
}

#[test]
fn calls_that_the_door_missed_are_told_from_those_it_saw() {
    let missed = |add: &dyn Fn(&mut Maker) -> u64| {
        let mut log = session();
        create(&mut log, b"f", 5);
        let start = add(&mut log);
        done(&mut log, start, 1, 9);
        trace(&mut log).unmodelled
    };
    let all: [&dyn Fn(&mut Maker) -> u64; 7] = [
        &|log| write(log, 6, 0, b"x"),
        &|log| log.add(Kind::Open, &[ROOT, 0, 0, 0], b"f", b""),
        &|log| log.add(Kind::Open, &[77, 0, 0, 0], b"g", b""),
        &|log| log.add(Kind::Unlink, &[ROOT, 5], b"g", b""),
        &|log| log.add(Kind::Rename, &[ROOT, 5, ROOT, 0, 0], b"g", b"h"),
        &|log| log.add(Kind::Link, &[5, ROOT], b"f", b""),
        &|log| write(log, 5, u64::MAX - 1, b"xyz"),
    ];
    for (index, add) in all.into_iter().enumerate() {
        let why = missed(add);
        assert!(why[0].starts_with("a file call was not seen by the door"), "{index}: {why:?}");
    }
}

#[test]
fn the_base_must_be_what_the_session_found() {
    let mut log = session();
    log.add(Kind::Known, &[5], b"dir/file", b"");
    assert_eq!(
        trace(&mut log).unmodelled,
        ["dir/file was there when the session started, and is not in the base disk"]
    );
}

/// The third word says that the comparison had found the record before; its first may be of a file that the log does
/// not know.
#[test]
fn stores_of_one_comparison_are_known_by_it() {
    let mut log = session();
    create(&mut log, b"f", 5);
    let store = |log: &mut Maker, ino, page: u64, together| {
        log.add(Kind::MapStore, &[ino, page * 4096, together], b"", b"stored");
    };
    let start = log.add(Kind::SetLen, &[5, 8 * 4096], b"", b"");
    done(&mut log, start, 0, 0);
    store(&mut log, 5, 0, 0);
    store(&mut log, 5, 1, 1);
    log.add(Kind::Mark, &[1, 1], b"", b"");
    store(&mut log, 9, 0, 0);
    store(&mut log, 5, 2, 1);
    store(&mut log, 5, 3, 1);
    let found = trace(&mut log).ops.into_iter().filter_map(|record| match record.op {
        Op::MapStore { found, .. } => Some(found),
        _ => None,
    });
    use Found::{Compared, Together};
    assert_eq!(found.collect::<Vec<_>>(), [Compared, Together, Compared, Together]);
}

#[test]
fn a_damaged_log_is_an_error_or_told_and_never_a_panic() {
    let mut log = session();
    create(&mut log, b"f", 5);
    let start = write(&mut log, 5, 0, b"some data");
    done(&mut log, start, 9, 0);
    log.add(Kind::MapStore, &[5, 0], b"", b"stored");
    let start = log.add(Kind::Rename, &[ROOT, 5, ROOT, 0, 0], b"f", b"g");
    done(&mut log, start, 0, 0);
    log.add(Kind::Mark, &[1, 1], b"", b"");
    let bytes = log.bytes();
    let mut refused = 0;
    for at in crate::record::RECORDS_AT..bytes.len() {
        for flip in [1, 0x80, 0xFF] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            let log = Log::read(Cursor::new(bytes)).unwrap();
            refused += usize::from(decode_log(&log, Disk::new(), "").is_err());
        }
    }
    assert!(refused > 100, "{refused}");
}
