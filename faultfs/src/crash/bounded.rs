//! The states that are looked at: at every crash point everything kept, everything unsynced lost, each
//! single omission, and torn pages.

use std::collections::{BTreeMap, BTreeSet};

use super::build::{self, tears};
use super::tape::{Choice, Older, Tape};
use crate::model::{Model, Moment, Part};
use crate::op::{Ino, Op};

/// What [`tapes`] covers, in words for the report.
pub(crate) const BOUND: &str = "all states with at most one omission (a micro-op, an op or its tail, \
     what one inode has unsynced, or everything unsynced); torn pages of writes and syncs in flight; \
     schedules: 1";

/// The tapes of a moment, in the order in which they are tried.
pub(crate) fn tapes(model: &Model, moment: &Moment) -> Vec<Tape> {
    let mut out = vec![Tape::default()];
    if moment.window.is_empty() {
        return out;
    }
    let mut push = |choice| out.push(Tape(vec![choice]));
    push(Choice::LoseAll);
    for &id in &moment.window {
        push(Choice::Lose(id));
        if let Part::Page(patch) = &model.micros.all[id as usize].part
            && model.profile.stale_bytes
            && patch.exposed_by.is_some()
        {
            push(Choice::Stale(id));
        }
    }
    ops(model, moment).into_iter().for_each(&mut push);
    inodes(model, moment).into_iter().map(Choice::LoseInode).for_each(&mut push);
    if model.profile.torn_pages {
        torn(model, moment).into_iter().for_each(&mut push);
    }
    out
}

/// Ops with several micro-ops in the window, whole and from each of their micro-ops on: a write in
/// flight may have copied any prefix of its pages.
fn ops(model: &Model, moment: &Moment) -> Vec<Choice> {
    let ops: BTreeSet<usize> =
        moment.window.iter().map(|&id| model.micros.all[id as usize].op).collect();
    let tails = |op: usize| {
        let range = model.micros.of_op[op].clone();
        let parts = range.clone().filter(|id| moment.window.binary_search(id).is_ok()).count();
        // The last micro-op alone is an omission of its own already.
        (0..range.len().saturating_sub(1) as u32)
            .filter(move |_| parts > 1)
            .map(move |from| Choice::LoseOp { op, from })
    };
    ops.into_iter().flat_map(tails).collect()
}

/// Inodes of which several ops are unsynced.
fn inodes(model: &Model, moment: &Moment) -> Vec<Ino> {
    let mut ops: BTreeMap<Ino, BTreeSet<usize>> = BTreeMap::new();
    for &id in &moment.window {
        let micro = &model.micros.all[id as usize];
        let mut add = |ino| {
            ops.entry(ino).or_default().insert(micro.op);
        };
        match &micro.part {
            Part::Slots(changes) => changes.iter().for_each(|(slot, _)| add(slot.dir)),
            part => part.ino().into_iter().for_each(add),
        }
    }
    ops.into_iter().filter(|(_, ops)| ops.len() > 1).map(|(ino, _)| ino).collect()
}

/// Torn pages: of a write the pages that it touches, of a sync all unsynced ones that it covers.
fn torn(model: &Model, moment: &Moment) -> Vec<Choice> {
    let mut pages: BTreeSet<(Ino, u64)> = BTreeSet::new();
    let unsynced = moment.pages(model);
    for &op in &moment.latest {
        let of = |ino: Ino| unsynced.keys().copied().filter(move |(i, _)| *i == ino);
        match &model.trace.ops[op].op {
            Op::Sync { ino, .. } | Op::SyncMap { ino, .. } | Op::StartWriteback { ino } => {
                pages.extend(of(*ino));
            }
            Op::SyncAll => pages.extend(unsynced.keys()),
            _ => pages.extend(model.micros.of_op[op].clone().filter_map(|id| {
                match &model.micros.all[id as usize].part {
                    Part::Page(patch) => Some((patch.ino, patch.page)),
                    _ => None,
                }
            })),
        }
    }
    let newest = pages.into_iter().filter_map(|page| Some((page, *unsynced.get(&page)?.last()?)));
    newest.flat_map(|(page, newer)| torn_page(model, moment, page, newer)).collect()
}

/// The mixes of `newer` with the version before it, with what is durable, and with stale bytes.
fn torn_page(model: &Model, moment: &Moment, page: (Ino, u64), newer: u32) -> Vec<Choice> {
    let before = moment.versions(model, page).take_while(|&id| id < newer).last();
    let mut olders = vec![Older::Durable];
    olders.extend(before.map(Older::Version));
    if model.profile.stale_bytes {
        olders.push(Older::Stale);
    }
    olders.into_iter().flat_map(|older| mixes(model, moment, newer, older)).collect()
}

/// The distinct mixes of two versions of a page; none where the profile does not allow the pair.
pub(crate) fn mixes(model: &Model, moment: &Moment, newer: u32, older: Older) -> Vec<Choice> {
    let whole = |sectors| Tape(vec![Choice::Torn { newer, older, sectors }]);
    let image = |sectors| {
        let Part::Page(patch) = &model.micros.all[newer as usize].part else { return None };
        let lost = build::lost(model, moment, &whole(sectors))?;
        build::torn(model, moment, &lost, newer, older, sectors)
            .filter(|_| moment.durable.content(patch.ino).is_some())
    };
    let (Some(none), Some(all)) = (image(0), image(u8::MAX)) else { return Vec::new() };
    tears(&none, &all).into_iter().map(|sectors| Choice::Torn { newer, older, sectors }).collect()
}
