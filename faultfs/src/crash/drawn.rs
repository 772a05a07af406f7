//! Random programs for the tests of this folder: small, of few names and pages, with ops under way at once, syncs that
//! fail, and stores that one comparison found.
//!
//! `FAULTFS_PROGRAMS` sets how many programs each test takes, `FAULTFS_SEED` the first.

use std::collections::BTreeSet;

use fastrand::Rng;

use crate::disk::{Disk, page_spans};
use crate::op::{Bytes, Found, Ino, Kind, Name, Op, PAGE, Slot, SyncKind};
use crate::recorder::{OpId, Recorder};
use crate::trace::{Outcome, Trace};

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
