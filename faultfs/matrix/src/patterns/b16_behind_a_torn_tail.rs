//! B16: recovery leaves the torn tail of the log where it is and appends behind it; what it appends is lost
//! at the next crash (cqlite issue 1390).

use std::os::unix::fs::FileExt;

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, durable, existing, frame, payload, promise, read, records};

pub(crate) const PATTERN: Pattern =
    Pattern { id: "B16", name: "appended behind a torn tail", run, check, dies: |_| true };

/// One record, in two pages.
fn run(fs: &FaultFs, _: Twin) -> Done {
    let log = durable(fs, "log", b"")?;
    promise(fs, 1, || {
        log.write_all_at(&frame(&payload(1, 5000)), 0)?;
        log.sync_data()
    })
}

/// Recovers, and appends a record.
fn check(fs: &FaultFs, twin: Twin, marks: &Marks) -> Done {
    let Some(log) = existing(fs, "log")? else {
        return Log::of(|id| payload(id, 5000)).check(&[], marks);
    };
    let bytes = read(fs, "log");
    let found = records(&bytes);
    let mut end = found.iter().map(|record| record.len() as u64 + 8).sum();
    match twin {
        Twin::Planted => end = bytes.len() as u64,
        Twin::Fixed => log.set_len(end)?,
    }
    // What recovery did not find is not in the log, and never will be.
    let missing = marks.issued.iter().filter(|id| !marks.acked.contains(id));
    missing.filter(|id| !found.contains(&payload(**id, 5000))).for_each(|id| fs.failed(*id));
    let next = marks.issued.last().map_or(1, |last| last + 1);
    promise(fs, next, || {
        log.write_all_at(&frame(&payload(next, 5000)), end)?;
        log.sync_data()
    })?;
    Log::of(|id| payload(id, 5000)).check(&found, marks)
}
