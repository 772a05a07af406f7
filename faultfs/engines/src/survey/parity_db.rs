//! Commits to one ordered column. Its documentation promises a consistent state after any interruption, and
//! nothing of what the threads behind a commit have not saved yet; closing waits for them.

use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use parity_db::{Db, Options};

use super::pairs::{self, Found};

fn open(root: &Path) -> parity_db::Result<Db> {
    let mut options = Options::with_columns(&root.join("db"), 1);
    options.columns[0].btree_index = true;
    options.salt = Some([7; 32]);
    Db::open_or_create(&options)
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    for ids in pairs::ROUNDS {
        let db = open(root)?;
        for id in ids.clone() {
            begin(id);
            db.commit(pairs::pair(id).map(|(key, value)| (0, key.into_bytes(), Some(value))))?;
        }
        drop(db);
        for id in ids {
            ack(id);
        }
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    let db = open(root)?;
    let mut entries = db.iter(0)?;
    let mut found = Found::new();
    entries.seek_to_first()?;
    while let Some((key, value)) = entries.next()? {
        found.insert(String::from_utf8_lossy(&key).into_owned(), value);
    }
    drop(entries);
    pairs::compare(found, marks)
}
