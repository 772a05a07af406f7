//! Recoveries that answer an error wrong: found by faults during recovery and by nothing less, each by the family
//! that shows it; their fixed twins, which give up, hold.

#[path = "recovery_faults/folded.rs"]
mod folded;

use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use faultfs::explore::RecoveryFaults;
use faultfs::fs::{File, OpenOptions};
use faultfs::oracle::Log;
use faultfs::report::Report;
use faultfs::sweep::Group::{self, Crash, Fsync, Io, NoSpace, Short, Torn};
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
use faultfs::{FaultFs, Profile, explore};

const RECORD: usize = 16;

fn record(id: u64) -> [u8; RECORD] {
    let (id, sum) = (id.to_le_bytes(), (!id).to_le_bytes());
    std::array::from_fn(|at| if at < 8 { id[at] } else { sum[at - 8] })
}

/// The records of a log up to the first that is not whole; what lies behind is cut off. With the bug so is
/// what a record that cannot be read begins.
fn recovered(fs: &FaultFs, fixed: bool) -> io::Result<Vec<[u8; RECORD]>> {
    if !fs.exists("log")? {
        return Ok(Vec::new());
    }
    let log = fs.open_with("log", OpenOptions::new().read(true).write(true))?;
    let mut records = Vec::new();
    loop {
        let end = (records.len() * RECORD) as u64;
        match next(&log, end) {
            Ok(Some(record)) => records.push(record),
            Err(error) if fixed => return Err(error),
            Ok(None) | Err(_) => {
                if log.metadata()?.len() > end {
                    log.set_len(end)?;
                    log.sync_all()?;
                }
                return Ok(records);
            }
        }
    }
}

fn next(log: &File, at: u64) -> io::Result<Option<[u8; RECORD]>> {
    let mut bytes = [0; RECORD];
    match log.read_exact_at(&mut bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
        Ok(()) => {
            let id = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
            Ok((bytes == record(id)).then_some(bytes))
        }
    }
}

fn workload(fs: &FaultFs) -> Result<(), Broken> {
    let mut log = fs.create("log")?;
    fs.sync_dir(".")?;
    for id in 0..3 {
        fs.begin(id);
        log.seek(SeekFrom::End(0))?;
        log.write_all(&record(id))?;
        log.sync_data()?;
        fs.ack(id);
    }
    Ok(())
}

fn report(fixed: bool, recoveries: u32, workers: u32) -> Option<Report> {
    let once = RecoveryFaults { groups: vec![Crash, Io], ..RecoveryFaults::from(recoveries) };
    let exploration = explore(workload).named("log").profiles([Profile::POSIX]);
    let exploration = exploration.recovery_crashes(1).recovery_faults(once);
    let exploration = match workers {
        0 => exploration.in_process(),
        count => exploration.workers(count),
    };
    let reports =
        exploration.reports(move |fs, marks| Log::of(record).check(&recovered(fs, fixed)?, marks));
    // None in a worker that was started for another one.
    reports.unwrap().pop()
}

#[test]
fn a_recovery_that_cuts_off_what_it_cannot_read_is_found_by_a_failed_read_alone() {
    let crashes = report(false, 0, 0).unwrap();
    assert!(crashes.held(), "{crashes}");
    let found = report(false, 8, 0).unwrap();
    assert_eq!(found.verdict, Verdict::Lost, "{found}");
    assert!(found.bound.contains("; faults during recovery: "), "{found}");
    let failure = &found.failures[0];
    assert!(failure.before[0].starts_with("recovery from "), "{found}");
    let fault = failure.before.last().unwrap();
    let read = "in that recovery: read log ";
    assert!(fault.starts_with(read) && fault.ends_with("-> fail EIO"), "{found}");
    assert!(failure.shrunk.as_ref().unwrap().is_minimal(), "{found}");
}

#[test]
fn one_that_gives_up_holds() {
    let fixed = report(true, 8, 0).unwrap();
    assert!(fixed.held(), "{fixed}");
    assert!(fixed.bound.contains("; faults during recovery: "), "{fixed}");
    assert!(!fixed.bound.contains("faults during recovery: 0 "), "{fixed}");
}

#[test]
fn the_report_depends_on_no_worker() {
    let (one, three) = (report(false, 8, 1), report(false, 8, 3));
    assert_eq!(one, three);
    if one.is_some() {
        assert_eq!(one, report(false, 8, 0));
    }
}

/// How a recovery takes the error of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Panic,
    Abort,
    Wait,
    AllMemory,
    /// A panic that the check catches: the engine is meant to stop itself.
    MeantPanic,
    /// The fixed twin.
    Error,
}

fn answering(answer: Answer, marks: &Marks, fs: &FaultFs) -> Result<(), Broken> {
    let records = match (recovered(fs, true), answer) {
        (Ok(records), _) => records,
        (Err(error), Answer::Panic) => panic!("read of the log failed: {error}"),
        (Err(error), Answer::MeantPanic) => {
            let why = error.to_string();
            let stopped = std::panic::catch_unwind(move || panic!("{why}"));
            stopped.map_err(|_| Broken::unopenable("the engine has stopped itself"))?
        }
        (Err(_), Answer::Abort) => std::process::abort(),
        (Err(_), Answer::Wait) => loop {
            std::thread::sleep(Duration::from_millis(20));
        },
        (Err(_), Answer::AllMemory) => {
            let all = vec![1_u8; 1 << 44];
            return Err(Broken::unopenable(format!("{} bytes", all.len())));
        }
        (Err(error), Answer::Error) => return Err(error.into()),
    };
    Log::of(record).check(&records, marks)
}

fn dying(answer: Answer, workers: u32) -> Option<Report> {
    let exploration = explore(workload).named(format!("log that answers by {answer:?}"));
    let faults = RecoveryFaults { groups: vec![Crash, Io], ..RecoveryFaults::from(3) };
    let exploration = exploration.recovery_faults(faults).workers(workers).hangs(1);
    // Only one of them is waited for.
    let limit = Duration::from_millis(if answer == Answer::Wait { 400 } else { 10_000 });
    let reports =
        exploration.time_limit(limit).reports(move |fs, marks| answering(answer, marks, fs));
    reports.unwrap().pop()
}

/// Each death of a recovery by a fault is a verdict with the fault, and no worker changes what is said of it.
#[test]
fn a_recovery_that_dies_of_a_fault_is_told_by_how_it_died() {
    for (answer, verdict) in [
        (Answer::Panic, Verdict::Panicked),
        (Answer::Abort, Verdict::Aborted),
        (Answer::AllMemory, Verdict::OutOfMemory),
        (Answer::Wait, Verdict::Hung),
    ] {
        let [one, three] = [1, 3].map(|workers| dying(answer, workers));
        assert_eq!(one, three);
        let Some(report) = one else { continue };
        assert_eq!(report.verdict, verdict, "{report}");
        let faults = report.failures.iter().filter_map(|f| Some((f, f.fault.as_deref()?)));
        let faults: Vec<_> = faults.collect();
        let is_read = |fault: &str| fault.starts_with("in the recovery: read log ");
        let (failure, fault) = faults.iter().find(|(_, fault)| is_read(fault)).expect("a read");
        assert!(faults.iter().all(|(_, fault)| !fault.contains("any *")), "{report}");
        assert!(fault.ends_with("take 1 -> fail EIO"), "{report}");
        let (state, faults) = failure.token.split_once(" with ").unwrap();
        assert_eq!(*fault, format!("in the recovery: {faults}"));
        assert!(state.ends_with("-k"), "the power cut alone is enough: {report}");
        assert!(failure.shrunk.as_ref().unwrap().is_minimal(), "{report}");
        let left_out = "a fault left out: 1 that are like each of them hung";
        let tells = report.not_measured.iter().any(|why| why.contains(left_out));
        assert_eq!(tells, answer == Answer::Wait, "{report}");
    }
}

/// Its fixed twin gives up with an error. Of a panic that the check catches it is known what the engine left.
#[test]
fn a_recovery_that_gives_up_or_stops_itself_as_it_is_meant_to_holds() {
    for answer in [Answer::Error, Answer::MeantPanic] {
        if let Some(report) = dying(answer, 2) {
            assert!(report.held(), "{report}");
            assert!(!report.bound.contains("faults during recovery: 0 "), "{report}");
        }
    }
}

/// Of the rules of a plan the one that kills is left, and the token makes that recovery again.
#[test]
fn a_death_is_replayed_by_its_token_with_no_more_faults_than_it_takes() {
    let traces = tempfile::tempdir().unwrap();
    let run = |answer: Answer, tokens: &[String]| {
        let plan = "read * take 1 -> delay 1 ms; read * skip 1 take 1 -> fail EIO; metadata * -> delay 1 ms";
        let faults =
            RecoveryFaults { plan: Some(plan.parse().unwrap()), ..RecoveryFaults::from(2) };
        let exploration = explore(workload).named("log").traces(traces.path()).tokens(tokens);
        let exploration = exploration.recovery_faults(faults).in_process();
        exploration.reports(move |fs, marks| answering(answer, marks, fs))
    };
    let found = run(Answer::Panic, &[]).unwrap().remove(0);
    assert_eq!(found.verdict, Verdict::Panicked, "{found}");
    let failure = &found.failures[0];
    let least = "in the recovery: read * skip 1 take 1 -> fail EIO";
    assert_eq!(failure.fault.as_deref(), Some(least), "{found}");
    let again = run(Answer::Panic, std::slice::from_ref(&failure.token)).unwrap_err().to_string();
    let told = format!("{}: panicked: read of the log failed: ", failure.token);
    assert!(again.contains(&told), "{again}");
    assert!(run(Answer::Error, std::slice::from_ref(&failure.token)).unwrap().remove(0).held());
}

/// What a recovery with the bug comes to under faults of these families, in eight recoveries.
fn folded(bug: folded::Bug, groups: &[Group], crash_points: u32) -> Report {
    let faults =
        RecoveryFaults { groups: groups.to_vec(), crash_points, ..RecoveryFaults::from(8) };
    let exploration = explore(folded::workload).named("folded").recovery_crashes(1);
    let reports = exploration
        .recovery_faults(faults)
        .in_process()
        .reports(|fs, marks| Log::of(|id| id).check(&folded::recover(fs, bug)?, marks));
    reports.unwrap().remove(0)
}

#[test]
fn each_wrong_answer_to_an_error_is_found_by_its_family() {
    use folded::Bug::*;
    for (bug, groups, fault) in [
        (IgnoresSync, &[Crash, Fsync][..], "sync data.new take 1 -> fail"),
        (SyncsTwice, &[Crash, Fsync], "sync data.new -> fail"),
        (IgnoresFullDisk, &[NoSpace], "write data.new take 1 -> fail ENOSPC"),
        (ShortWrite, &[Short], "write data.new take 1 -> short "),
        (RemovesFirst, &[Crash, Io], "rename data.new take 1 -> fail EIO"),
    ] {
        let crashes = folded(bug, &[], 0);
        assert!(crashes.held(), "by no crash alone: {crashes}");
        let found = folded(bug, groups, 4);
        // Of records that were folded in before none is left, or none of all.
        assert!([Verdict::Lost, Verdict::Corrupt].contains(&found.verdict), "{bug:?}: {found}");
        let shows = |before: &String| before.starts_with(&format!("in that recovery: {fault}"));
        let mut told = found.failures.iter().flat_map(|failure| failure.before.last());
        assert!(told.any(shows), "{bug:?} by {fault}: {found}");
    }
}

/// It is whole again at the end: only the power cut half-way shows it.
#[test]
fn a_recovery_that_fails_half_way_is_found_by_a_power_cut_right_after_the_fault() {
    let at_the_end = folded(folded::Bug::RemovesFirst, &[Crash, Io], 0);
    assert!(at_the_end.held(), "{at_the_end}");
    assert!(!at_the_end.bound.contains("(0 further crash points left out)"), "{at_the_end}");
    let found = folded(folded::Bug::RemovesFirst, &[Crash, Io], 4);
    assert_eq!(found.verdict, Verdict::Corrupt, "{found}");
    assert!(found.bound.contains("at the first 4 crash points after each fault"), "{found}");
}

/// A sync that fails once is made good by the second one; only one that goes on failing shows it.
#[test]
fn a_fault_goes_on_for_ever_too() {
    let found = folded(folded::Bug::SyncsTwice, &[Crash, Fsync], 4);
    let faults = found.failures.iter().flat_map(|failure| failure.before.last());
    assert!(faults.clone().count() > 0, "{found}");
    assert!(faults.into_iter().all(|fault| !fault.contains("take 1")), "{found}");
}

#[test]
fn one_that_gives_up_at_every_error_holds_under_every_family() {
    let report = folded(folded::Bug::None, &[Crash, Io, Fsync, NoSpace, Short, Torn], 4);
    assert!(report.held(), "{report}");
    let families = "(io, fsync, nospace, short, torn at every call, once and for ever)";
    assert!(report.bound.contains(families), "{report}");
}

/// In the place of families a plan of one's own; the token replays what it left.
#[test]
fn a_plan_of_faults_in_a_recovery_is_told_and_replayed() {
    let traces = tempfile::tempdir().unwrap();
    let run = |bug, tokens: &[String], plan: &str| {
        let plan = Some(plan.parse().unwrap());
        let faults = RecoveryFaults { plan, ..RecoveryFaults::from(8) };
        let exploration = explore(folded::workload).named("folded").traces(traces.path());
        exploration
            .recovery_faults(faults)
            .tokens(tokens)
            .in_process()
            .reports(|fs, marks| Log::of(|id| id).check(&folded::recover(fs, bug)?, marks))
    };
    let found = run(folded::Bug::IgnoresSync, &[], PLAN).unwrap().remove(0);
    assert_eq!(found.verdict, Verdict::Corrupt, "{found}");
    let failure = &found.failures[0];
    assert_eq!(failure.before.last(), Some(&format!("in that recovery: {PLAN}")), "{found}");
    let again = run(folded::Bug::IgnoresSync, std::slice::from_ref(&failure.token), PLAN);
    let again = again.unwrap_err().to_string();
    assert!(again.contains(&failure.token) && again.contains("corrupt: "), "{again}");
    let fixed = run(folded::Bug::None, &[], PLAN).unwrap().remove(0);
    assert!(fixed.held(), "{fixed}");
    let unmet = run(folded::Bug::None, &[], "sync nothing -> fail EIO").unwrap().remove(0);
    assert_eq!(unmet.verdict, Verdict::NotMeasured, "{unmet}");
    let why = "recoveries came to what fires sync nothing -> fail EIO";
    assert!(unmet.not_measured[0].ends_with(why), "{unmet}");
}

const PLAN: &str = "sync data.new take 1 -> fail EIO; rename * take 1 -> delay 1 ms";
