//! Transactions on one index.

use std::fs::File;
use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use persy::{ByteVec, Config, Persy, ValueMode};

use super::pairs::{self, Found, unopenable};

const INDEX: &str = "index";

fn open(root: &Path) -> Result<Persy, Broken> {
    Persy::open(root.join("db"), Config::new()).map_err(unopenable)
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    Persy::create(root.join("db")).map_err(unopenable)?;
    // The entry of its one file is the caller's to make durable.
    File::open(root)?.sync_all()?;
    for ids in pairs::ROUNDS {
        let db = open(root)?;
        for id in ids {
            begin(id);
            put(&db, id)?;
            ack(id);
        }
    }
    Ok(())
}

fn put(db: &Persy, id: u64) -> Result<(), Broken> {
    let mut transaction = db.begin().map_err(unopenable)?;
    if !transaction.exists_index(INDEX).map_err(unopenable)? {
        let created = transaction.create_index::<String, ByteVec>(INDEX, ValueMode::Replace);
        created.map_err(unopenable)?;
    }
    for (key, value) in pairs::pair(id) {
        let put = transaction.put::<String, ByteVec>(INDEX, key, ByteVec::new(value));
        put.map_err(unopenable)?;
    }
    transaction.prepare().map_err(unopenable)?.commit().map_err(unopenable)
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    if marks.issued.is_empty() {
        return Ok(());
    }
    let db = open(root)?;
    let mut found = Found::new();
    if db.exists_index(INDEX).map_err(unopenable)? {
        for (key, values) in db.range::<String, ByteVec, _>(INDEX, ..).map_err(unopenable)? {
            found.extend(values.map(|value| (key.clone(), value.to_vec())));
        }
    }
    pairs::compare(found, marks)
}
