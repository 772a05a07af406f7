//! B13: a checksum of nothing is 0, so eight zeros are an empty record (etcd issue 11488).

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, append_records, payload, read, unchecked};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B13",
    name: "zeros are a record",
    run,
    check,
    dies: |profile| profile.size_before_data || profile.size_within_block,
};

fn run(fs: &FaultFs, _: Twin) -> Done {
    append_records(fs, 300)
}

fn check(fs: &FaultFs, twin: Twin, marks: &Marks) -> Done {
    let bytes = read(fs, "log");
    let (mut rest, mut found) = (&bytes[..], Vec::new());
    while let Some((record, crc, after)) = unchecked(rest) {
        let refused = !twin.planted() && record.is_empty();
        if refused || crc32fast::hash(record) != crc {
            break;
        }
        found.push(record.to_vec());
        rest = after;
    }
    Log::of(|id| payload(id, 300)).check(&found, marks)
}
