//! B27: a log starts over at its beginning, the frames of the round before stay behind, and nothing
//! tells them apart (SQLite's WAL-reset bug, Turso issue 7744).

use faultfs::FaultFs;
use faultfs::oracle::Replaced;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{
    Done, PAGE, Twin, durable, frame, number, page, payload, promise, put_page, read, unframe,
};

pub(crate) const PATTERN: Pattern =
    Pattern { id: "B27", name: "old frames behind the new ones", run, check, dies: |_| true };

fn run(fs: &FaultFs, twin: Twin) -> Done {
    let data = durable(fs, "data", &[0; 2 * PAGE])?;
    let log = durable(fs, "log", &[0; 4 * PAGE])?;
    for (round, ids) in [(1, 1..=3), (2, 4..=5)] {
        let salt = if twin.planted() { 0 } else { round };
        for (slot, id) in (0..).zip(ids.clone()) {
            promise(fs, id, || {
                put_page(&log, slot, &frame(&[payload(id, 16), payload(salt, 8)].concat()))?;
                log.sync_data()
            })?;
        }
        put_page(&data, round % 2, &frame(&payload(*ids.end(), 16)))?;
        data.sync_data()?;
    }
    Ok(())
}

/// The last frame of the round at the beginning of the log, or the newest of the data.
fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let (log, data) = (read(fs, "log"), read(fs, "data"));
    let slots = (0..4).map_while(|index| page(&log, index).and_then(unframe));
    let frames: Vec<(&[u8], &[u8])> = slots.map(|(record, _)| record.split_at(16)).collect();
    let round = frames.iter().take_while(|frame| frame.1 == frames[0].1).map(|frame| frame.0);
    let pages = (0..2).filter_map(|index| page(&data, index).and_then(unframe));
    let newest = pages.map(|(record, _)| record).max_by_key(|record| number(&record[..4]));
    let value = round.last().or(newest).map(|value| value.to_vec());
    Replaced::of(|id| payload(id, 16)).check(value, marks)
}
