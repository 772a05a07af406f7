//! Programs for what is stored through shared mappings.

use super::{Litmus, Program, each, expect, litmus, page};
use crate::model::Profile;
use crate::op::{Bytes, Found, Op, PAGE, SECTOR};

fn p26_msync_covers_its_range() -> Litmus {
    let program = Program::on(&[("a", "OO")]);
    let ino = program.ino("a");
    let data = Bytes::new(&[&page('N')[..], &page('N')[..]].concat());
    let program = program.op(Op::MapStore { ino, offset: 0, data, found: Found::Stored });
    let program = program.op(Op::SyncMap { ino, offset: PAGE, len: PAGE });
    let torn = "O.N, ON.N, N.N";
    expect(program, &["a"], [torn, torn, "O.N, N.N", "N.N"])
        .under(&[Profile::BTRFS], "O.N, N.N")
        .under(&[Profile::ZFS], "N.N")
}

/// A store of one sector: its page shows it whole or not at all.
fn store(program: &Program, name: &str, found: Found) -> Op {
    let data = Bytes::new(&page('N')[..SECTOR as usize]);
    Op::MapStore { ino: program.ino(name), offset: 0, data, found }
}

/// A journal of everything knows of no store before the page is written back.
fn p71_no_order_is_kept_of_mapped_stores() -> Litmus {
    let program = Program::on(&[("a", "O")]);
    let op = store(&program, "a", Found::Compared);
    let any = each("O, ON", "-, 0");
    expect(program.op(op).creat("b"), &["a", "b"], [&any, &any, &any, "ON 0"])
}

fn p72_stores_that_were_seen_one_by_one_come_one_by_one() -> Litmus {
    let program = Program::on(&[("a", "O"), ("b", "O")]);
    let [first, second] = ["a", "b"].map(|name| store(&program, name, Found::Compared));
    let any = each("O, ON", "O, ON");
    expect(program.op(first).begin(second), &["a", "b"], [&any, &any, &any, "ON O, ON ON"])
}

/// Nobody knows whether there was a time at which one was there and the other not.
fn p73_no_crash_comes_between_stores_that_were_found_together() -> Litmus {
    let program = Program::on(&[("a", "O"), ("b", "O")]);
    let (first, second) =
        (store(&program, "a", Found::Compared), store(&program, "b", Found::Together));
    expect(program.op(first).begin(second), &["a", "b"], ["O O", "O O", "O O", "O O"])
}

fn p74_stores_that_were_found_together_are_written_back_one_by_one() -> Litmus {
    let program = Program::on(&[("a", "O"), ("b", "O")]);
    let (first, second) =
        (store(&program, "a", Found::Compared), store(&program, "b", Found::Together));
    let any = each("O, ON", "O, ON");
    expect(program.op(first).op(second), &["a", "b"], [&any, &any, &any, "ON ON"])
}

/// `fdatasync` of a range: the size that was set is one that is needed to read the data back.
fn p63_msync_covers_a_size_that_was_set() -> Litmus {
    let program = Program::on(&[("a", "O")]);
    let ino = program.ino("a");
    let program = program.set_len("a", 2 * PAGE);
    let program =
        program.op(Op::MapStore { ino, offset: 0, data: page('N'), found: Found::Stored });
    let program = program.op(Op::SyncMap { ino, offset: 0, len: PAGE });
    expect(program, &["a"], ["N.Z", "N.Z", "N.Z", "N.Z"])
}

fn p27_a_mapped_store_ends_with_the_file() -> Litmus {
    let program = Program::on(&[("a", "O")]);
    let ino = program.ino("a");
    let data = Bytes::new(&[&page('N')[..], &page('N')[..]].concat());
    let program = program.op(Op::MapStore { ino, offset: 0, data, found: Found::Stored });
    expect(program, &["a"], ["O, ON, N", "O, ON, N", "O, N", "N"]).under(&[Profile::BTRFS], "O, N")
}

litmus![
    p26_msync_covers_its_range,
    p71_no_order_is_kept_of_mapped_stores,
    p72_stores_that_were_seen_one_by_one_come_one_by_one,
    p73_no_crash_comes_between_stores_that_were_found_together,
    p74_stores_that_were_found_together_are_written_back_one_by_one,
    p63_msync_covers_a_size_that_was_set,
    p27_a_mapped_store_ends_with_the_file,
];
