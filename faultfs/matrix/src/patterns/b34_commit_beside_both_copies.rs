//! B34: a record goes to two files, so that one may be lost, and the number of the last record to a third; no
//! sync comes in between, and the number arrives while both copies do not. What the sync before a commit
//! record is for, of which a mirror takes the place.

use std::io::Write;
use std::os::unix::fs::FileExt;

use faultfs::FaultFs;
use faultfs::model::Kept;
use faultfs::oracle::Log;
use faultfs::trace::Marks;
use faultfs::verdict::Broken;

use crate::Pattern;
use crate::kit::{Done, Twin, durable, frame, number, payload, promise, read, records, unframe};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B34",
    name: "a commit beside both copies of its data",
    run,
    check,
    dies: |profile| profile.order != Kept::Everything,
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    let mut copies = [durable(fs, "a", b"")?, durable(fs, "b", b"")?];
    let commit = durable(fs, "commit", &frame(&payload(0, 8)))?;
    for id in 1..=3 {
        promise(fs, id, || {
            copies.iter_mut().try_for_each(|copy| copy.write_all(&frame(&payload(id, 300))))?;
            if !twin.planted() {
                copies.iter().try_for_each(|copy| copy.sync_data())?;
            }
            commit.write_all_at(&frame(&payload(id, 8)), 0)?;
            copies.iter().chain([&commit]).try_for_each(|file| file.sync_data())
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let committed = unframe(&read(fs, "commit")).map_or(0, |(id, _)| number(&id[..4]) as usize);
    let copies = ["a", "b"].map(|name| records(&read(fs, name)));
    let mut found = Vec::new();
    for index in 0..committed {
        let record = copies.iter().find_map(|copy| copy.get(index));
        let neither = || Broken::corrupt(format!("record {} is committed, and gone", index + 1));
        found.push(record.ok_or_else(neither)?.clone());
    }
    Log::of(|id| payload(id, 300)).check(&found, marks)
}
