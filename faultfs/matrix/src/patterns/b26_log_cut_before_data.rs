//! B26: a checkpoint writes the pages and empties the log; the pages were not synced (Turso issue
//! 4899).

use std::os::unix::fs::FileExt;

use faultfs::FaultFs;
use faultfs::model::Kept;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{
    Done, PAGE, Twin, durable, frame, page, payload, promise, put_page, read, records, unframe,
};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B26",
    name: "the log is cut before the data is synced",
    run,
    check,
    dies: |profile| profile.order != Kept::Everything || profile.intent_log,
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    let data = durable(fs, "data", &[0; 3 * PAGE])?;
    let log = durable(fs, "log", b"")?;
    for id in 1..=3 {
        promise(fs, id, || {
            log.write_all_at(&frame(&payload(id, 300)), 0)?;
            log.sync_data()
        })?;
        put_page(&data, id - 1, &frame(&payload(id, 300)))?;
        if !twin.planted() {
            data.sync_data()?;
        }
        log.set_len(0)?;
        log.sync_data()?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let data = read(fs, "data");
    let pages = (0..3).map_while(|index| page(&data, index).and_then(unframe));
    let mut found: Vec<Vec<u8>> = pages.map(|(record, _)| record.to_vec()).collect();
    found.extend(records(&read(fs, "log")));
    found.dedup();
    Log::of(|id| payload(id, 300)).check(&found, marks)
}
