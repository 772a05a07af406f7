//! Patterns that a fault shows: a failed sync, a full disk, a short read, a rotten sector.
//!
//! Few engines, each with one bug at a time, so that the same fixed twin stands beside several of them.

pub mod cells;
pub mod compacted;
pub mod counted;
pub mod files;
pub mod log;
pub mod manifest;
pub mod strategies;

use faultfs::sweep::Group::{self, *};
use faultfs::trace::Marks;
use faultfs::verdict::Verdict;

use crate::kit::{Done, Twin};
use files::Files;

/// A bug in how an engine meets what goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// Its number in the corpus.
    pub id: &'static str,
    /// What is wrong, in a few words.
    pub name: &'static str,
    /// The engine, and its bug.
    pub bug: Bug,
    /// The families of faults that show it.
    pub shown_by: &'static [Group],
    /// How it fails.
    pub verdict: Verdict,
    /// A part of the text of a fault that shows it.
    pub fault: &'static str,
}

/// An engine with a bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each is named after its engine")]
pub enum Bug {
    Log(log::Bug),
    Counted(counted::Bug),
    Manifest(manifest::Bug),
    Cells(cells::Bug),
    Compacted(compacted::Bug),
}

impl Bug {
    /// The same engine without a bug.
    pub fn fixed(self) -> Bug {
        match self {
            Bug::Log(_) => Bug::Log(log::Bug::None),
            Bug::Counted(_) => Bug::Counted(counted::Bug::None),
            Bug::Manifest(_) => Bug::Manifest(manifest::Bug::None),
            Bug::Cells(_) => Bug::Cells(cells::Bug::None),
            Bug::Compacted(_) => Bug::Compacted(compacted::Bug::None),
        }
    }

    /// The families of faults under all of which the engine without a bug keeps its promises: against a
    /// medium that lies without a word only those with something to compare are safe.
    pub fn withstands(self) -> Vec<Group> {
        let beyond: &[Group] = match self {
            Bug::Cells(_) => &[],
            Bug::Counted(_) => &[Lost],
            Bug::Log(_) | Bug::Manifest(_) | Bug::Compacted(_) => &[BitRot, Lost],
        };
        Group::ALL.into_iter().filter(|group| !beyond.contains(group)).collect()
    }
}

impl Pattern {
    /// The engine of a twin.
    pub fn of(&self, twin: Twin) -> Bug {
        if twin.planted() { self.bug } else { self.bug.fixed() }
    }
}

/// Runs the engine; what it reads it compares with what it wrote.
pub fn run(fs: &impl Files, bug: Bug) -> Done {
    match bug {
        Bug::Log(bug) => log::workload(fs, bug),
        Bug::Counted(bug) => counted::workload(fs, bug),
        Bug::Manifest(bug) => manifest::workload(fs, bug),
        Bug::Cells(bug) => cells::workload(fs, bug),
        Bug::Compacted(bug) => compacted::workload(fs, bug),
    }
}

/// Recovers, and compares with what was promised.
pub fn check(fs: &impl Files, bug: Bug, marks: &Marks) -> Done {
    match bug {
        Bug::Log(bug) => log::check(fs, marks, bug),
        Bug::Counted(bug) => counted::check(fs, marks, bug),
        Bug::Manifest(bug) => manifest::check(fs, marks, bug),
        Bug::Cells(bug) => cells::check(fs, marks, bug),
        Bug::Compacted(bug) => compacted::check(fs, marks, bug),
    }
}

/// Every pattern, by its number. Each dies under every profile: where it takes a loss besides the fault, a page
/// cache that goes back to what the device has, as btrfs lets it, is one.
pub const ALL: [Pattern; 15] = [
    Pattern {
        id: "B15",
        name: "a bad record is the end of the log",
        bug: Bug::Counted(counted::Bug::EndsAtBad),
        shown_by: &[BitRot],
        verdict: Verdict::Lost,
        fault: "rot log",
    },
    Pattern {
        id: "B30",
        name: "memory goes on where the manifest failed",
        bug: Bug::Manifest(manifest::Bug::PurgesByMemory),
        shown_by: &[Io],
        verdict: Verdict::Unopenable,
        fault: "MANIFEST",
    },
    Pattern {
        id: "B39",
        name: "a failed sync is tried again and believed",
        bug: Bug::Log(log::Bug::SyncRetried),
        shown_by: &[Crash, Fsync],
        verdict: Verdict::Lost,
        fault: "take 1 -> fail",
    },
    Pattern {
        id: "B40",
        name: "what a sync says is not looked at",
        bug: Bug::Log(log::Bug::SyncIgnored),
        shown_by: &[Crash, Fsync],
        verdict: Verdict::Lost,
        fault: "sync",
    },
    Pattern {
        id: "B41",
        name: "a record that failed stays in the log",
        bug: Bug::Log(log::Bug::FailedStays),
        shown_by: &[Fsync],
        verdict: Verdict::Corrupt,
        fault: "sync",
    },
    Pattern {
        id: "B42",
        name: "it goes on behind pages of memory only",
        bug: Bug::Log(log::Bug::GoesOnAfterFailedSync),
        shown_by: &[Crash, Fsync],
        verdict: Verdict::Corrupt,
        fault: "sync",
    },
    Pattern {
        id: "B43",
        name: "a short write is taken for a whole one",
        bug: Bug::Log(log::Bug::ShortWrite),
        shown_by: &[Short],
        verdict: Verdict::Lost,
        fault: "-> short",
    },
    Pattern {
        id: "B44",
        name: "a short read is taken for the end",
        bug: Bug::Log(log::Bug::ShortRead),
        shown_by: &[Short],
        verdict: Verdict::Lost,
        fault: "read log",
    },
    Pattern {
        id: "B46",
        name: "a failed write leaves a hole",
        bug: Bug::Log(log::Bug::HoleAfterFailedWrite),
        shown_by: &[Io, Torn],
        verdict: Verdict::Lost,
        fault: "write log",
    },
    Pattern {
        id: "B47",
        name: "stuck after a full disk",
        bug: Bug::Log(log::Bug::StuckWithoutSpace),
        shown_by: &[NoSpace],
        verdict: Verdict::Unopenable,
        fault: "disk",
    },
    Pattern {
        id: "B50",
        name: "a good copy is not asked",
        bug: Bug::Cells(cells::Bug::OneCopy),
        shown_by: &[BitRot],
        verdict: Verdict::Lost,
        fault: "rot a",
    },
    Pattern {
        id: "B51",
        name: "a write that landed elsewhere is believed",
        bug: Bug::Cells(cells::Bug::NoPlace),
        shown_by: &[Lost],
        verdict: Verdict::Corrupt,
        fault: "-> misdirect",
    },
    Pattern {
        id: "B52",
        name: "a lost write is not noticed",
        bug: Bug::Cells(cells::Bug::NoGeneration),
        shown_by: &[Lost],
        verdict: Verdict::Corrupt,
        fault: "-> lose",
    },
    Pattern {
        id: "B53",
        name: "bad data is a panic",
        bug: Bug::Cells(cells::Bug::Panics),
        shown_by: &[BitRot],
        verdict: Verdict::Panicked,
        fault: "rot",
    },
    Pattern {
        id: "B55",
        name: "compaction cannot read what nobody needs",
        bug: Bug::Compacted(compacted::Bug::StopsAll),
        shown_by: &[Io],
        verdict: Verdict::Lost,
        fault: "read table-",
    },
];
