//! The order in which micro-ops may become durable: for each the earlier ones without which it cannot
//! be on a disk.
//!
//! Under every profile: versions of a page, of a size, of a slot, of a mode follow each other. The rest
//! are switches of the profile.

use std::collections::BTreeMap;

use super::Profile;
use super::micro::{Micros, Part};
use crate::op::{Ino, PAGE, Slot};
use crate::trace::{Stamp, Trace};

/// Who needs whom. Everything that a micro-op needs has a smaller number.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) needs: Vec<Vec<u32>>,
    pub(crate) needed_by: Vec<Vec<u32>>,
    /// The micro-ops that change a page, cuts of the file included.
    pub(crate) history: BTreeMap<(Ino, u64), Vec<u32>>,
    /// The micro-op that gave an inode its first name.
    pub(crate) creation: BTreeMap<Ino, (u32, Ino)>,
}

impl Order {
    pub(crate) fn of(trace: &Trace, micros: &Micros, profile: &Profile) -> Self {
        let mut build = Build {
            profile,
            needs: vec![Vec::new(); micros.all.len()],
            history: BTreeMap::new(),
            creation: BTreeMap::new(),
            page_tips: BTreeMap::new(),
            cuts: BTreeMap::new(),
            len_tip: BTreeMap::new(),
            slot_tip: BTreeMap::new(),
            mode_tip: BTreeMap::new(),
        };
        for (id, micro) in (0u32..).zip(&micros.all) {
            build.versions(id, &micro.part);
        }
        build.switches(trace, micros);
        let mut needed_by = vec![Vec::new(); micros.all.len()];
        for (id, needs) in (0u32..).zip(&mut build.needs) {
            needs.sort_unstable();
            needs.dedup();
            needs.iter().for_each(|&need| needed_by[need as usize].push(id));
        }
        Order { needs: build.needs, needed_by, history: build.history, creation: build.creation }
    }
}

struct Build<'a> {
    profile: &'a Profile,
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
}

impl Build<'_> {
    /// Versions follow each other.
    fn versions(&mut self, id: u32, part: &Part) {
        match part {
            Part::Page(patch) => {
                let sectors = if patch.direct { patch.sectors() } else { u8::MAX };
                self.page_version(id, (patch.ino, patch.page), sectors);
            }
            Part::Len { ino, len, cut } => {
                self.needs[id as usize].extend(self.len_tip.insert(*ino, id));
                if *cut {
                    let first = len / PAGE;
                    let beyond = self.page_tips.range((*ino, first)..=(*ino, u64::MAX));
                    let beyond: Vec<_> = beyond.map(|(page, _)| *page).collect();
                    beyond.into_iter().for_each(|page| self.page_version(id, page, u8::MAX));
                    self.cuts.entry(*ino).or_default().push((id, first));
                }
            }
            Part::Slots(changes) => {
                for (slot, ino) in changes {
                    self.needs[id as usize].extend(self.slot_tip.insert(slot.clone(), id));
                    if let Some(ino) = ino {
                        self.creation.entry(*ino).or_insert((id, slot.dir));
                    }
                }
            }
            Part::Mode { ino, .. } => {
                self.needs[id as usize].extend(self.mode_tip.insert(*ino, id));
            }
        }
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
        if profile.total_order {
            self.in_order(trace, micros, |_| true);
        } else if profile.ordered_entries {
            self.in_order(trace, micros, |part| matches!(part, Part::Slots(_)));
        }
        if !profile.size_before_data {
            for (id, pair) in (1u32..).zip(micros.all.windows(2)) {
                let step = matches!(&pair[1].part, Part::Len { .. });
                if pair[0].op == pair[1].op && step && matches!(&pair[0].part, Part::Page(_)) {
                    self.needs[id as usize].push(id - 1);
                }
            }
        }
        if profile.safe_rename {
            for &(rename, moved) in &micros.replacing {
                let start = trace.ops[micros.all[rename as usize].op].start;
                let content = (0..rename).filter(|&id| {
                    let micro = &micros.all[id as usize];
                    matches!(micro.part, Part::Page(_) | Part::Len { .. })
                        && micro.part.ino() == Some(moved)
                        && trace.ops[micro.op].end.is_some_and(|end| end < start)
                });
                self.needs[rename as usize].extend(content);
            }
        }
    }

    /// Orders the micro-ops of a class: within an op, and after every op of the class that had ended
    /// before theirs started. Concurrent ops stay unordered.
    fn in_order(&mut self, trace: &Trace, micros: &Micros, class: impl Fn(&Part) -> bool) {
        let mut earlier: Vec<Span> = Vec::new();
        for (record, range) in trace.ops.iter().zip(&micros.of_op) {
            let ids: Vec<u32> =
                range.clone().filter(|&id| class(&micros.all[id as usize].part)).collect();
            let (Some(&first), Some(&last)) = (ids.first(), ids.last()) else { continue };
            let before = not_dominated(&earlier, record.start);
            self.needs[first as usize].extend(before);
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
