//! From a crash point and a tape to the disk.

use std::collections::BTreeSet;

use twox_hash::XxHash3_128;

use super::tape::{Choice, Older, Tape};
use crate::disk::Disk;
use crate::model::{Model, Moment, Part};
use crate::op::{Ino, PAGE, SECTOR};

type PageBytes = [u8; PAGE as usize];

/// The disk that `tape` describes, or `None` where the model does not allow it at this moment: the tape
/// belongs to another run.
pub(crate) fn build(model: &Model, moment: &Moment, tape: &Tape) -> Option<Disk> {
    let lost = lost(model, moment, tape)?;
    let mut disk = moment.durable.clone();
    let mut files = moment.past_len.clone();
    for id in &moment.window {
        let part = &model.micros.all[*id as usize].part;
        if !lost.contains(id) {
            part.apply(&mut disk);
        }
        if let Part::Page(patch) = part {
            files.insert(patch.ino);
        }
    }
    for choice in &tape.0 {
        match choice {
            Choice::Stale(id) => stale(model, &mut disk, *id, &lost)?,
            Choice::Torn { newer, older, sectors } => {
                let page = page_of(model, *newer)?;
                let image = torn(model, moment, &lost, *newer, *older, *sectors)?;
                disk.content_mut(page.0)?.put_page(page.1, image);
            }
            _ => {}
        }
    }
    for ino in files {
        disk.content_mut(ino)?.clip();
    }
    Some(disk)
}

/// The micro-ops of the window that the tape loses; `None` where it names one outside.
pub(crate) fn lost(model: &Model, moment: &Moment, tape: &Tape) -> Option<BTreeSet<u32>> {
    let mut ids = Vec::new();
    for choice in &tape.0 {
        let before = ids.len();
        match *choice {
            Choice::LoseAll => ids.extend(&moment.window),
            Choice::Lose(id) | Choice::Stale(id) | Choice::Torn { newer: id, .. } => ids.push(id),
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

/// Stale bytes in place of a page whose size step was kept and whose data was not.
fn stale(model: &Model, disk: &mut Disk, id: u32, lost: &BTreeSet<u32>) -> Option<()> {
    let Part::Page(patch) = &model.micros.all[id as usize].part else { return None };
    let exposed = patch.exposed_by.is_some_and(|step| !lost.contains(&step));
    if !model.profile.stale_bytes || !exposed {
        return None;
    }
    let content = disk.content_mut(patch.ino)?;
    content.put_page(patch.page, stale_bytes(patch.ino, patch.page));
    Some(())
}

/// What a page holds on which two of its versions met.
pub(crate) fn torn(
    model: &Model,
    moment: &Moment,
    lost: &BTreeSet<u32>,
    newer: u32,
    older: Older,
    sectors: u8,
) -> Option<PageBytes> {
    let page = page_of(model, newer)?;
    let needs = &model.order.needs[newer as usize];
    if !model.profile.torn_pages || needs.iter().any(|id| lost.contains(id)) {
        return None;
    }
    let older = match older {
        Older::Durable => version(model, moment, lost, page, newer, None),
        Older::Version(id) if id < newer && !lost.contains(&id) && page_of(model, id)? == page => {
            version(model, moment, lost, page, newer, Some(id))
        }
        Older::Version(_) => return None,
        Older::Stale => {
            let Part::Page(patch) = &model.micros.all[newer as usize].part else { return None };
            let exposed = patch.exposed_by.is_some_and(|step| !lost.contains(&step));
            (model.profile.stale_bytes && exposed).then(|| stale_bytes(page.0, page.1))?
        }
    };
    let mut image = older;
    let mut whole = version(model, moment, lost, page, newer, newer.checked_sub(1));
    apply(&model.micros.all[newer as usize].part, page.1, &mut whole);
    for sector in (0..8).filter(|sector| sectors & (1 << sector) != 0) {
        let range = sector * SECTOR as usize..(sector + 1) * SECTOR as usize;
        image[range.clone()].copy_from_slice(&whole[range]);
    }
    Some(image)
}

/// A page with the kept changes up to and with `last`, none for `None`, as `newer` found it: what was cut
/// off before `newer` is gone from every older version too.
fn version(
    model: &Model,
    moment: &Moment,
    lost: &BTreeSet<u32>,
    page: (Ino, u64),
    newer: u32,
    last: Option<u32>,
) -> PageBytes {
    let content = moment.durable.content(page.0).expect("a torn inode is a file");
    let mut bytes = content.page(page.1);
    let kept = moment.versions(model, page).filter(|id| *id < newer && !lost.contains(id));
    for id in kept {
        let part = &model.micros.all[id as usize].part;
        if matches!(part, Part::Len { .. }) || last.is_some_and(|last| id <= last) {
            apply(part, page.1, &mut bytes);
        }
    }
    bytes
}

fn apply(part: &Part, page: u64, bytes: &mut PageBytes) {
    match part {
        Part::Page(patch) => patch.apply(bytes),
        Part::Len { len, .. } => {
            let from = len.saturating_sub(page * PAGE).min(PAGE);
            bytes[from as usize..].fill(0);
        }
        Part::Slots(_) | Part::Mode { .. } => {}
    }
}

/// What the device held before: never zeros, never text, and the same on every machine.
fn stale_bytes(ino: Ino, page: u64) -> PageBytes {
    let mut bytes = [0; PAGE as usize];
    for (index, chunk) in bytes.chunks_exact_mut(16).enumerate() {
        let mut seed = [0; 20];
        seed[..4].copy_from_slice(&ino.0.to_le_bytes());
        seed[4..12].copy_from_slice(&page.to_le_bytes());
        seed[12..].copy_from_slice(&(index as u64).to_le_bytes());
        chunk.copy_from_slice(&XxHash3_128::oneshot(&seed).to_le_bytes());
    }
    bytes
}

/// Every way in which a page may mix `newer` into `older`: the newer version as a prefix, a suffix, or
/// whole but for one hole, in sectors. Ways that give equal bytes are listed once.
pub(crate) fn tears(older: &PageBytes, newer: &PageBytes) -> Vec<u8> {
    let sector = |bytes: &PageBytes, i: usize| -> [u8; SECTOR as usize] {
        let from = i * SECTOR as usize;
        bytes[from..from + SECTOR as usize].try_into().expect("a sector")
    };
    let differs =
        (0..8).fold(0u8, |mask, i| mask | u8::from(sector(older, i) != sector(newer, i)) << i);
    let mut seen = BTreeSet::from([0, differs]);
    let mut out = Vec::new();
    // A hole [from, to) of older sectors; one that touches an end leaves a suffix or a prefix.
    for from in 0..8u32 {
        for to in from + 1..=8 {
            let hole = ((0xffu32 << from) & !(0xffu32 << to)) as u8;
            if seen.insert(!hole & differs) {
                out.push(!hole);
            }
        }
    }
    out
}
