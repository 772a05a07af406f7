//! Memtables flushed to tables that a manifest lists.

use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use lsm_tree::{AbstractTree, Config};

const COUNT: u64 = 4;

fn value(id: u64) -> Vec<u8> {
    vec![id as u8; 3000]
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    let tree = Config::new(root.join("db")).open()?;
    for id in 0..COUNT {
        begin(id);
        tree.insert(id.to_be_bytes(), value(id), id);
        tree.flush_active_memtable(0)?;
        ack(id);
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    if marks.acked.is_empty() {
        return Ok(());
    }
    let tree = Config::new(root.join("db")).open()?;
    let mut found = Vec::new();
    for id in 0..COUNT {
        match tree.get(id.to_be_bytes(), None)? {
            Some(bytes) if *bytes != *value(id) => {
                return Err(Broken::corrupt(format!("the value of {id}")));
            }
            Some(_) => found.push(id),
            None => {}
        }
    }
    crate::all_there(&found, marks)
}
