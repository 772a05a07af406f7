//! B16: the tail that an earlier crash tore stays where it is, and what is appended behind it is
//! lost at the next crash (cqlite issue 1390). The first crash is part of the workload.

use std::os::unix::fs::FileExt;

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, durable, frame, payload, promise, read, records};

pub(crate) const PATTERN: Pattern =
    Pattern { id: "B16", name: "appended behind a torn tail", run, check, dies: |_| true };

fn run(fs: &FaultFs, twin: Twin) -> Done {
    let mut content = frame(&payload(1, 300));
    let end = content.len() as u64;
    content.extend(&frame(&payload(2, 300))[..200]);
    let log = durable(fs, "log", &content)?;
    fs.ack(1);
    let mut at = content.len() as u64;
    if !twin.planted() {
        log.set_len(end)?;
        log.sync_all()?;
        at = end;
    }
    for id in 2..=3 {
        promise(fs, id, || {
            let record = frame(&payload(id, 300));
            log.write_all_at(&record, at)?;
            at += record.len() as u64;
            log.sync_data()
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let found = records(&read(fs, "log"));
    match marks.issued.is_empty() {
        true => Ok(()),
        false => Log::of(|id| payload(id, 300)).check(&found, marks),
    }
}
