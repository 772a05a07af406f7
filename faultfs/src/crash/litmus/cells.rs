//! Programs that tell one profile from another: each for a cell of the table that the others leave alone.

use super::{Litmus, Program, each, expect, litmus, page};
use crate::model::Profile;
use crate::op::{Bytes, Ino, Kind, Op, PAGE, Slot};

fn p53_a_rename_under_way() -> Litmus {
    let slot = |name| Slot::new(Ino::ROOT, name);
    let program = Program::on(&[("a", "O"), ("t", "N")]);
    let program = program.begin(Op::Rename { from: slot("t"), to: slot("a"), exchange: false });
    let whole = "O N, N -";
    expect(program, &["a", "t"], [whole, whole, whole, whole])
        .under(&[Profile::EXT2], "O N, N N, O -, N -, - N, - -")
}

/// What an append to one page may leave.
const POSIX: &str = "O, O.Z, O.G, O.ZN, O.GN, O.N";
const EXT4_5_6: &str = "O, O.Z, O.ZN, O.N";

/// The size of an append is logged late, and takes the names before it along where there is one log.
fn p54_a_new_name_and_then_an_append() -> Litmus {
    let log = |sizes| each(sizes, "0") + ", O -";
    let program = Program::on(&[("a", "O")]).creat("b").pwrite("a", 1, 'N');
    expect(
        program,
        &["a", "b"],
        [&each(POSIX, "-, 0"), &each("O, O.N", "-, 0"), "O -, O 0, O.N 0", "O.N 0"],
    )
    .under(&[Profile::EXT3_WRITEBACK], &log(POSIX))
    .under(&[Profile::EXT4_5_6], &each(EXT4_5_6, "-, 0"))
    .under(&[Profile::XFS_LOG_FORCE, Profile::EXT3], &log("O, O.N"))
}

fn p55_an_append_and_then_a_new_name() -> Litmus {
    let metadata = |sizes: &str| each(sizes, "-, 0").replace("O 0,", "");
    let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'N').creat("b");
    expect(
        program,
        &["a", "b"],
        [&each(POSIX, "-, 0"), &each("O, O.N", "-, 0"), "O -, O.N -, O.N 0", "O.N 0"],
    )
    .under(&[Profile::EXT3_WRITEBACK], &metadata(POSIX))
    .under(&[Profile::EXT3], &metadata("O, O.N"))
    .under(&[Profile::EXT4_5_6], &each(EXT4_5_6, "-, 0"))
}

fn p56_a_sync_of_one_file_after_a_new_name() -> Litmus {
    let program = Program::on(&[("a", "O")]).creat("b").pwrite("a", 1, 'N').fsync("a");
    expect(program, &["a", "b"], ["O.N -, O.N 0", "O.N -, O.N 0", "O.N 0", "O.N 0"])
        .under(&[Profile::EXT3_WRITEBACK, Profile::EXT3, Profile::XFS_LOG_FORCE], "O.N 0")
}

fn p57_a_synced_mode_after_a_new_name() -> Litmus {
    let program = Program::on(&[("a", "O")]).creat("b");
    let ino = program.ino("a");
    let program = program.op(Op::SetMode { ino, mode: 0o600 }).fsync("a");
    expect(program, &["mode a", "b"], ["600 -, 600 0", "600 -, 600 0", "600 0", "600 0"])
        .under(&[Profile::EXT3_WRITEBACK, Profile::EXT3, Profile::XFS_LOG_FORCE], "600 0")
}

fn p58_a_mode_before_a_synced_new_file() -> Litmus {
    let (posix, synced) = ("644 -, 644 0, 600 -, 600 0", "644 0, 600 0");
    let program = Program::on(&[("a", "O")]);
    let ino = program.ino("a");
    let program = program.op(Op::SetMode { ino, mode: 0o600 }).creat("b").fsync("b");
    expect(program, &["mode a", "b"], [posix, synced, "600 0", "600 0"])
        .under(&[Profile::EXT3_WRITEBACK, Profile::EXT3], "600 0")
        .under(&[Profile::EXT4_WRITEBACK, Profile::ZFS], synced)
        .under(&[Profile::EXT4_FAST_COMMIT], posix)
}

/// A rename writes out what was added to the file, and what was there before is no part of that.
fn p59_an_overwritten_file_that_is_renamed_over_another() -> Litmus {
    let unsafe_rename = "O M, O MN, O N, M -, MN -, N -";
    let program = Program::on(&[("a", "O"), ("t", "M")]).pwrite("t", 0, 'N').rename("t", "a");
    let ext2 = format!("{unsafe_rename}, M M, MN MN, N N, O -, - M, - MN, - N, - -");
    expect(program, &["a", "t"], [unsafe_rename, unsafe_rename, "O M, O N, N -", "N -"])
        .under(&[Profile::EXT2], &ext2)
        .under(&[Profile::BTRFS], "O M, O N, M -, N -")
}

fn p60_a_sync_of_one_of_two_overwritten_files() -> Litmus {
    let program = Program::on(&[("a", "O"), ("b", "O")]);
    let program = program.pwrite("b", 0, 'N').pwrite("a", 0, 'N').fsync("a");
    expect(program, &["a", "b"], ["N O, N ON, N N", "N O, N ON, N N", "N N", "N N"])
        .under(&[Profile::BTRFS, Profile::ZFS], "N O, N N")
}

fn p61_a_synced_file_in_a_new_directory_that_was_not() -> Litmus {
    let program = Program::on(&[]).make(Ino::ROOT, "d", Kind::Dir);
    let dir = program.ino("d");
    let program = program.make(dir, "a", Kind::File).pwrite("a", 0, 'N').fsync("a");
    expect(program, &["d", "d/a"], ["- -, dir -, dir N", "dir N", "dir N", "dir N"])
        .under(&[Profile::EXT3_WRITEBACK, Profile::EXT4_WRITEBACK], "dir N")
        .under(&[Profile::EXT4_FAST_COMMIT], "- -, dir -, dir N")
}

/// The rename is recorded with the directory, and not what was written over before it.
fn p62_a_renamed_file_that_was_not_synced_and_a_synced_directory() -> Litmus {
    let program = Program::on(&[("a", "O"), ("t", "M")]).pwrite("t", 0, 'N').rename("t", "a");
    let unsafe_rename = "M -, MN -, N -";
    expect(program.fsync_root(), &["a", "t"], [unsafe_rename, unsafe_rename, "N -", "N -"])
        .under(&[Profile::BTRFS], "M -, N -")
}

/// A rename to a fresh name waits for nothing, but where a log of syncs takes it.
fn p69_a_fresh_name_for_a_file_that_was_not_synced_and_a_synced_directory() -> Litmus {
    let program = Program::on(&[("t", "M")]).pwrite("t", 0, 'N').rename("t", "a");
    let any = "M -, MN -, N -";
    expect(program.fsync_root(), &["a", "t"], [any, any, "N -", "N -"])
        .under(&[Profile::BTRFS], "M -, N -")
}

/// The second half goes into a block that is there already, if the first was written back: neither the size nor the
/// rename waits for it.
fn p70_a_file_of_two_appends_to_one_page_that_is_renamed_over_another() -> Litmus {
    let program = Program::on(&[("a", "O")]).creat("t");
    let t = program.ino("t");
    let half = |at: u64| Op::Write {
        ino: t,
        offset: at * PAGE / 2,
        data: Bytes::new(&page('N')[(at * PAGE / 2) as usize..][..PAGE as usize / 2]),
        direct: false,
        sync: None,
    };
    let program = program.op(half(0)).op(half(1)).rename("t", "a").fsync_root();
    let posix = "0, Z:2048, G:2048, ZN:2048, GN:2048, N:2048, Z, G, ZN, GN, ZG, ZGN, N";
    expect(program, &["a", "t"], [&each(posix, "-"), "ZN -, N -", "N -", "N -"])
        .under(&[Profile::EXT3_WRITEBACK], "Z -, G -, ZN -, GN -, ZG -, ZGN -, N -")
        .under(&[Profile::EXT4_NOAUTO_DA_ALLOC], "0 -, N:2048 -, ZN -, N -")
        .under(&[Profile::EXT4_5_6], "0 -, Z:2048 -, ZN:2048 -, N:2048 -, Z -, ZN -, N -")
        .under(&[Profile::XFS, Profile::BTRFS], "0 -, N:2048 -, N -")
}

litmus![
    p53_a_rename_under_way,
    p54_a_new_name_and_then_an_append,
    p55_an_append_and_then_a_new_name,
    p56_a_sync_of_one_file_after_a_new_name,
    p57_a_synced_mode_after_a_new_name,
    p58_a_mode_before_a_synced_new_file,
    p59_an_overwritten_file_that_is_renamed_over_another,
    p60_a_sync_of_one_of_two_overwritten_files,
    p61_a_synced_file_in_a_new_directory_that_was_not,
    p62_a_renamed_file_that_was_not_synced_and_a_synced_directory,
    p69_a_fresh_name_for_a_file_that_was_not_synced_and_a_synced_directory,
    p70_a_file_of_two_appends_to_one_page_that_is_renamed_over_another,
];
