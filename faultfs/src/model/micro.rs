//! Micro-ops: the pieces of an op that a crash keeps or loses on their own.
//!
//! A write is one micro-op for each page that it touches and, where it makes the file longer, one size
//! step after each such page (ALICE table 3(d): sizes grow in steps of at most 4 KiB, aligned). A smaller
//! size is one micro-op, and the zeros behind it in its last page another: the size is metadata, the
//! page is written back like any other. All else is one micro-op: a rename changes both of its slots in
//! one, but where the profile has none that is atomic: there the removal of what it replaces is one, the new
//! name the next, and the removal of the old name the last (ALICE, section 3.3: what is replaced may be gone
//! and the new name not there).

use std::ops::Range;

use super::Profile;
use crate::disk::{Disk, page_spans};
use crate::op::{Bytes, Ino, Op, PAGE, SECTOR, Slot};
use crate::trace::Trace;

/// One piece of an op.
#[derive(Clone, Debug)]
pub(crate) struct Micro {
    /// Index of the op in the trace.
    pub(crate) op: usize,
    pub(crate) part: Part,
}

/// What a micro-op changes on the disk.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Bytes of one page.
    Page(PagePatch),
    /// The size of a file. With `cut`, it is smaller than before and frees the pages past it.
    Len { ino: Ino, len: u64, cut: bool },
    /// Directory entries, all of them or none.
    Slots(Vec<(Slot, Option<Ino>)>),
    /// Permission bits.
    Mode { ino: Ino, mode: u32 },
}

/// A change of bytes within one page.
#[derive(Clone, Debug)]
pub(crate) struct PagePatch {
    pub(crate) ino: Ino,
    pub(crate) page: u64,
    pub(crate) at: usize,
    pub(crate) len: usize,
    /// The bytes; `None` for zeros.
    source: Option<(Bytes, usize)>,
    /// Past the page cache: a version of the sectors that it covers, not of the page.
    pub(crate) direct: bool,
    /// The page lay wholly past the end of the file, and this size step exposes it.
    pub(crate) exposed_by: Option<u32>,
    /// The zeros behind a smaller size.
    pub(crate) tail: bool,
}

impl PagePatch {
    /// The sectors that the patch touches, bit 0 the first of the page.
    pub(crate) fn sectors(&self) -> u8 {
        let first = self.at / SECTOR as usize;
        let last = (self.at + self.len - 1) / SECTOR as usize;
        (first..=last).fold(0, |mask, sector| mask | 1 << sector)
    }

    /// The sectors of which the patch makes a version: those that it covers where it goes past the page
    /// cache, else the whole page.
    pub(crate) fn versions(&self) -> u8 {
        if self.direct { self.sectors() } else { u8::MAX }
    }

    /// True where the page loses its block: a change of the mapping, which no device tears.
    pub(crate) fn unmaps(&self) -> bool {
        self.source.is_none() && self.len == PAGE as usize
    }

    /// Changes `bytes`, the page's content so far.
    pub(crate) fn apply(&self, bytes: &mut [u8; PAGE as usize]) {
        let target = &mut bytes[self.at..self.at + self.len];
        match &self.source {
            Some((data, from)) => target.copy_from_slice(&data[*from..from + self.len]),
            None => target.fill(0),
        }
    }
}

impl Part {
    /// Carries the micro-op out on a disk under construction, on which data may lie past the size.
    pub(crate) fn apply(&self, disk: &mut Disk) {
        match self {
            Part::Page(patch) => {
                let content = disk.content_mut(patch.ino).expect("a patched inode is a file");
                patch.apply(content.page_mut(patch.page));
            }
            Part::Len { ino, len, cut } => {
                let content = disk.content_mut(*ino).expect("a sized inode is a file");
                if *cut {
                    content.cut(len.next_multiple_of(PAGE));
                }
                content.set_len_only(*len);
            }
            Part::Slots(changes) => {
                changes.iter().for_each(|(slot, ino)| disk.set_slot(slot, *ino))
            }
            Part::Mode { ino, mode } => {
                if let Some(inode) = disk.inode_mut(*ino) {
                    inode.mode = *mode;
                }
            }
        }
    }

    /// The file whose data or size changes.
    pub(crate) fn file(&self) -> Option<Ino> {
        match self {
            Part::Page(PagePatch { ino, .. }) | Part::Len { ino, .. } => Some(*ino),
            Part::Slots(_) | Part::Mode { .. } => None,
        }
    }

    /// The file whose data, size or mode changes.
    pub(crate) fn ino(&self) -> Option<Ino> {
        match self {
            Part::Page(PagePatch { ino, .. }) | Part::Len { ino, .. } | Part::Mode { ino, .. } => {
                Some(*ino)
            }
            Part::Slots(_) => None,
        }
    }
}

/// The micro-ops of a trace in the order of the ops, and which of them belong to which op.
#[derive(Debug)]
pub(crate) struct Micros {
    pub(crate) all: Vec<Micro>,
    pub(crate) of_op: Vec<Range<u32>>,
    /// The base with every inode of the trace in it, none of the new ones named.
    pub(crate) blank: Disk,
    /// Renames but exchanges, the inode that each moves, and whether it replaces an existing name.
    pub(crate) renames: Vec<(u32, Ino, bool)>,
}

impl Micros {
    pub(crate) fn of(trace: &Trace, profile: &Profile) -> Self {
        let mut cut = Cut {
            out: Micros {
                all: Vec::new(),
                of_op: Vec::with_capacity(trace.ops.len()),
                blank: trace.base.clone(),
                renames: Vec::new(),
            },
            live: trace.base.clone(),
            atomic_rename: profile.atomic_rename,
            op: 0,
        };
        for (index, record) in trace.ops.iter().enumerate() {
            let first = cut.next();
            if record.errno.is_none() {
                cut.op = index;
                cut.cut(&record.op);
                cut.live.apply(&record.op);
            }
            let range = first..cut.next();
            cut.out.of_op.push(range);
        }
        cut.out
    }

    /// Which part of a rename a micro-op is, in words; `None` where it is no part.
    pub(crate) fn half(&self, id: u32) -> Option<&'static str> {
        let of_op = self.of_op[self.all[id as usize].op].clone();
        let is_half = of_op.len() > 1
            && of_op.clone().all(|id| matches!(self.all[id as usize].part, Part::Slots(_)));
        let half = match of_op.end - id {
            1 => "the removal of the old name",
            2 => "the new name",
            _ => "the removal of what it replaces",
        };
        is_half.then_some(half)
    }

    /// True for data in a page of which the file had no part.
    pub(crate) fn adds_page(&self, id: u32) -> bool {
        match &self.all[id as usize].part {
            Part::Page(patch) => patch.exposed_by.is_some(),
            _ => false,
        }
    }
}

/// Cuts ops into micro-ops, with the live disk as it was when each was asked for.
struct Cut {
    out: Micros,
    live: Disk,
    atomic_rename: bool,
    op: usize,
}

impl Cut {
    fn next(&self) -> u32 {
        u32::try_from(self.out.all.len()).expect("fewer than 2^32 micro-ops")
    }

    fn push(&mut self, part: Part) {
        self.out.all.push(Micro { op: self.op, part });
    }

    fn cut(&mut self, op: &Op) {
        match op {
            Op::Create { slot, ino, kind, mode } => {
                self.out.blank.insert(*ino, kind, *mode);
                self.push(Part::Slots(vec![(slot.clone(), Some(*ino))]));
            }
            Op::CreateUnnamed { ino, mode } => {
                self.out.blank.insert(*ino, &crate::op::Kind::File, *mode);
            }
            Op::Link { ino, slot } => self.push(Part::Slots(vec![(slot.clone(), Some(*ino))])),
            Op::Unlink { slot } => self.push(Part::Slots(vec![(slot.clone(), None)])),
            Op::Rename { from, to, exchange } => self.rename(from, to, *exchange),
            Op::Write { ino, offset, data, direct, .. } => {
                self.pages(*ino, *offset, data.len() as u64, Some(data), *direct, true);
            }
            Op::MapStore { ino, offset, data, .. } => {
                let len = self.within(*ino, *offset, data.len() as u64);
                self.pages(*ino, *offset, len, Some(data), false, false);
            }
            Op::Zero { ino, offset, len } => {
                // Past the end the rest of the last page counts: it decides whether the block goes.
                let beyond = self.len(*ino).next_multiple_of(PAGE) - self.len(*ino);
                let below = self.within(*ino, *offset, u64::MAX);
                let len = if below == 0 { 0 } else { (*len).min(below + beyond) };
                self.pages(*ino, *offset, len, None, false, false);
            }
            Op::SetLen { ino, len } if *len != self.len(*ino) => self.set_len(*ino, *len),
            Op::SetMode { ino, mode } => self.push(Part::Mode { ino: *ino, mode: *mode }),
            Op::SetLen { .. }
            | Op::Sync { .. }
            | Op::SyncMap { .. }
            | Op::SyncAll
            | Op::StartWriteback { .. } => {}
        }
    }

    fn rename(&mut self, from: &Slot, to: &Slot, exchange: bool) {
        let moved = self.live.lookup(from).expect("a recorded rename has a source");
        let other = self.live.lookup(to);
        if other == Some(moved) {
            return; // Two names of one file: rename(2) does nothing.
        }
        let is_file = self.live.entries(moved).is_none();
        let in_parts = !self.atomic_rename && !exchange && is_file;
        if in_parts && other.is_some() {
            self.push(Part::Slots(vec![(to.clone(), None)]));
        }
        if !exchange {
            self.out.renames.push((self.next(), moved, other.is_some()));
        }
        if in_parts {
            self.push(Part::Slots(vec![(to.clone(), Some(moved))]));
            return self.push(Part::Slots(vec![(from.clone(), None)]));
        }
        let left = other.filter(|_| exchange);
        self.push(Part::Slots(vec![(from.clone(), left), (to.clone(), Some(moved))]));
    }

    fn set_len(&mut self, ino: Ino, len: u64) {
        let cut = len < self.len(ino);
        self.push(Part::Len { ino, len, cut });
        let (page, at) = (len / PAGE, (len % PAGE) as usize);
        if cut && at > 0 {
            self.push(Part::Page(PagePatch {
                ino,
                page,
                at,
                len: PAGE as usize - at,
                source: None,
                direct: false,
                exposed_by: None,
                tail: true,
            }));
        }
    }

    fn pages(
        &mut self,
        ino: Ino,
        offset: u64,
        len: u64,
        data: Option<&Bytes>,
        direct: bool,
        grows: bool,
    ) {
        let old_len = self.len(ino);
        for (page, at, range) in page_spans(offset, len) {
            let end = offset + range.end as u64;
            let longer = grows && end > old_len;
            let patch = PagePatch {
                ino,
                page,
                at,
                len: range.len(),
                source: data.map(|d| (d.clone(), range.start)),
                direct,
                exposed_by: (longer && page * PAGE >= old_len).then(|| self.next() + 1),
                tail: false,
            };
            self.push(Part::Page(patch));
            if longer {
                self.push(Part::Len { ino, len: end, cut: false });
            }
        }
    }

    fn len(&self, ino: Ino) -> u64 {
        self.live.content(ino).expect("an op on content names a regular file").len()
    }

    /// How much of a range lies below the end of the file.
    fn within(&self, ino: Ino, offset: u64, len: u64) -> u64 {
        len.min(self.len(ino).saturating_sub(offset))
    }
}
