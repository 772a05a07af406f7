//! Transactions of LMDB, C code that is linked in, with its file mapped.

use std::fs::{self, File};
use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use heed::types::{Bytes, Str};
use heed::{Env, EnvOpenOptions};

use super::pairs::{self, Found};

fn open(root: &Path) -> heed::Result<Env> {
    // SAFETY: nobody else changes the files as long as they are mapped.
    unsafe { EnvOpenOptions::new().map_size(1 << 22).open(root.join("db")) }
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    fs::create_dir(root.join("db"))?;
    File::open(root)?.sync_all()?;
    for ids in pairs::ROUNDS {
        let env = open(root)?;
        // The entries of its files are the caller's to make durable.
        File::open(root.join("db"))?.sync_all()?;
        for id in ids {
            begin(id);
            let mut transaction = env.write_txn()?;
            let db = env.create_database::<Str, Bytes>(&mut transaction, None)?;
            for (key, value) in pairs::pair(id) {
                db.put(&mut transaction, &key, &value)?;
            }
            transaction.commit()?;
            ack(id);
        }
        env.prepare_for_closing().wait();
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    if marks.issued.is_empty() {
        return Ok(());
    }
    let env = open(root)?;
    let transaction = env.read_txn()?;
    let mut found = Found::new();
    if let Some(db) = env.open_database::<Str, Bytes>(&transaction, None)? {
        for entry in db.iter(&transaction)? {
            let (key, value) = entry?;
            found.insert(key.to_string(), value.to_vec());
        }
    }
    pairs::compare(found, marks)
}
