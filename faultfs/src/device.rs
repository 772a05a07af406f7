//! What of a file is on the device, and what only memory still has, where a sync has failed.
//!
//! On Linux a failed sync leaves the pages that it could not write clean (fsync(2); Rebello et al.,
//! "Can Applications Recover from fsync Failures?", table 1): no later sync writes them, until they are
//! written to again. As long as they stay in memory, nobody notices.
//!
//! Every door that lets a sync fail asks here, with the trace so far.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::disk::{Content, page_spans};
use crate::fault::{Size, SyncFailure};
use crate::op::{Ino, Op, PAGE};
use crate::trace::{Stamp, Trace};

/// A file as the device has it.
#[derive(Debug, Default)]
pub struct OnDevice {
    /// As the last successful sync of each page left it.
    pub(crate) content: Content,
    /// Pages that memory has anew, and that no later sync will write.
    lost: BTreeSet<u64>,
    /// True where memory has a new size that no later sync will write.
    len_is_lost: bool,
    /// True where memory has something that a later sync will write.
    is_dirty: bool,
}

impl OnDevice {
    /// Follows `ino` through what was done to it; `failures` are the syncs that have failed, by their
    /// starts. One that is not among them has failed as [`SyncFailure::EXT4_ORDERED`].
    pub fn of(trace: &Trace, ino: Ino, failures: &BTreeMap<Stamp, SyncFailure>) -> OnDevice {
        on_device(trace, ino, failures)
    }

    /// As the last successful sync of each page left it.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// True where the device has the file as memory has it.
    pub fn is_whole(&self) -> bool {
        !self.is_dirty && !self.len_is_lost && self.lost.is_empty()
    }

    /// What the file is when memory, which has it as `live`, drops what is clean. The inode itself stays as
    /// long as somebody has it open.
    pub fn evicted(&self, live: &Content, is_open: bool) -> Content {
        let mut content = live.clone();
        for &page in &self.lost {
            *content.page_mut(page) = *self.content.page(page);
        }
        if self.len_is_lost && !is_open {
            content.set_len(self.content.len());
        }
        content
    }

    /// What the file is when memory, which has it as `live`, gives up what is not on the device.
    pub fn reverted(&self, live: &Content, size: Size) -> Content {
        let mut content = self.content.clone();
        if size == Size::Persisted {
            content.set_len(live.len());
        }
        content
    }

    /// As [`reverted`](Self::reverted), of the pages alone that these bytes touch. The size stays.
    pub fn reverted_pages(&self, live: &Content, bytes: Range<u64>) -> Content {
        let mut content = live.clone();
        let held = live.page_numbers().chain(self.content.page_numbers());
        let touched = bytes.start / PAGE..bytes.end.div_ceil(PAGE);
        let pages: BTreeSet<u64> = held.filter(|page| touched.contains(page)).collect();
        pages.into_iter().for_each(|page| *content.page_mut(page) = *self.content.page(page));
        content
    }

    /// What a sync of which only some pages cannot be written has written: offsets and lengths. Where it is
    /// not sure what becomes of the size, nothing is.
    pub fn written_besides(&self, how: SyncFailure) -> Vec<(u64, u64)> {
        let Some((first, end)) = how.only else { return Vec::new() };
        let (first, end) = (first / PAGE * PAGE, end.next_multiple_of(PAGE));
        if how.size == Size::Reverted || end > self.content.len() {
            return Vec::new();
        }
        [(0, first), (end, u64::MAX - end)].into_iter().filter(|(_, len)| *len > 0).collect()
    }
}

/// What makes `content` of `live`: a new size, if it has one, and then bytes with their offsets, each
/// run within a page.
pub fn changes(live: &Content, content: &Content) -> (Option<u64>, Vec<(u64, Vec<u8>)>) {
    let size = (live.len() != content.len()).then_some(content.len());
    let pages: BTreeSet<u64> = live.page_numbers().chain(content.page_numbers()).collect();
    let changed = pages.into_iter().filter_map(|page| {
        let offset = page * PAGE;
        let len = content.len().saturating_sub(offset).min(PAGE) as usize;
        let bytes = content.page(page);
        (live.page(page)[..len] != bytes[..len]).then(|| (offset, bytes[..len].to_vec()))
    });
    (size, changed.collect())
}

/// A file on its way through a trace.
struct Follower {
    live: Content,
    /// Pages that differ from the device and will be written, with the stamp of their last change.
    dirty: BTreeMap<u64, Stamp>,
    /// The last change of the size that a sync will still write.
    dirty_len: Option<Stamp>,
    device: OnDevice,
}

fn on_device(trace: &Trace, ino: Ino, failures: &BTreeMap<Stamp, SyncFailure>) -> OnDevice {
    let start = trace.base.content(ino).cloned().unwrap_or_default();
    let device = OnDevice { content: start.clone(), ..OnDevice::default() };
    let mut follower = Follower { live: start, dirty: BTreeMap::new(), dirty_len: None, device };
    // A sync covers what had ended before it started, and counts from its end on.
    let mut started = BTreeMap::new();
    for (stamp, index) in stamps(trace, ino) {
        let record = &trace.ops[index];
        match &record.op {
            Op::Sync { .. } | Op::SyncMap { .. } | Op::SyncAll if stamp == record.start => {
                started.insert(index, follower.live.clone());
            }
            Op::Sync { .. } | Op::SyncMap { .. } | Op::SyncAll => {
                let seen = started.remove(&index).expect("an op starts before it ends");
                let pages = match record.op {
                    Op::SyncMap { offset, len, .. } => {
                        offset / PAGE..offset.saturating_add(len).div_ceil(PAGE)
                    }
                    _ => 0..u64::MAX,
                };
                let failed = record.errno.map(|_| {
                    let how = failures.get(&record.start);
                    how.copied().unwrap_or(SyncFailure::EXT4_ORDERED)
                });
                follower.synced(&seen, record.start, pages, failed);
            }
            op if record.errno.is_none() => follower.changed(op, stamp),
            _ => {}
        }
    }
    let OnDevice { content, .. } = &follower.device;
    let is_len_dirty = follower.dirty_len.is_some();
    follower.device.len_is_lost = !is_len_dirty && content.len() != follower.live.len();
    follower.device.is_dirty = is_len_dirty || !follower.dirty.is_empty();
    follower.device
}

/// What `ino` held before the last write that touched `len` bytes at `offset`; what it holds, where there
/// was none.
pub fn before_last_write(trace: &Trace, ino: Ino, offset: u64, len: u64) -> Content {
    let mut live = trace.base.content(ino).cloned().unwrap_or_default();
    let mut before = None;
    for (stamp, index) in stamps(trace, ino) {
        let record = &trace.ops[index];
        if record.errno.is_some() || record.end != Some(stamp) {
            continue;
        }
        match &record.op {
            Op::Write { offset: at, data, .. } | Op::MapStore { offset: at, data, .. } => {
                if *at < offset.saturating_add(len) && at + data.len() as u64 > offset {
                    before = Some(live.clone());
                }
                match &record.op {
                    Op::Write { .. } => live.write_at(data, *at),
                    _ => live.store(data, *at),
                }
            }
            Op::SetLen { len, .. } => live.set_len(*len),
            Op::Zero { offset, len, .. } => live.zero(*offset, *len),
            _ => {}
        }
    }
    before.unwrap_or(live)
}

/// When something happened to `ino`: the ends of changes, both ends of syncs. In order.
fn stamps(trace: &Trace, ino: Ino) -> BTreeMap<Stamp, usize> {
    let mut stamps = BTreeMap::new();
    for (index, record) in trace.ops.iter().enumerate() {
        let Some(end) = record.end else { continue };
        match &record.op {
            Op::SyncAll => stamps.extend([(record.start, index), (end, index)]),
            Op::Sync { ino: i, .. } | Op::SyncMap { ino: i, .. } if *i == ino => {
                stamps.extend([(record.start, index), (end, index)]);
            }
            Op::Write { ino: i, .. }
            | Op::MapStore { ino: i, .. }
            | Op::SetLen { ino: i, .. }
            | Op::Zero { ino: i, .. }
                if *i == ino =>
            {
                stamps.insert(end, index);
            }
            _ => {}
        }
    }
    stamps
}

impl Follower {
    fn changed(&mut self, op: &Op, stamp: Stamp) {
        let before = self.live.len();
        self.change(op, stamp);
        if self.live.len() != before && self.live.len() != self.device.content.len() {
            self.dirty_len = Some(stamp);
        }
    }

    fn change(&mut self, op: &Op, stamp: Stamp) {
        match op {
            Op::Write { offset, data, sync, .. } => {
                self.live.write_at(data, *offset);
                for (page, ..) in page_spans(*offset, data.len() as u64) {
                    self.touch(page, stamp);
                    if sync.is_some() {
                        self.dirty.remove(&page);
                        *self.device.content.page_mut(page) = *self.live.page(page);
                    }
                }
                if sync.is_some() {
                    self.device.content.set_len(self.live.len());
                }
            }
            Op::MapStore { offset, data, .. } => {
                self.live.store(data, *offset);
                self.touch_all(*offset, data.len() as u64, stamp);
            }
            Op::Zero { offset, len, .. } => {
                let len = (*len).min(self.live.len().saturating_sub(*offset));
                self.live.zero(*offset, len);
                self.touch_all(*offset, len, stamp);
            }
            Op::SetLen { len, .. } => {
                self.live.set_len(*len);
                let gone = len.div_ceil(PAGE);
                self.dirty.split_off(&gone);
                self.device.lost.split_off(&gone);
                if !len.is_multiple_of(PAGE) {
                    self.touch(len / PAGE, stamp);
                }
            }
            _ => {}
        }
    }

    fn touch_all(&mut self, offset: u64, len: u64, stamp: Stamp) {
        page_spans(offset, len).for_each(|(page, ..)| self.touch(page, stamp));
    }

    fn touch(&mut self, page: u64, stamp: Stamp) {
        self.dirty.insert(page, stamp);
        self.device.lost.remove(&page);
    }

    /// A sync of these pages that saw the file as `seen` and started at `start` has ended.
    fn synced(
        &mut self,
        seen: &Content,
        start: Stamp,
        pages: Range<u64>,
        failed: Option<SyncFailure>,
    ) {
        let dirty = self.dirty.range(pages).filter(|(_, at)| **at < start);
        let covered: Vec<u64> = dirty.map(|(page, _)| *page).collect();
        let device_end = self.device.content.len().div_ceil(PAGE);
        let grows = covered.last().is_some_and(|page| *page >= device_end);
        for page in covered {
            self.dirty.remove(&page);
            match failed {
                None => *self.device.content.page_mut(page) = *seen.page(page),
                Some(_) => drop(self.device.lost.insert(page)),
            }
        }
        let len_is_dirty = self.dirty_len.is_some_and(|at| at < start);
        let len_is_written = match failed {
            None => len_is_dirty || grows,
            Some(how) => how.size == Size::Persisted,
        };
        if len_is_written {
            self.device.content.set_len(seen.len());
        }
        if len_is_dirty {
            self.dirty_len = None;
        }
    }
}
