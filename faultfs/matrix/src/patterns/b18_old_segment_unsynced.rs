//! B18: a log goes on in a new segment, which is synced; the old one is not (YugabyteDB issue 3490,
//! badger issue 153).

use std::io::Write;

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, durable, frame, orders_appends, payload, read, records};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B18",
    name: "the old segment is left unsynced",
    run,
    check,
    dies: |profile| !profile.process_only && !orders_appends(profile),
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    let mut old = durable(fs, "log.1", b"")?;
    let mut new = durable(fs, "log.2", b"")?;
    fs.begin(1);
    old.write_all(&frame(&payload(1, 300)))?;
    if !twin.planted() {
        old.sync_data()?;
    }
    fs.begin(2);
    new.write_all(&frame(&payload(2, 300)))?;
    new.sync_data()?;
    fs.ack(1);
    fs.ack(2);
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let mut found = records(&read(fs, "log.1"));
    if !found.is_empty() {
        found.extend(records(&read(fs, "log.2")));
    }
    Log::of(|id| payload(id, 300)).check(&found, marks)
}
