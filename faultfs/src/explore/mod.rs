//! `explore(workload).check(oracle)`: record a run once, then recover from every disk that the model
//! allows, up to a stated bound.
//!
//! A run is recorded, and disks are checked, in processes of their own (see [`worker`](crate::worker)):
//! an engine that aborts, hangs or eats memory costs one state its verdict and nothing else.

mod asked;
mod builder;
mod coverage;
mod deaths;
mod door;
mod faults;
mod findings;
pub(crate) mod hangs;
mod judge;
mod known;
mod losses;
mod places;
mod recovery;
mod serving;
mod shard;
mod shrink;
mod token;
mod typed;
mod workers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

pub use crate::crash::Bound;
use crate::crash::{self, Builder, Listing, State};
use crate::disk::Disk;
use crate::model::{Model, Profile};
use crate::report::{CREATION_NOT_DURABLE, Failure, Report, Shrunk};
use crate::trace::{Marks, Trace};
use crate::verdict::{Broken, Verdict};
use crate::{Error, Result, file};
pub use asked::REPLAY;
pub(crate) use asked::{AnyToken, asked_to_replay};
pub use builder::Explore;
pub use door::{Door, Oracle, Plan, faulty_recovery, run};
pub(crate) use door::{new_session, replay, replay_only, trace_of};
pub use faults::{Faults, RecoveryFaults};
use findings::Looked;
pub(crate) use findings::describe;
pub use hangs::Patience;
pub(crate) use judge::panicked;
pub use judge::{Checked, InProcess, Judge, Outcome, Recorded, Recovered, Recovery};
pub use places::Crashes;
pub use recovery::marks_before;
pub(crate) use serving::{Checks, work};
pub use shard::{MERGE, PARTITION, Partition, SHARDS, Shards, Work};
pub use token::Token;
pub use typed::{Typed, explore};
pub(crate) use workers::Workers;

/// How far an exploration has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// This many distinct states are to be checked under the profile.
    Listed(u64),
    /// One more state was checked.
    Checked,
    /// One more state was known to hold by what recovery had read in another.
    Known,
    /// The report under the profile is complete.
    Reported,
}

/// What an exploration is told besides what it explores.
pub struct Settings<'a> {
    /// Where the trace of a failed run is kept, so that its tokens can be replayed.
    pub traces: PathBuf,
    /// How the line that replays a failure begins.
    pub replay: Replay<'a>,
    /// Where the power may go.
    pub crashes: Crashes,
    /// How deep crashes during recovery are looked at: 0 not at all, 1 during the recovery from a crash, 2
    /// also during the recovery from that.
    pub recovery_depth: u32,
    /// What goes wrong in recoveries: see [`Explore::recovery_faults`].
    pub recovery_faults: RecoveryFaults,
    /// How many of the states are looked at, and which first.
    pub bound: Bound,
    /// Called as the run proceeds.
    pub progress: &'a mut dyn FnMut(Progress),
    /// Asked now and then: true ends the run early, with a report that says so.
    pub interrupted: &'a dyn Fn() -> bool,
}

impl Settings<'_> {
    /// The same, with another answer to whether the run is to end.
    fn interrupted_by<'a>(&'a mut self, interrupted: &'a dyn Fn() -> bool) -> Settings<'a> {
        Settings {
            traces: self.traces.clone(),
            replay: self.replay,
            crashes: self.crashes.clone(),
            recovery_depth: self.recovery_depth,
            recovery_faults: self.recovery_faults.clone(),
            bound: self.bound,
            progress: &mut *self.progress,
            interrupted,
        }
    }

    /// The same, of which nobody is told how it proceeds.
    fn quiet<'a>(&'a self, silent: &'a mut dyn FnMut(Progress)) -> Settings<'a> {
        Settings {
            traces: self.traces.clone(),
            replay: self.replay,
            crashes: self.crashes.clone(),
            recovery_depth: self.recovery_depth,
            recovery_faults: self.recovery_faults.clone(),
            bound: self.bound,
            progress: silent,
            interrupted: self.interrupted,
        }
    }
}

/// Who replays a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay<'a> {
    /// The tool.
    Tool,
    /// The test of this name, told by [`REPLAY`].
    Test(&'a str),
    /// The program that this command line starts, told by [`REPLAY`].
    Program(&'a str),
}

impl Replay<'_> {
    /// The line that replays `token`, for a shell.
    pub(crate) fn line(self, token: &str) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-+._".contains(c);
        let token = match token.chars().all(is_plain) {
            true => token.to_string(),
            false => format!("'{}'", token.replace('\'', r"'\''")),
        };
        match self {
            Replay::Tool => format!("cargo faultfs replay {token}"),
            Replay::Test(name) => format!("{REPLAY}={token} cargo test {name}"),
            Replay::Program(line) => format!("{REPLAY}={token} {line}"),
        }
    }
}

/// The check of one state, in whichever process: the rule that holds for every oracle is applied here.
///
/// An engine that refuses to open before anything was acknowledged has broken no promise.
pub fn check_state(
    check: &mut dyn FnMut(&Disk, &Marks) -> Result<(), Broken>,
    disk: &Disk,
    marks: &Marks,
) -> Result<(), Broken> {
    match check(disk, marks) {
        Err(broken) if broken.verdict() == Verdict::Unopenable && marks.acked.is_empty() => Ok(()),
        outcome => outcome,
    }
}

/// Does a part of the exploration of `trace` under each of `profiles`, or all of it, and makes the page of
/// what failed, beside the saved trace.
pub(crate) fn explore_profiles(
    trace: &Arc<Trace>,
    profiles: &[Profile],
    work: &Work,
    judge: &mut dyn Judge,
    settings: &mut Settings<'_>,
) -> Result<Vec<Report>> {
    match work {
        Work::Merge(shards) => shards.tell(settings),
        Work::Share(..) if settings.bound.time.is_some() => {
            return Err(Error::new(
                "shares of a run with a time budget cannot be merged: set a budget in states",
            ));
        }
        _ => {}
    }
    let told = shard::Told::of(settings);
    let mut under_all = |judge: &mut dyn Judge| {
        let under = |profile: &Profile| explore_trace(trace, *profile, judge, settings);
        profiles.iter().map(under).collect::<Result<Vec<Report>>>()
    };
    let reports = match work {
        Work::Whole => under_all(judge)?,
        Work::Merge(shards) => under_all(&mut shard::Merging::new(judge, shards))?,
        Work::Share(partition, folder) => {
            let mut sharing = shard::Sharing::new(judge, *partition);
            let reports = under_all(&mut sharing)?;
            sharing.save(trace, profiles, told, folder)?;
            reports
        }
    };
    #[cfg(feature = "html")]
    if reports.iter().any(|report| !report.failures.is_empty()) {
        let saved = crate::report::page::save(trace, &reports, &settings.traces);
        saved.map_err(|error| {
            Error::new(format!("cannot write a page to {}: {error}", settings.traces.display()))
        })?;
    }
    Ok(reports)
}

/// Explores what `trace` may have left on a disk under `profile`, and has the states judged.
///
/// The same trace gives the same report, whoever judges, in however many processes.
///
/// # Errors
///
/// Where the trace of a failed run cannot be saved; where the run never came by the fail point at which
/// it is to crash.
pub fn explore_trace(
    trace: &Arc<Trace>,
    profile: Profile,
    judge: &mut dyn Judge,
    settings: &mut Settings<'_>,
) -> Result<Report> {
    let mut report = Report::of(trace, profile, String::new());
    report.not_measured.clone_from(&trace.unmodelled);
    report.share = judge.partition();
    // Disks built from half a story would be neither alarms nor comfort.
    if trace.unmodelled.is_empty() {
        fill(&mut report, trace, judge, settings)?;
    }
    (settings.progress)(Progress::Reported);
    Ok(report)
}

fn fill(
    report: &mut Report,
    trace: &Arc<Trace>,
    judge: &mut dyn Judge,
    settings: &mut Settings<'_>,
) -> Result<()> {
    let model = Model::new(trace.clone(), report.profile);
    let trace_id = trace_id(trace);
    let places = settings.crashes.stamps(trace)?;
    let bound = settings.bound;
    let since = Instant::now();
    let interrupted = settings.interrupted;
    let stop = || interrupted() || bound.time.is_some_and(|limit| since.elapsed() >= limit);
    let mut limited = settings.interrupted_by(&stop);
    let mut stopped = false;
    let listing = Listing::of(&model, places.as_ref(), &bound, &mut || {
        stopped |= stop();
        !stopped
    });
    (limited.progress)(Progress::Listed(listing.distinct.len() as u64));
    let tokens: Vec<String> =
        listing.distinct.iter().map(|state| findings::token(&model, &trace_id, state)).collect();
    let outcomes = judge.judge(&model, &tokens, &mut limited)?;
    let (checked, listed) = (outcomes.iter().flatten().count(), tokens.len());
    let left_out = judge.take_left_out();
    if left_out > 0 {
        report.not_measured.push(hangs::in_words(left_out, "states", bound.hangs));
    }
    report.not_measured.extend(judge.take_doubts());
    stopped |= checked + (left_out as usize) < listed;
    report.coverage = coverage::coverage(&listing, &outcomes);
    report.bound = coverage::words(&listing, &report.coverage, &bound);
    report.bound += &coverage::stores_taken_together(&model);
    report.bound += &settings.crashes.bound(trace);
    match (bound.time, judge.partition()) {
        _ if !stopped => {}
        (Some(limit), _) if !interrupted() => {
            report.incomparable = Some(coverage::timed(limit, checked, listed));
        }
        (None, Some(share)) if !interrupted() => report
            .not_measured
            .push(format!("share {share}: {checked} of {listed} states checked; merge all shares")),
        _ => {
            let bound = format!("interrupted: {checked} of {listed} states found so far checked");
            report.not_measured.push(bound);
        }
    }
    let states = &listing.distinct;
    let looked = Looked { model: &model, trace_id: &trace_id, states, outcomes: &outcomes };
    let found = findings::failures(looked, &mut BTreeMap::new(), judge, settings)?;
    report.not_measured.extend(judge.take_doubts());
    let found = found.into_iter().map(|(_, failure)| failure).collect();
    report.failures = confirm(&model, judge, found, &mut report.not_measured)?;
    if !interrupted() && judge.partition().is_none() {
        report.not_measured.extend(sample(&model, judge, &tokens, &outcomes)?);
    }
    if !stopped && (settings.recovery_depth > 0 || settings.recovery_faults.recoveries > 0) {
        recovery::explore(report, trace, &listing, &outcomes, judge, settings)?;
    }
    if !report.failures.is_empty() {
        file::save(trace, &settings.traces).map_err(|error| {
            Error::new(format!("cannot save the trace to {}: {error}", settings.traces.display()))
        })?;
    }
    report.crash_points = listing.crash_points;
    report.states = listing.states;
    report.distinct = checked as u64;
    report.verdict = verdict(&report.failures, &report.not_measured);
    Ok(())
}

/// The first 16 hexadecimal digits of a trace's hash, by which tokens and files name it.
pub fn trace_id(trace: &Trace) -> String {
    format!("{:032x}", trace.hash())[..16].to_string()
}

fn verdict(failures: &[Failure], not_measured: &[String]) -> Verdict {
    let counted = failures.iter().filter(|f| f.class != CREATION_NOT_DURABLE).map(|f| f.verdict);
    let unmeasured = (!not_measured.is_empty()).then_some(Verdict::NotMeasured);
    Verdict::worst(counted.chain(unmeasured).chain([Verdict::Held]))
}

/// A failing state of `model` made minimal, for runs that are not explored here: the state, what the check
/// says of it, and what it took.
pub(crate) fn shrunk(
    model: &Model,
    found: (State, Broken),
    judge: &mut dyn Judge,
    settings: &Settings<'_>,
) -> Result<(State, Broken, Shrunk)> {
    let trace_id = trace_id(&model.trace);
    let mut rerun = shrink::rerun(model, &trace_id, judge, settings);
    let found = shrink::Failing { state: found.0, broken: found.1 };
    let mut shrinker = shrink::Shrinker::new(model, &[], &[], &mut *rerun);
    let (failing, shrunk, _) = shrinker.shrink(found)?;
    Ok((failing.state, failing.broken, shrunk))
}

/// What is reported is checked once more, in a fresh process; a hang with more patience. What does not
/// fail again in the same way is no failure, but a run that does not repeat.
fn confirm(
    model: &Model,
    judge: &mut dyn Judge,
    found: Vec<Failure>,
    not_measured: &mut Vec<String>,
) -> Result<Vec<Failure>> {
    let token = |failure: &Failure| failure.token.clone();
    let (hung, others): (Vec<_>, Vec<_>) =
        found.iter().partition(|failure| failure.verdict == Verdict::Hung);
    let mut again = BTreeMap::new();
    for (failures, patience) in [(others, false), (hung, true)] {
        let tokens: Vec<String> = failures.into_iter().map(token).collect();
        let outcomes = judge.afresh(model, &tokens, patience)?;
        again.extend(tokens.into_iter().zip(outcomes));
    }
    let mut confirmed = Vec::new();
    for failure in found {
        match again.remove(&failure.token).flatten() {
            Some(Err(broken)) if broken.verdict() == failure.verdict => confirmed.push(failure),
            Some(second) => {
                not_measured.push(disagreement(&failure.token, failure.verdict, &second));
            }
            None => not_measured.push(format!("{}: interrupted, not confirmed", failure.token)),
        }
    }
    Ok(confirmed)
}

/// One in a hundred of the held states, and at least one, is checked once more, in a fresh process; which
/// ones depends on their tokens alone.
fn sample(
    model: &Model,
    judge: &mut dyn Judge,
    tokens: &[String],
    outcomes: &[Option<Outcome>],
) -> Result<Vec<String>> {
    let held = |index: &usize| matches!(outcomes[*index], Some(Ok(())));
    let mut drawn: Vec<usize> = (0..tokens.len()).filter(held).collect();
    drawn.sort_by_cached_key(|index| (crc32fast::hash(tokens[*index].as_bytes()), *index));
    drawn.truncate(drawn.len().div_ceil(100));
    // As they are listed: built one after the other.
    drawn.sort_unstable();
    let sampled: Vec<String> = drawn.into_iter().map(|index| tokens[index].clone()).collect();
    let again = sampled.iter().zip(judge.afresh(model, &sampled, false)?);
    let differ = again.filter_map(|(token, second)| match second {
        Some(second @ Err(_)) => Some(disagreement(token, Verdict::Held, &second)),
        _ => None,
    });
    Ok(differ.collect())
}

fn disagreement(token: &str, first: Verdict, second: &Outcome) -> String {
    let second = match second {
        Ok(()) => "held".to_string(),
        Err(broken) => broken.to_string(),
    };
    format!("{token}: {first} at first, in a fresh process {second}")
}

/// The state that `token` names, from the trace that it names.
///
/// # Errors
///
/// Where the token belongs to another trace, or to one that has changed since.
pub fn state(trace: &Arc<Trace>, token: &crash::Token) -> Result<(Disk, Marks)> {
    let (model, state) = named(trace, token)?;
    let built = Builder::new(&model).build(&state);
    built.map(|(disk, marks)| (disk, Marks::clone(&marks))).ok_or_else(|| {
        Error::new(format!(
            "token {token} names no state of its trace; copy it whole from a report of this version"
        ))
    })
}

/// What a crash did to make the state that `token` names: the crash point, then what was lost or torn.
///
/// # Errors
///
/// As [`state`].
pub fn in_words(trace: &Arc<Trace>, token: &crash::Token) -> Result<Vec<String>> {
    let (model, state) = named(trace, token)?;
    Ok(losses::in_words(&model, &state))
}

fn named(trace: &Arc<Trace>, token: &crash::Token) -> Result<(Model, State)> {
    let id = trace_id(trace);
    if id != token.trace {
        return Err(Error::new(format!(
            "token {token} belongs to trace {}, not to {id}: the run has changed since; explore it \
             again, and keep a token of the new run",
            token.trace
        )));
    }
    let model = Model::new(trace.clone(), token.profile());
    Ok((model, State { stamp: token.stamp, tape: token.tape.clone() }))
}
