//! Programs in which a sync fails.

use super::{Litmus, Program, expect, litmus};
use crate::model::Profile;
use crate::op::PAGE;

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

/// The size came with the data, and is as uncertain. On ext4 the data's block may show what it held before
/// (CuttleFS, table 1), unless it is marked as unwritten.
fn p50_an_append_whose_fsync_failed_is_not_covered_by_the_next() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'N').failed_fsync("a").fsync("a");
    let posix = "O, O.Z, O.G, O.ZN, O.GN, O.N";
    expect(program, &["a"], [posix, posix, "O, O.N", "O.N"])
        .under(&[Profile::EXT4_5_6], "O, O.Z, O.ZN, O.N")
        .under(&[Profile::XFS, Profile::BTRFS], "O, O.N")
}

/// What comes after it is synced, and the size with it; what failed is a hole, on XFS and btrfs too (CuttleFS,
/// table 1).
fn p64_an_append_behind_one_whose_fsync_failed() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'M').failed_fsync("a");
    let program = program.pwrite("a", 2, 'N').fsync("a");
    let hole = "O.Z.N, O.ZM.N, O.M.N";
    let posix = "O.Z.N, O.G.N, O.ZM.N, O.GM.N, O.M.N";
    expect(program, &["a"], [posix, posix, "O.M.N", "O.M.N"])
        .under(&[Profile::EXT4_5_6, Profile::XFS], hole)
        .under(&[Profile::BTRFS], "O.Z.N, O.M.N")
}

/// The size of the failed append itself is not durable without its data, until a later one is; that may be one
/// that is set.
fn p66_a_size_that_is_set_behind_an_append_whose_fsync_failed() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'M').failed_fsync("a");
    let program = program.set_len("a", 3 * PAGE);
    let posix = "O, O.Z, O.G, O.ZM, O.GM, O.M, O.Z.Z, O.G.Z, O.ZM.Z, O.GM.Z, O.M.Z";
    let ext4 = "O, O.Z, O.ZM, O.M, O.Z.Z, O.ZM.Z, O.M.Z";
    expect(program, &["a"], [posix, posix, "O, O.M, O.M.Z", "O.M.Z"])
        .under(&[Profile::EXT4_5_6], ext4)
        .under(&[Profile::XFS], "O, O.M, O.Z.Z, O.ZM.Z, O.M.Z")
        .under(&[Profile::BTRFS], "O, O.M, O.Z.Z, O.M.Z")
}

/// Whatever the later size does not wait for, it waits for the cut: the old page does not come back.
fn p67_a_size_behind_a_failed_append_in_the_place_of_what_was_cut_off() -> Litmus {
    let program = Program::on(&[("a", "OO")]).set_len("a", PAGE).pwrite("a", 1, 'M');
    let program = program.failed_fsync("a").set_len("a", 3 * PAGE);
    let posix = "O.O, O, O.Z, O.G, O.ZM, O.GM, O.M, O.Z.Z, O.G.Z, O.ZM.Z, O.GM.Z, O.M.Z";
    let ext4 = "O.O, O, O.Z, O.ZM, O.M, O.Z.Z, O.ZM.Z, O.M.Z";
    expect(program, &["a"], [posix, posix, "O.O, O, O.M, O.M.Z", "O.M.Z"])
        .under(&[Profile::EXT4_5_6], ext4)
        .under(&[Profile::XFS], "O.O, O, O.M, O.Z.Z, O.ZM.Z, O.M.Z")
        .under(&[Profile::BTRFS], "O.O, O, O.M, O.Z.Z, O.M.Z")
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

/// The size goes with the page that it ends in. Where a block that was never written is marked so, the mark
/// outlives what is written to the page once more: ext4 since 5.6 gives zeros for what was synced.
fn p68_an_append_that_is_written_again_after_a_failed_fsync() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'M').failed_fsync("a");
    let program = program.pwrite("a", 1, 'N').fsync("a");
    let posix = "O.Z, O.G, O.M, O.N, O.ZM, O.GM, O.ZN, O.GN, O.MN";
    expect(program, &["a"], [posix, "O.N", "O.N", "O.N"])
        .under(&[Profile::EXT4_5_6], "O.Z, O.M, O.N, O.ZM, O.ZN, O.MN")
        .under(&[Profile::EXT2, Profile::EXT3_WRITEBACK], "O.N")
}

litmus![
    p48_a_retried_fsync_does_not_cover_what_the_failed_one_left_clean,
    p49_a_page_that_is_written_again_after_a_failed_fsync_is_covered_again,
    p50_an_append_whose_fsync_failed_is_not_covered_by_the_next,
    p51_a_failed_fsync_of_one_file_leaves_the_pages_of_another_dirty,
    p52_a_failed_fsync_of_a_new_file_does_not_touch_its_name,
    p68_an_append_that_is_written_again_after_a_failed_fsync,
    p64_an_append_behind_one_whose_fsync_failed,
    p66_a_size_that_is_set_behind_an_append_whose_fsync_failed,
    p67_a_size_behind_a_failed_append_in_the_place_of_what_was_cut_off,
    p65_a_rename_does_not_wait_for_what_a_failed_fsync_left_clean,
];

/// What longer programs leave where later sizes pass by one that failed; pages that tear would multiply it.
#[cfg(test)]
mod passed_by {
    use super::super::{outcomes, set};
    use super::*;
    use crate::op::Op;

    fn leaves(program: Program, expected: &str) {
        assert_eq!(outcomes(&program.end(), Profile::BTRFS, &["a"]), set(expected));
    }

    #[test]
    fn without_an_append_the_file_ends_where_the_size_that_passed_has_set_its_end() {
        let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'M').failed_fsync("a");
        let program = program.pwrite("a", 2, 'N').fsync("a").pwrite("a", 3, 'M');
        leaves(program, "O.Z.N, O.M.N, O.Z.N.M, O.M.N.M");
    }

    #[test]
    fn a_size_that_passes_by_two_waits_for_what_the_first_of_them_waited_for() {
        let program = Program::on(&[("a", "OO")]).set_len("a", PAGE);
        let program = program.pwrite("a", 1, 'M').failed_fsync("a").pwrite("a", 2, 'N');
        let program = program.failed_fsync("a").set_len("a", 4 * PAGE);
        let set = "O.Z.Z.Z, O.Z.N.Z, O.M.Z.Z, O.M.N.Z";
        leaves(program, &format!("O.O, O, O.M, O.Z.N, O.M.N, {set}"));
    }

    #[test]
    fn a_synced_size_takes_along_what_the_one_that_it_passes_by_came_after() {
        let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'M').pwrite("a", 2, 'N');
        let ino = program.ino("a");
        let msync = |page: u64| Op::SyncMap { ino, offset: page * PAGE, len: PAGE };
        let program = program.failed(msync(2)).set_len("a", 6 * PAGE).op(msync(5));
        leaves(program, "O.M.Z.Z.Z.Z, O.M.N.Z.Z.Z");
    }
}
