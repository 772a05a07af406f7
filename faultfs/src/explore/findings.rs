//! From verdicts to a report: failures of one kind are one entry, shown by the state with the smallest
//! token, and each says what was lost and which rule allowed it.

use std::collections::BTreeMap;

use super::Replay;
use super::judge::Outcome;
use crate::crash::{Builder, Choice, Listing, State, Token};
use crate::model::{Model, Part};
use crate::report::{CREATION_NOT_DURABLE, Failure};
use crate::trace::Mark;
use crate::verdict::{Broken, Verdict};

/// The failures among `outcomes`, which belong to the states of `listing`, worst first.
pub(super) fn failures(
    model: &Model,
    trace_id: &str,
    listing: &Listing,
    outcomes: &[Option<Outcome>],
    replay: Replay<'_>,
) -> Vec<Failure> {
    let mut kinds: BTreeMap<(Verdict, &str, String), Failure> = BTreeMap::new();
    let mut builder = Builder::new(model);
    for (state, outcome) in listing.distinct.iter().zip(outcomes) {
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
    let spoilt = failure.omitted.iter().filter(|words| !words.starts_with(LOST)).count();
    (failure.omitted.len(), spoilt, failure.token.len(), failure.token.clone())
}

/// How the words for a plain loss begin.
const LOST: &str = "lost: ";

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

fn describe(
    model: &Model,
    builder: &mut Builder<'_>,
    state: &State,
    broken: &Broken,
    class: &'static str,
    token: String,
) -> Failure {
    let (omitted, rules) = losses(model, builder, state);
    Failure {
        verdict: broken.verdict(),
        class,
        message: broken.message().to_string(),
        replay: String::new(),
        token,
        crash: crash_point(model, state),
        omitted,
        rules,
        count: 1,
    }
}

/// The crash point, then what the crash lost or tore.
pub(super) fn in_words(model: &Model, state: &State) -> Vec<String> {
    let (mut words, _) = losses(model, &mut Builder::new(model), state);
    words.insert(0, format!("crash {}", crash_point(model, state)));
    words
}

/// What the crash lost or tore, and the rules that allow it.
fn losses(model: &Model, builder: &mut Builder<'_>, state: &State) -> (Vec<String>, Vec<String>) {
    let choices = &state.tape.0;
    let spoilt = |id: u32| {
        choices.iter().find_map(|choice| match choice {
            Choice::Torn { newer, sectors, .. } if *newer == id => Some(Spoilt::Torn(*sectors)),
            Choice::Stale(stale) if *stale == id => Some(Spoilt::Stale),
            _ => None,
        })
    };
    let omitted = builder.omitted(state);
    let words = |id: &u32| match spoilt(*id) {
        None => format!("{LOST}{}", model.describe(*id)),
        Some(Spoilt::Stale) => format!("stale bytes for: {}", model.describe(*id)),
        Some(Spoilt::Torn(sectors)) => {
            let kept = (0..8).filter(|bit| sectors & (1 << bit) != 0);
            let kept = kept.map(|bit| bit.to_string()).collect::<Vec<_>>().join(" ");
            format!("torn: {}; only sectors {kept} of its page arrived", model.describe(*id))
        }
    };
    let rules = omitted.iter().map(|&id| rule(model, id, spoilt(id).as_ref())).collect();
    (omitted.iter().map(words).collect(), rules)
}

/// What a lost change of a page became, where it did not go without a trace.
enum Spoilt {
    Torn(u8),
    Stale,
}

fn rule(model: &Model, id: u32, spoilt: Option<&Spoilt>) -> String {
    let profile = model.profile().name;
    let rule = match (spoilt, &model.micros.all[id as usize].part) {
        (Some(Spoilt::Torn(_)), _) => "a page being written back may mix two of its versions",
        (Some(Spoilt::Stale), _) => "a new size may be durable before its data, over stale bytes",
        (None, Part::Page(_)) => {
            "data is durable once a sync of its file has ended, and none covered this"
        }
        (None, Part::Len { .. }) => {
            "a size is durable once a sync of its file has ended, and none covered this"
        }
        (None, Part::Mode { .. }) => "a mode is durable once an fsync of its file has ended",
        (None, Part::Slots(_)) if model.profile().safe_file_flush => {
            "an entry is durable once its directory, or the file just made through it, was synced"
        }
        (None, Part::Slots(_)) => {
            "an entry is durable once its directory was synced, and it was not"
        }
    };
    format!("{profile}: {rule}")
}

fn crash_point(model: &Model, state: &State) -> String {
    let ops = &model.trace.ops;
    let count = ops.len();
    for (index, record) in ops.iter().enumerate() {
        let place = match state.stamp {
            s if s == record.start => "in",
            s if Some(s) == record.end => "after",
            _ => continue,
        };
        let by = match &record.site {
            Some(site) => format!(", {site}"),
            None => String::new(),
        };
        return format!("{place} op {index} of {count}: {}{by}", model.trace.describe(index));
    }
    let mark = model.trace.marks.iter().find(|(stamp, _)| *stamp == state.stamp);
    match mark {
        Some((_, Mark::Begin(id))) => format!("after begin of {id}"),
        Some((_, Mark::Ack(id))) => format!("after acknowledgement of {id}"),
        Some((_, Mark::Failed(id))) => format!("after report that {id} failed"),
        None => "before the first op".into(),
    }
}
