//! What the machine may write back next.

use std::collections::BTreeSet;

use super::{Files, Machine, Page, Piece, Resize, State, Step, What, content_of, set_names};
use crate::model::Kept;
use crate::op::{Ino, Kind, Op, PAGE, Slot};
use crate::trace::Stamp;

impl Machine<'_> {
    pub(super) fn written_back(&self, state: &State) -> Vec<State> {
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
        let within = self.profile.size_within_block && matches!(resize.appended, Some((_, false)));
        if grows && data && !self.profile.size_before_data && !within && !alone {
            return None;
        }
        if self.logged_later(state, (op, step), What::Size) {
            return None;
        }
        let behind_end = Some((resize.ino, resize.from / PAGE));
        let tail = |(p, page): (&Piece, &Option<Page>)| p.2 == What::Tail && *page == behind_end;
        let shows_cut = self.profile.stale_bytes && self.profile.size_before_data;
        if grows && !shows_cut && state.dirty.iter().any(tail) {
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
    pub(super) fn change(
        &self,
        state: &State,
        step: (usize, usize),
    ) -> (Files, Vec<(Slot, Option<Ino>)>) {
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
            && (before.names.contains_key(to) || self.split.get(&step.0).is_some_and(|s| s.1))
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
                && (piece.2 == What::Size || state.added.contains(&(piece.0, piece.1)))
                && record.end.is_some_and(|end| end < start)
                && !self.is_given_up(piece)
        })
    }
}
