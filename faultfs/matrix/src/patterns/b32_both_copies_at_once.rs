//! B32: a header has two copies, and both are overwritten before the first of them is synced: two pages that
//! tear together leave none. One that tears alone does no harm. This is what the two steps of a ZFS label
//! update are for (`vdev_config_sync`: the even labels, a sync, the odd labels).

use faultfs::FaultFs;
use faultfs::oracle::Replaced;
use faultfs::trace::Marks;
use faultfs::verdict::Broken;

use crate::Pattern;
use crate::kit::{Done, PAGE, Twin, durable, header, header_ends, page, promise, put_page, read};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B32",
    name: "both copies of a header at once",
    run,
    check,
    dies: |profile| profile.torn_pages,
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    let file = durable(fs, "db", &[0; 2 * PAGE])?;
    for id in 1..=3 {
        promise(fs, id, || {
            put_page(&file, 0, &header(id))?;
            if !twin.planted() {
                file.sync_data()?;
            }
            put_page(&file, 1, &header(id))?;
            file.sync_data()
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let file = read(fs, "db");
    let copies = (0..2).filter_map(|index| page(&file, index)).map(header_ends);
    let whole = copies.filter(|ends| ends[0] == ends[1]).map(|ends| ends[0]).max();
    if whole.is_none() && !marks.issued.is_empty() {
        return Err(Broken::corrupt("neither copy of the header is whole"));
    }
    Replaced::of(|id| id).check(whole.filter(|id| *id > 0), marks)
}
