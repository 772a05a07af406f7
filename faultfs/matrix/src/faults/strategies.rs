//! Four ways of choosing what goes wrong. Each gets the same engine and the same check, and its time ends at
//! the first promise that is broken.
//!
//! The simpler ones look at the disk that a run has left, as it is and after a power cut that loses all that is
//! unsynced. What they inject is what their kind injects: `EIO` in the place of a call. A sync that fails has
//! done nothing, and its pages stay dirty.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use faultfs::crash::{CrashImage, Loss};
use faultfs::errno::EIO;
use faultfs::fault::SyncFailure;
use faultfs::plan::{OpKind, Plan, Rule, When, on};
use faultfs::report::Report;
use faultfs::sweep::Group;
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
use faultfs::{FaultFs, Profile, sweep};

use super::{Bug, Pattern, check, run};
use crate::kit::{Done, Kill, Twin};

/// A way of failing calls: a name, and what it makes of a pattern with its bug; `None` where it finds nothing.
pub type Strategy = (&'static str, fn(&Pattern) -> Option<Kill>);

/// The simpler ones, then ours.
pub const ALL: [Strategy; 4] = [
    ("every sync fails", every_sync),
    ("random EIO", random),
    ("one call fails", one_call),
    ("ours", ours),
];

/// From each sync in turn on every sync fails: a device that takes no more writes.
pub fn every_sync(pattern: &Pattern) -> Option<Kill> {
    let is_sync = |kind: &OpKind| matches!(kind, OpKind::Sync | OpKind::SyncDir);
    let syncs: Vec<OpKind> = calls(pattern).into_iter().filter(is_sync).collect();
    let plans = (0..syncs.len()).map(|from| {
        let before = |of| syncs[..from].iter().filter(|kind| **kind == of).count() as u64;
        let dirs = on::sync_dir().skip(before(OpKind::SyncDir)).fail(EIO);
        Plan::from_iter([failing(on::sync().skip(before(OpKind::Sync))), dirs])
    });
    first(pattern, plans)
}

/// Runs with faults by chance, for each chance.
const DRAWS: u64 = 100;

/// Every call fails by chance, as with the error injectors of Pebble and FoundationDB: of a hundred one, five
/// and twenty in turn.
pub fn random(pattern: &Pattern) -> Option<Kill> {
    let plans = (0..DRAWS * 3).map(|seed| {
        let percent = [1, 5, 20][seed as usize % 3];
        let others = OpKind::ALL.iter().filter(|kind| **kind != OpKind::Sync);
        let rules = others.map(|kind| {
            let text = format!("{kind} * sometimes {percent}/100 seed {seed} -> fail EIO");
            text.parse::<Rule>().expect("the text of a rule")
        });
        let sync = failing(on::sync().sometimes(percent, 100, seed));
        Plan::from_iter(rules.chain([sync]))
    });
    first(pattern, plans)
}

/// Each call in turn fails once: the loop of SQLite's `ioerr` tests.
pub fn one_call(pattern: &Pattern) -> Option<Kill> {
    let calls = calls(pattern);
    let plans = calls.iter().enumerate().map(|(index, kind)| match kind {
        OpKind::Sync => {
            let before = calls[..index].iter().filter(|kind| **kind == OpKind::Sync).count();
            Plan::from(failing(on::sync().skip(before as u64).take(1)))
        }
        _ => Plan::from(on::any().skip(index as u64).take(1).fail(EIO)),
    });
    first(pattern, plans)
}

/// This package, under the weakest profile, with every family of faults under which the engine is to keep its
/// promises.
pub fn ours(pattern: &Pattern) -> Option<Kill> {
    let since = Instant::now();
    let mut took = None;
    let mut note = |done: std::thread::Result<Done>, marks: Option<&Marks>| {
        let is_found = match &done {
            Ok(Err(broken)) => broken.verdict() == pattern.verdict && !refuses(broken, marks),
            Ok(Ok(())) => false,
            Err(_) => pattern.verdict == Verdict::Panicked,
        };
        if is_found && took.is_none() {
            took = Some(since.elapsed());
        }
        done.unwrap_or_else(|panic| resume_unwind(panic))
    };
    let note = std::cell::RefCell::new(&mut note);
    let workload = |fs: &FaultFs| {
        let done = catch_unwind(AssertUnwindSafe(|| run(fs, pattern.bug)));
        (note.borrow_mut())(done, None)
    };
    let run = sweep(workload).named(pattern.id).in_process().crash_points(CRASH_POINTS);
    let run = run.faults(pattern.bug.withstands());
    let reports = run.reports(|fs, marks| {
        let done = catch_unwind(AssertUnwindSafe(|| check(fs, pattern.bug, marks)));
        (note.borrow_mut())(done, Some(marks))
    });
    let report = reports.expect("the workload runs").pop().expect("one profile");
    // None: a power cut shows it in the run without faults.
    let tried = report.swept.and_then(|swept| swept.first_failure).unwrap_or(0);
    took.map(|took| Kill { tried, took })
}

/// The reports of a twin under `profiles`, with these families of faults.
pub fn reports(bug: Bug, faults: &[Group], profiles: &[Profile]) -> Vec<Report> {
    sweep(|fs| run(fs, bug))
        .named(format!("{bug:?}"))
        .in_process()
        .faults(faults.iter().copied())
        .crash_points(CRASH_POINTS)
        .profiles(profiles.iter().copied())
        .reports(|fs, marks| check(fs, bug, marks))
        .expect("the workload runs")
}

/// Crash points after each fault, besides the end of the run.
const CRASH_POINTS: u32 = 6;

/// What the workload asks for where nothing fails.
fn calls(pattern: &Pattern) -> Vec<OpKind> {
    let fs = FaultFs::mem();
    fs.injector().observe();
    run(&fs, pattern.bug).expect("the workload runs");
    fs.injector().seen().iter().map(|seen| seen.call().kind).collect()
}

fn failing(syncs: When<on::Sync>) -> Rule {
    syncs.fail_sync(SyncFailure::FREEBSD, EIO)
}

/// Runs with one plan after the other until a promise is broken.
fn first(pattern: &Pattern, plans: impl IntoIterator<Item = Plan>) -> Option<Kill> {
    let since = Instant::now();
    for (tried, plan) in (1..).zip(plans) {
        if breaks(pattern, plan) {
            return Some(Kill { tried, took: since.elapsed() });
        }
    }
    None
}

/// Whether a promise is broken in a run with these faults, or on a disk that it leaves.
fn breaks(pattern: &Pattern, plan: Plan) -> bool {
    let fs = FaultFs::mem();
    fs.arm(plan);
    let said = catch_unwind(AssertUnwindSafe(|| run(&fs, pattern.bug)));
    // An error is an answer.
    let is_answer = |broken: &Broken| broken.verdict() == Verdict::Unopenable;
    if said.is_err() || said.is_ok_and(|said| said.is_err_and(|broken| !is_answer(&broken))) {
        return true;
    }
    let trace = fs.trace();
    [Loss::Nothing, Loss::Everything].into_iter().any(|loss| {
        let image = CrashImage::of(trace.clone(), Profile::POSIX, loss);
        let found = AssertUnwindSafe(|| check(&image.fs(), pattern.bug, &image.marks));
        match catch_unwind(found) {
            Ok(found) => found.is_err_and(|broken| !refuses(&broken, Some(&image.marks))),
            Err(_) => true,
        }
    })
}

/// As everywhere: an error is an answer while the workload runs, and so is one at an open before anything was
/// promised.
fn refuses(broken: &Broken, marks: Option<&Marks>) -> bool {
    broken.verdict() == Verdict::Unopenable && marks.is_none_or(|marks| marks.acked.is_empty())
}

/// How many changes the smallest counter-example loses or tears besides its fault; 0: the fault is enough.
pub fn smallest(reports: &[Report], verdict: Verdict) -> usize {
    let failures = reports.iter().flat_map(|report| &report.failures);
    let of_verdict = failures.filter(|failure| failure.verdict == verdict);
    of_verdict.map(|failure| failure.losses.len()).min().unwrap_or(0)
}

/// The twin with the bug under the families that show it.
pub fn planted(pattern: &Pattern, profiles: &[Profile]) -> Vec<Report> {
    reports(pattern.of(Twin::Planted), pattern.shown_by, profiles)
}
