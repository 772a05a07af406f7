//! A log that recovery folds into a data file, with one mistake in how it answers an error, or none.

use std::io::{self, Write};

use faultfs::FaultFs;
use faultfs::verdict::Broken;

/// What the recovery does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// Nothing: the fixed twin.
    None,
    /// Nobody looks at what the sync of the data says, and the log goes.
    IgnoresSync,
    /// Data whose sync failed is written again, and then believed to be durable.
    SyncsTwice,
    /// A full disk is left to a later recovery, and the log goes.
    IgnoresFullDisk,
    /// A write is taken to have written everything.
    ShortWrite,
    /// What could not be renamed is written in the place of the old data, which is removed first.
    RemovesFirst,
}

/// Two records are folded in, and two more are in the log when the power goes at last.
pub(crate) fn workload(fs: &FaultFs) -> Result<(), Broken> {
    for id in 0..4 {
        if id == 2 {
            recover(fs, Bug::None)?;
        }
        fs.begin(id);
        let options = &mut faultfs::fs::OpenOptions::new();
        let mut log = fs.open_with("log", options.append(true).create(true))?;
        fs.sync_dir(".")?;
        log.write_all(&record(id))?;
        log.sync_data()?;
        fs.ack(id);
    }
    Ok(())
}

/// The records, after those of the log were made part of the data.
pub(crate) fn recover(fs: &FaultFs, bug: Bug) -> io::Result<Vec<u64>> {
    let mut ids = ids(fs, "data")?;
    let new = self::ids(fs, "log")?;
    if new.is_empty() {
        return Ok(ids);
    }
    let known = ids.len();
    ids.extend(new.into_iter().filter(|id| *id >= known as u64));
    let all: Vec<u8> = ids.iter().flat_map(|id| record(*id)).collect();
    save(fs, &all, bug)?;
    match fs.rename("data.new", "data") {
        Err(_) if bug == Bug::RemovesFirst => {
            fs.remove_file("data")?;
            fs.write("data", &all)?;
            fs.open("data")?.sync_all()?;
        }
        renamed => renamed?,
    }
    fs.sync_dir(".")?;
    fs.remove_file("log")?;
    fs.sync_dir(".")?;
    Ok(ids)
}

fn save(fs: &FaultFs, all: &[u8], bug: Bug) -> io::Result<()> {
    let mut file = fs.create("data.new")?;
    let written = match bug {
        Bug::ShortWrite => file.write(all).map(drop),
        _ => file.write_all(all),
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::StorageFull && bug == Bug::IgnoresFullDisk => {
        }
        written => written?,
    }
    match (file.sync_all(), bug) {
        (Err(_), Bug::IgnoresSync) => Ok(()),
        (Err(_), Bug::SyncsTwice) => {
            let mut file = fs.create("data.new")?;
            file.write_all(all)?;
            let _ = file.sync_all();
            Ok(())
        }
        (synced, _) => synced,
    }
}

/// The ids of the whole records at the front of a file; none where it is not there.
fn ids(fs: &FaultFs, name: &str) -> io::Result<Vec<u64>> {
    let bytes = match fs.read(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        bytes => bytes?,
    };
    let records = bytes.as_chunks().0.iter().map(|record: &[u8; 16]| {
        let (id, sum) = record.split_at(8);
        let id = u64::from_le_bytes(id.try_into().expect("eight bytes"));
        (sum == (!id).to_le_bytes()).then_some(id)
    });
    Ok(records.map_while(|id| id).collect())
}

fn record(id: u64) -> [u8; 16] {
    let (id, sum) = (id.to_le_bytes(), (!id).to_le_bytes());
    std::array::from_fn(|at| if at < 8 { id[at] } else { sum[at - 8] })
}
