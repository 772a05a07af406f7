//! A second opinion on the model, for tests: a machine that runs a recorded program as a kernel would.
//!
//! There is a page cache with sizes, names and modes, and a disk. At any time an op under way may do its
//! next step, and the machine may write back whatever is dirty: the page as it is in the cache now, the
//! next size, the next change of names that the profile lets through. A sync ends when what it covers
//! has been written. All runs of this machine are followed at once; the disks on which some run stands
//! when the power goes must be exactly those that the model lists.
//!
//! It shares nothing with the model but the ops, the profile's switches and the look of stale bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::build::stale_bytes;
use crate::disk::{Disk, page_spans};
use crate::model::{Kept, Profile};
use crate::op::{Bytes, Ino, Kind, Op, PAGE, SECTOR, Slot, SyncKind};
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
            torn: BTreeMap::new(),
            committed: 0,
            recorded: BTreeSet::new(),
        }
    }
}

/// The renames of files that are no exchange and change something, with the file that each moves.
fn split(trace: &Trace) -> BTreeMap<usize, Ino> {
    let mut live = trace.base.clone();
    let mut split = BTreeMap::new();
    for (index, record) in trace.ops.iter().enumerate().filter(|(_, r)| r.errno.is_none()) {
        if let Op::Rename { from, to, exchange: false } = &record.op
            && let Some(moved) = live.lookup(from)
            && live.entries(moved).is_none()
            && live.lookup(to) != Some(moved)
        {
            split.insert(index, moved);
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
    /// Renames that are done in two steps, and what each moves.
    split: BTreeMap<usize, Ino>,
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
            if self.trace.ops[index].errno.is_some() {
                // What a failed sync has left clean is waited for no more.
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

    fn all_runs(&mut self, states: HashSet<State>, running: &BTreeSet<usize>) -> HashSet<State> {
        let mut todo: Vec<State> = states.iter().cloned().collect();
        let mut seen = states;
        while let Some(state) = todo.pop() {
            let mut next = self.steps_done(&state, running);
            if self.profile.order == Kept::Everything {
                if state.committed < state.log.len() && !self.profile.process_only {
                    next.push(State { committed: state.committed + 1, ..state.clone() });
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

    /// An op ends when all its steps are done and, for a sync, all that it covers is on the disk: written
    /// back, committed or recorded.
    fn ended(&self, mut state: State, index: usize) -> Option<State> {
        let done = state.log.iter().filter(|(op, _)| *op == index).count();
        if self.steps(&state.cache, index).is_some_and(|steps| done < steps.len()) {
            return None;
        }
        if self.profile.process_only {
            return Some(state);
        }
        let waits_for =
            |piece: &&Piece| self.covers(index, piece) && !self.left_clean(index, piece);
        let open: Vec<Piece> = state.dirty.keys().filter(waits_for).copied().collect();
        let committed = |piece: &Piece| {
            self.profile.order == Kept::Everything
                && state.log[..state.committed].contains(&(piece.0, piece.1))
        };
        let open: Vec<Piece> = open.into_iter().filter(|piece| !committed(piece)).collect();
        match self.profile.intent_log {
            true => open.into_iter().for_each(|piece| self.record(&mut state, (piece.0, piece.1))),
            false if !open.is_empty() => return None,
            false => {}
        }
        Some(state)
    }

    /// Writes a step to the log of syncs, behind the earlier steps that it stands on.
    fn record(&self, state: &mut State, step: (usize, usize)) {
        if !state.recorded.insert(step) {
            return;
        }
        let at = state.log.iter().position(|s| *s == step).expect("a dirty piece was done");
        let before: Vec<(usize, usize)> = state.log[..at].to_vec();
        for earlier in before {
            if self.stands_on(state, step, earlier) {
                self.record(state, earlier);
            }
        }
    }

    /// True where two steps changed the same page, size or mode; and for all names before a name.
    fn stands_on(&self, state: &State, step: (usize, usize), earlier: (usize, usize)) -> bool {
        let has = |(op, number): (usize, usize), what| state.dirty.get(&(op, number, what));
        let page = |step| has(step, What::Page).or(has(step, What::Tail)).copied().flatten();
        let resize =
            |step: (usize, usize)| state.resizes.iter().find(|r| (r.piece.0, r.piece.1) == step);
        let frees = |step, page: Page| {
            resize(step)
                .is_some_and(|r| r.ino == page.0 && r.to < r.from && r.to.div_ceil(PAGE) <= page.1)
        };
        let names = |step| has(step, What::Names).is_some();
        let mode = |step: (usize, usize)| match self.trace.ops[step.0].op {
            Op::SetMode { ino, .. } => Some(ino),
            _ => None,
        };
        let both = |a: Option<Ino>, b: Option<Ino>| a.is_some() && a == b;
        let ino = |step| resize(step).map(|r| r.ino);
        let same_page = page(step).is_some_and(|p| page(earlier) == Some(p) || frees(earlier, p))
            || page(earlier).is_some_and(|p| frees(step, p));
        let ended =
            self.trace.ops[earlier.0].end.is_some_and(|end| end < self.trace.ops[step.0].start);
        same_page
            || both(ino(step), ino(earlier))
            || both(mode(step), mode(earlier))
            || (names(step) && names(earlier) && (ended || earlier.0 == step.0))
            || (names(step) && ended && self.renamed_safely(state, step, earlier.0))
    }

    /// True where a step gives a file another's name, which waits for its content, and an op changed that.
    fn renamed_safely(&self, state: &State, step: (usize, usize), op: usize) -> bool {
        let Op::Rename { to, exchange: false, .. } = &self.trace.ops[step.0].op else {
            return false;
        };
        let (before, changes) = self.change(state, step);
        let moved = changes.iter().find(|(slot, _)| slot == to).and_then(|(_, ino)| *ino);
        let replaces = self.profile.safe_rename && before.names.contains_key(to);
        replaces && moved.is_some() && content_of(&self.trace.ops[op].op) == moved
    }

    /// True for data that a sync was about which had failed by the time that `sync` ends: the cache holds
    /// it for clean.
    fn left_clean(&self, sync: usize, piece: &Piece) -> bool {
        let (op, _, what) = *piece;
        let is_data = match self.trace.ops[op].op {
            Op::Write { .. } => matches!(what, What::Page | What::Size),
            _ => what == What::Page,
        };
        let end = self.trace.ops[sync].end.expect("only what ends is asked");
        is_data && !self.size_is_written_again(sync, piece) && self.failed_by(end, piece)
    }

    /// True for what a sync was about that had failed by a time.
    fn failed_by(&self, stamp: Stamp, piece: &Piece) -> bool {
        self.trace.ops.iter().enumerate().any(|(index, failed)| {
            failed.errno.is_some()
                && failed.end.is_some_and(|at| at <= stamp)
                && !matches!(failed.op, Op::Write { .. })
                && self.covers(index, piece)
        })
    }

    /// True for data that nothing will write, so that nothing waits for it; and for the size that came with
    /// it, where that does not come alone.
    fn is_given_up(&self, piece: &Piece) -> bool {
        let is_size = matches!(self.trace.ops[piece.0].op, Op::Write { .. })
            && piece.2 == What::Size
            && !self.profile.size_without_failed_data;
        (is_size || matches!(piece.2, What::Page | What::Tail)) && self.failed_by(self.now, piece)
    }

    /// True for a size whose last page was written to after a failed sync: the size goes with it.
    fn size_is_written_again(&self, sync: usize, &(op, number, what): &Piece) -> bool {
        let Op::Write { ino, offset, data, .. } = &self.trace.ops[op].op else { return false };
        let page = page_spans(*offset, data.len() as u64).nth(number).map(|(page, ..)| page);
        what == What::Size
            && self.trace.ops.iter().enumerate().skip(op + 1).any(|(later, record)| {
                let Op::Write { ino: i, offset, data, .. } = &record.op else { return false };
                let mut spans = page_spans(*offset, data.len() as u64).enumerate();
                i == ino
                    && spans.any(|(nth, (touched, ..))| {
                        let again = (later, nth, What::Page);
                        Some(touched) == page
                            && self.covers(sync, &again)
                            && !self.left_clean(sync, &again)
                    })
            })
    }

    fn covers(&self, sync: usize, piece: &Piece) -> bool {
        let (op, number, what) = *piece;
        let by = &self.trace.ops[sync];
        let of = &self.trace.ops[op];
        let own = op == sync && matches!(of.op, Op::Write { sync: Some(_), .. });
        let before = of.end.is_some_and(|end| end < by.start);
        if own || !before {
            return own;
        }
        let (ino, all, range) = match &by.op {
            Op::SyncAll => return true,
            Op::Sync { ino, kind } => (*ino, *kind == SyncKind::All, 0..u64::MAX),
            Op::SyncMap { ino, offset, len } => (*ino, false, *offset..offset + len),
            Op::Write { ino, offset, data, sync: Some(kind), .. } => {
                (*ino, *kind == SyncKind::All, *offset..offset + data.len() as u64)
            }
            _ => return false,
        };
        let (all, range) = match self.profile.intent_log {
            true => (true, 0..u64::MAX),
            false => (all, range),
        };
        let in_range = |page: u64| page * PAGE < range.end && range.start < (page + 1) * PAGE;
        match (&of.op, what) {
            (Op::Write { ino: i, offset, data, .. }, What::Page | What::Size) => {
                let mut spans = page_spans(*offset, data.len() as u64);
                *i == ino && spans.nth(number).is_some_and(|(page, ..)| in_range(page))
            }
            (Op::MapStore { ino: i, offset, .. } | Op::Zero { ino: i, offset, .. }, What::Page) => {
                *i == ino && in_range(offset / PAGE + number as u64)
            }
            (Op::SetLen { ino: i, len }, What::Tail) => *i == ino && in_range(len / PAGE),
            (Op::SetLen { ino: i, .. }, What::Size) => *i == ino,
            (Op::SetMode { ino: i, .. }, What::Mode) => all && *i == ino,
            (_, What::Names) if self.profile.intent_log => true,
            (
                Op::Create { slot, .. } | Op::Link { slot, .. } | Op::Unlink { slot },
                What::Names,
            ) => slot.dir == ino || self.made_by(op, ino),
            (Op::Rename { from, to, .. }, What::Names) if self.split.contains_key(&op) => {
                ino == if number == 0 { to.dir } else { from.dir }
            }
            (Op::Rename { from, to, .. }, What::Names) => from.dir == ino || to.dir == ino,
            _ => false,
        }
    }

    /// True where the profile flushes creations with files, and the op made `ino` or a directory above.
    fn made_by(&self, op: usize, mut ino: Ino) -> bool {
        if !self.profile.safe_file_flush {
            return false;
        }
        let mut seen = BTreeSet::new();
        loop {
            let made = self.trace.ops.iter().position(|r| match &r.op {
                _ if r.errno.is_some() => false,
                Op::Create { ino: i, .. } => *i == ino,
                // The first name of a file that was made without one.
                Op::Link { ino: i, .. } => *i == ino && self.was_unnamed(ino),
                _ => false,
            });
            let Some(made) = made.filter(|made| seen.insert(*made)) else { return false };
            if made == op {
                return true;
            }
            let (Op::Create { slot, .. } | Op::Link { slot, .. }) = &self.trace.ops[made].op else {
                return false;
            };
            ino = slot.dir;
        }
    }

    fn was_unnamed(&self, ino: Ino) -> bool {
        let unnamed = |op: &Op| matches!(op, Op::CreateUnnamed { ino: i, .. } if *i == ino);
        self.trace.ops.iter().any(|r| unnamed(&r.op))
    }

    /// What an op does to the cache; `None` where it has not begun, for some ops look at the cache.
    fn steps(&self, cache: &Files, index: usize) -> Option<Vec<Step>> {
        let size = |ino: &Ino| cache.sizes.get(ino).copied().unwrap_or(0);
        let copies = |ino: &Ino, offset: u64, len: u64, data: Option<&Bytes>, grows: bool| {
            let len = if grows { len } else { len.min(size(ino).saturating_sub(offset)) };
            let copy = |(page, at, range): (u64, usize, std::ops::Range<usize>)| Step::Copy {
                page: (*ino, page),
                at,
                len: range.len(),
                end: if grows { offset + range.end as u64 } else { 0 },
                data: data.map(|d| Bytes::new(&d[range])),
            };
            page_spans(offset, len).map(copy).collect::<Vec<_>>()
        };
        Some(match &self.trace.ops[index].op {
            Op::Write { ino, offset, data, .. } => {
                copies(ino, *offset, data.len() as u64, Some(data), true)
            }
            Op::MapStore { ino, offset, data } => {
                copies(ino, *offset, data.len() as u64, Some(data), false)
            }
            Op::Zero { ino, offset, len } => copies(ino, *offset, *len, None, false),
            Op::SetLen { ino, len } => vec![Step::Size { ino: *ino, len: *len }],
            Op::SetMode { ino, mode } => vec![Step::Mode { ino: *ino, mode: *mode }],
            Op::Create { slot, ino, .. } | Op::Link { slot, ino } => {
                vec![Step::Names(vec![(slot.clone(), Some(*ino))])]
            }
            Op::Unlink { slot } => vec![Step::Names(vec![(slot.clone(), None)])],
            Op::Rename { from, to, .. } if self.split.contains_key(&index) => {
                let moved = self.split[&index];
                vec![
                    Step::Names(vec![(to.clone(), Some(moved))]),
                    Step::Names(vec![(from.clone(), None)]),
                ]
            }
            Op::Rename { from, to, exchange } => {
                let source = cache.names.get(from).copied();
                let target = cache.names.get(to).copied();
                let left = target.filter(|_| *exchange);
                match source == target {
                    true => vec![Step::Names(Vec::new())], // Two names of one file.
                    false => vec![Step::Names(vec![(from.clone(), left), (to.clone(), source)])],
                }
            }
            Op::CreateUnnamed { .. }
            | Op::Sync { .. }
            | Op::SyncMap { .. }
            | Op::SyncAll
            | Op::StartWriteback { .. } => Vec::new(),
        })
    }

    fn steps_done(&mut self, state: &State, running: &BTreeSet<usize>) -> Vec<State> {
        let mut out = Vec::new();
        for &op in running {
            let done = state.log.iter().filter(|(o, _)| *o == op).count();
            let steps = self.steps(&state.cache, op).unwrap_or_default();
            if let Some(step) = steps.get(done) {
                let mut next = state.clone();
                next.log.push((op, done));
                self.do_step(&mut next, (op, done), step);
                out.push(next);
            }
        }
        out
    }

    fn do_step(&mut self, state: &mut State, (op, number): (usize, usize), step: &Step) {
        let piece = |what| (op, number, what);
        match step {
            Step::Copy { page, at, data, len, end } => {
                let old = self.images[state.cache.pages.get(page).copied().unwrap_or(0) as usize];
                let mut bytes = old;
                match data {
                    Some(data) => bytes[*at..at + len].copy_from_slice(data),
                    None => bytes[*at..at + len].fill(0),
                }
                let image = self.image(bytes);
                state.cache.pages.insert(*page, image);
                state.dirty.insert(piece(What::Page), Some(*page));
                let from = state.cache.sizes.get(&page.0).copied().unwrap_or(0);
                if *end > from {
                    state.cache.sizes.insert(page.0, *end);
                    let appended = Some((*page, page.1 * PAGE >= from));
                    let piece = piece(What::Size);
                    let resize = Resize { piece, ino: page.0, from, to: *end, appended };
                    state.resizes.push(resize);
                    state.dirty.insert(piece, None);
                }
            }
            Step::Size { ino, len } => self.resize(state, piece(What::Size), *ino, *len),
            Step::Names(changes) => {
                if !changes.is_empty() {
                    set_names(&mut state.cache, changes);
                    state.dirty.insert(piece(What::Names), None);
                }
            }
            Step::Mode { ino, mode } => {
                state.cache.modes.insert(*ino, *mode);
                state.dirty.insert(piece(What::Mode), None);
            }
        }
    }

    fn resize(&mut self, state: &mut State, piece: Piece, ino: Ino, to: u64) {
        let from = state.cache.sizes.get(&ino).copied().unwrap_or(0);
        if from == to {
            return;
        }
        state.cache.sizes.insert(ino, to);
        state.resizes.push(Resize { piece, ino, from, to, appended: None });
        state.dirty.insert(piece, None);
        if to > from {
            return;
        }
        state.cache.pages.retain(|page, _| page.0 != ino || page.1 < to.div_ceil(PAGE));
        let (last, tail) = ((ino, to / PAGE), (to % PAGE) as usize);
        if tail > 0 {
            let mut bytes =
                self.images[state.cache.pages.get(&last).copied().unwrap_or(0) as usize];
            bytes[tail..].fill(0);
            let image = self.image(bytes);
            state.cache.pages.insert(last, image);
            state.dirty.insert((piece.0, piece.1, What::Tail), Some(last));
        }
    }

    fn written_back(&self, state: &State) -> Vec<State> {
        let mut out = Vec::new();
        let pages: BTreeSet<Page> = state.dirty.values().flatten().copied().collect();
        for page in pages {
            let cut_first = state
                .resizes
                .iter()
                .any(|r| r.ino == page.0 && r.to < r.from && r.to.div_ceil(PAGE) <= page.1);
            let Some(&image) = state.cache.pages.get(&page) else { continue };
            if cut_first || state.torn.contains_key(&page) {
                continue;
            }
            let mut whole = state.clone();
            whole.disk.pages.insert(page, image);
            whole.fresh.remove(&page);
            whole.dirty.retain(|_, dirtied| *dirtied != Some(page));
            out.push(whole);
            if self.profile.torn_pages && !self.only_unmapped(state, page) {
                let mut torn = state.clone();
                torn.torn.insert(page, image);
                out.push(torn);
            }
        }
        let next = state.resizes.iter().filter(|resize| self.may_be_next(state, resize));
        out.extend(next.filter_map(|resize| self.resized(state, resize)));
        for &(op, step, what) in state.dirty.keys() {
            match what {
                What::Names => out.extend(self.named(state, (op, step))),
                What::Mode => out.extend(self.moded(state, op)),
                What::Page | What::Size | What::Tail => {}
            }
        }
        out
    }

    /// A whole page that was zeroed last loses its block, which no device tears.
    fn only_unmapped(&self, state: &State, page: Page) -> bool {
        let last = state.log.iter().rev().find_map(|&(op, step)| {
            let dirtied = |what| state.dirty.get(&(op, step, what)) == Some(&Some(page));
            (dirtied(What::Page) || dirtied(What::Tail)).then_some(op)
        });
        let last = last.expect("a dirty page was dirtied by a step");
        match &self.trace.ops[last].op {
            Op::Zero { offset, len, .. } => {
                *offset <= page.1 * PAGE && (page.1 + 1) * PAGE <= offset + len
            }
            _ => false,
        }
    }

    /// Sizes of a file are written in their order; but a larger one passes those by that were given up.
    fn may_be_next(&self, state: &State, resize: &Resize) -> bool {
        let of_file = state.resizes.iter().filter(|earlier| earlier.ino == resize.ino);
        let mut earlier = of_file.take_while(|earlier| earlier.piece != resize.piece);
        earlier.all(|earlier| resize.to > resize.from && self.is_given_up(&earlier.piece))
    }

    fn resized(&self, state: &State, resize: &Resize) -> Option<State> {
        let (op, step, _) = resize.piece;
        let grows = resize.to > resize.from;
        let data = state.dirty.contains_key(&(op, step, What::Page));
        let alone =
            self.profile.size_without_failed_data && self.is_given_up(&(op, step, What::Page));
        if grows && data && !self.profile.size_before_data && !alone {
            return None;
        }
        if self.logged_later(state, (op, step), What::Size) {
            return None;
        }
        let behind_end = Some((resize.ino, resize.from / PAGE));
        let tail = |(p, page): (&Piece, &Option<Page>)| p.2 == What::Tail && *page == behind_end;
        if grows && !self.profile.stale_bytes && state.dirty.iter().any(tail) {
            return None;
        }
        let mut next = state.clone();
        next.disk.sizes.insert(resize.ino, resize.to);
        let at = next.resizes.iter().position(|r| r.piece == resize.piece).expect("it waits");
        let passed =
            |(place, r): (usize, &Resize)| (place <= at && r.ino == resize.ino).then_some(r.piece);
        let done: Vec<Piece> = next.resizes.iter().enumerate().filter_map(passed).collect();
        next.resizes.retain(|r| !done.contains(&r.piece));
        next.dirty.retain(|piece, _| !done.contains(piece));
        if let Some((page, true)) = resize.appended
            && data
        {
            next.fresh.insert(page);
        }
        if !grows {
            let gone = |page: &Page| page.0 == resize.ino && page.1 >= resize.to.div_ceil(PAGE);
            let at = state.log.iter().position(|l| *l == (op, step)).expect("a step was done");
            let earlier: BTreeSet<(usize, usize)> = state.log[..at].iter().copied().collect();
            next.disk.pages.retain(|page, _| !gone(page));
            next.fresh.retain(|page| !gone(page));
            next.torn.retain(|page, _| !gone(page));
            next.dirty.retain(|piece, page| {
                !page.as_ref().is_some_and(gone) || !earlier.contains(&(piece.0, piece.1))
            });
        }
        Some(next)
    }

    fn moded(&self, state: &State, op: usize) -> Option<State> {
        let Op::SetMode { ino, .. } = self.trace.ops[op].op else { return None };
        let same =
            |o: usize| matches!(self.trace.ops[o].op, Op::SetMode { ino: i, .. } if i == ino);
        let mut written = state.dirty.keys().filter(|p| p.2 == What::Mode && same(p.0));
        let mut others = state.clone();
        others.dirty.retain(|piece, _| piece.2 != What::Mode || !same(piece.0));
        if written.any(|p| self.logged_later(&others, (p.0, p.1), What::Mode)) {
            return None;
        }
        let mut next = state.clone();
        next.disk.modes.insert(ino, *state.cache.modes.get(&ino)?);
        next.dirty.retain(|piece, _| piece.2 != What::Mode || !same(piece.0));
        Some(next)
    }

    /// True where the profile writes something else that is dirty before this.
    fn logged_later(&self, state: &State, step: (usize, usize), what: What) -> bool {
        let start = self.trace.ops[step.0].start;
        let first = |earlier: What| match self.profile.order {
            Kept::Nothing | Kept::Everything => false,
            Kept::Names => what == What::Names && earlier == What::Names,
            Kept::Log => earlier == What::Names,
            Kept::Metadata => !matches!(earlier, What::Page | What::Tail),
        };
        let before = |op: usize| self.trace.ops[op].end.is_some_and(|end| end < start);
        state.dirty.keys().any(|&(op, number, earlier)| {
            first(earlier) && (before(op) || (op == step.0 && number < step.1))
        })
    }

    /// The names as they were when a step was done, and what it changed.
    fn change(&self, state: &State, step: (usize, usize)) -> (Files, Vec<(Slot, Option<Ino>)>) {
        let mut files = self.base.clone();
        for &(op, number) in &state.log {
            let steps = self.steps(&files, op).unwrap_or_default();
            if let Some(Step::Names(changes)) = steps.get(number) {
                if (op, number) == step {
                    return (files, changes.clone());
                }
                set_names(&mut files, changes);
            }
        }
        unreachable!("a dirty name was changed by a step")
    }

    fn named(&self, state: &State, step: (usize, usize)) -> Option<State> {
        let (before, changes) = self.change(state, step);
        let at = state.log.iter().position(|s| *s == step)?;
        let waiting: Vec<(usize, usize)> = state.log[..at]
            .iter()
            .copied()
            .filter(|&(op, number)| state.dirty.contains_key(&(op, number, What::Names)))
            .collect();
        if self.logged_later(state, step, What::Names) {
            return None;
        }
        let this = &self.trace.ops[step.0];
        let moves = |changes: &[(Slot, Option<Ino>)]| {
            changes.len() == 2
                && changes.iter().any(|(_, i)| i.is_some_and(|i| self.kinds[&i].0 == Kind::Dir))
        };
        let emptied: Vec<Ino> = changes
            .iter()
            .filter_map(|(slot, _)| before.names.get(slot).copied())
            .filter(|ino| !changes.iter().any(|(_, i)| i == &Some(*ino)))
            .collect();
        for &earlier in &waiting {
            let (_, other) = self.change(state, earlier);
            let shares = other.iter().any(|(s, _)| changes.iter().any(|(t, _)| s == t));
            let makes_room = other.iter().any(|(s, _)| emptied.contains(&s.dir));
            let both_move = moves(&other) && moves(&changes);
            let makes_dir = changes.len() == 2
                && changes.iter().any(|(slot, i)| i.is_some() && self.above(earlier.0, slot.dir));
            if shares || makes_room || both_move || makes_dir {
                return None;
            }
        }
        if let Op::Rename { to, exchange: false, .. } = &this.op
            && self.profile.safe_rename
            && before.names.contains_key(to)
            && let Some((_, Some(moved))) = changes.iter().find(|(slot, _)| slot == to)
            && self.has_dirty_content(state, *moved, this.start)
        {
            return None;
        }
        let mut next = state.clone();
        set_names(&mut next.disk, &changes);
        next.dirty.remove(&(step.0, step.1, What::Names));
        Some(next)
    }

    /// True where the op made the directory `dir` or one in which that was made.
    fn above(&self, op: usize, mut dir: Ino) -> bool {
        loop {
            let made = self.trace.ops.iter().enumerate().find_map(|(index, r)| match &r.op {
                Op::Create { slot, ino, .. } if *ino == dir => Some((index, slot.dir)),
                _ => None,
            });
            match made {
                Some((index, _)) if index == op => return true,
                Some((_, parent)) => dir = parent,
                None => return false,
            }
        }
    }

    fn has_dirty_content(&self, state: &State, ino: Ino, start: Stamp) -> bool {
        state.dirty.keys().any(|piece| {
            let record = &self.trace.ops[piece.0];
            content_of(&record.op) == Some(ino)
                && record.end.is_some_and(|end| end < start)
                && !self.is_given_up(piece)
        })
    }

    fn found(&mut self, states: &HashSet<State>) -> BTreeMap<u128, Disk> {
        let mut out = BTreeMap::new();
        let mut disks: HashSet<(Files, BTreeSet<Page>, BTreeMap<Page, u32>)> = HashSet::new();
        for state in states {
            let files = match (self.profile.process_only, self.profile.order) {
                (true, _) => state.cache.clone(),
                (_, Kept::Everything) => self.journaled(state),
                _ => state.disk.clone(),
            };
            disks.insert((files, state.fresh.clone(), state.torn.clone()));
        }
        for (files, fresh, torn) in disks {
            for disk in self.seen(&files, &fresh, &torn) {
                out.entry(disk.digest()).or_insert(disk);
            }
        }
        out
    }

    /// What the journal gives back: the steps that it committed, and those that a sync recorded.
    fn journaled(&mut self, state: &State) -> Files {
        let (mut ran, mut replayed) =
            (State::booted(self.base.clone()), State::booted(self.base.clone()));
        for (at, &(op, number)) in state.log.iter().enumerate() {
            // A step is what it was when it was asked for, whatever of the others is gone.
            let steps = self.steps(&ran.cache, op).unwrap_or_default();
            let Some(step) = steps.get(number) else { continue };
            self.do_step(&mut ran, (op, number), step);
            if at < state.committed || state.recorded.contains(&(op, number)) {
                self.do_step(&mut replayed, (op, number), step);
            }
        }
        replayed.cache
    }

    /// What a disk with blocks never written and pages half written may look like.
    fn seen(&self, files: &Files, fresh: &BTreeSet<Page>, torn: &BTreeMap<Page, u32>) -> Vec<Disk> {
        let mut pages: Vec<BTreeMap<Page, Image>> = vec![BTreeMap::new()];
        let numbers: BTreeSet<Page> =
            files.pages.keys().chain(fresh).chain(torn.keys()).copied().collect();
        for page in numbers {
            let known = self.images[files.pages.get(&page).copied().unwrap_or(0) as usize];
            let mut looks = vec![known];
            if fresh.contains(&page) && self.profile.stale_bytes {
                looks.push(stale_bytes(page.0, page.1));
            }
            if let Some(&newer) = torn.get(&page) {
                let newer = &self.images[newer as usize];
                looks = looks.iter().flat_map(|older| half_written(older, newer)).collect();
            }
            let with = |all: &BTreeMap<Page, Image>, look: &Image| {
                let mut all = all.clone();
                all.insert(page, *look);
                all
            };
            pages = pages.iter().flat_map(|all| looks.iter().map(|l| with(all, l))).collect();
        }
        pages.iter().map(|pages| self.disk(files, pages)).collect()
    }

    fn disk(&self, files: &Files, pages: &BTreeMap<Page, Image>) -> Disk {
        let mut disk = Disk::new();
        let mut made = BTreeSet::new();
        let mut dirs = vec![Ino::ROOT];
        while let Some(dir) = dirs.pop() {
            for (slot, &ino) in files.names.iter().filter(|(slot, _)| slot.dir == dir) {
                let slot = slot.clone();
                if !made.insert(ino) {
                    disk.apply(&Op::Link { ino, slot });
                    continue;
                }
                let (kind, mode) = self.kinds[&ino].clone();
                let mode = files.modes.get(&ino).copied().unwrap_or(mode);
                disk.apply(&Op::Create { slot, ino, kind: kind.clone(), mode });
                if kind == Kind::Dir {
                    dirs.push(ino);
                    continue;
                }
                for (page, image) in pages.iter().filter(|(page, _)| page.0 == ino) {
                    let (offset, data) = (page.1 * PAGE, Bytes::new(image));
                    disk.apply(&Op::Write { ino, offset, data, direct: false, sync: None });
                }
                let len = files.sizes.get(&ino).copied().unwrap_or(0);
                disk.apply(&Op::SetLen { ino, len });
            }
        }
        disk
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

/// A page of which a prefix, a suffix, or all but one hole of its sectors was written.
fn half_written(older: &Image, newer: &Image) -> BTreeSet<Image> {
    let mut out = BTreeSet::from([*older]);
    for from in 0..8usize {
        for to in from..=8 {
            let hole = from * SECTOR as usize..to * SECTOR as usize;
            let mut image = *newer;
            image[hole.clone()].copy_from_slice(&older[hole]);
            out.insert(image);
        }
    }
    out
}
