//! `sweep(workload).check(oracle)`: every single fault at every call, and after each of them the question
//! whether what was promised still holds.
//!
//! The workload runs once without faults, and each of its calls is noted. Then it runs again for every
//! call and every fault that is legal for it: once only, and from then on for ever. It may go on after the
//! error as it likes. The disk that it leaves is opened without faults and checked; then the power goes
//! after the fault, and the disks of those crashes are checked too. The sweep ends with a run whose
//! fault lies behind the last call and injects nothing. This is the loop of SQLite's `ioerr` and `malloc`
//! tests (test/malloc_common.tcl, `do_faultsim_test`), with crashes behind it.
//!
//! # What is right, and what is not
//!
//! An error to the caller is right: the workload returns it, or says [`failed`](crate::FaultFs::failed)
//! and goes on. What was acknowledged holds, through later crashes too. What a workload reads is what
//! was written: a workload that reads something else returns
//! [`Broken::corrupt`] or [`Broken::lost`]. A panic, an abort and a hang
//! are verdicts. Whether a write whose failure was reported may appear later, the oracle says:
//! [`Marks::failed`](crate::trace::Marks::failed).
//!
//! A medium that lies (bits that flip when they are read or at rest, writes that are lost or land elsewhere)
//! may be found out: then a refusal to open is right, wrong data and missing data are not.
//!
//! # Limits
//!
//! A sync that succeeds and reports its failure at the next one (ext4 with `data=journal`) is followed by no crash: what it
//! loses, an engine had every right to promise. A sync that lies is not tried, for the same reason.
//!
//! One fault at a time. Calls that only a run with a fault makes are not failed in turn, except by a fault
//! that goes on for ever. Crashes are placed at a stated number of crash points after the fault, and at the
//! end. Where cases that strike the same kind of call on the same path hang, few are waited for
//! ([`Sweep::hangs`]), and the run is not measured.

mod attempt;
mod builder;
mod case;
mod cases;
mod findings;
mod least;
mod replay;
mod runner;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

pub(crate) use attempt::states;
pub use builder::{Sweep, sweep};
pub use case::Token;
pub use cases::Group;
pub(crate) use cases::{Trial, on_recovery};
pub(crate) use findings::{is_alike, struck, without_numbers};

use crate::explore::{self, Door, Faults, Oracle, Progress, Settings};
use crate::model::Profile;
use crate::plan;
use crate::report::{Report, Swept};
use crate::trace::{Mark, Stamp, Trace};
use crate::verdict::{Broken, Verdict};
use crate::worker::{self, Task};
use crate::{Error, Result, Seen};
use attempt::{Bound, Known, Tester};
use case::Case;
use runner::{Outcome, Pools, Runs};

/// How a workload is swept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// How to start workers, and with which limits. None: everything is done in this process, where a panic
    /// of the engine is a verdict, and an abort or a hang is ours.
    pub workers: Option<explore::Plan>,
    /// The profiles, each of which gets a report.
    pub profiles: Vec<Profile>,
    /// The families of faults.
    pub groups: Vec<Group>,
    /// In the place of the single faults of the families: one run in which these are armed.
    pub plan: Option<plan::Plan>,
    /// At how many crash points after a fault the power goes, besides the end of the run.
    pub crash_points: u32,
    /// Do this run only.
    pub only: Option<Token>,
    /// Recover from this state of the run without faults only, in this process.
    pub state: Option<explore::Token>,
}

/// Crash points after a fault, unless told otherwise.
pub const CRASH_POINTS: u32 = 16;

impl Plan {
    /// Every family of faults, under the weakest profile.
    pub fn new(workers: explore::Plan) -> Plan {
        let (profiles, groups) = (vec![Profile::POSIX], Group::ALL.to_vec());
        let workers = Some(workers);
        Plan {
            workers,
            profiles,
            groups,
            plan: None,
            crash_points: CRASH_POINTS,
            only: None,
            state: None,
        }
    }

    /// Whether the power goes, too.
    fn crashes(&self) -> bool {
        self.groups.contains(&Group::Crash)
    }

    fn bound(&self, profile: Profile) -> Bound {
        let crash_points = self.crashes().then_some(self.crash_points);
        Bound { profile: profile.name.into(), crash_points }
    }
}

/// Sweeps the workload behind `door` under each profile of the plan.
///
/// In a worker that was started for this call it does the worker's job and does not return; in one that
/// was started for another call of the same program it returns no reports.
///
/// # Errors
///
/// Where workers cannot be started, the session's folder cannot be written, or the workload fails by
/// itself.
pub fn run<R: ?Sized>(
    name: &str,
    door: &mut dyn Door<Root = R>,
    oracle: &mut Oracle<'_, R>,
    plan: &Plan,
    settings: &mut Settings<'_>,
) -> Result<Vec<Report>> {
    if let (Some(workers), Some(role)) = (&plan.workers, worker::current()) {
        match role.task {
            _ if role.call != workers.call => {}
            Task::Sweep => runner::work(door, oracle, role),
            Task::Record | Task::Check => explore::work(door, oracle, role),
        }
        return Ok(Vec::new());
    }
    if plan.workers.is_none() && !door.repeats() {
        return Err(Error::new(
            "this door needs a process for each run with a fault: leave out .in_process()",
        ));
    }
    let session = explore::new_session()?;
    let mut reports = Vec::new();
    for &profile in &plan.profiles {
        let (session, bound) = (session.path().to_path_buf(), plan.bound(profile));
        let pools = plan.workers.as_ref().map(|workers| Pools {
            plan: workers,
            bound: bound.clone(),
            session: session.clone(),
            base: None,
            repeats: door.repeats(),
            has_memory: door.has_memory(),
            hangs: settings.bound.hangs,
            hung: Default::default(),
        });
        let disks = session.join("here");
        let tester = Tester { door, oracle, bound, base: None, disks, known: Known::default() };
        let runs = &mut Runs { tester, pools, session };
        let base = Base::record(name, runs)?;
        if let Some(token) = &plan.only {
            replay::replay(runs, &base.trace, token, settings)?;
            return Ok(Vec::new());
        }
        if let Some(token) = &plan.state {
            let Tester { door, oracle, .. } = &mut runs.tester;
            return explore::replay_only(&mut **door, &mut **oracle, &base.trace, token, settings);
        }
        let report = match plan.crashes() {
            true => runs.with_judge(&base.trace, |judge| {
                explore::explore_trace(&base.trace, profile, judge, settings)
            })?,
            false => uncrashed(&base, profile, runs)?,
        };
        reports.push(swept(report, &base, runs, plan, settings)?);
    }
    Ok(reports)
}

/// The run without faults.
struct Base {
    trace: Arc<Trace>,
    calls: Vec<Seen>,
}

impl Base {
    fn record<R: ?Sized>(name: &str, runs: &mut Runs<'_, '_, R>) -> Result<Base> {
        let failed = |broken: &Broken| {
            Error::new(format!(
                "the workload of {name} failed without any fault: {broken}\n{}",
                broken.output()
            ))
        };
        let nothing = Case::Faults(Faults::default()).to_string();
        let Outcome { reply, .. } = runs.record(&nothing, true)?;
        let said = reply.map_err(|death| failed(&death))?.said;
        if let Some(broken) = said {
            return Err(failed(&broken));
        }
        let room = runs.room();
        let mut trace = runs.tester.door.trace(&room)?;
        let calls = runs.tester.door.calls(&room)?;
        trace.subject = name.into();
        let trace = Arc::new(trace);
        runs.set_base(&trace)?;
        Ok(Base { trace, calls })
    }
}

/// The report of a run after which the power stays on: only the disk that it left is checked.
fn uncrashed<R: ?Sized>(
    base: &Base,
    profile: Profile,
    runs: &mut Runs<'_, '_, R>,
) -> Result<Report> {
    let nothing = Case::Faults(Faults::default()).to_string();
    if let Some((_, broken)) = runs.afresh(&nothing, false)?.failures().first() {
        return Err(Error::new(format!(
            "what the workload of {} left without any fault is not right: {broken}",
            base.trace.subject
        )));
    }
    let mut report = Report::of(&base.trace, profile, String::new());
    (report.states, report.distinct, report.verdict) = (1, 1, Verdict::Held);
    report.not_measured.clone_from(&base.trace.unmodelled);
    Ok(report)
}

/// Fills in the report of the run without faults what comes of those with.
fn swept<R: ?Sized>(
    mut report: Report,
    base: &Base,
    runs: &mut Runs<'_, '_, R>,
    plan: &Plan,
    settings: &mut Settings<'_>,
) -> Result<Report> {
    let mut swept = Swept { calls: base.calls.len() as u64, ..Swept::default() };
    if !report.held() {
        let why = "not swept: the run fails already where nothing else goes wrong; mend that first";
        report.not_measured.push(why.into());
        report.swept = Some(swept);
        return Ok(report);
    }
    let has_capacity = runs.tester.door.has_capacity();
    let cases = cases(base, has_capacity, plan, report.profile, &mut report.not_measured);
    let mut texts: Vec<String> = cases.iter().map(|(_, case)| case.to_string()).collect();
    let last = cases::behind(&base.calls).to_string();
    texts.push(last.clone());
    (settings.progress)(Progress::Listed(texts.len() as u64));
    let interrupted = settings.interrupted;
    let progress = &mut settings.progress;
    let mut outcomes = runs.attempts(&texts, &mut || {
        progress(Progress::Checked);
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    // The run with which the sweep ends.
    texts.pop();
    match outcomes.pop().flatten().map(|outcome| outcome.reply) {
        Some(Ok(attempt)) if attempt.fired > 0 => report.not_measured.push(format!(
            "the workload made {} calls when it was observed, and more in another run: those were not \
             failed",
            base.calls.len()
        )),
        Some(Err(death)) => report.not_measured.push(format!("{last}: {death}")),
        Some(Ok(_)) | None => {}
    }
    let families = plan.groups.iter().filter(|group| **group != Group::Crash);
    swept.cases.extend(families.map(|group| (group.to_string(), 0)));
    for ((group, _), outcome) in cases.iter().zip(&outcomes) {
        if outcome.as_ref().is_some_and(|outcome| !outcome.is_left_out()) {
            let family = plan.plan.as_ref().map_or(group.to_string(), |_| "plan".into());
            *swept.cases.entry(family).or_default() += 1;
        }
    }
    findings::fill(&mut report, &mut swept, base, runs, &texts, &outcomes, settings)?;
    report.bound = bound(&report.bound, plan, &swept, has_capacity);
    report.swept = Some(swept);
    (settings.progress)(Progress::Reported);
    Ok(report)
}

fn bound(explored: &str, plan: &Plan, swept: &Swept, has_capacity: bool) -> String {
    let faults = match &plan.plan {
        Some(_) => "one run with the faults of the plan",
        None if !has_capacity && plan.groups.contains(&Group::NoSpace) => {
            "every single fault at every call, once and for ever, and no disk that is too small, which \
             this door has not"
        }
        None => "every single fault at every call, once and for ever",
    };
    match plan.crashes() {
        false => format!("{faults}; no crashes"),
        true => format!(
            "{faults}; crashes at the first {} crash points after each fault and at the end of \
             the run ({} further crash points left out), after each fault up to {} states with at most 1 \
             omission or torn page; without faults {explored}",
            plan.crash_points,
            swept.left_out,
            crate::crash::Bound::after_fault().budget
        ),
    }
}

/// All cases, in the order in which they are attempted.
fn cases(
    base: &Base,
    has_capacity: bool,
    plan: &Plan,
    profile: Profile,
    not_measured: &mut Vec<String>,
) -> Vec<(Group, Case)> {
    if base.calls.is_empty() {
        not_measured.push("the door saw no calls".into());
    }
    if let Some(faults) = &plan.plan {
        return vec![(Group::Io, Case::Faults(Faults::from(faults.clone())))];
    }
    let mut cases = cases::on_calls(&base.calls, &plan.groups);
    // Where the door has none, the bound says so.
    if plan.groups.contains(&Group::NoSpace) && has_capacity {
        let disks = cases::small_disks(pages(&base.trace));
        cases.extend(disks.into_iter().map(|case| (Group::NoSpace, case)));
    }
    if plan.groups.contains(&Group::BitRot) {
        for (state, disk) in rotting(&base.trace, profile) {
            cases.extend(cases::rot(&disk, &state).into_iter().map(|case| (Group::BitRot, case)));
        }
    }
    if cases.is_empty() {
        not_measured.push("no fault of these families fits any call".into());
    }
    cases
}

/// The most pages that the run had at once.
fn pages(trace: &Trace) -> u64 {
    let mut disk = trace.base.clone();
    let count = |disk: &crate::disk::Disk| -> u64 {
        let files = case::files(disk).into_iter().filter_map(|(_, ino)| disk.content(ino));
        files.map(|content| content.page_numbers().count() as u64).sum()
    };
    let mut most = count(&disk);
    for record in trace.ops.iter().filter(|record| record.done_by(Stamp::MAX)) {
        disk.apply(&record.op);
        most = most.max(count(&disk));
    }
    most
}

/// The disks that rot: the one that the run left, and what was durable at up to [`ROTTING_ACKS`] of its
/// acknowledgements.
fn rotting(trace: &Arc<Trace>, profile: Profile) -> Vec<(crate::crash::Token, crate::disk::Disk)> {
    let acks: Vec<Stamp> = trace
        .marks
        .iter()
        .filter_map(|(stamp, mark)| matches!(mark, Mark::Ack(_)).then_some(*stamp))
        .collect();
    let step = acks.len().div_ceil(ROTTING_ACKS).max(1);
    let durable = acks.into_iter().step_by(step).map(|stamp| (stamp, "n"));
    let stamps = trace.ops.iter().flat_map(|record| [Some(record.start), record.end]);
    let marks = trace.marks.iter().map(|(stamp, _)| *stamp);
    let last = stamps.flatten().chain(marks).max().unwrap_or(0);
    let mut known = BTreeSet::new();
    let id = explore::trace_id(trace);
    let mut disks = Vec::new();
    for (stamp, tape) in durable.chain([(last, "k")]) {
        let token = format!("{id}-{}-{stamp}-{tape}", profile.name);
        let token: crate::crash::Token = token.parse().expect("it is made as tokens are");
        if let Ok((disk, marks)) = explore::state(trace, &token)
            && known.insert((disk.digest(), marks))
        {
            disks.push((token, disk));
        }
    }
    disks
}

/// Acknowledgements at which what is durable rots.
const ROTTING_ACKS: usize = 4;

/// The worst of what was found.
fn verdict(report: &Report) -> Verdict {
    let failures = report.failures.iter().filter(|failure| failure.class.is_empty());
    let unmeasured = (!report.not_measured.is_empty()).then_some(Verdict::NotMeasured);
    Verdict::worst(failures.map(|f| f.verdict).chain(unmeasured).chain([Verdict::Held]))
}
