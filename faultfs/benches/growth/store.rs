//! A small key-value store over `FaultFs`, as engines are built: puts are appended to a log and synced in
//! groups, a group is acknowledged when its sync has ended, and every so often a table takes the place of the
//! log. What recovery reads is bounded by the table and one log, however long the store has run.

use std::collections::BTreeMap;
use std::io::{self, Write};

use faultfs::FaultFs;
use faultfs::fs::File;
use faultfs::trace::Marks;
use faultfs::verdict::Broken;

/// Keys, which are put in turn.
const KEYS: u64 = 32;
/// Bytes of a value.
const VALUE: usize = 200;
/// Puts in a log, until a table takes its place.
const LOG: u64 = 64;

/// Puts `ops` values, of which up to `window` wait for a sync; returns how many bytes were written.
pub(crate) fn run(fs: &FaultFs, ops: u64, window: u64) -> Result<u64, Broken> {
    let mut store = Store::create(fs)?;
    for first in (1..=ops).step_by(window as usize) {
        let group = first..(first + window).min(ops + 1);
        for id in group.clone() {
            fs.begin(id);
            store.put(id)?;
        }
        store.log.sync_data()?;
        group.for_each(|id| fs.ack(id));
        if store.last - store.in_table >= LOG {
            store.checkpoint()?;
        }
    }
    Ok(store.written)
}

struct Store<'a> {
    fs: &'a FaultFs,
    log: File,
    values: BTreeMap<u64, u64>,
    /// The last put, and the last one that the table holds.
    last: u64,
    in_table: u64,
    written: u64,
}

impl<'a> Store<'a> {
    fn create(fs: &'a FaultFs) -> io::Result<Self> {
        let log = fs.create(log_after(0))?;
        fs.sync_dir(".")?;
        Ok(Store { fs, log, values: BTreeMap::new(), last: 0, in_table: 0, written: 0 })
    }

    fn put(&mut self, id: u64) -> io::Result<()> {
        self.written += write(&mut self.log, &frame(&record(id)))?;
        self.values.insert(id % KEYS, id);
        self.last = id;
        Ok(())
    }

    /// The table has its log's name in it, so that both change in one rename.
    fn checkpoint(&mut self) -> io::Result<()> {
        let old = log_after(self.in_table);
        self.in_table = self.last;
        self.log = self.fs.create(log_after(self.in_table))?;
        let records = self.values.values().flat_map(|id| record(*id));
        let table: Vec<u8> = self.in_table.to_le_bytes().into_iter().chain(records).collect();
        let mut new = self.fs.create("table.new")?;
        self.written += write(&mut new, &frame(&table))?;
        new.sync_all()?;
        // The entry of the log, before the table names it.
        self.fs.sync_dir(".")?;
        self.fs.rename("table.new", "table")?;
        self.fs.sync_dir(".")?;
        self.fs.remove_file(old)
    }
}

/// The log of the puts that follow those in a table.
fn log_after(in_table: u64) -> String {
    format!("{in_table}.log")
}

fn write(file: &mut File, bytes: &[u8]) -> io::Result<u64> {
    file.write_all(bytes)?;
    Ok(bytes.len() as u64)
}

/// Recovers, and compares what is there with what was promised.
pub(crate) fn check(fs: &FaultFs, marks: &Marks) -> Result<(), Broken> {
    let table = match fs.exists("table")? {
        true => fs.read("table")?,
        false => frame(&0u64.to_le_bytes()),
    };
    let (table, _) = unframe(&table).ok_or_else(|| Broken::corrupt("the table"))?;
    let (in_table, records) = table.split_at(8);
    let mut found: BTreeMap<u64, u64> =
        records.chunks(VALUE).map(id_of).map(|id| (id % KEYS, id)).collect();
    let mut last = id_of(in_table);
    let log = match fs.read(log_after(last)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && marks.acked.is_empty() => vec![],
        log => log?,
    };
    let mut rest = &log[..];
    while let Some((record, behind)) = unframe(rest) {
        last += 1;
        if id_of(record) != last {
            return Err(Broken::corrupt(format!("record {last} of the log")));
        }
        found.insert(last % KEYS, last);
        rest = behind;
    }
    // What `oracle::KeyValue` says, without playing all puts again each time: a key is put every `KEYS` puts.
    let expected = (last.saturating_sub(KEYS) + 1..=last).map(|id| (id % KEYS, id)).collect();
    let (acked, issued) =
        [&marks.acked, &marks.issued].map(|ids| ids.last().map_or(0, |id| *id)).into();
    match () {
        () if found != expected => Err(Broken::corrupt(format!("no first {last} puts: {found:?}"))),
        () if last < acked => {
            Err(Broken::lost(format!("{acked} was acknowledged, there are {last}")))
        }
        () if last > issued => Err(Broken::corrupt(format!("{last} was never asked for"))),
        () => Ok(()),
    }
}

/// The number of a put, which tells its key, as often as it fits into a value.
fn record(id: u64) -> Vec<u8> {
    id.to_le_bytes().repeat(VALUE / 8)
}

fn id_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// Length, checksum, payload.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_le_bytes().to_vec();
    frame.extend(crc32fast::hash(payload).to_le_bytes());
    frame.extend(payload);
    frame
}

fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (len, crc) = (number(0)? as usize, number(4)?);
    let (payload, rest) = bytes[8..].split_at_checked(len)?;
    (len > 0 && crc32fast::hash(payload) == crc).then_some((payload, rest))
}
