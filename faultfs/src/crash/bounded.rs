//! The states with at most so many omissions or torn pages, level by level, and a few that lose more and
//! that real machines leave.
//!
//! An omission is one micro-op that is lost, with all that stands on it; or one page of which only a part
//! arrived, or in whose place stale bytes show. Whatever a state loses, it is counted by the omissions of
//! which none stands on another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::rc::Rc;

use super::build::{self, differing, kept_under, tears};
use super::tape::{Choice, Older, Tape};
use super::ways::{Way, Ways};
use super::window::{Places, Window};
use crate::model::{Model, Moment, Part, Profile};
use crate::op::{Ino, Op};

/// A part of the states of a crash point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    /// Nothing is lost.
    Kept,
    /// Everything unsynced is lost.
    Lost,
    /// So many omissions, and no torn page.
    Omitted(u32),
    /// An op from one of its micro-ops on (a write in flight may have copied any prefix of its pages), or
    /// all that one inode has unsynced.
    Wide,
    /// A torn page of the writes and syncs under way, which tear most.
    TornNow,
    /// So many omissions, at least one of them a torn page.
    Torn(u32),
    /// Any number of either, drawn by a seed.
    Sampled,
}

/// The levels up to `omissions` omissions, the most telling first.
pub(crate) fn levels(profile: &Profile, omissions: u32) -> Vec<Level> {
    let mut levels = vec![Level::Kept, Level::Lost];
    for count in 1..=omissions {
        levels.push(Level::Omitted(count));
        if count == 1 {
            levels.push(Level::Wide);
        }
        if profile.torn_pages {
            levels.extend((count == 1).then_some(Level::TornNow));
            levels.push(Level::Torn(count));
        }
    }
    levels
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::Kept => f.write_str("nothing lost"),
            Level::Lost => f.write_str("everything unsynced lost"),
            Level::Omitted(1) => f.write_str("1 omission"),
            Level::Omitted(count) => write!(f, "{count} omissions"),
            Level::Wide => f.write_str("an op's tail or all of one inode lost"),
            Level::TornNow => f.write_str("1 torn page of what was under way"),
            Level::Torn(1) => f.write_str("1 omission or torn page"),
            Level::Torn(count) => write!(f, "{count} omissions or torn pages"),
            Level::Sampled => f.write_str("sampled"),
        }
    }
}

/// What is looked at at once: a loss, and what may stand in place of its pages.
pub(crate) struct Look<'l> {
    pub(crate) lost: &'l Places,
    /// What the tape says, where it names no micro-op by itself.
    pub(crate) named: Option<Choice>,
    /// Else one choice from each of these.
    pub(crate) options: &'l [Rc<Ways>],
    /// Those with a torn page among them, or those without.
    pub(crate) torn: bool,
}

impl<'l> Look<'l> {
    /// A loss of which each page is lost as a whole.
    fn at(lost: &'l Places, named: Option<Choice>) -> Self {
        Look { lost, named, options: &[], torn: false }
    }

    /// How many tapes there are.
    pub(crate) fn tapes(&self) -> u64 {
        let count = |of: fn(&Ways) -> usize| -> u64 {
            self.options.iter().map(|ways| of(ways) as u64).product()
        };
        let whole = count(|ways| ways.all.len() - ways.torn);
        if self.torn { count(|ways| ways.all.len()) - whole } else { whole }
    }

    /// Calls `visit` with the choices of each tape that does not look like one before it.
    pub(crate) fn each(
        &self,
        visit: &mut dyn FnMut(&[&Way]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.product(&mut Vec::with_capacity(self.options.len()), false, visit)
    }

    fn product(
        &self,
        ways: &mut Vec<&'l Way>,
        torn: bool,
        visit: &mut dyn FnMut(&[&Way]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(of) = self.options.get(ways.len()) else {
            return if torn == self.torn { visit(ways) } else { ControlFlow::Continue(()) };
        };
        for index in &of.distinct {
            let way = &of.all[*index];
            ways.push(way);
            self.product(ways, torn || way.is_torn(), visit)?;
            ways.pop();
        }
        ControlFlow::Continue(())
    }

    /// The tape of these choices.
    pub(crate) fn tape(&self, ways: &[&Way]) -> Tape {
        let choices = ways.iter().map(|way| way.choice);
        Tape(self.named.into_iter().chain(choices).collect())
    }
}

/// Takes what is looked at, and says whether to go on.
pub(crate) type Visit<'v> = dyn FnMut(&Window<'_>, Look<'_>) -> ControlFlow<()> + 'v;

/// Calls `visit` with what a level has at a crash point, until it breaks.
pub(crate) fn visit(
    window: &mut Window<'_>,
    moment: &Moment,
    level: Level,
    visit: &mut Visit<'_>,
) -> ControlFlow<()> {
    match level {
        Level::Kept => visit(window, Look::at(&window.none(), None)),
        _ if window.len() == 0 => ControlFlow::Continue(()),
        Level::Lost => {
            let mut all = window.none();
            all.insert_range(..);
            visit(window, Look::at(&all, Some(Choice::LoseAll)))
        }
        Level::Wide => wide(window.model, moment).into_iter().try_for_each(|(choice, ids)| {
            window.step(ids.len());
            let places = ids.into_iter().filter_map(|id| window.place(id));
            let lost = window.closed(moment, places);
            visit(window, Look::at(&lost, Some(choice)))
        }),
        Level::TornNow => torn_now(window, moment, visit),
        Level::Omitted(count) => Omissions::new(window, moment, count, false).visit(visit),
        Level::Torn(count) => Omissions::new(window, moment, count, true).visit(visit),
        Level::Sampled => ControlFlow::Continue(()),
    }
}

/// The losses with exactly `count` omissions: with `torn`, those with a torn page among them, else those
/// without.
struct Omissions<'a, 'w> {
    window: &'a mut Window<'w>,
    moment: &'a Moment,
    count: usize,
    torn: bool,
    chosen: Vec<usize>,
    options: Vec<Rc<Ways>>,
}

impl<'a, 'w> Omissions<'a, 'w> {
    fn new(window: &'a mut Window<'w>, moment: &'a Moment, count: u32, torn: bool) -> Self {
        let count = count as usize;
        Omissions { window, moment, count, torn, chosen: Vec::new(), options: Vec::new() }
    }

    fn visit(mut self, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let nothing = self.window.none();
        self.deepen(&nothing, 0, visit)
    }

    /// Loses one more, of those from `from` on that `lost` does not hold and that take none of the chosen.
    fn deepen(&mut self, lost: &Places, from: usize, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let mut with = self.window.none();
        let mut next = from;
        while let Some(place) = first_zero(lost, next) {
            next = place + 1;
            let closure = self.window.closure(self.moment, place);
            self.window.step(1);
            if self.window.is_spent() {
                return ControlFlow::Break(());
            }
            if !self.window.leads(self.moment, place, &closure)
                || self.chosen.iter().any(|other| closure.contains(*other))
            {
                continue;
            }
            with.clone_from(lost);
            with.union_with(&closure);
            drop(closure);
            self.chosen.push(place);
            self.look(&with, visit)?;
            if self.chosen.len() < self.count {
                self.deepen(&with, next, visit)?;
            }
            self.chosen.pop();
        }
        ControlFlow::Continue(())
    }

    /// What may become of `lost`, of which the chosen stand on none of it.
    fn look(&mut self, lost: &Places, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let missing = self.count - self.chosen.len();
        if missing > 0 && !self.window.model.profile.stale_bytes {
            return ControlFlow::Continue(());
        }
        self.window.step(if missing > 0 { lost.count_ones(..) } else { 0 });
        // Stale bytes in place of what went with the chosen are omissions of their own.
        let more = lost.ones().filter(|place| missing > 0 && !self.chosen.contains(place));
        let more = more.filter_map(|place| self.window.stale(self.moment, place, lost));
        let more: Vec<Rc<Ways>> = more.map(|way| Rc::new(Ways::only(way))).collect();
        if more.len() < missing {
            return ControlFlow::Continue(());
        }
        self.options.clear();
        for index in 0..self.chosen.len() {
            let ways = self.window.ways(self.moment, self.chosen[index], lost, self.torn);
            self.options.push(ways);
        }
        self.with_more(lost, &more, visit)
    }

    fn with_more(
        &mut self,
        lost: &Places,
        more: &[Rc<Ways>],
        visit: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        if self.options.len() == self.count {
            let (options, torn) = (&self.options[..], self.torn);
            return visit(self.window, Look { lost, named: None, options, torn });
        }
        for (index, stale) in more.iter().enumerate() {
            self.options.push(stale.clone());
            self.with_more(lost, &more[index + 1..], visit)?;
            self.options.pop();
        }
        ControlFlow::Continue(())
    }
}

/// The first place from `from` on that is not lost.
fn first_zero(lost: &Places, from: usize) -> Option<usize> {
    const BITS: usize = usize::BITS as usize;
    let blocks = lost.as_slice().iter().enumerate().skip(from / BITS);
    let behind =
        |index: usize| if index == from / BITS { usize::MAX << (from % BITS) } else { usize::MAX };
    let mut free = blocks.map(|(index, block)| (index, !block & behind(index)));
    let (index, free) = free.find(|(_, free)| *free != 0)?;
    let place = index * BITS + free.trailing_zeros() as usize;
    (place < lost.len()).then_some(place)
}

/// True where nothing on which a lost micro-op stands is lost.
pub(crate) fn is_first(model: &Model, moment: &Moment, id: u32, lost: &BTreeSet<u32>) -> bool {
    !moment.needs(model, id).iter().any(|need| lost.contains(need))
}

/// True where the size step that exposes the page of a lost write was kept, and the profile lets the
/// device's old bytes show.
pub(crate) fn may_be_stale(model: &Model, lost: &BTreeSet<u32>, id: u32) -> bool {
    let Part::Page(patch) = &model.micros.all[id as usize].part else { return false };
    model.profile.stale_bytes && patch.exposed_by.is_some_and(|step| !lost.contains(&step))
}

/// The torn pages that may stand in place of the lost change `id`, on which no other lost one needs to
/// be put first.
pub(crate) fn torn_pages(
    model: &Model,
    moment: &Moment,
    lost: &BTreeSet<u32>,
    id: u32,
) -> Vec<Choice> {
    let Part::Page(patch) = &model.micros.all[id as usize].part else { return Vec::new() };
    if !model.profile.torn_pages {
        return Vec::new();
    }
    // The page is as it was kept, or was never written; the write-back of any later version of it was cut
    // short, up to where its file was cut.
    let is_page = |id: &u32| matches!(model.micros.all[*id as usize].part, Part::Page(_));
    let older = kept_under(model, moment, lost, id);
    let versions = moment.versions(model, (patch.ino, patch.page));
    let newer = versions.skip_while(|v| *v < id).take_while(|v| is_page(v));
    let newer = newer.filter(|v| lost.contains(v));
    let pairs = newer.flat_map(|newer| [(newer, older), (newer, Older::Stale)]);
    let pairs = pairs.filter(|&(newer, older)| fits(model, moment, lost, id, newer, older));
    pairs.flat_map(|(newer, older)| mixes(model, moment, newer, older)).collect()
}

/// True where a torn page loses `id` and nothing but what is lost, and may look so beside it.
fn fits(
    model: &Model,
    moment: &Moment,
    lost: &BTreeSet<u32>,
    id: u32,
    newer: u32,
    older: Older,
) -> bool {
    let sectors = 0;
    let own = build::lost(model, moment, &Tape(vec![Choice::Torn { newer, older, sectors }]));
    own.is_some_and(|own| own.contains(&id) && own.is_subset(lost))
        && build::tearing(model, moment, lost, newer, older).is_some()
}

/// What is lost together though no rule ties it: ops from each of their micro-ops on (a write in flight may
/// have copied any prefix of its pages), and all that is unsynced of an inode.
pub(super) fn wide(model: &Model, moment: &Moment) -> Vec<(Choice, Vec<u32>)> {
    let open = |id: &u32| moment.window.binary_search(id).is_ok();
    let ops: BTreeSet<usize> =
        moment.window.iter().map(|&id| model.micros.all[id as usize].op).collect();
    let tails = |op: usize| {
        let range = model.micros.of_op[op].clone();
        let parts = range.clone().filter(open).count();
        // The last micro-op alone is an omission of its own already.
        let from = (0..range.len().saturating_sub(1) as u32).filter(move |_| parts > 1);
        from.map(move |from| {
            let ids = range.clone().skip(from as usize).filter(open).collect();
            (Choice::LoseOp { op, from }, ids)
        })
    };
    let mut inodes: BTreeMap<Ino, (BTreeSet<usize>, Vec<u32>)> = BTreeMap::new();
    for &id in &moment.window {
        let micro = &model.micros.all[id as usize];
        let mut add = |ino| {
            let (ops, ids) = inodes.entry(ino).or_default();
            ops.insert(micro.op);
            ids.push(id);
        };
        match &micro.part {
            Part::Slots(changes) => changes.iter().for_each(|(slot, _)| add(slot.dir)),
            part => part.ino().into_iter().for_each(add),
        }
    }
    // Of which several ops are unsynced.
    let several = inodes.into_iter().filter(|(_, (ops, _))| ops.len() > 1);
    let inodes = several.map(|(ino, (_, ids))| (Choice::LoseInode(ino), ids));
    ops.into_iter().flat_map(tails).chain(inodes).collect()
}

/// Torn pages of what is under way: of a write the pages that it touches, of a sync all unsynced ones that
/// it covers.
fn torn_now(window: &mut Window<'_>, moment: &Moment, visit: &mut Visit<'_>) -> ControlFlow<()> {
    let model = window.model;
    let mut pages: BTreeSet<(Ino, u64)> = BTreeSet::new();
    for &op in &moment.latest {
        let of = |ino: Ino| window.unsynced_pages(ino).map(move |page| (ino, page));
        match &model.trace.ops[op].op {
            Op::Sync { ino, .. } | Op::SyncMap { ino, .. } | Op::StartWriteback { ino } => {
                pages.extend(of(*ino));
            }
            Op::SyncAll => pages.extend(window.unsynced_files().flat_map(of)),
            _ => pages.extend(model.micros.of_op[op].clone().filter_map(|id| {
                match &model.micros.all[id as usize].part {
                    Part::Page(patch) => Some((patch.ino, patch.page)),
                    _ => None,
                }
            })),
        }
    }
    for page in pages {
        let Some(newest) = window.newest(page) else { continue };
        for (lost, ways) in window.torn_page(moment, page, newest) {
            if !ways.all.is_empty() {
                let options = [Rc::new(ways)];
                visit(window, Look { lost: &lost, named: None, options: &options, torn: true })?;
            }
        }
    }
    ControlFlow::Continue(())
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
    let sectors = tears(differing(&none, &all)).iter();
    sectors.map(|&sectors| Choice::Torn { newer, older, sectors }).collect()
}
