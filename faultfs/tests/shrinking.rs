//! Failures that are found with many losses at once: each is shown by the one that matters, after a crash,
//! after a crash during recovery, and after a crash behind an injected fault. The fixed twins hold.

use std::io::{self, ErrorKind, Write};

use faultfs::report::{Failure, Part, Report};
use faultfs::sweep::Group;
use faultfs::verdict::{Broken, Verdict};
use faultfs::{FaultFs, explore, sweep};

/// Segments of a checkpoint: more than all states with one omission have room for.
const SEGMENTS: u64 = 60;
/// The first segment that is written behind the name of the checkpoint.
const NAMED: u64 = 50;
const RECORD: &[u8] = b"record 0";

/// A journal, and a checkpoint of it: segments, and a file that names the newest of them. None of it needs a
/// sync, for the journal stays.
fn checkpointed(fs: &FaultFs) -> Result<(), Broken> {
    fs.begin(0);
    fs.write("journal", RECORD)?;
    fs.open("journal")?.sync_all()?;
    fs.sync_dir(".")?;
    fs.ack(0);
    for id in 0..SEGMENTS {
        if id == NAMED {
            fs.write("CURRENT", "segment0")?;
        }
        fs.write(format!("segment{id}"), RECORD)?;
    }
    Ok(())
}

/// What the checkpoint holds, or the journal where there is none. With the bug a store that has segments of a
/// checkpoint that was ended, and not its name, takes itself for an empty one.
fn opened(fs: &FaultFs, fixed: bool) -> io::Result<Vec<u8>> {
    if !(NAMED..SEGMENTS).any(|id| fs.exists(format!("segment{id}")).unwrap_or(false)) {
        return fs.read("journal");
    }
    match fs.read_to_string("CURRENT") {
        Err(error) if error.kind() == ErrorKind::NotFound && !fixed => Ok(Vec::new()),
        // What is not whole was not durable yet.
        Ok(name) if fs.read(&name).is_ok_and(|found| found == RECORD) => fs.read(name),
        _ => fs.read("journal"),
    }
}

fn checkpoint(fixed: bool, samples: u64, workers: u32) -> Option<Report> {
    let exploration = explore(checkpointed).named("checkpoint").budget(400).samples(samples);
    let exploration = match workers {
        0 => exploration.in_process(),
        count => exploration.workers(count),
    };
    let reports = exploration.reports(|fs, marks| {
        let lost = || Broken::lost("0 was acknowledged, the store is empty");
        let whole = marks.acked.is_empty() || opened(fs, fixed)? == RECORD;
        if whole { Ok(()) } else { Err(lost()) }
    });
    // None in a worker that was started for another one.
    reports.unwrap().pop()
}

#[test]
fn of_the_many_losses_of_a_sample_the_one_that_matters_is_shown() {
    let unseen = checkpoint(false, 0, 0).unwrap();
    assert!(unseen.held(), "the bound itself finds it already: {unseen}");
    let report = checkpoint(false, 200, 0).unwrap();
    assert_eq!((report.verdict, report.failures.len()), (Verdict::Lost, 1), "{report}");
    let (failure, shrunk) = (&report.failures[0], report.failures[0].shrunk.as_ref().unwrap());
    let [loss] = &failure.losses[..] else { panic!("{report}") };
    assert_eq!((&*loss.path, loss.part), ("CURRENT", Part::Entry), "{report}");
    assert!(shrunk.is_minimal() && shrunk.from > 5 && shrunk.reruns > 0, "{report}");
    let text = report.to_string();
    assert!(
        text.contains("minimal: it was given back alone, and the engine recovered; shrunk from"),
        "{text}"
    );
    assert!(checkpoint(true, 200, 0).unwrap().held());
}

#[test]
fn what_is_shown_does_not_depend_on_workers() {
    let (one, three) = (checkpoint(false, 200, 1), checkpoint(false, 200, 3));
    assert_eq!(one, three);
    if one.is_some() {
        assert_eq!(one, checkpoint(false, 200, 0));
    }
}

/// Recovery makes a checkpoint of the journal, and removes it before the checkpoint is durable.
#[test]
fn a_crash_during_recovery_is_shown_by_the_loss_that_matters() {
    let run = |fixed: bool| {
        let exploration = explore(|fs| {
            fs.begin(0);
            fs.write("journal", RECORD)?;
            fs.open("journal")?.sync_all()?;
            fs.sync_dir(".")?;
            fs.ack(0);
            Ok(())
        });
        let exploration = exploration.named("recovered").recovery_crashes(1).in_process();
        let reports = exploration.reports(|fs, marks| {
            if fs.exists("journal")? {
                for id in 0..SEGMENTS {
                    fs.write(format!("cache{id}"), RECORD)?;
                }
                fs.write("CURRENT", RECORD)?;
                if fixed {
                    fs.open("CURRENT")?.sync_all()?;
                }
                fs.remove_file("journal")?;
                fs.sync_dir(".")?;
            }
            match fs.read("CURRENT") {
                Ok(found) if found == RECORD => Ok(()),
                _ if marks.acked.is_empty() => Ok(()),
                _ => Err(Broken::lost("0 was acknowledged, the checkpoint is gone")),
            }
        });
        reports.unwrap().remove(0)
    };
    let report = run(false);
    assert_eq!(report.verdict, Verdict::Lost, "{report}");
    for failure in &report.failures {
        assert!(failure.before[0].starts_with("recovery from "), "{report}");
        assert!(failure.shrunk.as_ref().unwrap().is_minimal(), "{report}");
        let [loss] = &failure.losses[..] else { panic!("{report}") };
        assert_eq!(loss.path, "CURRENT", "{report}");
    }
    let more = |failure: &Failure| failure.shrunk.as_ref().unwrap().from > 1;
    assert!(report.failures.iter().any(more), "{report}");
    assert!(run(true).held(), "{}", run(true));
}

/// A sync fails, and the pages are promised all the same.
#[test]
fn a_crash_behind_a_fault_is_shown_by_the_loss_that_matters() {
    let pages = || vec![7; 20 * 4096];
    let run = |fixed: bool| {
        let swept = sweep(move |fs| {
            fs.begin(0);
            let mut file = fs.create("pages")?;
            file.write_all(&pages())?;
            match file.sync_all() {
                Err(error) if fixed => return Err(error.into()),
                _ => {}
            }
            fs.sync_dir(".")?;
            fs.ack(0);
            Ok(())
        });
        let swept = swept.named(format!("pages {fixed}")).faults([Group::Crash, Group::Fsync]);
        let reports = swept.reports(move |fs, marks| match fs.read("pages") {
            Ok(found) if found == pages() => Ok(()),
            _ if marks.acked.is_empty() => Ok(()),
            _ => Err(Broken::lost("pages are gone")),
        });
        reports.unwrap().pop()
    };
    // None in a worker that was started for the other one.
    if let (Some(planted), Some(fixed)) = (run(false), run(true)) {
        assert_eq!((planted.verdict, planted.failures.len()), (Verdict::Lost, 1), "{planted}");
        let failure = &planted.failures[0];
        let shrunk = failure.shrunk.as_ref().unwrap();
        assert!(shrunk.is_minimal() && shrunk.from >= 20, "{planted}");
        assert_eq!(failure.losses.len(), 1, "{planted}");
        assert!(failure.fault.is_some(), "{planted}");
        assert!(fixed.held(), "{fixed}");
    }
}
