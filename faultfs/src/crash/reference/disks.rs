//! The disks on which the machine stands when the power goes.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Files, Image, Machine, Page, State};
use crate::crash::build::stale_bytes;
use crate::disk::Disk;
use crate::model::Kept;
use crate::op::{Bytes, Ino, Kind, Op, PAGE, SECTOR};

impl Machine<'_> {
    pub(super) fn found(&mut self, states: &HashSet<State>) -> BTreeMap<u128, Disk> {
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
            if self.is_kept(state, at) {
                self.do_step(&mut replayed, (op, number), step);
            }
        }
        replayed.cache
    }

    /// True for a step of the log that the journal gives back. It hears of a store through a mapping by itself, when
    /// the page is written back.
    pub(super) fn is_kept(&self, state: &State, at: usize) -> bool {
        let step = state.log[at];
        (at < state.committed && !self.is_mapped(step.0)) || state.recorded.contains(&step)
    }

    fn is_mapped(&self, op: usize) -> bool {
        matches!(self.trace.ops[op].op, Op::MapStore { .. })
    }

    /// What a journal of everything may take next: the next step, and any page that was stored to, each behind what
    /// it is a later version of.
    pub(super) fn journals(&self, state: &State) -> Vec<State> {
        let is_ready = |at: usize| {
            let mut earlier = (0..at).filter(|earlier| !self.is_kept(state, *earlier));
            !earlier.any(|earlier| self.is_later_version(state, state.log[at], state.log[earlier]))
        };
        let mut next = Vec::new();
        let at = state.committed;
        if at < state.log.len() && (self.is_mapped(state.log[at].0) || is_ready(at)) {
            next.push(State { committed: at + 1, ..state.clone() });
        }
        for at in (0..state.log.len()).filter(|at| self.is_mapped(state.log[*at].0)) {
            if !self.is_kept(state, at) && is_ready(at) {
                let mut put = state.clone();
                put.recorded.insert(state.log[at]);
                next.push(put);
            }
        }
        next
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
