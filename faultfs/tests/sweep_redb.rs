//! redb through its `StorageBackend`, unmodified: single faults at every call of a run that creates a database,
//! commits, comes back after errors, and opens it again. A small run: `engines/run` sweeps a larger one, with
//! power cuts, in more releases and configurations, and says why each failure is to be expected.
//!
//! `cargo test -p faultfs --features redb --test sweep_redb -- --nocapture`
#![cfg(feature = "redb")]

#[path = "../engines/redb/src/records.rs"]
mod records;

use faultfs::fs::FsFile;
use faultfs::report::Report;
use faultfs::sweep;
use faultfs::sweep::Group;
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
use faultfs::{FaultFile, FaultFs};
use records::Config;

const SMALL: Config = Config { cache: 1 << 20, transactions: 1, ..Config::PLAIN };

/// `faultfs` has the adapter.
fn storage(file: FaultFile<FsFile>) -> FaultFile<FsFile> {
    file
}

type Check = fn(Config, &FaultFs, &Marks) -> Result<(), Broken>;

fn swept(groups: &[Group], check: Check) -> Option<Report> {
    let run = sweep(|fs| SMALL.run(fs)).faults(groups.iter().copied());
    let report = run.reports(|fs, marks| check(SMALL, fs, marks)).unwrap().pop();
    report.iter().for_each(|report| println!("{report}"));
    report
}

#[test]
fn every_error_short_or_torn_transfer_and_full_disk_leaves_what_was_acknowledged() {
    let told = [Group::Io, Group::Fsync, Group::NoSpace, Group::Short, Group::Torn];
    let Some(report) = swept(&told, Config::check_whole) else { return };
    assert_eq!(report.verdict, Verdict::Held, "{report}");
}

/// "The open trusts a file that was shut down cleanly and may panic if it was corrupted outside redb"
/// (`Database::open` in redb 4.6), and no read compares a page with its checksum.
#[test]
fn what_is_rotten_or_read_wrong_comes_back_as_data_which_redb_does_not_exclude() {
    let Some(report) = swept(&[Group::BitRot], Config::check) else { return };
    let shows = |fault: &str, verdict| {
        let of = |text: &String| text.starts_with(fault);
        report.failures.iter().any(|f| f.verdict == verdict && f.fault.as_ref().is_some_and(of))
    };
    assert!(shows("rot", Verdict::Corrupt) && shows("read", Verdict::Panicked), "{report}");
    let open = |verdict| matches!(verdict, Verdict::Corrupt | Verdict::Panicked);
    assert!(report.failures.iter().all(|failure| open(failure.verdict)), "{report}");
    assert_eq!(report.not_measured, Vec::<String>::new());
}
