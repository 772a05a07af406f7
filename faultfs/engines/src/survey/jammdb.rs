//! Transactions on one bucket.

use std::fs::File;
use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use jammdb::DB;

use super::pairs::{self, Found, unopenable};

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    for ids in pairs::ROUNDS {
        let db = DB::open(root.join("db")).map_err(unopenable)?;
        // The entry of its one file is the caller's to make durable.
        File::open(root)?.sync_all()?;
        for id in ids {
            begin(id);
            put(&db, id).map_err(unopenable)?;
            ack(id);
        }
    }
    Ok(())
}

fn put(db: &DB, id: u64) -> Result<(), jammdb::Error> {
    let transaction = db.tx(true)?;
    let bucket = transaction.get_or_create_bucket("bucket")?;
    for (key, value) in pairs::pair(id) {
        bucket.put(key, value)?;
    }
    transaction.commit()
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    if marks.issued.is_empty() {
        return Ok(());
    }
    let db = DB::open(root.join("db")).map_err(unopenable)?;
    let transaction = db.tx(false).map_err(unopenable)?;
    let mut found = Found::new();
    if let Ok(bucket) = transaction.get_bucket("bucket") {
        for data in bucket.cursor() {
            let (key, value) = (data.kv().key().to_vec(), data.kv().value().to_vec());
            found.insert(String::from_utf8_lossy(&key).into_owned(), value);
        }
    }
    pairs::compare(found, marks)
}
