//! redb, unmodified, through its `StorageBackend`, with every single fault at every call: releases with a
//! known bug, in which it must come out, the release that mended it, which must hold, and one of today, on a
//! medium that goes wrong, too.
//!
//! A package for each release builds this one program, since releases that are compatible by number cannot
//! be linked together, nor stand in one lock file. The version of the package is the release.

mod known;
#[cfg(not(feature = "redb-4"))]
mod ladder;
mod records;
#[cfg(not(feature = "redb-4"))]
mod storage;
#[cfg(feature = "redb-4")]
mod today;

use std::process::ExitCode;
use std::time::Instant;

use faultfs::FaultFs;
use faultfs::report::{Report, Swept};
use faultfs::sweep::Group::{self, Crash, Fsync, Io, NoSpace, Short, Torn};
use faultfs::trace::Marks;
use faultfs::verdict::Broken;
#[cfg(feature = "redb-4")]
use today::{runs, storage};
#[cfg(not(feature = "redb-4"))]
use {ladder::runs, storage::storage};

use known::Known;
use records::Config;

/// One sweep, and all the ways to fail that must come out.
struct Run {
    name: &'static str,
    config: Config,
    check: fn(Config, &FaultFs, &Marks) -> Result<(), Broken>,
    families: &'static [Group],
    /// The power goes after each fault.
    crashes: bool,
    known: &'static [Known],
}

/// Whatever an engine is told of, once and for good.
const ERRORS: Run = Run {
    name: "errors",
    config: Config::PLAIN,
    check: Config::check_whole,
    families: &[Io, Fsync, NoSpace, Short, Torn],
    crashes: false,
    known: &[],
};

const RELEASE: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    let surprises = runs().iter().filter(|run| !is_as_expected(run)).count();
    ExitCode::from(u8::from(surprises > 0))
}

fn is_as_expected(run: &Run) -> bool {
    let Run { name, config, check, .. } = *run;
    let since = Instant::now();
    let crash = run.crashes.then_some(Crash);
    let reports = faultfs::sweep(move |fs| config.run(fs))
        .named(format!("redb {RELEASE}, {name}"))
        .faults(run.families.iter().copied().chain(crash))
        .crash_points(2)
        .reports(move |fs, marks| check(config, fs, marks))
        .unwrap_or_else(|error| panic!("redb {RELEASE}, {name}: {error}"));
    // None in a worker that was started for another sweep.
    let Some(report) = reports.first() else { return true };
    let none = Swept::default();
    let swept = report.swept.as_ref().unwrap_or(&none);
    println!(
        "redb {RELEASE}  {name:<26}  {:<8} {:>4} calls {:>5} faults {:>5} runs {:>7} disks {:>5.1} s",
        report.verdict,
        swept.calls,
        swept.cases.values().sum::<u64>(),
        swept.runs,
        swept.states,
        since.elapsed().as_secs_f32()
    );
    judge(report, run.known)
}

/// Whether all that is known has come out, and nothing else.
fn judge(report: &Report, known: &[Known]) -> bool {
    let mut expected = report.not_measured.is_empty();
    let mut left = report.failures.iter().collect();
    for known in known {
        let (came_out, others) = known.explain(left);
        expected &= came_out;
        left = others;
    }
    expected &= left.is_empty();
    if !expected {
        println!("NOT EXPECTED:\n{report}");
    }
    expected
}
