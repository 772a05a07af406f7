//! A second opinion on the model, for tests: a machine that runs a recorded program as a kernel would.
//!
//! There is a page cache with sizes, names and modes, and a disk. At any time an op under way may do its
//! next step, and the machine may write back whatever is dirty: the page as it is in the cache now, the
//! next size, the next change of names that the profile lets through. A sync ends when what it covers
//! has been written. All runs of this machine are followed at once; the disks on which some run stands
//! when the power goes must be exactly those that the model lists.
//!
//! It shares nothing with the model but the ops, the profile's switches and the look of stale bytes.

mod disks;
mod steps;
mod syncs;
mod writeback;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::disk::Disk;
use crate::model::{Kept, Profile};
use crate::op::{Bytes, Found, Ino, Kind, Op, PAGE, Slot};
use crate::trace::{Stamp, Trace};

type Page = (Ino, u64);
type Image = [u8; PAGE as usize];

/// A filesystem's content; pages by their number among the images, 0 for a hole.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Files {
    sizes: BTreeMap<Ino, u64>,
    pages: BTreeMap<Page, u32>,
    names: BTreeMap<Slot, Ino>,
    modes: BTreeMap<Ino, u32>,
}

/// One thing that an op does to the cache, whole.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Step {
    /// Copies into a page, and makes the file `end` long where it is shorter.
    Copy {
        page: Page,
        at: usize,
        data: Option<Bytes>,
        len: usize,
        end: u64,
    },
    Size {
        ino: Ino,
        len: u64,
    },
    Names(Vec<(Slot, Option<Ino>)>),
    Mode {
        ino: Ino,
        mode: u32,
    },
}

/// What is dirty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum What {
    Page,
    Size,
    /// The rest of the last page behind a smaller size.
    Tail,
    Names,
    Mode,
}

/// A piece of a step: the op, the step in it, and what it dirtied.
type Piece = (usize, usize, What);

/// A change of a size that waits to be written.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Resize {
    piece: Piece,
    ino: Ino,
    from: u64,
    to: u64,
    /// The page of an append and whether the file had no part of it before.
    appended: Option<(Page, bool)>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    /// Steps done, in order.
    log: Vec<(usize, usize)>,
    cache: Files,
    disk: Files,
    dirty: BTreeMap<Piece, Option<Page>>,
    resizes: Vec<Resize>,
    /// Pages within the size on disk whose block was never written.
    fresh: BTreeSet<Page>,
    /// Steps that wrote to a page of which the file had no part.
    added: BTreeSet<(usize, usize)>,
    /// Pages whose block was new when a sync failed on it.
    unwritten: BTreeSet<Page>,
    /// Pages whose write-back began and was not done when the power went.
    torn: BTreeMap<Page, u32>,
    /// How much of the log a journal of everything has committed.
    committed: usize,
    /// Steps that a sync wrote to a log of its own.
    recorded: BTreeSet<(usize, usize)>,
}

impl State {
    /// Nothing has been done yet.
    fn booted(files: Files) -> Self {
        State {
            log: Vec::new(),
            cache: files.clone(),
            disk: files,
            dirty: BTreeMap::new(),
            resizes: Vec::new(),
            fresh: BTreeSet::new(),
            added: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            torn: BTreeMap::new(),
            committed: 0,
            recorded: BTreeSet::new(),
        }
    }
}

/// The renames of files that are no exchange and change something, with the file that each moves, and whether
/// it replaces another.
fn split(trace: &Trace) -> BTreeMap<usize, (Ino, bool)> {
    let mut live = trace.base.clone();
    let mut split = BTreeMap::new();
    for (index, record) in trace.ops.iter().enumerate().filter(|(_, r)| r.errno.is_none()) {
        if let Op::Rename { from, to, exchange: false } = &record.op
            && let Some(moved) = live.lookup(from)
            && live.entries(moved).is_none()
            && live.lookup(to) != Some(moved)
        {
            split.insert(index, (moved, live.lookup(to).is_some()));
        }
        live.apply(&record.op);
    }
    split
}

/// The machine: a program and a profile.
pub(super) struct Machine<'a> {
    trace: &'a Trace,
    profile: Profile,
    kinds: BTreeMap<Ino, (Kind, u32)>,
    images: Vec<Image>,
    known: HashMap<Image, u32>,
    base: Files,
    /// Renames that are done in steps, what each moves, and whether that replaces a file.
    split: BTreeMap<usize, (Ino, bool)>,
    /// How far the program has come.
    now: Stamp,
}

impl<'a> Machine<'a> {
    pub(super) fn new(trace: &'a Trace, profile: Profile) -> Self {
        let mut machine = Machine {
            trace,
            profile,
            kinds: BTreeMap::new(),
            images: vec![[0; PAGE as usize]],
            known: HashMap::from([([0; PAGE as usize], 0)]),
            base: Files::default(),
            split: BTreeMap::new(),
            now: 0,
        };
        machine.read_base();
        if !profile.atomic_rename {
            machine.split = split(trace);
        }
        for record in &trace.ops {
            match &record.op {
                Op::Create { ino, kind, mode, .. } => {
                    machine.kinds.insert(*ino, (kind.clone(), *mode));
                }
                Op::CreateUnnamed { ino, mode } => {
                    machine.kinds.insert(*ino, (Kind::File, *mode));
                }
                _ => {}
            }
        }
        machine
    }

    fn read_base(&mut self) {
        let disk = &self.trace.base;
        let mut dirs = vec![Ino::ROOT];
        while let Some(dir) = dirs.pop() {
            for (name, &ino) in disk.entries(dir).expect("a directory") {
                self.base.names.insert(Slot { dir, name: name.clone() }, ino);
                let mode = disk.get(ino).expect("a named inode").mode;
                let Some(content) = disk.content(ino) else {
                    self.kinds.insert(ino, (Kind::Dir, mode));
                    dirs.push(ino);
                    continue;
                };
                self.kinds.insert(ino, (Kind::File, mode));
                self.base.sizes.insert(ino, content.len());
                for number in 0..content.len().div_ceil(PAGE) {
                    let image = self.image(*content.page(number));
                    self.base.pages.insert((ino, number), image);
                }
            }
        }
    }

    fn image(&mut self, bytes: Image) -> u32 {
        if let Some(&known) = self.known.get(&bytes) {
            return known;
        }
        let number = self.images.len() as u32;
        self.images.push(bytes);
        self.known.insert(bytes, number);
        number
    }

    /// The disks that may be found after each stamp of the program, by digest.
    pub(super) fn run(&mut self) -> Vec<(Stamp, BTreeMap<u128, Disk>)> {
        let mut stamps: Vec<(Stamp, usize, bool)> = Vec::new();
        for (index, record) in self.trace.ops.iter().enumerate() {
            stamps.push((record.start, index, true));
            stamps.extend(record.end.map(|end| (end, index, false)));
        }
        stamps.sort_unstable();
        let mut running = BTreeSet::new();
        let mut states = HashSet::from([State::booted(self.base.clone())]);
        let mut out = Vec::new();
        for (stamp, index, starts) in stamps {
            self.now = stamp;
            if let Some(group) = self.group(index) {
                // Found together: there together, once the last was seen.
                if !starts && index == group.end - 1 {
                    states =
                        states.into_iter().map(|s| self.all_stored(s, group.clone())).collect();
                    states = self.all_runs(states, &running);
                }
                out.push((stamp, self.found(&states)));
                continue;
            }
            if self.trace.ops[index].errno.is_some() {
                // What a failed sync has left clean is waited for no more.
                let failed = |state| if starts { state } else { self.failed(state, index) };
                states = states.into_iter().map(failed).collect();
                states = self.all_runs(states, &running);
            } else {
                if starts {
                    running.insert(index);
                } else {
                    running.remove(&index);
                    states = states.into_iter().filter_map(|s| self.ended(s, index)).collect();
                }
                states = self.all_runs(states, &running);
            }
            out.push((stamp, self.found(&states)));
        }
        out
    }

    /// The stores of one comparison, where it found several.
    fn group(&self, index: usize) -> Option<std::ops::Range<usize>> {
        let joined = |index: &usize| {
            let record = self.trace.ops.get(*index);
            record.is_some_and(|record| {
                matches!(record.op, Op::MapStore { found: Found::Together, .. })
            })
        };
        let first = (0..=index).rev().find(|index| !joined(index))?;
        let others = (first + 1..).take_while(joined).count();
        (others > 0).then_some(first..first + others + 1)
    }

    fn all_stored(&mut self, mut state: State, group: std::ops::Range<usize>) -> State {
        for op in group {
            let steps = self.steps(&state.cache, op).unwrap_or_default();
            for (number, step) in steps.iter().enumerate() {
                state.log.push((op, number));
                self.do_step(&mut state, (op, number), step);
            }
        }
        state
    }

    fn all_runs(&mut self, states: HashSet<State>, running: &BTreeSet<usize>) -> HashSet<State> {
        let mut todo: Vec<State> = states.iter().cloned().collect();
        let mut seen = states;
        while let Some(state) = todo.pop() {
            let mut next = self.steps_done(&state, running);
            if self.profile.order == Kept::Everything {
                if !self.profile.process_only {
                    next.extend(self.journals(&state));
                }
            } else {
                next.extend(self.written_back(&state));
            }
            for state in next {
                if !seen.contains(&state) {
                    seen.insert(state.clone());
                    todo.push(state);
                }
            }
        }
        seen
    }
}

/// The file whose data or size an op changes.
fn content_of(op: &Op) -> Option<Ino> {
    match op {
        Op::Write { ino, .. }
        | Op::MapStore { ino, .. }
        | Op::Zero { ino, .. }
        | Op::SetLen { ino, .. } => Some(*ino),
        _ => None,
    }
}

fn set_names(files: &mut Files, changes: &[(Slot, Option<Ino>)]) {
    for (slot, ino) in changes {
        match ino {
            Some(ino) => files.names.insert(slot.clone(), *ino),
            None => files.names.remove(slot),
        };
    }
}
