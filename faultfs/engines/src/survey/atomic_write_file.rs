//! A file that is replaced. Its commit promises old or new, and says nothing of which: the folder's sync is the
//! caller's.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use atomic_write_file::AtomicWriteFile;
use faultfs::oracle::Replaced;
use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};

fn content(id: u64) -> Vec<u8> {
    id.to_le_bytes().repeat(1200)
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    for id in 1..=4 {
        begin(id);
        let mut file = AtomicWriteFile::open(root.join("file"))?;
        file.write_all(&content(id))?;
        file.commit()?;
        File::open(root)?.sync_all()?;
        ack(id);
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    let found = match fs::read(root.join("file")) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        found => Some(found?),
    };
    Replaced::of(content).check(found, marks)
}
