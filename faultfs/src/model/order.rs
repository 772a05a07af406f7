//! The order in which micro-ops may become durable: for each the earlier ones without which it cannot
//! be on a disk.
//!
//! Under every profile: versions of a page, of a size, of a slot, of a mode follow each other, and no
//! directory is lost with what was moved into it or out of it. The rest are switches of the profile.

use std::collections::BTreeMap;

use super::micro::{Micros, Part};
use super::{Kept, Profile};
use crate::disk::Disk;
use crate::op::{Ino, Op, PAGE, Slot};
use crate::trace::{Stamp, Trace};

/// Who needs whom. Everything that a micro-op needs has a smaller number.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) needs: Vec<Vec<u32>>,
    /// What is lost with it: the reverse of `needs`, and the page of a size step where they are one.
    pub(crate) needed_by: Vec<Vec<u32>>,
    /// What a sync makes durable with it, where that is not what it needs.
    pub(crate) logged_with: Option<Vec<Vec<u32>>>,
    /// The micro-ops that change a page, cuts of the file included.
    pub(crate) history: BTreeMap<(Ino, u64), Vec<u32>>,
    /// The micro-op that gave an inode of the run its first name, and the directory of that name.
    pub(crate) creation: BTreeMap<Ino, (u32, Ino)>,
}

impl Order {
    pub(crate) fn of(trace: &Trace, micros: &Micros, profile: &Profile) -> Self {
        let mut build = Build {
            profile,
            base: &trace.base,
            blank: &micros.blank,
            needs: vec![Vec::new(); micros.all.len()],
            history: BTreeMap::new(),
            creation: BTreeMap::new(),
            page_tips: BTreeMap::new(),
            cuts: BTreeMap::new(),
            len_tip: BTreeMap::new(),
            slot_tip: BTreeMap::new(),
            mode_tip: BTreeMap::new(),
            tails: BTreeMap::new(),
            names: BTreeMap::new(),
            dir_move: None,
        };
        for (id, micro) in (0u32..).zip(&micros.all) {
            build.versions(id, &micro.part);
        }
        let logged_with = profile.intent_log.then(|| build.intent_log(trace, micros));
        build.switches(trace, micros);
        let mut needed_by = vec![Vec::new(); micros.all.len()];
        for (id, needs) in (0u32..).zip(&mut build.needs) {
            needs.sort_unstable();
            needs.dedup();
            needs.iter().for_each(|&need| needed_by[need as usize].push(id));
        }
        if profile.order == Kept::Everything {
            // The journal takes a page and the size that it brings in one handle.
            steps(micros).for_each(|id| needed_by[id as usize].push(id - 1));
        }
        let Build { needs, history, creation, .. } = build;
        Order { needs, needed_by, logged_with, history, creation }
    }
}

/// The size steps of writes; the page that each belongs to comes just before it.
fn steps(micros: &Micros) -> impl Iterator<Item = u32> + '_ {
    let pairs = (1u32..).zip(micros.all.windows(2));
    let steps = pairs.filter(|(_, pair)| {
        pair[0].op == pair[1].op
            && matches!((&pair[0].part, &pair[1].part), (Part::Page(_), Part::Len { .. }))
    });
    steps.map(|(id, _)| id)
}

struct Build<'a> {
    profile: &'a Profile,
    base: &'a Disk,
    blank: &'a Disk,
    needs: Vec<Vec<u32>>,
    history: BTreeMap<(Ino, u64), Vec<u32>>,
    creation: BTreeMap<Ino, (u32, Ino)>,
    /// The newest versions of each page: the micro-op and the sectors for which it is the newest.
    page_tips: BTreeMap<(Ino, u64), Vec<(u32, u8)>>,
    /// The cuts of each file: the first page that they change.
    cuts: BTreeMap<Ino, Vec<(u32, u64)>>,
    len_tip: BTreeMap<Ino, u32>,
    slot_tip: BTreeMap<Slot, u32>,
    mode_tip: BTreeMap<Ino, u32>,
    /// The newest zeros behind a smaller size of each file.
    tails: BTreeMap<Ino, u32>,
    /// The slots that the run has changed so far.
    names: BTreeMap<Slot, Option<Ino>>,
    /// The newest rename of a directory.
    dir_move: Option<u32>,
}

impl Build<'_> {
    /// Versions follow each other.
    fn versions(&mut self, id: u32, part: &Part) {
        match part {
            Part::Page(patch) => {
                self.page_version(id, (patch.ino, patch.page), patch.versions());
                if patch.tail {
                    self.tails.insert(patch.ino, id);
                }
            }
            Part::Len { ino, len, cut } => {
                self.needs[id as usize].extend(self.len_tip.insert(*ino, id));
                let shows_cut = self.profile.stale_bytes && self.profile.size_before_data;
                if !*cut && !shows_cut {
                    // Else what was cut off would come back with the larger size.
                    self.needs[id as usize].extend(self.tails.get(ino));
                }
                if *cut {
                    let first = len.div_ceil(PAGE);
                    let beyond = self.page_tips.range((*ino, first)..=(*ino, u64::MAX));
                    let beyond: Vec<_> = beyond.map(|(page, _)| *page).collect();
                    beyond.into_iter().for_each(|page| self.page_version(id, page, u8::MAX));
                    self.cuts.entry(*ino).or_default().push((id, first));
                }
            }
            Part::Slots(changes) => {
                self.directories(id, changes);
                for (slot, ino) in changes {
                    self.needs[id as usize].extend(self.slot_tip.insert(slot.clone(), id));
                    if let Some(ino) = ino.filter(|&ino| self.base.get(ino).is_none()) {
                        self.creation.entry(ino).or_insert((id, slot.dir));
                    }
                    self.names.insert(slot.clone(), *ino);
                }
            }
            Part::Mode { ino, .. } => {
                self.needs[id as usize].extend(self.mode_tip.insert(*ino, id));
            }
        }
    }

    /// What keeps a change of names from losing a directory with what others moved into it or out of
    /// it: a rename is whole, so neither name may vanish with a directory.
    fn directories(&mut self, id: u32, changes: &[(Slot, Option<Ino>)]) {
        let is_dir = |ino: Ino| self.blank.entries(ino).is_some();
        let mut needs = Vec::new();
        // A directory goes when it is empty: not before what left it.
        for (slot, _) in changes {
            let before = self.names.get(slot).copied();
            let before = before.unwrap_or_else(|| self.base.lookup(slot));
            let gone = before.filter(|&i| is_dir(i) && changes.iter().all(|c| c.1 != Some(i)));
            if let Some(dir) = gone {
                let tips = self.slot_tip.range(Slot::new(dir, "")..);
                needs.extend(tips.take_while(|(slot, _)| slot.dir == dir).map(|(_, &tip)| tip));
            }
        }
        if changes.len() == 2 {
            // A move needs the directories above its target, back to where each was made.
            for (slot, _) in changes.iter().filter(|(_, ino)| ino.is_some()) {
                let mut dir = slot.dir;
                while let Some(&(made, parent)) = self.creation.get(&dir) {
                    needs.push(made);
                    dir = parent;
                }
            }
            // Moves of directories keep their order, or two of them could close a ring.
            if changes.iter().any(|(_, ino)| ino.is_some_and(is_dir)) {
                needs.extend(self.dir_move.replace(id));
            }
        }
        self.needs[id as usize].extend(needs);
    }

    /// A buffered change is a version of the whole page; a direct one only of its sectors.
    fn page_version(&mut self, id: u32, page: (Ino, u64), sectors: u8) {
        if !self.history.contains_key(&page) {
            // Pages of the base were not there to be listed when the file was cut.
            let cuts = self.cuts.get(&page.0).into_iter().flatten();
            let cuts: Vec<u32> = cuts.filter(|(_, first)| *first <= page.1).map(|c| c.0).collect();
            self.page_tips
                .insert(page, cuts.last().map(|&cut| (cut, u8::MAX)).into_iter().collect());
            self.history.insert(page, cuts);
        }
        let tips = self.page_tips.entry(page).or_default();
        for (tip, newest) in tips.iter_mut().filter(|(_, newest)| newest & sectors != 0) {
            self.needs[id as usize].push(*tip);
            *newest &= !sectors;
        }
        tips.retain(|(_, newest)| *newest != 0);
        tips.push((id, sectors));
        self.history.entry(page).or_default().push(id);
    }

    fn switches(&mut self, trace: &Trace, micros: &Micros) {
        let profile = self.profile;
        let (is_page, is_name) = (
            |part: &Part| matches!(part, Part::Page(_)),
            |part: &Part| matches!(part, Part::Slots(_)),
        );
        match profile.order {
            Kept::Nothing => {}
            Kept::Names => self.in_order(trace, micros, is_name, |_| false),
            Kept::Log => {
                self.in_order(trace, micros, is_name, |part| !is_page(part) && !is_name(part));
            }
            Kept::Metadata => self.in_order(trace, micros, |part| !is_page(part), |_| false),
            Kept::Everything => self.in_order(trace, micros, |_| true, |_| false),
        }
        if !profile.size_before_data {
            self.data_before_sizes(micros);
        }
        if profile.safe_rename {
            self.safe_renames(trace, micros);
        }
    }

    fn data_before_sizes(&mut self, micros: &Micros) {
        let within = self.profile.size_within_block;
        let waits = |id: &u32| !within || micros.adds_page(id - 1);
        steps(micros).filter(waits).for_each(|id| self.needs[id as usize].push(id - 1));
    }

    /// What the records of a sync hold beside what it is about: what that stands on in its own file, the
    /// size that came with a page, the names that were changed before, and what these were renamed with.
    fn intent_log(&mut self, trace: &Trace, micros: &Micros) -> Vec<Vec<u32>> {
        self.data_before_sizes(micros);
        self.in_order(trace, micros, |part| matches!(part, Part::Slots(_)), |_| false);
        if self.profile.safe_rename {
            self.safe_renames(trace, micros);
        }
        let mut logged_with = self.needs.clone();
        steps(micros).for_each(|id| logged_with[id as usize - 1].push(id));
        logged_with
    }

    /// A rename over an existing name needs the sizes of its file that were asked for before, and the pages that
    /// were added; where everything is in order, all pages. That of a log of syncs is any rename.
    fn safe_renames(&mut self, trace: &Trace, micros: &Micros) {
        let mut content: BTreeMap<Ino, Vec<u32>> = BTreeMap::new();
        let all = self.profile.order == Kept::Everything;
        for (id, micro) in (0u32..).zip(&micros.all) {
            let is_ordered = !self.is_unordered(&trace.ops[micro.op].op);
            let is_page = matches!(micro.part, Part::Page(_));
            let is_needed = all && is_ordered || !is_page || micros.adds_page(id);
            let file = micro.part.file().filter(|_| is_needed);
            file.into_iter().for_each(|ino| content.entry(ino).or_default().push(id));
        }
        let waits = |replaces: bool| replaces || self.profile.intent_log;
        for &(rename, moved, _) in micros.renames.iter().filter(|rename| waits(rename.2)) {
            let op_of = |id: u32| &trace.ops[micros.all[id as usize].op];
            let start = op_of(rename).start;
            let earlier = content.get(&moved).into_iter().flatten().copied();
            let earlier = earlier.take_while(|id| *id < rename);
            let ended = earlier.filter(|id| op_of(*id).end.is_some_and(|end| end < start));
            self.needs[rename as usize].extend(ended);
        }
    }

    /// A page that is stored to is written back, and given to a transaction, when the kernel comes to it: ext4 with
    /// `data=journal` write-protects the pages of a transaction one by one as it commits
    /// (`ext4_journalled_submit_inode_data_buffers`, fs/ext4/super.c), ZFS hears of a store when the page is written
    /// back (`zpl_putpage`, zpl_file.c). In the page cache, which a killed process leaves, stores are in order.
    fn is_unordered(&self, op: &Op) -> bool {
        matches!(op, Op::MapStore { .. }) && !self.profile.process_only
    }

    /// Orders the micro-ops of a class: within an op, and after every op of the class that had ended
    /// before theirs started; those that follow wait for the class alike. Concurrent ops stay unordered.
    fn in_order(
        &mut self,
        trace: &Trace,
        micros: &Micros,
        class: impl Fn(&Part) -> bool,
        follows: impl Fn(&Part) -> bool,
    ) {
        let mut earlier: Vec<Span> = Vec::new();
        for (record, range) in trace.ops.iter().zip(&micros.of_op) {
            if self.is_unordered(&record.op) {
                continue;
            }
            let of = |class: &dyn Fn(&Part) -> bool| -> Vec<u32> {
                range.clone().filter(|&id| class(&micros.all[id as usize].part)).collect()
            };
            let (ids, following) = (of(&class), of(&follows));
            if ids.is_empty() && following.is_empty() {
                continue;
            }
            let before = not_dominated(&earlier, record.start);
            for &id in ids.first().into_iter().chain(&following) {
                self.needs[id as usize].extend(&before);
            }
            let Some(&last) = ids.last() else { continue };
            ids.windows(2).for_each(|pair| self.needs[pair[1] as usize].push(pair[0]));
            let end = record.end.unwrap_or(Stamp::MAX);
            let latest_end = earlier.last().map_or(end, |e| e.latest_end.max(end));
            earlier.push(Span { start: record.start, end, latest_end, last });
        }
    }
}

/// An op's time and its last micro-op; `latest_end` is the latest end of this op and all before it.
struct Span {
    start: Stamp,
    end: Stamp,
    latest_end: Stamp,
    last: u32,
}

/// Of the ops that had ended before `start`, those after whose end no other of them was begun and ended.
fn not_dominated(earlier: &[Span], start: Stamp) -> Vec<u32> {
    let mut latest_start = 0;
    let mut out = Vec::new();
    for span in earlier.iter().rev() {
        if span.latest_end < latest_start {
            break;
        }
        if span.end < start && span.end > latest_start {
            out.push(span.last);
            latest_start = latest_start.max(span.start);
        }
    }
    out
}
