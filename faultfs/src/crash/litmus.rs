//! Litmus programs: small programs with the exact set of disks that a crash after their last op may
//! leave, nothing more and nothing less, under each profile.
//!
//! In the expectations: `-` absent, `0` an empty file, `O` the old page, `M` and `N` new ones, `Z` zeros,
//! `G` stale bytes, `xy` a page of whole sectors of both; several pages are joined by `.`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::complete;
use crate::disk::Disk;
use crate::model::{Model, Profile};
use crate::op::{Bytes, Ino, Kind, Op, PAGE, SECTOR, Slot, SyncKind};
use crate::recorder::Recorder;
use crate::trace::{Outcome, Trace};

/// A page of which every sector differs from the others and from all other letters.
fn page(letter: char) -> Bytes {
    let mut bytes = Vec::new();
    for sector in 0..(PAGE / SECTOR) as u8 {
        bytes.extend([letter as u8, sector].repeat(SECTOR as usize / 2));
    }
    Bytes::new(&bytes)
}

struct Program {
    recorder: Recorder,
    names: Vec<(&'static str, Ino)>,
}

impl Program {
    /// Starts on a durable disk with these files of one page each.
    fn on(files: &[(&'static str, char)]) -> Self {
        let mut disk = Disk::new();
        let mut names = Vec::new();
        for (name, letter) in files {
            let ino = disk.fresh_ino();
            let slot = Slot::new(Ino::ROOT, name);
            disk.apply(&Op::Create { slot, ino, kind: Kind::File, mode: 0o644 });
            disk.apply(&write(ino, 0, *letter));
            names.push((*name, ino));
        }
        Program { recorder: Recorder::new(disk), names }
    }

    fn op(mut self, op: Op) -> Self {
        self.recorder.record(0, None, op);
        self
    }

    fn ino(&self, name: &str) -> Ino {
        self.names.iter().rev().find(|(n, _)| *n == name).expect("a known name").1
    }

    fn make(mut self, dir: Ino, name: &'static str, kind: Kind) -> Self {
        let ino = self.recorder.fresh_ino();
        self.names.push((name, ino));
        self.op(Op::Create { slot: Slot::new(dir, name), ino, kind, mode: 0o644 })
    }

    fn creat(self, name: &'static str) -> Self {
        self.make(Ino::ROOT, name, Kind::File)
    }

    fn pwrite(self, name: &str, at_page: u64, letter: char) -> Self {
        let op = write(self.ino(name), at_page * PAGE, letter);
        self.op(op)
    }

    fn fsync(self, name: &str) -> Self {
        let ino = self.ino(name);
        self.op(Op::Sync { ino, kind: SyncKind::All })
    }

    fn fsync_root(self) -> Self {
        self.op(Op::Sync { ino: Ino::ROOT, kind: SyncKind::All })
    }

    fn rename(self, from: &str, to: &str) -> Self {
        let slot = |name| Slot::new(Ino::ROOT, name);
        self.op(Op::Rename { from: slot(from), to: slot(to), exchange: false })
    }

    fn unlink(self, name: &str) -> Self {
        self.op(Op::Unlink { slot: Slot::new(Ino::ROOT, name) })
    }

    fn end(self) -> Trace {
        self.recorder.finish("litmus")
    }
}

fn write(ino: Ino, offset: u64, letter: char) -> Op {
    Op::Write { ino, offset, data: page(letter), direct: false, sync: None }
}

/// The disks of the last moment of `trace`, each as what stands under `names`.
fn outcomes(trace: &Trace, profile: Profile, names: &[&str]) -> BTreeSet<String> {
    let model = Model::new(Arc::new(trace.clone()), profile);
    let mut moments = model.moments();
    let mut last = None;
    while let Some(moment) = moments.next() {
        last = Some(moment.clone());
    }
    let disks = complete::disks(&model, &last.expect("a program has ops"));
    disks.values().map(|(_, disk)| shown(disk, names)).collect()
}

fn shown(disk: &Disk, names: &[&str]) -> String {
    let walk = disk.walk();
    let find = |name: &str| walk.iter().find(|(path, _)| path == name.as_bytes()).map(|(_, i)| *i);
    let shown = names.iter().map(|name| match find(name) {
        None => "-".to_string(),
        Some(ino) => disk.content(ino).map_or("dir".into(), |content| letters(&content.to_vec())),
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn letters(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "0".into();
    }
    let pages = bytes.chunks(PAGE as usize).map(|page| {
        let of_sector = |(index, sector): (usize, &[u8])| match sector {
            s if s.iter().all(|&b| b == 0) => 'Z',
            s if s.chunks(2).all(|c| "OMN".contains(c[0] as char) && c[1] == index as u8) => {
                s[0] as char
            }
            _ => 'G',
        };
        let found: BTreeSet<char> =
            page.chunks(SECTOR as usize).enumerate().map(of_sector).collect();
        // Older before newer, as the expectations have it.
        "ZGOMN".chars().filter(|c| found.contains(c)).collect::<String>()
    });
    pages.collect::<Vec<_>>().join(".")
}

/// `text` lists outcomes, separated by commas.
fn set(text: &str) -> BTreeSet<String> {
    text.split(',').map(|s| s.trim().to_string()).collect()
}

/// Every combination of one of `left` with one of `right`.
fn each(left: &str, right: &str) -> String {
    let pairs = left
        .split(',')
        .flat_map(|l| right.split(',').map(move |r| format!("{} {}", l.trim(), r.trim())));
    pairs.collect::<Vec<_>>().join(",")
}

/// Checks a program under posix, ext4, data-journal and process-kill, in this order.
#[track_caller]
fn expect(program: Program, names: &[&str], expected: [&str; 4]) {
    let trace = program.end();
    for (profile, expected) in Profile::ALL.into_iter().zip(expected) {
        assert_eq!(outcomes(&trace, profile, names), set(expected), "under {profile}");
    }
}

const NEW_FILE: &str = "-, 0, Z, G, ZN, GN, N";

#[test]
fn p01_a_new_file_that_was_never_synced() {
    let program = Program::on(&[]).creat("a").pwrite("a", 0, 'N');
    expect(program, &["a"], [NEW_FILE, "-, 0, N", "-, 0, N", "N"]);
}

#[test]
fn p02_a_new_file_whose_directory_was_not_synced() {
    let program = Program::on(&[]).creat("a").pwrite("a", 0, 'N').fsync("a");
    expect(program, &["a"], ["-, N", "N", "N", "N"]);
}

#[test]
fn p03_a_new_file_and_its_directory_synced() {
    let program = Program::on(&[]).creat("a").pwrite("a", 0, 'N').fsync("a").fsync_root();
    expect(program, &["a"], ["N", "N", "N", "N"]);
}

#[test]
fn p04_an_overwrite_may_be_torn() {
    let program = Program::on(&[("a", 'O')]).pwrite("a", 0, 'N');
    expect(program, &["a"], ["O, ON, N", "O, ON, N", "O, N", "N"]);
}

#[test]
fn p05_two_overwrites_are_versions_of_one_page() {
    let program = Program::on(&[("a", 'O')]).pwrite("a", 0, 'M').pwrite("a", 0, 'N');
    let versions = "O, M, N, OM, ON, MN";
    expect(program, &["a"], [versions, versions, "O, M, N", "N"]);
}

#[test]
fn p06_two_files_are_independent() {
    let program = Program::on(&[("a", 'O'), ("b", 'O')]).pwrite("a", 0, 'N').pwrite("b", 0, 'N');
    let pages = each("O, ON, N", "O, ON, N");
    expect(program, &["a", "b"], [&pages, &pages, "O O, N O, N N", "N N"]);
}

#[test]
fn p07_rename_over_a_file_without_sync() {
    let program = Program::on(&[("a", 'O')]).creat("t").pwrite("t", 0, 'N').rename("t", "a");
    let posix = [each("O", NEW_FILE), each("0, Z, G, ZN, GN, N", "-")].join(",");
    expect(program, &["a", "t"], [&posix, "O -, O 0, O N, N -", "O -, O 0, O N, N -", "N -"]);
}

#[test]
fn p08_rename_of_a_synced_file() {
    let program =
        Program::on(&[("a", 'O')]).creat("t").pwrite("t", 0, 'N').fsync("t").rename("t", "a");
    expect(program, &["a", "t"], ["O -, O N, N -", "O N, N -", "O N, N -", "N -"]);
}

#[test]
fn p09_rename_and_directory_sync() {
    let program = Program::on(&[("a", 'O')]).creat("t").pwrite("t", 0, 'N').fsync("t");
    let program = program.rename("t", "a").fsync_root();
    expect(program, &["a", "t"], ["N -", "N -", "N -", "N -"]);
}

#[test]
fn p10_an_unlink_may_be_undone() {
    let program = Program::on(&[("a", 'O')]).unlink("a");
    expect(program, &["a"], ["O, -", "O, -", "O, -", "-"]);
}

#[test]
fn p11_a_synced_unlink_stays() {
    let program = Program::on(&[("a", 'O')]).unlink("a").fsync_root();
    expect(program, &["a"], ["-", "-", "-", "-"]);
}

#[test]
fn p12_an_append_may_show_its_size_first() {
    let program = Program::on(&[("a", 'O')]).pwrite("a", 1, 'N');
    expect(program, &["a"], ["O, O.Z, O.G, O.ZN, O.GN, O.N", "O, O.N", "O, O.N", "O.N"]);
}

#[test]
fn p13_fdatasync_covers_the_size() {
    let program = Program::on(&[("a", 'O')]).pwrite("a", 1, 'N');
    let ino = program.ino("a");
    let program = program.op(Op::Sync { ino, kind: SyncKind::Data });
    expect(program, &["a"], ["O.N", "O.N", "O.N", "O.N"]);
}

#[test]
fn p14_sync_file_range_makes_nothing_durable() {
    let program = Program::on(&[("a", 'O')]).pwrite("a", 0, 'N');
    let ino = program.ino("a");
    let program = program.op(Op::StartWriteback { ino });
    expect(program, &["a"], ["O, ON, N", "O, ON, N", "O, N", "N"]);
}

#[test]
fn p15_a_sync_does_not_cover_a_write_that_had_not_ended_when_it_started() {
    let mut program = Program::on(&[("a", 'O')]);
    let ino = program.ino("a");
    let pwrite = program.recorder.start(1, None, write(ino, 0, 'N'));
    let fsync = program.recorder.start(2, None, Op::Sync { ino, kind: SyncKind::All });
    program.recorder.end(pwrite, Outcome::Done);
    program.recorder.end(fsync, Outcome::Done);
    expect(program, &["a"], ["O, ON, N", "O, ON, N", "O, N", "N"]);
}

#[test]
fn p16_link_and_unlink_are_two_slots() {
    let program = Program::on(&[("a", 'O')]);
    let ino = program.ino("a");
    let program = program.op(Op::Link { ino, slot: Slot::new(Ino::ROOT, "b") }).unlink("a");
    let ordered = "O -, O O, - O";
    expect(program, &["a", "b"], ["O -, O O, - O, - -", ordered, ordered, "- O"]);
}

#[test]
fn p17_a_synced_file_in_a_new_directory() {
    let program = Program::on(&[]).make(Ino::ROOT, "d", Kind::Dir);
    let dir = program.ino("d");
    let program = program.make(dir, "a", Kind::File).pwrite("a", 0, 'N').fsync("a").fsync("d");
    let whole = "dir N";
    expect(program, &["d", "d/a"], ["- -, dir N", whole, whole, whole]);
}

#[test]
fn p18_truncate_write_and_sync() {
    let program = Program::on(&[("a", 'O')]);
    let ino = program.ino("a");
    let program = program.op(Op::SetLen { ino, len: 0 }).pwrite("a", 0, 'N').fsync("a");
    expect(program, &["a"], ["N", "N", "N", "N"]);
}

/// Beyond the agreed list: what a truncation that was not synced may leave.
#[test]
fn p19_truncate_and_write_without_sync() {
    let program = Program::on(&[("a", 'O')]);
    let ino = program.ino("a");
    let program = program.op(Op::SetLen { ino, len: 0 }).pwrite("a", 0, 'N');
    expect(program, &["a"], ["O, 0, Z, G, ZN, GN, N", "O, 0, N", "O, 0, N", "N"]);
}

/// Direct writes to two sectors of one page are independent; buffered ones are versions of the page.
#[test]
fn p20_direct_writes_are_versions_of_sectors_only() {
    let sectors = |direct| {
        let program = Program::on(&[("a", 'O')]);
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
    let trace = Program::on(&[("a", 'O')]).pwrite("a", 0, 'N').end();
    let model = Model::new(Arc::new(trace), Profile::EXT4);
    let moment = model.moments().seek(2).expect("one op makes two stamps").clone();
    assert_eq!(complete::disks(&model, &moment).len(), 35 + 2);
}
