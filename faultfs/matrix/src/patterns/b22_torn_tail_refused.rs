//! B22: a torn last record makes opening fail, where it was never acknowledged (25 of the 60 bugs
//! of ALICE).

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;
use faultfs::verdict::Broken;

use crate::Pattern;
use crate::kit::{Done, Twin, append_records, payload, read, records};

pub(crate) const PATTERN: Pattern =
    Pattern { id: "B22", name: "a torn tail is refused", run, check, dies: |_| true };

fn run(fs: &FaultFs, _: Twin) -> Done {
    append_records(fs, 5000)
}

fn check(fs: &FaultFs, twin: Twin, marks: &Marks) -> Done {
    let bytes = read(fs, "log");
    let found = records(&bytes);
    let whole = found.iter().map(|record| record.len() + 8).sum::<usize>();
    if twin.planted() && whole < bytes.len() {
        return Err(Broken::unopenable(format!("no record at byte {whole} of {}", bytes.len())));
    }
    Log::of(|id| payload(id, 5000)).check(&found, marks)
}
