//! The sweep on planted engines: each mistake of the corpus in how errors and bad media are met is found, by
//! the fault that shows it, and the fixed twin holds under every fault that there is.

#[path = "sweep/cells.rs"]
mod cells;
#[path = "sweep/counted.rs"]
mod counted;
#[path = "sweep/expect.rs"]
mod expect;
#[path = "sweep/files.rs"]
mod files;
#[path = "sweep/log.rs"]
mod log;
#[path = "sweep/manifest.rs"]
mod manifest;
#[path = "sweep/patterns.rs"]
mod patterns;

use std::io;

use faultfs::fs::{File, OpenOptions};
use faultfs::report::Report;
use faultfs::sweep::Group;
use faultfs::trace::Mark;
use faultfs::{FaultFs, sweep};
use files::Files;

impl Files for FaultFs {
    type File = File;
    fn open(&self, name: &str) -> io::Result<File> {
        FaultFs::open(self, name)
    }
    fn open_or_create(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OpenOptions::new().read(true).write(true).create(true))
    }
    fn create_new(&self, name: &str) -> io::Result<File> {
        FaultFs::create_new(self, name)
    }
    fn exists(&self, name: &str) -> io::Result<bool> {
        FaultFs::exists(self, name)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.remove_file(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        FaultFs::rename(self, from, to)
    }
    fn sync_dir(&self) -> io::Result<()> {
        FaultFs::sync_dir(self, ".")
    }
    fn mark(&self, mark: Mark) {
        match mark {
            Mark::Begin(id) => self.begin(id),
            Mark::Ack(id) => self.ack(id),
            Mark::Failed(id) => self.failed(id),
        }
    }
}

fn of_log(bug: log::Bug, groups: &[Group]) -> Option<Report> {
    let run = sweep(|fs| log::workload(fs, bug)).faults(groups.iter().copied()).crash_points(6);
    run.reports(|fs, marks| log::check(fs, marks, bug)).unwrap().pop()
}

fn of_cells(bug: cells::Bug, groups: &[Group]) -> Option<Report> {
    let run = sweep(|fs| cells::workload(fs, bug)).faults(groups.iter().copied());
    run.reports(|fs, marks| cells::check(fs, marks, bug)).unwrap().pop()
}

fn of_counted(bug: counted::Bug, groups: &[Group]) -> Option<Report> {
    let run = sweep(|fs| counted::workload(fs, bug)).faults(groups.iter().copied());
    run.reports(|fs, marks| counted::check(fs, marks, bug)).unwrap().pop()
}

fn of_manifest(bug: manifest::Bug, groups: &[Group]) -> Option<Report> {
    let run = sweep(|fs| manifest::workload(fs, bug)).faults(groups.iter().copied());
    run.reports(|fs, marks| manifest::check(fs, marks, bug)).unwrap().pop()
}
