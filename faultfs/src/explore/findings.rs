//! From verdicts to a report: failures of one kind are one entry, shown by the state with the smallest
//! token, and each says what was lost and which rule allowed it.
//!
//! A state that lost more than another which fails in the same way tells nothing new: it counts as one more
//! of that kind.

use std::collections::{BTreeMap, BTreeSet};

use super::Replay;
use super::judge::Outcome;
use super::losses::{crash_point, losses};
use crate::crash::{Builder, State, Token};
use crate::model::{Model, Part};
use crate::report::{CREATION_NOT_DURABLE, Failure, Fate};
use crate::verdict::{Broken, Verdict};

/// The failures among `outcomes`, which belong to `states`, worst first.
pub(super) fn failures(
    model: &Model,
    trace_id: &str,
    states: &[State],
    outcomes: &[Option<Outcome>],
    replay: Replay<'_>,
) -> Vec<Failure> {
    let mut kinds: BTreeMap<Kind, Failure> = BTreeMap::new();
    let mut builder = Builder::new(model);
    for (state, outcome) in states.iter().zip(outcomes) {
        let Some(Err(broken)) = outcome else { continue };
        let class = match builder.lost_top_directories(state).is_empty() {
            true => "",
            false => CREATION_NOT_DURABLE,
        };
        let kind = (broken.verdict(), class, kinds_of_loss(model, &mut builder, state));
        let token = token(model, trace_id, state);
        let failure = describe(model, &mut builder, state, broken, class, token);
        join(&mut kinds, kind, failure);
    }
    let mut failures: Vec<Failure> = least(kinds).into_values().collect();
    failures.iter_mut().for_each(|failure| failure.replay = replay.line(&failure.token));
    failures.sort_by_cached_key(|f| (f.verdict, f.class, telling(f)));
    failures
}

/// How a state fails, and what it lost.
type Kind = (Verdict, &'static str, BTreeSet<String>);

/// Kinds that lost no more than they must: those that hold another one are joined with it. A crash that
/// lost nothing at all explains itself only.
fn least(kinds: BTreeMap<Kind, Failure>) -> BTreeMap<Kind, Failure> {
    let mut ascending: Vec<(Kind, Failure)> = kinds.into_iter().collect();
    ascending.sort_by_key(|(kind, _)| kind.2.len());
    let mut out: BTreeMap<Kind, Failure> = BTreeMap::new();
    for ((verdict, class, lost), failure) in ascending {
        let explains = |(kind, _): &(&Kind, &Failure)| {
            (kind.0, kind.1) == (verdict, class) && !kind.2.is_empty() && kind.2.is_subset(&lost)
        };
        match out.iter().find(explains).map(|(kind, _)| kind.clone()) {
            Some(kind) => out.get_mut(&kind).expect("just found").count += failure.count,
            None if lost.len() > SEVERAL => join(&mut out, (verdict, class, several()), failure),
            None => join(&mut out, (verdict, class, lost), failure),
        }
    }
    out
}

/// Of more kinds of loss at once than these, no two sets are told apart: they say nothing about which of
/// them matters.
const SEVERAL: usize = 3;

fn several() -> BTreeSet<String> {
    BTreeSet::from(["several".into()])
}

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
fn telling(failure: &Failure) -> (usize, usize, usize, String) {
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

pub(crate) fn describe(
    model: &Model,
    builder: &mut Builder<'_>,
    state: &State,
    broken: &Broken,
    class: &'static str,
    token: String,
) -> Failure {
    Failure {
        verdict: broken.verdict(),
        class,
        message: broken.message().to_string(),
        replay: String::new(),
        token,
        fault: None,
        fault_site: None,
        before: Vec::new(),
        crash: crash_point(model, state.stamp),
        marks: model.trace.marks_at(state.stamp),
        losses: losses(model, builder, state),
        count: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{CrashPoint, Place};

    fn failure(token: &str) -> Failure {
        Failure {
            verdict: Verdict::Lost,
            class: "",
            message: String::new(),
            replay: String::new(),
            token: token.into(),
            fault: None,
            fault_site: None,
            before: Vec::new(),
            crash: CrashPoint {
                stamp: 0,
                place: Place::Start,
                op: None,
                ops: 0,
                what: String::new(),
                site: None,
                points: Vec::new(),
            },
            marks: Default::default(),
            losses: Vec::new(),
            count: 1,
        }
    }

    #[test]
    fn a_loss_that_fails_alone_is_not_reported_again_in_company() {
        let kinds = [
            (Verdict::Lost, "a", "x"),
            (Verdict::Lost, "a b", "xx"),
            (Verdict::Lost, "b c", "xxx"),
            (Verdict::Corrupt, "a b", "y"),
            (Verdict::Lost, "", "z"),
            (Verdict::Lost, "c d e f", "s"),
            (Verdict::Lost, "d e f g", "ss"),
        ];
        let kinds = kinds.map(|(verdict, lost, token)| {
            let lost = lost.split_whitespace().map(String::from).collect();
            ((verdict, "", lost), failure(token))
        });
        let least = least(BTreeMap::from(kinds));
        let found: Vec<(&str, u64)> =
            least.values().map(|failure| (&*failure.token, failure.count)).collect();
        assert_eq!(found, [("y", 1), ("z", 1), ("x", 2), ("xxx", 1), ("s", 2)]);
    }
}
