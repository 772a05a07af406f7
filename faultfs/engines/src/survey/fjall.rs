//! Batches, each followed by a sync of the journal.

use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::pairs::{self, Found};

fn open(root: &Path) -> fjall::Result<(Database, Keyspace)> {
    let db = Database::builder(root.join("db")).open()?;
    let keyspace = db.keyspace("keyspace", KeyspaceCreateOptions::default)?;
    Ok((db, keyspace))
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    for ids in pairs::ROUNDS {
        let (db, keyspace) = open(root)?;
        for id in ids {
            begin(id);
            let mut batch = db.batch();
            for (key, value) in pairs::pair(id) {
                batch.insert(&keyspace, key, value);
            }
            batch.commit()?;
            db.persist(PersistMode::SyncAll)?;
            ack(id);
        }
        keyspace.rotate_memtable_and_wait()?;
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    let (_db, keyspace) = open(root)?;
    let mut found = Found::new();
    for entry in keyspace.iter() {
        let (key, value) = entry.into_inner()?;
        found.insert(String::from_utf8_lossy(&key).into_owned(), value.to_vec());
    }
    pairs::compare(found, marks)
}
