//! The planted engines of the sweep on plain `std::fs`: each mistake in how errors and bad media are met is
//! found through the interposed door too, and the fixed twins hold under every fault that there is.

#[path = "../../tests/sweep/cells.rs"]
mod cells;
#[path = "../../tests/sweep/counted.rs"]
mod counted;
#[path = "../../tests/sweep/expect.rs"]
mod expect;
#[path = "../../tests/sweep/files.rs"]
mod files;
#[path = "../../tests/sweep/log.rs"]
mod log;
#[path = "../../tests/sweep/manifest.rs"]
mod manifest;
#[path = "../../tests/sweep/patterns.rs"]
mod patterns;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;

use faultfs::report::Report;
use faultfs::sweep::{Group, Sweep};
use faultfs::trace::Mark;
use faultfs_interpose::{Interposed, ack, begin, failed};
use files::Files;

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

fn of_log(bug: log::Bug, groups: &[Group]) -> Option<Report> {
    let door = Interposed::new(|root| log::workload(&Folder(root.into()), bug));
    let run = Sweep::new(door).faults(groups.iter().copied()).crash_points(6);
    run.reports(|root, marks| log::check(&Folder(root.into()), marks, bug)).unwrap().pop()
}

fn of_cells(bug: cells::Bug, groups: &[Group]) -> Option<Report> {
    let door = Interposed::new(|root| cells::workload(&Folder(root.into()), bug));
    let run = Sweep::new(door).faults(groups.iter().copied());
    run.reports(|root, marks| cells::check(&Folder(root.into()), marks, bug)).unwrap().pop()
}

fn of_counted(bug: counted::Bug, groups: &[Group]) -> Option<Report> {
    let door = Interposed::new(|root| counted::workload(&Folder(root.into()), bug));
    let run = Sweep::new(door).faults(groups.iter().copied());
    run.reports(|root, marks| counted::check(&Folder(root.into()), marks, bug)).unwrap().pop()
}

fn of_manifest(bug: manifest::Bug, groups: &[Group]) -> Option<Report> {
    let door = Interposed::new(|root| manifest::workload(&Folder(root.into()), bug));
    let run = Sweep::new(door).faults(groups.iter().copied());
    run.reports(|root, marks| manifest::check(&Folder(root.into()), marks, bug)).unwrap().pop()
}
