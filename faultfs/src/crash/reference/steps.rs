//! What the ops of the machine do to its cache, step by step.

use std::collections::BTreeSet;

use super::{Files, Machine, Piece, Resize, State, Step, What, set_names};
use crate::disk::page_spans;
use crate::op::{Bytes, Ino, Op, PAGE};

impl Machine<'_> {
    /// What an op does to the cache; `None` where it has not begun, for some ops look at the cache.
    pub(super) fn steps(&self, cache: &Files, index: usize) -> Option<Vec<Step>> {
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
            Op::MapStore { ino, offset, data, .. } => {
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
                let (moved, replaces) = self.split[&index];
                let removed = replaces.then(|| Step::Names(vec![(to.clone(), None)]));
                let named = Step::Names(vec![(to.clone(), Some(moved))]);
                let left = Step::Names(vec![(from.clone(), None)]);
                removed.into_iter().chain([named, left]).collect()
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

    pub(super) fn steps_done(&mut self, state: &State, running: &BTreeSet<usize>) -> Vec<State> {
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

    pub(super) fn do_step(&mut self, state: &mut State, (op, number): (usize, usize), step: &Step) {
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
                    if page.1 * PAGE >= from {
                        state.added.insert((op, number));
                    }
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

    pub(super) fn resize(&mut self, state: &mut State, piece: Piece, ino: Ino, to: u64) {
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
        state.unwritten.retain(|page| page.0 != ino || page.1 < to.div_ceil(PAGE));
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
}
