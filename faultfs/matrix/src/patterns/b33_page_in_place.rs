//! B33: a page is overwritten where it stands, and its old content is nowhere else (PostgreSQL with
//! full_page_writes off, InnoDB without its double-write buffer).

use faultfs::FaultFs;
use faultfs::oracle::Replaced;
use faultfs::trace::Marks;
use faultfs::verdict::Broken;

use crate::Pattern;
use crate::kit::{Done, PAGE, Twin, durable, frame, payload, promise, put_page, read, unframe};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B33",
    name: "a page is overwritten in place",
    run,
    check,
    dies: |profile| profile.torn_pages,
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    let data = durable(fs, "data", &frame(&payload(1, PAGE - 8)))?;
    let buffer = durable(fs, "buffer", &[0; PAGE])?;
    fs.ack(1);
    for id in 2..=3 {
        promise(fs, id, || {
            let content = frame(&payload(id, PAGE - 8));
            if !twin.planted() {
                put_page(&buffer, 0, &content)?;
                buffer.sync_data()?;
            }
            put_page(&data, 0, &content)?;
            data.sync_data()
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let (data, buffer) = (read(fs, "data"), read(fs, "buffer"));
    match unframe(&data).or(unframe(&buffer)) {
        Some(_) if marks.issued.is_empty() => Ok(()),
        Some((found, _)) => {
            Replaced::of(|id| payload(id, PAGE - 8)).check(Some(found.to_vec()), marks)
        }
        None if marks.acked.is_empty() => Ok(()),
        None => Err(Broken::corrupt("the page has a wrong checksum")),
    }
}
