//! Fail points and disk faults together, as the tests of an engine use them; on real files where that
//! makes a difference. Each way has a bug that it finds and a mended twin that passes.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use faultfs::errno::EIO;
use faultfs::plan::{Plan, on};
use faultfs::report::Report;
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
use faultfs::{FaultFile, FaultFs, Injector, Profile, explore, points};
use faultpoint::{Scenario, Scope, fail_point, fault_point};

const PATIENCE: Duration = Duration::from_secs(10);

/// A log of one-byte records.
struct Log {
    fs: FaultFs,
    file: faultfs::fs::File,
    /// What a failed sync is answered with: another sync, which has nothing left to write.
    syncs_again: bool,
}

impl Log {
    fn create(fs: &FaultFs, syncs_again: bool) -> io::Result<Log> {
        let file = fs.create("db.log")?;
        fs.sync_dir(".")?;
        Ok(Log { fs: fs.clone(), file, syncs_again })
    }

    fn append(&mut self, id: u64) -> io::Result<()> {
        self.fs.begin(id);
        self.file.write_all(&[b'0' + id as u8])?;
        fault_point!("coupling_log_written")?;
        let synced = match self.file.sync_data() {
            Err(_) if self.syncs_again => self.file.sync_data(),
            synced => synced,
        };
        if let Err(error) = synced {
            self.fs.failed(id);
            return Err(error);
        }
        fail_point!("coupling_log_synced");
        self.fs.ack(id);
        Ok(())
    }
}

fn every_acknowledged_record(fs: &FaultFs, marks: &Marks) -> Result<(), Broken> {
    let found = fs.read_to_string("db.log").unwrap_or_default();
    match marks.acked.iter().find(|id| !found.contains(&id.to_string())) {
        Some(id) => Err(Broken::lost(format!("record {id}: the log holds {found:?}"))),
        None => Ok(()),
    }
}

fn points_of(fs: &FaultFs) -> Vec<String> {
    fs.trace().passed.iter().map(|pass| pass.point.to_string()).collect()
}

/// A sync fails at a point in the middle, of an engine that syncs again or gives the error on.
fn with_a_failed_sync(syncs_again: bool) -> Report {
    let reports = explore(move |fs| {
        let faults = Scenario::new();
        let fails = on::sync().path("*.log").take(1).fail(EIO);
        let second = points::at_pass(2, points::arm(fs.injector(), fails));
        faults.on("coupling_log_written", second);
        let mut log = Log::create(fs, syncs_again)?;
        log.append(1)?;
        // An engine that gives up here has broken no promise.
        let _ = log.append(2).and_then(|()| log.append(3));
        faults.finish();
        fs.injector().finish().unwrap();
        Ok(())
    })
    .named(format!("syncs_again={syncs_again}"))
    .in_process()
    .reports(every_acknowledged_record);
    reports.unwrap().remove(0)
}

#[test]
fn the_next_sync_after_a_pass_fails_and_an_engine_that_trusts_the_one_after_it_is_caught() {
    let caught = with_a_failed_sync(true);
    assert_eq!(caught.verdict, Verdict::Lost, "{caught}");
    let mended = with_a_failed_sync(false);
    assert!(mended.held(), "{mended}");
}

#[test]
fn on_real_files_the_record_of_a_fault_knows_the_points_that_its_thread_has_passed() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Scenario::new();
    let fs = FaultFs::real(folder.path()).unwrap();
    let fails = on::sync().path("*.log").take(1).fail(EIO);
    faults.on("coupling_log_written", points::at_pass(2, points::arm(fs.injector(), fails)));
    let mut log = Log::create(&fs, false).unwrap();
    log.append(1).unwrap();
    // Another thread's passes are its own.
    let elsewhere = Scope::current().spawn(|| fail_point!("coupling_elsewhere"));
    elsewhere.join().unwrap();
    assert_eq!(log.append(2).unwrap_err().raw_os_error(), Some(EIO.raw()));
    log.append(3).unwrap();
    assert_eq!(std::fs::read(folder.path().join("db.log")).unwrap(), b"123");

    let trace = fs.take_trace();
    assert_eq!(trace.unmodelled, [""; 0]);
    let [injected] = &trace.injected[..] else { panic!("{:?}", trace.injected) };
    assert_eq!(injected.call, "sync db.log");
    let last: Vec<&str> = injected.points.iter().map(|point| &**point).collect();
    assert_eq!(last, ["coupling_log_written", "coupling_log_synced", "coupling_log_written"]);
    let passed: Vec<_> = trace.passed.iter().map(|p| (&*p.point, p.thread)).collect();
    assert_eq!(
        passed,
        [
            ("coupling_log_written", 0),
            ("coupling_log_synced", 0),
            ("coupling_elsewhere", 1),
            ("coupling_log_written", 0),
            ("coupling_log_written", 0),
            ("coupling_log_synced", 0),
        ]
    );
    assert!(trace.passed[0].site.file.ends_with("coupling.rs"), "{:?}", trace.passed[0]);
    faults.finish();
}

#[test]
fn a_rule_after_a_point_counts_from_its_first_pass_on_around_a_file_of_std_s() {
    let faults = Scenario::new();
    let plan: Plan =
        "sync *.log after point coupling_rotated skip 1 take 1 -> fail EIO".parse().unwrap();
    let injector = Injector::new(plan);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.log");
    let mut file = FaultFile::armed(File::create(&path).unwrap(), &injector, "1.log");
    file.write_all(b"record").unwrap();
    let sync = || file.sync_all().map_err(|error| error.raw_os_error());
    assert_eq!([sync(), sync()], [Ok(()), Ok(())], "before the point nothing counts");
    // Of another scenario, so not heard.
    let other = thread::spawn(|| {
        let other = Scenario::new();
        fail_point!("coupling_rotated");
        other.finish();
    });
    other.join().unwrap();
    assert_eq!([sync(), sync()], [Ok(()), Ok(())]);
    fail_point!("coupling_elsewhere");
    assert_eq!([sync(), sync()], [Ok(()), Ok(())], "it is another point");
    // On another thread, for the disk is one.
    Scope::current().spawn(|| fail_point!("coupling_rotated")).join().unwrap();
    assert_eq!([sync(), sync(), sync()], [Ok(()), Err(Some(EIO.raw())), Ok(())]);
    fail_point!("coupling_rotated");
    assert_eq!([sync(), sync()], [Ok(()), Ok(())], "it begins once");
    injector.finish().unwrap();
    faults.finish();
}

#[test]
fn a_rule_whose_point_is_never_passed_or_not_there_is_told_so() {
    let faults = Scenario::new();
    let injector = Injector::new(on::sync().after_point("coupling_rotated").fail(EIO));
    FaultFile::armed(tempfile::tempfile().unwrap(), &injector, "1.log").sync_all().unwrap();
    let error = injector.finish().unwrap_err().to_string();
    assert!(error.contains("fail point `coupling_rotated` was not passed since"), "{error}");

    // With the feature `foreign` a point of the `fail` crate may have any name.
    if !cfg!(feature = "foreign") {
        let unknown = on::sync().after_point("coupling_rotatd").fail(EIO);
        for arm in [&(|| injector.arm(unknown.clone())) as &dyn Fn(), &|| {
            drop(points::arm(&injector, unknown.clone()))
        }] {
            let panic = catch_unwind(AssertUnwindSafe(arm)).unwrap_err();
            let message = panic.downcast::<String>().unwrap();
            assert!(message.contains("did you mean `coupling_rotated`?"), "{message}");
        }
    }
    faults.finish();
}

/// Replaces the manifest and removes what the old one needed; `in_order` syncs in between.
fn swap_manifest(fs: &FaultFs, in_order: bool) -> io::Result<()> {
    fs.write("manifest.new", "2")?;
    fs.open("manifest.new")?.sync_all()?;
    fs.rename("manifest.new", "manifest")?;
    if in_order {
        fs.sync_dir(".")?;
    }
    fs.remove_file("table-1")?;
    fail_point!("coupling_manifest_swapped");
    fs.sync_dir(".")
}

fn opens(fs: &FaultFs, _: &Marks) -> Result<(), Broken> {
    let version = fs.read_to_string("manifest")?;
    match fs.exists(format!("table-{version}"))? {
        true => Ok(()),
        false => Err(Broken::corrupt(format!("manifest {version} names a table that is gone"))),
    }
}

fn explore_swap(in_order: bool, point: &str) -> faultfs::Result<Vec<Report>> {
    explore(move |fs| {
        for (name, content) in [("manifest", "1"), ("table-1", "a"), ("table-2", "b")] {
            fs.write(name, content)?;
            fs.open(name)?.sync_all()?;
        }
        fs.sync_dir(".")?;
        fs.begin(1);
        fs.ack(1);
        swap_manifest(fs, in_order)?;
        Ok(())
    })
    .named(format!("in_order={in_order}"))
    .at_point(point)
    .reports(opens)
}

#[test]
fn a_crash_at_a_point_is_looked_at_alone_and_finds_the_bug_of_that_moment() {
    let caught = explore_swap(false, "coupling_manifest_swapped").unwrap();
    let Some(caught) = caught.first() else { return };
    assert_eq!(caught.verdict, Verdict::Corrupt, "{caught}");
    assert_eq!(caught.crash_points, 1, "one pass, one moment");
    let crash = caught.failures[0].crash.to_string();
    assert!(crash.ends_with(", at fail point `coupling_manifest_swapped`"), "{crash}");
    assert!(caught.bound.ends_with("crashes at fail point `coupling_manifest_swapped` only"));
}

#[test]
fn a_crash_at_a_point_passes_the_mended_twin() {
    let mended = explore_swap(true, "coupling_manifest_swapped").unwrap();
    let Some(mended) = mended.first() else { return };
    assert!(mended.held() && mended.crash_points == 1 && mended.distinct > 1, "{mended}");
}

#[test]
fn a_crash_at_a_point_that_was_never_passed_is_an_error_not_a_pass() {
    let passed = explore_swap(true, "coupling_manifest_swaped");
    let Err(error) = passed else { return assert!(passed.unwrap().is_empty()) };
    let error = error.to_string();
    assert!(error.ends_with("did you mean `coupling_manifest_swapped`?"), "{error}");
}

/// The power goes at the second pass of a point, placed by a scenario.
fn cut_at_second_append(acks_early: bool) -> faultfs::Result<Vec<Report>> {
    explore(move |fs| {
        let faults = Scenario::new();
        faults.on("coupling_log_written", points::at_pass(2, points::cut_power(fs)));
        let mut log = Log::create(fs, false)?;
        log.append(1)?;
        if acks_early {
            fs.ack(2);
        }
        let error = log.append(2).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EIO.raw()));
        assert!(fs.read("db.log").is_err() && fs.is_cut());
        // Said after the power went, so nobody heard it.
        fs.ack(3);
        faults.finish();
        Err(error.into())
    })
    .named(format!("acks_early={acks_early}"))
    .profiles(Profile::ALL)
    .reports(every_acknowledged_record)
}

#[test]
fn the_power_is_cut_at_a_point_and_the_disks_of_that_moment_are_looked_at() {
    let caught = cut_at_second_append(true).unwrap();
    for report in &caught[..caught.len().min(3)] {
        assert_eq!(report.verdict, Verdict::Lost, "{report}");
        assert_eq!(report.crash_points, 1);
        assert!(report.failures.iter().all(|f| f.message.contains("record 2")), "{report}");
    }
}

#[test]
fn the_power_is_cut_at_a_point_and_a_twin_that_acknowledges_later_holds() {
    let mended = cut_at_second_append(false).unwrap();
    for report in &mended {
        assert!(report.held() && report.crash_points == 1, "{report}");
    }
}

/// The same from text alone, as it may come from outside: the power goes in the first sync after a pass.
#[test]
fn a_plan_cuts_the_power_after_a_point() {
    let cut = |acks_early: bool| {
        explore(move |fs| {
            let plan: Plan =
                "sync *.log after point coupling_log_synced take 1 -> crash".parse()?;
            fs.arm(plan);
            let mut log = Log::create(fs, false)?;
            log.append(1)?;
            if acks_early {
                fs.ack(2);
            }
            assert!(log.append(2).is_err() && fs.is_cut());
            fs.injector().finish()?;
            Ok(())
        })
        .named(format!("plan acks_early={acks_early}"))
        .in_process()
        .reports(every_acknowledged_record)
        .unwrap()
        .remove(0)
    };
    let (caught, mended) = (cut(true), cut(false));
    assert_eq!((caught.verdict, caught.crash_points), (Verdict::Lost, 1), "{caught}");
    assert!(mended.held() && mended.crash_points == 1, "{mended}");
}

#[track_caller]
fn wait_for(what: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < deadline, "waited in vain");
        thread::yield_now();
    }
}

#[test]
fn a_disk_that_freezes_at_a_point_holds_up_changes_and_lets_readers_read() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Scenario::new();
    let fs = FaultFs::real(folder.path()).unwrap();
    let mut log = Log::create(&fs, false).unwrap();
    faults.on("coupling_log_written", points::freeze(&fs));
    let writer = Scope::current().spawn(move || log.append(1));
    wait_for(|| fs.waiting() == 1);
    let mut found = String::new();
    fs.open("db.log").unwrap().read_to_string(&mut found).unwrap();
    assert_eq!(found, "1", "readers are served");
    assert!(fs.trace().marks.iter().all(|(_, mark)| *mark != faultfs::trace::Mark::Ack(1)));
    fs.thaw();
    writer.join().unwrap().unwrap();
    assert_eq!(fs.trace().marks_at(u64::MAX).acked.len(), 1);
    assert_eq!(fs.waiting(), 0);
    faults.finish();
}

#[test]
fn a_frozen_disk_thaws_before_the_store_of_a_test_that_panics_is_dropped() {
    struct Store(Option<thread::JoinHandle<io::Result<()>>>);
    impl Drop for Store {
        fn drop(&mut self) {
            self.0.take().unwrap().join().unwrap().unwrap();
        }
    }
    let fs = FaultFs::mem();
    let test = fs.clone();
    let begun = Instant::now();
    let panicked = thread::spawn(move || {
        let faults = Scenario::new();
        let mut log = Log::create(&test, false).unwrap();
        faults.on("coupling_log_written", points::freeze(&test));
        let _store = Store(Some(Scope::current().spawn(move || log.append(1))));
        wait_for(|| test.waiting() == 1);
        panic!("the test fails");
    });
    assert!(panicked.join().is_err());
    assert!(begun.elapsed() < PATIENCE, "the writer was let go, it did not time out");
    fs.write("later", "x").unwrap();
}

#[test]
fn those_who_wait_on_a_frozen_disk_fail_when_the_power_goes() {
    let fs = FaultFs::mem();
    fs.freeze();
    let writer = fs.clone();
    let writer = thread::spawn(move || writer.write("a", "x"));
    wait_for(|| fs.waiting() == 1);
    fs.cut_power();
    assert_eq!(writer.join().unwrap().unwrap_err().raw_os_error(), Some(EIO.raw()));
    assert!(fs.trace().ops.is_empty() && fs.trace().unmodelled.is_empty());
}

#[test]
fn filesystems_of_scenarios_that_run_at_once_hear_their_own_passes() {
    let tests: Vec<_> = (0..8)
        .map(|id| {
            thread::spawn(move || {
                let faults = Scenario::new();
                let fs = FaultFs::mem();
                let mut log = Log::create(&fs, false).unwrap();
                for _ in 0..=id {
                    log.append(1).unwrap();
                }
                let expected = 2 * (id + 1);
                assert_eq!(points_of(&fs).len(), expected);
                faults.finish();
            })
        })
        .collect();
    tests.into_iter().for_each(|test| test.join().unwrap());
}
