//! A second opinion on the listing, for tests: every tape of every level, one after the other, each built to
//! a disk, and disks told apart by what is on them.
//!
//! It shares with the listing what a tape means, and the order of levels and tapes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;

use super::bounded::{Level, is_first, levels, may_be_stale, mixes, torn_pages};
use super::build::build;
use super::states::State;
use super::tape::{Choice, Older, Tape};
use crate::model::{Kept, Model, Moment, Part};
use crate::op::{Ino, Op};
use crate::trace::Stamp;

/// How many tapes there are with at most so many omissions, and of each level those that lead to disks which
/// no tape before them leads to; at all crash points, or at these.
pub(super) fn list(
    model: &Model,
    places: Option<&BTreeSet<Stamp>>,
    omissions: u32,
) -> (u64, Vec<Vec<State>>) {
    let (mut count, mut known) = (0, BTreeSet::new());
    let of_level = |level| {
        let mut states = Vec::new();
        let mut moments = model.moments();
        while let Some(moment) = moments.next() {
            if !places.map_or(moment.is_new, |places| places.contains(&moment.stamp)) {
                continue;
            }
            let _ = visit(model, moment, level, &mut |tape| {
                let disk = build(model, moment, &tape).expect("a listed tape is legal");
                count += 1;
                if known.insert((disk.digest(), moment.marks.clone().hash())) {
                    states.push(State { stamp: moment.stamp, tape });
                }
                ControlFlow::Continue(())
            });
        }
        states
    };
    let states = levels(&model.profile, omissions).into_iter().map(of_level).collect();
    (count, states)
}

/// Calls `visit` with the tapes of a level at a crash point, until it breaks.
pub(super) fn visit(
    model: &Model,
    moment: &Moment,
    level: Level,
    visit: &mut dyn FnMut(Tape) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut each =
        |choices: Vec<Choice>| choices.into_iter().try_for_each(|choice| visit(Tape(vec![choice])));
    match level {
        Level::Kept => visit(Tape::default()),
        _ if moment.window.is_empty() => ControlFlow::Continue(()),
        Level::Lost => each(vec![Choice::LoseAll]),
        Level::Wide => {
            let inodes = inodes(model, moment).into_iter().map(Choice::LoseInode);
            each(ops(model, moment).into_iter().chain(inodes).collect())
        }
        Level::TornNow => each(torn(model, moment)),
        Level::Omitted(count) => Omissions::new(model, moment, count, false).visit(visit),
        Level::Torn(count) => Omissions::new(model, moment, count, true).visit(visit),
        Level::Sampled => ControlFlow::Continue(()),
    }
}

/// The tapes with exactly `count` omissions: with `torn`, those with a torn page among them, else those
/// without.
struct Omissions<'a> {
    model: &'a Model,
    moment: &'a Moment,
    count: usize,
    torn: bool,
    /// What each micro-op of the window takes with it.
    closures: Vec<(u32, Rc<BTreeSet<u32>>)>,
    /// What may become of a page where nothing else of its file is lost.
    spoilt: BTreeMap<u32, Vec<Choice>>,
}

impl<'a> Omissions<'a> {
    fn new(model: &'a Model, moment: &'a Moment, count: u32, torn: bool) -> Self {
        let closures = moment.window.iter().filter_map(|&id| {
            let lost = moment.closed_upward(model, [id]);
            is_first(model, moment, id, &lost).then(|| (id, Rc::new(lost)))
        });
        let closures = closures.collect();
        Omissions { model, moment, count: count as usize, torn, closures, spoilt: BTreeMap::new() }
    }

    fn visit(&mut self, visit: &mut dyn FnMut(Tape) -> ControlFlow<()>) -> ControlFlow<()> {
        self.deepen(&mut Vec::new(), &BTreeSet::new(), 0, visit)
    }

    /// Loses one more, of those from `from` on that `lost` does not hold and that take none of `chosen`.
    fn deepen(
        &mut self,
        chosen: &mut Vec<u32>,
        lost: &BTreeSet<u32>,
        from: usize,
        visit: &mut dyn FnMut(Tape) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for index in from..self.closures.len() {
            let (id, closure) = self.closures[index].clone();
            if lost.contains(&id) || chosen.iter().any(|other| closure.contains(other)) {
                continue;
            }
            let lost: BTreeSet<u32> = lost.union(&closure).copied().collect();
            chosen.push(id);
            self.tapes(chosen, &lost, visit)?;
            if chosen.len() < self.count {
                self.deepen(chosen, &lost, index + 1, visit)?;
            }
            chosen.pop();
        }
        ControlFlow::Continue(())
    }

    /// The tapes that lose just `lost`, of which `chosen` stand on none of it.
    fn tapes(
        &mut self,
        chosen: &[u32],
        lost: &BTreeSet<u32>,
        visit: &mut dyn FnMut(Tape) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut options: Vec<Vec<Choice>> = Vec::new();
        for &id in chosen {
            let mut of = vec![Choice::Lose(id)];
            of.extend(self.stale(id, lost));
            if self.torn {
                of.extend(self.torn_in(id, lost));
            }
            options.push(of);
        }
        if chosen.len() == self.count {
            return self.product(&options, &mut Vec::new(), visit);
        }
        // Stale bytes in place of what went with the chosen are omissions of their own.
        let more = lost.iter().filter(|id| !chosen.contains(id));
        let more: Vec<Choice> = more.filter_map(|&id| self.stale(id, lost)).collect();
        self.with_more(&mut options, &more, visit)
    }

    fn with_more(
        &self,
        options: &mut Vec<Vec<Choice>>,
        more: &[Choice],
        visit: &mut dyn FnMut(Tape) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if options.len() == self.count {
            return self.product(options, &mut Vec::new(), visit);
        }
        for (index, choice) in more.iter().enumerate() {
            options.push(vec![*choice]);
            self.with_more(options, &more[index + 1..], visit)?;
            options.pop();
        }
        ControlFlow::Continue(())
    }

    fn product(
        &self,
        options: &[Vec<Choice>],
        tape: &mut Vec<Choice>,
        visit: &mut dyn FnMut(Tape) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(of) = options.get(tape.len()) else {
            let torn = tape.iter().any(|choice| matches!(choice, Choice::Torn { .. }));
            let counts = torn == self.torn;
            return if counts { visit(Tape(tape.clone())) } else { ControlFlow::Continue(()) };
        };
        for choice in of {
            tape.push(*choice);
            self.product(options, tape, visit)?;
            tape.pop();
        }
        ControlFlow::Continue(())
    }

    fn stale(&self, id: u32, lost: &BTreeSet<u32>) -> Option<Choice> {
        may_be_stale(self.model, lost, id).then_some(Choice::Stale(id))
    }

    /// The torn pages in place of the lost change `id`.
    fn torn_in(&mut self, id: u32, lost: &BTreeSet<u32>) -> Vec<Choice> {
        let (model, moment) = (self.model, self.moment);
        let own =
            self.closures.iter().find(|(other, _)| *other == id).map(|(_, lost)| lost.clone());
        let own = own.expect("a chosen micro-op has a closure");
        let file = |id: &u32| model.micros.all[*id as usize].part.file();
        if model.profile.order == Kept::Everything
            || lost.difference(&own).any(|other| file(other) == file(&id))
        {
            return torn_pages(model, moment, lost, id);
        }
        let alone = || torn_pages(model, moment, &own, id);
        self.spoilt.entry(id).or_insert_with(alone).clone()
    }
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
    let unsynced = pages_of(model, moment);
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

/// The pages of the window with the micro-ops on them.
fn pages_of(model: &Model, moment: &Moment) -> BTreeMap<(Ino, u64), Vec<u32>> {
    let mut pages: BTreeMap<(Ino, u64), Vec<u32>> = BTreeMap::new();
    for &id in &moment.window {
        if let Part::Page(patch) = &model.micros.all[id as usize].part {
            pages.entry((patch.ino, patch.page)).or_default().push(id);
        }
    }
    pages
}
