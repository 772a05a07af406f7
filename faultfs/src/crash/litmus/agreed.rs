//! The programs whose outcomes were agreed on before there was a model.

use super::{Litmus, Program, each, expect, litmus, write};
use crate::model::Profile;
use crate::op::{Ino, Kind, Op, Slot, SyncKind};
use crate::trace::Outcome;

pub(super) const NEW_FILE: &str = "-, 0, Z, G, ZN, GN, N";

fn p01_a_new_file_that_was_never_synced() -> Litmus {
    let program = Program::on(&[]).creat("a").pwrite("a", 0, 'N');
    expect(program, &["a"], [NEW_FILE, "-, 0, N", "-, 0, N", "N"])
        .under(&[Profile::EXT4_5_6], "-, 0, Z, ZN, N")
}

fn p02_a_new_file_whose_directory_was_not_synced() -> Litmus {
    let program = Program::on(&[]).creat("a").pwrite("a", 0, 'N').fsync("a");
    expect(program, &["a"], ["-, N", "N", "N", "N"])
        .under(&[Profile::EXT3_WRITEBACK, Profile::EXT4_WRITEBACK], "N")
        .under(&[Profile::EXT4_FAST_COMMIT], "-, N")
}

fn p03_a_new_file_and_its_directory_synced() -> Litmus {
    let program = Program::on(&[]).creat("a").pwrite("a", 0, 'N').fsync("a").fsync_root();
    expect(program, &["a"], ["N", "N", "N", "N"])
}

fn p04_an_overwrite_may_be_torn() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 0, 'N');
    expect(program, &["a"], ["O, ON, N", "O, ON, N", "O, N", "N"]).under(&[Profile::BTRFS], "O, N")
}

fn p05_two_overwrites_are_versions_of_one_page() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 0, 'M').pwrite("a", 0, 'N');
    let versions = "O, M, N, OM, ON, MN";
    expect(program, &["a"], [versions, versions, "O, M, N", "N"])
        .under(&[Profile::BTRFS], "O, M, N")
}

fn p06_two_files_are_independent() -> Litmus {
    let program = Program::on(&[("a", "O"), ("b", "O")]).pwrite("a", 0, 'N').pwrite("b", 0, 'N');
    let pages = each("O, ON, N", "O, ON, N");
    expect(program, &["a", "b"], [&pages, &pages, "O O, N O, N N", "N N"])
        .under(&[Profile::BTRFS], &each("O, N", "O, N"))
}

fn p07_rename_over_a_file_without_sync() -> Litmus {
    let program = Program::on(&[("a", "O")]).creat("t").pwrite("t", 0, 'N').rename("t", "a");
    let posix = [each("O", NEW_FILE), each("0, Z, G, ZN, GN, N", "-")].join(",");
    let both_names = "0 0, Z Z, G G, ZN ZN, GN GN, N N";
    let ordered = each("O", NEW_FILE) + ", Z -, G -, ZN -, GN -, N -";
    expect(program, &["a", "t"], [&posix, "O -, O 0, O N, N -", "O -, O 0, O N, N -", "N -"])
        .under(
            &[Profile::EXT2],
            &[&posix, both_names, &each("-", NEW_FILE)].map(|s| s as &str).join(","),
        )
        .under(&[Profile::EXT3_WRITEBACK], &ordered)
        .under(&[Profile::EXT4_NOAUTO_DA_ALLOC, Profile::BTRFS], "O -, O 0, O N, 0 -, N -")
        .under(&[Profile::EXT4_5_6], "O -, O 0, O Z, O ZN, O N, 0 -, Z -, ZN -, N -")
}

fn p08_rename_of_a_synced_file() -> Litmus {
    let program =
        Program::on(&[("a", "O")]).creat("t").pwrite("t", 0, 'N').fsync("t").rename("t", "a");
    expect(program, &["a", "t"], ["O -, O N, N -", "O N, N -", "O N, N -", "N -"])
        .under(&[Profile::EXT2], "O -, O N, N N, N -, - -, - N")
        .under(&[Profile::EXT3_WRITEBACK, Profile::EXT4_WRITEBACK], "O N, N -")
        .under(&[Profile::EXT4_FAST_COMMIT], "O -, O N, N -")
}

fn p09_rename_and_directory_sync() -> Litmus {
    let program = Program::on(&[("a", "O")]).creat("t").pwrite("t", 0, 'N').fsync("t");
    let program = program.rename("t", "a").fsync_root();
    expect(program, &["a", "t"], ["N -", "N -", "N -", "N -"])
}

fn p10_an_unlink_may_be_undone() -> Litmus {
    let program = Program::on(&[("a", "O")]).unlink("a");
    expect(program, &["a"], ["O, -", "O, -", "O, -", "-"])
}

fn p11_a_synced_unlink_stays() -> Litmus {
    let program = Program::on(&[("a", "O")]).unlink("a").fsync_root();
    expect(program, &["a"], ["-", "-", "-", "-"])
}

fn p12_an_append_may_show_its_size_first() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'N');
    expect(program, &["a"], ["O, O.Z, O.G, O.ZN, O.GN, O.N", "O, O.N", "O, O.N", "O.N"])
        .under(&[Profile::EXT4_5_6], "O, O.Z, O.ZN, O.N")
}

fn p13_fdatasync_covers_the_size() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'N');
    let ino = program.ino("a");
    let program = program.op(Op::Sync { ino, kind: SyncKind::Data });
    expect(program, &["a"], ["O.N", "O.N", "O.N", "O.N"])
}

fn p14_sync_file_range_makes_nothing_durable() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 0, 'N');
    let ino = program.ino("a");
    let program = program.op(Op::StartWriteback { ino });
    expect(program, &["a"], ["O, ON, N", "O, ON, N", "O, N", "N"]).under(&[Profile::BTRFS], "O, N")
}

fn p15_a_sync_does_not_cover_a_write_that_had_not_ended_when_it_started() -> Litmus {
    let mut program = Program::on(&[("a", "O")]);
    let ino = program.ino("a");
    let pwrite = program.recorder.start(1, None, write(ino, 0, 'N'));
    let fsync = program.recorder.start(2, None, Op::Sync { ino, kind: SyncKind::All });
    program.recorder.end(pwrite, Outcome::Done);
    program.recorder.end(fsync, Outcome::Done);
    expect(program, &["a"], ["O, ON, N", "O, ON, N", "O, N", "N"]).under(&[Profile::BTRFS], "O, N")
}

fn p16_link_and_unlink_are_two_slots() -> Litmus {
    let program = Program::on(&[("a", "O")]);
    let ino = program.ino("a");
    let program = program.op(Op::Link { ino, slot: Slot::new(Ino::ROOT, "b") }).unlink("a");
    let unordered = "O -, O O, - O, - -";
    let ordered = "O -, O O, - O";
    expect(program, &["a", "b"], [unordered, ordered, ordered, "- O"])
        .under(&[Profile::EXT3_WRITEBACK, Profile::EXT4_WRITEBACK], ordered)
        .under(&[Profile::EXT4_FAST_COMMIT, Profile::BTRFS], unordered)
}

fn p17_a_synced_file_in_a_new_directory() -> Litmus {
    let program = Program::on(&[]).make(Ino::ROOT, "d", Kind::Dir);
    let dir = program.ino("d");
    let program = program.make(dir, "a", Kind::File).pwrite("a", 0, 'N').fsync("a").fsync("d");
    let whole = "dir N";
    expect(program, &["d", "d/a"], ["- -, dir N", whole, whole, whole])
        .under(&[Profile::EXT3_WRITEBACK, Profile::EXT4_WRITEBACK], whole)
        .under(&[Profile::EXT4_FAST_COMMIT], "- -, dir N")
}

fn p18_truncate_write_and_sync() -> Litmus {
    let program = Program::on(&[("a", "O")]);
    let ino = program.ino("a");
    let program = program.op(Op::SetLen { ino, len: 0 }).pwrite("a", 0, 'N').fsync("a");
    expect(program, &["a"], ["N", "N", "N", "N"])
}

litmus![
    p01_a_new_file_that_was_never_synced,
    p02_a_new_file_whose_directory_was_not_synced,
    p03_a_new_file_and_its_directory_synced,
    p04_an_overwrite_may_be_torn,
    p05_two_overwrites_are_versions_of_one_page,
    p06_two_files_are_independent,
    p07_rename_over_a_file_without_sync,
    p08_rename_of_a_synced_file,
    p09_rename_and_directory_sync,
    p10_an_unlink_may_be_undone,
    p11_a_synced_unlink_stays,
    p12_an_append_may_show_its_size_first,
    p13_fdatasync_covers_the_size,
    p14_sync_file_range_makes_nothing_durable,
    p15_a_sync_does_not_cover_a_write_that_had_not_ended_when_it_started,
    p16_link_and_unlink_are_two_slots,
    p17_a_synced_file_in_a_new_directory,
    p18_truncate_write_and_sync,
];
