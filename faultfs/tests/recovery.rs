//! Engines whose bugs need a second crash, during recovery or after it: found by crashes during recovery and
//! by nothing less, with both crashes told; their fixed twins hold.

use std::collections::BTreeSet;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use faultfs::fs::{File, OpenOptions};
use faultfs::report::Report;
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
use faultfs::{FaultFs, Profile, explore};

/// Longer than a sector, so that it can tear.
fn record(id: u64) -> Vec<u8> {
    let payload = id.to_le_bytes().repeat(80);
    [&crc32fast::hash(&payload).to_le_bytes()[..], &payload].concat()
}

/// The ids at the front of a log, and how many bytes they take; the rest is torn.
fn parse(bytes: &[u8]) -> (Vec<u64>, u64) {
    let whole = bytes.chunks_exact(644).map_while(|record| {
        let (sum, payload) = record.split_at(4);
        let whole = crc32fast::hash(payload).to_le_bytes() == sum;
        whole.then(|| u64::from_le_bytes(payload[..8].try_into().unwrap()))
    });
    let ids: Vec<u64> = whole.collect();
    let len = ids.len() as u64 * 644;
    (ids, len)
}

fn opened(fs: &FaultFs, name: &str) -> io::Result<Option<File>> {
    match fs.open_with(name, OpenOptions::new().read(true).write(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

fn created(fs: &FaultFs, names: &[&str]) -> io::Result<()> {
    for name in names {
        fs.create(name)?.sync_all()?;
    }
    fs.sync_dir(".")
}

/// What the engines do wrong, where they are not the fixed twin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    /// New records go behind a torn one, where no recovery sees them.
    AppendAfterTornTail,
    /// A recovery that was cut short adds the journal once more.
    NotIdempotent,
    /// The log is emptied before what was taken from it is durable.
    LogResetBeforeSync,
}

const BUGS: [Bug; 3] = [Bug::AppendAfterTornTail, Bug::NotIdempotent, Bug::LogResetBeforeSync];

fn append(fs: &FaultFs, name: &str, id: u64) -> io::Result<()> {
    let mut file = fs.open_with(name, OpenOptions::new().write(true))?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(&record(id))?;
    file.sync_all()
}

/// Recovers a log, and puts one more record into it.
fn recover_log(fs: &FaultFs, marks: &Marks, fixed: bool) -> Result<BTreeSet<u64>, Broken> {
    let Some(file) = opened(fs, "log")? else { return Ok(BTreeSet::new()) };
    let bytes = fs.read("log")?;
    let (ids, len) = parse(&bytes);
    if fixed && len < bytes.len() as u64 {
        file.set_len(len)?;
        file.sync_all()?;
    }
    let next = marks.issued.last().map_or(0, |id| id + 1);
    fs.begin(next);
    append(fs, "log", next)?;
    fs.ack(next);
    Ok(ids.into_iter().collect())
}

/// Adds a journal to what is known, and starts another.
fn recover_counter(fs: &FaultFs, fixed: bool) -> Result<BTreeSet<u64>, Broken> {
    let numbers = |bytes: Vec<u8>| {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        (number(0), number(8))
    };
    let (count, generation) = match fs.read("count") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (0, 0),
        bytes => numbers(bytes?),
    };
    let journal = if fixed { format!("journal{generation}") } else { "journal0".into() };
    let Some(_) = opened(fs, &journal)? else { return Ok((0..count).collect()) };
    let added = parse(&fs.read(&journal)?).0.len() as u64;
    let folded = [count + added, generation + 1].map(u64::to_le_bytes).concat();
    fs.write("new", folded)?;
    fs.open("new")?.sync_all()?;
    fs.rename("new", "count")?;
    fs.sync_dir(".")?;
    fs.remove_file(&journal)?;
    fs.sync_dir(".")?;
    Ok((0..count + added).collect())
}

/// Moves what is in a log to where it stays.
fn recover_checkpoint(fs: &FaultFs, fixed: bool) -> Result<BTreeSet<u64>, Broken> {
    let (Some(log), Some(data)) = (opened(fs, "log")?, opened(fs, "data")?) else {
        return Ok(BTreeSet::new());
    };
    let (logged, _) = parse(&fs.read("log")?);
    let (kept, len) = parse(&fs.read("data")?);
    let new: Vec<u8> = logged.iter().flat_map(|id| record(*id)).collect();
    data.write_all_at(&new, len)?;
    if fixed {
        data.sync_all()?;
    }
    log.set_len(0)?;
    log.sync_all()?;
    Ok(kept.into_iter().chain(logged).collect())
}

fn workload(fs: &FaultFs, bug: Bug) -> Result<(), Broken> {
    let log = match bug {
        Bug::NotIdempotent => "journal0",
        _ => "log",
    };
    created(fs, &["data", log])?;
    for id in 0..2 {
        fs.begin(id);
        append(fs, log, id)?;
        fs.ack(id);
    }
    Ok(())
}

/// Everything that was acknowledged is there, and nothing that was never asked for.
fn check(fs: &FaultFs, marks: &Marks, bug: Bug, fixed: bool) -> Result<(), Broken> {
    let found = match bug {
        Bug::AppendAfterTornTail => recover_log(fs, marks, fixed)?,
        Bug::NotIdempotent => recover_counter(fs, fixed)?,
        Bug::LogResetBeforeSync => recover_checkpoint(fs, fixed)?,
    };
    if let Some(id) = marks.acked.difference(&found).next() {
        return Err(Broken::lost(format!("{id} was acknowledged, there is {found:?}")));
    }
    match found.difference(&marks.issued).next() {
        Some(id) => Err(Broken::corrupt(format!("{id} was never asked for, there is {found:?}"))),
        None => Ok(()),
    }
}

fn reports(bug: Bug, fixed: bool, depth: u32, profiles: &[Profile]) -> Vec<Report> {
    explore(move |fs| workload(fs, bug))
        .named(format!("{bug:?}"))
        .profiles(profiles.iter().copied())
        .recovery_crashes(depth)
        .in_process()
        .reports(move |fs, marks| check(fs, marks, bug, fixed))
        .unwrap()
}

#[test]
fn a_bug_that_needs_a_second_crash_is_found_by_crashes_during_recovery_alone() {
    for bug in BUGS {
        let once = reports(bug, false, 0, &Profile::MAIN);
        assert!(once.iter().all(Report::held), "{bug:?}: {}", once[0]);
        let twice = reports(bug, false, 1, &[Profile::POSIX]).remove(0);
        let expected = match bug {
            Bug::NotIdempotent => Verdict::Corrupt,
            _ => Verdict::Lost,
        };
        assert_eq!(twice.verdict, expected, "{bug:?}: {twice}");
        // Both crashes, in words.
        let text = twice.to_string();
        let failure = &twice.failures[0];
        assert!(failure.before[0].starts_with("recovery from "), "{text}");
        assert!(failure.before[1].starts_with("crash "), "{text}");
        assert!(text.contains("during the recovery crash "), "{text}");
        assert!(text.contains("crashes during recovery to depth 1"), "{text}");
    }
}

#[test]
fn the_fixed_twins_hold_under_the_main_profiles_and_to_depth_two_under_the_weakest() {
    for bug in BUGS {
        let everywhere = reports(bug, true, 1, &Profile::MAIN);
        let deep = reports(bug, true, 2, &[Profile::POSIX]);
        for report in everywhere.into_iter().chain(deep) {
            assert!(report.held(), "{bug:?}: {report}");
            assert!(report.bound.contains("crashes during recovery to depth "), "{report}");
        }
    }
}

/// A token names the state of the recovery, whose trace is saved: it fails again by itself.
#[test]
fn a_crash_during_recovery_is_replayed_by_its_token() {
    let traces = tempfile::tempdir().unwrap();
    let explored = |tokens: &[String]| {
        explore(|fs| workload(fs, Bug::NotIdempotent))
            .named("twice")
            .traces(traces.path())
            .tokens(tokens)
            .recovery_crashes(1)
            .in_process()
            .reports(|fs, marks| check(fs, marks, Bug::NotIdempotent, false))
    };
    let report = explored(&[]).unwrap().remove(0);
    let token = report.failures[0].token.clone();
    let again = explored(&[token]).unwrap_err().to_string();
    assert!(again.contains("corrupt: "), "{again}");
}

/// The same in worker processes as in this one, however many there are.
#[test]
fn the_report_depends_on_no_worker() {
    let run = |workers: u32| {
        let exploration = explore(|fs| workload(fs, Bug::LogResetBeforeSync))
            .named("workers")
            .profiles([Profile::POSIX, Profile::EXT4])
            .recovery_crashes(2);
        let exploration = match workers {
            0 => exploration.in_process(),
            count => exploration.workers(count),
        };
        exploration.reports(|fs, marks| check(fs, marks, Bug::LogResetBeforeSync, false)).unwrap()
    };
    let (one, three) = (run(1), run(3));
    assert_eq!(one, three);
    // None in a worker that was started for one of the others.
    if !one.is_empty() {
        assert_eq!(one[0].verdict, Verdict::Lost, "{}", one[0]);
        assert_eq!(one, run(0));
    }
}

/// What a check acknowledges of what it found must be found again.
#[test]
fn a_recovery_that_gives_something_else_the_second_time_is_found() {
    let run = |forgets: bool| {
        explore(|fs| {
            created(fs, &["log"])?;
            fs.begin(0);
            append(fs, "log", 0)?;
            fs.ack(0);
            fs.begin(1);
            append(fs, "log", 1)?;
            Ok(())
        })
        .recovery_crashes(1)
        .in_process()
        .reports(move |fs, marks| {
            let Some(file) = opened(fs, "log")? else { return Ok(()) };
            let (ids, _) = parse(&fs.read("log")?);
            if let Some(id) = marks.acked.iter().find(|id| !ids.contains(id)) {
                return Err(Broken::lost(format!("{id}, there is {ids:?}")));
            }
            ids.iter().for_each(|id| fs.ack(*id));
            // It tells of both records, and keeps only the one that was promised.
            if forgets && ids.len() > marks.acked.len() {
                file.set_len(644 * marks.acked.len() as u64)?;
                file.sync_all()?;
            }
            Ok(())
        })
        .unwrap()
        .remove(0)
    };
    assert_eq!(run(true).verdict, Verdict::Lost, "{}", run(true));
    assert!(run(false).held(), "{}", run(false));
}
