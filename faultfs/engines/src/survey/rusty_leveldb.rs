//! Batches that are written with `sync`.

use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use rusty_leveldb::{DB, LdbIterator, Options, Status, WriteBatch};

use super::pairs::{self, Found};

fn open(root: &Path) -> Result<DB, Status> {
    DB::open(root.join("db"), Options::default())
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    for ids in pairs::ROUNDS {
        let mut db = open(root)?;
        for id in ids {
            begin(id);
            let mut batch = WriteBatch::default();
            for (key, value) in pairs::pair(id) {
                batch.put(key.as_bytes(), &value);
            }
            db.write(batch, true)?;
            ack(id);
        }
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    if marks.issued.is_empty() {
        return Ok(());
    }
    let mut db = open(root)?;
    let mut found = Found::new();
    let mut entries = db.new_iter()?;
    while let Some((key, value)) = entries.next() {
        found.insert(String::from_utf8_lossy(&key).into_owned(), value.to_vec());
    }
    pairs::compare(found, marks)
}
