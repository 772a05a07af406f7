//! B04: the old version is removed, then the new one renamed into place (LevelDB issue 195, HSQLDB:
//! ALICE).

use std::io::Write;

use faultfs::FaultFs;
use faultfs::oracle::Replaced;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, payload, promise};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B04",
    name: "the old one goes before the new one comes",
    run,
    check,
    dies: |_| true,
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    for id in 1..=3 {
        promise(fs, id, || {
            let mut new = fs.create("file.new")?;
            new.write_all(&payload(id, 600))?;
            new.sync_all()?;
            if twin.planted() && fs.exists("file")? {
                fs.remove_file("file")?;
            }
            fs.rename("file.new", "file")?;
            fs.sync_dir(".")
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    Replaced::of(|id| payload(id, 600)).check(fs.read("file").ok(), marks)
}
