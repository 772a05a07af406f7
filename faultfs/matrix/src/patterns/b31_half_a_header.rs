//! B31: a header with two fields in different sectors is overwritten in place (bbolt issue 567).

use faultfs::FaultFs;
use faultfs::oracle::Replaced;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, PAGE, Twin, durable, header, header_ends, page, promise, put_page, read};

pub(crate) const PATTERN: Pattern =
    Pattern { id: "B31", name: "half a header", run, check, dies: |profile| profile.torn_pages };

fn run(fs: &FaultFs, twin: Twin) -> Done {
    let file = durable(fs, "db", &[0; 2 * PAGE])?;
    for id in 1..=3 {
        promise(fs, id, || {
            // The fixed engine has two headers and writes them in turn.
            let slot = if twin.planted() { 0 } else { id % 2 };
            put_page(&file, slot, &header(id))?;
            file.sync_data()
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, twin: Twin, marks: &Marks) -> Done {
    let file = read(fs, "db");
    let fields = |index| page(&file, index).map(header_ends);
    let whole = |fields: &[u64; 2]| fields[0] == fields[1];
    let found = match twin {
        Twin::Planted => fields(0),
        Twin::Fixed => [fields(0), fields(1)].into_iter().flatten().filter(whole).max(),
    };
    // Before the first promise anything may be there.
    let found = found.filter(|fields| *fields != [0, 0] && !marks.issued.is_empty());
    Replaced::of(|id| [id, id]).check(found, marks)
}
