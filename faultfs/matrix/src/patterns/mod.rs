//! One file a pattern: the engine with the bug and, beside it, the one without.

mod b01_rename_before_sync;
mod b02_no_directory_sync;
mod b03_table_without_entry;
mod b04_unlink_first;
mod b06_truncated_first;
mod b07_the_wrong_directory;
mod b08_folder_without_entry;
mod b11_no_checksum;
mod b13_zeros_are_a_record;
mod b14_length_without_limit;
mod b16_behind_a_torn_tail;
mod b17_added_twice;
mod b18_old_segment_unsynced;
mod b19_hole_in_the_log;
mod b21_half_a_batch;
mod b22_torn_tail_refused;
mod b24_acknowledged_first;
mod b26_log_cut_before_data;
mod b27_old_frames;
mod b28_checkpoint_marked_first;
mod b29_manifest_before_table;
mod b31_half_a_header;
mod b32_both_copies_at_once;
mod b33_page_in_place;
mod b34_commit_beside_both_copies;
mod b35_zeros_are_a_page;

use crate::Pattern;

/// Every pattern, by its number.
pub const ALL: [Pattern; 26] = [
    b01_rename_before_sync::PATTERN,
    b02_no_directory_sync::PATTERN,
    b03_table_without_entry::PATTERN,
    b04_unlink_first::PATTERN,
    b06_truncated_first::PATTERN,
    b07_the_wrong_directory::PATTERN,
    b08_folder_without_entry::PATTERN,
    b11_no_checksum::PATTERN,
    b13_zeros_are_a_record::PATTERN,
    b14_length_without_limit::PATTERN,
    b16_behind_a_torn_tail::PATTERN,
    b17_added_twice::PATTERN,
    b18_old_segment_unsynced::PATTERN,
    b19_hole_in_the_log::PATTERN,
    b21_half_a_batch::PATTERN,
    b22_torn_tail_refused::PATTERN,
    b24_acknowledged_first::PATTERN,
    b26_log_cut_before_data::PATTERN,
    b27_old_frames::PATTERN,
    b28_checkpoint_marked_first::PATTERN,
    b29_manifest_before_table::PATTERN,
    b31_half_a_header::PATTERN,
    b32_both_copies_at_once::PATTERN,
    b33_page_in_place::PATTERN,
    b34_commit_beside_both_copies::PATTERN,
    b35_zeros_are_a_page::PATTERN,
];

/// Those that a second crash shows, during the recovery from the first or after it.
pub(crate) const SECOND_CRASH: [&str; 2] = ["B16", "B17"];
