//! Entries of two chunks, which recovery hands over one by one.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use okaywal::{Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};

use super::pairs::{self, Found};

/// Keeps what it is given, as the example of the crate prints it.
#[derive(Clone, Debug, Default)]
struct Keeper(Arc<Mutex<Found>>);

impl LogManager for Keeper {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        for chunk in entry.read_all_chunks()?.into_iter().flatten() {
            let half = char::from(*chunk.last().unwrap_or(&b'?'));
            let id = chunk.first_chunk().map_or(0, |id| u64::from_le_bytes(*id));
            self.0.lock().expect("no other thread panics").insert(format!("{half}{id}"), chunk);
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: EntryId,
        _: &mut SegmentReader,
        _: &WriteAheadLog,
    ) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    for ids in pairs::ROUNDS {
        let log = WriteAheadLog::recover(root.join("log"), Keeper::default())?;
        for id in ids {
            begin(id);
            let mut entry = log.begin_entry()?;
            for (_, value) in pairs::pair(id) {
                entry.write_chunk(&value)?;
            }
            entry.commit()?;
            ack(id);
        }
        log.shutdown()?;
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    let keeper = Keeper::default();
    let log = WriteAheadLog::recover(root.join("log"), keeper.clone())?;
    let found = std::mem::take(&mut *keeper.0.lock().expect("no other thread panics"));
    let compared = pairs::compare(found, marks);
    log.shutdown()?;
    compared
}
