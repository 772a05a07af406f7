//! Every distinct disk of a run within the bound, each once.
//!
//! Two disks are the same where nothing that a recovery can see differs: names, link identity, sizes,
//! contents, modes; and they are the same state only under the same marks, for the same bytes with more
//! acknowledged are a stricter question.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use super::bounded;
use super::build::{build, lost};
use super::tape::Tape;
use crate::disk::Disk;
use crate::model::{Model, Moment, Moments};
use crate::op::Ino;
use crate::trace::{Marks, Stamp};

/// A disk that a crash may leave, by what leads to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) stamp: Stamp,
    pub(crate) tape: Tape,
}

/// The distinct states of a model, and what it took to find them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listing {
    /// Crash points: every start and end of an op, and every mark.
    pub(crate) crash_points: u64,
    /// States before equal ones were joined.
    pub(crate) states: u64,
    /// One of each, in the order of crash points.
    pub(crate) distinct: Vec<State>,
}

impl Listing {
    /// Lists the states of `model`; `go_on` is asked at every crash point and may end it early. Crash
    /// points are all moments, or only those whose stamps are `places`.
    pub(crate) fn of(
        model: &Model,
        places: Option<&BTreeSet<Stamp>>,
        mut go_on: impl FnMut() -> bool,
    ) -> Listing {
        let mut listing = Listing { crash_points: 0, states: 0, distinct: Vec::new() };
        let mut known = Known::default();
        let mut moments = model.moments();
        let has = |stamp: Stamp| places.is_none_or(|places| places.contains(&stamp));
        if places.is_some() && has(moments.now().stamp) {
            listing.add(model, moments.now(), &mut known);
        }
        while let Some(moment) = moments.next() {
            if !has(moment.stamp) {
                continue;
            }
            listing.crash_points += 1;
            // A moment that was asked for is looked at, also where the one before it allowed the same.
            if (moment.is_new || places.is_some()) && go_on() {
                listing.add(model, moment, &mut known);
            }
        }
        listing.distinct.sort_by_cached_key(|state| (state.stamp, state.text_order()));
        listing
    }

    fn add(&mut self, model: &Model, moment: &Moment, known: &mut Known) {
        let next = known.marks.len() as u32;
        let marks = *known.marks.entry(moment.marks.clone()).or_insert(next);
        for tape in bounded::tapes(model, moment) {
            let Some(disk) = build(model, moment, &tape) else { continue };
            self.states += 1;
            let state = State { stamp: moment.stamp, tape };
            match known.states.entry((disk.digest(), marks)) {
                Entry::Vacant(entry) => {
                    entry.insert(self.distinct.len());
                    self.distinct.push(state);
                }
                Entry::Occupied(entry) => {
                    let best = &mut self.distinct[*entry.get()];
                    if state.text_order() < best.text_order() {
                        *best = state;
                    }
                }
            }
        }
    }
}

/// What has been listed.
#[derive(Default)]
struct Known {
    /// The place in the list, by the disk's hash and the number of the marks.
    states: HashMap<(u128, u32), usize>,
    marks: HashMap<Marks, u32>,
}

impl State {
    /// Of equal states the one with the shortest, then the first text in byte order is reported.
    fn text_order(&self) -> (usize, String) {
        let text = format!("{}-{}", self.stamp, self.tape);
        (text.len(), text)
    }
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

    fn moment(&mut self, stamp: Stamp) -> Option<&Moment> {
        if self.moments.now().stamp > stamp {
            self.moments = self.model.moments();
        }
        self.moments.seek(stamp)
    }

    /// The disk and the marks of a state; `None` where the model has no such state.
    pub(crate) fn build(&mut self, state: &State) -> Option<(Disk, Marks)> {
        let model = self.model;
        let moment = self.moment(state.stamp)?;
        Some((build(model, moment, &state.tape)?, moment.marks.clone()))
    }

    /// The smallest micro-ops that the state lost: those that were not lost for the sake of others.
    pub(crate) fn omitted(&mut self, state: &State) -> Vec<u32> {
        let model = self.model;
        let Some(moment) = self.moment(state.stamp) else { return Vec::new() };
        let lost = lost(model, moment, &state.tape).unwrap_or_default();
        let first = |id: &u32| !model.order.needs[*id as usize].iter().any(|n| lost.contains(n));
        lost.iter().copied().filter(first).collect()
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
