//! Transactions, each followed by a sync of the log.

use std::fs::{self, File};
use std::path::Path;

use canopydb::{Database, DbOptions, EnvOptions};
use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};

use super::pairs::{self, Found};

fn open(root: &Path) -> Result<Database, Broken> {
    let mut options = EnvOptions::new(root.join("db"));
    // Nothing is synced but where the workload says so.
    options.wal_background_sync_interval = None;
    Ok(Database::with_options(options, DbOptions::default())?)
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    fs::create_dir(root.join("db"))?;
    File::open(root)?.sync_all()?;
    for ids in pairs::ROUNDS {
        let db = open(root)?;
        for id in ids {
            begin(id);
            let transaction = db.begin_write()?;
            let mut tree = transaction.get_or_create_tree(b"tree")?;
            for (key, value) in pairs::pair(id) {
                tree.insert(key.as_bytes(), &value)?;
            }
            drop(tree);
            transaction.commit()?;
            db.sync()?;
            ack(id);
        }
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    if marks.issued.is_empty() {
        return Ok(());
    }
    let db = open(root)?;
    let transaction = db.begin_read()?;
    let mut found = Found::new();
    if let Some(tree) = transaction.get_tree(b"tree")? {
        for entry in tree.iter()? {
            let (key, value) = entry?;
            found.insert(String::from_utf8_lossy(&key).into_owned(), value.to_vec());
        }
    }
    pairs::compare(found, marks)
}
