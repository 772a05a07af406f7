//! Commits that make the database's file grow.

use std::fs::File;
use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("table");

fn value(id: u64) -> Vec<u8> {
    vec![id as u8; 150_000]
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    let db = Database::create(root.join("db"))?;
    // The entry of the one file is the caller's to make durable.
    File::open(root)?.sync_all()?;
    for id in 0..5 {
        begin(id);
        let transaction = db.begin_write()?;
        transaction.open_table(TABLE)?.insert(id, &*value(id))?;
        transaction.commit()?;
        ack(id);
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    if marks.acked.is_empty() {
        return Ok(());
    }
    let db = Database::create(root.join("db"))?;
    let table = db.begin_read()?.open_table(TABLE);
    let mut found = Vec::new();
    for entry in table.map_err(|error| Broken::lost(error.to_string()))?.iter()? {
        let (id, bytes) = entry?;
        if bytes.value() != value(id.value()) {
            return Err(Broken::corrupt(format!("the value of {}", id.value())));
        }
        found.push(id.value());
    }
    crate::all_there(&found, marks)
}
