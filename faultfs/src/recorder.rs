//! Where every door reports what was asked, and a [`Trace`] comes out.
//!
//! A door stamps an op's start before it asks the filesystem and its end before the caller learns of it.
//! Conflicting ops on one inode or name must be serialised by the door across the real call, so that the
//! order of the stamps is the order of the effects.

use std::collections::HashMap;
use std::sync::Arc;

use twox_hash::XxHash3_128;

use crate::disk::Disk;
use crate::op::{Bytes, Ino, Op};
use crate::trace::{Injected, Mark, Outcome, Passed, Record, Site, Stamp, Trace};

/// Bytes of written data that a recorder keeps unless told otherwise: 1 GiB.
pub const DATA_BYTES_MAX: u64 = 1 << 30;
/// Passes of fail points that a recorder keeps. Where a run has more, the trace says so, and the run is
/// `not-measured`.
const PASSES_MAX: usize = 1_000_000;

/// The number of a started op; see [`Recorder::start`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OpId(usize);

impl OpId {
    /// The place of its record in the trace.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// Builds a trace, and keeps the live disk that the ops so far have made.
#[derive(Debug)]
pub struct Recorder {
    trace: Trace,
    live: Disk,
    stamp: Stamp,
    data_bytes: u64,
    data_bytes_max: u64,
    /// Data that is kept, by its hash.
    shared: HashMap<u128, Bytes>,
}

impl Recorder {
    /// Starts on a disk whose content is durable.
    pub fn new(base: Disk) -> Self {
        Recorder {
            live: base.clone(),
            trace: Trace { base, ..Trace::default() },
            stamp: 0,
            data_bytes: 0,
            data_bytes_max: DATA_BYTES_MAX,
            shared: HashMap::new(),
        }
    }

    /// Sets how many bytes of distinct written data are kept. Where a run writes more, the trace says
    /// that the bound was hit and keeps no more data, and the run is `not-measured`; the live disk goes
    /// on.
    pub fn data_bytes_max(mut self, bytes: u64) -> Self {
        self.data_bytes_max = bytes;
        self
    }

    /// The disk as the ops that ended so far have made it.
    pub fn live(&self) -> &Disk {
        &self.live
    }

    /// A number for a new inode.
    pub fn fresh_ino(&mut self) -> Ino {
        self.live.fresh_ino()
    }

    /// The stamp that the next op to start will have.
    pub fn next_start(&self) -> Stamp {
        self.stamp + 1
    }

    /// An op is about to be asked for.
    pub fn start(&mut self, thread: u32, site: Option<Site>, op: Op) -> OpId {
        let op = self.share(op);
        let start = self.next_stamp();
        self.trace.ops.push(Record { op, start, end: None, errno: None, thread, site });
        OpId(self.trace.ops.len() - 1)
    }

    /// A started op has ended; the live disk changes now. One that was under way when the power was
    /// [cut](Recorder::cut) never ends.
    ///
    /// # Panics
    ///
    /// Where the op has ended before.
    pub fn end(&mut self, id: OpId, outcome: Outcome) {
        if self.is_cut() {
            return;
        }
        let stamp = self.next_stamp();
        let record = &mut self.trace.ops[id.0];
        assert!(record.end.is_none(), "an op ends once");
        record.end = Some(stamp);
        match outcome {
            Outcome::Done => {}
            Outcome::Failed(errno) => {
                record.errno = Some(errno);
                return;
            }
            Outcome::Short(count) => {
                if let Op::Write { data, .. } = &mut record.op {
                    *data = Bytes::new(&data[..count as usize]);
                }
            }
        }
        self.live.apply(&record.op);
        if self.data_bytes > self.data_bytes_max
            && let Op::Write { data, .. } | Op::MapStore { data, .. } = &mut record.op
        {
            *data = Bytes::new(&[]);
        }
    }

    /// Who had called the code that asked for a started op, the nearest first.
    pub fn called_by(&mut self, id: OpId, callers: Arc<[Site]>) {
        let start = self.trace.ops[id.0].start;
        self.trace.callers.insert(start, callers);
    }

    /// An op that starts and ends with nothing in between.
    pub fn record(&mut self, thread: u32, site: Option<Site>, op: Op) {
        let id = self.start(thread, site, op);
        self.end(id, Outcome::Done);
    }

    /// The workload said something of its progress, there.
    pub fn mark(&mut self, mark: Mark, site: Option<Site>) {
        if self.is_cut() {
            return;
        }
        let stamp = self.next_stamp();
        self.trace.marks.push((stamp, mark));
        self.trace.mark_sites.extend(site.map(|site| (stamp, site)));
    }

    /// A fault is injected into `call`, which was asked for at `site`, because of `rule`, on a thread that
    /// has last passed the fail points `points`.
    pub fn injected(
        &mut self,
        call: impl Into<String>,
        rule: impl Into<String>,
        site: Option<Site>,
        points: Vec<Arc<str>>,
    ) {
        if self.is_cut() {
            return;
        }
        let (at, call, rule) = (self.next_stamp(), call.into(), rule.into());
        self.trace.injected.push(Injected { at, call, rule, site, points });
    }

    /// A thread comes by a fail point.
    pub fn passed(&mut self, thread: u32, point: &str, site: Site) {
        let count = self.trace.passed.len();
        if self.is_cut() || count > PASSES_MAX {
            return;
        }
        if count == PASSES_MAX {
            self.unmodelled(format!("the run passed more than {PASSES_MAX} fail points"));
        }
        self.trace.passed.push(Passed { at: self.stamp, point: point.into(), thread, site });
    }

    /// The power goes. Nothing after it is recorded: no op that starts or ends, no mark.
    pub fn cut(&mut self) {
        self.trace.cut.get_or_insert(self.stamp);
    }

    /// Whether the power was cut.
    pub fn is_cut(&self) -> bool {
        self.trace.cut.is_some()
    }

    /// Something was asked that the trace cannot hold; the run becomes `not-measured`. Said once.
    pub fn unmodelled(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.trace.unmodelled.contains(&what) {
            self.trace.unmodelled.push(what);
        }
    }

    /// The trace so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The trace so far. A new recording starts on what is there now, all of it durable; ops that have
    /// not ended belong to the trace that is taken, and never end. Where the power was cut it stays so.
    pub fn take(&mut self) -> Trace {
        let mut next = Recorder::new(self.live.clone()).data_bytes_max(self.data_bytes_max);
        next.trace.cut = self.trace.cut.map(|_| 0);
        std::mem::replace(self, next).trace
    }

    /// The finished trace of `subject`.
    pub fn finish(mut self, subject: impl Into<String>) -> Trace {
        self.trace.subject = subject.into();
        self.trace
    }

    fn next_stamp(&mut self) -> Stamp {
        self.stamp += 1;
        self.stamp
    }

    /// Keeps equal data once, and counts what is kept.
    fn share(&mut self, mut op: Op) -> Op {
        if let Op::Write { data, .. } | Op::MapStore { data, .. } = &mut op {
            // Sixteen bytes to look up by, not the data: hashing it for a hash table takes as long as
            // writing it.
            let hash = XxHash3_128::oneshot(data);
            match self.shared.get(&hash) {
                Some(known) if known == data => *data = known.clone(),
                _ => {
                    self.data_bytes += data.len() as u64;
                    if !self.is_full() {
                        self.shared.insert(hash, data.clone());
                    }
                }
            }
        }
        if self.is_full() {
            let max = self.data_bytes_max;
            self.unmodelled(format!(
                "the run wrote more than the bound of {max} bytes of distinct data"
            ));
        }
        op
    }

    fn is_full(&self) -> bool {
        self.data_bytes > self.data_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Kind, Slot};

    #[test]
    fn data_beyond_the_bound_is_not_kept_and_that_is_said() {
        let mut recorder = Recorder::new(Disk::new()).data_bytes_max(10_000);
        let ino = recorder.fresh_ino();
        let slot = Slot::new(Ino::ROOT, "file");
        recorder.record(0, None, Op::Create { slot, ino, kind: Kind::File, mode: 0o644 });
        let write = |byte, offset| {
            let data = Bytes::new(&[byte; 4096]);
            Op::Write { ino, offset, data, direct: false, sync: None }
        };
        // Equal data counts once.
        (0..5).for_each(|i| recorder.record(0, None, write(1, i * 4096)));
        recorder.record(0, None, write(2, 0));
        assert_eq!(recorder.trace().unmodelled, [""; 0]);
        recorder.record(0, None, write(3, 0));
        assert!(recorder.trace().unmodelled[0].contains("10000 bytes"));
        assert_eq!(recorder.live().content(ino).unwrap().to_vec()[..4096], [3; 4096]);
        let kept = recorder.trace().ops.iter().map(|record| match &record.op {
            Op::Write { data, .. } => data.len(),
            _ => 0,
        });
        assert_eq!(kept.sum::<usize>(), 6 * 4096);
    }
}
