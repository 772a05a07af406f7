//! B14: recovery makes room for as many bytes as a header says, before it looks at anything else;
//! the header was never written.

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;
use faultfs::verdict::Broken;

use crate::Pattern;
use crate::kit::{Done, Twin, append_records, number, payload, read};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B14",
    name: "a length without a limit",
    run,
    check,
    dies: |profile| profile.stale_bytes && profile.size_before_data,
};

fn run(fs: &FaultFs, _: Twin) -> Done {
    append_records(fs, 4088)
}

/// What an engine of this size can ask for.
const MEMORY: usize = 1 << 20;

fn check(fs: &FaultFs, twin: Twin, marks: &Marks) -> Done {
    let bytes = read(fs, "log");
    let (mut rest, mut found) = (&bytes[..], Vec::new());
    while let Some((header, body)) = rest.split_at_checked(8) {
        let len = number(&header[..4]) as usize;
        if twin.planted() && len > MEMORY {
            return Err(Broken::unopenable(format!("no memory for a record of {len} bytes")));
        }
        let Some((record, after)) = body.split_at_checked(len) else { break };
        if record.is_empty() || crc32fast::hash(record) != number(&header[4..]) {
            break;
        }
        found.push(record.to_vec());
        rest = after;
    }
    Log::of(|id| payload(id, 4088)).check(&found, marks)
}
