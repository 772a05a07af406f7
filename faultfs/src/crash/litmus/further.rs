//! Programs for what the agreed ones leave out: partial coverage, names that move, holes, direct and
//! unfinished writes.

use super::{Litmus, Program, expect, litmus, page};
use crate::model::Profile;
use crate::op::{Bytes, Ino, Kind, Op, PAGE, SECTOR, Slot, SyncKind};

/// What a truncation that was not synced may leave.
fn p19_truncate_and_write_without_sync() -> Litmus {
    let program = Program::on(&[("a", "O")]);
    let ino = program.ino("a");
    let program = program.op(Op::SetLen { ino, len: 0 }).pwrite("a", 0, 'N');
    expect(program, &["a"], ["O, 0, Z, G, ZN, GN, N", "O, 0, N", "O, 0, N", "N"])
        .under(&[Profile::EXT4_5_6], "O, 0, Z, ZN, N")
}

/// It syncs its own pages; the other pages keep what they owe, the size that came with them too.
fn p22_an_o_dsync_write_covers_its_pages() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 1, 'M');
    let ino = program.ino("a");
    let sync = Some(SyncKind::Data);
    let data = page('N');
    let program = program.op(Op::Write { ino, offset: 0, data, direct: false, sync });
    expect(program, &["a"], ["N, N.Z, N.G, N.ZM, N.GM, N.M", "N, N.M", "N.M", "N.M"])
        .under(&[Profile::EXT4_5_6], "N, N.Z, N.ZM, N.M")
}

fn p23_an_o_direct_write_that_returned_is_not_durable() -> Litmus {
    let program = Program::on(&[("a", "O")]);
    let ino = program.ino("a");
    let data = page('N');
    let program = program.op(Op::Write { ino, offset: PAGE, data, direct: true, sync: None });
    expect(program, &["a"], ["O, O.Z, O.G, O.ZN, O.GN, O.N", "O, O.N", "O, O.N", "O.N"])
        .under(&[Profile::EXT4_5_6], "O, O.Z, O.ZN, O.N")
}

fn p24_fdatasync_does_not_cover_the_mode() -> Litmus {
    let program = Program::on(&[("a", "O")]);
    let ino = program.ino("a");
    let program = program.pwrite("a", 0, 'N').op(Op::SetMode { ino, mode: 0o600 });
    let program = program.sync("a", SyncKind::Data);
    expect(program, &["a", "mode a"], ["N 644, N 600", "N 644, N 600", "N 644, N 600", "N 600"])
        .under(&[Profile::ZFS], "N 600")
}

fn p25_fsync_covers_the_mode() -> Litmus {
    let program = Program::on(&[("a", "O")]);
    let ino = program.ino("a");
    let program = program.op(Op::SetMode { ino, mode: 0o600 }).sync("a", SyncKind::All);
    expect(program, &["mode a"], ["600", "600", "600", "600"])
}

fn p28_sync_covers_all_that_had_ended() -> Litmus {
    let program = Program::on(&[("a", "O")]);
    let ino = program.ino("a");
    let program = program.creat("b").pwrite("b", 0, 'N').op(Op::SetMode { ino, mode: 0o600 });
    let program = program.op(Op::SyncAll);
    expect(program, &["b", "mode a"], ["N 600", "N 600", "N 600", "N 600"])
}

fn p29_a_further_name_is_not_flushed_with_the_file() -> Litmus {
    let program = Program::on(&[("a", "O")]);
    let ino = program.ino("a");
    let program = program.op(Op::Link { ino, slot: Slot::new(Ino::ROOT, "b") }).fsync("a");
    expect(program, &["a", "b"], ["O -, O O", "O -, O O", "O -, O O", "O O"])
        .under(&[Profile::ZFS], "O O")
}

/// An old file that was renamed was not created by that.
fn p30_a_rename_is_not_flushed_with_an_older_file() -> Litmus {
    let program = Program::on(&[("a", "O")]).rename("a", "b").fsync("a");
    expect(program, &["a", "b"], ["O -, - O", "O -, - O", "O -, - O", "- O"])
        .under(&[Profile::EXT2], "O -, O O, - O, - -")
        .under(&[Profile::ZFS], "- O")
}

fn unnamed() -> (Program, Op) {
    let mut program = Program::on(&[]);
    let ino = program.recorder.fresh_ino();
    program.names.push(("a", ino));
    let program = program.op(Op::CreateUnnamed { ino, mode: 0o644 }).pwrite("a", 0, 'N');
    (program, Op::Link { ino, slot: Slot::new(Ino::ROOT, "a") })
}

fn p31_an_unnamed_file_that_was_linked_and_synced() -> Litmus {
    let (program, link) = unnamed();
    expect(program.op(link).fsync("a"), &["a"], ["-, N", "N", "N", "N"])
        .under(&[Profile::EXT3_WRITEBACK, Profile::EXT4_WRITEBACK], "N")
        .under(&[Profile::EXT4_FAST_COMMIT], "-, N")
}

fn p32_an_unnamed_file_that_was_synced_and_linked() -> Litmus {
    let (program, link) = unnamed();
    expect(program.fsync("a").op(link), &["a"], ["-, N", "-, N", "-, N", "N"])
}

fn p33_an_exchange_is_whole() -> Litmus {
    let slot = |name| Slot::new(Ino::ROOT, name);
    let program = Program::on(&[("a", "O"), ("b", "N")]);
    let program = program.op(Op::Rename { from: slot("a"), to: slot("b"), exchange: true });
    let either = "O N, N O";
    expect(program, &["a", "b"], [either, either, either, "N O"])
}

/// A durable directory `d` with a durable file `d/a`, and a file `b` beside it.
fn with_dir() -> (Program, Ino) {
    let program = Program::on(&[("b", "M")]).make(Ino::ROOT, "d", Kind::Dir);
    let dir = program.ino("d");
    let program = program.make(dir, "a", Kind::File).pwrite("a", 0, 'O').op(Op::SyncAll);
    (program, dir)
}

fn p34_what_a_directory_holds_moves_with_it() -> Litmus {
    let (program, _) = with_dir();
    let either = "O -, - O";
    expect(program.rename("d", "e"), &["d/a", "e/a"], [either, either, either, "- O"])
}

/// A rename is whole: the file does not go with a directory that was not there yet.
fn p35_a_file_moved_into_a_new_directory_is_in_one_of_the_two() -> Litmus {
    let program = Program::on(&[("a", "O")]).make(Ino::ROOT, "d", Kind::Dir);
    let to = Slot::new(program.ino("d"), "a");
    let from = Slot::new(Ino::ROOT, "a");
    let program = program.op(Op::Rename { from, to, exchange: false });
    let set = "O - -, O dir -, - dir O";
    expect(program, &["a", "d", "d/a"], [set, set, set, "- dir O"])
        .under(&[Profile::EXT2], "O - -, O dir -, O dir O, - - -, - dir -, - dir O")
}

/// Nor with the directory that it left.
fn p36_a_file_moved_out_of_a_removed_directory_is_in_one_of_the_two() -> Litmus {
    let (program, dir) = with_dir();
    let (from, to) = (Slot::new(dir, "a"), Slot::new(Ino::ROOT, "a"));
    let program = program.op(Op::Rename { from, to, exchange: false }).unlink("d");
    let set = "- dir O, O dir -, O - -";
    expect(program, &["a", "d", "d/a"], [set, set, set, "O - -"])
        .under(&[Profile::EXT2], "- dir O, O dir O, - dir -, O dir -, O - -, - - -")
}

/// Two moves of directories that could close a ring if the second came without the first.
fn p37_moves_of_directories_keep_their_order() -> Litmus {
    let program = Program::on(&[]).make(Ino::ROOT, "d", Kind::Dir);
    let dir = program.ino("d");
    let program = program.make(dir, "e", Kind::Dir).op(Op::SyncAll);
    let inner = program.ino("e");
    let root = |name| Slot::new(Ino::ROOT, name);
    let moved = |from, to| Op::Rename { from, to, exchange: false };
    let program = program.op(moved(Slot::new(dir, "e"), root("e")));
    let program = program.op(moved(root("d"), Slot::new(inner, "d")));
    let set = "dir dir - -, dir - dir -, - - dir dir";
    expect(program, &["d", "d/e", "e", "e/d"], [set, set, set, "- - dir dir"])
}

/// The block of a page goes or stays; part of a page is written back with it.
fn p38_a_punched_page_is_not_torn() -> Litmus {
    let program = Program::on(&[("a", "OO")]);
    let ino = program.ino("a");
    let program = program.op(Op::Zero { ino, offset: 0, len: PAGE + 2 * SECTOR });
    let pages = "O.O, O.ZO, Z.O, Z.ZO";
    expect(program, &["a"], [pages, pages, "O.O, Z.O, Z.ZO", "Z.ZO"])
}

fn p39_what_a_write_past_the_end_skips_is_a_hole() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 2, 'N');
    let posix = "O, O.Z.Z, O.Z.G, O.Z.ZN, O.Z.GN, O.Z.N";
    expect(program, &["a"], [posix, "O, O.Z.N", "O, O.Z.N", "O.Z.N"])
        .under(&[Profile::EXT4_5_6], "O, O.Z.N, O.Z.Z, O.Z.ZN")
}

/// Pages are lost one by one, but a journal of everything and the page cache of a process that was
/// killed hold a prefix of them.
fn p40_a_write_under_way_may_have_copied_some_of_its_pages() -> Litmus {
    let program = Program::on(&[("a", "OO")]);
    let ino = program.ino("a");
    let data = Bytes::new(&[&page('N')[..], &page('N')[..]].concat());
    let program = program.begin(Op::Write { ino, offset: 0, data, direct: false, sync: None });
    let torn = ["O.O, O.ON, O.N", "ON.O, ON.ON, ON.N", "N.O, N.ON, N.N"].join(",");
    expect(program, &["a"], [&torn, &torn, "O.O, N.O, N.N", "O.O, N.O, N.N"])
        .under(&[Profile::BTRFS], "O.O, O.N, N.O, N.N")
}

/// The size and the zeros behind it are written on their own.
fn p41_a_smaller_size_and_the_zeros_behind_it() -> Litmus {
    let program = Program::on(&[("a", "O")]).set_len("a", 1024);
    let set = "O, ZO, O:1024";
    expect(program, &["a"], [set, set, "O, O:1024", "O:1024"])
}

/// The size does not wait for an overwrite of the page that it cuts.
fn p42_a_smaller_size_comes_without_an_earlier_overwrite() -> Litmus {
    let program = Program::on(&[("a", "O")]).pwrite("a", 0, 'N').set_len("a", 1024);
    let set = "O, ON, N, ZN, ZO, ZON, O:1024, ON:1024, N:1024";
    expect(program, &["a"], [set, set, "O, N, N:1024", "N:1024"])
        .under(&[Profile::BTRFS], "O, N, ZN, O:1024, N:1024")
}

/// What was cut off may come back with a larger size only where stale bytes may.
fn p43_what_was_cut_off_comes_back_only_as_stale_bytes_do() -> Litmus {
    let program = Program::on(&[("a", "O")]).set_len("a", 1024).set_len("a", 2 * PAGE);
    let posix = "O, ZO, O:1024, O.Z, ZO.Z";
    expect(program, &["a"], [posix, "O, ZO, O:1024, ZO.Z", "O, O:1024, ZO.Z", "ZO.Z"])
}

/// Where a size waits for its data, a page within it is torn between versions that hold this data.
fn p44_a_page_within_the_size_is_torn_between_its_own_versions() -> Litmus {
    let program = Program::on(&[]).creat("a").fsync_root();
    let program = program.pwrite("a", 0, 'M').pwrite("a", 0, 'N');
    let posix = "0, Z, G, M, N, ZM, GM, ZN, GN, MN";
    expect(program, &["a"], [posix, "0, M, MN, N", "0, M, N", "N"])
        .under(&[Profile::EXT4_5_6], "0, Z, M, N, ZM, ZN, MN")
        .under(&[Profile::BTRFS], "0, M, N")
}

/// An overwrite and the append that came with it: a journal of everything takes them at once, and on ext4 the
/// size waits for no data where there is a block already.
fn p45_an_append_that_overwrites_the_last_page() -> Litmus {
    let program = Program::on(&[("a", "O")]).set_len("a", 1024).op(Op::SyncAll).pwrite("a", 0, 'N');
    let posix = "O:1024, ON:1024, N:1024, ZO, ZON, ZN, ON, N";
    expect(program, &["a"], [posix, posix, "O:1024, N", "N"])
        .under(&[Profile::XFS], "O:1024, ON:1024, N:1024, N")
        .under(&[Profile::BTRFS], "O:1024, N:1024, N")
}

fn p46_an_empty_file_that_was_synced() -> Litmus {
    let program = Program::on(&[]).creat("a").fsync("a");
    expect(program, &["a"], ["-, 0", "0", "0", "0"])
        .under(&[Profile::EXT3_WRITEBACK, Profile::EXT4_WRITEBACK], "0")
        .under(&[Profile::EXT4_FAST_COMMIT], "-, 0")
}

fn p47_a_page_that_was_never_written_tears_over_stale_bytes() -> Litmus {
    let half = |at: u64| Op::Write {
        ino: Ino(1),
        offset: at * PAGE / 2,
        data: Bytes::new(&page('N')[(at * PAGE / 2) as usize..][..PAGE as usize / 2]),
        direct: false,
        sync: None,
    };
    let program = Program::on(&[]).creat("a").fsync_root().op(half(0)).op(half(1));
    let posix = "0, Z:2048, G:2048, ZN:2048, GN:2048, N:2048, Z, G, ZN, GN, ZG, ZGN, N";
    expect(program, &["a"], [posix, "0, N:2048, ZN, N", "0, N:2048, N", "N"])
        .under(&[Profile::EXT4_5_6], "0, Z:2048, ZN:2048, N:2048, Z, ZN, N")
        .under(&[Profile::XFS, Profile::BTRFS], "0, N:2048, N")
}

litmus![
    p19_truncate_and_write_without_sync,
    p22_an_o_dsync_write_covers_its_pages,
    p23_an_o_direct_write_that_returned_is_not_durable,
    p24_fdatasync_does_not_cover_the_mode,
    p25_fsync_covers_the_mode,
    p28_sync_covers_all_that_had_ended,
    p29_a_further_name_is_not_flushed_with_the_file,
    p30_a_rename_is_not_flushed_with_an_older_file,
    p31_an_unnamed_file_that_was_linked_and_synced,
    p32_an_unnamed_file_that_was_synced_and_linked,
    p33_an_exchange_is_whole,
    p34_what_a_directory_holds_moves_with_it,
    p35_a_file_moved_into_a_new_directory_is_in_one_of_the_two,
    p36_a_file_moved_out_of_a_removed_directory_is_in_one_of_the_two,
    p37_moves_of_directories_keep_their_order,
    p38_a_punched_page_is_not_torn,
    p39_what_a_write_past_the_end_skips_is_a_hole,
    p40_a_write_under_way_may_have_copied_some_of_its_pages,
    p41_a_smaller_size_and_the_zeros_behind_it,
    p42_a_smaller_size_comes_without_an_earlier_overwrite,
    p43_what_was_cut_off_comes_back_only_as_stale_bytes_do,
    p44_a_page_within_the_size_is_torn_between_its_own_versions,
    p45_an_append_that_overwrites_the_last_page,
    p46_an_empty_file_that_was_synced,
    p47_a_page_that_was_never_written_tears_over_stale_bytes,
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Program, complete, page};
    use crate::model::{Model, Profile};
    use crate::op::{Bytes, Op, SECTOR};

    /// Direct writes to two sectors of one page are independent; buffered ones are versions of the page.
    #[test]
    fn p20_direct_writes_are_versions_of_sectors_only() {
        let sectors = |direct| {
            let program = Program::on(&[("a", "O")]);
            let ino = program.ino("a");
            let sector = |index: u64| Op::Write {
                ino,
                offset: index * SECTOR,
                data: Bytes::new(
                    &page('N')[(index * SECTOR) as usize..((index + 1) * SECTOR) as usize],
                ),
                direct,
                sync: None,
            };
            let trace = program.op(sector(0)).op(sector(1)).end();
            let model = Model::new(Arc::new(trace), Profile::POSIX);
            let mut moments = model.moments();
            while moments.next().is_some() {}
            let moment = model.moments().seek(4).expect("two ops make four stamps").clone();
            complete::disks(&model, &moment).len()
        };
        // Neither, the first, both; and the second alone only where it did not go through the page cache
        // or where the page was torn.
        assert_eq!(sectors(true), 4);
        assert_eq!(sectors(false), 4);
    }

    /// A page has 35 mixes of two versions all of whose sectors differ: 7 prefixes, 7 suffixes, 21 holes.
    #[test]
    fn p21_a_torn_page_has_35_mixes() {
        let trace = Program::on(&[("a", "O")]).pwrite("a", 0, 'N').end();
        let model = Model::new(Arc::new(trace), Profile::EXT4);
        let moment = model.moments().seek(2).expect("one op makes two stamps").clone();
        assert_eq!(complete::disks(&model, &moment).len(), 35 + 2);
    }
}
