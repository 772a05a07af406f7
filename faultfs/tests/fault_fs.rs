//! `FaultFs`: what its faults do, and what its trace says.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::thread;

use faultfs::FaultFs;
use faultfs::errno::{EBADF, EIO, EMFILE, ENOENT, ENOSPC, Errno};
use faultfs::fault::{Part, Place};
use faultfs::fs::{Capacity, OpenOptions};
use faultfs::op::{Op, SyncKind};
use faultfs::plan::on;
use faultfs::trace::{Record, Trace};

/// In memory, and on a folder that lives as long as the value beside it.
fn both() -> [(FaultFs, Option<tempfile::TempDir>); 2] {
    let folder = tempfile::tempdir().unwrap();
    let real = FaultFs::real(folder.path()).unwrap();
    [(FaultFs::mem(), None), (real, Some(folder))]
}

#[track_caller]
fn fails_with<T: std::fmt::Debug>(result: io::Result<T>, errno: Errno) {
    assert_eq!(result.unwrap_err().raw_os_error(), Some(errno.raw()));
}

/// The record is what the disk is.
#[track_caller]
fn is_true(trace: &Trace, fs: &FaultFs) {
    assert_eq!(trace.unmodelled, [""; 0]);
    assert_eq!(trace.replay().digest(), fs.disk().digest());
}

fn words(trace: &Trace) -> Vec<&'static str> {
    trace.ops.iter().map(|record| record.op.word()).collect()
}

fn line(record: &Record) -> u32 {
    let site = record.site.as_ref().expect("the call site is known");
    assert!(site.file.ends_with("tests/fault_fs.rs"), "{site}");
    site.line
}

#[test]
fn every_op_knows_the_line_that_asked_for_it() {
    for (fs, _folder) in both() {
        let first = line!() + 1;
        fs.create_dir_all("a/b").unwrap();
        let mut file = fs.create_new("a/f").unwrap();
        file.write_all(b"1").unwrap();
        (&file).write_all(b"2").unwrap();
        file.write_all_at(b"3", 9).unwrap();
        file.set_len(5).unwrap();
        file.sync_all().unwrap();
        file.sync_data().unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
        fs.write("a/g", b"4").unwrap();
        fs.rename("a/f", "h").unwrap();
        fs.exchange("a/g", "h").unwrap();
        fs.hard_link("h", "i").unwrap();
        fs.symlink("h", "s").unwrap();
        fs.set_permissions("h", fs::Permissions::from_mode(0o644)).unwrap();
        fs.sync_dir("a").unwrap();
        fs.remove_file("i").unwrap();
        fs.remove_dir("a/b").unwrap();
        fs.sync().unwrap();
        fs.remove_dir_all("a").unwrap();
        let trace = fs.trace();
        let mut lines: Vec<u32> = trace.ops.iter().map(|r| line(r) - first).collect();
        lines.dedup();
        assert_eq!(lines, (0..20).collect::<Vec<_>>());
        is_true(&trace, &fs);
    }
}

#[test]
fn a_write_from_within_std_has_no_call_site_rather_than_a_wrong_one() {
    let fs = FaultFs::mem();
    let mut buffered = BufWriter::new(fs.create("f").unwrap());
    buffered.write_all(b"x").unwrap();
    buffered.flush().unwrap();
    assert_eq!(fs.trace().ops[1].site, None);
}

#[test]
fn ops_start_before_they_end_and_marks_stand_between_them() {
    for (fs, _folder) in both() {
        fs.begin(1);
        fs.write("f", b"x").unwrap();
        fs.ack(1);
        fs.begin(2);
        fs.failed(2);
        let trace = fs.trace();
        let [create, write] = &trace.ops[..] else { panic!("{:?}", words(&trace)) };
        assert!(create.start < create.end.unwrap());
        assert!(create.end.unwrap() < write.start);
        assert_eq!(trace.marks_at(write.end.unwrap()).acked.len(), 0);
        let marks = trace.marks_at(u64::MAX);
        assert_eq!((marks.issued.len(), marks.acked.len(), marks.failed.len()), (2, 1, 1));
    }
}

#[test]
fn appending_threads_do_not_write_over_each_other() {
    for (fs, _folder) in both() {
        fs.create("log").unwrap();
        thread::scope(|scope| {
            for thread in 0..4_u8 {
                let fs = fs.clone();
                scope.spawn(move || {
                    let mut log = fs.open_with("log", OpenOptions::new().append(true)).unwrap();
                    for _ in 0..50 {
                        log.write_all(&[thread; 7]).unwrap();
                        log.sync_data().unwrap();
                    }
                });
            }
        });
        let all = fs.read("log").unwrap();
        assert_eq!(all.len(), 4 * 50 * 7);
        assert!(all.chunks(7).all(|record| record.iter().all(|b| *b == record[0])));
        let trace = fs.take_trace();
        let threads: std::collections::BTreeSet<u32> = trace.ops.iter().map(|r| r.thread).collect();
        assert_eq!(threads, (0..5).collect());
        is_true(&trace, &fs);
    }
}

#[test]
fn a_failed_rename_changes_nothing_and_is_in_the_trace_with_its_reason() {
    for (fs, folder) in both() {
        fs.write("CURRENT", b"old").unwrap();
        fs.write("tmp", b"new").unwrap();
        fs.arm(on::rename().path("CURRENT").take(1).fail(EIO));
        fails_with(fs.rename("tmp", "CURRENT"), EIO);
        assert_eq!(fs.read("CURRENT").unwrap(), b"old");
        assert_eq!(fs.read("tmp").unwrap(), b"new");
        let trace = fs.trace();
        let last = trace.ops.last().unwrap();
        assert_eq!((last.op.word(), last.errno), ("rename", Some(EIO.raw())));
        assert_eq!(trace.injected.len(), 1);
        assert_eq!(trace.injected[0].call, "rename tmp CURRENT");
        assert_eq!(trace.injected[0].rule, "rename CURRENT take 1 -> fail EIO");
        is_true(&trace, &fs);
        fs.rename("tmp", "CURRENT").unwrap();
        if let Some(folder) = folder {
            assert_eq!(fs::read(folder.path().join("CURRENT")).unwrap(), b"new");
        }
        fs.injector().finish().unwrap();
    }
}

#[test]
fn fail_after_has_done_it() {
    for (fs, _folder) in both() {
        fs.arm([
            on::create().take(1).fail_after(ENOSPC),
            on::create_dir().take(1).fail_after(EIO),
            on::sync().take(1).fail_after(EIO),
            on::sync_all().take(1).fail_after(EIO),
        ]);
        fails_with(fs.create("f"), ENOSPC);
        fails_with(fs.create_dir("d"), EIO);
        fails_with(fs.open("f").unwrap().sync_data(), EIO);
        fails_with(fs.sync(), EIO);
        let trace = fs.take_trace();
        assert_eq!(words(&trace), ["create", "mkdir", "fdatasync", "sync"]);
        assert!(trace.ops.iter().all(|r| r.errno.is_none()), "each of them took effect");
        assert_eq!(trace.injected.len(), 4);
        is_true(&trace, &fs);
        fs.injector().finish().unwrap();
    }
}

#[test]
fn a_failed_sync_is_recorded_as_what_it_was() {
    for (fs, _folder) in both() {
        let file = fs.create("f").unwrap();
        fs.arm([
            on::sync().take(2).fail(EIO),
            on::sync_dir().take(1).fail(EIO),
            on::sync_all().take(1).fail(EIO),
        ]);
        fails_with(file.sync_data(), EIO);
        fails_with(file.sync_all(), EIO);
        fails_with(fs.sync_dir("."), EIO);
        fails_with(fs.sync(), EIO);
        let trace = fs.trace();
        let failed: Vec<_> = trace.ops.iter().filter(|r| r.errno.is_some()).collect();
        let words: Vec<_> = failed.iter().map(|r| r.op.word()).collect();
        assert_eq!(words, ["fdatasync", "fsync", "fsync", "sync"]);
        failed.iter().for_each(|record| assert!(line(record) > 0));
        fs.injector().finish().unwrap();
    }
}

#[test]
fn a_lying_sync_succeeds_and_is_not_in_the_trace() {
    for (fs, _folder) in both() {
        let file = fs.create("f").unwrap();
        fs.arm([on::sync().take(1).lie(), on::sync_dir().lie(), on::sync_all().lie()]);
        file.sync_all().unwrap();
        fs.sync_dir(".").unwrap();
        fs.sync().unwrap();
        let trace = fs.trace();
        assert_eq!(words(&trace), ["create"]);
        assert_eq!(trace.injected.len(), 3);
        assert_eq!(trace.injected[1].call, "sync-dir .");
        file.sync_all().unwrap();
        assert_eq!(words(&fs.trace()), ["create", "fsync"]);
        fs.injector().finish().unwrap();
    }
}

#[test]
fn a_flipped_bit_is_read_wrong_by_every_read_and_the_file_keeps_it() {
    for (fs, _folder) in both() {
        fs.write("f", [0; 8]).unwrap();
        fs.arm(on::read().path("f").take(3).flip(8 * 5));
        assert_eq!(fs.read("f").unwrap(), [0, 0, 0, 0, 0, 1, 0, 0]);
        let file = fs.open("f").unwrap();
        let mut two = [0; 2];
        file.read_exact_at(&mut two, 2).unwrap();
        assert_eq!(two, [0, 0]);
        file.read_exact_at(&mut two, 4).unwrap();
        assert_eq!(two, [0, 1]);
        fs.injector().disarm();
        assert_eq!(fs.read("f").unwrap(), [0; 8]);
        fs.injector().finish().unwrap();
    }
}

#[test]
fn opening_making_and_syncing_directories_are_kinds_of_their_own() {
    for (fs, _folder) in both() {
        fs.create_dir("db").unwrap();
        fs.arm([
            on::create().path("db/*").fail(ENOSPC),
            on::open().path("db/*").fail(EMFILE),
            on::sync_dir().path("db").fail(EIO),
            on::metadata().path("db/f").fail(EIO),
        ]);
        fails_with(fs.create("db/f"), ENOSPC);
        fs.arm(on::create().path("db").fail(ENOSPC));
        fails_with(fs.create_unnamed("./db/../db/"), ENOSPC);
        fs.injector().disarm();
        fs.write("db/f", b"").unwrap();
        fs.arm(on::open().path("db/*").fail(EMFILE));
        fails_with(fs.create("db/f"), EMFILE);
    }
}

#[test]
fn a_full_disk_takes_what_fits_and_frees_what_goes() {
    for (fs, folder) in both() {
        fs.set_capacity(Capacity { bytes: 4 * 4096 + 100, ..Capacity::UNLIMITED });
        let file = fs.create("f").unwrap();
        assert_eq!(file.write_at(&[1; 20_000], 0).unwrap(), 16_384);
        fails_with(file.write_at(&[2; 10], 16_384), ENOSPC);
        assert_eq!(file.write_at(&[2; 16_384], 0).unwrap(), 16_384, "overwriting takes no room");
        file.set_len(4096).unwrap();
        assert_eq!(file.write_at(&[3; 100], 100_000).unwrap(), 100);
        assert_eq!(file.write_at(&[4; 9000], 4000).unwrap(), 8288, "as a tmpfs of 16 KiB answers");
        fails_with(fs.write("g", [5; 1]), ENOSPC);
        fs.remove_file("f").unwrap();
        fails_with(fs.write("g", [5; 1]), ENOSPC);
        drop(file);
        fs.write("g", [5; 4096]).unwrap();
        let trace = fs.take_trace();
        assert_eq!(trace.ops.iter().filter(|r| r.errno == Some(ENOSPC.raw())).count(), 3);
        is_true(&trace, &fs);
        drop(folder);
    }
}

#[test]
fn a_disk_without_inodes_makes_nothing_new() {
    for (fs, _folder) in both() {
        fs.set_capacity(Capacity { inodes: 3, ..Capacity::UNLIMITED });
        fs.write("f", b"1").unwrap();
        fs.create_dir("d").unwrap();
        fails_with(fs.create("g"), ENOSPC);
        fails_with(fs.create_dir("e"), ENOSPC);
        fails_with(fs.symlink("f", "s"), ENOSPC);
        fails_with(fs.create_unnamed("."), ENOSPC);
        fs.hard_link("f", "g").unwrap();
        fs.create("f").unwrap();
        fs.remove_dir("d").unwrap();
        let unnamed = fs.create_unnamed(".").unwrap();
        fails_with(fs.create_dir("e"), ENOSPC);
        drop(unnamed);
        fs.create_dir("e").unwrap();
        is_true(&fs.take_trace(), &fs);
    }
}

#[test]
fn a_torn_append_keeps_whole_sectors_of_the_file_not_of_the_write() {
    for (fs, _folder) in both() {
        let mut log = fs.open_with("log", OpenOptions::new().append(true).create(true)).unwrap();
        log.write_all(&[1; 500]).unwrap();
        fs.arm(on::write().take(1).torn(Part::Sectors(2), EIO));
        fails_with(log.write_all(&[2; 2000]), EIO);
        assert_eq!(fs.read("log").unwrap().len(), 1024);
        log.write_all(&[3; 1]).unwrap();
        let trace = fs.take_trace();
        let writes: Vec<_> = trace
            .ops
            .iter()
            .filter_map(|r| match &r.op {
                Op::Write { offset, data, .. } => Some((*offset, data.len())),
                _ => None,
            })
            .collect();
        assert_eq!(writes, [(0, 500), (500, 524), (1024, 1)]);
        assert_eq!(trace.injected[0].call, "write log 500..2500");
        is_true(&trace, &fs);
        fs.injector().finish().unwrap();
    }
}

#[test]
fn a_short_write_is_recorded_as_what_it_wrote() {
    for (fs, _folder) in both() {
        let mut file = fs.create("f").unwrap();
        fs.arm(on::write().take(1).short(3));
        assert_eq!(file.write(b"abcdef").unwrap(), 3);
        file.write_all(b"def").unwrap();
        assert_eq!(fs.read("f").unwrap(), b"abcdef");
        is_true(&fs.take_trace(), &fs);
    }
}

#[test]
fn open_flags_reach_the_trace() {
    for (fs, _folder) in both() {
        let mut options = OpenOptions::new();
        options.write(true).create(true).direct(true).sync(SyncKind::Data);
        let file = fs.open_with("f", &options).unwrap();
        fails_with(file.write_at(&[0; 100], 0), faultfs::errno::EINVAL);
        fails_with(file.write_at(&[0; 512], 100), faultfs::errno::EINVAL);
        file.write_at(&[0; 512], 1024).unwrap();
        let trace = fs.trace();
        let Op::Write { direct, sync, .. } = trace.ops[1].op else { panic!("{:?}", trace.ops[1]) };
        assert!(direct);
        assert_eq!(sync, Some(SyncKind::Data));
    }
}

#[test]
fn a_trace_that_is_taken_leaves_a_new_one_behind() {
    for (fs, _folder) in both() {
        fs.write("f", b"before").unwrap();
        fs.ack(1);
        let first = fs.take_trace();
        fs.write("g", b"after").unwrap();
        let second = fs.take_trace();
        assert_eq!(words(&first), ["create", "write"]);
        assert_eq!(words(&second), ["create", "write"]);
        assert_eq!(second.marks, []);
        assert_eq!(second.base.digest(), first.replay().digest());
        is_true(&second, &fs);
        assert_eq!(words(&fs.trace()), [""; 0]);
    }
}

#[test]
fn what_a_folder_holds_is_the_durable_start() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("db")).unwrap();
    fs::write(at("db/log"), b"history").unwrap();
    fs::hard_link(at("db/log"), at("again")).unwrap();
    std::os::unix::fs::symlink("db/log", at("link")).unwrap();
    let fs = FaultFs::real(folder.path()).unwrap();
    assert_eq!(fs.read("link").unwrap(), b"history");
    assert_eq!(fs.metadata("db/log").unwrap().ino(), fs.metadata("again").unwrap().ino());
    let log = fs.open_with("db/log", OpenOptions::new().write(true)).unwrap();
    log.write_at(b"H", 0).unwrap();
    assert_eq!(fs::read(at("again")).unwrap(), b"History");
    let trace = fs.take_trace();
    assert_eq!(trace.base.walk().len(), 4);
    is_true(&trace, &fs);
}

#[test]
fn absolute_paths_below_the_folder_are_its_own_and_others_are_refused() {
    let (outside, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fs = FaultFs::real(folder.path()).unwrap();
    fs.write(folder.path().join("f"), b"x").unwrap();
    assert_eq!(fs.read("f").unwrap(), b"x");
    assert!(fs.metadata(folder.path()).unwrap().is_dir());
    fs.symlink(folder.path().join("f"), "inside").unwrap();
    assert_eq!(fs.read("inside").unwrap(), b"x");

    fs.symlink(outside.path(), "out").unwrap();
    for path in [outside.path().join("f"), Path::new("out/f").into(), Path::new("../f").into()] {
        let error = fs.write(&path, b"lost").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}", path.display());
        assert!(error.to_string().contains("leads out of the filesystem"), "{error}");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let sibling = folder.path().with_extension("other").join("f");
    assert!(fs.write(sibling, b"x").unwrap_err().to_string().contains("leads out"));

    let mem = FaultFs::mem();
    mem.write("/f", b"x").unwrap();
    assert_eq!(mem.read("f").unwrap(), b"x");
}

#[test]
fn a_folder_that_changes_behind_the_back_is_not_measured() {
    let folder = tempfile::tempdir().unwrap();
    let fs = FaultFs::real(folder.path()).unwrap();
    fs.write("f", b"mine").unwrap();
    fs::write(folder.path().join("f"), b"theirs").unwrap();
    let trace = fs.take_trace();
    assert_eq!(trace.unmodelled, ["f: has 6 bytes, should have 4"]);

    fs::write(folder.path().join("g"), b"theirs").unwrap();
    assert!(fs.open("g").is_err());
    assert!(fs.exists("g").is_err());
    let trace = fs.take_trace();
    assert!(trace.unmodelled[0].starts_with("open g was done, and was to fail"), "{trace:?}");
}

#[test]
fn a_panic_in_the_workload_leaves_filesystem_and_trace_whole() {
    for (fs, _folder) in both() {
        let clone = fs.clone();
        let panicked = thread::spawn(move || {
            let mut file = clone.create("f").unwrap();
            file.write_all(b"before").unwrap();
            panic!("the engine under test");
        });
        assert!(panicked.join().is_err());
        fs.write("g", b"after").unwrap();
        assert_eq!(fs.read("f").unwrap(), b"before");
        is_true(&fs.take_trace(), &fs);
    }
}

#[test]
fn two_filesystems_know_nothing_of_each_other() {
    let (one, other) = (FaultFs::mem(), FaultFs::mem());
    one.write("f", b"x").unwrap();
    assert!(!other.exists("f").unwrap());
    let copy = FaultFs::from_disk(one.disk());
    copy.write("f", b"changed").unwrap();
    assert_eq!(one.read("f").unwrap(), b"x");
    let file = one.open("f").unwrap();
    let misuse = std::panic::catch_unwind(|| other.link_unnamed(&file, "g"));
    let message = *misuse.unwrap_err().downcast::<&str>().unwrap();
    assert!(message.contains("link it on the one that opened it"));
}

#[test]
fn a_filesystem_can_be_shared_and_sent() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn sent<T: Send + Sync + 'static>(_: &T) {}
    let fs = FaultFs::mem();
    shared(&fs);
    sent(&fs.create("f").unwrap());
}

#[test]
fn a_rule_is_about_a_thread_a_call_site_and_the_number_of_an_op() {
    for (fs, _folder) in both() {
        let file = fs.create_new("f").unwrap();
        fs.arm(on::sync().thread("flush-*").take(1).fail(EIO));
        file.sync_all().unwrap();
        let flush = thread::Builder::new().name("flush-1".into());
        let file = flush
            .spawn(move || {
                assert!(file.sync_all().is_err());
                file
            })
            .unwrap()
            .join()
            .unwrap();
        file.sync_all().unwrap();

        let next_line = format!("tests/fault_fs.rs:{}", line!() + 5);
        fs.arm(on::any().from(&next_line).fail(EIO));
        fs.arm(on::read().from("fault_fs.rs").take(1).fail(ENOSPC));
        let mut buf = [0; 1];
        assert_eq!(file.read_at(&mut buf, 0).unwrap_err().raw_os_error(), Some(28));
        assert_eq!(fs.create_dir("d").unwrap_err().raw_os_error(), Some(5));
        fs.create_dir("d").unwrap();

        fs.arm(on::any().op(2).fail(EIO));
        fs.create_dir("e").unwrap();
        file.write_at(b"x", 0).unwrap();
        assert!(fs.metadata("d").is_err());
        fs.metadata("d").unwrap();
        fs.injector().finish().unwrap();
    }
}

#[test]
fn when_the_power_is_cut_every_call_fails_and_none_is_recorded() {
    for (fs, _folder) in both() {
        let file = fs.create("f").unwrap();
        fs.write("g", "x").unwrap();
        let before = fs.trace().ops.len();
        fs.cut_power();
        let calls: [(&str, &dyn Fn() -> io::Result<()>); 12] = [
            ("open", &|| fs.open("f").map(drop)),
            ("create", &|| fs.create("h").map(drop)),
            ("read", &|| file.read_at(&mut [0], 0).map(drop)),
            ("write", &|| file.write_at(&[1], 0).map(drop)),
            ("sync", &|| file.sync_all()),
            ("set_len", &|| file.set_len(9)),
            ("metadata", &|| fs.metadata("f").map(drop)),
            ("read_dir", &|| fs.read_dir(".").map(drop)),
            ("rename", &|| fs.rename("f", "i")),
            ("remove", &|| fs.remove_file("g")),
            ("create_dir", &|| fs.create_dir("d")),
            ("sync_dir", &|| fs.sync_dir(".")),
        ];
        for (what, call) in calls {
            assert_eq!(call().unwrap_err().raw_os_error(), Some(EIO.raw()), "{what}");
        }
        assert_eq!(fs.trace().ops.len(), before);
    }
}

/// The page cache reads a cursor's write where the cursor is, and moves it, whatever has become of the data.
#[test]
fn a_write_that_goes_astray_moves_the_cursor_and_one_that_may_not_write_fails() {
    for (fs, _folder) in both() {
        fs.write("f", [b'o'; 1024]).unwrap();
        fs.arm([
            on::write().path("f").take(1).lose(),
            on::write().path("f").skip(1).take(1).misdirect(Place::at(512)),
        ]);
        let mut file = fs.open_with("f", OpenOptions::new().read(true).write(true)).unwrap();
        file.write_all(b"lost").unwrap();
        file.write_all(b"else").unwrap();
        file.write_all(b"here").unwrap();
        let found = fs.read("f").unwrap();
        assert_eq!((&found[..12], &found[512..516]), (&b"oooooooohere"[..], &b"else"[..]));

        fs.injector().disarm();
        fs.arm([on::write().take(1).lose(), on::write().skip(1).take(1).misdirect(Place::at(0))]);
        let file = fs.open("f").unwrap();
        for _ in 0..2 {
            fails_with(file.write_at(b"x", 0), EBADF);
        }
        assert_eq!(fs.read("f").unwrap(), found);
    }
}

#[test]
fn a_file_that_was_named_by_a_call_that_failed_after_it_has_had_its_name() {
    for (fs, _folder) in both() {
        let file = fs.create_unnamed(".").unwrap();
        fs.arm(on::link().take(1).fail_after(EIO));
        fails_with(fs.link_unnamed(&file, "a"), EIO);
        fs.remove_file("a").unwrap();
        fails_with(fs.link_unnamed(&file, "b"), ENOENT);
    }
}
