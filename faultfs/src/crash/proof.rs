//! The model against the machine of [`reference`](super::reference), on random programs; and what must
//! hold between profiles, between the bounded and the complete exploration, and between a token and its
//! disk.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use fastrand::Rng;

use super::drawn::{Ops, program, programs};
use super::reference::Machine;
use super::tape::Tape;
use super::{CrashImage, Loss, bounded, brute, build, complete};
use crate::disk::Disk;
use crate::model::{Kept, Model, Moment, Profile};
use crate::op::{Ino, Op, SyncKind};
use crate::trace::{Stamp, Trace};

/// Calls `visit` at every crash point whose window is small enough to list.
pub(super) fn at_moments(model: &Model, micros: usize, mut visit: impl FnMut(&Moment)) {
    let mut moments = model.moments();
    while let Some(moment) = moments.next() {
        if moment.window.len() <= micros {
            visit(moment);
        }
    }
}

pub(super) fn listing(trace: &Trace) -> String {
    let line = |(index, r): (usize, &crate::trace::Record)| {
        format!("  {index}: {}..{:?} {:?} {:?}\n", r.start, r.end, r.errno, r.op)
    };
    trace.ops.iter().enumerate().map(line).collect()
}

pub(super) fn shown(disk: &Disk) -> String {
    let one = |(path, ino): (Vec<u8>, Ino)| {
        let name = String::from_utf8_lossy(&path).into_owned();
        let mode = disk.get(ino).map_or(0, |i| i.mode);
        match disk.content(ino) {
            None => format!("{name}/ {mode:o}"),
            Some(content) => {
                let bytes = content.to_vec();
                let sectors = bytes.chunks(512).map(|s| format!("{:02x}", s[0]));
                let sectors = sectors.collect::<Vec<_>>().join(" ");
                format!("{name}={ino} {mode:o} {}:[{sectors}]", bytes.len())
            }
        }
    };
    disk.walk().into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The model lists exactly the disks that the machine can leave, at every crash point.
fn agree(seed: u64, trace: &Trace, profile: Profile, micros: usize) -> u64 {
    let model = Model::new(Arc::new(trace.clone()), profile);
    let found = Machine::new(trace, profile).run();
    let at = |stamp: Stamp| &found.iter().find(|(s, _)| *s == stamp).expect("a stamp").1;
    let mut disks = 0;
    at_moments(&model, micros, |moment| {
        let listed = complete::disks(&model, moment);
        let machine = at(moment.stamp);
        let complain = |what: &str, disk: &Disk| {
            panic!(
                "seed {seed}, {profile:?}, crash after {}: {what}\n  {}\n base {}\n{}",
                moment.stamp,
                shown(disk),
                shown(&trace.base),
                listing(trace),
            )
        };
        for (digest, (tape, disk)) in &listed {
            if !machine.contains_key(digest) {
                complain(&format!("false alarm, {tape}"), disk);
            }
        }
        for (digest, disk) in machine {
            if !listed.contains_key(digest) {
                complain("false comfort", disk);
            }
        }
        disks += listed.len() as u64;
    });
    disks
}

fn untorn(profile: Profile) -> Profile {
    Profile { torn_pages: false, ..profile }
}

/// A profile that is named in no table: every switch for itself must mean the same to both.
fn any_profile(seed: u64) -> Profile {
    let mut rng = Rng::with_seed(seed ^ 0x5eed);
    let orders = [Kept::Nothing, Kept::Names, Kept::Log, Kept::Metadata, Kept::Everything];
    let order = orders[rng.usize(..orders.len())];
    let size_before_data = order != Kept::Everything && rng.bool();
    Profile {
        name: "posix",
        atomic_rename: rng.bool(),
        torn_pages: false,
        size_before_data,
        size_within_block: rng.bool(),
        stale_bytes: order != Kept::Everything && rng.bool(),
        size_without_failed_data: rng.bool(),
        failed_blocks_stay_unwritten: order != Kept::Everything && rng.bool(),
        safe_rename: rng.bool(),
        safe_file_flush: rng.bool(),
        order,
        intent_log: order == Kept::Everything && rng.bool(),
        process_only: false,
    }
}

/// Every profile, but not all of them for each program: two that `seed` chooses, and one of no name.
fn some_profiles(seed: u64) -> [Profile; 3] {
    let every: Vec<Profile> = Profile::ALL.into_iter().chain([Profile::EXT2]).collect();
    let at = |index: u64| untorn(every[(index % every.len() as u64) as usize]);
    [at(seed * 2), at(seed * 2 + 1), any_profile(seed)]
}

#[test]
fn the_model_lists_what_a_machine_can_leave() {
    let mut disks = 0;
    for seed in programs(25) {
        for ops in [Ops::Content, Ops::Names, Ops::Both] {
            let length = 3 + seed as usize % 4;
            let trace = program(seed, ops, length, 1 + seed as usize % 3);
            for profile in some_profiles(seed) {
                disks += agree(seed, &trace, profile, 11);
            }
        }
    }
    println!("{disks} disks of {:?}", programs(25));
}

#[test]
fn the_model_tears_as_a_machine_can() {
    let mut disks = 0;
    for seed in programs(10) {
        let trace = program(seed, Ops::Content, 2 + seed as usize % 2, 1);
        for profile in [Profile::POSIX, Profile::EXT4_5_6, Profile::XFS_LOG_FORCE, Profile::EXT3] {
            disks += agree(seed, &trace, profile, 5);
        }
    }
    println!("{disks} disks of {:?}", programs(10));
}

/// The weaker of each pair first.
const WEAKER: [(Profile, Profile); 15] = [
    (Profile::EXT2, Profile::POSIX),
    (Profile::POSIX, Profile::EXT3_WRITEBACK),
    (Profile::EXT3_WRITEBACK, Profile::EXT3),
    (Profile::EXT3, Profile::DATA_JOURNAL),
    (Profile::POSIX, Profile::EXT4_WRITEBACK),
    (Profile::EXT4_WRITEBACK, Profile::EXT4_NOAUTO_DA_ALLOC),
    (Profile::EXT4_NOAUTO_DA_ALLOC, Profile::EXT4),
    (Profile::EXT4, Profile::DATA_JOURNAL),
    (Profile::POSIX, Profile::EXT4_FAST_COMMIT),
    (Profile::EXT4_FAST_COMMIT, Profile::EXT4_5_6),
    (Profile::EXT4_5_6, Profile::EXT4_NOAUTO_DA_ALLOC),
    (Profile::POSIX, Profile::XFS),
    (Profile::XFS, Profile::XFS_LOG_FORCE),
    (Profile::POSIX, Profile::BTRFS),
    (Profile::BTRFS, Profile::ZFS),
];

#[test]
fn stronger_profiles_leave_fewer_disks() {
    for seed in programs(25) {
        let trace = Arc::new(program(seed, Ops::Both, 5, 1 + seed as usize % 3));
        let disks = |profile: Profile| {
            let model = Model::new(trace.clone(), untorn(profile));
            let mut sets = Vec::new();
            at_moments(&model, 9, |moment| {
                let disks: BTreeSet<u128> = complete::disks(&model, moment).into_keys().collect();
                sets.push((moment.stamp, disks));
            });
            sets
        };
        let fails = trace.ops.iter().any(|record| record.errno.is_some());
        for (weaker, stronger) in WEAKER {
            // Before 5.6 ext4 shows stale bytes after a failed sync, and then does not.
            if fails && stronger.stale_bytes && !weaker.stale_bytes {
                continue;
            }
            let strong = disks(stronger);
            for (stamp, weak) in &disks(weaker) {
                let strong = strong.iter().find(|(s, _)| s == stamp);
                let within = strong.is_none_or(|(_, strong)| strong.is_subset(weak));
                let told = listing(&trace);
                assert!(within, "seed {seed}, {weaker}, {stronger}, crash after {stamp}\n{told}");
            }
        }
    }
}

/// The tapes of all levels.
pub(super) fn tapes(model: &Model, moment: &Moment, omissions: u32) -> Vec<Tape> {
    let mut tapes = Vec::new();
    for level in bounded::levels(&model.profile, omissions) {
        let _ = brute::visit(model, moment, level, &mut |tape| {
            tapes.push(tape);
            ControlFlow::Continue(())
        });
    }
    tapes
}

#[test]
fn what_is_looked_at_is_legal_and_its_token_leads_back_to_it() {
    for seed in programs(30) {
        let trace = Arc::new(program(seed, Ops::Both, 5, 1 + seed as usize % 3));
        for profile in some_profiles(seed) {
            let model = Model::new(trace.clone(), profile);
            at_moments(&model, 9, |moment| {
                let legal = complete::disks(&model, moment);
                let mut texts = BTreeSet::new();
                for tape in tapes(&model, moment, 1) {
                    let text = tape.to_string();
                    assert_eq!(text.parse::<Tape>().as_ref(), Ok(&tape));
                    assert!(texts.insert(text), "two choices print alike: {tape}");
                    let mut again = model.moments();
                    let disk = build::build(&model, moment, &tape);
                    let repeated = build::build(&model, again.seek(moment.stamp).unwrap(), &tape);
                    assert_eq!(disk, repeated, "seed {seed}, {tape}");
                    let disk = disk.unwrap_or_else(|| panic!("seed {seed}: {tape} is not built"));
                    assert!(legal.contains_key(&disk.digest()), "seed {seed}, {profile}, {tape}");
                }
            });
        }
    }
}

#[test]
fn a_crash_image_of_any_seed_is_legal() {
    for seed in programs(30) {
        let trace = program(seed, Ops::Both, 4, 1 + seed as usize % 3);
        for profile in [Profile::POSIX, Profile::ALL[seed as usize % Profile::ALL.len()]] {
            let model = Model::new(Arc::new(trace.clone()), profile);
            let mut moments = model.moments();
            while moments.next().is_some() {}
            let small = moments.now().window.len() <= 3;
            let legal = small.then(|| complete::disks(&model, moments.now()));
            for luck in 0..20 {
                let image = CrashImage::of(trace.clone(), profile, Loss::Seeded(luck));
                let is_legal = legal.as_ref().is_none_or(|l| l.contains_key(&image.disk.digest()));
                assert!(
                    is_legal,
                    "seed {seed}, {profile}, {}: {}",
                    image.token,
                    shown(&image.disk)
                );
            }
        }
    }
}

#[test]
fn nothing_lost_is_the_live_disk() {
    for seed in programs(60) {
        let trace = program(seed, Ops::Both, 8, 1 + seed as usize % 3);
        for profile in
            Profile::ALL.into_iter().filter(|_| trace.ops.iter().all(|r| r.end.is_some()))
        {
            let kept = CrashImage::of(trace.clone(), profile, Loss::Nothing).disk;
            let live = trace.replay();
            assert_eq!(kept.digest(), live.digest(), "seed {seed}, {profile}\n{}", listing(&trace));
        }
    }
}

/// A program with a sync put in before its last op leaves no disk that it did not leave without it.
#[test]
fn a_further_sync_never_adds_a_disk() {
    for seed in programs(30) {
        let trace = program(seed, Ops::Both, 5, 1);
        let sync = Op::Sync { ino: Ino(seed as u32 % 4), kind: SyncKind::All };
        let mut more = trace.clone();
        let at = seed as usize % trace.ops.len();
        let last = |trace: &Trace| trace.ops.iter().filter_map(|r| r.end).max().unwrap_or(0);
        for record in &mut more.ops[at..] {
            record.start += 2;
            record.end = record.end.map(|end| end + 2);
        }
        let start = trace.ops[at].start;
        let mut record = trace.ops[at].clone();
        (record.op, record.errno) = (sync, None);
        (record.start, record.end) = (start, Some(start + 1));
        more.ops.insert(at, record);
        for profile in some_profiles(seed) {
            let disks = |trace: &Trace| -> Option<BTreeSet<u128>> {
                let model = Model::new(Arc::new(trace.clone()), profile);
                let moment = model.moments().seek(last(trace))?.clone();
                (moment.window.len() < 10)
                    .then(|| complete::disks(&model, &moment).into_keys().collect())
            };
            if let (Some(without), Some(with)) = (disks(&trace), disks(&more)) {
                assert!(with.is_subset(&without), "seed {seed}, {profile}\n{}", listing(&more));
            }
        }
    }
}
