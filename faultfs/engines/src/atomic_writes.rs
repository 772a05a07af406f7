//! A file replaced by `AtomicFile`, again and again.

use std::io::Write;
use std::path::Path;

use atomicwrites::{AtomicFile, OverwriteBehavior::AllowOverwrite};
use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};

fn content(id: u64) -> Vec<u8> {
    vec![b'a' + id as u8; 6000]
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    for id in 0..4 {
        begin(id);
        let file = AtomicFile::new(root.join("file"), AllowOverwrite);
        let written = file.write(|file| file.write_all(&content(id)));
        written.map_err(|error| Broken::unopenable(format!("{error:?}")))?;
        ack(id);
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    let Some(last) = marks.acked.last() else { return Ok(()) };
    let found = std::fs::read(root.join("file")).unwrap_or_default();
    match marks.issued.range(last..).any(|id| found == content(*id)) {
        true => Ok(()),
        false => {
            Err(Broken::lost(format!("{} bytes, none or part of what was written", found.len())))
        }
    }
}
