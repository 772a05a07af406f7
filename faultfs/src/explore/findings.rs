//! From verdicts to a report: failures of one kind are one entry, shown by the state with the smallest
//! token, and each says what was lost and which rule allowed it.

use std::collections::BTreeMap;

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
    let mut kinds: BTreeMap<(Verdict, &str, String), Failure> = BTreeMap::new();
    let mut builder = Builder::new(model);
    for (state, outcome) in states.iter().zip(outcomes) {
        let Some(Err(broken)) = outcome else { continue };
        let class = match builder.lost_top_directories(state).is_empty() {
            true => "",
            false => CREATION_NOT_DURABLE,
        };
        let kind = (broken.verdict(), class, kind_of_loss(model, &mut builder, state));
        let token = token(model, trace_id, state);
        match kinds.get_mut(&kind) {
            Some(known) => {
                let count = known.count + 1;
                let other = describe(model, &mut builder, state, broken, class, token);
                if telling(&other) < telling(known) {
                    *known = other;
                }
                known.count = count;
            }
            None => {
                let failure = describe(model, &mut builder, state, broken, class, token);
                kinds.insert(kind, failure);
            }
        }
    }
    let mut failures: Vec<Failure> = kinds.into_values().collect();
    failures.iter_mut().for_each(|failure| failure.replay = replay.line(&failure.token));
    failures.sort_by_cached_key(|f| (f.verdict, f.class, telling(f)));
    failures
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
fn kind_of_loss(model: &Model, builder: &mut Builder<'_>, state: &State) -> String {
    let mut kinds: Vec<String> = builder
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
        .collect();
    kinds.sort();
    kinds.dedup();
    // Everything at once says nothing about which of them matters.
    if kinds.len() > 3 { "several".into() } else { kinds.join("; ") }
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
        before: Vec::new(),
        crash: crash_point(model, state.stamp),
        marks: model.trace.marks_at(state.stamp),
        losses: losses(model, builder, state),
        count: 1,
    }
}
