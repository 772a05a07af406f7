//! Recoveries that answer an error wrong: found by faults during recovery and by nothing less, each by the family
//! that shows it; their fixed twins, which give up, hold.

#[path = "recovery_faults/folded.rs"]
mod folded;

use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use faultfs::explore::RecoveryFaults;
use faultfs::fs::{File, OpenOptions};
use faultfs::oracle::Log;
use faultfs::report::Report;
use faultfs::sweep::Group::{self, Crash, Fsync, Io, NoSpace, Short, Torn};
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

/// Of what a recovery leaves that a fault kills nothing is known: that is no pass.
#[test]
fn a_recovery_that_dies_of_a_fault_is_not_measured() {
    let report = explore(workload)
        .named("log")
        .recovery_faults(2)
        .in_process()
        .reports(|fs, marks| Log::of(record).check(&recovered(fs, true).unwrap(), marks))
        .unwrap()
        .remove(0);
    assert_eq!(report.verdict, Verdict::NotMeasured, "{report}");
    let told = |why: &String| why.contains("-> fail EIO, could not be recorded: panicked: ");
    assert!(report.not_measured.iter().any(told), "{report}");
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
