//! Calls that C code makes and the standard library does not.

#![allow(unsafe_code, reason = "calls of C")]

mod calls;
mod common;

use common::Recording;

#[test]
fn every_way_of_changing_a_file_is_recorded() {
    let recording = Recording::new();
    calls::set_up(&recording.root);
    let outside = recording.log.with_file_name("elsewhere");
    std::fs::create_dir(&outside).unwrap();
    let trace = recording.record_whole(false, |root| calls::make(root, &outside));
    calls::compare(&trace);
}
