//! From the raw log to a trace.
//!
//! The log speaks of the kernel's inode numbers, the trace of its own: they are matched at the
//! start of the session by path, and from then on by what each call made.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use faultfs::disk::Disk;
use faultfs::fault::{Size, SyncFailure};
use faultfs::op::{Bytes, Ino, Kind as InodeKind, Name, Op, Slot, SyncKind};
use faultfs::plan::OpKind;
use faultfs::recorder::{OpId, Recorder};
use faultfs::trace::{Mark, Outcome, Site, Stamp, Trace};
use faultfs::{Call, Reach, Seen};

use crate::record::{Kind, Log, REACHES, Record, damaged, header, linux, write};
use crate::sites::{Chain, Stacks};

/// Reads the log of a session into a trace of `subject`. `base` is the disk that the root held when
/// the session started, see [`crate::snapshot`].
///
/// The recorded process may have ended in any way: what had started and not ended is in flight
/// in the trace.
///
/// ```no_run
/// use faultfs_interpose::{Options, Session, decode, snapshot, verify};
/// # let (root, log) = (std::path::Path::new("root"), std::path::Path::new("log"));
/// let base = snapshot(root)?;
/// let session = Session::start(&Options::new(root, log))?;
/// std::fs::write(root.join("file"), "hello")?;
/// session.finish();
///
/// let mut trace = decode(log, base, "hello")?;
/// trace.unmodelled.extend(verify(&trace, root)?);
/// assert!(trace.unmodelled.is_empty(), "not measured: {:?}", trace.unmodelled);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// `InvalidData` for a file that is not a log of this version, or is damaged. What the door saw and cannot
/// model is no error: it stands in [`Trace::unmodelled`], as does a record that does not fit the ones
/// before it.
pub fn decode(log: &Path, base: Disk, subject: impl Into<String>) -> io::Result<Trace> {
    decode_log(&Log::read(File::open(log)?)?, base, subject)
}

/// As [`decode`], but to the end of the session, also where the power was cut before.
pub(crate) fn decode_whole(log: &Path, base: Disk) -> io::Result<Trace> {
    let log = Log::read(File::open(log)?)?;
    Ok(Decoder::whole(&log, base)?.finish(&log, ""))
}

/// A run that is not at its end: what its own door wants to know of it.
pub(crate) struct SoFar {
    /// With what is in flight in flight, and heedless of power cuts.
    pub(crate) recorder: Recorder,
    /// The syncs that have failed otherwise than most, by their starts.
    pub(crate) failures: BTreeMap<Stamp, SyncFailure>,
    /// The trace's inode for each of the kernel's.
    pub(crate) inos: HashMap<u64, Ino>,
}

impl SoFar {
    pub(crate) fn of(log: &Log, base: Disk) -> io::Result<Self> {
        let Decoder { recorder, failures, inos, .. } = Decoder::whole(log, base)?;
        Ok(Self { recorder, failures, inos })
    }
}

/// The calls below the root of a session that observed ([`Options::observe`](crate::Options::observe)),
/// in order; of any other session there are none.
///
/// # Errors
/// `InvalidData` as for [`decode`].
pub fn calls(log: &Path) -> io::Result<Vec<Seen>> {
    let log = Log::read(File::open(log)?)?;
    if log.header(header::OBSERVED) == 0 {
        return Ok(Vec::new());
    }
    let called = |record: io::Result<Record<'_>>| match record {
        Ok(record) if record.kind == Kind::Called => {
            Some(Called::of(&record).map(|called| Seen::from(&called.call())))
        }
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    };
    log.records().filter_map(called).collect()
}

fn decode_log(log: &Log, base: Disk, subject: impl Into<String>) -> io::Result<Trace> {
    let mut decoder = Decoder::new(log, base, Some(Stacks::default()))?;
    for record in log.records() {
        decoder.take(&record?)?;
        if decoder.recorder.is_cut() {
            break;
        }
    }
    Ok(decoder.finish(log, subject))
}

const SHORTCOMINGS: [(usize, &str); 3] = [
    (
        header::FULL,
        "the log of the session was full: give it a larger `log_bytes_max`, or more room on its disk",
    ),
    (header::FORKED, "a forked child changed files below the root"),
    (header::REENTERED, "a signal handler made file calls while the door was recording"),
];

/// What came of an operation.
#[derive(Clone, Copy)]
struct End {
    returned: i64,
    ino: u64,
    mode: u32,
}

struct Decoder {
    recorder: Recorder,
    /// The trace's inode for each of the kernel's.
    inos: HashMap<u64, Ino>,
    /// By the position of the start. Known in advance: the mode of a new file, say, is only told at its end.
    ends: HashMap<u64, End>,
    /// Operations of the trace that one start in the log gave rise to.
    open: HashMap<u64, Vec<(OpId, Op, Outcome)>>,
    /// In the order of first appearance, as the trace counts them.
    threads: Vec<u32>,
    /// Paths in the base that the log has not named yet.
    base: HashMap<Vec<u8>, Ino>,
    failures: BTreeMap<Stamp, SyncFailure>,
    /// The start of the operation that was under way when the power was cut.
    under_way: Option<u64>,
    /// The slot of a link that takes the place of another name.
    replaced: Option<Slot>,
    /// None: nobody asks where a call came from.
    stacks: Option<Stacks>,
}

impl Decoder {
    fn new(log: &Log, base: Disk, stacks: Option<Stacks>) -> io::Result<Self> {
        let (mut ends, mut under_way) = (HashMap::new(), None);
        for record in log.records() {
            let Record { kind, words: [start, returned, ino, mode, ..], .. } = record?;
            match kind {
                Kind::End => {}
                Kind::Cut if start != 0 => {
                    under_way = under_way.or(Some(start));
                    continue;
                }
                _ => continue,
            }
            let mode = u32::try_from(mode).map_err(|_| damaged("a mode is none"))? & 0o7777;
            ends.insert(start, End { returned: returned as i64, ino, mode });
        }
        let mut paths: HashMap<_, _> = base.walk().into_iter().collect();
        paths.insert(Vec::new(), Ino::ROOT);
        Ok(Self {
            recorder: Recorder::new(base),
            inos: HashMap::new(),
            ends,
            open: HashMap::new(),
            threads: Vec::new(),
            base: paths,
            failures: BTreeMap::new(),
            under_way,
            replaced: None,
            stacks,
        })
    }

    /// A run to its end, also where the power was cut before.
    fn whole(log: &Log, base: Disk) -> io::Result<Self> {
        let mut decoder = Self { under_way: None, ..Self::new(log, base, None)? };
        for record in log.records() {
            let record = record?;
            if record.kind != Kind::Cut {
                decoder.take(&record)?;
            }
        }
        Ok(decoder)
    }

    fn take(&mut self, record: &Record<'_>) -> io::Result<()> {
        let [first, second, ..] = record.words;
        match record.kind {
            Kind::Known => self.known(first, record.name),
            Kind::Mark => {
                let mark = match first {
                    0 => Mark::Begin(second),
                    1 => Mark::Ack(second),
                    2 => Mark::Failed(second),
                    _ => return Err(damaged("a mark is none")),
                };
                let site = (!record.name.is_empty()).then(|| site(record.words[2], record.name));
                self.recorder.mark(mark, site.transpose()?);
            }
            Kind::Unmodelled => self.recorder.unmodelled(String::from_utf8_lossy(record.data)),
            Kind::MapStore => self.map_store(record),
            Kind::Passed => self.passed(record)?,
            Kind::Cut => self.recorder.cut(),
            Kind::Module | Kind::Stack => {
                self.stacks.iter_mut().for_each(|stacks| stacks.take(record));
            }
            Kind::Called => {
                let called = Called::of(record)?;
                if !called.rule.is_empty() {
                    let rule = String::from_utf8_lossy(called.rule);
                    let (call, site) = (called.call().to_string(), self.chain(record).site);
                    self.recorder.injected(call, rule, site, called.points());
                }
            }
            Kind::End if self.under_way == Some(first) => self.recorder.cut(),
            Kind::End => self.end(first)?,
            _ => self.start(record),
        }
        Ok(())
    }

    fn finish(mut self, log: &Log, subject: impl Into<String>) -> Trace {
        for (word, why) in SHORTCOMINGS {
            if log.header(word) != 0 {
                self.recorder.unmodelled(why);
            }
        }
        self.recorder.finish(subject)
    }

    fn passed(&mut self, record: &Record<'_>) -> io::Result<()> {
        let site = site(record.words[0], record.data)?;
        let point = std::str::from_utf8(record.name).map_err(|_| damaged("a pass is not text"))?;
        let thread = self.thread(record.thread);
        self.recorder.passed(thread, point, site);
        Ok(())
    }

    fn known(&mut self, ino: u64, path: &[u8]) {
        match self.base.get(path) {
            Some(&known) => _ = self.inos.insert(ino, known),
            None => self.recorder.unmodelled(format!(
                "{} was there when the session started, and is not in the base disk",
                String::from_utf8_lossy(path)
            )),
        }
    }

    fn map_store(&mut self, record: &Record<'_>) {
        let [ino, offset, ..] = record.words;
        let thread = self.thread(record.thread);
        let Some(ino) = self.ino(ino) else { return };
        let op = Op::MapStore { ino, offset, data: Bytes::new(record.data) };
        if self.fits(&op) {
            self.recorder.record(thread, None, op);
        }
    }

    fn start(&mut self, record: &Record<'_>) {
        let thread = self.thread(record.thread);
        let end = self.ends.get(&record.position).copied();
        let Some(ops) = self.ops(record, end) else { return };
        let mut started = Vec::new();
        for op in ops {
            let Some(outcome) = outcome(&op, end) else { continue };
            // What does not fit is told when it ends; in flight it would be told by nobody.
            if end.is_none() && !self.fits(&op) {
                continue;
            }
            let Chain { site, callers } = self.chain(record);
            let id = self.recorder.start(thread, site, op.clone());
            if !callers.is_empty() {
                self.recorder.called_by(id, callers);
            }
            started.push((id, op, outcome));
        }
        self.open.insert(record.position, started);
    }

    fn end(&mut self, start: u64) -> io::Result<()> {
        // A start that was not understood has been reported as such.
        for (id, op, outcome) in self.open.remove(&start).unwrap_or_default() {
            if matches!(outcome, Outcome::Failed(_)) || self.fits(&op) {
                self.recorder.end(id, outcome);
            }
        }
        Ok(())
    }

    /// What a start means in terms of the trace; none when it makes no sense after what came before.
    fn ops(&mut self, record: &Record<'_>, end: Option<End>) -> Option<Vec<Op>> {
        let [a, b, c, d, e, _] = record.words;
        let name = record.name;
        Some(match record.kind {
            Kind::Write => vec![Op::Write {
                ino: self.ino(a)?,
                offset: b,
                data: Bytes::new(record.data),
                direct: c & write::DIRECT != 0,
                sync: match c {
                    _ if c & write::SYNC != 0 => Some(SyncKind::All),
                    _ if c & write::DSYNC != 0 => Some(SyncKind::Data),
                    _ => None,
                },
            }],
            Kind::SetLen => vec![Op::SetLen { ino: self.ino(a)?, len: b }],
            Kind::Allocate => self.allocation(self.ino_ref(a), b, c, d)?,
            Kind::Open if b != 0 => vec![Op::SetLen { ino: self.ino(b)?, len: 0 }],
            Kind::Open => vec![self.create((a, name), InodeKind::File, (d, end))?],
            Kind::MakeDir => vec![self.create((a, name), InodeKind::Dir, (b, end))?],
            Kind::Symlink => {
                let target = InodeKind::Symlink(Name::new(record.data));
                vec![self.create((a, name), target, (0o777, end))?]
            }
            Kind::TempFile => {
                let (ino, mode) = self.made((b, end));
                vec![Op::CreateUnnamed { ino, mode }]
            }
            Kind::Link => {
                let (ino, slot) = (self.ino(a)?, self.slot(b, name)?);
                self.replaced = if c == 0 { None } else { Some(self.slot_of(b, name, c)?) };
                vec![Op::Link { ino, slot }]
            }
            Kind::Unlink | Kind::RemoveDir => {
                vec![Op::Unlink { slot: self.slot_of(a, name, b)? }]
            }
            Kind::Rename => {
                let from = self.slot_of(a, name, b)?;
                let to = self.slot_of(c, record.data, d)?;
                vec![Op::Rename { from, to, exchange: e & linux::RENAME_EXCHANGE != 0 }]
            }
            Kind::Chmod => vec![Op::SetMode { ino: self.ino(a)?, mode: b as u32 & 0o7777 }],
            Kind::Sync => {
                let data = record.number == linux::FDATASYNC;
                self.note_failure(b != 0);
                let kind = if data { SyncKind::Data } else { SyncKind::All };
                vec![Op::Sync { ino: self.ino(a)?, kind }]
            }
            Kind::SyncRange => vec![Op::StartWriteback { ino: self.ino(a)? }],
            Kind::SyncAll => vec![Op::SyncAll],
            Kind::Msync if d & linux::MS_SYNC != 0 => {
                self.note_failure(e != 0);
                vec![Op::SyncMap { ino: self.ino(a)?, offset: b, len: c }]
            }
            Kind::Msync => vec![Op::StartWriteback { ino: self.ino(a)? }],
            Kind::End
            | Kind::MapStore
            | Kind::Mark
            | Kind::Passed
            | Kind::Cut
            | Kind::Unmodelled
            | Kind::Known
            | Kind::Called
            | Kind::Module
            | Kind::Stack => unreachable!("not the start of an operation"),
        })
    }

    /// The sync that starts now fails, and the device keeps the old size.
    fn note_failure(&mut self, old_size: bool) {
        if old_size {
            let how = SyncFailure { size: Size::Reverted, ..SyncFailure::EXT4_ORDERED };
            self.failures.insert(self.recorder.next_start(), how);
        }
    }

    fn create(
        &mut self,
        (dir, name): (u64, &[u8]),
        kind: InodeKind,
        asked: (u64, Option<End>),
    ) -> Option<Op> {
        let slot = self.slot(dir, name)?;
        let (ino, mode) = self.made(asked);
        Some(Op::Create { slot, ino, kind, mode })
    }

    /// A new inode and its mode: as the kernel told it; in flight, as asked for under the usual mask.
    fn made(&mut self, (asked, end): (u64, Option<End>)) -> (Ino, u32) {
        let ino = self.recorder.fresh_ino();
        match end {
            Some(end) if end.returned >= 0 => {
                self.inos.insert(end.ino, ino);
                (ino, end.mode)
            }
            _ => (ino, asked as u32 & 0o7777 & !0o022),
        }
    }

    fn allocation(
        &mut self,
        ino: Option<Ino>,
        mode: u64,
        offset: u64,
        len: u64,
    ) -> Option<Vec<Op>> {
        let Some(ino) = ino else { return self.missed("an inode that no record made") };
        let mode = mode as i32;
        let known = linux::KEEP_SIZE | linux::PUNCH_HOLE | linux::ZERO_RANGE;
        if mode & !known != 0 {
            self.recorder.unmodelled(format!("fallocate with mode {mode:#x}"));
            return None;
        }
        let mut ops = Vec::new();
        if mode & !linux::KEEP_SIZE != 0 {
            ops.push(Op::Zero { ino, offset, len });
        }
        let size = self.recorder.live().content(ino).map_or(0, |content| content.len());
        let end = offset.saturating_add(len);
        if mode & linux::KEEP_SIZE == 0 && end > size {
            ops.push(Op::SetLen { ino, len: end });
        }
        Some(ops)
    }

    fn ino(&mut self, kernel: u64) -> Option<Ino> {
        let known = self.ino_ref(kernel);
        if known.is_none() {
            self.missed::<Ino>("an inode that no record made");
        }
        known
    }

    fn ino_ref(&self, kernel: u64) -> Option<Ino> {
        self.inos.get(&kernel).copied()
    }

    fn slot(&mut self, dir: u64, name: &[u8]) -> Option<Slot> {
        Some(Slot::new(self.ino(dir)?, name))
    }

    /// A slot that the door found to hold an inode, or nothing for 0.
    fn slot_of(&mut self, dir: u64, name: &[u8], holds: u64) -> Option<Slot> {
        let slot = self.slot(dir, name)?;
        let holds = if holds == 0 { None } else { Some(self.ino(holds)?) };
        if self.recorder.live().lookup(&slot) != holds {
            let name = String::from_utf8_lossy(name).into_owned();
            return self.missed(&format!("the name {name:?}, which stood for another inode"));
        }
        Some(slot)
    }

    /// Whether the live disk has what an operation names.
    fn fits(&mut self, op: &Op) -> bool {
        let live = self.recorder.live();
        let fits = match op {
            Op::Create { slot, .. } => {
                live.entries(slot.dir).is_some() && live.lookup(slot).is_none()
            }
            Op::Link { ino, slot } => {
                live.get(*ino).is_some()
                    && live.entries(slot.dir).is_some()
                    && (live.lookup(slot).is_none() || self.replaced.as_ref() == Some(slot))
            }
            Op::Unlink { slot } => live.lookup(slot).is_some(),
            Op::Rename { from, to, .. } => {
                live.lookup(from).is_some() && live.entries(to.dir).is_some()
            }
            Op::Write { ino, offset, data, .. } | Op::MapStore { ino, offset, data } => {
                live.content(*ino).is_some()
                    && offset.checked_add(data.len() as u64).is_some_and(|end| end <= OFFSET_MAX)
            }
            Op::SetLen { ino, len } => live.content(*ino).is_some() && *len <= OFFSET_MAX,
            Op::Zero { ino, .. } => live.content(*ino).is_some(),
            Op::SetMode { ino, .. }
            | Op::Sync { ino, .. }
            | Op::SyncMap { ino, .. }
            | Op::StartWriteback { ino } => live.get(*ino).is_some(),
            Op::CreateUnnamed { .. } | Op::SyncAll => true,
        };
        if !fits {
            self.missed::<()>(&format!("a {} that does not fit what came before", op.word()));
        }
        fits
    }

    fn missed<T>(&mut self, met: &str) -> Option<T> {
        self.recorder.unmodelled(format!("a file call was not seen by the door: it met {met}"));
        None
    }

    fn chain(&self, record: &Record<'_>) -> Chain {
        self.stacks.as_ref().map(|stacks| stacks.chain(record.stack)).unwrap_or_default()
    }

    fn thread(&mut self, id: u32) -> u32 {
        let known = self.threads.iter().position(|&thread| thread == id);
        let index = known.unwrap_or_else(|| {
            self.threads.push(id);
            self.threads.len() - 1
        });
        u32::try_from(index).expect("fewer than 2^32 threads")
    }
}

/// A call as it was put to the injector.
struct Called<'a> {
    kind: OpKind,
    path: &'a [u8],
    other: &'a [u8],
    offset: Option<u64>,
    len: u64,
    reach: Reach,
    writes: bool,
    /// Empty: nothing went wrong.
    rule: &'a [u8],
    /// Fail points, each behind a zero byte.
    points: &'a [u8],
}

impl<'a> Called<'a> {
    fn of(record: &Record<'a>) -> io::Result<Self> {
        let [kind, has_offset, offset, len, reach, writes] = record.words;
        let kind = usize::try_from(kind).ok().and_then(|index| OpKind::ALL.get(index));
        let end = record.data.iter().position(|&byte| byte == 0);
        let reach = usize::try_from(reach).ok().and_then(|index| REACHES.get(index));
        let (Some(&kind), Some(end), Some(&reach)) = (kind, end, reach) else {
            return Err(damaged("a call makes no sense"));
        };
        let offset = (has_offset != 0).then_some(offset);
        let (other, rest) = (&record.data[..end], &record.data[end + 1..]);
        let rule_len = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
        let (rule, points) = rest.split_at(rule_len);
        let (path, writes) = (record.name, writes != 0);
        Ok(Called { kind, path, other, offset, len, reach, writes, rule, points })
    }

    fn points(&self) -> Vec<Arc<str>> {
        let points = self.points.split(|&byte| byte == 0).skip(1);
        points.map(|point| String::from_utf8_lossy(point).into()).collect()
    }

    fn call(&self) -> Call<'a> {
        let path = |bytes| Path::new(OsStr::from_bytes(bytes));
        let other = (!self.other.is_empty()).then(|| path(self.other));
        let Called { offset, len, reach, writes, .. } = *self;
        Call { other, offset, len, reach, writes, ..Call::new(self.kind, path(self.path)) }
    }
}

/// What the kernel allows.
const OFFSET_MAX: u64 = i64::MAX as u64;

fn site(line: u64, file: &[u8]) -> io::Result<Site> {
    let line = u32::try_from(line).map_err(|_| damaged("a line is no number"))?;
    let file = std::str::from_utf8(file).map_err(|_| damaged("a source file is not text"))?;
    Ok(Site { file: file.into(), line })
}

/// How an operation ended; none for a write that wrote nothing. Of no meaning in flight.
fn outcome(op: &Op, end: Option<End>) -> Option<Outcome> {
    let Some(end) = end else { return Some(Outcome::Done) };
    if end.returned < 0 {
        return Some(Outcome::Failed(
            i32::try_from(end.returned.unsigned_abs()).unwrap_or(i32::MAX),
        ));
    }
    match op {
        Op::Write { data, .. } if end.returned == 0 && !data.is_empty() => None,
        Op::Write { data, .. } if (end.returned as u64) < data.len() as u64 => {
            Some(Outcome::Short(end.returned as u64))
        }
        _ => Some(Outcome::Done),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::record::made::Maker;

    const ROOT: u64 = 100;

    /// A log of a session whose root was empty.
    fn session() -> Maker {
        let mut log = Maker::new();
        log.add(Kind::Known, &[ROOT], b"", b"");
        log
    }

    /// An operation that returned `returned` and made `ino`.
    fn done(log: &mut Maker, start: u64, returned: i64, ino: u64) {
        log.add(Kind::End, &[start, returned as u64, ino, 0o100_644], b"", b"");
    }

    fn create(log: &mut Maker, name: &[u8], ino: u64) {
        let start = log.add(Kind::Open, &[ROOT, 0, 0o101, 0o666], name, b"");
        done(log, start, 3, ino);
    }

    fn write(log: &mut Maker, ino: u64, offset: u64, data: &[u8]) -> u64 {
        log.add(Kind::Write, &[ino, offset, 0], b"", data)
    }

    fn trace(log: &mut Maker) -> Trace {
        decode_log(&log.log(), Disk::new(), "made by hand").unwrap()
    }

    fn whole(log: &mut Maker) -> Trace {
        let trace = trace(log);
        assert_eq!(trace.unmodelled, [""; 0]);
        trace
    }

    fn content(trace: &Trace, name: &str) -> Vec<u8> {
        let disk = trace.replay();
        let ino = disk.lookup(&Slot::new(Ino::ROOT, name)).unwrap();
        disk.content(ino).unwrap().to_vec()
    }

    #[test]
    fn a_short_write_holds_what_was_written() {
        let mut log = session();
        create(&mut log, b"f", 5);
        for (data, returned) in [(b"abcdef", 4), (b"ghijkl", 0), (b"mnopqr", -28)] {
            let start = write(&mut log, 5, 4, data);
            done(&mut log, start, returned, 0);
        }
        let trace = whole(&mut log);
        assert_eq!(content(&trace, "f"), b"\0\0\0\0abcd");
        // The one that wrote nothing is nothing; the one that failed is kept with its errno.
        assert_eq!(trace.ops.len(), 3);
        assert_eq!(trace.ops[2].errno, Some(28));
    }

    #[test]
    fn what_has_not_ended_is_in_flight() {
        let mut log = session();
        create(&mut log, b"f", 5);
        let sync = log.add_by(Kind::Sync, 2, linux::FDATASYNC, &[5], b"", b"");
        write(&mut log, 5, 0, b"x");
        let trace = whole(&mut log);
        assert_eq!(trace.ops[1].end, None);
        assert!(matches!(trace.ops[1].op, Op::Sync { kind: SyncKind::Data, .. }));
        assert_eq!(trace.ops[2].end, None);
        assert_eq!(content(&trace, "f"), b"");
        assert_eq!(trace.ops.iter().map(|op| op.thread).collect::<Vec<_>>(), [0, 1, 0]);

        // Writes started meanwhile are not covered by it: the stamps tell.
        done(&mut log, sync, 0, 0);
        let trace = whole(&mut log);
        assert!(trace.ops[2].start < trace.ops[1].end.unwrap());
    }

    #[test]
    fn an_inode_number_that_is_used_again_is_another_inode() {
        let mut log = session();
        create(&mut log, b"old", 5);
        let start = write(&mut log, 5, 0, b"old");
        done(&mut log, start, 3, 0);
        let start = log.add(Kind::Unlink, &[ROOT, 5], b"old", b"");
        done(&mut log, start, 0, 0);
        create(&mut log, b"new", 5);
        let start = write(&mut log, 5, 1, b"n");
        done(&mut log, start, 1, 0);
        assert_eq!(content(&whole(&mut log), "new"), b"\0n");
    }

    #[test]
    fn a_rename_between_two_names_of_one_inode_changes_nothing() {
        let mut log = session();
        create(&mut log, b"a", 5);
        let start = log.add(Kind::Link, &[5, ROOT], b"b", b"");
        done(&mut log, start, 0, 0);
        let start = log.add(Kind::Rename, &[ROOT, 5, ROOT, 5, 0], b"a", b"b");
        done(&mut log, start, 0, 0);
        assert_eq!(whole(&mut log).replay().walk().len(), 2);
    }

    #[test]
    fn allocation_extends_and_zeroes_as_its_mode_says() {
        let mut log = session();
        create(&mut log, b"f", 5);
        let start = write(&mut log, 5, 0, b"0123456789");
        done(&mut log, start, 10, 0);
        let mut allocate = |mode: i32, offset: u64, len: u64| {
            let start = log.add(Kind::Allocate, &[5, mode as u64, offset, len], b"", b"");
            done(&mut log, start, 0, 0);
        };
        allocate(0, 0, 5);
        allocate(linux::KEEP_SIZE, 0, 500);
        allocate(linux::PUNCH_HOLE | linux::KEEP_SIZE, 1, 2);
        allocate(linux::ZERO_RANGE, 8, 4);
        assert_eq!(content(&whole(&mut log), "f"), b"0\x00\x0034567\0\0\0\0");

        let start = log.add(Kind::Allocate, &[5, 8, 0, 4096], b"", b"");
        done(&mut log, start, 0, 0);
        assert_eq!(trace(&mut log).unmodelled, ["fallocate with mode 0x8"]);
    }

    #[test]
    fn calls_that_the_door_missed_are_told_from_those_it_saw() {
        let missed = |add: &dyn Fn(&mut Maker) -> u64| {
            let mut log = session();
            create(&mut log, b"f", 5);
            let start = add(&mut log);
            done(&mut log, start, 1, 9);
            trace(&mut log).unmodelled
        };
        let all: [&dyn Fn(&mut Maker) -> u64; 7] = [
            &|log| write(log, 6, 0, b"x"),
            &|log| log.add(Kind::Open, &[ROOT, 0, 0, 0], b"f", b""),
            &|log| log.add(Kind::Open, &[77, 0, 0, 0], b"g", b""),
            &|log| log.add(Kind::Unlink, &[ROOT, 5], b"g", b""),
            &|log| log.add(Kind::Rename, &[ROOT, 5, ROOT, 0, 0], b"g", b"h"),
            &|log| log.add(Kind::Link, &[5, ROOT], b"f", b""),
            &|log| write(log, 5, u64::MAX - 1, b"xyz"),
        ];
        for (index, add) in all.into_iter().enumerate() {
            let why = missed(add);
            assert!(why[0].starts_with("a file call was not seen by the door"), "{index}: {why:?}");
        }
    }

    #[test]
    fn the_base_must_be_what_the_session_found() {
        let mut log = session();
        log.add(Kind::Known, &[5], b"dir/file", b"");
        assert_eq!(
            trace(&mut log).unmodelled,
            ["dir/file was there when the session started, and is not in the base disk"]
        );
    }

    #[test]
    fn a_damaged_log_is_an_error_or_told_and_never_a_panic() {
        let mut log = session();
        create(&mut log, b"f", 5);
        let start = write(&mut log, 5, 0, b"some data");
        done(&mut log, start, 9, 0);
        log.add(Kind::MapStore, &[5, 0], b"", b"stored");
        let start = log.add(Kind::Rename, &[ROOT, 5, ROOT, 0, 0], b"f", b"g");
        done(&mut log, start, 0, 0);
        log.add(Kind::Mark, &[1, 1], b"", b"");
        let bytes = log.bytes();
        let mut refused = 0;
        for at in crate::record::RECORDS_AT..bytes.len() {
            for flip in [1, 0x80, 0xFF] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                let log = Log::read(Cursor::new(bytes)).unwrap();
                refused += usize::from(decode_log(&log, Disk::new(), "").is_err());
            }
        }
        assert!(refused > 100, "{refused}");
    }
}
