//! The hash of a state from the hash of the disk on which nothing was lost and what the state changes: it
//! equals the digest of the state's disk, and that disk is not built.

use std::collections::{BTreeMap, BTreeSet};

use super::build::Change;
use crate::disk::{Body, Disk, ROOT_PLACE, digest_of, dir_node, entry_term, file_node, place_of};
use crate::model::{Model, Moment, Part};
use crate::op::{Ino, Name, Op, Slot};

/// What is not as on the disk on which nothing was lost.
#[derive(Default, Debug)]
pub(crate) struct Diff {
    /// Files with other data or another size: the size, and the sum of the pages.
    pub(crate) files: BTreeMap<Ino, (u64, u128)>,
    pub(crate) modes: BTreeMap<Ino, u32>,
    /// What stands in slots.
    pub(crate) slots: BTreeMap<Slot, Option<Ino>>,
}

impl From<Change> for Diff {
    fn from(change: Change) -> Self {
        let files =
            change.files.iter().map(|(ino, content)| (*ino, (content.len(), content.sum())));
        Diff { files: files.collect(), modes: change.modes, slots: change.slots }
    }
}

/// The hashes of a disk, kept up to date as a run goes on. Memory in proportion to the names and inodes
/// of the run.
pub(crate) struct Ids<'a> {
    model: &'a Model,
    /// The op that is looked at next.
    next: usize,
    /// Inodes with all below them.
    nodes: BTreeMap<Ino, u128>,
    /// What the entries of a directory add up to.
    sums: BTreeMap<Ino, u128>,
    /// The entries, and what each adds to its directory.
    entries: BTreeMap<Slot, (Ino, u128)>,
    names: BTreeMap<Ino, BTreeSet<Slot>>,
    /// Files that may have several names at a time.
    linked: BTreeSet<Ino>,
}

impl<'a> Ids<'a> {
    /// The hashes of the disk on which the run begins.
    pub(crate) fn new(model: &'a Model) -> Self {
        let base = &model.micros.blank;
        let mut ids = Ids {
            model,
            next: 0,
            nodes: BTreeMap::new(),
            sums: BTreeMap::new(),
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
            linked: BTreeSet::new(),
        };
        for (ino, inode) in base.inodes() {
            let Body::Dir(entries) = &inode.body else {
                ids.nodes.insert(ino, inode.leaf());
                continue;
            };
            ids.sums.insert(ino, 0);
            ids.nodes.insert(ino, dir_node(inode.mode, 0));
            for (name, &child) in entries {
                let slot = Slot { dir: ino, name: name.clone() };
                ids.entries.insert(slot.clone(), (child, 0));
                ids.names.entry(child).or_default().insert(slot);
            }
        }
        let links = model.trace.ops.iter().filter_map(|record| match &record.op {
            Op::Link { ino, .. } => Some(*ino),
            _ => None,
        });
        // Where a rename is not atomic its file may have both names.
        let moved = model.micros.all.iter().filter(|_| !model.profile.atomic_rename);
        let moved = moved.flat_map(|micro| match &micro.part {
            Part::Slots(slots) => slots.iter().filter_map(|(_, ino)| *ino).collect(),
            _ => Vec::new(),
        });
        let several = ids.names.iter().filter(|(_, slots)| slots.len() > 1).map(|(ino, _)| *ino);
        ids.linked = links.chain(moved).chain(several).collect();
        // Every entry's term is still to be added.
        let slots = ids.entries.iter().map(|(slot, (ino, _))| (slot.clone(), Some(*ino)));
        let all = Diff { slots: slots.collect(), ..Diff::default() };
        ids.take(base, &all);
        ids
    }

    /// Takes in what was asked for since; `moment` is a later one than at the call before.
    pub(crate) fn follow(&mut self, moment: &Moment) {
        let micros = &self.model.micros;
        let mut change = Diff::default();
        while self.next < moment.begun {
            let parts = micros.of_op[self.next].clone().map(|id| &micros.all[id as usize].part);
            for part in parts {
                match part {
                    Part::Slots(slots) => {
                        let now = slots.iter().map(|(slot, _)| (slot, moment.kept.lookup(slot)));
                        change.slots.extend(now.map(|(slot, ino)| (slot.clone(), ino)));
                    }
                    Part::Mode { ino, .. } => {
                        change.modes.extend(moment.kept.get(*ino).map(|inode| (*ino, inode.mode)));
                    }
                    Part::Page(_) | Part::Len { .. } => {
                        let ino = part.file().expect("data and sizes are of files");
                        let content = moment.kept.content(ino).expect("and files are on the disk");
                        change.files.entry(ino).or_insert_with(|| (content.len(), content.sum()));
                    }
                }
            }
            self.next += 1;
        }
        self.take(&moment.kept, &change);
    }

    /// The hash of the disk that `change` makes of what is kept.
    pub(crate) fn of(&self, moment: &Moment, change: &Diff) -> u128 {
        if let Some(digest) = self.of_contents(&moment.kept, change) {
            return digest;
        }
        let mut overlay = Overlay::new(self, &moment.kept, change);
        let root = overlay.node(Ino::ROOT);
        let several = self.linked.iter().filter_map(|&ino| overlay.places(ino));
        digest_of(root, several)
    }

    /// The same where no name changes and the files lie at the top under one name each, as most do.
    fn of_contents(&self, kept: &Disk, change: &Diff) -> Option<u128> {
        if !change.slots.is_empty() || !change.modes.is_empty() || !self.linked.is_empty() {
            return None;
        }
        let mut sum = *self.sums.get(&Ino::ROOT)?;
        for (ino, (len, data)) in &change.files {
            let node = file_node(kept.get(*ino)?.mode, *len, *data);
            for slot in self.names.get(ino).into_iter().flatten() {
                let (_, before) = self.entries.get(slot).filter(|_| slot.dir == Ino::ROOT)?;
                sum = sum.wrapping_sub(*before).wrapping_add(entry_term(&slot.name, node));
            }
        }
        Some(digest_of(dir_node(kept.get(Ino::ROOT)?.mode, sum), std::iter::empty()))
    }

    fn take(&mut self, kept: &Disk, change: &Diff) {
        let mut overlay = Overlay::new(self, kept, change);
        for ino in overlay.touched.clone() {
            overlay.node(ino);
        }
        let Overlay { nodes, sums, terms, .. } = overlay;
        self.nodes.extend(nodes);
        self.sums.extend(sums);
        for (slot, child) in terms {
            if let Some((before, _)) = self.entries.remove(&slot) {
                self.names.entry(before).or_default().remove(&slot);
            }
            if let Some(entry) = child {
                self.names.entry(entry.0).or_default().insert(slot.clone());
                self.entries.insert(slot, entry);
            }
        }
    }
}

/// A change on top of what is known.
struct Overlay<'a> {
    ids: &'a Ids<'a>,
    kept: &'a Disk,
    change: &'a Diff,
    /// Inodes whose hash differs.
    touched: BTreeSet<Ino>,
    /// Entries whose term differs, with what stands there.
    slots: BTreeMap<Slot, Option<Ino>>,
    nodes: BTreeMap<Ino, u128>,
    sums: BTreeMap<Ino, u128>,
    terms: Vec<(Slot, Option<(Ino, u128)>)>,
}

impl<'a> Overlay<'a> {
    fn new(ids: &'a Ids<'a>, kept: &'a Disk, change: &'a Diff) -> Self {
        let slots = change.slots.clone();
        let inodes = change.files.keys().chain(change.modes.keys()).copied();
        let touched: BTreeSet<Ino> = inodes.chain(slots.keys().map(|slot| slot.dir)).collect();
        let mut overlay = Overlay {
            ids,
            kept,
            change,
            touched,
            slots,
            nodes: BTreeMap::new(),
            sums: BTreeMap::new(),
            terms: Vec::new(),
        };
        // And the directories above, by the names that stay.
        let mut todo: Vec<Ino> = overlay.touched.iter().copied().collect();
        while let Some(ino) = todo.pop() {
            for slot in ids.names.get(&ino).into_iter().flatten() {
                overlay.slots.entry(slot.clone()).or_insert(Some(ino));
                todo.extend(overlay.touched.insert(slot.dir).then_some(slot.dir));
            }
            // A directory that gets a name is below the one that has it.
            let named = change.slots.iter().filter(|(_, now)| **now == Some(ino));
            for (slot, _) in named {
                todo.extend(overlay.touched.insert(slot.dir).then_some(slot.dir));
            }
        }
        overlay
    }

    fn node(&mut self, ino: Ino) -> u128 {
        if !self.touched.contains(&ino) {
            return self.ids.nodes.get(&ino).copied().unwrap_or(0);
        }
        if let Some(&node) = self.nodes.get(&ino) {
            return node;
        }
        let Some(inode) = self.kept.get(ino) else { return 0 };
        let mode = self.change.modes.get(&ino).copied().unwrap_or(inode.mode);
        let node = match (&inode.body, self.change.files.get(&ino)) {
            (Body::Dir(_), _) => dir_node(mode, self.sum(ino)),
            (Body::File(_), Some((len, sum))) => file_node(mode, *len, *sum),
            (Body::File(content), None) => file_node(mode, content.len(), content.sum()),
            (Body::Symlink(_), _) => crate::disk::Inode { mode, ..inode.clone() }.leaf(),
        };
        self.nodes.insert(ino, node);
        node
    }

    fn sum(&mut self, dir: Ino) -> u128 {
        let mut sum = self.ids.sums.get(&dir).copied().unwrap_or(0);
        let first = Slot { dir, name: Name::new("") };
        let slots = self.slots.range(first..).take_while(|(slot, _)| slot.dir == dir);
        let slots: Vec<(Slot, Option<Ino>)> =
            slots.map(|(slot, ino)| (slot.clone(), *ino)).collect();
        for (slot, child) in slots {
            let before = self.ids.entries.get(&slot).map_or(0, |(_, term)| *term);
            let child = child.map(|ino| (ino, entry_term(&slot.name, self.node(ino))));
            sum = sum.wrapping_sub(before).wrapping_add(child.map_or(0, |(_, term)| term));
            self.terms.push((slot, child));
        }
        self.sums.insert(dir, sum);
        sum
    }

    /// The names of an inode with the change.
    fn names(&self, ino: Ino) -> impl Iterator<Item = &Slot> {
        let stay = self.ids.names.get(&ino).into_iter().flatten();
        let stay = stay.filter(|slot| !self.change.slots.contains_key(slot));
        let put = self.change.slots.iter().filter(move |(_, now)| **now == Some(ino));
        stay.chain(put.map(|(slot, _)| slot))
    }

    /// The sum of the places of a file that has several names.
    fn places(&self, ino: Ino) -> Option<u128> {
        let places: Vec<u128> = self.names(ino).filter_map(|slot| self.place(slot)).collect();
        (places.len() > 1).then(|| places.into_iter().fold(0, u128::wrapping_add))
    }

    /// The place of a slot; none where its directory has no name itself.
    fn place(&self, slot: &Slot) -> Option<u128> {
        let dir = match slot.dir {
            Ino::ROOT => ROOT_PLACE,
            dir => self.place(self.names(dir).next()?)?,
        };
        Some(place_of(dir, &slot.name))
    }
}
