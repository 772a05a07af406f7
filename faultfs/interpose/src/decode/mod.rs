//! From the raw log to a trace.
//!
//! The log speaks of the kernel's inode numbers, the trace of its own: they are matched at the
//! start of the session by path, and from then on by what each call made.

mod called;
mod ops;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::Path;

use faultfs::Seen;
use faultfs::disk::Disk;
use faultfs::fault::SyncFailure;
use faultfs::op::{Bytes, Found, Ino, Op, Slot};
use faultfs::recorder::{OpId, Recorder};
use faultfs::trace::{Mark, Outcome, Site, Stamp, Trace};

use crate::record::{Kind, Log, Record, damaged, header};
use crate::sites::{Chain, Stacks};

use called::Called;

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
    calls_of(&Log::read(File::open(log)?)?)
}

/// As [`calls`].
pub(crate) fn calls_of(log: &Log) -> io::Result<Vec<Seen>> {
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

pub(crate) fn decode_log(log: &Log, base: Disk, subject: impl Into<String>) -> io::Result<Trace> {
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
    /// The last record was a store of a comparison, and is in the trace.
    in_comparison: bool,
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
            in_comparison: false,
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
        self.in_comparison &= record.kind == Kind::MapStore;
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
        let [ino, offset, together, ..] = record.words;
        self.in_comparison &= together != 0;
        let thread = self.thread(record.thread);
        let Some(ino) = self.ino(ino) else { return };
        let found = if self.in_comparison { Found::Together } else { Found::Compared };
        let op = Op::MapStore { ino, offset, data: Bytes::new(record.data), found };
        if self.fits(&op) {
            self.recorder.record(thread, None, op);
            self.in_comparison = true;
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
