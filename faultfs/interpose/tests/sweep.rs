//! The planted engines of the kill matrix that a fault shows, on plain `std::fs`: each mistake in how errors and
//! bad media are met is found through the interposed door too, and the fixed twins hold under every fault
//! that they are to withstand.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;

use faultfs::report::{Failure, Report};
use faultfs::sweep::{Group, Sweep};
use faultfs::trace::Mark;
use faultfs_interpose::{Interposed, ack, begin, failed};
use faultfs_matrix::faults::files::Files;
use faultfs_matrix::faults::{ALL, Bug, check, run};

/// The engine's filesystem: a folder.
struct Folder(PathBuf);

impl Files for Folder {
    type File = File;
    fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.0.join(name))
    }
    fn open_or_create(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).open(self.0.join(name))
    }
    fn create_new(&self, name: &str) -> io::Result<File> {
        File::create_new(self.0.join(name))
    }
    fn exists(&self, name: &str) -> io::Result<bool> {
        fs::exists(self.0.join(name))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }
    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
    fn mark(&self, mark: Mark) {
        match mark {
            Mark::Begin(id) => begin(id),
            Mark::Ack(id) => ack(id),
            Mark::Failed(id) => failed(id),
        }
    }
}

/// None in a worker that was started for another sweep of the test.
fn swept(bug: Bug, groups: &[Group]) -> Option<Report> {
    let door = Interposed::new(|root| run(&Folder(root.into()), bug));
    let sweep = Sweep::new(door).faults(groups.iter().copied()).crash_points(6);
    sweep.reports(|root, marks| check(&Folder(root.into()), bug, marks)).unwrap().pop()
}

#[test]
fn every_planted_bug_is_found_by_its_fault() {
    for pattern in ALL {
        // The door has no disk that is too small.
        let Some(report) = swept(pattern.bug, pattern.shown_by) else { continue };
        let shows = |failure: &Failure| {
            let fault = failure.fault.as_deref().unwrap_or_default();
            failure.verdict == pattern.verdict && fault.contains(pattern.fault)
        };
        assert!(report.failures.iter().any(shows), "{}: {report}", pattern.id);
        assert_eq!(report.not_measured, [""; 0], "{}: {report}", pattern.id);
        // The line of the call that a failing sync was met by.
        let met =
            |failure: &&Failure| failure.fault.as_ref().is_some_and(|f| f.starts_with("sync "));
        for failure in report.failures.iter().filter(met) {
            let site = failure.fault_site.as_ref().and_then(|site| site.place());
            let ours = site.is_some_and(|(file, _)| file.contains("matrix/src/faults"));
            assert!(ours, "{}: {report}", pattern.id);
        }
    }
}

#[test]
fn every_fixed_twin_holds_under_every_fault_that_it_is_to_withstand() {
    let mut done: Vec<Bug> = Vec::new();
    for engine in ALL.map(|pattern| pattern.bug.fixed()) {
        if !done.contains(&engine) {
            done.push(engine);
            let Some(report) = swept(engine, &engine.withstands()) else { continue };
            assert!(report.held() && report.failures.is_empty(), "{report}");
        }
    }
}
