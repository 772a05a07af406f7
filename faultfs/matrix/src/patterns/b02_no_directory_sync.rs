//! B02: a version is renamed into place and acknowledged, and nobody syncs the directory (RocksDB
//! issue 10573).

use std::io::Write;

use faultfs::FaultFs;
use faultfs::oracle::Replaced;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, payload, promise};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B02",
    name: "no directory sync after the rename",
    run,
    check,
    dies: |profile| !profile.process_only,
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    for id in 1..=3 {
        promise(fs, id, || {
            let mut new = fs.create("file.new")?;
            new.write_all(&payload(id, 600))?;
            new.sync_all()?;
            fs.rename("file.new", "file")?;
            if twin.planted() { Ok(()) } else { fs.sync_dir(".") }
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    Replaced::of(|id| payload(id, 600)).check(fs.read("file").ok(), marks)
}
