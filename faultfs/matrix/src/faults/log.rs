//! A log with one planted mistake in how it answers errors, or none.
//!
//! A record is one page: length, checksum, payload. Opening writes what was recovered into a new log and
//! puts that in the place of the old one: what lies in memory after a failed sync need not be on the disk.

use std::io;
use std::os::unix::fs::FileExt;

use faultfs::fs::Storage;
use faultfs::trace::{Mark, Marks};
use faultfs::verdict::Broken;

use crate::faults::files::{Files, compare};

/// What the engine does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Nothing: the fixed twin.
    None,
    /// B39: a sync that failed is tried again, and the second one is believed.
    SyncRetried,
    /// B40: nobody looks at what a sync says.
    SyncIgnored,
    /// B41: a record whose sync failed is reported as failed, and stays in the log.
    FailedStays,
    /// B42: after a failed sync the log goes on behind pages that only memory has.
    GoesOnAfterFailedSync,
    /// B43: a write is taken to have written everything.
    ShortWrite,
    /// B44: a read that returns less than asked is taken for the end of the file.
    ShortRead,
    /// B46: a failed write moves the end of the log.
    HoleAfterFailedWrite,
    /// B47: what a compaction without space leaves is in the way of the next.
    StuckWithoutSpace,
}

const RECORD: usize = 4096;
const LOG: &str = "log";
const NEW: &str = "log.new";

/// Why a record was not acknowledged.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is not in the log, and never will be.
    Failed,
    /// It may turn up: the log takes no more.
    Unknown(io::Error),
}

pub(crate) struct Log<F: Files> {
    file: F::File,
    len: u64,
    bug: Bug,
}

impl<F: Files> Log<F> {
    pub(crate) fn open(fs: &F, bug: Bug) -> io::Result<(Log<F>, Vec<u64>)> {
        let mut bytes = match fs.open(LOG) {
            Ok(old) => read_all(&old, bug)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let ids = parse(&bytes);
        bytes.truncate(ids.len() * RECORD);
        if bug != Bug::StuckWithoutSpace && fs.exists(NEW)? {
            fs.remove(NEW)?;
        }
        let file = fs.create_new(NEW)?;
        write_all(&file, &bytes, 0, bug)?;
        file.sync_all()?;
        fs.rename(NEW, LOG)?;
        fs.sync_dir()?;
        Ok((Log { file, len: bytes.len() as u64, bug }, ids))
    }

    pub(crate) fn put(&mut self, id: u64) -> Result<(), Refused> {
        let written = write_all(&self.file, &record(id), self.len, self.bug);
        if self.bug == Bug::HoleAfterFailedWrite && written.is_err() {
            self.len += RECORD as u64;
            return Err(Refused::Failed);
        }
        let synced = written.and_then(|()| match (self.bug, self.file.sync_data()) {
            (Bug::SyncRetried, Err(_)) => self.file.sync_data(),
            (Bug::SyncIgnored, _) => Ok(()),
            (_, synced) => synced,
        });
        match synced {
            Ok(()) => self.len += RECORD as u64,
            Err(_) if self.bug == Bug::FailedStays => {
                self.len += RECORD as u64;
                return Err(Refused::Failed);
            }
            Err(_) if self.bug == Bug::GoesOnAfterFailedSync => self.len += RECORD as u64,
            Err(_) => return Err(self.take_back()),
        }
        match synced {
            Ok(()) => Ok(()),
            // Whoever asked is told, and the log goes on.
            Err(_) => Err(Refused::Failed),
        }
    }

    /// Cuts off a record that could not be made durable.
    fn take_back(&self) -> Refused {
        match self.file.set_len(self.len).and_then(|()| self.file.sync_all()) {
            Ok(()) => Refused::Failed,
            Err(error) => Refused::Unknown(error),
        }
    }
}

fn read_all(file: &impl FileExt, bug: Bug) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; RECORD];
        let count = loop {
            match file.read_at(&mut chunk, bytes.len() as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        bytes.extend_from_slice(&chunk[..count]);
        let is_end = if bug == Bug::ShortRead { count < RECORD } else { count == 0 };
        if is_end {
            return Ok(bytes);
        }
    }
}

fn write_all(file: &impl FileExt, bytes: &[u8], offset: u64, bug: Bug) -> io::Result<()> {
    match bug {
        Bug::ShortWrite => file.write_at(bytes, offset).map(drop),
        _ => file.write_all_at(bytes, offset),
    }
}

fn payload(id: u64) -> Vec<u8> {
    id.to_le_bytes().repeat((RECORD - 8) / 8)
}

fn record(id: u64) -> Vec<u8> {
    let payload = payload(id);
    let mut record = (payload.len() as u32).to_le_bytes().to_vec();
    record.extend(crc32fast::hash(&payload).to_le_bytes());
    record.extend(payload);
    record
}

/// The ids of the whole records at the front.
fn parse(bytes: &[u8]) -> Vec<u64> {
    let whole = |record: &&[u8]| {
        let (header, payload) = record.split_at(8);
        header[4..] == crc32fast::hash(payload).to_le_bytes()
            && header[..4] == (payload.len() as u32).to_le_bytes()
    };
    let records = bytes.chunks_exact(RECORD).take_while(whole);
    records.map(|record| u64::from_le_bytes(record[8..16].try_into().unwrap())).collect()
}

/// Three records, with a restart after the second.
pub(crate) fn workload(fs: &impl Files, bug: Bug) -> Result<(), Broken> {
    let mut marks = Marks::default();
    let (mut log, _) = Log::open(fs, bug)?;
    for id in 0..2 {
        put(fs, &mut log, id, &mut marks)?;
    }
    drop(log);
    let (mut log, ids) = Log::open(fs, bug)?;
    compare(&ids, &marks)?;
    put(fs, &mut log, 2, &mut marks)
}

fn put<F: Files>(fs: &F, log: &mut Log<F>, id: u64, marks: &mut Marks) -> Result<(), Broken> {
    fs.mark(Mark::Begin(id));
    marks.issued.insert(id);
    match log.put(id) {
        Ok(()) => {
            fs.mark(Mark::Ack(id));
            marks.acked.insert(id);
        }
        Err(Refused::Failed) => {
            fs.mark(Mark::Failed(id));
            marks.failed.insert(id);
        }
        Err(Refused::Unknown(error)) => return Err(error.into()),
    }
    Ok(())
}

pub(crate) fn check(fs: &impl Files, marks: &Marks, bug: Bug) -> Result<(), Broken> {
    let (_, ids) = Log::open(fs, bug)?;
    compare(&ids, marks)
}
