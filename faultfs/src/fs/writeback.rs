//! What of a file is on the device, and what only memory still has, where a sync has failed.
//!
//! On Linux a failed sync leaves the pages that it could not write clean (fsync(2); Rebello et al.,
//! "Can Applications Recover from fsync Failures?", table 1): no later sync writes them, until they are
//! written to again. As long as they stay in memory, nobody notices.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::shared::{Caller, State};
use crate::disk::{Content, page_spans};
use crate::errno::Errno;
use crate::fault::{Size, SyncFailure};
use crate::op::{Bytes, Ino, Op, PAGE};
use crate::trace::{Outcome, Stamp, Trace};

/// A file as the device has it.
#[derive(Default)]
pub(super) struct OnDevice {
    /// As the last successful sync of each page left it.
    pub(super) content: Content,
    /// Pages that memory has anew, and that no later sync will write.
    pub(super) lost: BTreeSet<u64>,
    /// True where memory has a new size that no later sync will write.
    pub(super) len_is_lost: bool,
    /// True where memory has something that a later sync will write.
    is_dirty: bool,
}

impl OnDevice {
    /// True where the device has the file as memory has it.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_dirty && !self.len_is_lost && self.lost.is_empty()
    }
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

/// Follows `ino` through what was done to it, and says what the device has of it; `failures` are the syncs
/// that have failed, by their starts.
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
pub(super) fn before_last_write(trace: &Trace, ino: Ino, offset: u64, len: u64) -> Content {
    let mut live = trace.base.content(ino).cloned().unwrap_or_default();
    let mut before = None;
    for (stamp, index) in stamps(trace, ino) {
        let record = &trace.ops[index];
        if record.errno.is_some() || record.end != Some(stamp) {
            continue;
        }
        match &record.op {
            Op::Write { offset: at, data, .. } => {
                if *at < offset.saturating_add(len) && at + data.len() as u64 > offset {
                    before = Some(live.clone());
                }
                live.write_at(data, *at);
            }
            Op::SetLen { len, .. } => live.set_len(*len),
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
            Op::Write { ino: i, .. } | Op::SetLen { ino: i, .. } if *i == ino => {
                stamps.insert(end, index);
            }
            _ => {}
        }
    }
    stamps
}

impl State {
    /// What the device has of a file.
    pub(super) fn on_device(&self, ino: Ino) -> OnDevice {
        on_device(self.recorder.trace(), ino, &self.failures)
    }

    /// A sync of a file that has failed so, for the record.
    pub(super) fn note_failed_sync(
        &mut self,
        caller: Caller,
        op: Op,
        errno: Errno,
        how: SyncFailure,
    ) {
        self.failures.insert(self.recorder.next_start(), how);
        self.note_failed(caller, op, errno);
    }

    /// Every handle of the file will be told of a failed sync.
    pub(super) fn owe(&mut self, ino: Ino, errno: Errno) {
        let handles = self.open.get(&ino).into_iter().flatten();
        self.owed.extend(handles.map(|id| (*id, errno)));
    }

    /// Makes a file what it was, in the record, in memory, and on the folder through `real`.
    pub(super) fn restore(
        &mut self,
        ino: Ino,
        content: &Content,
        real: Option<&File>,
        caller: Caller,
    ) -> io::Result<()> {
        let live = self.disk().content(ino).cloned().unwrap_or_default();
        if live.len() != content.len() {
            real.map_or(Ok(()), |real| real.set_len(content.len()))?;
            self.done(caller, Op::SetLen { ino, len: content.len() });
        }
        let pages: BTreeSet<u64> = live.page_numbers().chain(content.page_numbers()).collect();
        for page in pages {
            let offset = page * PAGE;
            let len = content.len().saturating_sub(offset).min(PAGE) as usize;
            let bytes = content.page(page);
            if len == 0 || live.page(page)[..len] == bytes[..len] {
                continue;
            }
            real.map_or(Ok(()), |real| real.write_all_at(&bytes[..len], offset))?;
            let data = Bytes::new(&bytes[..len]);
            self.done(caller, Op::Write { ino, offset, data, direct: false, sync: None });
        }
        Ok(())
    }

    fn done(&mut self, caller: Caller, op: Op) {
        let started = self.start(caller, op);
        self.end(started, Outcome::Done);
    }
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
                        self.device.content.put_page(page, self.live.page(page));
                    }
                }
                if sync.is_some() {
                    self.device.content.set_len(self.live.len());
                }
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
                None => self.device.content.put_page(page, seen.page(page)),
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
