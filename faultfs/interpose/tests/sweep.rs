//! The planted engines of the sweep on plain `std::fs`: each mistake in how errors and bad media are met is
//! found through the interposed door too, and the fixed twins hold under every fault that there is.

#[path = "../../tests/sweep/cells.rs"]
mod cells;
#[path = "../../tests/sweep/expect.rs"]
mod expect;
#[path = "../../tests/sweep/files.rs"]
mod files;
#[path = "../../tests/sweep/log.rs"]
mod log;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;

use expect::{finds, holds};
use faultfs::report::Report;
use faultfs::sweep::{Group, Sweep};
use faultfs::trace::Mark;
use faultfs::verdict::Verdict;
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

use Group::*;

#[test]
fn a_log_that_answers_every_error_right_holds_under_every_fault() {
    let every: Vec<Group> =
        Group::ALL.into_iter().filter(|g| ![BitRot, Lost].contains(g)).collect();
    holds(of_log(log::Bug::None, &every));
}

#[test]
fn b39_a_failed_sync_that_is_retried_and_believed_is_found() {
    finds(of_log(log::Bug::SyncRetried, &[Crash, Fsync]), Verdict::Lost, "take 1 -> fail");
}

#[test]
fn b40_an_ignored_sync_error_is_found() {
    finds(of_log(log::Bug::SyncIgnored, &[Crash, Fsync]), Verdict::Lost, "sync");
}

#[test]
fn b41_a_failed_record_that_turns_up_later_is_found() {
    finds(of_log(log::Bug::FailedStays, &[Fsync]), Verdict::Corrupt, "sync");
}

#[test]
fn b42_pages_that_only_memory_has_below_an_acknowledged_record_are_found() {
    finds(of_log(log::Bug::GoesOnAfterFailedSync, &[Crash, Fsync]), Verdict::Corrupt, "sync");
}

#[test]
fn b43_a_short_write_taken_for_a_whole_one_is_found() {
    finds(of_log(log::Bug::ShortWrite, &[Short]), Verdict::Lost, "-> short");
}

#[test]
fn b44_a_short_read_taken_for_the_end_is_found() {
    finds(of_log(log::Bug::ShortRead, &[Short]), Verdict::Lost, "read log");
}

#[test]
fn b46_a_hole_behind_a_failed_write_is_found() {
    finds(of_log(log::Bug::HoleAfterFailedWrite, &[Io, Torn]), Verdict::Lost, "write log");
}

#[test]
fn b47_a_compaction_without_space_that_blocks_the_next_is_found() {
    finds(of_log(log::Bug::StuckWithoutSpace, &[NoSpace]), Verdict::Unopenable, "disk");
}

#[test]
fn cells_with_two_copies_hold_under_every_fault_and_all_rot() {
    holds(of_cells(cells::Bug::None, &Group::ALL));
}

#[test]
fn b50_a_good_copy_that_is_not_asked_is_found() {
    finds(of_cells(cells::Bug::OneCopy, &[BitRot]), Verdict::Lost, "rot a");
}

#[test]
fn b53_a_panic_on_bad_data_is_found() {
    finds(of_cells(cells::Bug::Panics, &[BitRot]), Verdict::Panicked, "rot");
}

#[test]
fn b51_a_write_that_landed_elsewhere_is_found() {
    finds(of_cells(cells::Bug::NoPlace, &[Lost]), Verdict::Corrupt, "-> misdirect");
}

#[test]
fn b52_a_lost_write_behind_a_right_checksum_is_found() {
    finds(of_cells(cells::Bug::NoGeneration, &[Lost]), Verdict::Corrupt, "-> lose");
}
