//! B11: recovery trusts the length of a record (LevelDB issue 251, Mercurial and HSQLDB: ALICE).

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, append_records, payload, read, unchecked};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B11",
    name: "records without a checksum",
    run,
    check,
    dies: |profile| profile.size_before_data || profile.size_within_block,
};

fn run(fs: &FaultFs, _: Twin) -> Done {
    append_records(fs, 5000)
}

fn check(fs: &FaultFs, twin: Twin, marks: &Marks) -> Done {
    let bytes = read(fs, "log");
    let (mut rest, mut found) = (&bytes[..], Vec::new());
    while let Some((record, crc, after)) = unchecked(rest) {
        let sound = twin.planted() || crc32fast::hash(record) == crc;
        if record.is_empty() || !sound {
            break;
        }
        found.push(record.to_vec());
        rest = after;
    }
    Log::of(|id| payload(id, 5000)).check(&found, marks)
}
