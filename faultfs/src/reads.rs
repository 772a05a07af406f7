//! What a recovery reads of the disk that it finds: each question once, in the order in which it was first
//! asked, and not those whose answer the recovery wrote itself.
//!
//! A disk that gives the same answers is the same disk to a recovery that is a deterministic function of
//! what it reads. Everything that a call tells is an answer: bytes in sectors, sizes, modes, numbers of
//! names, listings, and of every name that is looked up what stands there, nothing included.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};

use twox_hash::XxHash3_128;

use crate::disk::{Body, Disk, page_spans};
use crate::op::{Ino, Op, PAGE, SECTOR, Slot};

/// Something that the calls of a recovery ask of a disk.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Question {
    /// What stands under a name: which inode, of which kind; a link's target with it.
    Entry(Slot),
    /// The names in a directory, each as [`Question::Entry`] has it.
    List(Ino),
    /// The size of a file.
    Len(Ino),
    /// Sectors of a page of a file.
    Sectors(Ino, u64, u8),
    /// The size and all bytes of a file.
    Content(Ino),
    /// Permission bits.
    Mode(Ino),
    /// How many names a file has.
    Links(Ino),
}

impl Question {
    /// The hash of what `disk` answers.
    pub(crate) fn answer(&self, disk: &Disk) -> u128 {
        match self {
            Question::Entry(slot) => entry(disk, disk.lookup(slot)),
            Question::List(dir) => {
                let mut hasher = XxHash3_128::new();
                for (name, &ino) in disk.entries(*dir).into_iter().flatten() {
                    hasher.write(&(name.as_bytes().len() as u64).to_le_bytes());
                    hasher.write(name.as_bytes());
                    hasher.write(&entry(disk, Some(ino)).to_le_bytes());
                }
                hasher.finish_128()
            }
            Question::Len(ino) => disk.content(*ino).map_or(u128::MAX, |c| c.len().into()),
            Question::Sectors(ino, page, sectors) => {
                disk.content(*ino).map_or(u128::MAX, |c| c.sectors_hash(*page, *sectors))
            }
            Question::Content(ino) => disk.content(*ino).map_or(u128::MAX, |c| c.hash()),
            Question::Mode(ino) => disk.get(*ino).map_or(u128::MAX, |inode| inode.mode.into()),
            Question::Links(ino) => disk.links(*ino).into(),
        }
    }
}

/// An entry that names an inode which is not there is no entry: a crash lost it.
fn entry(disk: &Disk, ino: Option<Ino>) -> u128 {
    let Some((ino, inode)) = ino.and_then(|ino| Some((ino, disk.get(ino)?))) else { return 0 };
    match &inode.body {
        Body::File(_) => u128::from(ino.0) << 8 | 1,
        Body::Dir(_) => u128::from(ino.0) << 8 | 2,
        Body::Symlink(target) => {
            XxHash3_128::oneshot(&[&ino.0.to_le_bytes(), target.as_bytes()].concat())
        }
    }
}

/// The record of what one recovery has read.
///
/// Doors that serve a disk from memory tell it what each call looks at, and what each call has written.
/// What they do not follow exactly they report as [`Reads::everything`].
#[derive(Debug)]
pub struct Reads(RefCell<Inner>);

#[derive(Debug)]
struct Inner {
    /// Inodes from here on were made by the recovery: there is nothing to ask about them.
    made_from: Ino,
    asked: Vec<Question>,
    known: BTreeSet<Question>,
    sectors: BTreeMap<(Ino, u64), u8>,
    written: BTreeMap<Ino, Written>,
    slots: BTreeSet<Slot>,
    all: bool,
}

/// What of a file the recovery wrote itself.
#[derive(Debug)]
struct Written {
    size: bool,
    /// Bytes from here on are not those of the disk, whatever they are.
    cut: u64,
    sectors: BTreeMap<u64, u8>,
    mode: bool,
}

impl Default for Written {
    fn default() -> Self {
        Written { size: false, cut: u64::MAX, sectors: BTreeMap::new(), mode: false }
    }
}

impl Reads {
    /// Nothing was read of `disk` yet.
    pub fn of(disk: &Disk) -> Reads {
        Reads(RefCell::new(Inner {
            made_from: disk.next_ino(),
            asked: Vec::new(),
            known: BTreeSet::new(),
            sectors: BTreeMap::new(),
            written: BTreeMap::new(),
            slots: BTreeSet::new(),
            all: false,
        }))
    }

    /// A name was looked up, whether or not something stands there.
    pub fn entry(&self, dir: Ino, name: &[u8]) {
        let Some(mut inner) = self.noted() else { return };
        let inner = &mut *inner;
        let slot = Slot::new(dir, name);
        if !inner.slots.contains(&slot) {
            inner.ask(dir, Question::Entry(slot));
        }
    }

    /// A directory was listed, or asked whether it is empty.
    pub fn list(&self, dir: Ino) {
        self.noted().into_iter().for_each(|mut inner| inner.ask(dir, Question::List(dir)));
    }

    /// The size of a file was told, or decided what a call did.
    pub fn len(&self, ino: Ino) {
        let Some(mut inner) = self.noted() else { return };
        let inner = &mut *inner;
        if !inner.written.get(&ino).is_some_and(|written| written.size) {
            inner.ask(ino, Question::Len(ino));
        }
    }

    /// Up to `len` bytes of a file were read from `offset`.
    pub fn bytes(&self, ino: Ino, offset: u64, len: u64) {
        let Some(mut inner) = self.noted() else { return };
        let inner = &mut *inner;
        for (page, at, range) in page_spans(offset, len) {
            inner.ask_sectors(ino, page, touched(at, range.len()));
        }
    }

    /// A file was read from `offset`, and `len` bytes were there.
    pub fn file(&self, ino: Ino, offset: u64, len: u64) {
        self.len(ino);
        self.bytes(ino, offset, len);
    }

    /// Attributes were told: kind and inode, which the look-up has told already, size and mode.
    pub(crate) fn attributes(&self, ino: Ino) {
        self.len(ino);
        self.mode(ino);
    }

    /// A file was mapped: from now on its bytes are read without a call.
    pub fn mapped(&self, ino: Ino) {
        /// Of a file that was cut shorter than this the rest is asked by pages.
        const PAGES_MAX: u64 = 64;
        let Some(mut inner) = self.noted() else { return };
        let inner = &mut *inner;
        match inner.written.get(&ino) {
            Some(Written { size: true, cut, .. }) if *cut <= PAGES_MAX * PAGE => {
                let pages = 0..cut.div_ceil(PAGE);
                pages.for_each(|page| inner.ask_sectors(ino, page, u8::MAX));
            }
            _ => inner.ask(ino, Question::Content(ino)),
        }
    }

    /// The permission bits of an inode were told, or decided what a call did.
    pub fn mode(&self, ino: Ino) {
        let Some(mut inner) = self.noted() else { return };
        let inner = &mut *inner;
        if !inner.written.get(&ino).is_some_and(|written| written.mode) {
            inner.ask(ino, Question::Mode(ino));
        }
    }

    /// The number of names of a file was told, or decided what a call did.
    pub fn links(&self, ino: Ino) {
        self.noted().into_iter().for_each(|mut inner| inner.ask(ino, Question::Links(ino)));
    }

    /// Something is read that is not followed: all of the disk counts as read, and nothing more is noted.
    pub fn everything(&self) {
        self.0.borrow_mut().all = true;
    }

    /// The record, where there is something to note.
    fn noted(&self) -> Option<RefMut<'_, Inner>> {
        let inner = self.0.borrow_mut();
        (!inner.all).then_some(inner)
    }

    /// An op was carried out: what it wrote is not the disk's any more.
    pub fn done(&self, op: &Op) {
        let Some(mut inner) = self.noted() else { return };
        let inner = &mut *inner;
        match op {
            Op::Create { slot, .. } | Op::Link { slot, .. } | Op::Unlink { slot } => {
                inner.slots.insert(slot.clone());
            }
            Op::Rename { from, to, .. } => inner.slots.extend([from.clone(), to.clone()]),
            Op::Write { ino, offset, data, .. } => inner.wrote(*ino, *offset, data.len() as u64),
            Op::SetLen { ino, len } => {
                let written = inner.written.entry(*ino).or_default();
                written.size = true;
                written.cut = written.cut.min(*len);
            }
            Op::SetMode { ino, .. } => inner.written.entry(*ino).or_default().mode = true,
            // What they leave is asked of the disk as before.
            Op::CreateUnnamed { .. }
            | Op::MapStore { .. }
            | Op::Zero { .. }
            | Op::Sync { .. }
            | Op::SyncMap { .. }
            | Op::SyncAll
            | Op::StartWriteback { .. } => {}
        }
    }

    /// As [`Reads::done`] for a write.
    pub fn wrote(&self, ino: Ino, offset: u64, len: u64) {
        self.noted().into_iter().for_each(|mut inner| inner.wrote(ino, offset, len));
    }

    /// Whether all that was read is the same on two disks; never where not all is known.
    pub fn agree(&self, one: &Disk, other: &Disk) -> bool {
        let inner = self.0.borrow();
        let same = |question: &Question| question.answer(one) == question.answer(other);
        !inner.all && inner.asked.iter().all(same)
    }

    /// The questions in the order in which they were first asked; `None` where not all are known.
    pub(crate) fn into_questions(self) -> Option<Vec<Question>> {
        let inner = self.0.into_inner();
        (!inner.all).then_some(inner.asked)
    }

    /// A record that missed the names that were looked up and not there: what the checks of pruning must
    /// not miss.
    #[cfg(test)]
    pub(crate) fn without_failed_lookups(self, disk: &Disk) -> Reads {
        let missed = |question: &Question| match question {
            Question::Entry(slot) => disk.lookup(slot).is_none(),
            _ => false,
        };
        self.0.borrow_mut().asked.retain(|question| !missed(question));
        self
    }
}

impl Inner {
    fn ask(&mut self, ino: Ino, question: Question) {
        if ino < self.made_from && self.known.insert(question.clone()) {
            self.asked.push(question);
        }
    }

    fn ask_sectors(&mut self, ino: Ino, page: u64, mut sectors: u8) {
        if ino >= self.made_from {
            return;
        }
        if let Some(written) = self.written.get(&ino) {
            sectors &= !written.sectors.get(&page).copied().unwrap_or(0);
            sectors &= below(written.cut, page);
        }
        let asked = self.sectors.entry((ino, page)).or_default();
        sectors &= !*asked;
        *asked |= sectors;
        if sectors != 0 {
            self.asked.push(Question::Sectors(ino, page, sectors));
        }
    }

    fn wrote(&mut self, ino: Ino, offset: u64, len: u64) {
        if ino >= self.made_from {
            return;
        }
        let written = self.written.entry(ino).or_default();
        for (page, at, range) in page_spans(offset, len) {
            *written.sectors.entry(page).or_default() |= covered(at, range.len());
        }
    }
}

const SECTOR_LEN: usize = SECTOR as usize;

/// The sectors of a page that `len` bytes from `at` touch.
fn touched(at: usize, len: usize) -> u8 {
    mask(at / SECTOR_LEN, (at + len).div_ceil(SECTOR_LEN))
}

/// The sectors of a page that `len` bytes from `at` fill.
fn covered(at: usize, len: usize) -> u8 {
    mask(at.div_ceil(SECTOR_LEN), (at + len) / SECTOR_LEN)
}

/// The sectors of a page that begin before byte `cut` of the file.
fn below(cut: u64, page: u64) -> u8 {
    mask(0, cut.saturating_sub(page * PAGE).min(PAGE).div_ceil(SECTOR) as usize)
}

/// The sectors from `from` to before `to`.
fn mask(from: usize, to: usize) -> u8 {
    let up_to = |sector: usize| (1u16 << sector) - 1;
    (up_to(to.max(from)) & !up_to(from)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Bytes, Kind, Name};

    const FILE: Ino = Ino(1);

    /// A file of two pages, and an empty directory.
    fn disk() -> Disk {
        let mut disk = Disk::new();
        for (name, kind) in [("file", Kind::File), ("dir", Kind::Dir)] {
            let (slot, ino) = (Slot::new(Ino::ROOT, name), disk.fresh_ino());
            disk.apply(&Op::Create { slot, ino, kind, mode: 0o644 });
        }
        disk.write_at(FILE, &[1; 8192], 0);
        disk
    }

    fn asked(read: impl Fn(&Reads)) -> Vec<Question> {
        let reads = Reads::of(&disk());
        read(&reads);
        reads.into_questions().expect("all is followed")
    }

    fn write(offset: u64, len: usize) -> Op {
        let data = Bytes::new(&vec![2; len]);
        Op::Write { ino: FILE, offset, data, direct: false, sync: None }
    }

    #[test]
    fn each_question_is_kept_once_in_the_order_of_asking() {
        let found = asked(|reads| {
            reads.bytes(FILE, 4090, 10);
            reads.len(FILE);
            reads.bytes(FILE, 3584, 1024);
            reads.len(FILE);
            reads.entry(Ino::ROOT, b"none");
            reads.entry(Ino::ROOT, b"none");
        });
        let none = Slot::new(Ino::ROOT, "none");
        let expected = [
            Question::Sectors(FILE, 0, 0x80),
            Question::Sectors(FILE, 1, 0x01),
            Question::Len(FILE),
            Question::Entry(none),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_the_recovery_wrote_itself_is_not_asked_of_the_disk() {
        let slot = Slot::new(Ino::ROOT, "file");
        let made = Slot::new(Ino::ROOT, "made");
        let found = asked(|reads| {
            // A sector that was overwritten in part still shows the disk.
            reads.done(&write(512, 700));
            reads.bytes(FILE, 0, 4096);
            reads.done(&Op::SetLen { ino: FILE, len: 4100 });
            reads.len(FILE);
            reads.bytes(FILE, 4096, 4096);
            reads.done(&Op::Unlink { slot: slot.clone() });
            reads.entry(Ino::ROOT, b"file");
            let create = Op::Create { slot: made.clone(), ino: Ino(3), kind: Kind::File, mode: 0 };
            reads.done(&create);
            reads.entry(Ino::ROOT, b"made");
            reads.bytes(Ino(3), 0, 100);
            reads.len(Ino(3));
        });
        let expected = [Question::Sectors(FILE, 0, !0x02), Question::Sectors(FILE, 1, 0x01)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_mapped_file_is_wholly_read_but_for_what_was_cut_off() {
        assert_eq!(asked(|reads| reads.mapped(FILE)), [Question::Content(FILE)]);
        let cut = asked(|reads| {
            reads.done(&Op::SetLen { ino: FILE, len: 3 });
            reads.mapped(FILE);
        });
        assert_eq!(cut, [Question::Sectors(FILE, 0, 0x01)]);
    }

    #[test]
    fn what_is_not_followed_is_no_record() {
        let reads = Reads::of(&disk());
        reads.everything();
        assert_eq!(reads.into_questions(), None);
    }

    /// Each answer changes with what it is about, and with nothing else.
    #[test]
    fn answers_tell_disks_apart_by_what_was_asked() {
        let questions = [
            Question::Entry(Slot::new(Ino::ROOT, "file")),
            Question::Entry(Slot::new(Ino::ROOT, "new")),
            Question::List(Ino::ROOT),
            Question::Len(FILE),
            Question::Sectors(FILE, 0, 0x02),
            Question::Sectors(FILE, 1, 0xff),
            Question::Content(FILE),
            Question::Mode(FILE),
            Question::Links(FILE),
        ];
        let new = Slot::new(Ino::ROOT, "new");
        let changes: [(Op, &[usize]); 6] = [
            (write(600, 10), &[4, 6]),
            (write(8191, 1), &[5, 6]),
            (Op::SetLen { ino: FILE, len: 8192 + 9 }, &[3, 6]),
            (Op::SetMode { ino: FILE, mode: 0 }, &[7]),
            (Op::Link { ino: FILE, slot: new.clone() }, &[1, 2, 8]),
            (
                Op::Rename { from: Slot::new(Ino::ROOT, "file"), to: new, exchange: false },
                &[0, 1, 2],
            ),
        ];
        for (op, expected) in changes {
            let (before, mut after) = (disk(), disk());
            after.apply(&op);
            let differ =
                |at: &usize| questions[*at].answer(&before) != questions[*at].answer(&after);
            let found: Vec<usize> = (0..questions.len()).filter(differ).collect();
            assert_eq!(found, expected, "{op:?}");
        }
        let (mut one, mut other) = (disk(), disk());
        for (disk, target) in [(&mut one, "a"), (&mut other, "b")] {
            let (slot, kind) = (Slot::new(Ino::ROOT, "new"), Kind::Symlink(Name::new(target)));
            disk.apply(&Op::Create { slot, ino: Ino(3), kind, mode: 0o777 });
        }
        assert_ne!(questions[1].answer(&one), questions[1].answer(&other));
    }
}
