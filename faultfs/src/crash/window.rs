//! What is unsynced at a crash point, taken apart: what each micro-op takes with it when it is lost, and the
//! versions of each page, size, entry and mode. It is carried along from one crash point to the next, so that
//! a point costs what has come since.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use fixedbitset::FixedBitSet;

use super::build::stale_bytes;
use super::mixed::Mixed;
use super::ways::{Key, Ways};
use crate::disk::{Page, factor};
use crate::model::{Kept, Model, Moment, Part};
use crate::op::{Ino, PAGE, Slot};

/// Some of the micro-ops that are unsynced, by their places among them.
pub(crate) type Places = FixedBitSet;

/// The unsynced micro-ops of a crash point.
pub(crate) struct Window<'a> {
    pub(super) model: &'a Model,
    /// The micro-ops, in order.
    ids: Vec<u32>,
    settled: usize,
    /// What each takes with it.
    closures: Vec<Places>,
    /// Those that stand on nothing of what they take with them.
    firsts: Vec<usize>,
    pub(super) parts: Vec<At>,
    pub(super) files: Vec<File>,
    file_at: BTreeMap<Ino, usize>,
    pub(super) slots: Vec<Versions<&'a Slot, Option<Ino>>>,
    slot_at: BTreeMap<&'a Slot, usize>,
    pub(super) modes: Vec<Versions<Ino, u32>>,
    mode_at: BTreeMap<Ino, usize>,
    /// What the changes are worth together.
    pub(super) kept: u128,
    /// What may become of a place, as far as it was asked for at this crash point.
    pub(super) ways: HashMap<Key, Rc<Ways>, Mixed>,
}

/// What a micro-op changes.
#[derive(Clone, Debug)]
pub(super) enum At {
    Page { file: usize, page: u64 },
    Len { file: usize },
    Mode(usize),
    Slots(Vec<usize>),
}

/// A file of which data or size is unsynced.
pub(super) struct File {
    pub(super) ino: Ino,
    /// By what its sum and its size are multiplied in the sum of a disk.
    pub(super) factors: [u128; 2],
    /// False where it is cut or written past the page cache, or has a size that others pass by: what is lost
    /// need not be the newest versions of a page then, or the newest sizes.
    pub(super) is_plain: bool,
    pub(super) places: Vec<usize>,
    pub(super) durable: Value,
    pub(super) kept: Value,
    /// The sizes that are unsynced.
    pub(super) lens: Vec<(usize, u64)>,
    /// Pages with unsynced versions, and those that lie past the durable size.
    pub(super) pages: BTreeMap<u64, Pages>,
}

/// A file's size and the sum of its pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Value {
    pub(super) len: u64,
    pub(super) sum: u128,
}

/// The versions of a page: what is durable, and what each unsynced change makes of it.
pub(super) struct Pages {
    pub(super) places: Vec<usize>,
    /// One more than there are changes, but where the file is not plain.
    pub(super) images: Vec<Option<Page>>,
    stale: OnceCell<Page>,
}

/// The versions of an entry or a mode.
pub(super) struct Versions<K, V> {
    pub(super) of: K,
    pub(super) durable: V,
    pub(super) changes: Vec<(usize, V)>,
}

impl<K, V: Copy> Versions<K, V> {
    /// What is there without what is lost: the newest version, unless it is lost.
    pub(super) fn under(&self, lost: &Places) -> V {
        let kept = self.changes.partition_point(|(place, _)| !lost.contains(*place));
        kept.checked_sub(1).map_or(self.durable, |newest| self.changes[newest].1)
    }
}

impl<'a> Window<'a> {
    pub(crate) fn new(model: &'a Model) -> Self {
        Window {
            model,
            ids: Vec::new(),
            settled: 0,
            closures: Vec::new(),
            firsts: Vec::new(),
            parts: Vec::new(),
            files: Vec::new(),
            file_at: BTreeMap::new(),
            slots: Vec::new(),
            slot_at: BTreeMap::new(),
            modes: Vec::new(),
            mode_at: BTreeMap::new(),
            kept: 0,
            ways: HashMap::default(),
        }
    }

    /// Goes on to a later crash point. True where what is durable is another than before: then what was
    /// told of losses before has nothing to do with those that come.
    pub(crate) fn follow(&mut self, moment: &Moment) -> bool {
        let is_other = moment.settled != self.settled || self.ids.len() > moment.window.len();
        if is_other {
            *self = Window { settled: moment.settled, ..Window::new(self.model) };
        }
        let old = self.ids.len();
        if old == moment.window.len() {
            return is_other;
        }
        assert!(moment.window.starts_with(&self.ids), "what is unsynced goes when it has settled");
        self.ways.clear();
        for &id in &moment.window[old..] {
            self.push(moment, id);
        }
        for place in old..self.ids.len() {
            match self.parts[place] {
                At::Page { file, page } => {
                    self.files[file].keep(self.model, moment, &self.ids, Some(page))
                }
                At::Len { file } => self.files[file].keep(self.model, moment, &self.ids, None),
                _ => {}
            }
        }
        self.close(moment, old);
        self.kept = self.sum_of_kept();
        is_other
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn id(&self, place: usize) -> u32 {
        self.ids[place]
    }

    pub(crate) fn place(&self, id: u32) -> Option<usize> {
        self.ids.binary_search(&id).ok()
    }

    pub(crate) fn none(&self) -> Places {
        Places::with_capacity(self.ids.len())
    }

    /// What a micro-op takes with it, itself included.
    pub(crate) fn closure(&self, place: usize) -> &Places {
        &self.closures[place]
    }

    /// Those that can be lost without any other on which they stand.
    pub(crate) fn firsts(&self) -> &[usize] {
        &self.firsts
    }

    /// Some micro-ops, with all that stands on them.
    pub(crate) fn closed(&self, places: impl IntoIterator<Item = usize>) -> Places {
        let mut lost = self.none();
        places.into_iter().for_each(|place| lost.union_with(&self.closures[place]));
        lost
    }

    /// True where nothing on which a micro-op stands is lost.
    pub(crate) fn is_first(&self, moment: &Moment, place: usize, lost: &Places) -> bool {
        let needs = moment.needs(self.model, self.ids[place]);
        !needs.iter().any(|need| self.place(*need).is_some_and(|place| lost.contains(place)))
    }

    /// The newest unsynced change of a page.
    pub(crate) fn newest(&self, page: (Ino, u64)) -> Option<usize> {
        self.files[*self.file_at.get(&page.0)?].pages.get(&page.1)?.places.last().copied()
    }

    /// The pages of a file of which something is unsynced.
    pub(crate) fn unsynced_pages(&self, ino: Ino) -> impl Iterator<Item = u64> {
        let pages = self.file_at.get(&ino).into_iter().flat_map(|file| &self.files[*file].pages);
        pages.filter(|(_, page)| !page.places.is_empty()).map(|(number, _)| *number)
    }

    /// The files of which data or size is unsynced.
    pub(crate) fn unsynced_files(&self) -> impl Iterator<Item = Ino> {
        self.file_at.keys().copied()
    }

    fn push(&mut self, moment: &Moment, id: u32) {
        let place = self.ids.len();
        self.ids.push(id);
        let model = self.model;
        let part = &model.micros.all[id as usize].part;
        let at = match part {
            Part::Page(patch) => {
                let file = self.file(moment, patch.ino);
                // Where the order is of everything no profile tears pages.
                let is_whole = patch.versions() == u8::MAX;
                self.files[file].push_page(moment, place, patch.page, is_whole);
                At::Page { file, page: patch.page }
            }
            Part::Len { ino, len, cut } => {
                let file = self.file(moment, *ino);
                self.files[file].push_len(place, *len, *cut || moment.may_be_passed(model, id));
                At::Len { file }
            }
            Part::Mode { ino, mode } => {
                let at = *self.mode_at.entry(*ino).or_insert_with(|| {
                    let durable = moment.durable.get(*ino).map_or(0, |inode| inode.mode);
                    self.modes.push(Versions { of: *ino, durable, changes: Vec::new() });
                    self.modes.len() - 1
                });
                self.modes[at].changes.push((place, *mode));
                At::Mode(at)
            }
            Part::Slots(changes) => At::Slots(
                changes
                    .iter()
                    .map(|(slot, ino)| {
                        let at = *self.slot_at.entry(slot).or_insert_with(|| {
                            let durable = moment.durable.lookup(slot);
                            self.slots.push(Versions { of: slot, durable, changes: Vec::new() });
                            self.slots.len() - 1
                        });
                        self.slots[at].changes.push((place, *ino));
                        at
                    })
                    .collect(),
            ),
        };
        self.parts.push(at);
    }

    fn file(&mut self, moment: &Moment, ino: Ino) -> usize {
        *self.file_at.entry(ino).or_insert_with(|| {
            self.files.push(File::new(moment, ino));
            self.files.len() - 1
        })
    }

    /// Finds what each micro-op takes with it, of which those before `old` are known.
    fn close(&mut self, moment: &Moment, old: usize) {
        let profile = &self.model.profile;
        if profile.order == Kept::Everything || profile.intent_log {
            // Some go with what follows them, and through what became durable before them.
            let model = self.model;
            self.closures = self
                .ids
                .iter()
                .map(|&id| {
                    let lost = moment.closed_upward(model, [id]);
                    lost.iter().filter_map(|id| self.place(*id)).collect()
                })
                .collect();
            let first = |place: &usize| self.is_first(moment, *place, &self.closures[*place]);
            self.firsts = (0..self.ids.len()).filter(first).collect();
            return;
        }
        for place in old..self.ids.len() {
            let needs = moment.needs(self.model, self.ids[place]);
            let needs: Vec<usize> = needs.iter().filter_map(|need| self.place(*need)).collect();
            for closure in &mut self.closures {
                if needs.iter().any(|need| closure.contains(*need)) {
                    closure.grow_and_insert(place);
                }
            }
            let mut own = Places::new();
            own.grow_and_insert(place);
            self.closures.push(own);
            self.firsts.push(place);
        }
    }
}

impl File {
    fn new(moment: &Moment, ino: Ino) -> Self {
        let both = "a changed file is on every disk of the run";
        let durable = moment.durable.content(ino).expect(both);
        let kept = moment.kept.content(ino).expect(both);
        let mut seen = durable.clone();
        seen.clip();
        let beyond = kept
            .pages_from(durable.len() / PAGE)
            .map(|(number, _)| (number, Pages::new(durable.get(number))));
        File {
            ino,
            factors: [2, 3].map(|kind| factor(kind, ino.0.into())),
            is_plain: true,
            places: Vec::new(),
            durable: Value { len: seen.len(), sum: seen.sum() },
            kept: Value { len: 0, sum: 0 },
            lens: Vec::new(),
            pages: beyond.collect(),
        }
    }

    fn push_page(&mut self, moment: &Moment, place: usize, page: u64, is_whole: bool) {
        self.places.push(place);
        self.is_plain &= is_whole;
        let durable = || moment.durable.content(self.ino).and_then(|content| content.get(page));
        let pages = self.pages.entry(page).or_insert_with(|| Pages::new(durable()));
        pages.places.push(place);
    }

    fn push_len(&mut self, place: usize, len: u64, is_special: bool) {
        self.places.push(place);
        self.is_plain &= !is_special;
        self.lens.push((place, len));
    }

    /// Takes in what the changes that came last have made of the file, and of a page.
    fn keep(&mut self, model: &Model, moment: &Moment, ids: &[u32], page: Option<u64>) {
        let kept = moment.kept.content(self.ino).expect("the file is on every disk");
        self.kept = Value { len: kept.len(), sum: kept.sum() };
        let Some(number) = page.filter(|_| self.is_plain) else { return };
        let pages = self.pages.get_mut(&number).expect("it was put there");
        while pages.images.len() < pages.places.len() {
            let place = pages.places[pages.images.len() - 1];
            let Part::Page(patch) = &model.micros.all[ids[place] as usize].part else {
                unreachable!("what changes a page of a plain file are writes")
            };
            let older = pages.images.last().expect("the durable one").as_ref();
            let mut bytes = *older.unwrap_or(Page::zeros()).bytes();
            patch.apply(&mut bytes);
            pages.images.push(Some(Page::new(bytes)));
        }
        if pages.images.len() == pages.places.len() {
            pages.images.push(kept.get(number).cloned());
        }
    }
}

impl Pages {
    fn new(durable: Option<&Page>) -> Self {
        Pages { places: Vec::new(), images: vec![durable.cloned()], stale: OnceCell::new() }
    }

    /// What the device held before.
    pub(super) fn stale(&self, ino: Ino, number: u64) -> &Page {
        self.stale.get_or_init(|| Page::new(stale_bytes(ino, number)))
    }

    /// How many of the changes are kept, where what is lost are the newest.
    pub(super) fn kept(&self, lost: &Places) -> usize {
        self.places.partition_point(|place| !lost.contains(*place))
    }
}
