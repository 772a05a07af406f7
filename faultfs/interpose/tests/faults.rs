//! What goes wrong below the root goes wrong for the standard library and for whoever calls the kernel
//! itself, as the plan says and as a kernel would say it.

#![allow(unsafe_code, reason = "calls of libc")]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::Path;

use common::{Recording, words};
use faultfs::errno::{EACCES, EDQUOT, EIO, EMFILE, ENOSPC, EROFS, ESTALE};
use faultfs::fault::{Part, SyncFailure};
use faultfs::fs::Capacity;
use faultfs::plan::{Plan, Rule, on};
use faultfs::trace::{Record, Trace};
use faultfs::{Injector, Reach, Seen};
use faultfs_interpose::{Options, Session, calls, decode, evict, set_capacity, snapshot, verify};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// One test, as there is one session at a time in a process; the trap, which stays, comes last.
#[test]
fn faults_meet_every_call_below_the_root() {
    each_call_fails_before_its_effect(false);
    each_call_fails_after_its_effect();
    data_is_short_torn_and_spoilt();
    a_failed_sync_leaves_the_pages_clean_and_tells_every_description_once();
    a_failed_sync_brings_back_what_the_device_has();
    a_failed_sync_that_is_told_late_is_told_to_the_next_opener();
    an_error_that_sync_file_range_has_told_is_told_by_no_sync();
    what_finds_no_room_is_in_the_record();
    what_is_outside_is_left_alone();
    every_call_is_told_with_its_path();
    each_call_fails_before_its_effect(true);
    calls_past_libc_meet_the_same_faults();
}

/// Runs `workload` while `plan` is armed. Every rule must fire, the trace must be true, and tell of each.
fn faulted(trap: bool, plan: impl Into<Plan>, workload: impl FnOnce(&Path)) -> Trace {
    let recording = Recording::new();
    fs::write(recording.root.join("there"), "0123456789").unwrap();
    fs::create_dir(recording.root.join("dir")).unwrap();
    let base = snapshot(&recording.root).unwrap();
    let injector = Injector::new(plan);
    let options = Options { injector: Some(&injector), ..recording.options(trap) };
    let session = Session::start(&options).unwrap();
    workload(&recording.root);
    session.finish();
    injector.finish().unwrap();
    let trace = decode(&recording.log, base, "test").unwrap();
    assert_eq!(trace.unmodelled, [""; 0]);
    assert_eq!(verify(&trace, &recording.root).unwrap(), None);
    assert_eq!(trace.injected.len() as u64, injector.fired());
    trace
}

fn open(path: impl AsRef<Path>) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// A call of the standard library, a rule that makes it fail, and how the call is told.
type Ask = (fn(&Path) -> io::Result<()>, Rule, &'static str);

fn asks() -> Vec<Ask> {
    vec![
        (|r| File::open(r.join("there")).map(drop), on::open().fail(EMFILE), "open there"),
        (|r| File::create(r.join("new")).map(drop), on::create().fail(ENOSPC), "create new"),
        (
            |r| open(r.join("there"))?.read_exact_at(&mut [0; 3], 4),
            on::read().fail(EIO),
            "read there 4..7",
        ),
        (
            |r| open(r.join("there"))?.write_all_at(b"x", 7),
            on::write().fail(EDQUOT),
            "write there 7..8",
        ),
        (
            |r| open(r.join("there"))?.sync_all(),
            on::sync().fail_sync(SyncFailure::FREEBSD, EIO),
            "sync there",
        ),
        (|r| open(r.join("there"))?.sync_data(), on::sync().fail(ENOSPC), "sync there"),
        (|r| File::open(r.join("dir"))?.sync_all(), on::sync_dir().fail(EIO), "sync-dir dir"),
        (|r| File::open(r)?.sync_all(), on::sync_dir().fail(EIO), "sync-dir ."),
        (|r| open(r.join("there"))?.set_len(3), on::set_len().fail(EIO), "set-len there 3"),
        (
            |r| fs::metadata(r.join("there")).map(drop),
            on::metadata().fail(EACCES),
            "metadata there",
        ),
        (
            |r| File::open(r.join("there"))?.metadata().map(drop),
            on::metadata().fail(ESTALE),
            "metadata there",
        ),
        (
            |r| fs::set_permissions(r.join("dir"), fs::metadata(r)?.permissions()),
            on::set_mode().fail(EROFS),
            "set-mode dir",
        ),
        (
            |r| fs::rename(r.join("there"), r.join("dir/moved")),
            on::rename().fail(EROFS),
            "rename there dir/moved",
        ),
        (
            |r| fs::hard_link(r.join("there"), r.join("also")),
            on::link().fail(EROFS),
            "link there also",
        ),
        (|r| fs::remove_file(r.join("there")), on::remove().fail(EROFS), "remove there"),
        (|r| fs::create_dir(r.join("dir/s")), on::create_dir().fail(ENOSPC), "create-dir dir/s"),
        (|r| fs::remove_dir(r.join("dir")), on::remove_dir().fail(EIO), "remove-dir dir"),
        (|r| symlink("x", r.join("dir/soft")), on::symlink().fail(EDQUOT), "symlink dir/soft"),
        (
            |r| fs::read_link(r.join("there")).map(drop),
            on::read_link().fail(EIO),
            "read-link there",
        ),
    ]
}

fn each_call_fails_before_its_effect(trap: bool) {
    for (ask, rule, call) in asks() {
        let errno = rule.fault().errno().expect("a failure");
        let trace = faulted(trap, rule.clone(), |root| {
            let error = ask(root).expect_err(call);
            assert_eq!(error.raw_os_error(), Some(errno.raw()), "{call}");
            assert_eq!(error.kind(), io::Error::from(errno).kind(), "{call}");
        });
        assert_eq!(trace.injected[0].call, call);
        assert_eq!(trace.injected[0].rule, rule.to_string());
        assert_eq!(trace.replay().digest(), trace.base.digest(), "{call}");
    }
    // What lists a directory asks the kernel from inside libc.
    if trap {
        let trace = faulted(trap, on::read_dir().fail(EIO), |root| {
            let error = fs::read_dir(root.join("dir")).unwrap().next().unwrap().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(EIO.raw()));
        });
        assert_eq!(trace.injected[0].call, "read-dir dir");
    }
}

fn each_call_fails_after_its_effect() {
    type After = (fn(&Path) -> io::Result<()>, Rule, &'static [&'static str]);
    let asks: [After; 8] = [
        (|r| File::create(r.join("new")).map(drop), on::create().fail_after(EIO), &["create new"]),
        (
            |r| open(r.join("there"))?.write_all_at(b"xy", 7),
            on::write().fail_after(EIO),
            &["write there 7+2"],
        ),
        (
            |r| open(r.join("there"))?.set_len(3),
            on::set_len().fail_after(EIO),
            &["set length there 3"],
        ),
        (|r| open(r.join("there"))?.sync_all(), on::sync().fail_after(EIO), &["fsync there"]),
        (
            |r| fs::rename(r.join("there"), r.join("b")),
            on::rename().fail_after(EIO),
            &["rename there b"],
        ),
        (|r| fs::remove_file(r.join("there")), on::remove().fail_after(EIO), &["unlink there"]),
        (|r| fs::create_dir(r.join("d")), on::create_dir().fail_after(EIO), &["mkdir d"]),
        (|r| fs::hard_link(r.join("there"), r.join("b")), on::link().fail_after(EIO), &["link b"]),
    ];
    for (ask, rule, done) in asks {
        let before = descriptors();
        let trace = faulted(false, rule, |root| {
            assert_eq!(ask(root).unwrap_err().raw_os_error(), Some(EIO.raw()), "{done:?}");
        });
        assert_eq!(words(&trace), done);
        assert!(trace.ops.iter().all(|record| record.errno.is_none()), "{done:?}");
        assert_eq!(descriptors(), before, "a file that was opened and not told of is closed");
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn data_is_short_torn_and_spoilt() {
    let plan =
        [on::write().path("there").take(1).short(4), on::read().path("there").take(1).short(3)];
    let trace = faulted(false, plan, |root| {
        let mut file = open(root.join("there")).unwrap();
        assert_eq!(file.write(b"abcdefgh").unwrap(), 4);
        file.rewind().unwrap();
        let mut all = [0; 10];
        assert_eq!(file.read(&mut all).unwrap(), 3);
        assert_eq!(file.read(&mut all).unwrap(), 7, "the position is where the short read ended");
        assert_eq!(&all[..7], b"d456789");
    });
    assert_eq!(words(&trace), ["write there 0+4"]);

    let vectors = [on::write().short(3), on::read().take(1).short(4)];
    let trace = faulted(false, vectors, |root| {
        let mut file = open(root.join("there")).unwrap();
        assert_eq!(
            file.write_vectored(&[b"ab", b"cd", b"ef"].map(|b| IoSlice::new(b))).unwrap(),
            3
        );
        file.rewind().unwrap();
        let (mut one, mut two) = ([0; 3], [0; 3]);
        let parts = &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        assert_eq!(file.read_vectored(parts).unwrap(), 4);
        assert_eq!((&one, &two), (b"abc", b"3\0\0"));
    });
    assert_eq!(words(&trace), ["write there 0+3"]);

    let torn = on::write().torn(Part::Sectors(1), EIO);
    let trace = faulted(false, torn, |root| {
        let file = open(root.join("there")).unwrap();
        assert_eq!(file.write_at(&[7; 1000], 500).unwrap_err().raw_os_error(), Some(EIO.raw()));
        assert_eq!(file.metadata().unwrap().len(), 512);
    });
    assert_eq!(words(&trace), ["write there 500+12"]);

    let flip = on::read().flip(8 * 5 + 1);
    let trace = faulted(false, flip, |root| {
        let mut file = open(root.join("there")).unwrap();
        let mut all = Vec::new();
        file.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"0123476789", "5 is 0x35, and 7 is 0x37");
        let mut two = [0; 2];
        file.read_exact_at(&mut two, 6).unwrap();
        assert_eq!(&two, b"67");
        let (mut one, mut other) = ([0; 2], [0; 2]);
        file.seek(io::SeekFrom::Start(3)).unwrap();
        let parts = &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
        assert_eq!(file.read_vectored(parts).unwrap(), 4);
        assert_eq!((&one, &other), (b"34", b"76"), "in whichever part of memory it ends up");
    });
    assert_eq!(words(&trace), [""; 0]);

    let lie = on::sync().path("there").take(1).lie();
    let trace = faulted(false, lie, |root| open(root.join("there")).unwrap().sync_all().unwrap());
    assert_eq!(words(&trace), [""; 0]);
}

fn a_failed_sync_leaves_the_pages_clean_and_tells_every_description_once() {
    let trace = faulted(false, on::sync().take(1).fail(EIO), |root| {
        let [one, other] = [(); 2].map(|()| open(root.join("there")).unwrap());
        let copy = one.try_clone().unwrap();
        one.write_all_at(b"new", 0).unwrap();
        let told = |file: &File| file.sync_all().err().and_then(|error| error.raw_os_error());
        assert_eq!(told(&one), Some(EIO.raw()));
        assert_eq!(told(&copy), None, "it shares the description that was told");
        assert_eq!(told(&other), Some(EIO.raw()));
        assert_eq!([told(&one), told(&other), told(&copy)], [None; 3]);
        let later = open(root.join("there")).unwrap();
        assert_eq!(told(&later), None);
        assert_eq!(fs::read(root.join("there")).unwrap(), b"new3456789");
        evict(root.join("there")).unwrap();
        assert_eq!(fs::read(root.join("there")).unwrap(), b"0123456789");
    });
    let failed: Vec<_> = trace.ops.iter().filter_map(|record| record.errno).collect();
    assert_eq!(failed, [EIO.raw(); 2]);
    assert_eq!(words(&trace).last().unwrap(), "write there 0+10", "what was dropped is an op");

    // What is written to again after the failure is written by the next sync.
    faulted(false, on::sync().take(1).fail(EIO), |root| {
        let file = open(root.join("there")).unwrap();
        file.set_len(3 * 4096).unwrap();
        file.write_all_at(b"lost", 0).unwrap();
        file.write_all_at(b"kept", 4096).unwrap();
        file.sync_all().unwrap_err();
        file.write_all_at(b"kept", 4096).unwrap();
        file.sync_all().unwrap();
        evict(root.join("there")).unwrap();
        let now = fs::read(root.join("there")).unwrap();
        assert_eq!((&now[..10], &now[4096..4100]), (&b"0123456789"[..], &b"kept"[..]));
    });
}

fn a_failed_sync_brings_back_what_the_device_has() {
    let trace =
        faulted(false, on::sync().skip(1).take(1).fail_sync(SyncFailure::BTRFS, EIO), |root| {
            let file = open(root.join("there")).unwrap();
            file.write_all_at(b"synced", 4096).unwrap();
            file.sync_all().unwrap();
            file.write_all_at(b"gone", 0).unwrap();
            file.write_all_at(&[1; 5000], 9000).unwrap();
            // The descriptor that is synced need not be one that writes.
            let reader = File::open(root.join("there")).unwrap();
            assert_eq!(reader.sync_data().unwrap_err().raw_os_error(), Some(EIO.raw()));
            let now = fs::read(root.join("there")).unwrap();
            assert_eq!(
                (now.len(), &now[..10], &now[4096..]),
                (4102, &b"0123456789"[..], &b"synced"[..])
            );
            assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(EIO.raw()));
            file.sync_all().unwrap();
        });
    assert_eq!(
        words(&trace)[4..],
        [
            "set length there 4102",
            "write there 0+4096",
            "fdatasync there",
            "fsync there",
            "fsync there"
        ]
    );

    faulted(false, on::sync().fail_sync(SyncFailure::FREEBSD, EIO).clone(), |root| {
        let file = open(root.join("there")).unwrap();
        file.write_all_at(b"new", 0).unwrap();
        file.sync_all().unwrap_err();
        evict(root.join("there")).unwrap();
        assert_eq!(fs::read(root.join("there")).unwrap(), b"new3456789", "dirty pages stay");
    });
}

fn a_failed_sync_that_is_told_late_is_told_to_the_next_opener() {
    let trace =
        faulted(false, on::sync().take(1).fail_sync(SyncFailure::EXT4_DATA_JOURNAL, EIO), |root| {
            let file = open(root.join("there")).unwrap();
            file.write_all_at(b"new", 0).unwrap();
            file.sync_all().unwrap();
            drop(file);
            let next = open(root.join("there")).unwrap();
            assert_eq!(next.sync_all().unwrap_err().raw_os_error(), Some(EIO.raw()));
            next.sync_all().unwrap();
            open(root.join("there")).unwrap().sync_all().unwrap();
        });
    let failed = trace.ops.iter().filter(|record| record.errno == Some(EIO.raw()));
    assert_eq!(failed.count(), 2, "the sync that lied, and the one that told");
}

fn an_error_that_sync_file_range_has_told_is_told_by_no_sync() {
    let range = |file: &File, flags| {
        // SAFETY: no addresses.
        let returned = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) };
        if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error()) }
    };
    faulted(false, on::sync().take(1).fail(EIO), |root| {
        let [one, other] = [(); 2].map(|()| open(root.join("there")).unwrap());
        one.write_all_at(b"new", 0).unwrap();
        one.sync_all().unwrap_err();
        assert_eq!(range(&other, libc::SYNC_FILE_RANGE_WRITE), Ok(()), "it does not wait");
        assert_eq!(range(&other, libc::SYNC_FILE_RANGE_WAIT_AFTER), Err(Some(EIO.raw())));
        assert_eq!(range(&other, libc::SYNC_FILE_RANGE_WAIT_AFTER), Ok(()));
        other.sync_all().unwrap();
        evict(root.join("there")).unwrap();
        assert_eq!(fs::read(root.join("there")).unwrap(), b"0123456789", "and nothing is durable");
    });
}

/// A sweep places its crashes behind the first op that a full disk refuses.
fn what_finds_no_room_is_in_the_record() {
    let optional = on::any().path("nowhere").fail(EIO).optional();
    let trace = faulted(false, optional, |root| {
        // The root, a folder and a file of one page are there.
        set_capacity(Capacity { bytes: 4096, inodes: 4 }).unwrap();
        let file = open(root.join("there")).unwrap();
        let full = |done: io::Result<()>| {
            assert_eq!(done.unwrap_err().kind(), io::ErrorKind::StorageFull);
        };
        full(file.write_all_at(b"x", 4096));
        file.write_all_at(b"x", 0).unwrap();
        fs::create_dir(root.join("d")).unwrap();
        full(fs::create_dir(root.join("e")));
        full(symlink("x", root.join("soft")));
        full(File::create(root.join("new")).map(drop));
        let mut unnamed = OpenOptions::new();
        full(unnamed.write(true).custom_flags(libc::O_TMPFILE).open(root).map(drop));
        // SAFETY: no addresses.
        assert_eq!(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, 9) }, -1);
        set_capacity(Capacity::UNLIMITED).unwrap();
        fs::create_dir(root.join("e")).unwrap();
    });
    let refused = |record: &&Record| record.errno == Some(ENOSPC.raw());
    let refused: Vec<_> = trace.ops.iter().filter(refused).map(|record| record.op.word()).collect();
    assert_eq!(refused, ["write", "mkdir", "symlink", "create", "create unnamed"]);
}

fn what_is_outside_is_left_alone() {
    let trace = faulted(false, on::any().path("there").take(1).fail(EIO), |root| {
        let outside = root.with_file_name("there");
        fs::write(&outside, "x").unwrap();
        fs::rename(&outside, outside.with_extension("b")).unwrap();
        let file = File::create(&outside).unwrap();
        file.sync_all().unwrap();
        fs::remove_file(&outside).unwrap();
        fs::metadata(root.join("there")).unwrap_err();
    });
    assert_eq!(trace.injected[0].call, "metadata there");
}

/// By whichever route a path leads below the root, and whatever becomes of the name.
fn every_call_is_told_with_its_path() {
    let recording = Recording::new();
    let route = recording.log.with_file_name("route");
    symlink(&recording.root, &route).unwrap();
    let options = Options { observe: true, ..recording.options(false) };
    let session = Session::start(&options).unwrap();
    fs::create_dir(route.join("dir")).unwrap();
    let mut file = File::create(recording.root.join("dir/../dir/a")).unwrap();
    file.write_all(b"12345").unwrap();
    fs::rename(route.join("dir/a"), route.join("dir/b")).unwrap();
    file.write_all(b"6").unwrap();
    fs::remove_file(route.join("dir/b")).unwrap();
    file.sync_all().unwrap();
    let mut unnamed = OpenOptions::new();
    unnamed.write(true).custom_flags(libc::O_TMPFILE);
    let unnamed = unnamed.open(route.join("dir")).unwrap();
    unnamed.write_all_at(b"x", 9).unwrap();
    let dir = rustix::fs::open(&recording.root, OFlags::RDONLY, Mode::empty()).unwrap();
    symlink("nowhere", recording.root.join("soft")).unwrap();
    fs::symlink_metadata(recording.root.join("soft")).unwrap();
    fs::metadata(route.join("soft/")).unwrap_err();
    fs::metadata(&route).unwrap();
    fs::read(recording.log.with_file_name("absent")).unwrap_err();
    drop(dir);
    session.finish();
    let seen = calls(&recording.log).unwrap();
    let told: Vec<String> = seen.iter().map(|seen: &Seen| seen.call().to_string()).collect();
    let reaches = |index: usize| (seen[index].call().reach, seen[index].call().writes);
    assert_eq!(reaches(1), (Reach::Call, true), "an open for writing");
    assert_eq!(reaches(2), (Reach::Filesystem, false), "a write");
    assert_eq!(reaches(3), (Reach::Filesystem, false), "the rename of a file");
    assert_eq!(
        told,
        [
            "create-dir dir",
            "create dir/a",
            "write dir/a 0..5",
            "rename dir/a dir/b",
            "write dir/b 5..6",
            "remove dir/b",
            "sync dir/b",
            "create dir",
            "write dir 9..10",
            "symlink soft",
            "metadata soft",
            "metadata soft",
            "metadata .",
        ]
    );
}

fn calls_past_libc_meet_the_same_faults() {
    let plan = [
        on::create().fail(ENOSPC),
        on::write().take(1).short(2),
        on::read().take(1).fail(EIO),
        on::sync().take(1).fail(EIO),
        on::link().fail(EROFS),
    ];
    let trace = faulted(true, plan, |root| {
        let mode = Mode::from_raw_mode(0o600);
        let create = OFlags::CREATE | OFlags::RDWR;
        let refused = rustix::fs::open(root.join("raw"), create, mode).unwrap_err();
        assert_eq!(refused, rustix::io::Errno::NOSPC);
        let file = rustix::fs::open(root.join("there"), OFlags::RDWR, mode).unwrap();
        assert_eq!(rustix::io::write(&file, b"abc").unwrap(), 2);
        assert_eq!(rustix::io::pread(&file, &mut [0; 4], 0), Err(rustix::io::Errno::IO));
        let mut now = [0; 10];
        rustix::io::pread(&file, &mut now, 0).unwrap();
        assert_eq!(&now, b"ab23456789");
        assert_eq!(rustix::fs::fdatasync(&file), Err(rustix::io::Errno::IO));
        rustix::fs::fdatasync(&file).unwrap();
        let (there, also) = (root.join("there"), root.join("also"));
        let linked = rustix::fs::linkat(CWD, there, CWD, also, AtFlags::empty());
        assert_eq!(linked, Err(rustix::io::Errno::ROFS));
    });
    let told: Vec<&str> = trace.injected.iter().map(|injected| injected.call.as_str()).collect();
    assert_eq!(
        told,
        ["create raw", "write there 0..3", "read there 0..4", "sync there", "link there also"]
    );
}
