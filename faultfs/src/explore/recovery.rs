//! Crashes during recovery: what a recovery does to its disk is recorded like any other run, and the power
//! may go at any point of that run as well.
//!
//! A recovery's trace starts on the disk that the first crash left, with the marks that had been made by
//! then; what the check itself asks of the engine, and says by marks of its own, belongs to it. The states
//! of that run are states like others, except that none lies before the recovery began. A disk that was
//! checked before under the same marks is not checked again, so that the recursion comes to an end mostly
//! by itself: recoveries lead to few disks.
//!
//! Calls of a recovery fail, too, where that is asked for, once and for ever: what it left then, and what a
//! power cut after the fault leaves of that, is recovered from without faults. An engine that takes what it
//! could not read for nothing, and writes that down, is found out; so is one that throws away its log before
//! what it has made of it is durable. A recovery that dies of its fault is a failure by itself: see [`deaths`](super::deaths).
//!
//! The state at the end of a recovery with nothing lost is one of them: a recovery that is run again on
//! what it made must hold, too.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::deaths::{Deaths, is_death};
use super::findings::{Kind, Looked};
use super::hangs::{self, Patience};
use super::judge::{Judge, Outcome, Recorded, Recovered};
use super::{Faults, RecoveryFaults, Settings, confirm, findings, losses, trace_id};
use crate::crash::{Bound, Builder, Listing, State};
use crate::model::{Model, Profile};
use crate::report::{Failure, Report};
use crate::sweep::{self, Group, Trial};
use crate::trace::{Mark, Marks, Stamp, Trace};
use crate::verdict::{Broken, Verdict};
use crate::{Error, Result, file};

/// Recoveries that are recorded before the states of any are checked: their traces are in memory.
const TOGETHER: usize = 64;

/// The marks that a recovery starts with, in the order in which they are made before it.
pub fn marks_before(marks: &Marks) -> impl Iterator<Item = Mark> + '_ {
    let issued = marks.issued.iter().map(|id| Mark::Begin(*id));
    let acked = marks.acked.iter().map(|id| Mark::Ack(*id));
    issued.chain(acked).chain(marks.failed.iter().map(|id| Mark::Failed(*id)))
}

/// States of one run, and what had happened before it.
struct Run {
    model: Model,
    id: String,
    states: Vec<State>,
    tokens: Vec<String>,
    before: Vec<String>,
    /// A fault that the engine was not told of was among what had happened: it may refuse.
    may_refuse: bool,
}

/// What was found below the states of a run.
struct Descent<'a, 'b, 'c> {
    profile: Profile,
    judge: &'a mut dyn Judge,
    settings: &'a mut Settings<'b>,
    report: &'c mut Report,
    seen: HashSet<(u128, u128)>,
    recorded: u64,
    checked: u64,
    faults: Tried,
    failures: BTreeMap<Kind, Failure>,
}

/// Faults in recoveries.
#[derive(Default)]
struct Tried {
    recoveries: u64,
    injected: u64,
    /// Crash points after faults that were left out.
    left_out: u64,
    deaths: Deaths,
    /// Recoveries that were left out because others like them hung.
    not_waited: u64,
}

impl Tried {
    fn crashes_in_words(&self, faults: &RecoveryFaults) -> String {
        match faults.crashes() {
            false => ", no power cuts after a fault".into(),
            true => format!(
                ", without a power cut and with one at the first {} crash points after each fault and at the \
                 end ({} further crash points left out), after each fault up to {} states with at most 1 \
                 omission or torn page",
                faults.crash_points,
                self.left_out,
                Bound::after_fault().budget
            ),
        }
    }
}

fn in_words(faults: &RecoveryFaults) -> String {
    match &faults.plan {
        Some(plan) => plan.to_string(),
        None => {
            let families = faults.groups.iter().filter(|group| **group != Group::Crash);
            let families: Vec<String> = families.map(Group::to_string).collect();
            format!("{} at every call, once and for ever", families.join(", "))
        }
    }
}

/// Every start and end of an op, and every mark.
fn stamps(trace: &Trace) -> impl Iterator<Item = Stamp> {
    let ends = trace.ops.iter().flat_map(|op| [Some(op.start), op.end]).flatten();
    ends.chain(trace.marks.iter().map(|(at, _)| *at))
}

/// Looks at crashes during the recoveries from those states of `listing` that held, and during the
/// recoveries from these, as deep as the settings say, and adds to the report what is found.
pub(super) fn explore(
    report: &mut Report,
    trace: &Arc<Trace>,
    listing: &Listing,
    outcomes: &[Option<Outcome>],
    judge: &mut dyn Judge,
    settings: &mut Settings<'_>,
) -> Result<()> {
    let (depth, profile) = (settings.recovery_depth, report.profile);
    let model = Model::new(trace.clone(), profile);
    let id = trace_id(trace);
    let mut builder = Builder::new(&model);
    let built = listing.distinct.iter().filter_map(|state| builder.build(state));
    let seen = built.map(|(disk, marks)| (disk.digest(), marks.hash())).collect();
    let mut descent = Descent {
        profile,
        judge,
        settings,
        report,
        seen,
        recorded: 0,
        checked: 0,
        faults: Tried::default(),
        failures: BTreeMap::new(),
    };
    let held = listing.distinct.iter().zip(outcomes).filter(|(_, o)| matches!(o, Some(Ok(()))));
    let states: Vec<State> = held.map(|(state, _)| state.clone()).collect();
    let tokens = states.iter().map(|state| findings::token(&model, &id, state)).collect();
    let run = Run { model, id, states, tokens, before: Vec::new(), may_refuse: false };
    let mut whole = depth == 0 || descent.below(&run, depth)?;
    let (crashes, with_faults) = (descent.checked, descent.settings.recovery_faults.clone());
    whole = whole && (with_faults.recoveries == 0 || descent.faulty(&run, &with_faults)?);
    let Descent { recorded, checked, failures, report, faults, judge, settings, .. } = descent;
    if depth > 0 {
        report.bound.push_str(&format!(
            "; crashes during recovery to depth {depth}: {recorded} recoveries, {crashes} further \
             distinct states, with at most 1 omission or torn page, up to {} for each recovery",
            Bound::after_fault().budget
        ));
    }
    if with_faults.recoveries > 0 {
        report.bound.push_str(&format!(
            "; faults during recovery: {} in runs of {} of {} recoveries ({}), {} further distinct states{}",
            faults.injected,
            faults.recoveries,
            run.states.len(),
            in_words(&with_faults),
            checked - crashes,
            faults.crashes_in_words(&with_faults)
        ));
    }
    if !whole {
        report.not_measured.push("interrupted among the recoveries".into());
    }
    if faults.not_waited > 0 {
        let max = settings.bound.hangs;
        report.not_measured.push(hangs::in_words(
            faults.not_waited,
            "recoveries with a fault",
            max,
        ));
    }
    let reasons = &mut report.not_measured;
    report.failures.extend(faults.deaths.failures(&run.model, &run.id, judge, settings, reasons)?);
    report.failures.extend(failures.into_values());
    Ok(())
}

impl Descent<'_, '_, '_> {
    /// Records the recoveries from the states of a run, checks what they may leave, and goes on from
    /// there; false where that was interrupted.
    fn below(&mut self, run: &Run, depth: u32) -> Result<bool> {
        for from in (0..run.states.len()).step_by(TOGETHER) {
            let chunk = from..run.states.len().min(from + TOGETHER);
            let without = |index: usize| (run.tokens[index].clone(), Faults::default());
            let states: Vec<(String, Faults)> = chunk.clone().map(without).collect();
            let recorded = self.judge.record(&run.model, &states, &mut Patience::endless())?;
            let mut runs = Vec::new();
            for (index, recorded) in chunk.zip(recorded) {
                match recorded {
                    _ if (self.settings.interrupted)() => return Ok(false),
                    None => return Ok(false),
                    Some(recovered) => {
                        if let Some(trace) = self.trace_of(run, index, None, recovered) {
                            let start = self.start(run, index);
                            let places = stamps(&trace).filter(|at| *at >= start).collect();
                            runs.push(self.listed(run, index, trace, &places));
                            self.recorded += 1;
                        }
                    }
                }
            }
            if !self.check(&runs, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has things go wrong in some recoveries, and checks what each has left, recovered from without faults, at
    /// once and after a power cut; false where that was interrupted.
    fn faulty(&mut self, run: &Run, faults: &RecoveryFaults) -> Result<bool> {
        let step = run.states.len().div_ceil(faults.recoveries as usize).max(1);
        let some: Vec<usize> = (0..run.states.len()).step_by(step).collect();
        let observed = |index: &usize| (run.tokens[*index].clone(), Faults::observing());
        let states: Vec<(String, Faults)> = some.iter().map(observed).collect();
        let recorded = self.judge.record(&run.model, &states, &mut Patience::endless())?;
        let mut patience = Patience::new(self.settings.bound.hangs);
        for (index, recorded) in some.into_iter().zip(recorded) {
            let Some(recovered) = recorded else { return Ok(false) };
            let calls = recovered.as_ref().map_or(Vec::new(), |recovered| recovered.calls.clone());
            if self.trace_of(run, index, None, recovered).is_none() {
                continue;
            }
            let trials = match &faults.plan {
                Some(plan) => vec![Trial::from(Faults::from(plan.clone()))],
                None => sweep::on_recovery(&calls, &faults.groups),
            };
            self.faults.recoveries += 1;
            for trials in trials.chunks(TOGETHER) {
                if !self.tried(run, index, trials, faults, &mut patience)? {
                    return Ok(false);
                }
            }
        }
        if let (Some(plan), 0) = (&faults.plan, self.faults.injected) {
            let why =
                format!("none of {} recoveries came to what fires {plan}", self.faults.recoveries);
            self.report.not_measured.push(why);
        }
        Ok(true)
    }

    /// Runs the recovery from one state with each of the faults, and checks what it has left.
    fn tried(
        &mut self,
        run: &Run,
        index: usize,
        trials: &[Trial],
        faults: &RecoveryFaults,
        patience: &mut Patience,
    ) -> Result<bool> {
        let state = |trial: &Trial| (run.tokens[index].clone(), trial.faults.clone());
        let states: Vec<(String, Faults)> = trials.iter().map(state).collect();
        let recorded = self.judge.record(&run.model, &states, patience)?;
        let mut runs = Vec::new();
        for (trial, recorded) in trials.iter().zip(recorded) {
            let Some(recovered) = recorded.filter(|_| !(self.settings.interrupted)()) else {
                return Ok(false);
            };
            // Not every recovery comes to what a plan is about.
            let is_met = |r: &Recovered| !r.trace.injected.is_empty();
            if faults.plan.is_some() && recovered.as_ref().is_ok_and(|r| !is_met(r)) {
                continue;
            }
            if let Err(broken) = &recovered
                && self.has_died(&run.states[index], trial, broken)
            {
                continue;
            }
            let Some(trace) = self.trace_of(run, index, Some(&trial.faults), recovered) else {
                continue;
            };
            let from = trace.injected[0].at;
            let model = Model::new(Arc::new(trace), self.profile);
            let crash_points = (trial.may_crash && faults.crashes()).then_some(faults.crash_points);
            let (states, left_out) = sweep::states(&model, from, crash_points);
            self.faults.left_out += left_out;
            self.faults.injected += 1;
            runs.push(self.after(run, index, model, states, Some(trial)));
        }
        self.check(&runs, 0)
    }

    /// Keeps a recovery in mind that died of its faults, or was left out because others like it hung; false for any
    /// other reason not to be recorded.
    fn has_died(&mut self, state: &State, trial: &Trial, broken: &Broken) -> bool {
        match broken {
            left_out if Recovered::is_left_out(left_out) => self.faults.not_waited += 1,
            death if is_death(death) => {
                self.faults.injected += 1;
                self.faults.deaths.add(state, &trial.faults, death.clone());
            }
            _ => return false,
        }
        true
    }

    /// The run of a recovery that could be recorded; that of another is not measured.
    fn trace_of(
        &mut self,
        run: &Run,
        index: usize,
        faults: Option<&Faults>,
        recovered: Recorded,
    ) -> Option<Trace> {
        let why = match recovered {
            Ok(Recovered { trace, .. }) if faults.is_some() && trace.injected.is_empty() => {
                "it never came to this call again".into()
            }
            Ok(Recovered { trace, .. }) if trace.unmodelled.is_empty() => {
                let subject = run.model.trace.subject.clone();
                return Some(Trace { subject, ..trace });
            }
            Ok(Recovered { trace, .. }) => trace.unmodelled[0].clone(),
            Err(broken) => broken.to_string(),
        };
        let with = faults.map_or(String::new(), |faults| format!(", with {faults},"));
        let token = &run.tokens[index];
        let reason = format!("{token}: its recovery{with} could not be recorded: {why}");
        // One tells of all.
        if !self.report.not_measured.iter().any(|known| known.ends_with(&why)) {
            self.report.not_measured.push(reason);
        }
        None
    }

    /// Where the recovery from a state begins.
    fn start(&self, run: &Run, index: usize) -> Stamp {
        let (_, marks) = Builder::new(&run.model).build(&run.states[index]).expect("it was built");
        marks_before(&marks).count() as Stamp
    }

    /// The states of a recovery at these places that were not looked at yet.
    fn listed(&mut self, run: &Run, index: usize, trace: Trace, places: &BTreeSet<Stamp>) -> Run {
        let model = Model::new(Arc::new(trace), self.profile);
        let interrupted = self.settings.interrupted;
        let bound = Bound::after_fault();
        let listing = Listing::of(&model, Some(places), &bound, &mut || !interrupted());
        self.after(run, index, model, listing.distinct, None)
    }

    /// Those of these states of a recovery that were not looked at yet.
    fn after(
        &mut self,
        run: &Run,
        index: usize,
        model: Model,
        states: Vec<State>,
        trial: Option<&Trial>,
    ) -> Run {
        let id = trace_id(&model.trace);
        let mut builder = Builder::new(&model);
        let new = |state: &State| {
            let (disk, marks) = builder.build(state).expect("it was listed");
            self.seen.insert((disk.digest(), marks.hash()))
        };
        let states: Vec<State> = states.into_iter().filter(new).collect();
        let tokens = states.iter().map(|state| findings::token(&model, &id, state)).collect();
        let mut before = run.before.clone();
        before.push(format!("recovery from {}", run.tokens[index]));
        before.extend(losses::in_words(&run.model, &run.states[index]));
        before.extend(trial.map(|trial| format!("in that recovery: {}", trial.faults)));
        let may_refuse = run.may_refuse || trial.is_some_and(|trial| trial.is_silent);
        Run { model, id, states, tokens, before, may_refuse }
    }

    /// Checks the states of some recoveries, and goes on from those that held.
    fn check(&mut self, runs: &[Run], depth: u32) -> Result<bool> {
        let jobs: Vec<(&Model, &[String])> =
            runs.iter().map(|run| (&run.model, &run.tokens[..])).collect();
        let outcomes = self.judge.judge_all(&jobs, self.settings)?;
        self.report.not_measured.extend(self.judge.take_doubts());
        let left_out = self.judge.take_left_out();
        if left_out > 0 {
            let words =
                hangs::in_words(left_out, "states of recoveries", self.settings.bound.hangs);
            self.report.not_measured.push(words);
        }
        for (run, mut outcomes) in runs.iter().zip(outcomes) {
            if run.may_refuse {
                outcomes.iter_mut().for_each(refused);
            }
            let checked = outcomes.iter().flatten().count();
            self.checked += checked as u64;
            if checked < outcomes.len() && left_out == 0 {
                return Ok(false);
            }
            self.add_failures(run, &outcomes)?;
            let held: Vec<usize> =
                (0..outcomes.len()).filter(|i| matches!(outcomes[*i], Some(Ok(())))).collect();
            if depth > 1 && !held.is_empty() {
                let below = Run {
                    model: Model::new(run.model.trace.clone(), self.profile),
                    id: run.id.clone(),
                    states: held.iter().map(|i| run.states[*i].clone()).collect(),
                    tokens: held.iter().map(|i| run.tokens[*i].clone()).collect(),
                    before: run.before.clone(),
                    may_refuse: run.may_refuse,
                };
                if !self.below(&below, depth - 1)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Failures of one kind are one entry, whichever recovery they come from. What shrinks to a kind that is
    /// known counts there too.
    fn add_failures(&mut self, run: &Run, outcomes: &[Option<Outcome>]) -> Result<()> {
        let (model, trace_id, states) = (&run.model, &run.id, &run.states);
        let looked = Looked { model, trace_id, states, outcomes };
        let found = findings::failures(looked, &mut self.failures, self.judge, self.settings)?;
        self.report.not_measured.extend(self.judge.take_doubts());
        for (kind, mut failure) in found {
            failure.before.clone_from(&run.before);
            let reasons = &mut self.report.not_measured;
            let Some(failure) = confirm(&run.model, self.judge, vec![failure], reasons)?.pop()
            else {
                continue;
            };
            let traces = &self.settings.traces;
            file::save(&run.model.trace, traces).map_err(|error| {
                Error::new(format!("cannot save a trace to {}: {error}", traces.display()))
            })?;
            self.failures.insert(kind, failure);
        }
        Ok(())
    }
}

/// An engine that finds out that the medium lied may refuse.
fn refused(outcome: &mut Option<Outcome>) {
    if let Some(Err(broken)) = outcome
        && broken.verdict() == Verdict::Unopenable
    {
        *outcome = Some(Ok(()));
    }
}
