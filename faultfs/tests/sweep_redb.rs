//! redb through its `StorageBackend`, unmodified: every single fault at every call of a run that creates a
//! database, commits, comes back after errors, and opens it again.
//!
//! `cargo test -p faultfs --features redb --test sweep_redb -- --nocapture`
#![cfg(feature = "redb")]

use std::collections::BTreeMap;

use faultfs::FaultFs;
use faultfs::fs::OpenOptions;
use faultfs::report::Report;
use faultfs::sweep;
use faultfs::sweep::Group;
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
const FILE: &str = "app.redb";

fn open(fs: &FaultFs) -> Result<Database, Broken> {
    let file = fs.open_with(FILE, OpenOptions::new().read(true).write(true).create(true))?;
    fs.sync_dir(".")?;
    Ok(Database::builder().set_cache_size(1 << 20).create_with_backend(file)?)
}

fn value(id: u64) -> Vec<u8> {
    id.to_le_bytes().repeat(50)
}

fn put(db: &Database, id: u64) -> Result<(), Broken> {
    let transaction = db.begin_write()?;
    transaction.open_table(TABLE)?.insert(id, &value(id)[..])?;
    transaction.commit()?;
    Ok(())
}

fn read_all(db: &Database) -> Result<BTreeMap<u64, Vec<u8>>, Broken> {
    let transaction = db.begin_read()?;
    let table = match transaction.open_table(TABLE) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        table => table?,
    };
    let mut found = BTreeMap::new();
    for entry in table.iter()? {
        let (id, value) = entry?;
        found.insert(id.value(), value.value().to_vec());
    }
    Ok(found)
}

/// What was acknowledged is there, as it was written; nothing is there that nobody asked for.
fn compare(db: &Database, marks: &Marks) -> Result<(), Broken> {
    let found = read_all(db)?;
    if let Some(id) = marks.acked.iter().find(|id| !found.contains_key(id)) {
        return Err(Broken::lost(format!("record {id} was acknowledged")));
    }
    match found.iter().find(|(id, found)| !marks.issued.contains(id) || **found != value(**id)) {
        Some((id, found)) => Err(Broken::corrupt(format!("record {id} holds {found:?}"))),
        None => Ok(()),
    }
}

/// Two commits, each tried again on a database that is opened anew where it failed; then a restart.
fn workload(fs: &FaultFs) -> Result<(), Broken> {
    let mut marks = Marks::default();
    let mut db = open(fs)?;
    for id in 0..2 {
        fs.begin(id);
        marks.issued.insert(id);
        if put(&db, id).is_err() {
            drop(db);
            db = open(fs)?;
            compare(&db, &marks)?;
            put(&db, id)?;
        }
        fs.ack(id);
        marks.acked.insert(id);
    }
    drop(db);
    compare(&open(fs)?, &marks)
}

fn check(fs: &FaultFs, marks: &Marks) -> Result<(), Broken> {
    let mut db = open(fs)?;
    compare(&db, marks)?;
    match db.check_integrity() {
        Ok(_) => compare(&db, marks),
        Err(error) => Err(Broken::corrupt(format!("check_integrity: {error}"))),
    }
}

fn swept(groups: &[Group]) -> Option<Report> {
    let run = sweep(workload).faults(groups.iter().copied()).crash_points(2);
    let report = run.reports(check).unwrap().pop();
    report.iter().for_each(|report| println!("{report}"));
    report
}

#[test]
fn every_error_short_transfer_and_full_disk_leaves_what_was_acknowledged() {
    let Some(report) = swept(&[Group::Io, Group::NoSpace, Group::Short]) else { return };
    assert_eq!(report.verdict, Verdict::Held, "{report}");
}

#[test]
fn a_failed_sync_or_a_torn_write_and_then_a_power_cut_leave_what_was_acknowledged() {
    let Some(report) = swept(&[Group::Crash, Group::Fsync, Group::Torn]) else { return };
    assert_eq!(report.verdict, Verdict::Held, "{report}");
}
