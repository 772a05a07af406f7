//! From a state to those that lose less at the same crash point: the steps in which a failure is shrunk.
//!
//! What a state lost is a set that is closed: whatever needs something that is lost is lost too. Less is
//! lost where a part of it is given back and the rest is closed again, so that every step leads to a legal
//! state. There are as few steps as can be from a state to those right below it: of the ops that stand on
//! nothing lost each is given back, once by itself, and once with all that was lost for its sake alone.

use std::collections::BTreeSet;

use super::bounded::{is_first, may_be_stale, mixes};
use super::build::{self, kept_under};
use super::sample::words;
use super::states::{Builder, State};
use super::tape::{Choice, Tape};
use crate::model::{Model, Moment};

impl Builder<'_> {
    /// The micro-ops that a state lost, in order; none where the model has no such state.
    pub(crate) fn lost(&mut self, state: &State) -> Vec<u32> {
        let model = self.model();
        let lost = self.moment(state.stamp).and_then(|at| build::lost(model, at, &state.tape));
        lost.unwrap_or_default().into_iter().collect()
    }

    /// The state with these micro-ops given back, but for those that stand on others which stay lost.
    pub(crate) fn given_back(&mut self, state: &State, given: &[u32]) -> Option<State> {
        let model = self.model();
        let moment = self.moment(state.stamp)?;
        let lost = build::lost(model, moment, &state.tape)?;
        let kept = lost.iter().copied().filter(|id| !given.contains(id));
        let fewer = moment.closed_upward(model, kept);
        let tape = (fewer != lost).then(|| tape(model, moment, &fewer, &state.tape));
        tape.map(|tape| State { stamp: state.stamp, tape })
    }

    /// The states one step below: each op that stands on nothing lost given back; each torn or stale page
    /// lost whole, which is the simpler story; and of each torn page more sectors arrived.
    pub(crate) fn simpler(&mut self, state: &State) -> Vec<State> {
        let model = self.model();
        let Some(moment) = self.moment(state.stamp) else { return Vec::new() };
        let Some(lost) = build::lost(model, moment, &state.tape) else { return Vec::new() };
        let mut tapes = Vec::new();
        let first: Vec<u32> =
            lost.iter().copied().filter(|id| is_first(model, moment, *id, &lost)).collect();
        for id in &first {
            let others = first.iter().copied().filter(|other| other != id);
            let with_it = moment.closed_upward(model, others);
            for fewer in [with_it, without(model, moment, &lost, *id)] {
                if fewer.len() < lost.len() && !fewer.contains(id) {
                    tapes.push(tape(model, moment, &fewer, &state.tape));
                }
            }
        }
        for (index, choice) in state.tape.0.iter().enumerate() {
            let instead = |choice: Option<Choice>| {
                let mut choices = state.tape.0.clone();
                choices.splice(index..=index, choice);
                tape(model, moment, &lost, &Tape(choices))
            };
            if let Choice::Torn { newer, older, sectors } = *choice {
                let mut more: Vec<u8> = mixes(model, moment, newer, older)
                    .into_iter()
                    .filter_map(|mix| match mix {
                        Choice::Torn { sectors: more, .. } => Some(more),
                        _ => None,
                    })
                    .filter(|more| more & sectors == sectors && *more != sectors)
                    .collect();
                more.sort_by_key(|more| (more.count_zeros(), *more));
                tapes.push(instead(None));
                let torn = |sectors| Choice::Torn { newer, older, sectors };
                tapes.extend(more.into_iter().map(|sectors| instead(Some(torn(sectors)))));
            } else if let Choice::Stale(_) = choice {
                tapes.push(instead(None));
            }
        }
        let mut seen = BTreeSet::from([state.tape.clone()]);
        tapes.retain(|tape| seen.insert(tape.clone()));
        tapes.into_iter().map(|tape| State { stamp: state.stamp, tape }).collect()
    }
}

/// What is lost besides `id`, and besides what takes `id` with it.
fn without(model: &Model, moment: &Moment, lost: &BTreeSet<u32>, id: u32) -> BTreeSet<u32> {
    let closed = |ids: &mut dyn Iterator<Item = u32>| moment.closed_upward(model, ids);
    let alone = closed(&mut lost.iter().copied().filter(|other| *other != id));
    if !alone.contains(&id) {
        return alone;
    }
    lost.iter().copied().filter(|other| !closed(&mut [*other].into_iter()).contains(&id)).collect()
}

/// A tape that loses just `lost`, with the torn and stale pages of `of` as far as there may be any.
fn tape(model: &Model, moment: &Moment, lost: &BTreeSet<u32>, of: &Tape) -> Tape {
    let spoilt: Vec<Choice> =
        of.0.iter().filter_map(|choice| spoilt(model, moment, lost, *choice)).collect();
    let own = build::lost(model, moment, &Tape(spoilt.clone())).unwrap_or_default();
    let named = |id: &u32| is_first(model, moment, *id, lost) && !own.contains(id);
    let places = lost.iter().filter(|id| named(id)).map(|id| moment.window.binary_search(id));
    let places = places.map(|place| place.expect("what is lost is in the window")).collect();
    let mut choices = words(&moment.window, &places);
    choices.extend(spoilt);
    Tape(choices)
}

/// A torn or stale page where no more than `lost` is lost; a torn one over what is kept of it by then.
fn spoilt(model: &Model, moment: &Moment, lost: &BTreeSet<u32>, choice: Choice) -> Option<Choice> {
    match choice {
        Choice::Stale(id) => {
            (lost.contains(&id) && may_be_stale(model, lost, id)).then_some(choice)
        }
        Choice::Torn { newer, older, sectors } if lost.contains(&newer) => {
            let olders = [older, kept_under(model, moment, lost, newer)];
            olders.into_iter().map(|older| Choice::Torn { newer, older, sectors }).find(|choice| {
                let own = build::lost(model, moment, &Tape(vec![*choice]));
                let Choice::Torn { newer, older, sectors } = *choice else { return false };
                own.is_some_and(|own| own.is_subset(lost))
                    && build::torn(model, moment, lost, newer, older, sectors).is_some()
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::complete;
    use super::super::drawn::{Ops, program, programs};
    use super::super::proof::{at_moments, listing};
    use super::*;
    use crate::model::Profile;
    use std::sync::Arc;

    /// Every step leads to a legal disk, loses no more than before, and leads there by its own tape; and each
    /// op that stands on nothing lost is given back by some step.
    #[test]
    fn a_step_leads_to_a_legal_state_that_loses_less() {
        let mut steps = [0; 3];
        for (ops, length, micros) in [(Ops::Names, 6, 8), (Ops::Both, 3, 4), (Ops::Content, 2, 3)] {
            for seed in programs(3) {
                let trace = Arc::new(program(seed, ops, length, 1 + seed as usize % 3));
                for profile in Profile::ALL {
                    let model = Model::new(trace.clone(), profile);
                    at_moments(&model, micros, |moment| {
                        let legal = complete::disks(&model, moment);
                        for (tape, _) in legal.values().step_by(1 + legal.len() / 20) {
                            let at =
                                |tape: &Tape| State { stamp: moment.stamp, tape: tape.clone() };
                            let mut builder = Builder::new(&model);
                            let lost: BTreeSet<u32> = builder.lost(&at(tape)).into_iter().collect();
                            let mut given = BTreeSet::new();
                            for below in builder.simpler(&at(tape)) {
                                let told = || {
                                    let ops = listing(&trace);
                                    format!(
                                        "seed {seed}, {profile}: {tape} to {}\n{ops}",
                                        below.tape
                                    )
                                };
                                let Some((disk, _)) = builder.build(&below) else {
                                    panic!("no state: {}", told());
                                };
                                assert!(legal.contains_key(&disk.digest()), "illegal: {}", told());
                                let now = builder.lost(&below).into_iter().collect();
                                assert!(lost.is_superset(&now), "more is lost: {}", told());
                                given.extend(lost.difference(&now).copied());
                                let spoilt = below.tape.0.iter().filter(|c| c.spoils()).count();
                                let before = tape.0.iter().filter(|c| c.spoils()).count();
                                let kind = usize::from(now == lost) + usize::from(spoilt == before);
                                steps[kind] += 1;
                            }
                            for id in builder.omitted(&at(tape)) {
                                // What is lost through something durable cannot be had alone.
                                let alone = moment.closed_upward(&model, [id]);
                                if is_first(&model, moment, id, &alone) {
                                    assert!(given.contains(&id), "{id} of {tape} stays lost");
                                }
                            }
                        }
                    });
                }
            }
        }
        assert!(steps.iter().all(|count| *count > 100), "{steps:?} steps are too few");
    }
}
