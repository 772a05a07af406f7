//! From a crash point and a tape to the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use twox_hash::XxHash3_128;

use super::tape::{Choice, Older, Tape};
use crate::disk::{Content, Disk, Page, next_word};
use crate::model::{Model, Moment, Part};
use crate::op::{Ino, PAGE, SECTOR, Slot};

type PageBytes = [u8; PAGE as usize];

/// The disk that `tape` describes, or `None` where the model does not allow it at this moment: the tape
/// belongs to another run.
pub(crate) fn build(model: &Model, moment: &Moment, tape: &Tape) -> Option<Disk> {
    let mut disk = moment.kept.clone();
    Change::of(model, moment, tape)?.carry_out(&mut disk);
    Some(disk)
}

/// What a tape makes different from the disk on which nothing was lost. Its size and the work to find it
/// grow with what is lost, not with what is kept, of which there is mostly more.
#[derive(Clone, Default, Debug)]
pub(crate) struct Change {
    /// Files with other data or another size.
    pub(crate) files: BTreeMap<Ino, Content>,
    pub(crate) modes: BTreeMap<Ino, u32>,
    /// What stands in slots.
    pub(crate) slots: BTreeMap<Slot, Option<Ino>>,
}

impl Change {
    /// `None` where the model does not allow the tape at this moment.
    pub(crate) fn of(model: &Model, moment: &Moment, tape: &Tape) -> Option<Change> {
        let lost = lost(model, moment, tape)?;
        Change::under(model, moment, &lost, &tape.0)
    }

    /// What is lost, which is closed upward, and the torn and stale pages among `choices`.
    pub(crate) fn under(
        model: &Model,
        moment: &Moment,
        lost: &BTreeSet<u32>,
        choices: &[Choice],
    ) -> Option<Change> {
        let mut change = Change::without(model, moment, lost);
        for choice in choices {
            match choice {
                Choice::Stale(id) => change.stale(model, *id, lost)?,
                Choice::Torn { newer, older, sectors } => {
                    let Part::Page(patch) = &model.micros.all.get(*newer as usize)?.part else {
                        return None;
                    };
                    let content = change.files.get_mut(&patch.ino)?;
                    let image = torn(model, moment, lost, *newer, *older, *sectors)?;
                    match patch.versions() {
                        u8::MAX => content.put_page(patch.page, Page::new(image)),
                        sectors => copy_sectors(&image, content.page_mut(patch.page), sectors),
                    }
                }
                _ => {}
            }
        }
        // Data past a size that was lost is not there either.
        change.files.values_mut().for_each(Content::clip);
        Some(change)
    }

    /// All but the lost micro-ops: what these changed is put back, and what is kept of it done again.
    fn without(model: &Model, moment: &Moment, lost: &BTreeSet<u32>) -> Change {
        let part = |id: &u32| &model.micros.all[*id as usize].part;
        let touched = Touched::by(lost.iter().map(part));
        let mut change = touched.put_back(moment);
        for part in moment.window.iter().filter(|id| !lost.contains(id)).map(part) {
            touched.redo(part, &mut change);
        }
        change
    }

    /// Stale bytes in place of a page whose size step was kept and whose data was not.
    fn stale(&mut self, model: &Model, id: u32, lost: &BTreeSet<u32>) -> Option<()> {
        let Part::Page(patch) = &model.micros.all[id as usize].part else { return None };
        let exposed = patch.exposed_by.is_some_and(|step| !lost.contains(&step));
        if !model.profile.stale_bytes || !exposed {
            return None;
        }
        let bytes = self.files.get_mut(&patch.ino)?.page_mut(patch.page);
        copy_sectors(&stale_bytes(patch.ino, patch.page), bytes, patch.versions());
        Some(())
    }

    fn carry_out(self, disk: &mut Disk) {
        for (ino, content) in self.files {
            disk.set_content(ino, content);
        }
        for (ino, mode) in self.modes {
            disk.inode_mut(ino).into_iter().for_each(|inode| inode.mode = mode);
        }
        self.slots.iter().for_each(|(slot, ino)| disk.set_slot(slot, *ino));
    }
}

/// What some micro-ops changed.
#[derive(Default)]
struct Touched<'a> {
    pages: BTreeSet<(Ino, u64)>,
    sizes: BTreeSet<Ino>,
    modes: BTreeSet<Ino>,
    /// Files that were cut: any of their pages.
    cut: BTreeSet<Ino>,
    slots: BTreeSet<&'a Slot>,
}

impl<'a> Touched<'a> {
    fn by(parts: impl Iterator<Item = &'a Part>) -> Self {
        let mut touched = Touched::default();
        for part in parts {
            match part {
                Part::Page(patch) => drop(touched.pages.insert((patch.ino, patch.page))),
                Part::Len { ino, cut, .. } => {
                    touched.sizes.insert(*ino);
                    touched.cut.extend(cut.then_some(*ino));
                }
                Part::Mode { ino, .. } => drop(touched.modes.insert(*ino)),
                Part::Slots(changes) => touched.slots.extend(changes.iter().map(|(slot, _)| slot)),
            }
        }
        touched
    }

    /// Makes all that was touched as it is durable.
    fn put_back(&self, moment: &Moment) -> Change {
        let both = "a changed file is on every disk of the run";
        let durable = |ino: Ino| moment.durable.content(ino).expect(both);
        let mut change = Change::default();
        for &ino in &self.cut {
            change.files.insert(ino, durable(ino).clone());
        }
        let files = self.pages.iter().map(|(ino, _)| *ino).chain(self.sizes.iter().copied());
        for ino in files {
            let kept = || moment.kept.content(ino).expect(both).clone();
            change.files.entry(ino).or_insert_with(kept);
        }
        for &(ino, page) in self.pages.iter().filter(|(ino, _)| !self.cut.contains(ino)) {
            change.files.get_mut(&ino).expect("put there").copy_page(page, durable(ino));
        }
        for &ino in &self.sizes {
            change.files.get_mut(&ino).expect("put there").set_len_only(durable(ino).len());
        }
        for &ino in &self.modes {
            change.modes.extend(moment.durable.get(ino).map(|inode| (ino, inode.mode)));
        }
        for &slot in &self.slots {
            change.slots.insert(slot.clone(), moment.durable.lookup(slot));
        }
        change
    }

    /// Applies what a micro-op does to what was touched.
    fn redo(&self, part: &Part, change: &mut Change) {
        match part {
            Part::Page(patch) => {
                if self.cut.contains(&patch.ino) || self.pages.contains(&(patch.ino, patch.page)) {
                    let content = change.files.get_mut(&patch.ino).expect("touched");
                    patch.apply(content.page_mut(patch.page));
                }
            }
            Part::Len { ino, len, cut } => {
                let Some(content) = change.files.get_mut(ino) else { return };
                if self.cut.contains(ino) {
                    if *cut {
                        content.cut(len.next_multiple_of(PAGE));
                    }
                    content.set_len_only(*len);
                    return;
                }
                if self.sizes.contains(ino) {
                    content.set_len_only(*len);
                }
                let first = (*ino, len.div_ceil(PAGE));
                for (_, page) in self.pages.range(first..=(*ino, u64::MAX)).filter(|_| *cut) {
                    content.copy_page(*page, &Content::default());
                }
            }
            Part::Mode { ino, mode } if self.modes.contains(ino) => {
                change.modes.insert(*ino, *mode);
            }
            Part::Mode { .. } => {}
            Part::Slots(changes) => {
                let ours = changes.iter().filter(|(slot, _)| self.slots.contains(slot));
                change.slots.extend(ours.map(|(slot, ino)| (slot.clone(), *ino)));
            }
        }
    }
}

/// The micro-ops of the window that the tape loses; `None` where it names one outside.
pub(crate) fn lost(model: &Model, moment: &Moment, tape: &Tape) -> Option<BTreeSet<u32>> {
    let mut ids = Vec::new();
    for choice in &tape.0 {
        let before = ids.len();
        match *choice {
            Choice::LoseAll => ids.extend(&moment.window),
            Choice::Lose(id) | Choice::Stale(id) => ids.push(id),
            Choice::LoseRange { from, to } => {
                ids.extend(moment.window.iter().filter(|id| (from..=to).contains(id)));
            }
            Choice::Torn { newer, older, .. } => ids.extend(chain(model, moment, newer, older)?),
            Choice::LoseOp { op, from } => {
                let range = model.micros.of_op.get(op)?;
                ids.extend(range.clone().skip(from as usize));
                ids.retain(|id| moment.window.binary_search(id).is_ok());
            }
            Choice::LoseInode(ino) => ids.extend(of_inode(model, moment, ino)),
        }
        let chosen = &ids[before..];
        if chosen.is_empty() || chosen.iter().any(|id| moment.window.binary_search(id).is_err()) {
            return None;
        }
    }
    Some(moment.closed_upward(model, ids))
}

/// What is unsynced of an inode: a file's data, size and mode, a directory's entries.
pub(crate) fn of_inode(model: &Model, moment: &Moment, ino: Ino) -> Vec<u32> {
    let touches = |id: &&u32| match &model.micros.all[**id as usize].part {
        Part::Slots(changes) => changes.iter().any(|(slot, _)| slot.dir == ino),
        part => part.ino() == Some(ino),
    };
    moment.window.iter().filter(touches).copied().collect()
}

fn page_of(model: &Model, id: u32) -> Option<(Ino, u64)> {
    match &model.micros.all.get(id as usize)?.part {
        Part::Page(patch) => Some((patch.ino, patch.page)),
        _ => None,
    }
}

fn copy_sectors(from: &PageBytes, to: &mut PageBytes, sectors: u8) {
    for sector in (0..8).filter(|sector| sectors & (1 << sector) != 0) {
        let range = sector * SECTOR as usize..(sector + 1) * SECTOR as usize;
        to[range.clone()].copy_from_slice(&from[range]);
    }
}

/// What a page holds on which two of its versions met: the newer one, and what else of it was kept.
pub(crate) fn torn(
    model: &Model,
    moment: &Moment,
    lost: &BTreeSet<u32>,
    newer: u32,
    older: Older,
    sectors: u8,
) -> Option<PageBytes> {
    let chain = tearing(model, moment, lost, newer, older)?;
    let part = |id: u32| &model.micros.all[id as usize].part;
    let Part::Page(patch) = part(newer) else { return None };
    let page = (patch.ino, patch.page);
    let mut image = *moment.durable.content(page.0)?.page(page.1);
    let kept = moment.versions(model, page).filter(|id| !lost.contains(id));
    kept.for_each(|id| apply(part(id), page.1, &mut image));
    let mut whole = image;
    chain.iter().for_each(|id| apply(part(*id), page.1, &mut whole));
    if older == Older::Stale {
        copy_sectors(&stale_bytes(page.0, page.1), &mut image, patch.versions());
    }
    // Sectors of which a direct write makes no version hold what they held.
    copy_sectors(&whole, &mut image, patch.versions() & sectors);
    Some(image)
}

/// Whether two versions of a page may meet beside what is lost: by which versions they differ.
pub(crate) fn tearing(
    model: &Model,
    moment: &Moment,
    lost: &BTreeSet<u32>,
    newer: u32,
    older: Older,
) -> Option<BTreeSet<u32>> {
    let chain = chain(model, moment, newer, older)?;
    let part = |id: u32| &model.micros.all[id as usize].part;
    let Part::Page(patch) = part(newer) else { return None };
    // All else that the newer version stands on is there.
    let mut needs = chain.iter().flat_map(|id| &model.order.needs[*id as usize]);
    let tears = model.profile.torn_pages && !patch.unmaps();
    if !tears || needs.any(|id| lost.contains(id) && !chain.contains(id)) {
        return None;
    }
    let exposed = |id: &u32| match part(*id) {
        Part::Page(patch) => patch.exposed_by.is_some_and(|step| !lost.contains(&step)),
        _ => false,
    };
    let stale = model.profile.stale_bytes && chain.iter().any(exposed);
    (older != Older::Stale || stale).then_some(chain)
}

/// The version under a lost change: the last of its page that was kept.
pub(crate) fn kept_under(model: &Model, moment: &Moment, lost: &BTreeSet<u32>, id: u32) -> Older {
    let Some(page) = page_of(model, id) else { return Older::Durable };
    let earlier = moment.versions(model, page).take_while(|version| *version < id);
    let kept = earlier.filter(|v| !lost.contains(v) && page_of(model, *v) == Some(page));
    kept.last().map_or(Older::Durable, Older::Version)
}

/// The versions of a page by which `newer` differs from `older`, with `newer`: none of them was written
/// whole. They go back to the page's last cut, and to `older` where that is one of them.
fn chain(model: &Model, moment: &Moment, newer: u32, older: Older) -> Option<BTreeSet<u32>> {
    let page = page_of(model, newer)?;
    let from = match older {
        Older::Version(id) if id < newer && page_of(model, id)? == page => id + 1,
        Older::Version(_) => return None,
        Older::Durable | Older::Stale => 0,
    };
    let mut chain = BTreeSet::new();
    let mut todo = vec![newer];
    while let Some(id) = todo.pop() {
        let open = moment.window.binary_search(&id).is_ok();
        if open && id >= from && page_of(model, id) == Some(page) && chain.insert(id) {
            todo.extend(&model.order.needs[id as usize]);
        }
    }
    Some(chain)
}

/// Changes the bytes of a page as the micro-op does, which is one of the page's history.
fn apply(part: &Part, page: u64, bytes: &mut PageBytes) {
    match part {
        Part::Page(patch) => patch.apply(bytes),
        Part::Len { len, .. } if len.div_ceil(PAGE) <= page => bytes.fill(0),
        Part::Len { .. } | Part::Slots(_) | Part::Mode { .. } => {}
    }
}

/// What the device held before: never zeros, never text, and the same on every machine.
pub(crate) fn stale_bytes(ino: Ino, page: u64) -> PageBytes {
    let seed = XxHash3_128::oneshot(&[&ino.0.to_le_bytes()[..], &page.to_le_bytes()].concat());
    let mut state = seed as u64;
    let mut bytes = [0; PAGE as usize];
    for word in bytes.as_chunks_mut::<8>().0 {
        *word = next_word(&mut state).to_le_bytes();
    }
    bytes
}

/// The sectors in which two pages differ.
pub(crate) fn differing(one: &PageBytes, other: &PageBytes) -> u8 {
    let sectors = one.as_chunks::<{ SECTOR as usize }>().0.iter();
    let pairs = sectors.zip(other.as_chunks::<{ SECTOR as usize }>().0).enumerate();
    pairs.fold(0, |mask, (index, (one, other))| mask | u8::from(one != other) << index)
}

/// Every way in which a page may mix a newer version into an older one, which differ in these sectors: the
/// newer one as a prefix, a suffix, or whole but for one hole, in sectors. Ways that give equal bytes are
/// listed once.
pub(crate) fn tears(differs: u8) -> &'static [u8] {
    static KNOWN: [OnceLock<Vec<u8>>; 256] = [const { OnceLock::new() }; 256];
    KNOWN[usize::from(differs)].get_or_init(|| {
        let mut seen = BTreeSet::from([0, differs]);
        // A hole [from, to) of older sectors; one that touches an end leaves a suffix or a prefix.
        let holes = (0..8u32).flat_map(|from| (from + 1..=8).map(move |to| (from, to)));
        let kept = holes.map(|(from, to)| !((0xffu32 << from) & !(0xffu32 << to)) as u8);
        kept.filter(|kept| seen.insert(kept & differs)).collect()
    })
}
