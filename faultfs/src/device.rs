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
    /// Sizes that a sync will still write, in order.
    sizes: Vec<NewSize>,
    device: OnDevice,
}

/// A change of the size.
struct NewSize {
    at: Stamp,
    len: u64,
    /// The page with which a size is written that a write has brought, and not before (fs/ext4/inode.c,
    /// `ext4_da_do_write_end`: `i_disksize` waits for the write-back of the page; fs/xfs/xfs_aops.c,
    /// `xfs_end_ioend`). One that was set is of the inode alone.
    page: Option<u64>,
}

fn on_device(trace: &Trace, ino: Ino, failures: &BTreeMap<Stamp, SyncFailure>) -> OnDevice {
    let start = trace.base.content(ino).cloned().unwrap_or_default();
    let device = OnDevice { content: start.clone(), ..OnDevice::default() };
    let mut follower = Follower { live: start, dirty: BTreeMap::new(), sizes: Vec::new(), device };
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
    let is_len_dirty = !follower.sizes.is_empty();
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
    fn changed(&mut self, op: &Op, at: Stamp) {
        let before = self.live.len();
        self.change(op, at);
        let len = self.live.len();
        match op {
            Op::Write { sync: Some(_), .. } => {
                self.device.content.set_len(len);
                self.sizes.clear();
            }
            _ if len == before => {}
            Op::Write { .. } => self.sizes.push(NewSize { at, len, page: Some((len - 1) / PAGE) }),
            _ => self.sizes.push(NewSize { at, len, page: None }),
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
        let dirty = self.dirty.range(pages.clone()).filter(|(_, at)| **at < start);
        let covered: Vec<u64> = dirty.map(|(page, _)| *page).collect();
        let is_covered = |size: &mut NewSize| {
            size.at < start && size.page.is_none_or(|page| pages.contains(&page))
        };
        let sizes: Vec<NewSize> = self.sizes.extract_if(.., is_covered).collect();
        let device = &mut self.device;
        if failed.is_none_or(|how| how.size == Size::Persisted) {
            sizes.iter().for_each(|size| device.content.set_len(size.len));
        }
        for &page in &covered {
            self.dirty.remove(&page);
            match failed {
                None => *device.content.page_mut(page) = *seen.page(page),
                Some(_) => drop(device.lost.insert(page)),
            }
        }
        // A page past the end on the device, whose size a failed sync had given up, brings it after all.
        let end = covered.last().map_or(0, |page| (page + 1) * PAGE).min(seen.len());
        if failed.is_none() && end > device.content.len() {
            device.content.set_len(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::op::{Bytes, Kind, Slot, SyncKind};
    use crate::recorder::{OpId, Recorder};
    use crate::trace::Outcome;

    /// A file of pages on its way; a letter is a page, `.` one of zeros.
    struct Story {
        recorder: Recorder,
        ino: Ino,
        failures: BTreeMap<Stamp, SyncFailure>,
    }

    fn write(ino: Ino, page: u64, letter: char, sync: Option<SyncKind>) -> Op {
        let data = Bytes::new(&[letter as u8; PAGE as usize]);
        Op::Write { ino, offset: page * PAGE, data, direct: false, sync }
    }

    fn letters(content: &Content) -> String {
        let first = |page: u64| match content.page(page)[0] {
            0 => '.',
            byte => byte as char,
        };
        (0..content.len().div_ceil(PAGE)).map(first).collect()
    }

    impl Story {
        /// On a disk that has these pages.
        fn of(pages: &str) -> Story {
            let mut disk = Disk::new();
            let ino = disk.fresh_ino();
            let slot = Slot::new(Ino::ROOT, "f");
            disk.apply(&Op::Create { slot, ino, kind: Kind::File, mode: 0o644 });
            let pages = (0..).zip(pages.chars());
            pages.for_each(|(page, letter)| disk.apply(&write(ino, page, letter, None)));
            Story { recorder: Recorder::new(disk), ino, failures: BTreeMap::new() }
        }

        fn op(&mut self, op: Op) -> &mut Self {
            self.recorder.record(0, None, op);
            self
        }

        fn write(&mut self, page: u64, letter: char) -> &mut Self {
            self.op(write(self.ino, page, letter, None))
        }

        fn set_len(&mut self, pages: u64) -> &mut Self {
            self.op(Op::SetLen { ino: self.ino, len: pages * PAGE })
        }

        fn begin_sync(&mut self) -> OpId {
            self.recorder.start(0, None, Op::Sync { ino: self.ino, kind: SyncKind::Data })
        }

        fn sync(&mut self) -> &mut Self {
            self.op(Op::Sync { ino: self.ino, kind: SyncKind::Data })
        }

        /// `msync` of a page.
        fn sync_page(&mut self, page: u64) -> &mut Self {
            self.op(Op::SyncMap { ino: self.ino, offset: page * PAGE, len: PAGE })
        }

        fn fail_sync(&mut self, how: SyncFailure) -> &mut Self {
            self.failures.insert(self.recorder.next_start(), how);
            let id = self.begin_sync();
            self.recorder.end(id, Outcome::Failed(5));
            self
        }

        fn fail_sync_page(&mut self, page: u64, how: SyncFailure) -> &mut Self {
            self.failures.insert(self.recorder.next_start(), how);
            let op = Op::SyncMap { ino: self.ino, offset: page * PAGE, len: PAGE };
            let id = self.recorder.start(0, None, op);
            self.recorder.end(id, Outcome::Failed(5));
            self
        }

        fn on_device(&self) -> OnDevice {
            OnDevice::of(self.recorder.trace(), self.ino, &self.failures)
        }

        /// The file on the device; in memory when what is clean is dropped, while it is open; and not open.
        #[track_caller]
        fn is(&self, device: &str, open: &str, closed: &str) {
            let on_device = self.on_device();
            let live = self.recorder.live().content(self.ino).unwrap();
            let found = [
                letters(&on_device.content),
                letters(&on_device.evicted(live, true)),
                letters(&on_device.evicted(live, false)),
            ];
            assert_eq!(found, [device, open, closed]);
        }
    }

    #[test]
    fn what_a_sync_of_some_pages_has_written_is_not_lost_when_a_later_sync_fails() {
        let mut story = Story::of("OOO");
        story.write(0, 'M').write(2, 'M').sync_page(0).is("MOO", "MOM", "MOM");
        story.fail_sync(SyncFailure::XFS).is("MOO", "MOO", "MOO");
        // And what one could not write is lost alone.
        let mut story = Story::of("OOO");
        story.write(0, 'M').write(2, 'M').fail_sync_page(0, SyncFailure::XFS);
        story.is("OOO", "OOM", "OOM");
        story.sync().is("OOM", "OOM", "OOM");
    }

    #[test]
    fn a_size_that_came_with_a_page_is_not_written_by_a_sync_of_another() {
        let mut story = Story::of("O");
        story.write(1, 'M').sync_page(0).is("O", "OM", "OM");
        story.fail_sync_page(0, SyncFailure::EXT4_ORDERED).is("O", "OM", "OM");
        story.fail_sync(SyncFailure::XFS).is("O", "O.", "O");
        // One that was set goes with any: it is of the inode alone.
        Story::of("O").set_len(3).write(0, 'M').sync_page(0).is("M..", "M..", "M..");
    }

    #[test]
    fn a_size_that_was_given_up_comes_with_the_page_that_it_ends_in_and_no_further() {
        let mut story = Story::of("O");
        story.write(1, 'M').write(2, 'M').fail_sync(SyncFailure::XFS).is("O", "O..", "O");
        story.write(1, 'N').is("O", "ON.", "O");
        story.sync().is("ON", "ON.", "ON");
        story.write(2, 'N').sync().is("ONN", "ONN", "ONN");
    }

    #[test]
    fn what_is_written_again_is_not_dropped() {
        let mut story = Story::of("O");
        story.write(0, 'M').fail_sync(SyncFailure::EXT4_ORDERED).is("O", "O", "O");
        story.write(0, 'N').is("O", "N", "N");
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        let mut story = Story::of("OO");
        story.write(1, 'M').fail_sync(SyncFailure::EXT4_ORDERED).set_len(1).set_len(2);
        story.is("OO", "O.", "O.");
        story.sync().is("O.", "O.", "O.");
        assert!(story.on_device().is_whole());
    }

    #[test]
    fn a_sync_is_about_what_was_written_before_it_began() {
        for outcome in [Outcome::Done, Outcome::Failed(5)] {
            let mut story = Story::of("OO");
            story.write(0, 'M');
            let sync = story.begin_sync();
            story.write(1, 'M').recorder.end(sync, outcome);
            let (device, evicted) =
                if outcome == Outcome::Done { ("MO", "MM") } else { ("OO", "OM") };
            story.is(device, evicted, evicted);
            let after = if outcome == Outcome::Done { "MM" } else { "OM" };
            story.sync().is(after, after, after);
        }
    }

    #[test]
    fn a_synchronous_write_is_on_the_device_with_its_size() {
        let mut story = Story::of("O");
        let ino = story.ino;
        story.write(0, 'M').op(write(ino, 1, 'M', Some(SyncKind::Data)));
        story.is("OM", "MM", "MM");
        story.fail_sync(SyncFailure::XFS).is("OM", "OM", "OM");
    }

    #[test]
    fn beside_a_page_that_fails_the_others_are_written_unless_the_size_is_at_stake() {
        let mut story = Story::of("OOO");
        story.write(0, 'M').write(3, 'M');
        let besides = |how: SyncFailure, page: u64| {
            story.on_device().written_besides(how.of_bytes(page * PAGE..page * PAGE + 1))
        };
        let rest = |from: u64| (from, u64::MAX - from);
        assert_eq!(besides(SyncFailure::EXT4_ORDERED, 0), [rest(PAGE)]);
        assert_eq!(besides(SyncFailure::EXT4_ORDERED, 2), [(0, 2 * PAGE), rest(3 * PAGE)]);
        assert_eq!(besides(SyncFailure::EXT4_ORDERED, 3), []);
        assert_eq!(besides(SyncFailure::XFS, 0), []);
        assert_eq!(story.on_device().written_besides(SyncFailure::EXT4_ORDERED), []);
    }
}
