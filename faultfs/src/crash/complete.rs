//! Every disk that a crash point allows, without a bound: for windows small enough to list.

use std::collections::{BTreeMap, BTreeSet};

use super::bounded::mixes;
use super::build::{self, build, kept_under};
use super::tape::{Choice, Older, Tape};
use crate::disk::Disk;
use crate::model::{Model, Moment, Part};

/// All legal disks of `moment`, each once, by its digest.
pub(crate) fn disks(model: &Model, moment: &Moment) -> BTreeMap<u128, (Tape, Disk)> {
    let mut out = BTreeMap::new();
    for lost in losses(model, moment) {
        for tape in tapes(model, moment, &lost) {
            let disk = build(model, moment, &tape).expect("a listed tape is legal");
            out.entry(disk.digest()).or_insert((tape, disk));
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
            if !model.order.needs[id as usize].iter().any(|need| lost.contains(need)) {
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
        let first = !model.order.needs[id as usize].iter().any(|need| lost.contains(need));
        let mut choices: Vec<Option<Choice>> = vec![first.then_some(Choice::Lose(id))];
        choices.extend(spoilt(model, moment, lost, id, first).into_iter().map(Some));
        let with = |tape: &Tape, choice: &Option<Choice>| {
            Tape(tape.0.iter().copied().chain(*choice).collect())
        };
        out = out.iter().flat_map(|t| choices.iter().map(move |c| with(t, c))).collect();
    }
    out
}

/// What the page of a lost change may hold instead of its older version.
fn spoilt(
    model: &Model,
    moment: &Moment,
    lost: &BTreeSet<u32>,
    id: u32,
    first: bool,
) -> Vec<Choice> {
    let Part::Page(patch) = &model.micros.all[id as usize].part else { return Vec::new() };
    let mut out = Vec::new();
    let exposed = patch.exposed_by.is_some_and(|step| !lost.contains(&step));
    if exposed && model.profile.stale_bytes {
        out.push(Choice::Stale(id));
    }
    if first && model.profile.torn_pages {
        // The page is as it was kept, or was never written; the write-back of any later version of it
        // was cut short, up to where its file was cut.
        let versions: Vec<u32> = moment.versions(model, (patch.ino, patch.page)).collect();
        let is_page = |id: &u32| matches!(model.micros.all[*id as usize].part, Part::Page(_));
        let older = kept_under(model, moment, lost, id);
        let newer = versions.iter().skip_while(|v| **v < id).take_while(|v| is_page(v));
        let newer = newer.filter(|v| lost.contains(v));
        let pairs = newer.flat_map(|&newer| [(newer, older), (newer, Older::Stale)]);
        let mixed = pairs.flat_map(|(newer, older)| mixes(model, moment, newer, older));
        out.extend(mixed.filter(|choice| fits(model, moment, lost, id, choice)));
    }
    out
}

/// True where a torn page loses `id` and nothing but what is lost, and may look so beside it.
fn fits(model: &Model, moment: &Moment, lost: &BTreeSet<u32>, id: u32, choice: &Choice) -> bool {
    let Choice::Torn { newer, older, sectors } = *choice else { return false };
    let own = build::lost(model, moment, &Tape(vec![*choice]));
    own.is_some_and(|own| own.contains(&id) && own.is_subset(lost))
        && build::torn(model, moment, lost, newer, older, sectors).is_some()
}
