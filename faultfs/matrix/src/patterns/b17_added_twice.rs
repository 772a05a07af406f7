//! B17: recovery adds the log to the data and then empties the log; where the power goes in between, the next
//! recovery adds it again (recoveries that are not idempotent: commonware issues 4260 and 4294, sled issue
//! 851).

use std::os::unix::fs::FileExt;

use faultfs::FaultFs;
use faultfs::oracle::Replaced;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{
    Done, Twin, append_records, durable, existing, frame, number, read, records, unframe,
};

pub(crate) const PATTERN: Pattern =
    Pattern { id: "B17", name: "recovery adds the log twice", run, check, dies: |_| true };

fn run(fs: &FaultFs, _: Twin) -> Done {
    durable(fs, "data", &data(0, 0))?;
    append_records(fs, 8)
}

/// The sum of all records, and the last record in it, in one sector.
fn data(sum: u32, last: u32) -> Vec<u8> {
    frame(&[sum, last].map(u32::to_le_bytes).concat())
}

fn check(fs: &FaultFs, twin: Twin, marks: &Marks) -> Done {
    let (Some(file), Some(log)) = (existing(fs, "data")?, existing(fs, "log")?) else {
        return Replaced::of(|id| id).check(None, marks);
    };
    let content = read(fs, "data");
    let Some((fields, _)) = unframe(&content) else {
        return Replaced::of(|id| id).check(None, marks);
    };
    let (mut sum, mut last) = (number(&fields[..4]), number(&fields[4..]));
    for record in records(&read(fs, "log")) {
        let id = number(&record[..4]);
        if twin.planted() || id > last {
            (sum, last) = (sum + id, id);
        }
    }
    file.write_all_at(&data(sum, last), 0)?;
    file.sync_data()?;
    log.set_len(0)?;
    log.sync_data()?;
    let of_all = |id: u64| (id * (id + 1) / 2) as u32;
    Replaced::of(of_all).check((sum > 0).then_some(sum), marks)
}
