//! A disk in memory: inodes, names, pages. One structure serves as the live filesystem of [`FaultFs`],
//! as the recorder's picture of a real folder, and as a disk after a crash.
//!
//! Clones are cheap: inodes and pages are shared until they are changed.
//!
//! [`FaultFs`]: crate::fs::FaultFs

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use crate::op::{Bytes, Ino, Kind, Name, Op, PAGE, SECTOR, Slot};

const PAGE_LEN: usize = PAGE as usize;

const SECTOR_LEN: usize = SECTOR as usize;

/// 4096 bytes of a file with what their sectors add to hashes, computed once.
#[derive(Clone)]
pub(crate) struct Page(Arc<PageInner>);

#[derive(Clone)]
struct PageInner {
    bytes: [u8; PAGE_LEN],
    terms: OnceLock<Terms>,
}

/// What each sector adds to the sum of its page; one of zeros adds nothing. So a page that is mixed of two
/// others is told apart from them without a look at its bytes.
pub(crate) type Terms = [u128; PAGE_LEN / SECTOR_LEN];

static ZEROS: [u8; PAGE_LEN] = [0; PAGE_LEN];

impl Page {
    pub(crate) fn new(bytes: [u8; PAGE_LEN]) -> Self {
        Page(Arc::new(PageInner { bytes, terms: OnceLock::new() }))
    }

    /// A page of zeros, which is worth what a hole is.
    pub(crate) fn zeros() -> &'static Page {
        static PAGE: OnceLock<Page> = OnceLock::new();
        PAGE.get_or_init(|| Page::new(ZEROS))
    }

    pub(crate) fn bytes(&self) -> &[u8; PAGE_LEN] {
        &self.0.bytes
    }

    /// The bytes, to be changed: in place where nobody else holds the page.
    fn bytes_mut(&mut self) -> &mut [u8; PAGE_LEN] {
        let inner = Arc::make_mut(&mut self.0);
        inner.terms.take();
        &mut inner.bytes
    }

    /// What the sectors add to the sum.
    pub(crate) fn terms(&self) -> &Terms {
        self.0.terms.get_or_init(|| {
            let sectors = self.0.bytes.as_chunks::<SECTOR_LEN>().0;
            std::array::from_fn(|index| sector_term(index, &sectors[index]))
        })
    }

    fn sum(&self) -> u128 {
        self.terms().iter().fold(0, |sum, term| sum.wrapping_add(*term))
    }

    /// The term of a sector of which the file holds the first `len` bytes and zeros are read behind them.
    pub(crate) fn term_up_to(&self, index: usize, len: usize) -> u128 {
        let (first, behind) = self.0.bytes[index * SECTOR_LEN..][..SECTOR_LEN].split_at(len);
        if behind == &ZEROS[..behind.len()] {
            return self.terms()[index];
        }
        let mut sector = [0; SECTOR_LEN];
        sector[..len].copy_from_slice(first);
        sector_term(index, &sector)
    }

    fn is_zero(&self) -> bool {
        self.0.bytes == ZEROS
    }
}

/// Pages that lie side by side: so many are shared by one reference when a disk is cloned, and have one
/// sum, so that a clone with a few pages changed is made, and told apart, without a look at the rest.
#[derive(Clone, Default)]
struct Chunk {
    pages: [Option<Page>; CHUNK as usize],
    sum: OnceLock<u128>,
}

const CHUNK: u64 = 32;

impl Chunk {
    fn sum(&self, first: u64) -> u128 {
        let pages = (first..).zip(&self.pages);
        let terms = pages.filter_map(|(number, page)| {
            Some(page.as_ref()?.sum().wrapping_mul(page_factor(number)))
        });
        *self.sum.get_or_init(|| terms.fold(0, u128::wrapping_add))
    }
}

/// The content of a regular file: a size, and the pages that are not holes.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(into = "SavedContent", try_from = "SavedContent")]
pub struct Content {
    len: u64,
    /// By the number of their first page in units of [`CHUNK`].
    chunks: BTreeMap<u64, Arc<Chunk>>,
}

impl Content {
    /// The size in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a size, not a collection")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Reads up to `buf.len()` bytes from `offset`; returns how many there were before the end.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let count = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        for (page, at, range) in page_spans(offset, count as u64) {
            let target = &mut buf[range.clone()];
            match self.get(page) {
                Some(p) => target.copy_from_slice(&p.bytes()[at..at + target.len()]),
                None => target.fill(0),
            }
        }
        count
    }

    /// The whole content.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = vec![0; usize::try_from(self.len).expect("a recorded file fits in memory")];
        self.read_at(&mut out, 0);
        out
    }

    /// Writes `data` at `offset` and extends the size where it must.
    pub(crate) fn write_at(&mut self, data: &[u8], offset: u64) {
        if data.is_empty() {
            return; // write(2) of nothing leaves the size, wherever it is asked for.
        }
        for (page, at, range) in page_spans(offset, data.len() as u64) {
            self.patch(page, at, &data[range]);
        }
        self.len = self.len.max(offset + data.len() as u64);
    }

    /// Stores `data` at `offset` through a mapping, which never extends the size.
    pub(crate) fn store(&mut self, data: &[u8], offset: u64) {
        for (page, at, range) in page_spans(offset, data.len() as u64) {
            self.patch(page, at, &data[range]);
        }
        self.clip();
    }

    /// Zeroes `len` bytes from `offset` on, within the size.
    pub(crate) fn zero(&mut self, offset: u64, len: u64) {
        let len = len.min(self.len.saturating_sub(offset));
        for (page, at, range) in page_spans(offset, len) {
            self.patch(page, at, &[0; PAGE_LEN][..range.len()]);
        }
    }

    /// Puts bytes into a page without touching the size: the page cache's half of a write.
    pub(crate) fn patch(&mut self, page: u64, at: usize, data: &[u8]) {
        match <[u8; PAGE_LEN]>::try_from(data) {
            // Nothing is left of what was there.
            Ok(bytes) => *self.slot(page) = Some(Page::new(bytes)),
            Err(_) => self.page_mut(page)[at..at + data.len()].copy_from_slice(data),
        }
    }

    /// The bytes of a page, to be changed; a hole becomes a page of zeros.
    pub(crate) fn page_mut(&mut self, page: u64) -> &mut [u8; PAGE_LEN] {
        self.slot(page).get_or_insert_with(|| Page::new(ZEROS)).bytes_mut()
    }

    /// True where the page is not a hole.
    pub(crate) fn holds(&self, page: u64) -> bool {
        self.get(page).is_some()
    }

    /// A page, unless it is a hole.
    pub(crate) fn get(&self, page: u64) -> Option<&Page> {
        self.chunks.get(&(page / CHUNK))?.pages[(page % CHUNK) as usize].as_ref()
    }

    /// The place of a page, to be changed.
    fn slot(&mut self, page: u64) -> &mut Option<Page> {
        let chunk = Arc::make_mut(self.chunks.entry(page / CHUNK).or_default());
        chunk.sum.take();
        &mut chunk.pages[(page % CHUNK) as usize]
    }

    fn pages(&self) -> impl Iterator<Item = (u64, &Page)> {
        self.pages_from(0)
    }

    /// The pages from `first` on that are not holes.
    pub(crate) fn pages_from(&self, first: u64) -> impl Iterator<Item = (u64, &Page)> {
        let chunks = self.chunks.range(first / CHUNK..);
        let pages = chunks.flat_map(|(number, chunk)| (number * CHUNK..).zip(&chunk.pages));
        let pages = pages.filter_map(|(number, page)| Some((number, page.as_ref()?)));
        pages.skip_while(move |(number, _)| *number < first)
    }

    /// The bytes of a page, zeros where there is a hole.
    pub(crate) fn page(&self, page: u64) -> &[u8; PAGE_LEN] {
        self.get(page).map_or(&ZEROS, Page::bytes)
    }

    /// The pages that are neither holes nor zeros.
    pub(crate) fn data(&self) -> impl Iterator<Item = (u64, &[u8; PAGE_LEN])> {
        let full = self.pages().filter(|(_, page)| !page.is_zero());
        full.map(|(number, page)| (number, page.bytes()))
    }

    /// Replaces a page.
    pub(crate) fn put_page(&mut self, number: u64, page: Page) {
        *self.slot(number) = Some(page);
    }

    /// Makes a page as it is in another content.
    pub(crate) fn copy_page(&mut self, page: u64, from: &Content) {
        *self.slot(page) = from.get(page).cloned();
    }

    /// Sets the size. Bytes past a smaller size are gone: they read as zeros when the file grows again.
    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.cut(len);
        }
        self.len = len;
    }

    /// Sets the size and leaves the pages alone; see [`Content::clip`].
    pub(crate) fn set_len_only(&mut self, len: u64) {
        self.len = len;
    }

    /// Drops what lies past the size. A state under construction may hold data whose size was lost.
    pub(crate) fn clip(&mut self) {
        self.cut(self.len);
    }

    /// Zeroes everything from byte `len` on, without touching the size.
    pub(crate) fn cut(&mut self, len: u64) {
        let (last, tail) = (len / PAGE, (len % PAGE) as usize);
        let first = last + u64::from(tail > 0);
        if self.chunks.last_key_value().is_some_and(|(number, _)| number * CHUNK >= first) {
            let _ = self.chunks.split_off(&first.div_ceil(CHUNK));
        }
        if let Some(chunk) = self.chunks.get_mut(&(first / CHUNK)) {
            let behind = (first % CHUNK) as usize;
            if chunk.pages[behind..].iter().any(Option::is_some) {
                let chunk = Arc::make_mut(chunk);
                chunk.sum.take();
                chunk.pages[behind..].fill(None);
            }
        }
        if tail > 0 && self.get(last).is_some_and(|p| p.bytes()[tail..] != ZEROS[tail..]) {
            self.page_mut(last)[tail..].fill(0);
        }
    }

    /// Numbers of the pages that hold data.
    pub(crate) fn page_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.pages().map(|(number, _)| number)
    }

    /// A hash of sectors of a page; a hole is zeros.
    pub(crate) fn sectors_hash(&self, page: u64, sectors: u8) -> u128 {
        let page = self.get(page).unwrap_or_else(|| Page::zeros());
        if sectors == u8::MAX {
            return page.sum();
        }
        let (first, count) = (sectors.trailing_zeros(), sectors.count_ones());
        let sector = SECTOR_LEN;
        if sectors.leading_zeros() + count + first == u8::BITS {
            let from = first as usize * sector;
            return XxHash3_128::oneshot(&page.bytes()[from..from + count as usize * sector]);
        }
        let chosen = page.bytes().chunks_exact(sector).enumerate();
        let chosen = chosen.filter(|(index, _)| sectors & (1 << index) != 0);
        hash_of(&chosen.map(|(_, bytes)| bytes).collect::<Vec<_>>())
    }

    /// A hash of the size and the pages.
    pub(crate) fn hash(&self) -> u128 {
        hash_of(&[&self.len.to_le_bytes(), &self.sum().to_le_bytes()])
    }

    /// What is in the pages, as a sum of a term for each sector.
    pub(crate) fn sum(&self) -> u128 {
        let sums = self.chunks.iter().map(|(number, chunk)| chunk.sum(number * CHUNK));
        sums.fold(0, u128::wrapping_add)
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.sum() == other.sum()
    }
}

impl Eq for Content {}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in {} pages", self.len, self.pages().count())
    }
}

/// The saved form of a content: pages as plain bytes. A page of zeros is saved as the hole that it equals,
/// so that equal contents have equal bytes.
#[derive(Serialize, Deserialize)]
struct SavedContent {
    len: u64,
    pages: Vec<(u64, Bytes)>,
}

impl From<Content> for SavedContent {
    fn from(content: Content) -> Self {
        let pages = content.data().map(|(n, page)| (n, Bytes::new(page))).collect();
        SavedContent { len: content.len, pages }
    }
}

impl TryFrom<SavedContent> for Content {
    type Error = &'static str;
    fn try_from(saved: SavedContent) -> Result<Self, Self::Error> {
        let page = |(number, bytes): (u64, Bytes)| match bytes[..].try_into() {
            Ok(bytes) => Ok((number, Page::new(bytes))),
            Err(_) => Err("a page is not 4096 bytes long"),
        };
        let mut content = Content { len: saved.len, ..Content::default() };
        for saved in saved.pages {
            let (number, page) = page(saved)?;
            *content.slot(number) = Some(page);
        }
        Ok(content)
    }
}

/// Cuts `len` bytes from `offset` into pieces that stay within one page each: the page, the first byte
/// in it, and which of the `len` bytes go there.
pub(crate) fn page_spans(
    offset: u64,
    len: u64,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let position = offset + done;
        let at = position % PAGE;
        let count = (PAGE - at).min(len - done);
        let span = (position / PAGE, at as usize, done as usize..(done + count) as usize);
        done += count;
        Some(span)
    })
}

/// What an inode holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// A regular file.
    File(Content),
    /// A directory: names in byte order.
    Dir(BTreeMap<Name, Ino>),
    /// A symbolic link's target.
    Symlink(Name),
}

/// An inode: what it holds, and its permission bits. Times are not kept: a built disk has fixed ones.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inode {
    /// What it holds.
    pub body: Body,
    /// Permission bits.
    pub mode: u32,
}

/// A filesystem tree in memory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Disk {
    inodes: BTreeMap<Ino, Arc<Inode>>,
    next: u32,
}

impl Default for Disk {
    fn default() -> Self {
        let root = Inode { body: Body::Dir(BTreeMap::new()), mode: 0o755 };
        Disk { inodes: BTreeMap::from([(Ino::ROOT, Arc::new(root))]), next: 1 }
    }
}

impl Disk {
    /// An empty root directory.
    pub fn new() -> Self {
        Disk::default()
    }

    /// The inode `ino`, if there is one.
    pub fn get(&self, ino: Ino) -> Option<&Inode> {
        self.inodes.get(&ino).map(|i| &**i)
    }

    /// All inodes, named or not.
    pub(crate) fn inodes(&self) -> impl Iterator<Item = (Ino, &Inode)> {
        self.inodes.iter().map(|(ino, inode)| (*ino, &**inode))
    }

    /// The content of the regular file `ino`.
    pub fn content(&self, ino: Ino) -> Option<&Content> {
        match &self.get(ino)?.body {
            Body::File(content) => Some(content),
            _ => None,
        }
    }

    /// The entries of the directory `ino`.
    pub fn entries(&self, ino: Ino) -> Option<&BTreeMap<Name, Ino>> {
        match &self.get(ino)?.body {
            Body::Dir(entries) => Some(entries),
            _ => None,
        }
    }

    /// What stands in a slot.
    pub fn lookup(&self, slot: &Slot) -> Option<Ino> {
        self.entries(slot.dir)?.get(&slot.name).copied()
    }

    /// A number that no inode has had yet.
    pub fn fresh_ino(&mut self) -> Ino {
        let ino = Ino(self.next);
        self.next += 1;
        ino
    }

    /// The number that the next new inode will have.
    pub(crate) fn next_ino(&self) -> Ino {
        Ino(self.next)
    }

    /// How many names below the root stand for the file `ino`.
    pub(crate) fn links(&self, ino: Ino) -> u64 {
        let (mut count, mut dirs) = (0, vec![Ino::ROOT]);
        while let Some(dir) = dirs.pop() {
            for &named in self.entries(dir).into_iter().flat_map(BTreeMap::values) {
                count += u64::from(named == ino);
                dirs.extend(self.entries(named).map(|_| named));
            }
        }
        count
    }

    /// Writes `data` at `offset` of the regular file `ino`, as [`Op::Write`] does, from bytes that are
    /// not shared.
    ///
    /// # Panics
    ///
    /// Where there is no such file.
    #[track_caller]
    pub fn write_at(&mut self, ino: Ino, data: &[u8], offset: u64) {
        self.content_mut(ino).expect("a write names a regular file").write_at(data, offset);
    }

    pub(crate) fn content_mut(&mut self, ino: Ino) -> Option<&mut Content> {
        match &mut self.inode_mut(ino)?.body {
            Body::File(content) => Some(content),
            _ => None,
        }
    }

    /// Gives a regular file its content.
    pub(crate) fn set_content(&mut self, ino: Ino, content: Content) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            *inode = Arc::new(Inode { body: Body::File(content), mode: inode.mode });
        }
    }

    pub(crate) fn inode_mut(&mut self, ino: Ino) -> Option<&mut Inode> {
        self.inodes.get_mut(&ino).map(Arc::make_mut)
    }

    /// Adds an inode without a name.
    pub(crate) fn insert(&mut self, ino: Ino, kind: &Kind, mode: u32) {
        let body = match kind {
            Kind::File => Body::File(Content::default()),
            Kind::Dir => Body::Dir(BTreeMap::new()),
            Kind::Symlink(target) => Body::Symlink(target.clone()),
        };
        self.inodes.insert(ino, Arc::new(Inode { body, mode }));
        self.next = self.next.max(ino.0 + 1);
    }

    /// Puts an inode, or nothing, into a slot. A slot of a directory that is not there is not there
    /// either.
    pub(crate) fn set_slot(&mut self, slot: &Slot, ino: Option<Ino>) {
        let Some(Inode { body: Body::Dir(entries), .. }) = self.inode_mut(slot.dir) else { return };
        match ino {
            Some(ino) => entries.insert(slot.name.clone(), ino),
            None => entries.remove(&slot.name),
        };
    }

    /// Carries out an op that succeeded. Syncs change nothing here.
    ///
    /// # Panics
    ///
    /// Where the op names an inode or a slot that does not exist: the door that recorded it is wrong.
    #[track_caller]
    pub fn apply(&mut self, op: &Op) {
        let file = |disk: &mut Disk, ino: Ino, change: &dyn Fn(&mut Content)| {
            change(disk.content_mut(ino).expect("an op on content names a regular file"));
        };
        match op {
            Op::Create { slot, ino, kind, mode } => {
                self.insert(*ino, kind, *mode);
                self.set_slot(slot, Some(*ino));
            }
            Op::CreateUnnamed { ino, mode } => self.insert(*ino, &Kind::File, *mode),
            Op::Link { ino, slot } => self.set_slot(slot, Some(*ino)),
            Op::Unlink { slot } => self.set_slot(slot, None),
            Op::Rename { from, to, exchange } => {
                let moved = self.lookup(from).expect("rename: the source exists");
                let other = self.lookup(to);
                if other != Some(moved) {
                    self.set_slot(from, other.filter(|_| *exchange));
                    self.set_slot(to, Some(moved));
                }
            }
            Op::Write { ino, offset, data, .. } => file(self, *ino, &|c| c.write_at(data, *offset)),
            Op::MapStore { ino, offset, data, .. } => file(self, *ino, &|c| c.store(data, *offset)),
            Op::SetLen { ino, len } => file(self, *ino, &|c| c.set_len(*len)),
            Op::Zero { ino, offset, len } => file(self, *ino, &|c| c.zero(*offset, *len)),
            Op::SetMode { ino, mode } => {
                self.inode_mut(*ino).expect("set mode: the inode exists").mode = *mode;
            }
            Op::Sync { .. } | Op::SyncMap { .. } | Op::SyncAll | Op::StartWriteback { .. } => {}
        }
    }

    /// A 128-bit hash of all that can be seen from the root: names, which of them are one file, kinds,
    /// modes, sizes and contents. Inode numbers do not count.
    pub fn digest(&self) -> u128 {
        let mut places = BTreeMap::new();
        let node = self.node(Ino::ROOT, ROOT_PLACE, &mut places);
        let several = places.values().filter(|(names, _)| *names > 1);
        digest_of(node, several.map(|(_, places)| *places))
    }

    /// The hash of an inode and of all below it; counts the names of files, and adds up their places.
    fn node(&self, ino: Ino, place: u128, places: &mut BTreeMap<Ino, (u32, u128)>) -> u128 {
        let Some(inode) = self.get(ino) else { return 0 };
        let Body::Dir(entries) = &inode.body else { return inode.leaf() };
        let mut sum = 0u128;
        for (name, &child) in entries {
            let place = place_of(place, name);
            let (names, all) = places.entry(child).or_default();
            (*names, *all) = (*names + 1, all.wrapping_add(place));
            sum = sum.wrapping_add(entry_term(name, self.node(child, place, places)));
        }
        dir_node(inode.mode, sum)
    }

    /// Every name below the root with its inode, in the order of a walk; directories before what they
    /// hold. Paths are relative to the root and use `/`.
    pub fn walk(&self) -> Vec<(Vec<u8>, Ino)> {
        let mut out = Vec::new();
        self.walk_dir(Ino::ROOT, &[], &mut out);
        out
    }

    fn walk_dir(&self, dir: Ino, prefix: &[u8], out: &mut Vec<(Vec<u8>, Ino)>) {
        for (name, &ino) in self.entries(dir).into_iter().flatten() {
            let mut path = prefix.to_vec();
            path.extend_from_slice(name.as_bytes());
            out.push((path.clone(), ino));
            path.push(b'/');
            self.walk_dir(ino, &path, out);
        }
    }
}

impl Inode {
    /// The hash of a file or a link.
    pub(crate) fn leaf(&self) -> u128 {
        match &self.body {
            Body::File(content) => file_node(self.mode, content.len, content.sum()),
            Body::Symlink(target) => hash_of(&[b"l", &self.mode.to_le_bytes(), target.as_bytes()]),
            Body::Dir(_) => unreachable!("a directory is more than itself"),
        }
    }
}

// The parts of a digest. What is a set is a sum, so that a change costs what it changed; what has a place
// in it is multiplied by an odd number for the place, so that the sum of a part is known without it.

fn sector_term(index: usize, bytes: &[u8; SECTOR_LEN]) -> u128 {
    static ZERO: OnceLock<u128> = OnceLock::new();
    const FACTORS: Terms = {
        let mut factors = [0; PAGE_LEN / SECTOR_LEN];
        let mut index = 0;
        while index < factors.len() {
            factors[index] = factor(0, index as u64);
            index += 1;
        }
        factors
    };
    let hash = XxHash3_128::oneshot(bytes);
    match hash == *ZERO.get_or_init(|| XxHash3_128::oneshot(&[0; SECTOR_LEN])) {
        true => 0,
        false => hash.wrapping_mul(FACTORS[index]),
    }
}

/// By what the sum of a page is multiplied in the sum of its file.
pub(crate) fn page_factor(number: u64) -> u128 {
    factor(1, number)
}

/// An odd number for the place `index` among others of its `kind`.
pub(crate) const fn factor(kind: u64, index: u64) -> u128 {
    let mut state = kind;
    state = next_word(&mut state).wrapping_add(index);
    let high = next_word(&mut state);
    (high as u128) << 64 | next_word(&mut state) as u128 | 1
}

/// A word of the generator SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators", 2014).
pub(crate) const fn next_word(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// The root's place.
pub(crate) const ROOT_PLACE: u128 = 0;

/// The place of a name in a directory, for which files are one under several names.
pub(crate) fn place_of(dir: u128, name: &Name) -> u128 {
    hash_of(&[b"p", &dir.to_le_bytes(), name.as_bytes()])
}

/// What an entry adds to the sum of its directory.
pub(crate) fn entry_term(name: &Name, node: u128) -> u128 {
    hash_of(&[b"e", &node.to_le_bytes(), name.as_bytes()])
}

/// The hash of a directory whose entries add up to `sum`.
pub(crate) fn dir_node(mode: u32, sum: u128) -> u128 {
    hash_of(&[b"d", &mode.to_le_bytes(), &sum.to_le_bytes()])
}

/// The hash of a regular file.
pub(crate) fn file_node(mode: u32, len: u64, sum: u128) -> u128 {
    hash_of(&[b"f", &mode.to_le_bytes(), &len.to_le_bytes(), &sum.to_le_bytes()])
}

/// The hash of a tree: of its root, and for each file with several names of their places' sum.
pub(crate) fn digest_of(root: u128, several: impl Iterator<Item = u128>) -> u128 {
    several.fold(root, |sum, places| sum.wrapping_add(hash_of(&[b"=", &places.to_le_bytes()])))
}

/// The hash of the parts in a row.
fn hash_of(parts: &[&[u8]]) -> u128 {
    // The hasher that takes parts has memory to allocate: most are short.
    let mut short = [0; 128];
    let len = parts.iter().map(|part| part.len()).sum();
    let Some(row) = short.get_mut(..len) else { return XxHash3_128::oneshot(&parts.concat()) };
    let mut rest = &mut *row;
    for part in parts {
        let (place, behind) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = behind;
    }
    XxHash3_128::oneshot(row)
}
