//! Which faults show which mistake of the corpus; the same through every door, which makes the sweep of an
//! engine by `of_log`, `of_cells`, `of_counted` and `of_manifest`.

use faultfs::sweep::Group::{self, *};
use faultfs::verdict::Verdict;

use super::expect::{finds, holds};
use super::{cells, counted, log, manifest, of_cells, of_counted, of_log, of_manifest};

#[test]
fn a_log_that_answers_every_error_right_holds_under_every_fault() {
    let every: Vec<Group> =
        Group::ALL.into_iter().filter(|g| ![BitRot, Lost].contains(g)).collect();
    holds(of_log(log::Bug::None, &every));
}

#[test]
fn a_log_that_knows_its_length_holds_under_every_fault_and_all_rot() {
    let every: Vec<Group> = Group::ALL.into_iter().filter(|group| *group != Lost).collect();
    holds(of_counted(counted::Bug::None, &every));
}

#[test]
fn b15_a_bad_record_taken_for_the_end_is_found() {
    finds(of_counted(counted::Bug::EndsAtBad, &[BitRot]), Verdict::Lost, "rot log");
}

#[test]
fn a_store_whose_manifest_decides_holds_under_every_fault() {
    let every: Vec<Group> =
        Group::ALL.into_iter().filter(|g| ![BitRot, Lost].contains(g)).collect();
    holds(of_manifest(manifest::Bug::None, &every));
}

#[test]
fn b30_a_table_that_the_manifest_still_names_and_memory_does_not_is_found() {
    let report = of_manifest(manifest::Bug::PurgesByMemory, &[Io]);
    finds(report, Verdict::Unopenable, "MANIFEST");
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
fn b51_a_write_that_landed_elsewhere_is_found() {
    finds(of_cells(cells::Bug::NoPlace, &[Lost]), Verdict::Corrupt, "-> misdirect");
}

#[test]
fn b52_a_lost_write_behind_a_right_checksum_is_found() {
    finds(of_cells(cells::Bug::NoGeneration, &[Lost]), Verdict::Corrupt, "-> lose");
}

#[test]
fn b53_a_panic_on_bad_data_is_found() {
    finds(of_cells(cells::Bug::Panics, &[BitRot]), Verdict::Panicked, "rot");
}
