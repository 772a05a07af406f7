//! Programs in which a sync fails.

use super::{Litmus, Program, expect, litmus};
use crate::model::Profile;

/// The mistake behind "fsyncgate": the second fsync succeeds and has nothing to write.
fn p48_a_retried_fsync_does_not_cover_what_the_failed_one_left_clean() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 0, 'N').failed_fsync("a").fsync("a");
    expect(program, &["a"], ["O, ON, N", "O, ON, N", "O, N", "N"]).under(&[Profile::BTRFS], "O, N")
}

fn p49_a_page_that_is_written_again_after_a_failed_fsync_is_covered_again() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 0, 'M').failed_fsync("a");
    let program = program.pwrite("a", 0, 'N').fsync("a");
    expect(program, &["a"], ["N", "N", "N", "N"])
}

/// The size came with the data, and is as uncertain.
fn p50_an_append_whose_fsync_failed_is_not_covered_by_the_next() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'N').failed_fsync("a").fsync("a");
    expect(program, &["a"], ["O, O.Z, O.G, O.ZN, O.GN, O.N", "O, O.Z, O.ZN, O.N", "O, O.N", "O.N"])
        .under(&[Profile::XFS, Profile::BTRFS], "O, O.N")
}

/// What comes after it is synced, and the size with it; what failed is a hole. XFS and btrfs leave one too
/// (CuttleFS, table 1), which is not modelled: there a size that waits for its data has it.
fn p64_an_append_behind_one_whose_fsync_failed() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'M').failed_fsync("a");
    let program = program.pwrite("a", 2, 'N').fsync("a");
    let hole = "O.Z.N, O.ZM.N, O.M.N";
    let posix = "O.Z.N, O.G.N, O.ZM.N, O.GM.N, O.M.N";
    expect(program, &["a"], [posix, hole, "O.M.N", "O.M.N"])
        .under(&[Profile::XFS, Profile::BTRFS], "O.M.N")
}

/// A rename writes out what is dirty, and what a failed sync has left clean is not.
fn p65_a_rename_does_not_wait_for_what_a_failed_fsync_left_clean() -> Litmus {
    let program = Program::on(&[("a", "O"), ("t", "O")]).pwrite("t", 0, 'N').failed_fsync("t");
    let program = program.rename("t", "a").fsync_root();
    expect(program, &["a", "t"], ["O -, ON -, N -", "O -, ON -, N -", "N -", "N -"])
        .under(&[Profile::BTRFS], "O -, N -")
}

fn p51_a_failed_fsync_of_one_file_leaves_the_pages_of_another_dirty() -> Litmus {
    let program = Program::on(&[("a", "O"), ("b", "O")]).pwrite("b", 0, 'N').pwrite("a", 0, 'N');
    let program = program.failed_fsync("a").fsync("b");
    expect(program, &["a", "b"], ["O N, ON N, N N", "O N, ON N, N N", "O N, N N", "N N"])
        .under(&[Profile::BTRFS], "O N, N N")
}

fn p52_a_failed_fsync_of_a_new_file_does_not_touch_its_name() -> Litmus {
    let program = Program::on(&[]).creat("a").failed_fsync("a").fsync_root();
    expect(program, &["a"], ["0", "0", "0", "0"])
}

/// The size goes with the page that it ends in.
fn p53_an_append_that_is_written_again_after_a_failed_fsync_is_covered_again() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'M').failed_fsync("a");
    let program = program.pwrite("a", 1, 'N').fsync("a");
    expect(program, &["a"], ["O.N", "O.N", "O.N", "O.N"])
}

litmus![
    p48_a_retried_fsync_does_not_cover_what_the_failed_one_left_clean,
    p49_a_page_that_is_written_again_after_a_failed_fsync_is_covered_again,
    p50_an_append_whose_fsync_failed_is_not_covered_by_the_next,
    p51_a_failed_fsync_of_one_file_leaves_the_pages_of_another_dirty,
    p52_a_failed_fsync_of_a_new_file_does_not_touch_its_name,
    p53_an_append_that_is_written_again_after_a_failed_fsync_is_covered_again,
    p64_an_append_behind_one_whose_fsync_failed,
    p65_a_rename_does_not_wait_for_what_a_failed_fsync_left_clean,
];
