//! B19: records are synced together, the kernel writes them back in any order, and recovery reads
//! on behind one that is missing (RocksDB issue 12489).

use faultfs::FaultFs;
use faultfs::model::Kept;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, PAGE, Twin, durable, frame, page, payload, put_page, read, unframe};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B19",
    name: "a hole in the log",
    run,
    check,
    dies: |profile| profile.order != Kept::Everything,
};

fn run(fs: &FaultFs, _: Twin) -> Done {
    let log = durable(fs, "log", &[0; 6 * PAGE])?;
    for group in [1..=3, 4..=6] {
        for id in group.clone() {
            fs.begin(id);
            put_page(&log, id - 1, &frame(&payload(id, 900)))?;
        }
        log.sync_data()?;
        group.for_each(|id| fs.ack(id));
    }
    Ok(())
}

fn check(fs: &FaultFs, twin: Twin, marks: &Marks) -> Done {
    let bytes = read(fs, "log");
    let slots = (0..6).map(|index| page(&bytes, index).and_then(unframe));
    let found: Vec<Vec<u8>> = match twin {
        Twin::Planted => slots.flatten().map(|(record, _)| record.to_vec()).collect(),
        Twin::Fixed => slots.map_while(|slot| Some(slot?.0.to_vec())).collect(),
    };
    Log::of(|id| payload(id, 900)).check(&found, marks)
}
