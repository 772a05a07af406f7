//! Every distinct disk of a run within the bound, each once.
//!
//! Two disks are the same where nothing that a recovery can see differs: names, link identity, sizes,
//! contents, modes; and they are the same state only under the same marks, for the same bytes with more
//! acknowledged are a stricter question.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::{ControlFlow, Range};

use fastrand::Rng;

use super::bound::Bound;
use super::bounded::{self, Level, is_first};
use super::build::{Change, build, lost};
use super::id::{Diff, Ids};
use super::mixed::Mixed;
use super::sample;
use super::tape::Tape;
use super::ways::{Loss, Way};
use super::window::{Places, Window};
use crate::disk::Disk;
use crate::model::{Model, Moment, Moments};
use crate::op::Ino;
use crate::trace::{Mark, Marks, Said, Stamp};

/// A disk that a crash may leave, by what leads to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) stamp: Stamp,
    pub(crate) tape: Tape,
}

/// The distinct states of a model within a bound, and what it took to find them.
///
/// Memory grows with the states that are listed, some 150 bytes each, and with what was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listing {
    /// Crash points: every start and end of an op, and every mark, or those that were asked for.
    pub(crate) crash_points: u64,
    /// States before equal ones were joined.
    pub(crate) states: u64,
    /// One of each, level by level; within one in the order in which they are to be checked.
    pub(crate) distinct: Vec<State>,
    /// What was listed of each level.
    pub(crate) levels: Vec<Covered>,
}

/// A state as it is told apart: the hash of the disk, and how many ids the marks hold. They only grow
/// along a run, so that of two points with as many the marks are the same.
type Key = (u128, u32);

/// What was listed of a level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Covered {
    pub(crate) level: Level,
    /// Crash points at which the level is complete.
    pub(crate) points: u64,
    /// Crash points at which disks differ from those of the one before.
    pub(crate) of_points: u64,
    /// Its states, as places in the list: those that were not found before.
    pub(crate) states: Range<usize>,
    /// Steps that the search for them took, and whether it ended before the budget did: see [`Bound::effort`].
    pub(crate) steps: u64,
    pub(crate) is_spent: bool,
}

impl Listing {
    /// Lists the states of `model` up to `bound`, the most telling first; `go_on` is asked at every crash
    /// point and may end it early. Crash points are all moments, or only those whose stamps are `places`.
    pub(crate) fn of(
        model: &Model,
        places: Option<&BTreeSet<Stamp>>,
        bound: &Bound,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Listing {
        let mut lister = Lister {
            model,
            levels: bounded::levels(&model.profile, bound.omissions),
            points: Vec::new(),
            crash_points: 0,
            states: 0,
            found: Vec::new(),
            known: HashSet::default(),
            go_on,
        };
        lister.find_points(places);
        let room = usize::try_from(bound.room()).unwrap_or(usize::MAX);
        let mut searched: Vec<Searched> = (0..lister.levels.len())
            .map(|level| lister.level(level, room, bound.steps()))
            .collect();
        for (level, searched) in searched.iter_mut().enumerate() {
            let steps = bound.steps().saturating_sub(searched.steps);
            lister.search(level, searched, room, steps);
        }
        let samples = bound.samples.min(bound.budget);
        lister.samples(usize::try_from(samples).unwrap_or(usize::MAX), bound.seed);
        lister.listing(&searched)
    }
}

/// How far the search of a level has come.
struct Searched {
    /// Crash points at which the level is complete.
    points: u64,
    /// Those that are left, by their turns.
    left: VecDeque<Vec<Point>>,
    steps: u64,
    /// The steps are used up.
    is_spent: bool,
}

/// What became of a pass: how many crash points are done, in how many steps.
struct Pass {
    done: usize,
    steps: u64,
    end: End,
}

/// Why a pass came to an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// All crash points are done.
    Whole,
    /// There is no room for the next one, or nobody waits for it any more.
    Full,
    /// The steps are used up.
    Spent,
}

/// A crash point at which there is something to list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Point {
    stamp: Stamp,
    /// When it has its turn where not all crash points fit: see [`turn`].
    turn: u8,
}

/// The turns of crash points.
const TURNS: u8 = 9;

/// First what follows an acknowledgement, then syncs, then the rest; of each first every fourth, so that
/// what is covered spreads over the run.
fn turn(acked: bool, sync: bool, index: usize) -> u8 {
    let class = if acked { 0 } else { 2 - u8::from(sync) };
    let spread = match index % 4 {
        0 => 0,
        2 => 1,
        _ => 2,
    };
    3 * class + spread
}

struct Lister<'a> {
    model: &'a Model,
    levels: Vec<Level>,
    points: Vec<Point>,
    crash_points: u64,
    states: u64,
    /// Each with its level, as a place among the levels, and with what tells it apart.
    found: Vec<(usize, Key, State)>,
    known: HashSet<Key, Mixed>,
    go_on: &'a mut dyn FnMut() -> bool,
}

impl Lister<'_> {
    fn find_points(&mut self, places: Option<&BTreeSet<Stamp>>) {
        let trace = &self.model.trace;
        let acked = trace.marks.iter().filter(|(_, mark)| matches!(mark, Mark::Ack(_)));
        let acked: BTreeSet<Stamp> = acked.map(|(stamp, _)| *stamp).collect();
        let syncs = trace.ops.iter().filter(|record| record.op.is_sync());
        let syncs: BTreeSet<Stamp> =
            syncs.flat_map(|record| std::iter::once(record.start).chain(record.end)).collect();
        let mut add = |stamp: Stamp, is_new: bool| {
            let counts = places.is_none_or(|places| places.contains(&stamp));
            self.crash_points += u64::from(counts);
            // A moment that was asked for is looked at, also where the one before it allowed the same.
            if counts && (is_new || places.is_some()) {
                let index = self.points.len();
                let turn = turn(acked.contains(&stamp), syncs.contains(&stamp), index);
                self.points.push(Point { stamp, turn });
            }
        };
        let mut moments = self.model.moments();
        if places.is_some() {
            add(moments.now().stamp, true);
        }
        while let Some(moment) = moments.next() {
            add(moment.stamp, moment.is_new);
        }
    }

    /// Lists a level: all of it where it fits into `room` states, else whole crash points in the order of
    /// their turns, up to the first that does not fit into half of what is left, or, of the last level, into all.
    fn level(&mut self, level: usize, room: usize, steps: u64) -> Searched {
        let (first, states) = (self.found.len(), self.states);
        let all = self.points.clone();
        let Pass { done, steps: taken, end } = self.pass(level, &all, room, steps / 2);
        let mut searched =
            Searched { points: done as u64, left: VecDeque::new(), steps: taken, is_spent: false };
        if end == End::Whole {
            return searched;
        }
        self.forget(first, states);
        let of_turn = |turn| all.iter().filter(|p| p.turn == turn).copied().collect();
        searched.points = 0;
        searched.left = (0..TURNS).map(of_turn).collect();
        let half = first + room.saturating_sub(first).div_ceil(2);
        let room = if level + 1 == self.levels.len() { room } else { half };
        self.search(level, &mut searched, room, steps / 2);
        searched
    }

    /// Goes on with a level that is not whole, up to the first crash point that does not fit.
    fn search(&mut self, level: usize, searched: &mut Searched, room: usize, mut steps: u64) {
        while let Some(points) = searched.left.front_mut()
            && self.found.len() < room
            && !searched.is_spent
        {
            let pass = self.pass(level, points, room, steps);
            points.drain(..pass.done);
            searched.points += pass.done as u64;
            searched.steps += pass.steps;
            searched.is_spent = pass.end == End::Spent;
            steps -= pass.steps.min(steps);
            match pass.end {
                End::Whole => drop(searched.left.pop_front()),
                End::Full | End::Spent => return,
            }
        }
    }

    /// Lists a level at these crash points, in order, until there are `room` states or so many steps are taken.
    fn pass(&mut self, level: usize, points: &[Point], room: usize, steps: u64) -> Pass {
        let mut walk = Walk::new(self.model);
        walk.window.last_step = steps;
        for (done, point) in points.iter().enumerate() {
            if !(self.go_on)() {
                return Pass { done, steps: walk.window.steps(), end: End::Full };
            }
            let (first, states) = (self.found.len(), self.states);
            let (window, mut at) = walk.to(point.stamp);
            let whole =
                bounded::visit(window, at.moment, self.levels[level], &mut |window, look| {
                    self.states += look.tapes();
                    let loss = window.loss(at.moment, look.lost);
                    look.each(&mut |ways| {
                        if let Some(key) =
                            at.key(window, look.lost, &loss, ways, &|| look.tape(ways))
                        {
                            let state = || State { stamp: point.stamp, tape: look.tape(ways) };
                            self.add(level, key, state);
                        }
                        match self.found.len() > room || window.is_spent() {
                            true => ControlFlow::Break(()),
                            false => ControlFlow::Continue(()),
                        }
                    })
                });
            if whole.is_break() || window.is_spent() {
                let end = if self.found.len() > room { End::Full } else { End::Spent };
                self.forget(first, states);
                return Pass { done, steps: window.steps(), end };
            }
        }
        Pass { done: points.len(), steps: walk.window.steps(), end: End::Whole }
    }

    /// Adds a state, unless it is known.
    fn add(&mut self, level: usize, key: Key, state: impl FnOnce() -> State) {
        if self.known.insert(key) {
            self.found.push((level, key, state()));
        }
    }

    /// Forgets all states from this one on.
    fn forget(&mut self, first: usize, states: u64) {
        for (_, key, _) in self.found.drain(first..) {
            self.known.remove(&key);
        }
        self.states = states;
    }

    /// Draws states until `count` new ones are found, or few new ones are left to be found.
    fn samples(&mut self, count: usize, seed: u64) {
        let first = self.found.len();
        let mut random = Rng::with_seed(seed);
        while self.found.len() < first + count && !self.points.is_empty() {
            let missing = first + count - self.found.len();
            let before = self.found.len();
            let mut draws: Vec<(usize, u64)> = Vec::new();
            draws
                .extend((0..missing).map(|_| (random.usize(0..self.points.len()), random.u64(..))));
            draws.sort_unstable();
            self.draw(&draws);
            let found = self.found.len() - before;
            if found * 4 < missing || !(self.go_on)() {
                break;
            }
        }
    }

    /// One state for each pair of a crash point and a seed; the points ascend.
    fn draw(&mut self, draws: &[(usize, u64)]) {
        let mut walk = Walk::new(self.model);
        for (point, seed) in draws {
            let stamp = self.points[*point].stamp;
            let (window, mut at) = walk.to(stamp);
            if window.len() == 0 {
                continue;
            }
            let drawn = sample::draw(window, at.moment, &mut Rng::with_seed(*seed));
            self.states += 1;
            let loss = window.loss(at.moment, &drawn.lost);
            let ways: Vec<&Way> = drawn.spoilt.iter().collect();
            if let Some(key) = at.key(window, &drawn.lost, &loss, &ways, &|| drawn.tape()) {
                self.add(self.levels.len(), key, || State { stamp, tape: drawn.tape() });
            }
        }
    }

    /// What was found, level by level.
    fn listing(mut self, searched: &[Searched]) -> Listing {
        self.found.sort_by_key(|(level, ..)| *level);
        let of_points = self.points.len() as u64;
        let states = |level: usize| {
            let first = self.found.partition_point(|(of, ..)| *of < level);
            first..self.found.partition_point(|(of, ..)| *of <= level)
        };
        let levels = self.levels.iter().zip(searched).enumerate();
        let levels = levels.map(|(index, (level, searched))| Covered {
            level: *level,
            points: searched.points,
            of_points,
            states: states(index),
            steps: searched.steps,
            is_spent: searched.is_spent,
        });
        let drawn = Covered {
            level: Level::Sampled,
            points: 0,
            of_points,
            states: states(self.levels.len()),
            steps: 0,
            is_spent: false,
        };
        Listing {
            crash_points: self.crash_points,
            states: self.states,
            levels: levels.chain([drawn]).collect(),
            distinct: self.found.into_iter().map(|(_, _, state)| state).collect(),
        }
    }
}

/// Goes from crash point to crash point, with all by which states are told apart.
struct Walk<'a> {
    moments: Moments<'a>,
    window: Window<'a>,
    ids: Ids<'a>,
    /// What the states are worth that were looked at since anything was said or became durable.
    seen: HashSet<u128, Mixed>,
    marks: u32,
}

impl<'a> Walk<'a> {
    fn new(model: &'a Model) -> Self {
        Walk {
            moments: model.moments(),
            window: Window::new(model),
            ids: Ids::new(model),
            seen: HashSet::default(),
            marks: 0,
        }
    }

    /// To a crash point of the run that is no earlier than the last.
    fn to(&mut self, stamp: Stamp) -> (&mut Window<'a>, At<'a, '_>) {
        let moment = self.moments.seek(stamp).expect("a crash point of this run");
        self.ids.follow(moment);
        let marks = marks_of(moment);
        if self.window.follow(moment) || self.marks != marks {
            self.seen.clear();
        }
        self.marks = marks;
        let at = At { moment, ids: &self.ids, seen: &mut self.seen, marks };
        (&mut self.window, at)
    }
}

/// A crash point.
struct At<'a, 'w> {
    moment: &'w Moment,
    ids: &'w Ids<'a>,
    seen: &'w mut HashSet<u128, Mixed>,
    marks: u32,
}

impl At<'_, '_> {
    /// The key of a state, unless one that is worth the same was looked at.
    fn key(
        &mut self,
        window: &Window<'_>,
        lost: &Places,
        loss: &Loss,
        ways: &[&Way],
        tape: &dyn Fn() -> Tape,
    ) -> Option<Key> {
        let (model, moment) = (window.model, self.moment);
        let is_twice = |(at, way): (usize, &&Way)| {
            way.page.is_some() && ways[..at].iter().any(|w| w.page == way.page)
        };
        let diff = if ways.iter().enumerate().any(is_twice) {
            // What becomes of a page twice is not what becomes of it once and once.
            Diff::from(Change::of(model, moment, &tape()).expect("a listed tape is legal"))
        } else if self.seen.insert(loss.with(window, ways)) {
            window.diff(lost, loss, ways)
        } else {
            return None;
        };
        Some((self.ids.of(moment, &diff), self.marks))
    }
}

/// What tells the marks of two points of one run apart.
fn marks_of(moment: &Moment) -> u32 {
    let Marks { issued, acked, failed } = &*moment.marks;
    (issued.len() + acked.len() + failed.len()) as u32
}

/// Builds states of a model one after the other; cheap where their crash points ascend.
pub(crate) struct Builder<'a> {
    model: &'a Model,
    moments: Moments<'a>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(model: &'a Model) -> Self {
        Builder { model, moments: model.moments() }
    }

    pub(super) fn model(&self) -> &'a Model {
        self.model
    }

    pub(super) fn moment(&mut self, stamp: Stamp) -> Option<&Moment> {
        if self.moments.now().stamp > stamp {
            self.moments = self.model.moments();
        }
        self.moments.seek(stamp)
    }

    /// The disk and the marks of a state; `None` where the model has no such state.
    pub(crate) fn build(&mut self, state: &State) -> Option<(Disk, Said)> {
        let model = self.model;
        let moment = self.moment(state.stamp)?;
        Some((build(model, moment, &state.tape)?, moment.marks.clone()))
    }

    /// The smallest micro-ops that the state lost: those that were not lost for the sake of others.
    pub(crate) fn omitted(&mut self, state: &State) -> Vec<u32> {
        let model = self.model;
        let Some(moment) = self.moment(state.stamp) else { return Vec::new() };
        let lost = lost(model, moment, &state.tape).unwrap_or_default();
        lost.iter().copied().filter(|id| is_first(model, moment, *id, &lost)).collect()
    }

    /// The micro-ops that no sync had covered at the crash point of a state, and those of them that it lost.
    #[cfg(feature = "html")]
    pub(crate) fn open(&mut self, state: &State) -> Option<(BTreeSet<u32>, BTreeSet<u32>)> {
        let model = self.model;
        let moment = self.moment(state.stamp)?;
        Some((moment.window.iter().copied().collect(), lost(model, moment, &state.tape)?))
    }

    /// Directories that the run made at the top and that the state lost, with all that is in them.
    pub(crate) fn lost_top_directories(&mut self, state: &State) -> Vec<Ino> {
        let model = self.model;
        let Some(moment) = self.moment(state.stamp) else { return Vec::new() };
        let lost = lost(model, moment, &state.tape).unwrap_or_default();
        let made = lost.iter().filter_map(|&id| {
            match &model.trace.ops[model.micros.all[id as usize].op].op {
                crate::op::Op::Create { slot, ino, kind: crate::op::Kind::Dir, .. }
                    if slot.dir == Ino::ROOT =>
                {
                    Some(*ino)
                }
                _ => None,
            }
        });
        made.collect()
    }
}
