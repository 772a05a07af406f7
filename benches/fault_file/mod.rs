//! The files whose calls the benchmarks compare, all on a RAM-backed filesystem.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use faultfs::FaultFile;

/// Calls of one measurement.
pub(crate) const CALLS: usize = 1000;

/// What may go wrong with a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// Nothing: as production code has it. With the feature `faults` off there is no other.
    Unarmed,
    /// An injector without a rule.
    #[cfg(feature = "faults")]
    EmptyPlan,
    /// So many rules, each of which is about another path.
    #[cfg(feature = "faults")]
    Rules(usize),
}

/// A file of 4 KB a call, its cursor at the start.
pub(crate) fn bare() -> File {
    let mut file = tempfile::tempfile_in("/dev/shm").expect("a temporary file");
    file.write_all(&vec![7; 4096 * CALLS]).expect("room for 4 MB");
    file.seek(SeekFrom::Start(0)).expect("a file has a start");
    file
}

/// The same file in a `FaultFile`.
pub(crate) fn fault_file(state: State) -> FaultFile {
    match state {
        State::Unarmed => FaultFile::new(bare()),
        #[cfg(feature = "faults")]
        State::EmptyPlan => armed(0),
        #[cfg(feature = "faults")]
        State::Rules(count) => armed(count),
    }
}

#[cfg(feature = "faults")]
fn armed(count: usize) -> FaultFile {
    use faultfs::plan::{Plan, on};
    let rule = |i| on::any().path(&format!("other-{i}.wal")).fail(faultfs::errno::EIO).optional();
    let plan: Plan = (0..count).map(rule).collect();
    FaultFile::armed(bare(), &faultfs::Injector::new(plan), "1.wal")
}

/// The same in partial-io's wrappers, with nothing to inject: what they do is what `short` does.
pub(crate) mod partial {
    use super::{File, bare};
    use partial_io::{PartialRead, PartialWrite};

    /// For reads.
    pub(crate) fn read() -> PartialRead<File> {
        PartialRead::new(bare(), [])
    }

    /// For writes.
    pub(crate) fn write() -> PartialWrite<File> {
        PartialWrite::new(bare(), [])
    }
}
