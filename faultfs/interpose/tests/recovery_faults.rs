//! Calls of a recovery fail through the interposed door, too: an engine on the plain standard library that cuts
//! off what it cannot read is found, its fixed twin holds.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use faultfs::oracle::Log;
use faultfs::report::{Failure, Report};
use faultfs::verdict::{Broken, Verdict};
use faultfs_interpose::{ack, begin, explore};

/// A number, and something to know it by.
fn record(id: u64) -> [u8; 2] {
    [id as u8, !(id as u8)]
}

fn workload(root: &Path) -> Result<(), Broken> {
    let mut log = File::create(root.join("log"))?;
    File::open(root)?.sync_all()?;
    for id in 0..2 {
        begin(id);
        log.write_all(&record(id))?;
        log.sync_data()?;
        ack(id);
    }
    Ok(())
}

/// The whole records at the front of the log; what is behind them is cut off.
fn recovered(root: &Path, fixed: bool) -> io::Result<Vec<[u8; 2]>> {
    let log = match OpenOptions::new().read(true).write(true).open(root.join("log")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        log => log?,
    };
    let mut records: Vec<[u8; 2]> = Vec::new();
    loop {
        let (end, mut bytes) = (records.len() as u64 * 2, [0; 2]);
        match log.read_exact_at(&mut bytes, end) {
            Err(error) if fixed && error.kind() != ErrorKind::UnexpectedEof => return Err(error),
            Ok(()) if bytes[0] == !bytes[1] => records.push(bytes),
            _ => {
                log.set_len(end)?;
                log.sync_all()?;
                return Ok(records);
            }
        }
    }
}

fn report(fixed: bool) -> Option<Report> {
    let exploration = explore(workload).named(format!("log {fixed}")).recovery_faults(2);
    let reports = exploration
        .reports(move |root, marks| Log::of(record).check(&recovered(root, fixed)?, marks));
    reports.unwrap().pop()
}

#[test]
fn what_a_failed_read_makes_a_recovery_throw_away_is_found() {
    let (planted, fixed) = (report(false), report(true));
    // None in a worker that was started for the other one.
    if let (Some(planted), Some(fixed)) = (planted, fixed) {
        assert_eq!(planted.verdict, Verdict::Lost, "{planted}");
        let fault = planted.failures[0].before.last().unwrap();
        assert!(fault.starts_with("in that recovery: read log "), "{planted}");
        assert!(fixed.held(), "{fixed}");
        assert!(fixed.bound.contains("; faults during recovery: "), "{fixed}");
        assert!(!fixed.bound.contains("faults during recovery: 0 "), "{fixed}");
    }
}

/// An error that is not looked at ends the process: no disk tells of it, but how the process ended.
#[test]
fn a_recovery_that_a_failed_read_aborts_is_found() {
    let exploration = explore(workload).named("log that aborts").recovery_faults(1);
    let reports = exploration.reports(|root, marks| {
        let records = recovered(root, true).unwrap_or_else(|_| std::process::abort());
        Log::of(record).check(&records, marks)
    });
    if let Some(report) = reports.unwrap().pop() {
        assert_eq!(report.verdict, Verdict::Aborted, "{report}");
        let is_read = |failure: &Failure| {
            let fault = failure.fault.as_deref().unwrap();
            fault.starts_with("in the recovery: read log take 1 ")
        };
        assert!(report.failures.iter().any(is_read), "{report}");
        assert!(report.not_measured.is_empty(), "{report}");
    }
}
