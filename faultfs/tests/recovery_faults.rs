//! An engine whose recovery takes a log that it cannot read for one that ends there, and cuts it off: found by
//! I/O errors during recovery and by nothing less; its fixed twin, which gives up, holds.

use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use faultfs::fs::{File, OpenOptions};
use faultfs::oracle::Log;
use faultfs::report::Report;
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
    let exploration = explore(workload).named("log").profiles([Profile::POSIX]);
    let exploration = exploration.recovery_crashes(1).recovery_faults(recoveries);
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
    assert!(found.bound.contains("; I/O errors during recovery: "), "{found}");
    let failure = &found.failures[0];
    assert!(failure.before[0].starts_with("recovery from "), "{found}");
    let fault = failure.before.last().unwrap();
    let read = "in that recovery: read log ";
    assert!(fault.starts_with(read) && fault.ends_with("take 1 -> fail EIO"), "{found}");
    assert!(failure.shrunk.as_ref().unwrap().is_minimal(), "{found}");
}

#[test]
fn one_that_gives_up_holds() {
    let fixed = report(true, 8, 0).unwrap();
    assert!(fixed.held(), "{fixed}");
    assert!(fixed.bound.contains("; I/O errors during recovery: "), "{fixed}");
    assert!(!fixed.bound.contains("I/O errors during recovery: 0 "), "{fixed}");
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
    let told = |why: &String| why.contains("take 1 -> fail EIO, could not be recorded: panicked: ");
    assert!(report.not_measured.iter().any(told), "{report}");
}
