//! B01: a new version gets its name before its content is durable (LevelDB issue 74: a CURRENT of
//! zeros).

use std::io::Write;

use faultfs::FaultFs;
use faultfs::oracle::Replaced;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, orders_appends, payload, promise, publish};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B01",
    name: "renamed before it is synced",
    run,
    check,
    dies: |profile| !profile.process_only && !profile.safe_rename && !orders_appends(profile),
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    promise(fs, 1, || publish(fs, "file", &payload(1, 600)))?;
    for id in 2..=3 {
        promise(fs, id, || {
            let mut new = fs.create("file.new")?;
            new.write_all(&payload(id, 600))?;
            if !twin.planted() {
                new.sync_all()?;
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
