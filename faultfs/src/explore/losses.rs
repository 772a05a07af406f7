//! What a crash did to make a state: the crash point, what was lost or torn, and the rules that allow it.

use super::places;
use crate::crash::{Builder, Choice, State};
use crate::model::{Kept, Model, Part};
use crate::op::{Op, PAGE};
use crate::report::{self, Acked, CrashPoint, Fate, Loss, Place};
use crate::trace::{Mark, Record, Stamp};

/// The crash point, then what the crash lost or tore.
pub(super) fn in_words(model: &Model, state: &State) -> Vec<String> {
    let crash = format!("crash {}", crash_point(model, state.stamp));
    let losses = losses(model, &mut Builder::new(model), state);
    std::iter::once(crash).chain(losses.iter().map(Loss::to_string)).collect()
}

/// What the crash lost or tore.
pub(super) fn losses(model: &Model, builder: &mut Builder<'_>, state: &State) -> Vec<Loss> {
    let page = |id: u32| match &model.micros.all[id as usize].part {
        Part::Page(patch) => Some((patch.ino, patch.page)),
        _ => None,
    };
    let fate = |id: u32| {
        let of_choice = |choice: &Choice| match choice {
            // What was written to the page before its torn version is as much of it as arrived.
            Choice::Torn { newer, sectors, .. } if id <= *newer && page(*newer) == page(id) => {
                Some((Fate::Torn, *sectors))
            }
            Choice::Stale(stale) if *stale == id => Some((Fate::Stale, 0)),
            _ => None,
        };
        state.tape.0.iter().find_map(of_choice).unwrap_or((Fate::Lost, 0))
    };
    let omitted = builder.omitted(state).into_iter();
    omitted.map(|id| loss(model, id, state.stamp, fate(id))).collect()
}

fn loss(model: &Model, id: u32, stamp: Stamp, (fate, sectors): (Fate, u8)) -> Loss {
    let micro = &model.micros.all[id as usize];
    let record = &model.trace.ops[micro.op];
    let (part, bytes) = match &micro.part {
        Part::Page(patch) => {
            let from = patch.page * PAGE + patch.at as u64;
            (report::Part::Data, Some((from, from + patch.len as u64)))
        }
        Part::Len { .. } => (report::Part::Size, None),
        Part::Mode { .. } => (report::Part::Mode, None),
        Part::Slots(_) => (report::Part::Entry, None),
    };
    Loss {
        fate,
        part,
        op: micro.op as u64,
        call: record.op.word(),
        path: path(model, &micro.part, &record.op),
        bytes,
        sectors: (0..8).filter(|bit| sectors & (1 << bit) != 0).collect(),
        site: record.site.clone(),
        callers: model.trace.callers_of(micro.op).to_vec(),
        acked: model.trace.acknowledged(micro.op, stamp).map(|(stamp, id)| Acked {
            id,
            stamp,
            site: model.trace.mark_sites.get(&stamp).cloned(),
            said: model.trace.said(id),
        }),
        what: model.describe(id),
        rule: rule(model, id, fate),
    }
}

fn path(model: &Model, part: &Part, op: &Op) -> String {
    let trace = &model.trace;
    match (part, op) {
        (_, Op::Create { slot, .. } | Op::Link { slot, .. } | Op::Unlink { slot }) => {
            trace.path_in(slot)
        }
        (Part::Slots(changes), Op::Rename { .. }) => {
            trace.path_in(&changes.last().expect("a rename changes a slot").0)
        }
        (part, _) => part.ino().map(|ino| trace.path_of(ino)).unwrap_or_default(),
    }
}

fn rule(model: &Model, id: u32, fate: Fate) -> String {
    let profile = model.profile();
    let micro = &model.micros.all[id as usize];
    let is_store = matches!(model.trace.ops[micro.op].op, Op::MapStore { .. });
    let rule = match (fate, &micro.part) {
        _ if profile.process_only => {
            "what a call gave the kernel is there once it returned, and this one was under way"
        }
        _ if profile.order == Kept::Everything && is_store => {
            "what was stored through a mapping is in no order until an msync or a sync of its file has ended"
        }
        _ if profile.order == Kept::Everything => {
            "changes become durable in the order in which they were made, and no sync had waited for this"
        }
        (Fate::Torn, _) => "a page being written back may mix two of its versions",
        (Fate::Stale, _) => "a new size may be durable before its data, over stale bytes",
        (Fate::Lost, Part::Page(_)) => {
            "data is durable once a sync of its file has ended, and none covered this"
        }
        (Fate::Lost, Part::Len { .. }) => {
            "a size is durable once a sync of its file has ended, and none covered this"
        }
        (Fate::Lost, Part::Mode { .. }) => "a mode is durable once an fsync of its file has ended",
        (Fate::Lost, Part::Slots(_)) if model.micros.half(id).is_some() => {
            "a rename is two changes, and an entry is durable once its directory was synced"
        }
        (Fate::Lost, Part::Slots(_)) if profile.safe_file_flush => {
            "an entry is durable once its directory, or the file just made through it, was synced"
        }
        (Fate::Lost, Part::Slots(_)) => {
            "an entry is durable once its directory was synced, and it was not"
        }
    };
    format!("{}: {rule}", profile.name)
}

/// What stands at `stamp` in the sequence of the run.
pub(super) fn crash_point(model: &Model, stamp: Stamp) -> CrashPoint {
    let trace = &model.trace;
    let mut point = CrashPoint {
        stamp,
        place: Place::Start,
        op: None,
        ops: trace.ops.len() as u64,
        what: String::new(),
        site: None,
        points: places::passed_at(trace, stamp),
    };
    let touches = |record: &&Record| record.start == stamp || record.end == Some(stamp);
    if let Some(record) = trace.ops.iter().find(touches) {
        let index = trace.ops.partition_point(|r| r.start < record.start);
        point.place = if record.start == stamp { Place::In } else { Place::After };
        point.op = Some(index as u64);
        point.what = trace.describe(index);
        point.site = record.site.clone();
    } else if let Some((_, mark)) = trace.marks.iter().find(|(at, _)| *at == stamp) {
        point.place = Place::Mark;
        point.what = match mark {
            Mark::Begin(id) => format!("begin of {id}"),
            Mark::Ack(id) => match trace.said(*id) {
                Some(said) => format!("acknowledgement {id}: stdout `{said}`"),
                None => format!("acknowledgement of {id}"),
            },
            Mark::Failed(id) => format!("report that {id} failed"),
        };
    }
    point
}
