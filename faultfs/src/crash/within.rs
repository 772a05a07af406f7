//! The bounded listing against the complete one, on random programs: what is within the bound is all
//! there, what is drawn beyond is legal, and states are told apart as their disks are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use fastrand::Rng;

use super::build::{Change, build};
use super::drawn::{Ops, program, programs};
use super::id::{Diff, Ids};
use super::proof::{at_moments, listing, shown, tapes};
use super::tape::{Choice, Tape};
use super::{Bound, Builder, Level, Listing, bounded, brute, complete, litmus};
use crate::model::{Model, Profile};
use crate::op::Op;
use crate::trace::{Mark, Stamp, Trace};

fn bound(omissions: u32) -> Bound {
    Bound { omissions, samples: 0, budget: u64::MAX, ..Bound::default() }
}

/// A random program under the weakest profile, the one whose renames come in halves, and another.
fn models(seed: u64, ops: Ops, length: usize) -> Vec<Model> {
    let trace = Arc::new(program(seed, ops, length, 1 + seed as usize % 3));
    under_some_profiles(&trace, seed)
}

fn under_some_profiles(trace: &Arc<Trace>, seed: u64) -> Vec<Model> {
    let other = Profile::ALL[seed as usize % Profile::ALL.len()];
    let profiles = [Profile::POSIX, Profile::EXT2, other];
    profiles.into_iter().map(|profile| Model::new(trace.clone(), profile)).collect()
}

/// The disks with at most `k` omissions, by the filter of the complete listing: the tapes of a complete
/// listing name every omission by itself.
fn within(all: &BTreeMap<u128, (Tape, crate::disk::Disk)>, k: u32) -> BTreeSet<u128> {
    let few = all.iter().filter(|(_, (tape, _))| tape.0.len() <= k as usize);
    few.map(|(digest, _)| *digest).collect()
}

#[test]
fn the_bounded_listing_is_the_complete_one_up_to_its_bound() {
    let mut disks = [0; 4];
    for (ops, length, micros) in [(Ops::Names, 5, 8), (Ops::Both, 3, 4), (Ops::Content, 2, 3)] {
        for seed in programs(14) {
            for model in models(seed, ops, length) {
                at_moments(&model, micros, |moment| {
                    let all = complete::disks(&model, moment);
                    for k in 0..=3 {
                        let counts = |tape: &Tape| {
                            let wide = |choice: &Choice| {
                                matches!(
                                    choice,
                                    Choice::LoseAll | Choice::LoseOp { .. } | Choice::LoseInode(_)
                                )
                            };
                            !tape.0.iter().any(wide)
                        };
                        let found = tapes(&model, moment, k).into_iter().filter(counts);
                        // Torn pages of what is under way are a part of all torn pages.
                        let found = found.filter(|tape| tape.0.len() <= k as usize);
                        let found: BTreeSet<u128> = found
                            .map(|tape| build(&model, moment, &tape).expect("legal").digest())
                            .collect();
                        let expected = within(&all, k);
                        let missing = expected.difference(&found).next();
                        assert!(
                            missing.is_none(),
                            "seed {seed}, {}, k = {k}, crash after {}: {} is missing: {}\n{}",
                            model.profile,
                            moment.stamp,
                            all[missing.unwrap()].0,
                            shown(&all[missing.unwrap()].1),
                            listing(&model.trace)
                        );
                        let more = found.difference(&expected).next();
                        assert!(
                            more.is_none(),
                            "seed {seed}, {}, k = {k}, crash after {}: too many: {}",
                            model.profile,
                            moment.stamp,
                            shown(&all[more.unwrap()].1),
                        );
                        disks[k as usize] += found.len();
                    }
                });
            }
        }
    }
    println!("{disks:?} disks with at most 0, 1, 2, 3 omissions");
    assert!(disks.is_sorted() && disks[3] > disks[2], "nothing was lost: {disks:?}");
}

/// Of every level the first, and every hundredth from there.
fn some_tapes(model: &Model, moment: &crate::model::Moment) -> Vec<Tape> {
    let mut some = Vec::new();
    for level in bounded::levels(&model.profile, 2) {
        let mut count = 0;
        let _ = brute::visit(model, moment, level, &mut |tape| {
            count += 1;
            if count < 10 || count % 100 == 0 {
                some.push(tape);
            }
            if count < 1_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    some
}

/// A program with what the reference machine does not know: marks, writes past the page cache, and more
/// pages that lose their block.
fn varied(seed: u64, ops: Ops, length: usize) -> Trace {
    let mut trace = program(seed, ops, length, 1 + seed as usize % 3);
    let mut random = Rng::with_seed(seed);
    let mut stamps = BTreeSet::new();
    for record in &mut trace.ops {
        // Room for a mark behind each start and end.
        record.start *= 2;
        record.end = record.end.map(|end| end * 2);
        stamps.extend([Some(record.start), record.end].into_iter().flatten());
        match &mut record.op {
            Op::Write { direct, .. } if random.u8(..3) == 0 => *direct = true,
            Op::Write { ino, offset, data, .. } if data.len() >= 4096 && random.u8(..3) == 0 => {
                let (ino, offset, len) = (*ino, *offset, data.len() as u64);
                record.op = Op::Zero { ino, offset, len };
            }
            _ => {}
        }
    }
    for (id, stamp) in (0..).zip(stamps) {
        match random.u8(..8) {
            0 => trace.marks.push((stamp + 1, Mark::Begin(id))),
            1 => trace.marks.push((stamp + 1, Mark::Ack(id))),
            _ => {}
        }
    }
    trace
}

/// The listing never builds a disk: it must find what building every one of them finds, in the same order, and
/// count all that it did not look at because it looks like another.
#[test]
fn the_listing_is_what_building_every_disk_finds() {
    let mut counts = [0, 0];
    let kinds = [(Ops::Names, 6, 3), (Ops::Both, 4, 2), (Ops::Content, 3, 2), (Ops::Content, 6, 1)];
    for seed in programs(8) {
        for (ops, length, omissions) in kinds {
            let trace = Arc::new(varied(seed, ops, length));
            let stamps = trace.ops.iter().map(|record| record.start);
            let some: BTreeSet<Stamp> = stamps.step_by(2 + seed as usize % 2).collect();
            for model in under_some_profiles(&trace, seed) {
                for places in [None, Some(&some)] {
                    let (states, levels) = brute::list(&model, places, omissions);
                    let listed = Listing::of(&model, places, &bound(omissions), &mut || true);
                    let told = || format!("seed {seed}, {}\n{}", model.profile, listing(&trace));
                    for (level, found) in levels.iter().zip(&listed.levels) {
                        let found = &listed.distinct[found.states.clone()];
                        assert_eq!(found, level, "{}", told());
                    }
                    assert_eq!(listed.states, states, "{}", told());
                    counts[0] += states;
                    counts[1] += listed.distinct.len() as u64;
                }
            }
        }
    }
    println!("{counts:?} states, distinct ones");
    assert!(counts[0] > 10_000, "{counts:?} states are too few");
}

/// The same for every litmus program, whose corners random programs rarely turn.
#[test]
fn the_listing_of_a_litmus_program_is_what_building_every_disk_finds() {
    let mut distinct = 0;
    for (name, trace) in litmus::programs() {
        let trace = Arc::new(trace);
        for profile in Profile::ALL.into_iter().chain([Profile::EXT2]) {
            let model = Model::new(trace.clone(), profile);
            let (states, levels) = brute::list(&model, None, 1);
            let listed = Listing::of(&model, None, &bound(1), &mut || true);
            for (level, found) in levels.iter().zip(&listed.levels) {
                let at = &listed.distinct[found.states.clone()];
                assert_eq!(at, level, "{name}, {profile}, {:?}", found.level);
            }
            assert_eq!(listed.states, states, "{name}, {profile}");
            distinct += listed.distinct.len();
        }
    }
    assert!(distinct > 10_000, "{distinct} states are too few");
}

/// A crash point that is passed over has no disk that the one before it does not have.
#[test]
fn crash_points_that_are_passed_over_show_nothing_new() {
    let mut passed = 0;
    let mut over = |model: &Model, told: &dyn Fn() -> String| {
        let (mut moments, mut before) = (model.moments(), BTreeSet::new());
        while let Some(moment) = moments.next() {
            if moment.window.len() > 6 {
                before.clear();
                continue;
            }
            let disks: BTreeSet<u128> = complete::disks(model, moment).into_keys().collect();
            let told = || format!("crash after {}, {}", moment.stamp, told());
            if !moment.is_new && !before.is_empty() {
                assert!(disks.is_subset(&before), "{}", told());
                passed += 1;
            }
            before = disks;
        }
    };
    for (name, trace) in litmus::programs() {
        let trace = Arc::new(trace);
        for profile in Profile::ALL {
            // Whether a page tears is not for the crash point to say.
            let profile = Profile { torn_pages: false, ..profile };
            over(&Model::new(trace.clone(), profile), &|| format!("{name}, {profile}"));
        }
    }
    assert!(passed > 500, "{passed} crash points are too few");
}

#[test]
fn a_state_is_told_apart_as_its_disk_is() {
    let mut states = 0;
    for seed in programs(30) {
        for (ops, length) in [(Ops::Names, 12), (Ops::Both, 8)] {
            for model in models(seed, ops, length) {
                let mut ids = Ids::new(&model);
                at_moments(&model, 12, |moment| {
                    ids.follow(moment);
                    for tape in some_tapes(&model, moment) {
                        let change = Change::of(&model, moment, &tape);
                        let change = change.expect("legal");
                        let disk = build(&model, moment, &tape).expect("legal");
                        assert_eq!(
                            ids.of(moment, &Diff::from(change)),
                            disk.digest(),
                            "seed {seed}, {}, crash after {}, {tape}: {}\n{}",
                            model.profile,
                            moment.stamp,
                            shown(&disk),
                            listing(&model.trace)
                        );
                        states += 1;
                    }
                });
            }
        }
    }
    assert!(states > 10_000, "{states} states are too few");
}

#[test]
fn a_sampled_state_is_legal_and_its_token_leads_back_to_it() {
    let mut sampled = 0;
    for seed in programs(10) {
        for model in models(seed, Ops::Both, 3) {
            let bound = Bound { samples: 60, seed, ..bound(1) };
            let listing = Listing::of(&model, None, &bound, &mut || true);
            let drawn = listing.levels.last().expect("the samples are the last level");
            assert_eq!(drawn.level, Level::Sampled);
            let mut moments = model.moments();
            let mut legal = BTreeMap::new();
            while let Some(moment) = moments.next() {
                if moment.window.len() <= 3 {
                    legal.insert(moment.stamp, complete::disks(&model, moment));
                }
            }
            for state in &listing.distinct[drawn.states.clone()] {
                assert_eq!(state.tape.to_string().parse::<Tape>().as_ref(), Ok(&state.tape));
                let (disk, _) =
                    Builder::new(&model).build(state).expect("a sampled state is built");
                let Some(legal) = legal.get(&state.stamp) else { continue };
                assert!(
                    legal.contains_key(&disk.digest()),
                    "seed {seed}, {}, crash after {}, {}: {}",
                    model.profile,
                    state.stamp,
                    state.tape,
                    shown(&disk)
                );
                sampled += 1;
            }
        }
    }
    assert!(sampled > 50, "{sampled} samples are too few");
}

#[test]
fn many_samples_of_a_small_space_find_all_of_it() {
    for seed in programs(6) {
        for model in models(seed, Ops::Names, 4) {
            let bound = Bound { samples: 3_000, ..bound(0) };
            let listing = Listing::of(&model, None, &bound, &mut || true);
            let mut all = BTreeSet::new();
            let mut moments = model.moments();
            while let Some(moment) = moments.next() {
                let ids = moment.marks.issued.len();
                all.extend(complete::disks(&model, moment).into_keys().map(|disk| (disk, ids)));
            }
            let found = listing.distinct.len();
            assert!(found * 10 >= all.len() * 9 && found <= all.len(), "{found} of {}", all.len());
        }
    }
}

#[test]
fn a_budget_covers_whole_crash_points_and_says_how_many() {
    for seed in programs(10) {
        for model in models(seed, Ops::Names, 6) {
            let whole = Listing::of(&model, None, &bound(2), &mut || true);
            let again = Listing::of(&model, None, &bound(2), &mut || true);
            assert_eq!(whole, again);
            assert!(
                whole.levels.iter().all(|l| l.points == l.of_points || l.level == Level::Sampled)
            );
            for budget in [1, whole.distinct.len() / 3, whole.distinct.len()] {
                let bound = Bound { budget: budget as u64, ..bound(2) };
                let part = Listing::of(&model, None, &bound, &mut || true);
                assert!(part.distinct.len() <= budget);
                assert_eq!(
                    part.distinct.len() == whole.distinct.len(),
                    budget == whole.distinct.len()
                );
                for (part, whole) in part.levels.iter().zip(&whole.levels) {
                    assert!(part.points <= whole.points);
                }
                // No level of it holds a state that the whole level and those before it do not.
                let key = |state: &super::State| {
                    let (disk, marks) = Builder::new(&model).build(state).expect("legal");
                    (disk.digest(), marks.hash())
                };
                let all: BTreeSet<_> = whole.distinct.iter().map(key).collect();
                assert!(part.distinct.iter().all(|state| all.contains(&key(state))));
            }
        }
    }
}
