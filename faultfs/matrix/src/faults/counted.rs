//! A log whose length stands in a file of its own, with one planted mistake in how it meets a bad record, or
//! none.
//!
//! A record is one page. One that was counted must be whole; behind them a torn one is dropped, since nobody
//! was promised it. The count has two places, of which each new one takes the older.

use std::io;
use std::os::unix::fs::FileExt;

use faultfs::fs::Storage;
use faultfs::trace::Marks;
use faultfs::verdict::Broken;

use crate::faults::files::{self, Files};

/// What the engine does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Nothing: the fixed twin.
    None,
    /// B15: a bad record is the end of the log, whatever was counted.
    EndsAtBad,
}

const RECORD: usize = 4096;
const SLOT: usize = 512;

struct Counted<F: Files> {
    log: F::File,
    count: F::File,
    ids: Vec<u64>,
}

impl<F: Files> Counted<F> {
    fn open(fs: &F, bug: Bug) -> io::Result<Counted<F>> {
        let count = fs.open_or_create("count")?;
        let log = fs.open_or_create("log")?;
        fs.sync_dir()?;
        let slots = files::read_all(&count)?;
        let counted = match [0, SLOT].map(|at| number(slots.get(at..at + SLOT))) {
            [Slot::Empty, Slot::Empty] => 0,
            [Slot::Number(a), Slot::Number(b)] => a.max(b),
            [Slot::Number(only), _] | [_, Slot::Number(only)] => only,
            _ => return Err(io::Error::other("the count is not whole")),
        };
        let records = files::read_all(&log)?;
        let ids = records.chunks(RECORD).map_while(|record| match number(Some(record)) {
            Slot::Number(id) => Some(id),
            Slot::Empty | Slot::Bad => None,
        });
        let counted = counted as usize;
        let mut found = Counted { log, count, ids: ids.take(counted + 1).collect() };
        if found.ids.len() < counted && bug != Bug::EndsAtBad {
            let bad = found.ids.len();
            return Err(io::Error::other(format!("record {bad} of {counted} is not whole")));
        }
        // What memory holds behind the count need not be on the disk.
        match found.ids.get(counted).copied() {
            Some(last) => {
                found.ids.truncate(counted);
                found.put(last)?;
            }
            None => found.set_count()?,
        }
        Ok(found)
    }

    fn put(&mut self, id: u64) -> io::Result<()> {
        self.log.write_all_at(&block(id, RECORD), (self.ids.len() * RECORD) as u64)?;
        self.log.sync_data()?;
        self.ids.push(id);
        self.set_count()
    }

    fn set_count(&self) -> io::Result<()> {
        let count = self.ids.len();
        self.count.write_all_at(&block(count as u64, SLOT), (count % 2 * SLOT) as u64)?;
        self.count.sync_data()
    }
}

/// A number over and over, behind its checksum.
fn block(number: u64, len: usize) -> Vec<u8> {
    let body = number.to_le_bytes().repeat(len / 8 - 1);
    let mut block = u64::from(crc32fast::hash(&body)).to_le_bytes().to_vec();
    block.extend(body);
    block
}

enum Slot {
    Number(u64),
    /// Never written.
    Empty,
    Bad,
}

fn number(block: Option<&[u8]>) -> Slot {
    let Some((sum, body)) = block.and_then(|block| block.split_at_checked(8)) else {
        return Slot::Empty;
    };
    let sound = sum == u64::from(crc32fast::hash(body)).to_le_bytes();
    match body.first_chunk() {
        Some(number) if sound => Slot::Number(u64::from_le_bytes(*number)),
        _ if body.iter().chain(sum).all(|byte| *byte == 0) => Slot::Empty,
        _ => Slot::Bad,
    }
}

pub(crate) fn workload(fs: &impl Files, bug: Bug) -> Result<(), Broken> {
    files::three_records(fs, || Counted::open(fs, bug), Counted::put)
}

pub(crate) fn check(fs: &impl Files, marks: &Marks, bug: Bug) -> Result<(), Broken> {
    let ids = Counted::open(fs, bug)?.ids;
    files::compare(&ids, marks)
}
