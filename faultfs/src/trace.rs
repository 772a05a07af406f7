//! What happened, in order: the ops of a run with their start and end in one global sequence, and the
//! workload's marks in the same sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use crate::disk::Disk;
use crate::op::{Ino, Op, Slot};

/// A position in the global sequence of a run. Every start, every end and every mark has its own.
pub type Stamp = u64;

/// This file as the compiler names it, for doors that walk stacks: code in its folder is no engine's.
#[doc(hidden)]
pub const SOURCE: &str = file!();

/// Where in the source an op was asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Site {
    /// The source file, as the compiler names it; of a function whose lines are not known, its name.
    pub file: Arc<str>,
    /// The line, from 1. 0 where it is not known: the code was built without debug info, or made by the compiler.
    pub line: u32,
}

impl Site {
    /// The file and the line, where the line is known.
    pub fn place(&self) -> Option<(&str, u32)> {
        (self.line > 0).then_some((&*self.file, self.line))
    }
}

impl From<&Location<'_>> for Site {
    fn from(location: &Location<'_>) -> Self {
        Site { file: location.file().into(), line: location.line() }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            Some((file, line)) => write!(f, "{file}:{line}"),
            None => write!(f, "`{}` (no line in the debug info)", self.file),
        }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How an op ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It did what was asked.
    Done,
    /// A write that took only the first so many bytes.
    Short(u64),
    /// It failed with this errno and changed nothing.
    Failed(i32),
}

/// One op of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What was asked. A short write holds only what was written.
    pub op: Op,
    /// Stamped before the filesystem was asked.
    pub start: Stamp,
    /// Stamped before the caller learnt that it was done; `None` where the run ended first.
    pub end: Option<Stamp>,
    /// The errno of a failed op, which changed nothing.
    pub errno: Option<i32>,
    /// The thread, numbered in the order of first appearance.
    pub thread: u32,
    /// The call site, where the door can know it.
    pub site: Option<Site>,
}

impl Record {
    /// True where the op had ended, with success, by `stamp`.
    pub fn done_by(&self, stamp: Stamp) -> bool {
        self.errno.is_none() && self.end.is_some_and(|end| end <= stamp)
    }
}

/// What the workload says of its own progress. Marks order the oracle only; they make nothing durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mark {
    /// Asked the engine for `id`.
    Begin(u64),
    /// The engine promised `id`.
    Ack(u64),
    /// The engine said that `id` failed.
    Failed(u64),
}

/// The marks up to a point of a run: what an oracle may expect.
#[derive(Clone, PartialEq, Eq, Debug, Default, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Marks {
    /// Ids that were begun.
    pub issued: BTreeSet<u64>,
    /// Ids that were acknowledged.
    pub acked: BTreeSet<u64>,
    /// Ids that were reported as failed.
    pub failed: BTreeSet<u64>,
}

impl Marks {
    /// Takes one more mark into account. An acknowledged or failed id counts as issued.
    pub fn add(&mut self, mark: Mark) {
        let (Mark::Begin(id) | Mark::Ack(id) | Mark::Failed(id)) = mark;
        self.issued.insert(id);
        match mark {
            Mark::Begin(_) => {}
            Mark::Ack(_) => drop(self.acked.insert(id)),
            Mark::Failed(_) => drop(self.failed.insert(id)),
        }
    }
}

/// The marks up to a point of a run, to be handed on: there are as many such points as marks, and the sets
/// of the last are as large as all of the run.
#[derive(Clone, Default, Debug)]
pub(crate) struct Said {
    marks: Arc<Marks>,
    hash: u128,
}

impl Said {
    /// As [`Marks::add`].
    pub(crate) fn add(&mut self, mark: Mark) {
        let (Mark::Begin(id) | Mark::Ack(id) | Mark::Failed(id)) = mark;
        let before = self.counts();
        Arc::make_mut(&mut self.marks).add(mark);
        for (set, (before, now)) in (0u8..).zip(before.into_iter().zip(self.counts())) {
            if before != now {
                let member = [&[set][..], &id.to_le_bytes()].concat();
                self.hash = self.hash.wrapping_add(XxHash3_128::oneshot(&member));
            }
        }
    }

    /// Equal where the marks are, whatever their order was.
    pub(crate) fn hash(&self) -> u128 {
        self.hash
    }

    fn counts(&self) -> [usize; 3] {
        [self.issued.len(), self.acked.len(), self.failed.len()]
    }
}

impl Deref for Said {
    type Target = Marks;
    fn deref(&self) -> &Marks {
        &self.marks
    }
}

/// A fault that was injected, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Injected {
    /// When it was decided.
    pub at: Stamp,
    /// The call in words: `sync db/1.wal`.
    pub call: String,
    /// The text of the rule.
    pub rule: String,
    /// The call site, where the door can know it.
    pub site: Option<Site>,
    /// The fail points that its thread had passed last, the last one last, up to eight: see
    /// [`points`](crate::points).
    pub points: Vec<Arc<str>>,
}

/// A thread came by a fail point of the engine. It takes no stamp of its own: a run has the same
/// stamps with fail points and without.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Passed {
    /// The last stamp before it.
    pub at: Stamp,
    /// The name of the point.
    pub point: Arc<str>,
    /// The thread, numbered as those of the ops.
    pub thread: u32,
    /// Where the point is.
    pub site: Site,
}

/// A recorded run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Trace {
    /// What ran: the tool's target and configuration, or the name of a test.
    pub subject: String,
    /// The disk at the start; all of it durable.
    pub base: Disk,
    /// The ops in the order of their starts.
    pub ops: Vec<Record>,
    /// The marks in order.
    pub marks: Vec<(Stamp, Mark)>,
    /// Where marks were made, where the door can know it.
    pub mark_sites: BTreeMap<Stamp, Site>,
    /// Who had called the code at the site of an op, by the op's start: the nearest first, up to the workload.
    /// Where the door can know it.
    pub callers: BTreeMap<Stamp, Arc<[Site]>>,
    /// The faults that were injected, in order.
    pub injected: Vec<Injected>,
    /// The passes of fail points, in order.
    pub passed: Vec<Passed>,
    /// The last stamp before the power was [cut](crate::FaultFs::cut_power), where it was: nothing after
    /// it is recorded.
    pub cut: Option<Stamp>,
    /// What the door saw and cannot model, and bounds that were hit. Not empty: the run is
    /// `not-measured`.
    pub unmodelled: Vec<String>,
    /// What a program had written to its standard output in each acknowledgement, whose ids count them from 1.
    /// Empty where acknowledgements are calls of a workload.
    pub output: Vec<Vec<u8>>,
}

impl Trace {
    /// The same run, told without where in the source anything was asked for.
    pub(crate) fn without_sites(&self) -> Trace {
        let mut trace = self.clone();
        trace.ops.iter_mut().for_each(|record| record.site = None);
        trace.injected.iter_mut().for_each(|injected| injected.site = None);
        trace.passed.iter_mut().for_each(|passed| passed.site = Site { file: "".into(), line: 0 });
        trace.mark_sites.clear();
        trace.callers.clear();
        trace
    }

    /// Who had called the code at the site of an op, the nearest first.
    pub fn callers_of(&self, op: usize) -> &[Site] {
        self.callers.get(&self.ops[op].start).map_or(&[], |callers| callers)
    }

    /// The marks that had been made by `stamp`.
    pub fn marks_at(&self, stamp: Stamp) -> Marks {
        let mut marks = Marks::default();
        self.marks.iter().filter(|(at, _)| *at <= stamp).for_each(|&(_, mark)| marks.add(mark));
        marks
    }

    /// The acknowledgement, made by `stamp`, that promised what an op did: of the ids that were begun before
    /// the op and acknowledged after it that of the one begun last, else the first acknowledgement after it.
    pub fn acknowledged(&self, op: usize, stamp: Stamp) -> Option<(Stamp, u64)> {
        let start = self.ops[op].start;
        let after = self.marks.iter().filter(|(at, _)| (start..=stamp).contains(at));
        let mut acks = after.filter_map(|(at, mark)| match mark {
            Mark::Ack(id) => Some((*at, *id)),
            _ => None,
        });
        let before = self.marks.iter().rev().filter(|(at, _)| *at < start);
        let begun = before.filter_map(|(_, mark)| match mark {
            Mark::Begin(id) => Some(*id),
            _ => None,
        });
        let own = begun.filter_map(|begun| acks.clone().find(|(_, id)| *id == begun)).next();
        own.or_else(|| acks.next())
    }

    /// What was said in an acknowledgement, for reports: its last line, shortened.
    pub fn said(&self, id: u64) -> Option<String> {
        const CHARS_MAX: usize = 60;
        let said = self.output.get(usize::try_from(id).ok()?.checked_sub(1)?)?;
        let said = String::from_utf8_lossy(said);
        let last = said.trim_end().lines().next_back().unwrap_or_default();
        let mut short: String = last.chars().take(CHARS_MAX).collect();
        if short.len() < last.len() {
            short.push('…');
        }
        Some(short)
    }

    /// The disk at the end of the run with nothing lost. Must equal what the real folder holds.
    pub fn replay(&self) -> Disk {
        let mut disk = self.base.clone();
        let mut done: Vec<&Record> = self.ops.iter().filter(|r| r.done_by(Stamp::MAX)).collect();
        done.sort_by_key(|r| r.end);
        done.iter().for_each(|r| disk.apply(&r.op));
        disk
    }

    /// An op in words: what, of which file, where.
    pub fn describe(&self, index: usize) -> String {
        let op = &self.ops[index].op;
        let word = op.word();
        match op {
            Op::Write { ino, offset, data, .. } | Op::MapStore { ino, offset, data, .. } => {
                let end = offset + data.len() as u64;
                format!("{word} {} {offset}..{end}", self.path_of(*ino))
            }
            Op::SetLen { ino, len } => format!("{word} {} to {len}", self.path_of(*ino)),
            Op::Zero { ino, .. }
            | Op::SetMode { ino, .. }
            | Op::Sync { ino, .. }
            | Op::SyncMap { ino, .. }
            | Op::StartWriteback { ino } => format!("{word} {}", self.path_of(*ino)),
            Op::SyncAll | Op::CreateUnnamed { .. } => word.into(),
            Op::Create { slot, .. } => {
                format!("{word} {} (its directory entry)", self.path_in(slot))
            }
            Op::Link { slot, .. } => format!("{word} {} (a directory entry)", self.path_in(slot)),
            Op::Unlink { slot } => format!("{word} {}", self.path_in(slot)),
            Op::Rename { from, to, .. } => {
                format!("{word} {} to {}", self.path_in(from), self.path_in(to))
            }
        }
    }

    /// The path of a slot, for reports.
    pub(crate) fn path_in(&self, slot: &Slot) -> String {
        match slot.dir {
            Ino::ROOT => slot.name.to_string(),
            dir => format!("{}/{}", self.path_of(dir), slot.name),
        }
    }

    /// A path by which `ino` was known in the run, for reports: its first name, below its directory's.
    pub fn path_of(&self, ino: Ino) -> String {
        if ino == Ino::ROOT {
            return ".".into();
        }
        let named = self.ops.iter().find_map(|r| match &r.op {
            Op::Create { slot, ino: i, .. } | Op::Link { slot, ino: i } if *i == ino => Some(slot),
            _ => None,
        });
        if let Some(slot) = named {
            return self.path_in(slot);
        }
        let in_base = self.base.walk().into_iter().find(|(_, i)| *i == ino);
        in_base.map_or(ino.to_string(), |(path, _)| String::from_utf8_lossy(&path).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks as stamps tell, and ops that start at these.
    fn trace(marks: &[(Stamp, Mark)], starts: &[Stamp]) -> Trace {
        let record = |start: &Stamp| Record {
            op: Op::SyncAll,
            start: *start,
            end: Some(start + 1),
            errno: None,
            thread: 0,
            site: None,
        };
        let ops = starts.iter().map(record).collect();
        Trace { marks: marks.to_vec(), ops, ..Trace::default() }
    }

    #[test]
    fn an_op_is_acknowledged_with_what_it_was_done_for() {
        use Mark::{Ack, Begin, Failed};
        let one =
            trace(&[(5, Begin(1)), (8, Ack(1)), (10, Begin(2)), (13, Ack(2))], &[1, 6, 11, 14]);
        let of = |op, stamp| one.acknowledged(op, stamp).map(|(_, id)| id);
        // What was done before anything was begun, the first acknowledgement promises.
        assert_eq!([of(0, 20), of(1, 20), of(2, 20), of(3, 20)], [Some(1), Some(1), Some(2), None]);
        // Not the one that came after the crash.
        assert_eq!([of(1, 7), of(2, 12)], [None, None]);
        // Of two that are under way, that which was begun last; of a failed one the one around it.
        let two = [(1, Begin(1)), (2, Begin(2)), (5, Ack(1)), (6, Ack(2))];
        assert_eq!(trace(&two, &[3]).acknowledged(0, 9), Some((6, 2)));
        let failed = [(1, Begin(1)), (2, Begin(2)), (5, Failed(2)), (6, Ack(1))];
        assert_eq!(trace(&failed, &[3]).acknowledged(0, 9), Some((6, 1)));
    }

    #[test]
    fn what_was_said_is_told_apart_as_its_marks_are() {
        let all = [Mark::Begin(1), Mark::Ack(1), Mark::Failed(1), Mark::Ack(2), Mark::Begin(3)];
        // Every order of up to three of them.
        let mut orders = vec![Vec::new()];
        for _ in 0..3 {
            let longer =
                orders.iter().flat_map(|order| all.map(|mark| [&order[..], &[mark]].concat()));
            orders = [vec![Vec::new()], longer.collect()].concat();
        }
        let said = orders.iter().map(|order| {
            let mut said = Said::default();
            order.iter().for_each(|mark| said.add(*mark));
            said
        });
        let said: Vec<Said> = said.collect();
        for one in &said {
            for other in &said {
                assert_eq!(one.hash() == other.hash(), **one == **other, "{one:?}, {other:?}");
            }
        }
    }
}
