//! Every disk that a crash point allows, without a bound: for windows small enough to list.

use std::collections::{BTreeMap, BTreeSet};

use super::bounded::{is_first, may_be_stale, torn_pages};
use super::build::build;
use super::tape::{Choice, Tape};
use crate::disk::Disk;
use crate::model::{Model, Moment};

/// All legal disks of `moment`, each once, by its digest, with the tape of the fewest choices.
pub(crate) fn disks(model: &Model, moment: &Moment) -> BTreeMap<u128, (Tape, Disk)> {
    let mut out = BTreeMap::new();
    for lost in losses(model, moment) {
        for tape in tapes(model, moment, &lost) {
            let disk = build(model, moment, &tape).expect("a listed tape is legal");
            let found = (tape, disk);
            match out.entry(found.1.digest()) {
                std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(found)),
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    let known: &mut (Tape, Disk) = entry.get_mut();
                    if found.0.0.len() < known.0.0.len() {
                        *known = found;
                    }
                }
            }
        }
    }
    out
}

/// Every set of lost micro-ops that is closed upward.
fn losses(model: &Model, moment: &Moment) -> Vec<BTreeSet<u32>> {
    let mut out = vec![BTreeSet::new()];
    for &id in &moment.window {
        let mut next = Vec::new();
        for mut lost in out {
            if is_first(model, moment, id, &lost) {
                next.push(lost.clone());
            }
            lost.insert(id);
            next.push(lost);
        }
        out = next;
    }
    let closed = |lost: &BTreeSet<u32>| moment.closed_upward(model, lost.iter().copied()) == *lost;
    out.retain(closed);
    out
}

/// The tapes of a loss: bare, and with every combination of torn and stale pages.
fn tapes(model: &Model, moment: &Moment, lost: &BTreeSet<u32>) -> Vec<Tape> {
    let mut out = vec![Tape::default()];
    for &id in lost {
        let first = is_first(model, moment, id, lost);
        let mut choices: Vec<Option<Choice>> = vec![first.then_some(Choice::Lose(id))];
        choices.extend(may_be_stale(model, lost, id).then_some(Some(Choice::Stale(id))));
        if first {
            choices.extend(torn_pages(model, moment, lost, id).into_iter().map(Some));
        }
        let with = |tape: &Tape, choice: &Option<Choice>| {
            Tape(tape.0.iter().copied().chain(*choice).collect())
        };
        out = out.iter().flat_map(|t| choices.iter().map(move |c| with(t, c))).collect();
    }
    out
}
