//! What is unsynced at a crash point, taken apart: what each micro-op takes with it when it is lost, and the
//! versions of each page, size, entry and mode. It is carried along from one crash point to the next, so that
//! a point costs what has come since.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
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
    /// What each takes with it, as far as it is known: see [`TABLE`].
    closures: Vec<OnceCell<Places>>,
    pub(super) parts: Vec<At>,
    pub(super) files: Vec<File>,
    pub(super) file_at: BTreeMap<Ino, usize>,
    pub(super) slots: Vec<Versions<&'a Slot, Option<Ino>>>,
    slot_at: BTreeMap<&'a Slot, usize>,
    pub(super) modes: Vec<Versions<Ino, u32>>,
    mode_at: BTreeMap<Ino, usize>,
    /// What the changes are worth together.
    pub(super) kept: u128,
    /// What may become of a place, as far as it was asked for at this crash point and there is room.
    pub(super) ways: HashMap<Key, Rc<Ways>, Mixed>,
    /// How many ways these are.
    pub(super) remembered: usize,
    /// Steps taken so far, the same on every machine: each micro-op of a loss, each torn or stale page.
    steps: Cell<u64>,
    /// After how many of them the search ends; what is found then is not whole.
    pub(super) last_step: u64,
}

/// Of longer windows what a micro-op takes with it is found when it is asked for: a table of it would grow
/// with the square of the window.
const TABLE: usize = 2048;

/// What a micro-op changes.
#[derive(Clone, Debug)]
pub(super) enum At {
    Page {
        file: usize,
        page: u64,
    },
    /// A size; where it is smaller than before, the first page that it frees.
    Len {
        file: usize,
        cut: Option<u64>,
    },
    Mode(usize),
    Slots(Vec<usize>),
}

/// A file of which data or size is unsynced.
pub(super) struct File {
    pub(super) ino: Ino,
    /// By what its sum and its size are multiplied in the sum of a disk.
    pub(super) factors: [u128; 2],
    /// False where it is written past the page cache, or has a size that others pass by: what is lost need
    /// not be the newest versions of a page then, or the newest sizes.
    pub(super) is_plain: bool,
    pub(super) places: Vec<usize>,
    pub(super) durable: Value,
    pub(super) kept: Value,
    /// The sizes that are unsynced.
    pub(super) lens: Vec<(usize, u64)>,
    /// Pages with unsynced versions, cuts of the file among them, and those that lie past the durable size.
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
            parts: Vec::new(),
            files: Vec::new(),
            file_at: BTreeMap::new(),
            slots: Vec::new(),
            slot_at: BTreeMap::new(),
            modes: Vec::new(),
            mode_at: BTreeMap::new(),
            kept: 0,
            ways: HashMap::default(),
            remembered: 0,
            steps: Cell::new(0),
            last_step: u64::MAX,
        }
    }

    /// Goes on to a later crash point. True where what is durable is another than before: then what was
    /// told of losses before has nothing to do with those that come.
    pub(crate) fn follow(&mut self, moment: &Moment) -> bool {
        let is_other = moment.settled != self.settled || self.ids.len() > moment.window.len();
        if is_other {
            let (steps, last_step) = (self.steps.clone(), self.last_step);
            let settled = moment.settled;
            *self = Window { settled, steps, last_step, ..Window::new(self.model) };
        }
        let old = self.ids.len();
        if old == moment.window.len() {
            return is_other;
        }
        debug_assert!(
            moment.window.starts_with(&self.ids),
            "what is unsynced goes when it settles"
        );
        self.ways.clear();
        self.remembered = 0;
        for &id in &moment.window[old..] {
            self.push(moment, id);
        }
        for place in old..self.ids.len() {
            match self.parts[place] {
                At::Page { file, page } => {
                    self.files[file].keep(self.model, moment, &self.ids, page..page + 1)
                }
                At::Len { file, cut } => {
                    let freed = cut.unwrap_or(u64::MAX)..u64::MAX;
                    self.files[file].keep(self.model, moment, &self.ids, freed);
                }
                _ => {}
            }
        }
        self.close(moment);
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

    /// Steps taken so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// True where the search ends.
    pub(crate) fn is_spent(&self) -> bool {
        self.steps.get() > self.last_step
    }

    pub(super) fn step(&self, count: usize) {
        self.steps.set(self.steps.get() + count as u64);
    }

    /// What a micro-op takes with it, itself included.
    pub(crate) fn closure(&self, moment: &Moment, place: usize) -> Cow<'_, Places> {
        let find = || self.closed(moment, [place]);
        match self.closures.get(place) {
            Some(known) => Cow::Borrowed(known.get_or_init(find)),
            None => Cow::Owned(find()),
        }
    }

    /// True where some go with what follows them, or through what became durable before them.
    fn goes_back(&self) -> bool {
        self.model.profile.order == Kept::Everything || self.model.profile.intent_log
    }

    /// True where a micro-op stands on nothing of what it takes with it.
    pub(crate) fn leads(&self, moment: &Moment, place: usize, closure: &Places) -> bool {
        !self.goes_back() || self.is_first(moment, place, closure)
    }

    /// Some micro-ops, with all that stands on them.
    pub(crate) fn closed(
        &self,
        moment: &Moment,
        places: impl IntoIterator<Item = usize>,
    ) -> Places {
        let mut lost = self.none();
        if self.model.profile.intent_log {
            let ids = places.into_iter().map(|place| self.ids[place]);
            let ids = moment.closed_upward(self.model, ids);
            lost.extend(ids.into_iter().filter_map(|id| self.place(id)));
            return lost;
        }
        let mut todo = Vec::new();
        for place in places {
            match self.closures.get(place).and_then(OnceCell::get) {
                Some(known) => lost.union_with(known),
                None => todo.push(place),
            }
        }
        while let Some(place) = todo.pop() {
            self.step(1);
            if !lost.put(place) {
                let later = moment.waiting(self.model, self.ids[place]);
                todo.extend(later.iter().filter_map(|id| self.place(*id)));
            }
        }
        lost
    }

    /// True where nothing on which a micro-op stands is lost.
    pub(crate) fn is_first(&self, moment: &Moment, place: usize, lost: &Places) -> bool {
        let needs = moment.needs(self.model, self.ids[place]);
        !needs.iter().any(|need| self.place(*need).is_some_and(|place| lost.contains(place)))
    }

    /// The newest unsynced bytes of a page.
    pub(crate) fn newest(&self, page: (Ino, u64)) -> Option<usize> {
        let versions = &self.files[*self.file_at.get(&page.0)?].pages.get(&page.1)?.places;
        versions.iter().copied().rfind(|place| self.is_page(*place))
    }

    /// The pages of a file of which bytes are unsynced.
    pub(crate) fn unsynced_pages(&self, ino: Ino) -> impl Iterator<Item = u64> {
        let pages = self.file_at.get(&ino).into_iter().flat_map(|file| &self.files[*file].pages);
        let unsynced = pages.filter(|(_, page)| page.places.iter().any(|at| self.is_page(*at)));
        unsynced.map(|(number, _)| *number)
    }

    /// True for bytes of a page, false for the other version of it: the cut that frees it.
    pub(super) fn is_page(&self, place: usize) -> bool {
        matches!(self.parts[place], At::Page { .. })
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
                let cut = cut.then(|| len.div_ceil(PAGE));
                self.files[file].push_len(place, *len, moment.may_be_passed(model, id));
                cut.into_iter().for_each(|first| self.files[file].push_cut(moment, place, first));
                At::Len { file, cut }
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

    /// Makes a table of what each micro-op takes with it: where none goes with what follows it, all of it.
    fn close(&mut self, moment: &Moment) {
        let len = if self.ids.len() > TABLE { 0 } else { self.ids.len() };
        if self.goes_back() || len == 0 {
            self.closures.clear();
            self.closures.resize_with(len, OnceCell::new);
            return;
        }
        for place in self.closures.len()..len {
            let needs = moment.needs(self.model, self.ids[place]);
            let needs: Vec<usize> = needs.iter().filter_map(|need| self.place(*need)).collect();
            for closure in self.closures.iter_mut().filter_map(OnceCell::get_mut) {
                if needs.iter().any(|need| closure.contains(*need)) {
                    closure.grow_and_insert(place);
                }
            }
            let mut own = Places::new();
            own.grow_and_insert(place);
            self.closures.push(own.into());
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

    fn push_len(&mut self, place: usize, len: u64, is_passed: bool) {
        self.places.push(place);
        self.is_plain &= !is_passed;
        self.lens.push((place, len));
    }

    /// A cut is a version of each page that it frees, also of those that nothing else has changed.
    fn push_cut(&mut self, moment: &Moment, place: usize, first: u64) {
        let durable = moment.durable.content(self.ino).expect("the file is on every disk");
        for (number, page) in durable.pages_from(first) {
            self.pages.entry(number).or_insert_with(|| Pages::new(Some(page)));
        }
        self.pages.range_mut(first..).for_each(|(_, pages)| pages.places.push(place));
    }

    /// Takes in what the changes that came last have made of the file, and of these pages.
    fn keep(&mut self, model: &Model, moment: &Moment, ids: &[u32], numbers: Range<u64>) {
        let kept = moment.kept.content(self.ino).expect("the file is on every disk");
        self.kept = Value { len: kept.len(), sum: kept.sum() };
        if !self.is_plain {
            return;
        }
        for (number, pages) in self.pages.range_mut(numbers) {
            while pages.images.len() < pages.places.len() {
                let place = pages.places[pages.images.len() - 1];
                let older = pages.images.last().expect("the durable one");
                pages.images.push(match &model.micros.all[ids[place] as usize].part {
                    Part::Page(patch) => {
                        let mut bytes = *older.as_ref().unwrap_or(Page::zeros()).bytes();
                        patch.apply(&mut bytes);
                        Some(Page::new(bytes))
                    }
                    _ => None,
                });
            }
            if pages.images.len() == pages.places.len() {
                pages.images.push(kept.get(*number).cloned());
            }
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
