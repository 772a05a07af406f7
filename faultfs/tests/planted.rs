//! A log engine on a `FaultFs`: planted bugs are found with the omitted op named by its call site, and the
//! fixed twin holds under every profile. The same engine runs through the interposed door in that package.

#[path = "planted/log.rs"]
mod log;

use std::io::{self, Write};
use std::sync::mpsc;

use faultfs::crash::Loss;
use faultfs::fs::File;
use faultfs::report::{CREATION_NOT_DURABLE, Report};
use faultfs::verdict::{Broken, Verdict};
use faultfs::{FaultFs, Profile, explore};
use log::{Bug, ENTRY_ON_ITS_OWN, Files, Log, RENAME_FIRST, expect, power_cuts};

impl Files for FaultFs {
    type File = File;
    fn create(&self, name: &str) -> io::Result<File> {
        FaultFs::create(self, name)
    }
    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }
    fn start_writeback(&self, file: &File) -> io::Result<()> {
        file.start_writeback()
    }
    fn sync_dir(&self) -> io::Result<()> {
        FaultFs::sync_dir(self, ".")
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        FaultFs::rename(self, from, to)
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        FaultFs::read(self, name)
    }
}

fn workload(fs: &FaultFs, bug: Bug) -> Result<(), Broken> {
    let mut log = Log::create(fs.clone(), bug)?;
    for id in 0..2 {
        fs.begin(id);
        log.put(id)?;
        fs.ack(id);
    }
    log.compact()?;
    fs.begin(2);
    log.put(2)?;
    fs.ack(2);
    Ok(())
}

fn reports(bug: Bug) -> Vec<Report> {
    explore(|fs| workload(fs, bug)).profiles(Profile::ALL).reports(log::check).unwrap()
}

#[test]
fn the_fixed_twin_holds_under_every_profile() {
    expect(&reports(Bug::None), &[], "");
}

#[test]
fn a_missing_directory_sync_is_found() {
    let reports = reports(Bug::NoDirSync);
    expect(&reports, &ENTRY_ON_ITS_OWN, "create log (its directory entry)");
    // By the line of the engine that made the file.
    if let Some(report) = reports.first() {
        let site = report.failures[0].losses[0].site.as_ref().expect("the typed door knows it");
        assert!(site.file.ends_with("planted.rs"), "{report}");
        let ack = "acknowledged at faultfs/tests/planted.rs:";
        let sentence = report.failures[0].sentence();
        let made = format!("Lost only the directory entry of log, created at {site}, {ack}");
        assert!(sentence.starts_with(&made) && report.to_string().contains(&sentence), "{report}");
    }
}

#[test]
fn a_rename_before_the_sync_is_found() {
    expect(&reports(Bug::RenameBeforeSync), &RENAME_FIRST, "log.new");
}

#[test]
fn sync_file_range_for_fsync_is_found() {
    expect(&reports(Bug::WritebackForSync), &power_cuts(), "write log");
}

#[test]
fn an_acknowledgement_before_the_sync_on_another_thread_is_found() {
    let run = |ack_first: bool| {
        explore(move |fs| {
            let mut log = Log::create(fs.clone(), Bug::None)?;
            fs.begin(0);
            log.put_unsynced(0)?;
            let (order, ordered) = mpsc::channel();
            let synced = std::thread::scope(|scope| {
                let log = &log;
                let flusher = scope.spawn(move || ordered.recv().map(|()| log.sync()));
                if ack_first {
                    fs.ack(0);
                }
                order.send(()).expect("the flusher waits");
                flusher.join().expect("it does not panic").expect("it was told")
            });
            synced?;
            if !ack_first {
                fs.ack(0);
            }
            Ok(())
        })
        .profiles(Profile::ALL)
        .reports(log::check)
        .unwrap()
    };
    expect(&run(true), &power_cuts(), "write log");
    expect(&run(false), &[], "");
}

/// The same verdicts, states and tokens in this process as in workers.
#[test]
fn checking_in_process_gives_the_same_report() {
    let here = explore(|fs| workload(fs, Bug::RenameBeforeSync))
        .named("log")
        .profiles([Profile::POSIX, Profile::ZFS])
        .in_process()
        .reports(log::check)
        .unwrap();
    let workers = explore(|fs| workload(fs, Bug::RenameBeforeSync))
        .named("log")
        .profiles([Profile::POSIX, Profile::ZFS])
        .workers(3)
        .reports(log::check)
        .unwrap();
    assert_eq!(here, workers);
}

/// Nobody but the caller can make the entry of the database's own folder durable.
#[test]
fn losing_the_creation_of_the_databases_folder_is_a_class_of_its_own() {
    let run = |sync_inside: bool| {
        explore(move |fs| {
            fs.create_dir("db")?;
            let mut file = fs.create("db/log")?;
            file.write_all(b"x")?;
            file.sync_all()?;
            if sync_inside {
                fs.sync_dir("db")?;
            }
            fs.ack(0);
            Ok(())
        })
        .in_process()
        .reports(|fs, marks| match fs.exists("db/log")? {
            false if !marks.acked.is_empty() => Err(Broken::lost("the log is gone")),
            _ => Ok(()),
        })
        .unwrap()
        .remove(0)
    };
    let held = run(true);
    assert!(held.held(), "{held}");
    assert_eq!(held.failures[0].class, CREATION_NOT_DURABLE, "{held}");
    let lost = run(false);
    assert_eq!(lost.verdict, Verdict::Lost, "{lost}");
    assert_eq!(lost.failures.last().expect("two").class, CREATION_NOT_DURABLE, "{lost}");
}

/// A token kept beside a test is checked first; one whose run has changed is not passed over.
#[test]
fn kept_tokens_are_checked_first_and_stale_ones_are_refused() {
    let traces = tempfile::tempdir().unwrap();
    let explore_with = |bug: Bug, tokens: &[String]| {
        explore(move |fs| workload(fs, bug))
            .named("kept")
            .in_process()
            .traces(traces.path())
            .tokens(tokens)
            .reports(log::check)
    };
    let token = explore_with(Bug::NoDirSync, &[]).unwrap()[0].failures[0].token.clone();
    let again = explore_with(Bug::NoDirSync, std::slice::from_ref(&token)).unwrap_err();
    assert!(again.to_string().contains("lost: 0 was acknowledged"), "{again}");
    // The trace is kept, so the old run can still be looked at although the engine was mended.
    let kept = explore_with(Bug::None, std::slice::from_ref(&token)).unwrap_err();
    assert!(kept.to_string().contains(&token), "{kept}");
    std::fs::remove_dir_all(traces.path()).unwrap();
    let changed = explore_with(Bug::None, &[token]).unwrap_err();
    assert!(changed.to_string().contains("changed since"), "{changed}");
}

/// Crash images are taken while writers go on; every one keeps the engine's promise, and none keeps that
/// of an engine with a planted bug.
#[test]
fn a_stress_test_takes_crash_images_while_the_database_runs() {
    let lost_images = |bug: Bug| {
        let fs = FaultFs::mem();
        let mut log = Log::create(fs.clone(), bug).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for id in 0..60 {
                    fs.begin(id);
                    log.put(id).unwrap();
                    fs.ack(id);
                }
                done.store(true, std::sync::atomic::Ordering::Release);
            });
            let (mut seed, mut telling, mut lost) = (0, 0, 0);
            while !done.load(std::sync::atomic::Ordering::Acquire) || telling < 30 {
                let image = fs.crash_clone(Profile::POSIX, Loss::Seeded(seed));
                lost += u32::from(log::check(&image.fs(), &image.marks).is_err());
                telling += u32::from(!image.marks.acked.is_empty());
                seed += 1;
            }
            lost
        })
    };
    assert_eq!(lost_images(Bug::None), 0);
    assert!(lost_images(Bug::WritebackForSync) > 0);
}

/// A recovery that fails once and never again is no verdict on the engine.
#[test]
fn a_failure_that_does_not_repeat_is_not_reported_as_one() {
    let mut failed = false;
    let report = explore(|fs| workload(fs, Bug::None))
        .in_process()
        .reports(|fs, marks| match std::mem::replace(&mut failed, true) {
            false => Err(Broken::lost("by a whim")),
            true => log::check(fs, marks),
        })
        .unwrap()
        .remove(0);
    assert_eq!(report.verdict, Verdict::NotMeasured, "{report}");
    assert!(report.failures.is_empty(), "{report}");
    assert!(report.not_measured[0].contains("lost at first, in a fresh process held"), "{report}");
}

/// A fixed part of the held states is looked at twice, so that a recovery which does not repeat is seen.
#[test]
fn a_recovery_that_holds_only_at_first_makes_the_run_not_measured() {
    let mut seen = std::collections::BTreeSet::new();
    let report = explore(|fs| workload(fs, Bug::None))
        .in_process()
        .reports(|fs, marks| match seen.insert((fs.disk().digest(), marks.clone())) {
            false => Err(Broken::corrupt("the second time")),
            true => log::check(fs, marks),
        })
        .unwrap()
        .remove(0);
    assert_eq!(report.verdict, Verdict::NotMeasured, "{report}");
    assert!(report.not_measured[0].contains("held at first"), "{report}");
}

/// An engine that has promised nothing yet may refuse a half-made database; it may not panic over it.
#[test]
fn refusing_to_open_before_the_first_acknowledgement_is_fine_and_a_panic_is_not() {
    let run = |panics: bool, in_process: bool| {
        let exploration = explore(|fs| {
            fs.write("db", [7; 10])?;
            fs.open("db")?.sync_all()?;
            fs.sync_dir(".")?;
            fs.ack(0);
            Ok(())
        });
        let exploration = if in_process { exploration.in_process() } else { exploration };
        let reports = exploration.reports(move |fs, _| {
            let found = fs.read("db")?;
            assert!(!panics || found == [7; 10], "half a database");
            match found == [7; 10] {
                true => Ok(()),
                false => Err(Broken::unopenable("half a database")),
            }
        });
        // None in a worker process that was started for another of these explorations.
        reports.unwrap().pop()
    };
    for in_process in [true, false] {
        for (panics, expected) in [(false, Verdict::Held), (true, Verdict::Panicked)] {
            let Some(report) = run(panics, in_process) else { continue };
            assert_eq!(report.verdict, expected, "{report}");
        }
    }
}

/// What a report says of a loss is what its profile allows it by.
#[test]
fn each_loss_is_allowed_by_a_rule_of_its_own_profile() {
    let profiles = [Profile::POSIX, Profile::DATA_JOURNAL, Profile::PROCESS_KILL];
    // Half of the record may be there whenever the write has not returned.
    let run = explore(|fs| fs.create("log")?.write_all(&[1; 8192]).map_err(Broken::from));
    let reports = run.in_process().profiles(profiles).reports(|fs, _| match fs.read("log") {
        Ok(bytes) if bytes.len() == 4096 => Err(Broken::corrupt("half")),
        _ => Ok(()),
    });
    let rules = reports.unwrap().into_iter().map(|mut report| {
        assert_eq!(report.verdict, Verdict::Corrupt, "{report}");
        report.failures.remove(0).losses.remove(0).rule
    });
    let [posix, journal, kill] = rules.collect::<Vec<_>>().try_into().unwrap();
    assert!(posix.starts_with("posix: a size is durable once a sync of its file"), "{posix}");
    assert!(journal.starts_with("data-journal: changes become durable in the order"), "{journal}");
    assert!(kill.ends_with("and this one was under way"), "{kill}");
}
