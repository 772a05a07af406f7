//! Recording in a test: one session a process, so one test a file.

use std::path::{Path, PathBuf};

use faultfs::op::Op;
use faultfs::trace::Trace;
use faultfs_interpose::{Options, Session, decode, snapshot, verify};
use tempfile::TempDir;

/// A root and a log that go away with it.
pub(crate) struct Recording {
    #[expect(dead_code, reason = "kept for its drop")]
    folder: TempDir,
    pub(crate) root: PathBuf,
    pub(crate) log: PathBuf,
}

impl Recording {
    pub(crate) fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    pub(crate) fn new_in(folder: &Path) -> Self {
        let folder = tempfile::tempdir_in(folder).unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        Self { log: folder.path().join("log"), root, folder }
    }

    pub(crate) fn options(&self, trap: bool) -> Options<'_> {
        Options { trap, seed: 7, ..Options::new(&self.root, &self.log) }
    }

    /// Records what `workload` does below the root.
    #[allow(dead_code, reason = "not every test records without faults")]
    pub(crate) fn record(&self, trap: bool, workload: impl FnOnce(&Path)) -> Trace {
        let base = snapshot(&self.root).unwrap();
        let session = Session::start(&self.options(trap)).unwrap();
        workload(&self.root);
        session.finish();
        decode(&self.log, base, "test").unwrap()
    }

    /// As `record`; the trace must hold everything and lead to what is in the folder.
    #[allow(dead_code, reason = "not every test records without faults")]
    pub(crate) fn record_whole(&self, trap: bool, workload: impl FnOnce(&Path)) -> Trace {
        let trace = self.record(trap, workload);
        assert_eq!(trace.unmodelled, [""; 0]);
        assert_eq!(verify(&trace, &self.root).unwrap(), None);
        trace
    }
}

/// The operations in words: each with the path of what it is about.
pub(crate) fn words(trace: &Trace) -> Vec<String> {
    trace.ops.iter().map(|record| word(trace, &record.op)).collect()
}

fn word(trace: &Trace, op: &Op) -> String {
    let at = |slot: &faultfs::op::Slot| match trace.path_of(slot.dir).as_str() {
        "." => slot.name.to_string(),
        dir => format!("{dir}/{}", slot.name),
    };
    let about = match op {
        Op::Create { slot, .. } | Op::Unlink { slot } | Op::Link { slot, .. } => at(slot),
        Op::Rename { from, to, .. } => format!("{} {}", at(from), at(to)),
        Op::Write { ino, offset, data, .. } | Op::MapStore { ino, offset, data, .. } => {
            format!("{} {offset}+{}", trace.path_of(*ino), data.len())
        }
        Op::SetLen { ino, len } => format!("{} {len}", trace.path_of(*ino)),
        Op::Zero { ino, offset, len } => format!("{} {offset}+{len}", trace.path_of(*ino)),
        Op::SetMode { ino, mode } => format!("{} {mode:o}", trace.path_of(*ino)),
        Op::Sync { ino, .. } | Op::SyncMap { ino, .. } | Op::StartWriteback { ino } => {
            trace.path_of(*ino)
        }
        Op::CreateUnnamed { .. } => "-".into(),
        Op::SyncAll => "-".into(),
    };
    format!("{} {about}", op.word())
}
