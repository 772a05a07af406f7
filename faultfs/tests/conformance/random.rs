//! Long random sequences, the same in every run. `FAULTFS_OPS` sets how many ops; a disagreement is
//! shrunk to the asks that it needs.

use fastrand::Rng;
use faultfs::op::SyncKind;

use crate::ask::{Ask, Flags, HANDLES, MapAsk};
use crate::world::Worlds;

/// Ops of a normal test run.
const OPS: usize = 120_000;
/// Ops before everything starts afresh: few enough to stay legible, enough to meet a full directory.
const SEQUENCE: usize = 300;

#[test]
fn memory_folder_and_std_agree_on_random_ops() {
    let total = match std::env::var("FAULTFS_OPS") {
        Ok(text) => text.parse().expect("FAULTFS_OPS is a number of ops"),
        Err(_) => OPS,
    };
    let (mut succeeded, mut mapped) = (0, 0);
    for seed in 0..(total / SEQUENCE).max(1) as u64 {
        let asks = sequence(seed);
        match run(&asks) {
            Ok(counts) => (succeeded, mapped) = (succeeded + counts.0, mapped + counts.1),
            Err(_) => {
                let asks = shrink(asks);
                let words = run(&asks).expect_err("shrinking keeps the disagreement");
                panic!("seed {seed}: after\n{:#?}\n{words}", &asks[..asks.len() - 1]);
            }
        }
    }
    assert!(succeeded * 3 > total, "only {succeeded} of {total} did anything: a weak generator");
    assert!(
        mapped * 50 > total,
        "only {mapped} of {total} went through mappings: a weak generator"
    );
}

/// How many of the asks were answered without an error, and how many of those through a mapping, or the first
/// disagreement.
fn run(asks: &[Ask]) -> Result<(usize, usize), String> {
    let mut worlds = Worlds::new();
    let (mut succeeded, mut mapped) = (0, 0);
    for ask in asks {
        let done = usize::from(worlds.ask(ask)?.is_ok());
        succeeded += done;
        mapped += done * usize::from(matches!(ask, Ask::Mapped(..)));
    }
    worlds.compare()?;
    Ok((succeeded, mapped))
}

/// Leaves out asks, in ever smaller pieces, as long as there is a disagreement without them.
fn shrink(mut asks: Vec<Ask>) -> Vec<Ask> {
    let mut piece = asks.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < asks.len() {
            let end = (at + piece).min(asks.len());
            let rest = [&asks[..at], &asks[end..]].concat();
            if run(&rest).is_err() {
                asks = rest;
            } else {
                at = end;
            }
        }
        piece /= 2;
    }
    asks
}

pub(crate) fn sequence(seed: u64) -> Vec<Ask> {
    let mut rng = Rng::with_seed(seed);
    // Something to meet from the start.
    let first = ["a", "b", "a/a"].map(|path| Ask::CreateDir(path.into()));
    let opened = (0..HANDLES).map(|slot| {
        let flags =
            Flags { read: true, write: true, create: true, mode: 0o644, ..Flags::default() };
        Ask::Open(slot, ["c", "d", "a/c", "a/b"][slot].into(), flags)
    });
    first.into_iter().chain(opened).chain((7..SEQUENCE).map(|_| ask(&mut rng))).collect()
}

/// One to four components of a few names, so that paths meet each other.
fn path(rng: &mut Rng) -> String {
    let mut path = String::new();
    for index in 0..[1, 1, 1, 1, 2, 2, 2, 3, 4][rng.usize(..9)] {
        if index > 0 {
            path.push_str(if rng.u8(..20) == 0 { "//" } else { "/" });
        }
        path.push_str(match rng.u8(..40) {
            0 => ".",
            1 => "..",
            2..=12 => "a",
            13..=22 => "b",
            23..=30 => "c",
            31..=36 => "d",
            _ => "e",
        });
    }
    if rng.u16(..300) == 0 {
        path.push_str(&"x".repeat(256));
    }
    if rng.u8(..12) == 0 {
        path.push('/');
    }
    path
}

fn flags(rng: &mut Rng) -> Flags {
    Flags {
        read: rng.u8(..4) > 0,
        write: rng.bool(),
        append: rng.u8(..4) == 0,
        truncate: rng.u8(..5) == 0,
        create: rng.u8(..3) > 0,
        create_new: rng.u8(..8) == 0,
        sync: [None, None, None, Some(SyncKind::All), Some(SyncKind::Data)][rng.usize(..5)],
        mode: [0o666, 0o600, 0o777][rng.usize(..3)],
    }
}

/// Small, at the edges of sectors and pages, or large.
fn offset(rng: &mut Rng) -> u64 {
    match rng.u8(..20) {
        0..=9 => rng.u64(..64),
        10..=15 => (rng.u64(..5) * 4096 + rng.u64(..3)).saturating_sub(1),
        16..=18 => rng.u64(..20_000),
        _ => [1 << 40, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX][rng.usize(..4)],
    }
}

/// A size that can be set without exhausting the folder.
fn size(rng: &mut Rng) -> u64 {
    match rng.u8(..20) {
        0 => i64::MAX as u64 + 1,
        _ => offset(rng).min(1 << 20),
    }
}

/// A byte of a mapping, or one behind it.
fn place(rng: &mut Rng) -> usize {
    offset(rng).min(20_000) as usize
}

fn length(rng: &mut Rng) -> usize {
    match rng.u8(..10) {
        0 => 0,
        1..=6 => rng.usize(1..64),
        7 => 4096,
        _ => rng.usize(..9000),
    }
}

fn ask(rng: &mut Rng) -> Ask {
    let slot = rng.usize(..HANDLES);
    match rng.u8(..112) {
        0..=13 => Ask::Open(slot, path(rng), flags(rng)),
        14..=15 => Ask::Unnamed(slot, path(rng)),
        16..=18 => Ask::LinkUnnamed(slot, path(rng)),
        19 => Ask::Clone(slot, rng.usize(..HANDLES)),
        20 => Ask::Close(slot),
        21..=25 => Ask::Read(slot, length(rng)),
        26..=29 => Ask::ReadAt(slot, length(rng), offset(rng)),
        30..=35 => Ask::Write(slot, length(rng)),
        36..=40 => Ask::WriteAt(slot, length(rng), offset(rng).min(1 << 20)),
        41 => Ask::SeekStart(slot, offset(rng).min(1 << 20)),
        42 => Ask::SeekEnd(slot, rng.i64(-100..100)),
        43 => Ask::SeekCurrent(slot, rng.i64(-100..100)),
        44..=46 => Ask::SetLen(slot, size(rng)),
        47..=48 => Ask::Sync(slot, [SyncKind::All, SyncKind::Data][rng.usize(..2)]),
        49 => Ask::Stat(slot),
        50 => Ask::Chmod(slot, rng.u32(..0o1000)),
        51..=52 => Ask::PathStat(path(rng)),
        53..=54 => Ask::PathLstat(path(rng)),
        55 => Ask::PathChmod(path(rng), rng.u32(..0o1000)),
        56 => Ask::Exists(path(rng)),
        57..=58 => Ask::ReadFile(path(rng)),
        59..=62 => Ask::WriteFile(path(rng), length(rng)),
        63..=68 => Ask::CreateDir(path(rng)),
        69..=70 => Ask::CreateDirAll(path(rng)),
        71..=73 => Ask::RemoveDir(path(rng)),
        74 => Ask::RemoveDirAll(path(rng)),
        75..=76 => Ask::ReadDir(path(rng)),
        77..=80 => Ask::Remove(path(rng)),
        81..=87 => Ask::Rename(path(rng), path(rng)),
        88..=89 => Ask::Exchange(path(rng), path(rng)),
        90..=92 => Ask::HardLink(path(rng), path(rng)),
        93..=95 => Ask::Symlink(path(rng), path(rng)),
        96 => Ask::ReadLink(path(rng)),
        97..=98 => Ask::SyncDir(path(rng)),
        99 => Ask::SyncAll,
        _ => Ask::Mapped(slot, map_ask(rng)),
    }
}

fn map_ask(rng: &mut Rng) -> MapAsk {
    match rng.u8(..12) {
        0..=2 => MapAsk::Map(place(rng) as u64, length(rng), rng.u8(..4) > 0),
        3..=5 => MapAsk::Load(length(rng), place(rng)),
        6..=8 => MapAsk::Store(length(rng), place(rng)),
        9 => MapAsk::Edit(length(rng), place(rng)),
        _ => MapAsk::Flush(length(rng), place(rng)),
    }
}
