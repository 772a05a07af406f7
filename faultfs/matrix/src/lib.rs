//! The kill matrix: bugs that storage engines had, each planted in an engine of some tens of lines beside its
//! fixed twin, and the ways of exploring crashes that find them or do not.
//!
//! The patterns and their numbers are those of a corpus of reported bugs, here those that a power cut shows, or
//! two of them; B32 and B34, which take two losses at once, are what known designs guard against. What needs
//! a fault (a failed sync, a full disk, a flipped bit) is swept: `faultfs/tests/sweep.rs`.
//!
//! `cargo run --release -p faultfs-matrix` prints the table, `tests/verdicts.rs` holds it to what is
//! expected.

#![forbid(unsafe_code)]

pub mod kit;
pub mod patterns;
pub mod strategies;

use faultfs::trace::Marks;
use faultfs::{FaultFs, Profile};

use kit::{Done, Twin};

/// A bug and its engine.
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
