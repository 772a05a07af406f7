//! Crash points: for every start, end and mark of a run, what is certainly on the disk by then and what
//! may or may not be.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Kept, Model, Part};
use crate::disk::Disk;
use crate::op::{Found, Ino, Op, PAGE, SyncKind};
use crate::trace::{Mark, Said, Stamp};

/// A crash point of a run under a model.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// The last stamp before the crash.
    pub(crate) stamp: Stamp,
    /// Micro-ops that were asked for and that no sync has made durable, in order.
    pub(crate) window: Vec<u32>,
    /// What is certainly on the disk. Data may lie past a size here.
    pub(crate) durable: Disk,
    /// The disk if nothing is lost, of what is under way either.
    pub(crate) kept: Disk,
    /// How many ops of the run have begun, and are on that disk.
    pub(crate) begun: usize,
    /// What the workload had said.
    pub(crate) marks: Said,
    /// Ops under way, or the newest op where none is: whose pages may be torn.
    pub(crate) latest: Vec<usize>,
    /// False where the previous moment allowed the same disks under the same marks.
    pub(crate) is_new: bool,
    /// Counts the micro-ops that have become durable or were left clean: of two moments with the same count
    /// the later one has all that the earlier has in its window, and what came since behind it.
    pub(crate) settled: usize,
    /// Data that a failed sync has left clean, and sizes that came with it: no later sync covers them, and
    /// what waited for them does so no more.
    cleaned: BTreeSet<u32>,
}

enum What {
    Start(usize),
    End(usize),
    Mark(Mark),
}

/// Walks from moment to moment; the durable disk is carried along.
pub(crate) struct Moments<'a> {
    model: &'a Model,
    stamps: std::vec::IntoIter<(Stamp, What)>,
    now: Moment,
    in_flight: BTreeSet<usize>,
    newest: Option<usize>,
}

impl<'a> Moments<'a> {
    pub(super) fn new(model: &'a Model) -> Self {
        let mut stamps: Vec<(Stamp, What)> = Vec::new();
        for (index, record) in model.trace.ops.iter().enumerate() {
            stamps.push((record.start, What::Start(index)));
            stamps.extend(record.end.map(|end| (end, What::End(index))));
        }
        stamps.extend(model.trace.marks.iter().map(|&(at, mark)| (at, What::Mark(mark))));
        stamps.sort_by_key(|(stamp, _)| *stamp);
        let now = Moment {
            stamp: 0,
            window: Vec::new(),
            durable: model.micros.blank.clone(),
            kept: model.micros.blank.clone(),
            begun: 0,
            marks: Said::default(),
            latest: Vec::new(),
            is_new: true,
            settled: 0,
            cleaned: BTreeSet::new(),
        };
        let in_flight = BTreeSet::new();
        Moments { model, stamps: stamps.into_iter(), now, in_flight, newest: None }
    }

    /// The next crash point, or `None` after the last.
    pub(crate) fn next(&mut self) -> Option<&Moment> {
        let (stamp, what) = self.stamps.next()?;
        self.now.stamp = stamp;
        self.now.is_new = match what {
            What::Start(index) => self.start(index),
            What::End(index) => self.end(index),
            What::Mark(mark) => {
                self.now.marks.add(mark);
                true
            }
        };
        self.now.latest = match self.newest {
            Some(newest) if self.in_flight.is_empty() => vec![newest],
            _ => self.in_flight.iter().copied().collect(),
        };
        Some(&self.now)
    }

    /// The present crash point; its stamp is 0 before the first.
    pub(crate) fn now(&self) -> &Moment {
        &self.now
    }

    /// The crash point at `stamp`; earlier ones than the present one cannot be reached any more.
    pub(crate) fn seek(&mut self, stamp: Stamp) -> Option<&Moment> {
        while self.now.stamp < stamp {
            self.next()?;
        }
        (self.now.stamp == stamp).then_some(&self.now)
    }

    fn start(&mut self, index: usize) -> bool {
        let record = &self.model.trace.ops[index];
        if record.errno.is_some() || self.is_of_group(index) {
            return false;
        }
        self.begin(index)
    }

    fn begin(&mut self, index: usize) -> bool {
        let record = &self.model.trace.ops[index];
        self.now.begun = index + 1;
        self.in_flight.insert(index);
        self.newest = Some(index);
        let micros = self.model.micros.of_op[index].clone();
        self.now.window.extend(micros.clone());
        micros.for_each(|id| self.model.micros.all[id as usize].part.apply(&mut self.now.kept));
        // Write-back under way tears pages: it changes no disk of its own, but which ones are looked at.
        let writes_back = record.op.is_sync() || matches!(record.op, Op::StartWriteback { .. });
        !self.model.micros.of_op[index].is_empty() || writes_back
    }

    /// One of several stores that were found together: nobody saw which came first, so there is no crash between
    /// them.
    fn is_of_group(&self, index: usize) -> bool {
        self.is_joined(index) || self.is_joined(index + 1)
    }

    fn is_joined(&self, index: usize) -> bool {
        let record = self.model.trace.ops.get(index);
        record
            .is_some_and(|record| matches!(record.op, Op::MapStore { found: Found::Together, .. }))
    }

    fn end_of_group(&mut self, last: usize) -> bool {
        if self.is_joined(last + 1) {
            return false;
        }
        let others = (1..=last).rev().take_while(|index| self.is_joined(*index)).count();
        let mut is_new = false;
        for index in last - others..=last {
            is_new |= self.begin(index);
            is_new |= self.finish(index);
        }
        is_new
    }

    fn end(&mut self, index: usize) -> bool {
        match self.is_of_group(index) {
            true => self.end_of_group(index),
            false => self.finish(index),
        }
    }

    fn finish(&mut self, index: usize) -> bool {
        let mut covered = BTreeSet::new();
        if !self.in_flight.remove(&index) {
            // It failed. A sync's dirty pages are clean now, whatever became of them.
            if !matches!(self.model.trace.ops[index].op, Op::Write { .. }) {
                self.cover(index, &mut covered);
                covered.retain(|&id| self.is_data(id));
                self.now.cleaned.extend(&covered);
                self.now.settled += covered.len();
                let later = |&id: &u32| &self.model.order.needed_by[id as usize];
                let waits_no_more = |id: &u32| {
                    later(id).iter().any(|&later| self.now.waits_no_more(self.model, later, *id))
                };
                return covered.iter().any(waits_no_more);
            }
            return false;
        }
        if self.model.profile.process_only {
            covered.extend(self.model.micros.of_op[index].clone());
        } else {
            self.cover(index, &mut covered);
        }
        self.force(covered)
    }

    /// Data, and the size that comes with it.
    fn is_data(&self, id: u32) -> bool {
        match self.model.micros.all[id as usize].part {
            Part::Page(_) => true,
            Part::Len { .. } => self.came_with_data(id),
            Part::Slots(_) | Part::Mode { .. } => false,
        }
    }

    /// A size that a write has brought reaches the disk when its page does: a sync of other pages leaves it
    /// (fs/ext4/inode.c, `ext4_da_do_write_end`: `i_disksize` waits for the write-back of the pages up to
    /// `i_size`; fs/xfs/xfs_aops.c, `xfs_end_ioend`).
    fn came_with_data(&self, id: u32) -> bool {
        let micro = &self.model.micros.all[id as usize];
        matches!(self.model.trace.ops[micro.op].op, Op::Write { .. })
    }

    /// What the sync `index`, which has just ended, is about.
    fn cover(&self, index: usize, covered: &mut BTreeSet<u32>) {
        let everything = 0..u64::MAX;
        match &self.model.trace.ops[index].op {
            Op::Sync { ino, kind } => self.cover_inode(index, *ino, *kind, everything, covered),
            Op::SyncMap { ino, offset, len } => {
                let pages = offset / PAGE..(offset + len).div_ceil(PAGE);
                self.cover_inode(index, *ino, SyncKind::Data, pages, covered);
            }
            Op::Write { ino, offset, data, sync: Some(kind), .. } => {
                let pages = offset / PAGE..(offset + data.len() as u64).div_ceil(PAGE);
                covered.extend(self.model.micros.of_op[index].clone());
                self.cover_inode(index, *ino, *kind, pages, covered);
            }
            Op::SyncAll => {
                let earlier = self.now.window.iter().copied();
                covered.extend(earlier.filter(|&id| self.ended_before(id, index)));
            }
            _ => {}
        }
    }

    fn cover_inode(
        &self,
        sync: usize,
        ino: Ino,
        kind: SyncKind,
        pages: std::ops::Range<u64>,
        covered: &mut BTreeSet<u32>,
    ) {
        // A log of records has no use for half a file, and takes all names.
        let logs = self.model.profile.intent_log;
        let (kind, pages) = if logs { (SyncKind::All, 0..u64::MAX) } else { (kind, pages) };
        for &id in &self.now.window {
            let part = &self.model.micros.all[id as usize].part;
            let is_covered = match part {
                Part::Page(patch) => patch.ino == ino && pages.contains(&patch.page),
                Part::Len { ino: i, len, .. } => {
                    *i == ino
                        && (!self.came_with_data(id)
                            || pages.contains(&(len.saturating_sub(1) / PAGE)))
                }
                Part::Mode { ino: i, .. } => *i == ino && kind == SyncKind::All,
                Part::Slots(changes) => logs || changes.iter().any(|(slot, _)| slot.dir == ino),
            };
            if is_covered && self.ended_before(id, sync) {
                covered.insert(id);
            }
        }
        if self.model.profile.safe_file_flush {
            self.cover_creation(sync, ino, covered);
        }
    }

    /// The entries through which the inode and its ancestors were created.
    fn cover_creation(&self, sync: usize, mut ino: Ino, covered: &mut BTreeSet<u32>) {
        let mut seen = BTreeSet::new();
        while let Some(&(id, dir)) = self.model.order.creation.get(&ino) {
            if !seen.insert(ino) || !self.ended_before(id, sync) {
                return;
            }
            covered.insert(id);
            ino = dir;
        }
    }

    fn ended_before(&self, id: u32, sync: usize) -> bool {
        let record = &self.model.trace.ops[self.model.micros.all[id as usize].op];
        record.end.is_some_and(|end| end < self.model.trace.ops[sync].start)
    }

    /// Whether a page that is written now brings a size that a failed sync left behind: the page that it
    /// ends in was written to again. ext4 takes the size when the page is mapped for writing (`i_disksize`,
    /// fs/ext4/inode.c), XFS when its write has completed (`xfs_setfilesize`, fs/xfs/xfs_aops.c).
    fn size_goes_with(&self, id: u32, covered: &BTreeSet<u32>) -> bool {
        let Part::Len { ino, len, .. } = self.model.micros.all[id as usize].part else {
            return false;
        };
        let page = (ino, len.saturating_sub(1) / PAGE);
        let later = covered.range(id + 1..).filter(|later| !self.now.cleaned.contains(later));
        later.into_iter().any(|later| {
            self.model.order.history.get(&page).is_some_and(|versions| versions.contains(later))
        })
    }

    /// True for data in a block that was new when a sync failed on it, and has not been freed since.
    fn stays_unwritten(&self, id: u32) -> bool {
        let (micros, cleaned) = (&self.model.micros, &self.now.cleaned);
        let Part::Page(patch) = &micros.all[id as usize].part else { return false };
        let history = &self.model.order.history[&(patch.ino, patch.page)];
        let earlier = history.iter().rev().skip_while(|version| **version >= id);
        let of_block =
            |version: &&u32| matches!(micros.all[**version as usize].part, Part::Page(_));
        self.model.profile.failed_blocks_stay_unwritten
            && earlier.take_while(of_block).any(|v| micros.adds_page(*v) && cleaned.contains(v))
    }

    /// Makes the covered micro-ops durable, and all that they need. True where that changed anything.
    ///
    /// What a failed sync has left clean is written only where something else needs it, such as a newer
    /// version of its page.
    fn force(&mut self, covered: BTreeSet<u32>) -> bool {
        if covered.is_empty() {
            return false;
        }
        let order = &self.model.order;
        let needs = order.logged_with.as_ref().unwrap_or(&order.needs);
        let mut forced = BTreeSet::new();
        let is_written = |&id: &u32| match self.now.cleaned.contains(&id) {
            true => self.size_goes_with(id, &covered),
            false => !self.stays_unwritten(id),
        };
        let mut todo: Vec<u32> = covered.iter().copied().filter(is_written).collect();
        while let Some(id) = todo.pop() {
            if self.now.window.binary_search(&id).is_ok() && forced.insert(id) {
                todo.extend(&*self.now.waits_for(self.model, needs, id));
            }
        }
        for &id in &forced {
            let part = &self.model.micros.all[id as usize].part;
            part.apply(&mut self.now.durable);
        }
        let (window, now) = (std::mem::take(&mut self.now.window), &self.now);
        let passed = |id: u32| {
            now.may_be_passed(self.model, id)
                && forced.range(id..).any(|&by| now.passes(self.model, by, id))
        };
        let open = |id: &u32| !forced.contains(id) && !passed(*id);
        self.now.window = window.into_iter().filter(open).collect();
        self.now.settled += forced.len();
        !forced.is_empty()
    }
}

impl Moment {
    /// What `id` cannot be on a disk without.
    pub(crate) fn needs<'a>(&self, model: &'a Model, id: u32) -> Cow<'a, [u32]> {
        self.waits_for(model, &model.order.needs, id)
    }

    /// What `id` needs of `needs`: not what it waits for no more. A size that passes another one by needs in its
    /// place what that one needed, its data apart.
    fn waits_for<'a>(&self, model: &Model, needs: &'a [Vec<u32>], id: u32) -> Cow<'a, [u32]> {
        if self.cleaned.is_empty() {
            return Cow::Borrowed(&needs[id as usize]);
        }
        let mut found = Vec::new();
        let mut todo = vec![id];
        while let Some(by) = todo.pop() {
            for &need in &needs[by as usize] {
                match () {
                    () if self.passes(model, by, need) => todo.push(need),
                    () if by != id && self.is_own_data(model, by, need) => {}
                    () if self.waits_no_more(model, by, need) => {}
                    () => found.push(need),
                }
            }
        }
        Cow::Owned(found)
    }

    /// What needs `id`, directly or by way of a size that it passes by.
    pub(crate) fn waiting<'a>(&self, model: &'a Model, id: u32) -> Cow<'a, [u32]> {
        let needed_by = &model.order.needed_by;
        if self.cleaned.is_empty() {
            return Cow::Borrowed(&needed_by[id as usize]);
        }
        let waits = |later: &u32| !self.waits_no_more(model, *later, id);
        let mut found: Vec<u32> = needed_by[id as usize].iter().copied().filter(waits).collect();
        let mut todo: Vec<u32> = found.clone();
        todo.retain(|size| !self.is_own_data(model, *size, id));
        while let Some(size) = todo.pop() {
            let passing = needed_by[size as usize].iter().copied();
            let passing: Vec<u32> = passing.filter(|by| self.passes(model, *by, size)).collect();
            found.extend(&passing);
            todo.extend(passing);
        }
        Cow::Owned(found)
    }

    /// True where `need` is the data that came with the size `id`.
    fn is_own_data(&self, model: &Model, id: u32, need: u32) -> bool {
        let micro = |id: u32| &model.micros.all[id as usize];
        micro(id).op == micro(need).op
            && matches!((&micro(id).part, &micro(need).part), (Part::Len { .. }, Part::Page(_)))
    }

    /// True where `id` waits no more for `need`, which a failed sync has left clean: nothing writes it. A
    /// journal of everything has it.
    fn waits_no_more(&self, model: &Model, id: u32, need: u32) -> bool {
        if model.profile.order == Kept::Everything || !self.cleaned.contains(&need) {
            return false;
        }
        let part = |id: u32| &model.micros.all[id as usize].part;
        let alone = model.profile.size_without_failed_data;
        match (part(id), part(need)) {
            // Of its own data, that is: a cut stays a later version of the pages that it cuts.
            (Part::Len { .. }, Part::Page(_)) => alone && self.is_own_data(model, id, need),
            (Part::Slots(_), Part::Page(_)) => true,
            (Part::Slots(_), Part::Len { .. }) => !alone,
            (Part::Len { .. }, Part::Len { .. }) => self.passes(model, id, need),
            _ => false,
        }
    }

    /// True where the larger size `id` is written without the one before it, `need`, whose data a failed
    /// sync has left clean, and leaves a hole there: `need` alone is never written.
    fn passes(&self, model: &Model, id: u32, need: u32) -> bool {
        let part = |id: u32| &model.micros.all[id as usize].part;
        need < id
            && self.may_be_passed(model, need)
            && matches!(part(id), Part::Len { cut: false, .. })
            && part(id).file() == part(need).file()
    }

    /// True for a size whose data a failed sync has left clean, where it is not written without that.
    pub(crate) fn may_be_passed(&self, model: &Model, id: u32) -> bool {
        let profile = &model.profile;
        self.cleaned.contains(&id)
            && matches!(model.micros.all[id as usize].part, Part::Len { .. })
            && profile.order != Kept::Everything
            && !profile.size_before_data
            && !profile.size_without_failed_data
    }

    /// The micro-ops of the window that change a page, in order.
    pub(crate) fn versions<'a>(
        &'a self,
        model: &'a Model,
        page: (Ino, u64),
    ) -> impl Iterator<Item = u32> + 'a {
        let history = model.order.history.get(&page).map_or(&[][..], |ids| ids);
        let open = self
            .window
            .first()
            .map_or(history.len(), |first| history.partition_point(|id| id < first));
        history[open..].iter().copied().filter(|id| self.window.binary_search(id).is_ok())
    }

    /// Those of `ids` that lie in the window, and all in the window that need one of them, directly or
    /// not: what is lost when they are.
    pub(crate) fn closed_upward(
        &self,
        model: &Model,
        ids: impl IntoIterator<Item = u32>,
    ) -> BTreeSet<u32> {
        let open = |id: &u32| self.window.binary_search(id).is_ok();
        let mut lost = BTreeSet::new();
        let mut todo: Vec<u32> = ids.into_iter().filter(open).collect();
        while let Some(id) = todo.pop() {
            if lost.insert(id) {
                // Through what an intent log made durable out of order, too.
                let later = self.waiting(model, id);
                let open = |id: &&u32| self.window.last().is_some_and(|last| *id <= last);
                todo.extend(later.iter().filter(open));
            }
        }
        lost.retain(open);
        lost
    }
}
