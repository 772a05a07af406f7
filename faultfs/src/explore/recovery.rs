//! Crashes during recovery: what a recovery does to its disk is recorded like any other run, and the power
//! may go at any point of that run as well.
//!
//! A recovery's trace starts on the disk that the first crash left, with the marks that had been made by
//! then; what the check itself asks of the engine, and says by marks of its own, belongs to it. The states
//! of that run are states like others, except that none lies before the recovery began. A disk that was
//! checked before under the same marks is not checked again, so that the recursion comes to an end mostly
//! by itself: recoveries lead to few disks.
//!
//! The state at the end of a recovery with nothing lost is one of them: a recovery that is run again on
//! what it made must hold, too.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::findings::{Kind, Looked};
use super::judge::{Judge, Outcome};
use super::{Settings, confirm, findings, losses, trace_id};
use crate::crash::{Bound, Builder, Listing, State};
use crate::model::{Model, Profile};
use crate::report::{Failure, Report};
use crate::trace::{Mark, Marks, Stamp, Trace};
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
}

/// What was found below the states of a run.
struct Descent<'a, 'b, 'c> {
    profile: Profile,
    judge: &'a mut dyn Judge,
    settings: &'a mut Settings<'b>,
    report: &'c mut Report,
    seen: HashSet<(u128, Arc<Marks>)>,
    recorded: u64,
    checked: u64,
    failures: BTreeMap<Kind, Failure>,
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
    let seen = built.map(|(disk, marks)| (disk.digest(), marks)).collect();
    let failures = BTreeMap::new();
    let mut descent =
        Descent { profile, judge, settings, report, seen, recorded: 0, checked: 0, failures };
    let held = listing.distinct.iter().zip(outcomes).filter(|(_, o)| matches!(o, Some(Ok(()))));
    let states: Vec<State> = held.map(|(state, _)| state.clone()).collect();
    let tokens = states.iter().map(|state| findings::token(&model, &id, state)).collect();
    let whole = descent.below(&Run { model, id, states, tokens, before: Vec::new() }, depth)?;
    let Descent { recorded, checked, failures, report, .. } = descent;
    report.bound.push_str(&format!(
        "; crashes during recovery to depth {depth}: {recorded} recoveries, {checked} further \
         distinct states, with at most 1 omission or torn page, up to {} for each recovery",
        Bound::after_fault().budget
    ));
    if !whole {
        report.not_measured.push("interrupted among the crashes during recovery".into());
    }
    report.failures.extend(failures.into_values());
    Ok(())
}

impl Descent<'_, '_, '_> {
    /// Records the recoveries from the states of a run, checks what they may leave, and goes on from
    /// there; false where that was interrupted.
    fn below(&mut self, run: &Run, depth: u32) -> Result<bool> {
        for from in (0..run.states.len()).step_by(TOGETHER) {
            let chunk = from..run.states.len().min(from + TOGETHER);
            let recorded = self.judge.record(&run.model, &run.tokens[chunk.clone()])?;
            let mut runs = Vec::new();
            for (index, recorded) in chunk.zip(recorded) {
                let token = &run.tokens[index];
                match recorded {
                    _ if (self.settings.interrupted)() => return Ok(false),
                    None => return Ok(false),
                    Some(Ok(trace)) if trace.unmodelled.is_empty() => {
                        let subject = run.model.trace.subject.clone();
                        runs.push(self.listed(run, index, Trace { subject, ..trace })?);
                    }
                    Some(Ok(trace)) => self.not_recorded(token, &trace.unmodelled[0]),
                    Some(Err(broken)) => self.not_recorded(token, &broken.to_string()),
                }
            }
            if !self.check(&runs, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn not_recorded(&mut self, token: &str, why: &str) {
        let reason = format!("{token}: its recovery could not be recorded: {why}");
        // One tells of all.
        if !self.report.not_measured.iter().any(|known| known.ends_with(why)) {
            self.report.not_measured.push(reason);
        }
    }

    /// The states of a recovery that were not looked at yet.
    fn listed(&mut self, run: &Run, index: usize, trace: Trace) -> Result<Run> {
        self.recorded += 1;
        let (_, marks) = Builder::new(&run.model).build(&run.states[index]).expect("it was built");
        let start = marks_before(&marks).count() as Stamp;
        let ends = trace.ops.iter().flat_map(|op| [Some(op.start), op.end]).flatten();
        let places = ends.chain(trace.marks.iter().map(|(at, _)| *at)).filter(|at| *at >= start);
        let places = places.collect();
        let id = trace_id(&trace);
        let model = Model::new(Arc::new(trace), self.profile);
        let interrupted = self.settings.interrupted;
        let listing =
            Listing::of(&model, Some(&places), &Bound::after_fault(), &mut || !interrupted());
        let mut builder = Builder::new(&model);
        let new = |state: &State| {
            let (disk, marks) = builder.build(state).expect("it was listed");
            self.seen.insert((disk.digest(), marks))
        };
        let states: Vec<State> = listing.distinct.into_iter().filter(new).collect();
        let tokens = states.iter().map(|state| findings::token(&model, &id, state)).collect();
        let mut before = run.before.clone();
        before.push(format!("recovery from {}", run.tokens[index]));
        before.extend(losses::in_words(&run.model, &run.states[index]));
        Ok(Run { model, id, states, tokens, before })
    }

    /// Checks the states of some recoveries, and goes on from those that held.
    fn check(&mut self, runs: &[Run], depth: u32) -> Result<bool> {
        let jobs: Vec<(&Model, &[String])> =
            runs.iter().map(|run| (&run.model, &run.tokens[..])).collect();
        let outcomes = self.judge.judge_all(&jobs, self.settings)?;
        self.report.not_measured.extend(self.judge.take_doubts());
        for (run, outcomes) in runs.iter().zip(outcomes) {
            let checked = outcomes.iter().flatten().count();
            self.checked += checked as u64;
            if checked < outcomes.len() {
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
