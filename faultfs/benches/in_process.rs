//! States checked per second on one core, in process: an engine that lives on a `FaultFs`, explored from one
//! test without a worker.
//!
//! The engine is a log in segments: each record has its length and the CRC-32 of its payload; recovery
//! lists the segments, reads each whole, scans its records, and cuts off the torn tail of the last.
//! Appends are synced in groups of eight.
//!
//! All in states per second of one core, which is the time of the processor as the kernel counts it for this
//! thread: what else runs does not count.
//!
//! - *all*: the whole exploration: it is recorded, its states are listed and told apart, and checked.
//! - *listing*: what comes before the first check: the recording, and the listing. *Listed* are the states
//!   before equal ones were joined.
//! - *checking*: from the first check on: the disk of each state is built, recovered from and judged by the
//!   oracle, and one in a hundred is checked twice.
//! - *engine*: of the time of one check, recovery and oracle on a `FaultFs` at the end of the run; over all
//!   crash points it is about half of it.
//!
//! *Pruned*: as usual: states that are known to hold by what recovery read in others count, and are not run.
//!
//! `cargo bench -p faultfs --bench in_process`

use std::cell::Cell;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use faultfs::FaultFs;
use faultfs::fs::{File, OpenOptions};
use faultfs::oracle;
use faultfs::trace::{Mark, Marks};
use faultfs::verdict::Broken;

const ROUNDS: usize = 7;
/// Explorations in a round.
const REPEATS: u32 = 10;
const RECORDS: u64 = 32;
const GROUP: u64 = 8;
const SEGMENT_LEN: u64 = 4096;

fn main() {
    println!(
        "{:<8} {:>8} {:>8} {:>8} {:>9} {:>10} {:>11} {:>8}   ({ROUNDS} rounds, medians)",
        "", "listed", "states", "run", "all/s", "listing/s", "checking/s", "engine"
    );
    let engine = median((0..ROUNDS).map(|_| engine()));
    for (name, prune) in [("run", false), ("pruned", true)] {
        let rounds: Vec<Explored> = (0..ROUNDS).map(|_| explored(prune)).collect();
        let Explored { listed, states, checks, .. } = rounds[0];
        let per_second = |time: fn(&Explored) -> Duration| {
            states as f64 / median(rounds.iter().map(time)).as_secs_f64()
        };
        println!(
            "{name:<8} {listed:>8} {states:>8} {checks:>8} {:>9.0} {:>10.0} {:>11.0} {engine:>8.2?}",
            per_second(|round| round.all),
            per_second(|round| round.all - round.checking),
            per_second(|round| round.checking),
        );
    }
}

/// Processor time of this thread, in the kernel's own count (`sched-stats.rst`).
fn now() -> Duration {
    let counts = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
    let nanoseconds = counts.split_whitespace().next().and_then(|count| count.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number comes first"))
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times[times.len() / 2]
}

/// One check of what the run leaves.
fn engine() -> Duration {
    const CHECKS: u32 = 10_000;
    let (fs, mut marks) = (FaultFs::mem(), Marks::default());
    workload(&fs).expect("nothing fails");
    (0..RECORDS).for_each(|id| marks.add(Mark::Ack(id)));
    let disk = fs.disk();
    let since = now();
    for _ in 0..CHECKS {
        check(&FaultFs::from_disk(disk.clone()), &marks).expect("nothing was lost");
    }
    (now() - since) / CHECKS
}

#[derive(Clone, Copy)]
struct Explored {
    listed: u64,
    states: u64,
    checks: u64,
    checking: Duration,
    all: Duration,
}

fn explored(prune: bool) -> Explored {
    let mut sum =
        Explored { listed: 0, states: 0, checks: 0, checking: Duration::ZERO, all: Duration::ZERO };
    for _ in 0..REPEATS {
        let (checks, first) = (Cell::new(0), Cell::new(None));
        let explore = faultfs::explore(workload).named("log").in_process().budget(100_000);
        let explore = if prune { explore } else { explore.without_pruning() };
        let since = now();
        let reports = explore.reports(|fs, marks| {
            if checks.replace(checks.get() + 1) == 0 {
                first.set(Some(now()));
            }
            check(fs, marks)
        });
        let (reports, end) = (reports.expect("the run is made"), now());
        assert!(reports[0].held(), "{}", reports[0]);
        sum.listed += reports[0].states;
        sum.states += reports[0].distinct;
        sum.checks += checks.get();
        sum.checking += end - first.get().expect("something was checked");
        sum.all += end - since;
    }
    sum
}

fn workload(fs: &FaultFs) -> Result<(), Broken> {
    let (mut log, _) = Log::open(fs)?;
    for group in 0..RECORDS / GROUP {
        let ids = group * GROUP..(group + 1) * GROUP;
        for id in ids.clone() {
            fs.begin(id);
            log.append(&payload(id))?;
        }
        log.sync()?;
        ids.for_each(|id| fs.ack(id));
    }
    Ok(())
}

fn check(fs: &FaultFs, marks: &Marks) -> Result<(), Broken> {
    let (_, records) = Log::open(fs)?;
    oracle::Log::of(payload).check(&records, marks)
}

/// Of 40 to 250 bytes, and like no other.
fn payload(id: u64) -> Vec<u8> {
    let len = 40 + (id * 89 % 211) as usize;
    (0..len).map(|at| (id as usize * 31 + at) as u8).collect()
}

/// A log of records in segments.
struct Log<'a> {
    fs: &'a FaultFs,
    number: u32,
    segment: File,
    len: u64,
}

impl<'a> Log<'a> {
    /// Opens the log, which need not exist yet, and brings it back into order; with its records.
    fn open(fs: &'a FaultFs) -> io::Result<(Self, Vec<Vec<u8>>)> {
        let names: Vec<_> = fs.read_dir(".")?.collect::<io::Result<_>>()?;
        let mut records = Vec::new();
        let mut log = None;
        for entry in &names {
            let number =
                entry.file_name().to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
            let Some(number) = number else { continue };
            let segment = fs.open_with(entry.path(), OpenOptions::new().read(true).append(true))?;
            let mut bytes = vec![0; segment.size()? as usize];
            segment.read_exact_at(&mut bytes, 0)?;
            let len = scan(&bytes, &mut records) as u64;
            log = Some(Log { fs, number, segment, len });
            if len < bytes.len() as u64 {
                break;
            }
        }
        let Some(log) = log else { return Ok((Log::begin(fs, 1)?, records)) };
        if log.len < log.segment.size()? {
            log.segment.set_len(log.len)?;
            log.segment.sync_all()?;
        }
        Ok((log, records))
    }

    fn begin(fs: &'a FaultFs, number: u32) -> io::Result<Self> {
        let segment = fs.create(format!("{number:06}.log"))?;
        fs.sync_dir(".")?;
        Ok(Log { fs, number, segment, len: 0 })
    }

    /// Appends a record; durable after [`Log::sync`].
    fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        if self.len >= SEGMENT_LEN {
            self.sync()?;
            *self = Log::begin(self.fs, self.number + 1)?;
        }
        let mut record = Vec::with_capacity(HEADER + payload.len());
        record.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        record.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
        record.extend_from_slice(payload);
        self.segment.write_all(&record)?;
        self.len += record.len() as u64;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.segment.sync_data()
    }
}

const HEADER: usize = 8;

/// Takes the records from the front; how far they are whole.
fn scan(bytes: &[u8], records: &mut Vec<Vec<u8>>) -> usize {
    let mut done = 0;
    while let Some((header, rest)) = bytes[done..].split_at_checked(HEADER) {
        let len = u32::from_le_bytes(header[..4].try_into().expect("four bytes")) as usize;
        let crc = u32::from_le_bytes(header[4..].try_into().expect("four bytes"));
        let Some(payload) = rest.get(..len).filter(|_| len > 0) else { break };
        if crc32fast::hash(payload) != crc {
            break;
        }
        records.push(payload.to_vec());
        done += HEADER + len;
    }
    done
}
