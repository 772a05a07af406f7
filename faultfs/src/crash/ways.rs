//! What a loss makes of a disk, and what may stand in place of each page that is lost, as sums: neither is
//! built to be told apart from others.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use fastrand::Rng;

use super::bounded::{may_be_stale, mixes, torn_pages};
use super::build::{self, Change, tears};
use super::id::Diff;
use super::mixed::Mixed;
use super::tape::{Choice, Older, Tape};
use super::window::{At, File, Pages, Places, Value, Window};
use crate::disk::{Page, Terms, factor, page_factor};
use crate::model::{Kept, Moment, Part};
use crate::op::{Ino, PAGE, SECTOR};

/// What is lost, and what that makes of the disk.
pub(crate) struct Loss {
    /// What the disk is worth, by how it differs from what is durable: at crash points between which nothing
    /// became durable, what is worth the same is the same disk. Disks may be equal that are not: what no
    /// name leads to is not seen.
    pub(crate) sum: u128,
    files: Vec<(usize, Value)>,
    slots: Vec<usize>,
    modes: Vec<usize>,
}

/// One thing that may become of a lost micro-op.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) choice: Choice,
    /// The page that is torn or stale.
    pub(crate) page: Option<(usize, u64)>,
    /// What it adds to the sum of its file's pages.
    delta: u128,
}

/// All that may become of one lost micro-op.
#[derive(Clone, Default, Debug)]
pub(crate) struct Ways {
    pub(crate) all: Vec<Way>,
    /// How many of them are torn pages, which come last.
    pub(crate) torn: usize,
    /// Those that do not look like one before them; torn pages and others apart.
    pub(crate) distinct: Vec<usize>,
}

/// What the ways of a page of a plain file depend on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    place: usize,
    /// How much of the page lies in the file.
    len: usize,
    is_exposed: bool,
    /// Which of its versions is the first that would be written to a page which was exposed without it.
    stale_from: usize,
    torn: bool,
}

impl Key {
    /// Of a place whose ways do not differ.
    fn of(place: usize) -> Key {
        Key { place, len: 0, is_exposed: false, stale_from: usize::MAX, torn: false }
    }
}

impl Ways {
    fn of(all: Vec<Way>) -> Ways {
        let mut seen = HashSet::with_capacity_and_hasher(all.len(), Mixed::default());
        let is_new = |index: &usize| seen.insert((all[*index].is_torn(), all[*index].delta));
        let distinct = (0..all.len()).filter(is_new).collect();
        Ways { torn: all.iter().filter(|way| way.is_torn()).count(), distinct, all }
    }

    /// Only this.
    pub(crate) fn only(way: Way) -> Ways {
        Ways::of(vec![way])
    }

    /// The torn and stale pages among them.
    fn spoilt(&self) -> Ways {
        Ways::of(self.all.iter().filter(|way| way.choice.spoils()).cloned().collect())
    }

    /// A version torn over `older`, which may be called what is durable where a cut freed the page since.
    fn torn_over(&self, version: u32, older: Older) -> Ways {
        let over = |way: &Way| match way.choice {
            Choice::Torn { newer, older: under, sectors } if newer == version => {
                let is_it = under == older || (older == Older::Durable && under != Older::Stale);
                let choice = Choice::Torn { newer, older, sectors };
                is_it.then(|| Way { choice, ..way.clone() })
            }
            _ => None,
        };
        Ways::of(self.all.iter().filter_map(over).collect())
    }
}

impl Way {
    pub(crate) fn lose(id: u32) -> Way {
        Way { choice: Choice::Lose(id), page: None, delta: 0 }
    }

    pub(crate) fn is_torn(&self) -> bool {
        matches!(self.choice, Choice::Torn { .. })
    }
}

impl Loss {
    /// What the disk is worth where these pages are torn or stale, which are not the same.
    pub(crate) fn with(&self, window: &Window<'_>, ways: &[&Way]) -> u128 {
        ways.iter().filter_map(|way| Some((way.page?.0, way.delta))).fold(
            self.sum,
            |sum, (file, delta)| {
                sum.wrapping_add(window.files[file].factors[0].wrapping_mul(delta))
            },
        )
    }
}

/// Ways that are remembered at a crash point, at most.
const REMEMBERED: usize = 1 << 18;

impl Window<'_> {
    /// What all changes are worth: of each file, entry and mode by how it differs from what is durable.
    pub(super) fn sum_of_kept(&self) -> u128 {
        let files = self.files.iter().map(|file| file.worth(file.kept));
        let slots = (0..self.slots.len()).map(|at| self.slot_worth(at, None));
        let modes = (0..self.modes.len()).map(|at| self.mode_worth(at, None));
        files.chain(slots).chain(modes).fold(0, u128::wrapping_add)
    }

    fn slot_worth(&self, at: usize, lost: Option<&Places>) -> u128 {
        let slot = &self.slots[at];
        let none = Places::new();
        let now = slot.under(lost.unwrap_or(&none));
        let index = (at as u64) << 32 | now.map_or(0, |ino| u64::from(ino.0) + 1);
        if now == slot.durable { 0 } else { factor(4, index) }
    }

    fn mode_worth(&self, at: usize, lost: Option<&Places>) -> u128 {
        let mode = &self.modes[at];
        let none = Places::new();
        let now = mode.under(lost.unwrap_or(&none));
        let index = (at as u64) << 32 | u64::from(now);
        if now == mode.durable { 0 } else { factor(5, index) }
    }

    /// What a loss makes of the disk; it is closed.
    pub(crate) fn loss(&self, moment: &Moment, lost: &Places) -> Loss {
        if lost.is_full() {
            return self.loss_of_all();
        }
        let (mut slots, mut modes) = (Vec::new(), Vec::new());
        let (mut files, mut pages) = (Vec::with_capacity(4), Vec::with_capacity(8));
        let mut freed = Vec::new();
        let mut count = 0;
        for place in lost.ones() {
            count += 1;
            match &self.parts[place] {
                At::Page { file, page } => {
                    files.extend((files.last() != Some(file)).then_some(*file));
                    let page = (*file, *page);
                    pages.extend((pages.last() != Some(&page)).then_some(page));
                }
                At::Len { file, cut } => {
                    files.extend((files.last() != Some(file)).then_some(*file));
                    freed.extend(cut.map(|first| (*file, first)));
                }
                At::Mode(at) => modes.push(*at),
                At::Slots(at) => slots.extend(at),
            }
        }
        self.step(count);
        let sort = |list: &mut Vec<usize>| {
            list.sort_unstable();
            list.dedup();
        };
        [&mut slots, &mut modes, &mut files].into_iter().for_each(sort);
        pages.sort_unstable();
        pages.dedup();
        let mut sum = self.kept;
        let files = files.into_iter().map(|at| {
            let file = &self.files[at];
            let first = pages.partition_point(|(file, _)| *file < at);
            let touched = pages[first..].iter().take_while(|(file, _)| *file == at);
            let freed = freed.iter().filter(|(file, _)| *file == at).map(|(_, first)| *first).min();
            let value = match file.is_plain {
                true => file.under(lost, touched.map(|(_, page)| *page), freed),
                false => self.built(moment, file, lost),
            };
            sum = sum.wrapping_sub(file.worth(file.kept)).wrapping_add(file.worth(value));
            (at, value)
        });
        let files = files.collect();
        for &at in &slots {
            let (before, now) = (self.slot_worth(at, None), self.slot_worth(at, Some(lost)));
            sum = sum.wrapping_sub(before).wrapping_add(now);
        }
        for &at in &modes {
            let (before, now) = (self.mode_worth(at, None), self.mode_worth(at, Some(lost)));
            sum = sum.wrapping_sub(before).wrapping_add(now);
        }
        Loss { sum, files, slots, modes }
    }

    /// All is as it is durable.
    fn loss_of_all(&self) -> Loss {
        let files = self.files.iter().enumerate().map(|(at, file)| (at, file.durable));
        let (slots, modes) = (0..self.slots.len(), 0..self.modes.len());
        self.step(self.files.len() + slots.len() + modes.len());
        Loss { sum: 0, files: files.collect(), slots: slots.collect(), modes: modes.collect() }
    }

    /// What a loss makes different, with these pages torn or stale, which are not the same.
    pub(crate) fn diff(&self, lost: &Places, loss: &Loss, ways: &[&Way]) -> Diff {
        let files =
            loss.files.iter().map(|(at, value)| (self.files[*at].ino, (value.len, value.sum)));
        let slots =
            loss.slots.iter().map(|at| (self.slots[*at].of.clone(), self.slots[*at].under(lost)));
        let modes = loss.modes.iter().map(|at| (self.modes[*at].of, self.modes[*at].under(lost)));
        let mut diff =
            Diff { files: files.collect(), modes: modes.collect(), slots: slots.collect() };
        for way in ways {
            let Some((file, _)) = way.page else { continue };
            let (_, sum) = diff.files.get_mut(&self.files[file].ino).expect("its page is lost");
            *sum = sum.wrapping_add(way.delta);
        }
        diff
    }

    pub(crate) fn ids_of(&self, lost: &Places) -> BTreeSet<u32> {
        lost.ones().map(|place| self.id(place)).collect()
    }

    /// A file that is not plain, without what is lost of it.
    fn built(&self, moment: &Moment, file: &File, lost: &Places) -> Value {
        self.step(self.len());
        let of_file = file.places.iter().filter(|place| lost.contains(**place));
        let ids = of_file.map(|place| self.id(*place)).collect();
        let change = Change::under(self.model, moment, &ids, &[]);
        let change = change.expect("a loss without torn pages is legal");
        let content = &change.files[&file.ino];
        Value { len: content.len(), sum: content.sum() }
    }

    /// What may become of a lost micro-op of which nothing that it stands on is lost; with `torn`, of its page
    /// only a part may have arrived.
    pub(crate) fn ways(
        &mut self,
        moment: &Moment,
        place: usize,
        lost: &Places,
        torn: bool,
    ) -> Rc<Ways> {
        let id = self.id(place);
        if !self.is_page(place) {
            let lose = || Rc::new(Ways::only(Way::lose(id)));
            return self.ways.entry(Key::of(place)).or_insert_with(lose).clone();
        }
        let Some(key) = self.key(place, lost, torn) else {
            let choices = self.choices(moment, place, lost, torn);
            return Rc::new(self.built_ways(moment, place, lost, choices));
        };
        if let Some(known) = self.ways.get(&key) {
            return known.clone();
        }
        let ways = Rc::new(Ways::of(self.plain_ways(key)));
        self.remembered += ways.all.len();
        if self.remembered <= REMEMBERED {
            self.ways.insert(key, ways.clone());
        }
        ways
    }

    /// What the ways of a page depend on; `None` where they have to be built.
    fn key(&self, place: usize, lost: &Places, torn: bool) -> Option<Key> {
        let At::Page { file: at, page } = self.parts[place] else { unreachable!("a page") };
        let (file, profile) = (&self.files[at], &self.model.profile);
        let torn = torn && profile.torn_pages;
        if !file.is_plain || (torn && !self.tears_alone(at)) {
            return None;
        }
        let versions = &file.pages[&page].places;
        let kept = file.pages[&page].kept(lost);
        debug_assert_eq!(versions[kept], place);
        let exposed = |place: &usize| self.is_exposed(*place, lost);
        let stale_from = if torn && profile.stale_bytes {
            versions[kept..].iter().take_while(|place| self.is_page(**place)).position(exposed)
        } else {
            None
        };
        Some(Key {
            place,
            len: in_page(file.len_under(lost), page),
            is_exposed: exposed(&place),
            stale_from: stale_from.unwrap_or(usize::MAX),
            torn,
        })
    }

    /// The stale and torn pages of a file that is not plain.
    fn choices(&self, moment: &Moment, place: usize, lost: &Places, torn: bool) -> Vec<Choice> {
        let (id, ids) = (self.id(place), self.ids_of(lost));
        let mut choices = Vec::new();
        choices.extend(may_be_stale(self.model, &ids, id).then_some(Choice::Stale(id)));
        if torn {
            choices.extend(torn_pages(self.model, moment, &ids, id));
        }
        choices
    }

    /// The newest version of a page torn over the version before it, over what is durable, and over stale
    /// bytes: of each what is lost with it, and the ways.
    pub(crate) fn torn_page(
        &mut self,
        moment: &Moment,
        page: (Ino, u64),
        newest: usize,
    ) -> Vec<(Places, Ways)> {
        let (model, newer) = (self.model, self.id(newest));
        let before = moment.versions(model, page).take_while(|id| *id < newer).last();
        let mut olders = vec![Older::Durable];
        olders.extend(before.map(Older::Version));
        olders.extend(model.profile.stale_bytes.then_some(Older::Stale));
        let At::Page { file, page: number } = self.parts[newest] else { unreachable!("a page") };
        if !self.tears_alone(file) {
            let of = |older| {
                let choices = mixes(model, moment, newer, older);
                let lost = build::lost(model, moment, &Tape(vec![*choices.first()?]))?;
                let lost = self.closed(moment, lost.into_iter().filter_map(|id| self.place(id)));
                let ways = self.built_ways(moment, newest, &lost, choices);
                Some((lost, ways.spoilt()))
            };
            return olders.into_iter().filter_map(of).collect();
        }
        let places = self.files[file].pages[&number].places.clone();
        let older_ones = places.iter().rev().skip_while(|place| **place >= newest);
        let since_cut = older_ones.take_while(|place| self.is_page(**place)).last();
        let since_cut = since_cut.copied().unwrap_or(newest);
        let of = |older| {
            let first = if matches!(older, Older::Version(_)) { newest } else { since_cut };
            let from_there = places.iter().copied().filter(|place| *place >= first);
            let lost = self.closed(moment, from_there);
            let ways = self.ways(moment, first, &lost, true).torn_over(newer, older);
            (lost, ways)
        };
        olders.into_iter().map(of).collect()
    }

    /// True where whether a page of the file may be torn depends on what is lost of the page alone.
    fn tears_alone(&self, file: usize) -> bool {
        // Where the order is of everything a torn page needs what was written to others before it.
        self.files[file].is_plain && self.model.profile.order != Kept::Everything
    }

    /// One of the stale and torn pages that may stand in place of a lost change.
    pub(crate) fn spoilt(
        &self,
        moment: &Moment,
        place: usize,
        lost: &Places,
        random: &mut Rng,
    ) -> Option<Way> {
        if !matches!(self.parts[place], At::Page { .. }) {
            return None;
        }
        if !self.is_first(moment, place, lost) {
            return self.stale(moment, place, lost);
        }
        match self.key(place, lost, true) {
            Some(key) => {
                let (choice, version) = random.choice(self.plain_choices(key))?;
                Some(self.lost_page(key).way(choice, version))
            }
            None => {
                let choice = random.choice(self.choices(moment, place, lost, true))?;
                self.built_ways(moment, place, lost, vec![choice]).all.pop()
            }
        }
    }

    /// Stale bytes in place of a lost change, where that may be.
    pub(crate) fn stale(&self, moment: &Moment, place: usize, lost: &Places) -> Option<Way> {
        let At::Page { file: at, page } = self.parts[place] else { return None };
        if !self.is_exposed(place, lost) {
            return None;
        }
        let file = &self.files[at];
        let choice = Choice::Stale(self.id(place));
        if !file.is_plain {
            return self.built_ways(moment, place, lost, vec![choice]).all.pop();
        }
        let pages = &file.pages[&page];
        let len = in_page(file.len_under(lost), page);
        let base = up_to(pages.images[pages.kept(lost)].as_ref(), len);
        let stale = up_to(Some(pages.stale(file.ino, page)), len);
        let delta = stale.wrapping_sub(base).wrapping_mul(page_factor(page));
        Some(Way { choice, page: Some((at, page)), delta })
    }

    /// True where the size step that exposes the page of a write was kept, and the profile lets the device's
    /// old bytes show.
    fn is_exposed(&self, place: usize, lost: &Places) -> bool {
        let Part::Page(patch) = &self.model.micros.all[self.id(place) as usize].part else {
            return false;
        };
        let is_lost = |step| self.place(step).is_some_and(|step| lost.contains(step));
        self.model.profile.stale_bytes && patch.exposed_by.is_some_and(|step| !is_lost(step))
    }

    /// The page as a whole, stale, and torn between the version that is kept of it and each newer one.
    fn plain_ways(&self, key: Key) -> Vec<Way> {
        let choices = self.plain_choices(key);
        let mut all = Vec::with_capacity(choices.len() + 1);
        all.push(Way::lose(self.id(key.place)));
        let lost = self.lost_page(key);
        for (choice, version) in choices {
            all.push(lost.way(choice, version));
            self.step(1);
            if self.is_spent() {
                break;
            }
        }
        all
    }

    fn lost_page(&self, key: Key) -> LostPage<'_> {
        let (file, number, from) = self.version(key.place);
        let pages = &file.pages[&number];
        LostPage {
            of: (self.file_at[&file.ino], number),
            ino: file.ino,
            pages,
            from,
            len: key.len,
            base: up_to(pages.images[from].as_ref(), key.len),
            factor: page_factor(number),
        }
    }

    /// The page stale, and torn between the version that is kept of it and each newer one, with that.
    fn plain_choices(&self, key: Key) -> Vec<(Choice, usize)> {
        let (file, number, from) = self.version(key.place);
        let pages = &file.pages[&number];
        let Pages { places, images, .. } = pages;
        let id = |version: usize| self.id(places[version]);
        let mut all = Vec::new();
        all.extend(key.is_exposed.then(|| (Choice::Stale(id(from)), from)));
        if !key.torn {
            return all;
        }
        let unmaps = |version: &usize| {
            let part = &self.model.micros.all[id(*version) as usize].part;
            matches!(part, Part::Page(patch) if patch.unmaps())
        };
        let is_cut = |version: &usize| !self.is_page(places[*version]);
        let kept = (0..from).rfind(|version| !is_cut(version));
        let older = kept.map_or(Older::Durable, |kept| Older::Version(id(kept)));
        let versions = (from..places.len()).take_while(|version| !is_cut(version));
        for version in versions.filter(|version| !unmaps(version)) {
            let mut olders = vec![(older, images[from].as_ref())];
            // Only a page of which nothing is kept lies past the end of its file.
            if key.stale_from <= version - from {
                olders.push((Older::Stale, Some(pages.stale(file.ino, number))));
            }
            let whole = images[version + 1].as_ref().unwrap_or(Page::zeros());
            for (older, none) in olders {
                let none = none.unwrap_or(Page::zeros());
                let sectors = tears(differing(none.terms(), whole.terms())).iter();
                let torn = |sectors| Choice::Torn { newer: id(version), older, sectors };
                all.extend(sectors.map(|sectors| (torn(*sectors), version)));
            }
        }
        all
    }

    /// The file and the page of a change, and which of the versions of the page it is.
    fn version(&self, place: usize) -> (&File, u64, usize) {
        let At::Page { file, page } = self.parts[place] else { unreachable!("a page") };
        let file = &self.files[file];
        (file, page, file.pages[&page].places.partition_point(|other| *other < place))
    }

    /// As losses of a file that is not plain, and these torn or stale pages in place of one of them.
    pub(crate) fn built_ways(
        &self,
        moment: &Moment,
        place: usize,
        lost: &Places,
        choices: Vec<Choice>,
    ) -> Ways {
        let At::Page { file: at, page } = self.parts[place] else { unreachable!("a page") };
        let ino = self.files[at].ino;
        let ids = self.ids_of(lost);
        let sum = |choices: &[Choice]| {
            let change = Change::under(self.model, moment, &ids, choices);
            change.expect("a listed page may be torn").files[&ino].sum()
        };
        let base = sum(&[]);
        let mut all = vec![Way::lose(self.id(place))];
        for choice in choices {
            self.step(self.len());
            if self.is_spent() {
                break;
            }
            let delta = sum(&[choice]).wrapping_sub(base);
            all.push(Way { choice, page: Some((at, page)), delta });
        }
        Ways::of(all)
    }
}

/// A page of a plain file of which a change is lost.
struct LostPage<'w> {
    /// The file, as a place among the files, and the page.
    of: (usize, u64),
    ino: Ino,
    pages: &'w Pages,
    /// How many of its versions are kept.
    from: usize,
    /// How much of it lies in the file.
    len: usize,
    /// What that is worth.
    base: u128,
    factor: u128,
}

impl LostPage<'_> {
    /// The page stale, or torn from this version.
    fn way(&self, choice: Choice, version: usize) -> Way {
        let stale = || self.pages.stale(self.ino, self.of.1);
        let image = |version: usize| self.pages.images[version].as_ref().unwrap_or(Page::zeros());
        let sum = match choice {
            Choice::Torn { older, sectors, .. } => {
                let none = if older == Older::Stale { stale() } else { image(self.from) };
                let whole = image(version + 1);
                let pick = |index: usize| if sectors >> index & 1 == 1 { whole } else { none };
                mixed(pick, self.len)
            }
            _ => up_to(Some(stale()), self.len),
        };
        let delta = sum.wrapping_sub(self.base).wrapping_mul(self.factor);
        Way { choice, page: Some(self.of), delta }
    }
}

impl File {
    /// What the file is worth where its value is this.
    fn worth(&self, value: Value) -> u128 {
        let [sum, len] = self.factors;
        let longer = u128::from(value.len).wrapping_sub(self.durable.len.into());
        let other = value.sum.wrapping_sub(self.durable.sum);
        sum.wrapping_mul(other).wrapping_add(len.wrapping_mul(longer))
    }

    fn len_under(&self, lost: &Places) -> u64 {
        let kept = self.lens.partition_point(|(place, _)| !lost.contains(*place));
        kept.checked_sub(1).map_or(self.durable.len, |newest| self.lens[newest].1)
    }

    /// Without what is lost, which touched these pages, and freed those from `freed` on; of a plain file.
    fn under(
        &self,
        lost: &Places,
        touched: impl Iterator<Item = u64>,
        freed: Option<u64>,
    ) -> Value {
        let len = self.len_under(lost);
        let mut sum = self.kept.sum;
        // From here on the pages are other ones, or lie in the file in other parts.
        let end = (len != self.kept.len).then(|| len.min(self.kept.len) / PAGE);
        let rest = freed.into_iter().chain(end).min().unwrap_or(u64::MAX);
        let mut change = |number: u64, pages: &Pages| {
            let now = up_to(pages.images[pages.kept(lost)].as_ref(), in_page(len, number));
            let newest = pages.images.last().expect("the durable one");
            let before = up_to(newest.as_ref(), in_page(self.kept.len, number));
            sum = sum.wrapping_add(now.wrapping_sub(before).wrapping_mul(page_factor(number)));
        };
        let touched = touched.take_while(|number| *number < rest);
        touched.for_each(|number| change(number, &self.pages[&number]));
        self.pages.range(rest..).for_each(|(number, pages)| change(*number, pages));
        Value { len, sum }
    }
}

/// How much of a page lies in a file of this size.
fn in_page(len: u64, page: u64) -> usize {
    len.saturating_sub(page * PAGE).min(PAGE) as usize
}

/// The sum of a page of which the first `len` bytes lie in the file.
fn up_to(page: Option<&Page>, len: usize) -> u128 {
    page.map_or(0, |page| mixed(|_| page, len))
}

/// The sum of a page whose sectors are those of other pages, and of which the first `len` bytes lie in the
/// file.
fn mixed<'p>(pick: impl Fn(usize) -> &'p Page, len: usize) -> u128 {
    let (whole, rest) = (len / SECTOR as usize, len % SECTOR as usize);
    let terms = (0..whole).map(|index| pick(index).terms()[index]);
    let sum = terms.fold(0, u128::wrapping_add);
    match rest {
        0 => sum,
        rest => sum.wrapping_add(pick(whole).term_up_to(whole, rest)),
    }
}

/// The sectors that are worth different.
fn differing(one: &Terms, other: &Terms) -> u8 {
    let pairs = one.iter().zip(other).enumerate();
    pairs.fold(0, |mask, (index, (one, other))| mask | u8::from(one != other) << index)
}
