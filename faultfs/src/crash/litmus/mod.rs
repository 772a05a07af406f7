//! Litmus programs: small programs with the exact set of disks that a crash after their last op may
//! leave, nothing more and nothing less, under each profile.
//!
//! In the expectations: `-` absent, `0` an empty file, `O` the old page, `M` and `N` new ones, `Z` zeros,
//! `G` stale bytes, `xy` a page of whole sectors of both; several pages are joined by `.`, and a last
//! page that is not whole says how many bytes it has: `O:1024`.

mod agreed;
mod cells;
mod failed;
mod further;
mod mapped;
#[cfg(test)]
mod switches;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::complete;
use crate::disk::Disk;
use crate::model::{Model, Moment, Profile};
use crate::op::{Bytes, Ino, Kind, Op, PAGE, SECTOR, Slot, SyncKind};
use crate::recorder::Recorder;
use crate::trace::{Outcome, Stamp, Trace};

/// All programs, each by its name.
pub fn programs() -> impl Iterator<Item = (&'static str, Trace)> {
    all().map(|(name, make)| (name, make().trace))
}

fn all() -> impl Iterator<Item = (&'static str, fn() -> Litmus)> {
    [agreed::ALL, further::ALL, mapped::ALL, failed::ALL, cells::ALL].into_iter().flatten().copied()
}

/// Every disk that a crash may leave before the first op and after each start and end of one, by the stamp;
/// `None` where more than `micros_max` changes may be lost one by one, and the disks are too many to list.
pub fn legal(
    model: &Model,
    micros_max: usize,
) -> impl Iterator<Item = (Stamp, Option<Vec<Disk>>)> + '_ {
    let of = move |moment: &Moment| {
        let few = moment.window.len() <= micros_max;
        let disks = few.then(|| complete::disks(model, moment));
        let disks = disks.map(|all| all.into_values().map(|(_, disk)| disk).collect());
        (moment.stamp, disks)
    };
    let mut moments = model.moments();
    let first = of(moments.now());
    std::iter::once(first).chain(std::iter::from_fn(move || moments.next().map(of)))
}

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
    /// Starts on a durable disk with these files; a letter is a page.
    fn on(files: &[(&'static str, &str)]) -> Self {
        let mut disk = Disk::new();
        let mut names = Vec::new();
        for (name, pages) in files {
            let ino = disk.fresh_ino();
            let slot = Slot::new(Ino::ROOT, name);
            disk.apply(&Op::Create { slot, ino, kind: Kind::File, mode: 0o644 });
            for (at, letter) in (0..).zip(pages.chars()) {
                disk.apply(&write(ino, at * PAGE, letter));
            }
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

    fn failed_fsync(self, name: &str) -> Self {
        let op = Op::Sync { ino: self.ino(name), kind: SyncKind::All };
        self.failed(op)
    }

    fn failed(mut self, op: Op) -> Self {
        let id = self.recorder.start(0, None, op);
        self.recorder.end(id, Outcome::Failed(5));
        self
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

    /// An op that the crash meets under way.
    fn begin(mut self, op: Op) -> Self {
        self.recorder.start(0, None, op);
        self
    }

    fn set_len(self, name: &str, len: u64) -> Self {
        let ino = self.ino(name);
        self.op(Op::SetLen { ino, len })
    }

    fn sync(self, name: &str, kind: SyncKind) -> Self {
        let ino = self.ino(name);
        self.op(Op::Sync { ino, kind })
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
    let shown = names.iter().map(|name| match find(name.trim_start_matches("mode ")) {
        None => "-".to_string(),
        Some(ino) if name.starts_with("mode ") => {
            format!("{:o}", disk.get(ino).expect("a named inode").mode)
        }
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
        let found: String = "ZGOMN".chars().filter(|c| found.contains(c)).collect();
        if page.len() < PAGE as usize { format!("{found}:{}", page.len()) } else { found }
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

/// A program with what it may leave under `names`, under each profile.
struct Litmus {
    trace: Trace,
    names: Vec<&'static str>,
    expected: Vec<(Profile, String)>,
}

/// Under posix, ext4, data-journal and process-kill; what differs under the others is said with
/// [`Litmus::under`].
fn expect(program: Program, names: &[&'static str], expected: [&str; 4]) -> Litmus {
    let agreed =
        [Profile::POSIX, Profile::EXT4, Profile::DATA_JOURNAL, Profile::PROCESS_KILL].iter();
    let expected = agreed.copied().zip(expected.map(String::from)).collect();
    Litmus { trace: program.end(), names: names.to_vec(), expected }
}

/// The profile whose outcomes another one has where nothing else is said.
fn like(profile: Profile) -> Profile {
    match profile {
        Profile::EXT2 | Profile::EXT3_WRITEBACK | Profile::EXT4_WRITEBACK => Profile::POSIX,
        Profile::EXT4_FAST_COMMIT => Profile::EXT4_5_6,
        Profile::XFS => Profile::EXT4_NOAUTO_DA_ALLOC,
        Profile::XFS_LOG_FORCE => Profile::XFS,
        Profile::ZFS => Profile::DATA_JOURNAL,
        _ => Profile::EXT4,
    }
}

impl Litmus {
    /// What the program leaves under other profiles, where that is not as [`like`] says.
    fn under(mut self, profiles: &[Profile], expected: &str) -> Self {
        self.expected.extend(profiles.iter().map(|profile| (*profile, expected.to_string())));
        self
    }

    fn expected(&self, profile: Profile) -> BTreeSet<String> {
        match self.expected.iter().find(|(p, _)| *p == profile) {
            Some((_, text)) => set(text),
            None => self.expected(like(profile)),
        }
    }

    fn check(&self) {
        for profile in Profile::every() {
            assert_eq!(self.outcomes(profile), self.expected(profile), "under {profile}");
        }
        for (profile, text) in &self.expected[4..] {
            assert_ne!(
                set(text),
                self.expected(like(*profile)),
                "{profile} is as {} anyhow",
                like(*profile)
            );
        }
    }

    fn outcomes(&self, profile: Profile) -> BTreeSet<String> {
        outcomes(&self.trace, profile, &self.names)
    }
}

/// Makes each program a test of its own, and a list of them all.
macro_rules! litmus {
    ($($name:ident),* $(,)?) => {
        /// The programs of this file.
        pub(super) const ALL: &[(&str, fn() -> super::Litmus)] = &[$((stringify!($name), $name)),*];

        #[cfg(test)]
        mod programs {
            $(#[test] fn $name() { super::$name().check(); })*
        }
    };
}
use litmus;
