//! The kill matrix: bugs that storage engines had, each planted in an engine of some tens of lines beside its
//! fixed twin, and the ways of exploring crashes that find them or do not.
//!
//! The patterns and their numbers are those of a corpus of reported bugs: in [`patterns`] what a power cut shows,
//! or two of them, in [`faults`] what takes a fault (a failed sync, a full disk, a flipped bit), with a power
//! cut or without. B32 and B34, which take two losses at once, are what known designs guard against.
//!
//! Every pattern of the corpus that an engine can have is in one of the two; numbers that are missing are missing
//! there. Not among them are mistakes of kernels (a rename and an fsync that lose a file on btrfs or F2FS, files of
//! persistent-memory filesystems that cannot be read after a rename): an engine can do nothing about these, and
//! they belong to the models.
//!
//! `cargo run --release -p faultfs-matrix` prints the tables, `tests/verdicts.rs` and `tests/faults.rs` hold
//! them to what is expected; through the interposed door the patterns of faults are swept in that package.

#![forbid(unsafe_code)]

pub mod faults;
pub mod kit;
pub mod patterns;
pub mod strategies;

use faultfs::trace::Marks;
use faultfs::{FaultFs, Profile};

use kit::{Done, Twin};

/// A bug that a power cut shows, and its engine.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// Its number in the corpus.
    pub id: &'static str,
    /// What is wrong, in a few words.
    pub name: &'static str,
    /// Runs the engine.
    pub run: fn(&FaultFs, Twin) -> Done,
    /// Recovers, and compares with what was promised.
    pub check: fn(&FaultFs, Twin, &Marks) -> Done,
    /// The profiles under which the planted bug breaks a promise, by the switch that lets it.
    pub dies: fn(&Profile) -> bool,
}

impl Pattern {
    /// How deep crashes during recovery are looked at.
    pub(crate) fn recovery_crashes(&self) -> u32 {
        u32::from(patterns::SECOND_CRASH.contains(&self.id))
    }
}
