//! B06: a file is replaced by truncating and writing it (ALICE table 1, "O_TRUNC append").

use std::io::Write;

use faultfs::FaultFs;
use faultfs::oracle::Replaced;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, payload, promise, publish};

pub(crate) const PATTERN: Pattern =
    Pattern { id: "B06", name: "replaced in place", run, check, dies: |_| true };

fn run(fs: &FaultFs, twin: Twin) -> Done {
    for id in 1..=3 {
        promise(fs, id, || {
            if !twin.planted() {
                return publish(fs, "file", &payload(id, 600));
            }
            let mut file = fs.create("file")?;
            file.write_all(&payload(id, 600))?;
            file.sync_all()?;
            fs.sync_dir(".")
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    Replaced::of(|id| payload(id, 600)).check(fs.read("file").ok(), marks)
}
