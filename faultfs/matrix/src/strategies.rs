//! Four ways of choosing the disks that are recovered from. Each gets the same recorded run and the same
//! check, and stops at the first disk that breaks a promise.

use std::sync::Arc;
use std::time::Instant;

use faultfs::crash::{CrashImage, Loss};
use faultfs::disk::Disk;
use faultfs::op::{Bytes, Ino, Kind, Op, PAGE, Slot};
use faultfs::report::Report;
use faultfs::trace::{Marks, Stamp, Trace};
use faultfs::{FaultFs, Profile, explore};

use crate::Pattern;
use crate::kit::{Kill, Twin};

/// A way of exploring: a name, and what it makes of a pattern with its bug; `None` where it finds nothing.
pub type Strategy = (&'static str, fn(&Pattern) -> Option<Kill>);

/// The simpler ones, then ours.
pub const ALL: [Strategy; 4] = [
    ("drop unsynced", drop_unsynced),
    ("random", random),
    ("one op omitted", one_omission),
    ("ours", ours),
];

/// At every crash point all that was not synced is gone, and nothing else: LevelDB's fault injection and most
/// simulators.
pub fn drop_unsynced(pattern: &Pattern) -> Option<Kill> {
    first(pattern, |trace| {
        let cuts = stamps(trace).map(|stamp| cut(trace, stamp));
        cuts.map(|trace| image(trace, Loss::Everything)).collect()
    })
}

/// Draws at each crash point.
const DRAWS: u64 = 20;

/// At every crash point a disk on which each unsynced page and entry is kept by chance: Pebble's
/// `CrashClone`, with a chance of 10, 50 and 90 in a hundred in turn.
pub fn random(pattern: &Pattern) -> Option<Kill> {
    first(pattern, |trace| {
        let mut out = Vec::new();
        for stamp in stamps(trace) {
            let (synced, marks) = image(cut(trace, stamp), Loss::Everything);
            let (current, _) = image(cut(trace, stamp), Loss::Nothing);
            for draw in 0..DRAWS {
                let mut rng = fastrand::Rng::with_seed(stamp * DRAWS + draw);
                let percent = [10, 50, 90][draw as usize % 3];
                let keep = || rng.u8(..100) < percent;
                out.push((mixed(&synced, &current, keep), marks.clone()));
            }
        }
        out
    })
}

/// At every crash point everything is kept, or one earlier op is gone, or the last one is cut short behind
/// some of its pages: ALICE's prefixes and its ordering step, with the legality of `posix`. Its atomicity
/// step, which splits a write in thirds and puts zeros and garbage in their places, is not among them.
pub fn one_omission(pattern: &Pattern) -> Option<Kill> {
    first(pattern, |trace| {
        let mut out = Vec::new();
        let trace = Arc::new(trace.clone());
        let id = explore::trace_id(&trace);
        for stamp in stamps(&trace) {
            let before = trace.ops.iter().filter(|op| op.start <= stamp).count();
            let omitted = (0..before).map(|op| format!("w{op}"));
            let last = before.saturating_sub(1);
            let short = (1..8).map(|from| format!("w{last}.{from}"));
            for choice in ["k".to_string()].into_iter().chain(omitted).chain(short) {
                let token = format!("{id}-posix-{stamp}-{choice}").parse().expect("a token");
                // What the model does not allow is no state.
                out.extend(explore::state(&trace, &token).ok());
            }
        }
        out
    })
}

/// This package under `posix`; with crashes during recovery where that is what the pattern is about.
pub fn ours(pattern: &Pattern) -> Option<Kill> {
    let since = Instant::now();
    let (mut states, mut kill) = (0, None);
    let reports = explore(|fs| (pattern.run)(fs, Twin::Planted))
        .named(pattern.id)
        .recovery_crashes(pattern.recovery_crashes())
        .in_process()
        .reports(|fs, marks| {
            states += 1;
            let found = (pattern.check)(fs, Twin::Planted, marks);
            if found.is_err() && kill.is_none() {
                kill = Some(Kill { tried: states, took: since.elapsed() });
            }
            found
        });
    let held = reports.expect("the workload runs").iter().all(Report::held);
    kill.filter(|_| !held)
}

/// The reports of a twin under `profiles`.
pub fn reports(pattern: &Pattern, twin: Twin, profiles: &[Profile]) -> Vec<Report> {
    explore(|fs| (pattern.run)(fs, twin))
        .named(pattern.id)
        .recovery_crashes(pattern.recovery_crashes())
        .in_process()
        .profiles(profiles.iter().copied())
        .reports(|fs, marks| (pattern.check)(fs, twin, marks))
        .expect("the workload runs")
}

/// Recovers from one disk after the other until a promise is broken.
fn first(pattern: &Pattern, disks: impl Fn(&Trace) -> Vec<(Disk, Marks)>) -> Option<Kill> {
    let since = Instant::now();
    let fs = FaultFs::mem();
    (pattern.run)(&fs, Twin::Planted).expect("the workload runs");
    for (states, (disk, marks)) in (1..).zip(disks(&fs.trace())) {
        let found = (pattern.check)(&FaultFs::from_disk(disk), Twin::Planted, &marks);
        // As everywhere: an engine that has promised nothing yet may refuse to open.
        let refuses = |broken: &faultfs::verdict::Broken| {
            broken.verdict() == faultfs::verdict::Verdict::Unopenable && marks.acked.is_empty()
        };
        if found.is_err_and(|broken| !refuses(&broken)) {
            return Some(Kill { tried: states, took: since.elapsed() });
        }
    }
    None
}

/// Every crash point of a run.
fn stamps(trace: &Trace) -> impl Iterator<Item = Stamp> {
    let ops = trace.ops.iter().flat_map(|op| [Some(op.start), op.end]).flatten();
    let mut stamps: Vec<Stamp> = ops.chain(trace.marks.iter().map(|(at, _)| *at)).collect();
    stamps.sort_unstable();
    stamps.into_iter()
}

/// The run up to a crash point.
fn cut(trace: &Trace, stamp: Stamp) -> Trace {
    let mut cut = trace.clone();
    cut.ops.retain(|op| op.start <= stamp);
    cut.ops.iter_mut().for_each(|op| op.end = op.end.filter(|end| *end <= stamp));
    cut.marks.retain(|(at, _)| *at <= stamp);
    cut
}

fn image(trace: Trace, loss: Loss) -> (Disk, Marks) {
    let image = CrashImage::of(trace, Profile::POSIX, loss);
    (image.disk, image.marks)
}

/// The synced disk, with some of the pages and entries of the current one.
fn mixed(synced: &Disk, current: &Disk, mut keep: impl FnMut() -> bool) -> Disk {
    let mut out = Disk::new();
    let mut dirs = vec![Ino::ROOT];
    let mut made = std::collections::BTreeSet::new();
    while let Some(dir) = dirs.pop() {
        let mut names = synced.entries(dir).cloned().unwrap_or_default();
        for (name, ino) in current.entries(dir).into_iter().flatten() {
            if keep() {
                names.insert(name.clone(), *ino);
            }
        }
        for (name, ino) in names {
            let slot = Slot { dir, name };
            if !made.insert(ino) {
                if current.entries(ino).is_none() {
                    out.apply(&Op::Link { ino, slot });
                }
                continue;
            }
            let kind = if current.entries(ino).is_some() { Kind::Dir } else { Kind::File };
            out.apply(&Op::Create { slot, ino, kind: kind.clone(), mode: 0o644 });
            match kind {
                Kind::Dir => dirs.push(ino),
                _ => content(&mut out, ino, synced, current, &mut keep),
            }
        }
    }
    out
}

fn content(
    out: &mut Disk,
    ino: Ino,
    synced: &Disk,
    current: &Disk,
    keep: &mut impl FnMut() -> bool,
) {
    let of = |disk: &Disk| disk.content(ino).map(|content| content.to_vec()).unwrap_or_default();
    let (old, new) = (of(synced), of(current));
    let mut write = |offset: u64, data: &[u8]| {
        let data = Bytes::new(data);
        out.apply(&Op::Write { ino, offset, data, direct: false, sync: None });
    };
    write(0, &old);
    for (index, page) in (0..).zip(new.chunks(PAGE as usize)) {
        let offset = index * PAGE;
        let differs = old.get(offset as usize..offset as usize + page.len()) != Some(page);
        if differs && keep() {
            write(offset, page);
        }
    }
}
