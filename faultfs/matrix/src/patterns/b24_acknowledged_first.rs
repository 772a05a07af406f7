//! B24: a record is acknowledged when it is written, and synced later (NATS issue 7564, Redis with
//! appendfsync everysec).

use std::io::Write;

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, durable, frame, payload, promise, read, records};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B24",
    name: "acknowledged before the sync",
    run,
    check,
    dies: |profile| !profile.process_only,
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    let mut log = durable(fs, "log", b"")?;
    for id in 1..=3 {
        promise(fs, id, || {
            log.write_all(&frame(&payload(id, 300)))?;
            if twin.planted() { Ok(()) } else { log.sync_data() }
        })?;
        log.sync_data()?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    Log::of(|id| payload(id, 300)).check(&records(&read(fs, "log")), marks)
}
