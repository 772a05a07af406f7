//! The programs that are run: the litmus programs by name, and drawn ones: `drawn-SEED`.

use fastrand::Rng;
use faultfs::crash::litmus;
use faultfs::disk::Disk;
use faultfs::op::{Bytes, Ino, Kind, Op, PAGE, SECTOR, Slot, SyncKind};
use faultfs::recorder::Recorder;
use faultfs::trace::Trace;

const DRAWN: &str = "drawn-";

/// The program of this name.
pub(crate) fn find(name: &str) -> Option<Trace> {
    match name.strip_prefix(DRAWN) {
        Some(seed) => Some(drawn(seed.parse().ok()?)),
        None => litmus::programs().find(|(known, _)| *known == name).map(|(_, trace)| trace),
    }
}

/// The names of all litmus programs, or of those that have one of these parts in their name.
pub(crate) fn names(parts: &[String]) -> Vec<String> {
    let names = litmus::programs().map(|(name, _)| name.to_string());
    names.filter(|name| parts.is_empty() || parts.iter().any(|part| name.contains(part))).collect()
}

/// The names of drawn programs.
pub(crate) fn drawn_names(first: u64, count: u64) -> Vec<String> {
    (first..first + count).map(|seed| format!("{DRAWN}{seed}")).collect()
}

/// True for a drawn program, whose pages are not torn: that is the device's doing, not the filesystem's, and too
/// much to list.
pub(crate) fn is_drawn(name: &str) -> bool {
    name.starts_with(DRAWN)
}

struct Author {
    rng: Rng,
    recorder: Recorder,
    /// Of the next page that is written.
    letter: u8,
}

/// Three to six ops on two files, a directory, and what becomes of them.
fn drawn(seed: u64) -> Trace {
    let mut author =
        Author { rng: Rng::with_seed(seed), recorder: Recorder::new(Disk::new()), letter: b'A' };
    author.recorder = Recorder::new(author.base());
    let ops = author.rng.usize(3..=6);
    while author.recorder.trace().ops.len() < ops {
        if let Some(op) = author.op() {
            author.recorder.record(0, None, op);
        }
    }
    author.recorder.finish(format!("{DRAWN}{seed}"))
}

impl Author {
    fn base(&mut self) -> Disk {
        let mut disk = Disk::new();
        for name in ["a", "b"] {
            let ino = disk.fresh_ino();
            let slot = Slot::new(Ino::ROOT, name);
            disk.apply(&Op::Create { slot, ino, kind: Kind::File, mode: 0o644 });
            for page in 0..self.rng.u64(..3) {
                let write = self.write(ino, page * PAGE, PAGE);
                disk.apply(&write);
            }
        }
        let (ino, slot) = (disk.fresh_ino(), Slot::new(Ino::ROOT, "d"));
        disk.apply(&Op::Create { slot, ino, kind: Kind::Dir, mode: 0o755 });
        disk
    }

    /// A write of whole sectors, each of which is known by its letter and its place in the page.
    fn write(&mut self, ino: Ino, offset: u64, len: u64) -> Op {
        let letter = self.letter;
        // `G` and `Z` are stale bytes and zeros in what is printed.
        self.letter = if letter == b'Y' { b'A' } else { letter + 1 + u8::from(letter == b'F') };
        let first = offset % PAGE / SECTOR;
        let sectors = (first..).take((len / SECTOR) as usize);
        let bytes: Vec<u8> = sectors
            .flat_map(|at| [letter, (at % (PAGE / SECTOR)) as u8].repeat(SECTOR as usize / 2))
            .collect();
        Op::Write { ino, offset, data: Bytes::new(&bytes), direct: false, sync: None }
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())].clone()
    }

    fn named(&self) -> Vec<(Slot, Ino)> {
        let live = self.recorder.live();
        let dirs = [Ino::ROOT].into_iter().chain(live.walk().into_iter().map(|(_, ino)| ino));
        let of = |dir: Ino| {
            let entries = live.entries(dir).into_iter().flatten();
            entries.map(move |(name, ino)| (Slot::new(dir, name.as_bytes()), *ino))
        };
        dirs.flat_map(of).collect()
    }

    fn op(&mut self) -> Option<Op> {
        let live = self.recorder.live().clone();
        let named = self.named();
        let files: Vec<(Slot, Ino)> =
            named.iter().filter(|(_, ino)| live.content(*ino).is_some()).cloned().collect();
        let dirs: Vec<Ino> =
            named.iter().map(|n| n.1).filter(|i| live.entries(*i).is_some()).collect();
        let dir = self.pick(&[&dirs[..], &[Ino::ROOT, Ino::ROOT]].concat());
        let name = self.pick(&["a", "b", "c", "e"]);
        let slot = Slot::new(dir, name);
        if files.is_empty() {
            let ino = self.recorder.fresh_ino();
            return Some(Op::Create { slot, ino, kind: Kind::File, mode: 0o644 });
        }
        let (from, ino) = self.pick(&files);
        let len = live.content(ino)?.len();
        let is_free = live.lookup(&slot).is_none();
        let replaces = live.lookup(&slot).is_none_or(|i| live.content(i).is_some() && i != ino);
        Some(match self.rng.u8(..16) {
            0..3 => {
                let offset = self.pick(&[0, 0, PAGE, len / PAGE * PAGE]);
                let len = self.pick(&[PAGE, PAGE, 2 * PAGE, PAGE / 2]);
                self.write(ino, offset, len)
            }
            3 | 4 => self.write(ino, len, PAGE - len % PAGE),
            5 => Op::SetLen { ino, len: self.pick(&[0, PAGE / 2, PAGE, 2 * PAGE]) },
            6 if is_free => {
                let ino = self.recorder.fresh_ino();
                Op::Create { slot, ino, kind: Kind::File, mode: 0o644 }
            }
            7 if is_free => Op::Link { ino, slot },
            8 => Op::Unlink { slot: from },
            9 | 10 if replaces && slot != from => Op::Rename { from, to: slot, exchange: false },
            11 => Op::SetMode { ino, mode: 0o600 },
            12 => Op::Sync { ino: dir, kind: SyncKind::All },
            13 => Op::Sync { ino, kind: SyncKind::Data },
            14 => Op::Sync { ino, kind: SyncKind::All },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_program_is_the_same_each_time_and_none_is_like_the_next() {
        let text = |seed| {
            let trace = find(&format!("drawn-{seed}")).unwrap();
            (0..trace.ops.len()).map(|op| trace.describe(op)).collect::<Vec<_>>().join("; ")
        };
        let texts: Vec<String> = (0..50).map(text).collect();
        assert_eq!(texts, (0..50).map(text).collect::<Vec<_>>());
        let distinct: std::collections::BTreeSet<&String> = texts.iter().collect();
        assert!(distinct.len() > 45, "{distinct:#?}");
    }
}
