//! The disks that a power cut may leave of a device's log.
//!
//! What was written before a flush is durable when it has been answered. Of what was written since, any part
//! may be there, in any order, each block whole or torn between two sectors: that is all that a device with a
//! volatile cache promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use fastrand::Rng;
use twox_hash::XxHash3_128;

use crate::device::{Blocks, Event, patched};

/// Which of an epoch's writes a disk has: an epoch is what lies between two flushes. Written as `3.0-4+6`,
/// or `3.0-4+6t3` where of the last write only the first three sectors came, `3.0-4+6u3` where only those
/// behind them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Cut {
    pub(crate) epoch: usize,
    /// Numbers within the epoch.
    pub(crate) kept: BTreeSet<usize>,
    /// The last of them in part.
    pub(crate) torn: Option<Torn>,
}

/// What is there of a torn block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Torn {
    /// The first so many sectors.
    First(usize),
    /// All behind them.
    Rest(usize),
}

const SECTOR: usize = 512;

struct Write {
    block: u64,
    at: usize,
    data: Arc<[u8]>,
    /// The stamp of the program when it was written.
    stamp: u64,
}

struct Epoch {
    writes: Vec<Write>,
    /// The stamps that pass while it lasts, the one before its first write first.
    stamps: Vec<u64>,
}

/// A log, cut at its flushes.
pub(crate) struct Log {
    base: Arc<Blocks>,
    epochs: Vec<Epoch>,
}

impl Log {
    pub(crate) fn new(base: Arc<Blocks>, events: &[Event]) -> Log {
        let fresh = |stamp| Epoch { writes: Vec::new(), stamps: vec![stamp] };
        let mut epochs = vec![fresh(0)];
        let mut now = 0;
        for event in events {
            let epoch = epochs.last_mut().expect("there is always one");
            match event {
                Event::Write { block, at, data } => {
                    epoch.writes.push(Write {
                        block: *block,
                        at: *at,
                        data: data.clone(),
                        stamp: now,
                    });
                }
                Event::Flush if epoch.writes.is_empty() => {}
                Event::Flush => epochs.push(fresh(now)),
                Event::Mark(stamp) => {
                    now = *stamp;
                    epoch.stamps.push(now);
                }
            }
        }
        Log { base, epochs }
    }

    /// What tells one log from another: which blocks were written between which flushes and stamps. Not their
    /// content, in which there are times.
    pub(crate) fn shape(&self) -> u64 {
        let mut text = String::new();
        for epoch in &self.epochs {
            for write in &epoch.writes {
                text += &format!("{}+{} at {},", write.block, write.at, write.stamp);
            }
            text += &format!("{:?};", epoch.stamps);
        }
        XxHash3_128::oneshot(text.as_bytes()) as u64
    }

    /// A line for each epoch: its writes as `NUMBER:BLOCK`, a star behind those that hold data, and the stamps of
    /// the program where they pass.
    pub(crate) fn lines(&self, is_data: impl Fn(&[u8]) -> bool) -> Vec<String> {
        let epoch = |(number, epoch): (usize, &Epoch)| {
            let (mut line, mut now) = (format!("epoch {number}:"), epoch.stamps[0]);
            let mut later = epoch.stamps[1..].iter().peekable();
            for (index, write) in epoch.writes.iter().enumerate() {
                while now < write.stamp {
                    now = *later.next().expect("a write comes after a mark");
                    line += &format!(" [{now}]");
                }
                let star = if is_data(&write.data) { "*" } else { "" };
                line += &format!(" {index}:{}{star}", write.block);
            }
            later.for_each(|stamp| line += &format!(" [{stamp}]"));
            line
        };
        self.epochs.iter().enumerate().map(epoch).collect()
    }

    /// Of every epoch all prefixes, all disks with one write omitted or only one kept, `samples` drawn ones,
    /// and all subsets where there are few; and torn blocks where `tears` says so of a write. Disks of which
    /// the program had not yet begun are left out.
    pub(crate) fn cuts(
        &self,
        samples: usize,
        seed: u64,
        tears: impl Fn(&[u8]) -> bool,
    ) -> Vec<Cut> {
        let mut out = Vec::new();
        let mut rng = Rng::with_seed(seed);
        for (number, epoch) in self.epochs.iter().enumerate() {
            if epoch.stamps.iter().all(|stamp| *stamp == 0) {
                continue;
            }
            let all = epoch.writes.len();
            let mut sets: BTreeSet<BTreeSet<usize>> = (0..=all).map(|k| (0..k).collect()).collect();
            if all <= 4 {
                sets.extend((0..1u32 << all).map(|mask| {
                    (0..all).filter(|write| mask & 1 << write != 0).collect::<BTreeSet<usize>>()
                }));
            } else {
                sets.extend((0..all).map(|left| (0..all).filter(|&w| w != left).collect()));
                sets.extend((0..all).map(|kept| BTreeSet::from([kept])));
                sets.extend((0..samples).map(|_| {
                    let odds = rng.u8(1..4);
                    (0..all).filter(|_| rng.u8(..4) < odds).collect::<BTreeSet<usize>>()
                }));
            }
            let cut = |kept| Cut { epoch: number, kept, torn: None };
            out.extend(sets.into_iter().map(cut));
            for (write, _) in epoch.writes.iter().enumerate().filter(|(_, w)| tears(&w.data)) {
                let at = rng.usize(1..epoch.writes[write].data.len() / SECTOR);
                for torn in [Torn::First(at), Torn::Rest(at)] {
                    let kept = (0..=write).collect();
                    out.push(Cut { epoch: number, kept, torn: Some(torn) });
                }
            }
        }
        out
    }

    /// The blocks of a disk that its base has not, and a hash of them; `None` where the log has no such cut.
    pub(crate) fn disk(&self, cut: &Cut) -> Option<(Blocks, u128)> {
        let mut over = Blocks::new();
        let epoch = self.epochs.get(cut.epoch)?;
        let mut put = |write: &Write, from: usize, to: usize| {
            let before = over.get(&write.block).or_else(|| self.base.get(&write.block));
            let block = patched(before, write.at + from, &write.data[from..to]);
            over.insert(write.block, block);
        };
        let durable = self.epochs[..cut.epoch].iter().flat_map(|epoch| &epoch.writes);
        durable.for_each(|write| put(write, 0, write.data.len()));
        let last = cut.kept.last().copied();
        for &number in &cut.kept {
            let write = epoch.writes.get(number)?;
            let (from, to) = match cut.torn.filter(|_| last == Some(number)) {
                None => (0, write.data.len()),
                Some(Torn::First(at)) => (0, at * SECTOR),
                Some(Torn::Rest(at)) => (at * SECTOR, write.data.len()),
            };
            if from > to || to > write.data.len() {
                return None;
            }
            put(write, from, to);
        }
        over.retain(|number, block| self.base.get(number) != Some(block));
        let hashes = over.iter().map(|(number, block)| {
            XxHash3_128::oneshot_with_seed(*number, &block[..]).to_le_bytes()
        });
        let hash = XxHash3_128::oneshot(&hashes.collect::<Vec<_>>().concat());
        Some((over, hash))
    }

    /// The stamps at which the power cut that leaves this disk may come: from the last of its writes on until
    /// the flush that ends the epoch.
    pub(crate) fn stamps(&self, cut: &Cut) -> BTreeSet<u64> {
        let Some(epoch) = self.epochs.get(cut.epoch) else { return BTreeSet::new() };
        let last = cut.kept.last().and_then(|last| epoch.writes.get(*last));
        let from = last.map_or(epoch.stamps[0], |write| write.stamp);
        epoch.stamps.iter().copied().filter(|stamp| *stamp >= from).collect()
    }
}

/// Disks that are the same but for when they may be left: by their hash.
pub(crate) type Distinct = BTreeMap<u128, (Cut, BTreeSet<u64>)>;

impl Log {
    /// The disks of some cuts, each once, with all stamps at which it may be left.
    pub(crate) fn distinct(&self, cuts: Vec<Cut>) -> Distinct {
        let mut out = Distinct::new();
        for cut in cuts {
            let (_, hash) = self.disk(&cut).expect("the log has its own cuts");
            let stamps = self.stamps(&cut);
            out.entry(hash).or_insert_with(|| (cut, BTreeSet::new())).1.extend(stamps);
        }
        out
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.epoch)?;
        let kept: Vec<usize> = self.kept.iter().copied().collect();
        let runs = kept.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
            [one] => one.to_string(),
            run => format!("{}-{}", run[0], run[run.len() - 1]),
        });
        f.write_str(&runs.collect::<Vec<_>>().join("+"))?;
        match self.torn {
            None => Ok(()),
            Some(Torn::First(at)) => write!(f, "t{at}"),
            Some(Torn::Rest(at)) => write!(f, "u{at}"),
        }
    }
}

impl FromStr for Cut {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no EPOCH.WRITES like `3.0-4+6`");
        let number = |text: &str| text.parse::<usize>().map_err(|_| bad());
        let (epoch, rest) = text.split_once('.').ok_or_else(bad)?;
        let at = rest.find(['t', 'u']);
        let torn = match at {
            None => None,
            Some(at) if rest[at..].starts_with('t') => Some(Torn::First(number(&rest[at + 1..])?)),
            Some(at) => Some(Torn::Rest(number(&rest[at + 1..])?)),
        };
        let mut kept = BTreeSet::new();
        for run in rest[..at.unwrap_or(rest.len())].split('+').filter(|run| !run.is_empty()) {
            let (from, to) = run.split_once('-').unwrap_or((run, run));
            kept.extend(number(from)?..=number(to)?);
        }
        Ok(Cut { epoch: number(epoch)?, kept, torn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(block: u64, byte: u8) -> Event {
        Event::Write { block, at: 0, data: Arc::from([byte; 4096]) }
    }

    fn log() -> Log {
        let events = [
            Event::Mark(1),
            write(1, 1),
            Event::Flush,
            write(1, 2),
            Event::Mark(2),
            write(2, 3),
            Event::Mark(3),
            Event::Flush,
            Event::Mark(4),
        ];
        Log::new(Arc::default(), &events)
    }

    #[test]
    fn what_was_flushed_is_on_every_later_disk_and_the_rest_in_any_part() {
        let log = log();
        let cuts: Vec<String> = log.cuts(0, 0, |_| false).iter().map(Cut::to_string).collect();
        assert_eq!(cuts, ["0.", "0.0", "1.", "1.0", "1.0-1", "1.1", "2."]);
        let disk = |cut: &str| {
            let (blocks, _) = log.disk(&cut.parse().unwrap()).unwrap();
            blocks.into_iter().map(|(number, block)| (number, block[0])).collect::<Vec<_>>()
        };
        assert_eq!(disk("0."), []);
        assert_eq!(disk("1."), [(1, 1)]);
        assert_eq!(disk("1.1"), [(1, 1), (2, 3)]);
        assert_eq!(disk("2."), [(1, 2), (2, 3)]);
        let (torn, _) = log.disk(&"1.0t2".parse().unwrap()).unwrap();
        assert_eq!((torn[&1][1023], torn[&1][1024]), (2, 1));
        assert!(log.disk(&"1.7".parse().unwrap()).is_none());
    }

    #[test]
    fn a_disk_may_be_left_from_its_last_write_until_the_next_flush() {
        let log = log();
        let stamps = |cut: &str| log.stamps(&cut.parse().unwrap()).into_iter().collect::<Vec<_>>();
        assert_eq!(stamps("0."), [0, 1]);
        assert_eq!(stamps("0.0"), [1]);
        assert_eq!(stamps("1.0"), [1, 2, 3]);
        assert_eq!(stamps("1.1"), [2, 3]);
        assert_eq!(stamps("2."), [3, 4]);
    }

    #[test]
    fn cuts_parse_as_they_print() {
        for text in ["0.", "3.0-4+6", "2.1", "4.0-2t3", "4.7u1"] {
            assert_eq!(text.parse::<Cut>().unwrap().to_string(), text);
        }
        for bad in ["", "3", "x.1", "1.a", "1.1t", "1.2-"] {
            assert!(bad.parse::<Cut>().is_err(), "{bad}");
        }
    }
}
