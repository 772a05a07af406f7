//! When an op of the machine ends: what a sync waits for, and what it records.

use std::collections::BTreeSet;

use super::{Machine, Page, Piece, State, What, content_of};
use crate::disk::page_spans;
use crate::model::Kept;
use crate::op::{Ino, Op, PAGE, SyncKind};
use crate::trace::Stamp;

impl Machine<'_> {
    /// An op ends when all its steps are done and, for a sync, all that it covers is on the disk: written
    /// back, committed or recorded.
    pub(super) fn ended(&self, mut state: State, index: usize) -> Option<State> {
        let done = state.log.iter().filter(|(op, _)| *op == index).count();
        if self.steps(&state.cache, index).is_some_and(|steps| done < steps.len()) {
            return None;
        }
        if self.profile.process_only {
            return Some(state);
        }
        let open = state.dirty.iter().filter(|(piece, page)| {
            self.covers(index, piece)
                && !self.left_clean(index, piece)
                && !self.stays_unwritten(&state, piece, **page)
        });
        let open: Vec<Piece> = open.map(|(piece, _)| *piece).collect();
        let committed = |piece: &Piece| {
            self.profile.order == Kept::Everything
                && (0..state.log.len())
                    .any(|at| state.log[at] == (piece.0, piece.1) && self.is_kept(&state, at))
        };
        let open: Vec<Piece> = open.into_iter().filter(|piece| !committed(piece)).collect();
        match self.profile.intent_log {
            true => open.into_iter().for_each(|piece| self.record(&mut state, (piece.0, piece.1))),
            false if !open.is_empty() => return None,
            false => {}
        }
        Some(state)
    }

    /// A sync has failed: the blocks of new pages that it was about stay as they are.
    pub(super) fn failed(&self, mut state: State, sync: usize) -> State {
        if matches!(self.trace.ops[sync].op, Op::Write { .. }) {
            return state;
        }
        for (piece, page) in &state.dirty {
            let is_new = piece.2 == What::Page && state.added.contains(&(piece.0, piece.1));
            if is_new && self.covers(sync, piece) {
                state.unwritten.extend(page);
            }
        }
        state
    }

    /// True for data in such a page, which no sync makes durable.
    fn stays_unwritten(&self, state: &State, piece: &Piece, page: Option<Page>) -> bool {
        self.profile.failed_blocks_stay_unwritten
            && matches!(piece.2, What::Page | What::Tail)
            && page.is_some_and(|page| state.unwritten.contains(&page))
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

    /// True where two steps changed the same page.
    pub(super) fn is_later_version(
        &self,
        state: &State,
        step: (usize, usize),
        earlier: (usize, usize),
    ) -> bool {
        let has = |(op, number): (usize, usize), what| state.dirty.get(&(op, number, what));
        let page = |step| has(step, What::Page).or(has(step, What::Tail)).copied().flatten();
        let frees = |step: (usize, usize), page: Page| {
            let resize = state.resizes.iter().find(|r| (r.piece.0, r.piece.1) == step);
            resize
                .is_some_and(|r| r.ino == page.0 && r.to < r.from && r.to.div_ceil(PAGE) <= page.1)
        };
        page(step).is_some_and(|p| page(earlier) == Some(p) || frees(earlier, p))
            || page(earlier).is_some_and(|p| frees(step, p))
    }

    /// True where two steps changed the same page, size or mode; and for all names before a name.
    fn stands_on(&self, state: &State, step: (usize, usize), earlier: (usize, usize)) -> bool {
        let has = |(op, number): (usize, usize), what| state.dirty.get(&(op, number, what));
        let resize =
            |step: (usize, usize)| state.resizes.iter().find(|r| (r.piece.0, r.piece.1) == step);
        let names = |step| has(step, What::Names).is_some();
        let mode = |step: (usize, usize)| match self.trace.ops[step.0].op {
            Op::SetMode { ino, .. } => Some(ino),
            _ => None,
        };
        let both = |a: Option<Ino>, b: Option<Ino>| a.is_some() && a == b;
        let ino = |step| resize(step).map(|r| r.ino);
        let ended =
            self.trace.ops[earlier.0].end.is_some_and(|end| end < self.trace.ops[step.0].start);
        self.is_later_version(state, step, earlier)
            || both(ino(step), ino(earlier))
            || both(mode(step), mode(earlier))
            || (names(step) && names(earlier) && (ended || earlier.0 == step.0))
            || (names(step) && ended && self.renamed_safely(state, step, earlier.0))
    }

    /// True where a step gives a file another's name, or in a log any other name, which waits for its content,
    /// and an op changed that.
    fn renamed_safely(&self, state: &State, step: (usize, usize), op: usize) -> bool {
        let Op::Rename { to, exchange: false, .. } = &self.trace.ops[step.0].op else {
            return false;
        };
        let (before, changes) = self.change(state, step);
        let moved = changes.iter().find(|(slot, _)| slot == to).and_then(|(_, ino)| *ino);
        let replaces = self.profile.intent_log || before.names.contains_key(to);
        self.profile.safe_rename
            && replaces
            && moved.is_some()
            && !matches!(self.trace.ops[op].op, Op::MapStore { .. })
            && content_of(&self.trace.ops[op].op) == moved
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
    pub(super) fn is_given_up(&self, piece: &Piece) -> bool {
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
                let of_target = 1 + usize::from(self.split[&op].1);
                ino == if number < of_target { to.dir } else { from.dir }
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
}
