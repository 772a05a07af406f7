//! From verdicts to a report: failures of one kind are one entry, shown by a minimal state, and each says
//! what was lost and which rule allowed it.
//!
//! A state that lost more than another which fails in the same way tells nothing new: it counts as one more
//! of that kind.

use std::collections::{BTreeMap, BTreeSet};

use super::Settings;
use super::judge::{Judge, Outcome};
use super::losses::{crash_point, losses};
use super::shrink::{Failing, Shrinker, rerun};
use crate::Result;
use crate::crash::{Builder, State, Token};
use crate::model::{Model, Part};
use crate::report::{CREATION_NOT_DURABLE, Failure, Fate, Shrunk};
use crate::verdict::{Broken, Verdict};

/// The states of a run that were looked at, and what came of each.
#[derive(Clone, Copy)]
pub(super) struct Looked<'a> {
    pub(super) model: &'a Model,
    pub(super) trace_id: &'a str,
    pub(super) states: &'a [State],
    pub(super) outcomes: &'a [Option<Outcome>],
}

/// How a state fails, and what it lost.
pub(super) type Kind = (Verdict, &'static str, BTreeSet<String>);

/// The ways to fail among the states that were looked at, worst first, each shown by a minimal state. Those
/// that are `known` already count there.
///
/// # Errors
///
/// Where no worker can be started.
pub(super) fn failures(
    looked: Looked<'_>,
    known: &mut BTreeMap<Kind, Failure>,
    judge: &mut dyn Judge,
    settings: &Settings<'_>,
) -> Result<Vec<(Kind, Failure)>> {
    let mut kinds = kinds(looked);
    kinds.retain(|kind, states| !counts_with(known, kind, states.len() as u64));
    if kinds.is_empty() {
        return Ok(Vec::new());
    }
    let Looked { model, trace_id, states, outcomes } = looked;
    let mut rerun = rerun(model, trace_id, judge, settings);
    let mut shrinker = Shrinker::new(model, states, outcomes, &mut *rerun);
    let mut builder = Builder::new(model);
    let least = least(kinds, &mut |found| {
        let mut all = Vec::new();
        let mut next = Some(found);
        while let Some(found) = next {
            let (Failing { state, broken }, shrunk, beside) = shrinker.shrink(found)?;
            let token = token(model, trace_id, &state);
            let replay = settings.replay.line(&token);
            let kind = kind(model, &mut builder, &state, &broken);
            let failure = describe(model, &mut builder, &state, &broken, token);
            all.push((kind, Failure { replay, shrunk: Some(shrunk), ..failure }));
            next = beside;
        }
        Ok(all)
    })?;
    let mut failures: Vec<(Kind, Failure)> = least.into_iter().collect();
    failures.sort_by_cached_key(|(kind, failure)| (kind.0, kind.1, telling(failure)));
    Ok(failures)
}

/// The failing states by how they fail, the most telling first.
fn kinds(looked: Looked<'_>) -> BTreeMap<Kind, Vec<Failing>> {
    let mut kinds: BTreeMap<Kind, Vec<(Telling, Failing)>> = BTreeMap::new();
    let mut builder = Builder::new(looked.model);
    for (state, outcome) in looked.states.iter().zip(looked.outcomes) {
        let Some(Err(broken)) = outcome else { continue };
        let kind = kind(looked.model, &mut builder, state, broken);
        let spoilt = state.tape.0.iter().filter(|choice| choice.spoils()).count();
        let text = format!("{}-{}", state.stamp, state.tape);
        let telling = (builder.omitted(state).len(), spoilt, text.len(), text);
        let failing = Failing { state: state.clone(), broken: broken.clone() };
        kinds.entry(kind).or_default().push((telling, failing));
    }
    let in_order = |mut of: Vec<(Telling, Failing)>| {
        of.sort_by(|(one, _), (other, _)| one.cmp(other));
        of.into_iter().map(|(_, failing)| failing).collect()
    };
    kinds.into_iter().map(|(kind, of)| (kind, in_order(of))).collect()
}

fn kind(model: &Model, builder: &mut Builder<'_>, state: &State, broken: &Broken) -> Kind {
    (broken.verdict(), class(builder, state), kinds_of_loss(model, builder, state))
}

/// By what a state that hangs is like others: what it lost, or, where that is nothing, the call at which the power
/// went.
pub(super) fn likeness(model: &Model, token: &str) -> BTreeSet<String> {
    let state = &token.parse::<Token>().expect("a token made here parses").state();
    let lost = kinds_of_loss(model, &mut Builder::new(model), state);
    if !lost.is_empty() {
        return lost;
    }
    let op = model.trace.ops.iter().rev().find(|record| record.start <= state.stamp);
    let at = op.map(|record| (record.op.word(), record.site.as_ref().map(ToString::to_string)));
    BTreeSet::from([format!("crash at {at:?}")])
}

pub(super) fn class(builder: &mut Builder<'_>, state: &State) -> &'static str {
    match builder.lost_top_directories(state).is_empty() {
        true => "",
        false => CREATION_NOT_DURABLE,
    }
}

/// Makes of a failing state a minimal one, with its kind, and of another class another one behind it.
type Shrink<'a> = dyn FnMut(Failing) -> Result<Vec<(Kind, Failure)>> + 'a;

/// Kinds that lost no more than they must, each shown by a state that `shrink` made of one of theirs. Those
/// that hold another one count with it.
fn least(
    kinds: BTreeMap<Kind, Vec<Failing>>,
    shrink: &mut Shrink<'_>,
) -> Result<BTreeMap<Kind, Failure>> {
    let mut ascending: Vec<(Kind, Vec<Failing>)> = kinds.into_iter().collect();
    ascending.sort_by_key(|(kind, _)| kind.2.len());
    let mut out: BTreeMap<Kind, Failure> = BTreeMap::new();
    for (kind, states) in ascending {
        if counts_with(&mut out, &kind, states.len() as u64) {
            continue;
        }
        for (kind, failure) in smaller(&kind, states, shrink)? {
            join(&mut out, kind, failure);
        }
    }
    Ok(out)
}

/// Counts the states of a kind with a known one that it holds, where there is one. A crash that lost nothing
/// at all explains itself only.
fn counts_with(known: &mut BTreeMap<Kind, Failure>, kind: &Kind, states: u64) -> bool {
    let explains = |(known, _): &(&Kind, &mut Failure)| {
        (known.0, known.1) == (kind.0, kind.1)
            && (*known == kind || !known.2.is_empty() && known.2.is_subset(&kind.2))
    };
    let explained = known.iter_mut().find(explains).map(|(_, failure)| failure);
    let is_known = explained.is_some();
    explained.into_iter().for_each(|failure| failure.count += states);
    is_known
}

/// Shrinks a state of a kind; where less than the kind is enough there, another one at another crash point,
/// for it may not be enough everywhere.
fn smaller(
    kind: &Kind,
    states: Vec<Failing>,
    shrink: &mut Shrink<'_>,
) -> Result<Vec<(Kind, Failure)>> {
    let mut left = states.len() as u64;
    let mut places = BTreeSet::new();
    let mut found: Vec<(Kind, Failure)> = Vec::new();
    for failing in states {
        if places.len() == PLACES_MAX || found.iter().any(|(found, _)| found == kind) {
            break;
        }
        if places.insert(failing.state.stamp) {
            found.extend(shrink(failing)?);
            left -= 1;
        }
    }
    for ((_, _, lost), failure) in &mut found {
        let minimal = failure.shrunk.as_ref().is_some_and(Shrunk::is_minimal);
        if !minimal && lost.len() > SEVERAL {
            *lost = BTreeSet::from(["several".into()]);
        }
    }
    // The others count with the last that was shrunk.
    let last = found.iter_mut().rev().find(|((_, class, _), _)| *class == kind.1);
    last.into_iter().for_each(|(_, failure)| failure.count += left);
    Ok(found)
}

/// Crash points at which a kind is shrunk at most.
const PLACES_MAX: usize = 4;

/// Of more kinds of loss at once than these, which the bound did not let shrink, no two sets are told apart:
/// they say nothing about which of them matters.
const SEVERAL: usize = 3;

/// One more failure of a kind; the most telling one stands for all.
fn join(kinds: &mut BTreeMap<Kind, Failure>, kind: Kind, failure: Failure) {
    match kinds.get_mut(&kind) {
        Some(known) => {
            let count = known.count + failure.count;
            if telling(&failure) < telling(known) {
                *known = failure;
            }
            known.count = count;
        }
        None => drop(kinds.insert(kind, failure)),
    }
}

/// The fewer things are lost, the more of them as a whole, and the shorter the token, the more a state
/// tells.
type Telling = (usize, usize, usize, String);

fn telling(failure: &Failure) -> Telling {
    let spoilt = failure.losses.iter().filter(|loss| loss.fate != Fate::Lost).count();
    (failure.losses.len(), spoilt, failure.token.len(), failure.token.clone())
}

pub(super) fn token(model: &Model, trace_id: &str, state: &State) -> String {
    let token = Token {
        trace: trace_id.into(),
        profile: model.profile(),
        stamp: state.stamp,
        tape: state.tape.clone(),
    };
    token.to_string()
}

/// What was lost, without offsets and op numbers: a bug in a loop is one bug.
fn kinds_of_loss(model: &Model, builder: &mut Builder<'_>, state: &State) -> BTreeSet<String> {
    builder
        .omitted(state)
        .into_iter()
        .map(|id| {
            let micro = &model.micros.all[id as usize];
            let record = &model.trace.ops[micro.op];
            let site = record.site.as_ref().map(|s| s.to_string()).unwrap_or_default();
            let of = match &micro.part {
                Part::Page(patch) => format!("data {}", model.trace.path_of(patch.ino)),
                Part::Len { ino, .. } => format!("size {}", model.trace.path_of(*ino)),
                Part::Mode { ino, .. } => format!("mode {}", model.trace.path_of(*ino)),
                Part::Slots(changes) => {
                    let dirs = changes.iter().map(|(slot, _)| model.trace.path_of(slot.dir));
                    format!("entry in {}", dirs.collect::<Vec<_>>().join(", "))
                }
            };
            format!("{} {of} {site}", record.op.word())
        })
        .collect()
}

/// A failing state in words, not shrunk.
pub(crate) fn describe(
    model: &Model,
    builder: &mut Builder<'_>,
    state: &State,
    broken: &Broken,
    token: String,
) -> Failure {
    Failure {
        verdict: broken.verdict(),
        class: class(builder, state),
        message: broken.message().to_string(),
        replay: String::new(),
        token,
        fault: None,
        fault_site: None,
        before: Vec::new(),
        crash: crash_point(model, state.stamp),
        marks: model.trace.marks_at(state.stamp),
        losses: losses(model, builder, state),
        shrunk: None,
        count: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::Tape;
    use crate::report::{CrashPoint, Place};
    use crate::trace::Stamp;

    fn failing(stamp: Stamp) -> Failing {
        let state = State { stamp, tape: Tape::default() };
        Failing { state, broken: Broken::lost("x") }
    }

    fn failure(failing: Failing, open: Option<&str>) -> Failure {
        Failure {
            verdict: Verdict::Lost,
            class: "",
            message: String::new(),
            replay: String::new(),
            token: "x".repeat(failing.state.stamp as usize),
            fault: None,
            fault_site: None,
            before: Vec::new(),
            crash: CrashPoint {
                stamp: failing.state.stamp,
                place: Place::Start,
                op: None,
                ops: 0,
                what: String::new(),
                site: None,
                points: Vec::new(),
            },
            marks: Default::default(),
            losses: Vec::new(),
            shrunk: Some(Shrunk {
                from: 1,
                to: 1,
                reruns: 0,
                reruns_max: 0,
                open: open.map(String::from),
                below: Verdict::Held,
            }),
            count: 1,
        }
    }

    fn kind(verdict: Verdict, lost: &str) -> Kind {
        (verdict, "", lost.split_whitespace().map(String::from).collect())
    }

    /// The crash point at which each kind was shown, and its count.
    fn shown(least: &BTreeMap<Kind, Failure>) -> Vec<(Stamp, u64)> {
        least.values().map(|failure| (failure.crash.stamp, failure.count)).collect()
    }

    #[test]
    fn a_loss_that_fails_alone_is_not_reported_again_in_company() {
        let kinds = [
            (kind(Verdict::Lost, "a"), 1),
            (kind(Verdict::Lost, "a b"), 2),
            (kind(Verdict::Lost, "b c"), 3),
            (kind(Verdict::Corrupt, "a b"), 4),
            (kind(Verdict::Lost, ""), 5),
            (kind(Verdict::Lost, "c d e f"), 6),
            (kind(Verdict::Lost, "d e f g"), 7),
        ];
        let names: BTreeMap<Stamp, Kind> =
            kinds.iter().map(|(kind, stamp)| (*stamp, kind.clone())).collect();
        let kinds = kinds.map(|(kind, stamp)| (kind, vec![failing(stamp)]));
        let least = least(BTreeMap::from(kinds), &mut |failing| {
            let kind = names[&failing.state.stamp].clone();
            Ok(vec![(kind, failure(failing, Some("the bound")))])
        });
        assert_eq!(shown(&least.unwrap()), [(4, 1), (5, 1), (1, 2), (3, 1), (6, 2)]);
    }

    /// At the first two crash points the power cut alone is enough, at the third it is not.
    #[test]
    fn a_kind_that_shrinks_away_at_one_crash_point_is_looked_for_at_others() {
        let (alone, with_a) = (kind(Verdict::Lost, ""), kind(Verdict::Lost, "a"));
        let kinds = BTreeMap::from([
            (alone.clone(), vec![failing(1), failing(2)]),
            (with_a.clone(), vec![failing(1), failing(1), failing(2), failing(3), failing(4)]),
        ]);
        let mut tried = Vec::new();
        let least = least(kinds, &mut |failing| {
            tried.push(failing.state.stamp);
            let kind = if failing.state.stamp < 3 { &alone } else { &with_a };
            Ok(vec![(kind.clone(), failure(failing, None))])
        });
        assert_eq!(shown(&least.unwrap()), [(1, 4), (3, 3)]);
        assert_eq!(tried, [1, 1, 2, 3]);
    }
}
