//! B35: a file has grown and its pages are not there yet; recovery takes a page of zeros for an
//! empty one (bbolt, etcd 3.4.25).

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, PAGE, Twin, durable, frame, payload, promise, put_page, read, unframe};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B35",
    name: "zeros are a page",
    run,
    check,
    dies: |profile| profile.size_before_data,
};

fn run(fs: &FaultFs, _: Twin) -> Done {
    let data = durable(fs, "data", b"")?;
    for id in 1..=3 {
        promise(fs, id, || {
            put_page(&data, id - 1, &frame(&payload(id, 300)))?;
            data.sync_data()
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, twin: Twin, marks: &Marks) -> Done {
    let mut found = Vec::new();
    for page in read(fs, "data").chunks_exact(PAGE) {
        match unframe(page) {
            Some((record, _)) => found.push(record.to_vec()),
            None if twin.planted() && page.iter().all(|byte| *byte == 0) => found.push(Vec::new()),
            None => break,
        }
    }
    Log::of(|id| payload(id, 300)).check(&found, marks)
}
