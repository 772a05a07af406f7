//! From outcomes to a report: failures of one kind are one entry, and each is confirmed.
//!
//! Of one kind are those with the same verdict and message whose faults struck the same kind of call, on the
//! same path, at the same place in the source: two calls of an engine that each forget to look at an error are
//! two bugs. A message and a path count without their numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::case::{Case, Token};
use super::least::least;
use super::runner::{Outcome, Runs};
use super::{Base, verdict};
use crate::crash::{Builder, Token as StateToken};
use crate::explore::hangs;
use crate::explore::{self, Judge, Settings, trace_id};
use crate::model::Model;
use crate::report::{CrashPoint, Failure, Report, Shrunk, Swept};
use crate::trace::{Site, Trace};
use crate::verdict::{Broken, Verdict};
use crate::{Error, Result, file};

/// One way to fail, by the first case that shows it.
struct Kind {
    case: String,
    broken: Broken,
    site: Option<Site>,
    count: u64,
}

/// Reruns of a case that did not come to its fault.
const RETRIES: u32 = 2;

/// Puts what was found into the report.
pub(super) fn fill<R: ?Sized>(
    report: &mut Report,
    swept: &mut Swept,
    base: &Base,
    runs: &mut Runs<'_, '_, R>,
    cases: &[String],
    outcomes: &[Option<Outcome>],
    settings: &Settings<'_>,
) -> Result<()> {
    let mut kinds: BTreeMap<(Verdict, String, Option<Site>, String), Kind> = BTreeMap::new();
    let (mut held, mut left_out) = (Vec::new(), 0);
    for (number, (case, outcome)) in (1..).zip(cases.iter().zip(outcomes)) {
        let Some(outcome) = outcome else { continue };
        if outcome.is_left_out() {
            left_out += 1;
            continue;
        }
        let mut outcome = outcome.clone();
        for _ in 0..RETRIES {
            if is_reached(&outcome) {
                break;
            }
            outcome = runs.afresh(case, false)?;
        }
        count(swept, &outcome);
        report.not_measured.extend(unmeasured(case, &outcome));
        let failures = outcome.failures();
        if failures.is_empty() {
            held.push((case, outcome));
            continue;
        }
        for (_, broken) in failures {
            if broken.verdict() == Verdict::NotMeasured {
                continue;
            }
            swept.first_failure.get_or_insert(number);
            let (site, message) = (site(&outcome), without_numbers(broken.message()));
            let kind = (broken.verdict(), place(case, &outcome), site.clone(), message);
            let case = case.clone();
            kinds.entry(kind).or_insert(Kind { case, broken, site, count: 0 }).count += 1;
        }
    }
    if left_out > 0 {
        let max = settings.bound.hangs;
        report.not_measured.push(hangs::in_words(left_out, "cases", max));
    }
    let missing = outcomes.iter().filter(|outcome| outcome.is_none()).count();
    if missing > 0 {
        let all = cases.len();
        let done = all - missing;
        report.not_measured.push(format!("interrupted: {done} of {all} cases done"));
    }
    for kind in kinds.into_values() {
        match confirm(&kind, base, runs, settings)? {
            Ok(failure) => report.failures.push(failure),
            Err(reason) => report.not_measured.push(reason),
        }
    }
    if missing == 0 {
        report.not_measured.extend(sample(runs, &held)?);
    }
    if !report.failures.is_empty() {
        save(&base.trace, settings)?;
    }
    report.failures.sort_by_key(|failure| (failure.verdict, failure.class));
    report.verdict = verdict(report);
    Ok(())
}

fn is_reached(outcome: &Outcome) -> bool {
    !matches!(&outcome.reply, Ok(attempt)
        if attempt.fired == 0 && attempt.failures.is_empty() && attempt.not_measured.is_empty())
}

fn count(swept: &mut Swept, outcome: &Outcome) {
    swept.runs += 1;
    if let Ok(attempt) = &outcome.reply {
        swept.injected += attempt.fired;
        swept.refused += u64::from(attempt.said.is_some());
        swept.crash_points += attempt.crash_points;
        swept.left_out += attempt.left_out;
        swept.states += attempt.states;
    }
}

fn unmeasured(case: &str, outcome: &Outcome) -> Vec<String> {
    match &outcome.reply {
        Err(death) if death.verdict() == Verdict::NotMeasured => vec![format!("{case}: {death}")],
        Ok(_) if !is_reached(outcome) => vec![format!(
            "{case}: never came to this call in {} runs; threads or a clock have the workload make \
             other calls each time",
            RETRIES + 1
        )],
        Ok(attempt) => attempt.not_measured.iter().map(|why| format!("{case}: {why}")).collect(),
        Err(_) => Vec::new(),
    }
}

/// Where the fault struck: one bug is met by many faults at one place. Of a process that died its case
/// tells.
fn place(case: &str, outcome: &Outcome) -> String {
    match &outcome.reply {
        Ok(attempt) => without_numbers(&attempt.place),
        Err(_) => struck(case),
    }
}

/// The kind of call that a case strikes, and the path, without numbers.
pub(crate) fn struck(case: &str) -> String {
    without_numbers(&case.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

/// Where the call was asked for that the fault struck, where the door knows and the process has lived to
/// tell.
fn site(outcome: &Outcome) -> Option<Site> {
    outcome.reply.as_ref().ok()?.site.clone()
}

/// A message without its numbers: a bug in a loop is one bug.
pub(crate) fn without_numbers(message: &str) -> String {
    let mut out = String::new();
    for c in message.chars() {
        match c.is_ascii_digit() {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(c),
        }
    }
    // Lists of ids are as long as the run got.
    while out.contains("#, #") {
        out = out.replace("#, #", "#");
    }
    out
}

/// Of one kind: how long it was waited for is no part of a hang.
pub(crate) fn is_alike(one: &Broken, other: &Broken) -> bool {
    let same_words = || without_numbers(one.message()) == without_numbers(other.message());
    one.verdict() == other.verdict() && (one.verdict() == Verdict::Hung || same_words())
}

/// Once more, in a fresh process; a hang with more patience. Of data that rotted, the least that fails alike.
fn confirm<R: ?Sized>(
    kind: &Kind,
    base: &Base,
    runs: &mut Runs<'_, '_, R>,
    settings: &Settings<'_>,
) -> Result<std::result::Result<Failure, String>> {
    let Kind { case, broken, site, count } = kind;
    let (case, shrunk_rot) = match case.parse()? {
        Case::Rot(rot) => {
            let (rot, shrunk) = least(&rot, broken, &base.trace, runs)?;
            (Case::Rot(rot).to_string(), Some(shrunk))
        }
        Case::Faults(_) => (case.clone(), None),
    };
    let case = &case;
    let again = runs.afresh(case, broken.verdict() == Verdict::Hung)?;
    let same = again.failures().into_iter().find(|(_, second)| is_alike(second, broken));
    let Some((at, second)) = same else {
        let second = again.failures().first().map_or("held".into(), |(_, b)| b.to_string());
        return Ok(Err(format!("{case}: {broken} at first, in a fresh process {second}")));
    };
    let state: Option<StateToken> = at.parse().ok();
    let parsed: Case = case.parse()?;
    let token = |state| Token { trace: trace_id(&base.trace), case: parsed.clone(), state };
    let (token, mut failure) = match (&state, &parsed) {
        (None, _) => (token(None), during_the_run(&base.trace, &second)),
        (Some(state), Case::Rot(_)) => {
            let failure = on_disk(&base.trace, state, &second);
            (token(None), Failure { shrunk: shrunk_rot, ..failure })
        }
        (Some(state), Case::Faults(_)) => {
            let room = runs.room();
            let mut trace = runs.tester.door.trace(&room)?;
            let id = trace_id(&trace);
            // The token names the trace as it is saved, with the name of the workload.
            trace.subject = base.trace.subject.clone();
            let trace = Arc::new(trace);
            if id != state.trace {
                return Ok(Err(format!("{case}: {second}, and then the run was another")));
            }
            save(&trace, settings)?;
            let state = StateToken { trace: trace_id(&trace), ..state.clone() };
            let (state, second, shrunk) =
                runs.with_judge(&trace, |judge| shrunk(&trace, state, second, judge, settings))?;
            let failure = on_disk(&trace, &state, &second);
            (token(Some(state)), Failure { shrunk: Some(shrunk), ..failure })
        }
    };
    failure.token = token.to_string();
    failure.replay = settings.replay.line(&failure.token);
    failure.fault = Some(case.clone());
    failure.fault_site.clone_from(site);
    failure.count = *count;
    Ok(Ok(failure))
}

fn save(trace: &Trace, settings: &Settings<'_>) -> Result<()> {
    file::save(trace, &settings.traces).map(drop).map_err(|error| {
        Error::new(format!("cannot save the trace to {}: {error}", settings.traces.display()))
    })
}

fn on_disk(trace: &Arc<Trace>, token: &StateToken, broken: &Broken) -> Failure {
    let model = Model::new(trace.clone(), token.profile());
    let builder = &mut Builder::new(&model);
    let failure = explore::describe(&model, builder, &token.state(), broken, token.to_string());
    // Of what the folder of the database itself may lose the run without faults tells.
    Failure { class: "", ..failure }
}

/// The smallest disk after the fault that fails like this one, again in a fresh process.
fn shrunk(
    trace: &Arc<Trace>,
    token: StateToken,
    broken: Broken,
    judge: &mut dyn Judge,
    settings: &Settings<'_>,
) -> Result<(StateToken, Broken, Shrunk)> {
    let model = Model::new(trace.clone(), token.profile());
    let found = (token.state(), broken.clone());
    let (state, smaller, mut shrunk) = explore::shrunk(&model, found, judge, settings)?;
    let least = StateToken { stamp: state.stamp, tape: state.tape, ..token.clone() };
    if least == token {
        return Ok((token, broken, shrunk));
    }
    let patience = smaller.verdict() == Verdict::Hung;
    let again = judge.afresh(&model, &[least.to_string()], patience)?.pop().flatten();
    match again {
        Some(Err(again)) if again.verdict() == smaller.verdict() => Ok((least, smaller, shrunk)),
        _ => {
            shrunk.open = Some(format!("{least} failed once, and not in a fresh process"));
            shrunk.to = shrunk.from;
            Ok((token, broken, shrunk))
        }
    }
}

fn during_the_run(base: &Trace, broken: &Broken) -> Failure {
    Failure {
        verdict: broken.verdict(),
        class: "",
        message: broken.message().to_string(),
        token: String::new(),
        replay: String::new(),
        fault: None,
        fault_site: None,
        before: Vec::new(),
        crash: CrashPoint::none(base.ops.len() as u64),
        marks: Default::default(),
        losses: Vec::new(),
        shrunk: None,
        count: 1,
    }
}

/// One in a hundred of the cases that held, and at least one, is done once more, in a fresh process; which
/// ones depends on their text alone.
fn sample<R: ?Sized>(
    runs: &mut Runs<'_, '_, R>,
    held: &[(&String, Outcome)],
) -> Result<Vec<String>> {
    let mut drawn: Vec<(u32, &String)> =
        held.iter().map(|(case, _)| (crc32fast::hash(case.as_bytes()), *case)).collect();
    drawn.sort();
    drawn.truncate(drawn.len().div_ceil(100));
    let mut differ = Vec::new();
    for (_, case) in drawn {
        let again = runs.afresh(case, false)?;
        if let Some((_, broken)) = again.failures().first() {
            differ.push(format!("{case}: held at first, in a fresh process {broken}"));
        }
    }
    Ok(differ)
}
