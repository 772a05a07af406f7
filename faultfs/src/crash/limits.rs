//! What ends a listing: the budget, of which nothing is left over, and the steps of the search; and that what
//! write-ahead logs do takes few of them.

use std::sync::Arc;

use fastrand::Rng;

use super::drawn::programs;
use super::proof::listing;
use super::{Bound, Covered, Level, Listing, brute};
use crate::disk::Disk;
use crate::model::{Model, Profile};
use crate::op::{Bytes, Ino, Kind, Op, Slot, SyncKind};
use crate::recorder::Recorder;
use crate::trace::{Mark, Trace};

/// A database in place, and a log of what is overwritten in it.
struct Undo {
    recorder: Recorder,
    db: Ino,
    log: Ino,
    log_len: u64,
}

impl Undo {
    fn new() -> Self {
        let mut disk = Disk::new();
        let [db, log] = ["db", "log"].map(|name| {
            let ino = disk.fresh_ino();
            let slot = Slot::new(Ino::ROOT, name);
            disk.apply(&Op::Create { slot, ino, kind: Kind::File, mode: 0o644 });
            ino
        });
        Undo { recorder: Recorder::new(disk), db, log, log_len: 0 }
    }

    fn op(&mut self, op: Op) {
        self.recorder.record(0, None, op);
    }

    fn write(&mut self, ino: Ino, offset: u64, data: &[u8]) {
        self.op(Op::Write { ino, offset, data: Bytes::new(data), direct: false, sync: None });
    }

    fn append(&mut self, data: &[u8]) {
        self.write(self.log, self.log_len, data);
        self.log_len += data.len() as u64;
    }

    fn sync(&mut self, ino: Ino) {
        self.op(Op::Sync { ino, kind: SyncKind::Data });
    }

    /// The position, the length and the old bytes are logged, the new ones written, and the log is cut.
    fn commit(&mut self, id: u64, synced: bool) {
        self.append(&(id * 8).to_le_bytes());
        self.append(&8u64.to_le_bytes());
        self.append(&[0; 8]);
        self.write(self.db, id * 8, &(id + 1).to_le_bytes());
        if synced {
            self.sync(self.db);
        }
        self.op(Op::SetLen { ino: self.log, len: 0 });
        self.log_len = 0;
        if synced {
            self.sync(self.log);
        }
        self.recorder.mark(Mark::Ack(id), None);
    }

    fn trace(self) -> Arc<Trace> {
        Arc::new(self.recorder.finish("an undo log"))
    }
}

fn commits(count: u64, synced: bool) -> Arc<Trace> {
    let mut undo = Undo::new();
    (0..count).for_each(|id| undo.commit(id, synced));
    undo.trace()
}

fn list(trace: &Arc<Trace>, profile: Profile, bound: &Bound) -> Listing {
    Listing::of(&Model::new(trace.clone(), profile), None, bound, &mut || true)
}

fn covered(listing: &Listing, level: Level) -> &Covered {
    listing.levels.iter().find(|covered| covered.level == level).expect("a level of the bound")
}

fn steps(listing: &Listing) -> u64 {
    listing.levels.iter().map(|covered| covered.steps).sum()
}

/// A log that is cut at each commit is told apart without being built. The twin, whose log was once written
/// past the page cache, shows what it would take else.
#[test]
fn a_log_that_is_cut_at_each_commit_takes_few_steps() {
    let mut slow = Undo::new();
    let (ino, data) = (slow.log, Bytes::new(&[7; 512]));
    slow.op(Op::Write { ino, offset: 0, data, direct: true, sync: None });
    slow.log_len = 512;
    (0..80).for_each(|id| slow.commit(id, false));
    let bound = Bound { omissions: 1, samples: 0, ..Bound::default() };
    let fast = list(&commits(80, false), Profile::POSIX, &bound);
    let slow = list(&slow.trace(), Profile::POSIX, &bound);
    let each = |listing: &Listing| steps(listing) / listing.distinct.len() as u64;
    assert!(each(&fast) * 10 < each(&slow), "{} and {} steps a state", each(&fast), each(&slow));
    assert_eq!(fast.distinct.len(), 1_500, "the budget is used");
}

/// Steps grow with what is unsynced: with a sync at each commit they do not grow with the run.
#[test]
fn steps_grow_with_what_is_unsynced() {
    let bound = Bound { omissions: 1, samples: 0, budget: u64::MAX, ..Bound::default() };
    let steps = |count| steps(&list(&commits(count, true), Profile::POSIX, &bound));
    let (some, more) = (steps(20), steps(40));
    assert!(more < some * 5 / 2, "{some} steps for 20 commits, {more} for 40");
}

/// Thousands of changes of which no one shows: a search without an end in a budget of states.
fn unseen(overwrites: u64) -> Arc<Trace> {
    let mut undo = Undo::new();
    undo.append(&[1; 8]);
    let (db, log) = (undo.db, undo.log);
    undo.sync(log);
    for page in 0..4 {
        undo.write(db, page * 4096, &[2; 4096]);
    }
    for _ in 0..overwrites {
        undo.write(log, 0, &[1; 8]);
    }
    undo.trace()
}

#[test]
fn a_search_that_finds_nothing_ends_and_says_where() {
    let bound = Bound { budget: 100, samples: 20, ..Bound::default() };
    let trace = unseen(600);
    let listing = list(&trace, Profile::POSIX, &bound);
    let one = covered(&listing, Level::Omitted(1));
    assert!(one.is_spent && one.points < one.of_points, "{one:?}");
    for level in &listing.levels {
        assert!(level.steps <= bound.steps() + bound.steps() / 100, "{level:?}");
        assert!(level.is_spent || level.steps < bound.steps(), "{level:?}");
    }
    assert!(covered(&listing, Level::Kept).points == covered(&listing, Level::Kept).of_points);
    assert!(!covered(&listing, Level::Sampled).states.is_empty(), "samples are drawn all the same");
    assert_eq!(list(&trace, Profile::POSIX, &bound), listing);
    // Without the end the same search is whole.
    let few = unseen(30);
    let bound = Bound { effort: u64::MAX, budget: 5_000, omissions: 1, ..bound };
    let whole = list(&few, Profile::POSIX, &bound);
    let of_levels = whole.levels.iter().filter(|covered| covered.level != Level::Sampled);
    assert!(of_levels.clone().all(|covered| covered.points == covered.of_points));
    assert!(of_levels.clone().all(|covered| !covered.is_spent));
}

/// Of what halves and crash points that did not fit have left, nothing is left over: the levels that are not
/// whole go on, the first of them first.
#[test]
fn what_is_left_of_the_budget_is_used() {
    let trace = commits(12, true);
    for profile in [Profile::POSIX, Profile::EXT4, Profile::BTRFS, Profile::DATA_JOURNAL] {
        let model = Model::new(trace.clone(), profile);
        let (_, whole) = brute::list(&model, None, 1);
        let all: usize = whole.iter().map(Vec::len).sum();
        for budget in [5, 20, 40, all / 3, all / 2, all - 1, all, all + 7] {
            let bound =
                Bound { omissions: 1, samples: 0, budget: budget as u64, ..Bound::default() };
            let listing = list(&trace, profile, &bound);
            let told = format!("{profile}, {budget} of {all}: {:?}", listing.levels);
            let listed: usize = listing.levels.iter().map(|covered| covered.states.len()).sum();
            assert_eq!(listed, listing.distinct.len());
            let open = |covered: &&Covered| {
                covered.level != Level::Sampled && covered.points < covered.of_points
            };
            let first_open = listing.levels.iter().find(open);
            match first_open.map(|covered| covered.level) {
                None => assert_eq!(listed, all.min(budget), "{told}"),
                // One state a crash point: there is always room for the next.
                Some(Level::Kept | Level::Lost) => assert_eq!(listed, budget, "{told}"),
                // The next crash point of each level is too large for what is left.
                Some(_) => assert!(listed <= budget && budget - listed < 40, "{told}"),
            }
            let disks = |states: &[super::State]| -> std::collections::BTreeSet<_> {
                let mut builder = super::Builder::new(&model);
                let key =
                    |state| builder.build(state).map(|(disk, marks)| (disk.digest(), marks.hash()));
                states.iter().map(key).collect()
            };
            assert_eq!(disks(&listing.distinct).len(), listed, "one is listed twice: {told}");
        }
    }
}

/// Appends to a log, overwrites of it, and cuts to some length: in no order that an engine would have.
fn cut_at_random(seed: u64, length: usize) -> Arc<Trace> {
    let mut random = Rng::with_seed(seed);
    let mut undo = Undo::new();
    let log = undo.log;
    undo.append(&[0xaa; 9_000]);
    undo.sync(log);
    for tag in 1..=length as u8 {
        match random.u8(..8) {
            0..3 => {
                let len = random.choice([8, 700, 4_096, 5_000]).expect("there are some");
                undo.append(&vec![tag; len]);
            }
            3 => undo.write(log, random.u64(..3) * 4_096, &vec![tag; 1_500]),
            4 => {
                undo.log_len = random.choice([0, 300, 4_096, 20_000]).expect("there are some");
                undo.op(Op::SetLen { ino: log, len: undo.log_len });
            }
            5 if tag > 4 => undo.sync(log),
            _ => {
                undo.log_len = random.choice([0, 0, 4_096, 5_000]).expect("there are some");
                undo.op(Op::SetLen { ino: log, len: undo.log_len });
            }
        }
    }
    undo.trace()
}

/// The listing of a file that is cut never builds it: it must find what building every disk finds.
#[test]
fn the_listing_of_a_file_that_is_cut_is_what_building_every_disk_finds() {
    let mut distinct = 0;
    for seed in programs(12) {
        let trace = cut_at_random(seed, 6);
        for profile in [Profile::POSIX, Profile::EXT4, Profile::BTRFS, Profile::DATA_JOURNAL] {
            let model = Model::new(trace.clone(), profile);
            let (states, levels) = brute::list(&model, None, 1);
            let bound = Bound { omissions: 1, samples: 0, budget: u64::MAX, ..Bound::default() };
            let listed = Listing::of(&model, None, &bound, &mut || true);
            for (level, found) in levels.iter().zip(&listed.levels) {
                let at = &listed.distinct[found.states.clone()];
                assert_eq!(at, level, "seed {seed}, {profile}\n{}", listing(&trace));
            }
            assert_eq!(listed.states, states, "seed {seed}, {profile}\n{}", listing(&trace));
            distinct += listed.distinct.len();
        }
    }
    assert!(distinct > 3_000, "{distinct} states are too few");
}
