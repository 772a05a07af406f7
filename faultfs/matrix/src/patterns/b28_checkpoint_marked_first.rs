//! B28: what a checkpoint has taken over is written down, synced, before the pages are (DuckDB
//! issue 24260).

use std::io::Write;

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{
    Done, PAGE, Twin, durable, frame, number, page, payload, promise, publish, put_page, read,
    records, unframe,
};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B28",
    name: "the checkpoint is marked before it is made",
    run,
    check,
    dies: |_| true,
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    let data = durable(fs, "data", &[0; 3 * PAGE])?;
    let mut log = durable(fs, "log", b"")?;
    publish(fs, "marker", &payload(0, 8))?;
    for id in 1..=3 {
        promise(fs, id, || {
            log.write_all(&frame(&payload(id, 300)))?;
            log.sync_data()
        })?;
        if twin.planted() {
            publish(fs, "marker", &payload(id, 8))?;
        }
        put_page(&data, id - 1, &frame(&payload(id, 300)))?;
        data.sync_data()?;
        if !twin.planted() {
            publish(fs, "marker", &payload(id, 8))?;
        }
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let (marker, data) = (read(fs, "marker"), read(fs, "data"));
    let taken_over = marker.get(..4).map_or(0, |bytes| number(bytes) as usize);
    let pages = (0..taken_over).map_while(|index| page(&data, index).and_then(unframe));
    let mut found: Vec<Vec<u8>> = pages.map(|(record, _)| record.to_vec()).collect();
    found.extend(records(&read(fs, "log")).into_iter().skip(taken_over));
    Log::of(|id| payload(id, 300)).check(&found, marks)
}
