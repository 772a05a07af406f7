//! Inserts, each flushed.

use std::fs::File;
use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use sled::{Config, Db};

const COUNT: u64 = 4;

fn value(id: u64) -> Vec<u8> {
    vec![id as u8; 2000]
}

fn open(root: &Path) -> sled::Result<Db> {
    Config::new().path(root.join("db")).flush_every_ms(None).open()
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    let db = open(root)?;
    // With the entries of its files out of the way, it is their data that is shown.
    File::open(root)?.sync_all()?;
    File::open(root.join("db"))?.sync_all()?;
    for id in 0..COUNT {
        begin(id);
        db.insert(id.to_be_bytes(), value(id))?;
        db.flush()?;
        ack(id);
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    if marks.acked.is_empty() {
        return Ok(());
    }
    let db = open(root)?;
    let mut found = Vec::new();
    for id in 0..COUNT {
        match db.get(id.to_be_bytes())? {
            Some(bytes) if *bytes != *value(id) => {
                return Err(Broken::corrupt(format!("the value of {id}")));
            }
            Some(_) => found.push(id),
            None => {}
        }
    }
    crate::all_there(&found, marks)
}
