//! The model against the machine of [`reference`](super::reference), on random programs; and what must
//! hold between profiles, between the bounded and the complete exploration, and between a token and its
//! disk.
//!
//! `FAULTFS_PROGRAMS` sets how many programs each test takes, `FAULTFS_SEED` the first.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use fastrand::Rng;

use super::reference::Machine;
use super::tape::Tape;
use super::{CrashImage, Loss, bounded, brute, build, complete};
use crate::disk::{Disk, page_spans};
use crate::model::{Kept, Model, Moment, Profile};
use crate::op::{Bytes, Found, Ino, Kind, Name, Op, PAGE, Slot, SyncKind};
use crate::recorder::{OpId, Recorder};
use crate::trace::{Outcome, Stamp, Trace};

/// What the ops of a program are drawn from.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Ops {
    Content,
    Names,
    Both,
}

/// Programs per test, and the seed of the first.
pub(super) fn programs(count: u64) -> std::ops::Range<u64> {
    let number = |name, otherwise| match std::env::var(name) {
        Ok(text) => text.parse().expect("a number of programs, or a seed"),
        Err(_) => otherwise,
    };
    let first = number("FAULTFS_SEED", 0);
    first..first + number("FAULTFS_PROGRAMS", count)
}

struct Author {
    rng: Rng,
    recorder: Recorder,
    /// Ops under way with what they touch.
    running: Vec<(OpId, BTreeSet<Ino>, BTreeSet<Slot>)>,
    tag: u8,
}

pub(super) fn program(seed: u64, ops: Ops, length: usize, threads: usize) -> Trace {
    let mut author = Author {
        rng: Rng::with_seed(seed),
        recorder: Recorder::new(Disk::new()),
        running: Vec::new(),
        tag: 0,
    };
    author.recorder = Recorder::new(author.base());
    let mut asked = 0;
    while asked < length {
        if author.running.len() == threads || (!author.running.is_empty() && author.rng.bool()) {
            author.end_one();
        } else if let Some(op) = author.op(ops)
            && author.start(op)
        {
            asked += 1 + author.store_more();
        } else {
            author.end_all();
        }
        if threads == 1 {
            author.end_all();
        }
    }
    // Now and then the run ends before its last ops do.
    if author.rng.u8(..4) > 0 {
        author.end_all();
    }
    author.recorder.finish("a random program")
}

impl Author {
    fn base(&mut self) -> Disk {
        let mut disk = Disk::new();
        for name in ["a", "b"] {
            if self.rng.u8(..3) == 0 {
                continue;
            }
            let ino = disk.fresh_ino();
            let slot = Slot::new(Ino::ROOT, name);
            disk.apply(&Op::Create { slot, ino, kind: Kind::File, mode: 0o644 });
            let len = *self.pick(&[0, 300, 4096, 5000, 8192]);
            let data = self.data(len);
            disk.apply(&Op::Write { ino, offset: 0, data, direct: false, sync: None });
        }
        if self.rng.bool() {
            let (ino, slot) = (disk.fresh_ino(), Slot::new(Ino::ROOT, "d"));
            disk.apply(&Op::Create { slot, ino, kind: Kind::Dir, mode: 0o755 });
        }
        disk
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.rng.usize(..from.len())]
    }

    /// Bytes that differ from all other data and in every sector.
    fn data(&mut self, len: usize) -> Bytes {
        self.tag += 1;
        let byte = |i: usize| if i.is_multiple_of(2) { self.tag } else { (i / 512) as u8 + 1 };
        Bytes::new(&(0..len).map(byte).collect::<Vec<u8>>())
    }

    fn files(&self) -> Vec<Ino> {
        let live = self.recorder.live();
        let named = live.walk().into_iter().map(|(_, ino)| ino);
        named.filter(|ino| live.content(*ino).is_some()).collect()
    }

    fn dirs(&self) -> Vec<Ino> {
        let live = self.recorder.live();
        let named = live.walk().into_iter().map(|(_, ino)| ino);
        [Ino::ROOT].into_iter().chain(named.filter(|i| live.entries(*i).is_some())).collect()
    }

    fn slot(&mut self) -> Slot {
        let dirs = self.dirs();
        let dir = *self.pick(&dirs);
        Slot { dir, name: Name::new(*self.pick(&["a", "b", "d"])) }
    }

    fn op(&mut self, ops: Ops) -> Option<Op> {
        let content = match ops {
            Ops::Content => true,
            Ops::Names => false,
            Ops::Both => self.rng.bool(),
        };
        match self.rng.u8(..10) {
            0..3 => self.sync(),
            3 if ops != Ops::Content => self.names(),
            _ if content => self.content(),
            _ => self.names(),
        }
    }

    fn sync(&mut self) -> Option<Op> {
        let files = self.files();
        let of_file = !files.is_empty() && self.rng.bool();
        let ino = if of_file { *self.pick(&files) } else { *self.pick(&self.dirs()) };
        Some(match self.rng.u8(..8) {
            0 => Op::SyncAll,
            1 if of_file => Op::SyncMap { ino, offset: self.rng.u64(..3) * PAGE, len: PAGE },
            2 if of_file => Op::StartWriteback { ino },
            3 | 4 => Op::Sync { ino, kind: SyncKind::Data },
            _ => Op::Sync { ino, kind: SyncKind::All },
        })
    }

    fn content(&mut self) -> Option<Op> {
        let files = self.files();
        if files.is_empty() {
            return self.names();
        }
        let ino = *self.pick(&files);
        let len = self.recorder.live().content(ino)?.len();
        let places = [(0, 4096), (0, 512), (100, 200), (512, 1024), (4096, 4096), (2048, 4096)];
        let further = [(0, 8192), (len, 300), (len, 4096), (len, 700), (8192, 100), (9000, 0)];
        let (offset, count) =
            if self.rng.bool() { *self.pick(&places) } else { *self.pick(&further) };
        Some(match self.rng.u8(..12) {
            0 | 1 => {
                let len = *self.pick(&[0, 300, 1000, 4096, 5000, 8192]);
                Op::SetLen { ino, len }
            }
            2 => Op::Zero { ino, offset, len: count as u64 },
            3 if count > 0 => {
                Op::MapStore { ino, offset, data: self.data(count), found: Found::Stored }
            }
            4 => Op::SetMode { ino, mode: *self.pick(&[0o600, 0o400]) },
            roll => {
                let sync = match roll {
                    5 => Some(SyncKind::Data),
                    6 => Some(SyncKind::All),
                    _ => None,
                };
                Op::Write { ino, offset, data: self.data(count), direct: false, sync }
            }
        })
    }

    fn names(&mut self) -> Option<Op> {
        let slot = self.slot();
        let live = self.recorder.live().clone();
        let here = live.lookup(&slot);
        let mode = 0o644;
        match (self.rng.u8(..9), here) {
            (0 | 1, None) => {
                let ino = self.recorder.fresh_ino();
                Some(Op::Create { slot, ino, kind: Kind::File, mode })
            }
            (2, None) => {
                let ino = self.recorder.fresh_ino();
                Some(Op::Create { slot, ino, kind: Kind::Dir, mode: 0o755 })
            }
            (3, None) => {
                let ino = *self.files().first()?;
                Some(Op::Link { ino, slot })
            }
            (4, None) => Some(Op::CreateUnnamed { ino: self.recorder.fresh_ino(), mode }),
            (5, None) => {
                // A file without a name gets one.
                let named: BTreeSet<Ino> = live.walk().into_iter().map(|(_, ino)| ino).collect();
                let mut all = (1..16).map(Ino).filter(|ino| live.content(*ino).is_some());
                Some(Op::Link { ino: all.find(|ino| !named.contains(ino))?, slot })
            }
            (0 | 1, Some(ino)) if live.entries(ino).is_none_or(|e| e.is_empty()) => {
                Some(Op::Unlink { slot })
            }
            (_, Some(_)) => self.rename(slot, &live),
            _ => None,
        }
    }

    fn rename(&mut self, from: Slot, live: &Disk) -> Option<Op> {
        let (to, exchange) = (self.slot(), self.rng.u8(..4) == 0);
        let (moved, other) = (live.lookup(&from)?, live.lookup(&to));
        let is_dir = |ino: Ino| live.entries(ino).is_some();
        let below = |top: Ino, slot: &Slot| is_dir(top) && inside(live, top, slot.dir);
        let fits = match other {
            None => !exchange,
            Some(_) if exchange => true,
            Some(other) if is_dir(other) => {
                is_dir(moved) && live.entries(other).is_some_and(|e| e.is_empty())
            }
            Some(_) => !is_dir(moved),
        };
        let loops = below(moved, &to) || other.is_some_and(|o| exchange && below(o, &from));
        (fits && !loops && from != to).then_some(Op::Rename { from, to, exchange })
    }

    /// Starts an op unless one under way touches the same inode or name.
    fn start(&mut self, op: Op) -> bool {
        let live = self.recorder.live();
        let (mut inos, mut slots) = (BTreeSet::new(), BTreeSet::new());
        match &op {
            Op::Create { slot, ino, .. } | Op::Link { slot, ino } => {
                inos.insert(*ino);
                slots.insert(slot.clone());
            }
            Op::Unlink { slot } => drop(slots.insert(slot.clone())),
            Op::Rename { from, to, .. } => slots.extend([from.clone(), to.clone()]),
            Op::Write { ino, .. }
            | Op::MapStore { ino, .. }
            | Op::SetLen { ino, .. }
            | Op::Zero { ino, .. }
            | Op::SetMode { ino, .. } => drop(inos.insert(*ino)),
            _ => {}
        }
        // A directory that moves or goes is touched by all that happens in it, and above it.
        let at_slots: Vec<Ino> = slots.iter().filter_map(|slot| live.lookup(slot)).collect();
        let dirs = at_slots.into_iter().filter(|ino| live.entries(*ino).is_some());
        inos.extend(dirs);
        let parents: BTreeSet<Ino> = slots.iter().map(|slot| slot.dir).collect();
        let collides = self.running.iter().any(|(_, i, s)| {
            let their_parents: BTreeSet<Ino> = s.iter().map(|slot| slot.dir).collect();
            !i.is_disjoint(&inos)
                || !s.is_disjoint(&slots)
                || !i.is_disjoint(&parents)
                || !their_parents.is_disjoint(&inos)
                || (s.len() == 2 && slots.len() == 2)
        });
        if collides {
            return false;
        }
        let id = self.recorder.start(self.running.len() as u32, None, op);
        self.running.push((id, inos, slots));
        true
    }

    /// Now and then what was found by one comparison is several stores, of a page each; how many more.
    fn store_more(&mut self) -> usize {
        let last = self.recorder.trace().ops.last();
        let Some(Op::MapStore { ino, offset, data, .. }) = last.map(|last| &last.op) else {
            return 0;
        };
        let pages = page_spans(*offset, data.len() as u64).map(|(page, ..)| (*ino, page));
        let mut stored: BTreeSet<(Ino, u64)> = pages.collect();
        if self.rng.bool() {
            return 0;
        }
        self.end_store();
        for more in 0.. {
            let (ino, page) = (*self.pick(&self.files()), self.rng.u64(..3));
            let op = Op::MapStore {
                ino,
                offset: page * PAGE,
                data: self.data(512),
                found: Found::Together,
            };
            if self.rng.bool() || !stored.insert((ino, page)) || !self.start(op) {
                return more;
            }
            self.end_store();
        }
        unreachable!("the pages come to an end")
    }

    /// Ends the store that was just started.
    fn end_store(&mut self) {
        let (id, ..) = self.running.pop().expect("a store under way");
        self.recorder.end(id, Outcome::Done);
    }

    fn end_one(&mut self) {
        let (id, ..) = self.running.remove(self.rng.usize(..self.running.len()));
        // What a failed sync leaves clean is the hard part.
        let is_sync = self.recorder.trace().ops[id.index()].op.is_sync();
        let fails = self.rng.u8(..20) < if is_sync { 6 } else { 1 };
        let creates = matches!(
            self.recorder.trace().ops.last().map(|r| &r.op),
            Some(Op::Create { .. } | Op::CreateUnnamed { .. })
        );
        let outcome = if fails && !creates { Outcome::Failed(5) } else { Outcome::Done };
        self.recorder.end(id, outcome);
    }

    fn end_all(&mut self) {
        while !self.running.is_empty() {
            self.end_one();
        }
    }
}

/// True where `dir` is `top` or below it.
fn inside(live: &Disk, top: Ino, dir: Ino) -> bool {
    dir == top
        || live
            .entries(top)
            .into_iter()
            .flatten()
            .any(|(_, &child)| live.entries(child).is_some() && inside(live, child, dir))
}

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
