//! Shared writable mappings: stores into them are seen by comparing with a copy.
//!
//! For each mapping that the program makes, the door maps the same range of the file once more,
//! read-only, and keeps a shadow of it. Before each record the two are compared within
//! the file's size; a page that differs is written to the log. The program cannot unmap or
//! protect the door's own view.
//!
//! What a comparison cannot see: the order of stores between two records, a store that was undone
//! before the next record, and which of two threads stored.

use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::*};

use crate::record::Kind;

use super::sys::{self, Returned};
use super::{Call, DOOR, Held};

const PAGE: usize = 4096;
const MAPS_MAX: usize = 1024;
/// How much is looked at in one step.
const CHUNK: usize = 1024 * PAGE;

/// One mapping of the program.
#[derive(Clone, Copy)]
struct Mapping {
    /// The program's range, which it may shorten from either end.
    address: usize,
    len: usize,
    ino: u64,
    /// Of the first byte of the view in the file.
    offset: u64,
    /// Of `address` in the file.
    program_offset: u64,
    size: u64,
    view: usize,
    /// Follows the file from when the mapping is first writable.
    shadow: usize,
    view_len: usize,
    writable: bool,
    /// A copy of the descriptor that was mapped, where something may go wrong: a mapping holds its file, and
    /// the open file description that is told of failed syncs. 0 where there is none.
    file: c_int,
}

/// The mappings; touched with the door's lock held only, but for the count.
pub(crate) struct Maps {
    count: AtomicUsize,
    all: UnsafeCell<[Mapping; MAPS_MAX]>,
}

// SAFETY: the cell is reached through `Maps::of`, which takes the door's lock for proof.
unsafe impl Sync for Maps {}

impl Maps {
    pub(crate) const fn new() -> Self {
        const NONE: Mapping = Mapping {
            address: 0,
            len: 0,
            ino: 0,
            offset: 0,
            program_offset: 0,
            size: 0,
            view: 0,
            shadow: 0,
            view_len: 0,
            writable: false,
            file: 0,
        };
        Self { count: AtomicUsize::new(0), all: UnsafeCell::new([NONE; MAPS_MAX]) }
    }

    #[expect(clippy::mut_from_ref, reason = "the lock that `held` stands for makes it unique")]
    fn of<'a>(held: &'a Held<'_>) -> &'a mut [Mapping] {
        let maps = &held.door.maps;
        let count = maps.count.load(Relaxed);
        // SAFETY: `held` is the door's lock, and no caller below keeps the slice across another
        // call of this function.
        unsafe { &mut (&mut *maps.all.get())[..count] }
    }
}

/// A page of a mapping, inside the file.
struct Page {
    view: usize,
    shadow: usize,
    /// Of the file.
    offset: u64,
    len: usize,
}

impl Mapping {
    /// Visits the pages from byte `from` of the view on that may hold something. In RAM a page that
    /// is not there is a hole, and looking at it would fill it.
    fn each_page(self, from: usize, in_ram: bool, mut visit: impl FnMut(Page)) {
        let inside = self.size.saturating_sub(self.offset).min(self.view_len as u64) as usize;
        for chunk in (from..inside).step_by(CHUNK) {
            let len = CHUNK.min(inside - chunk);
            let resident =
                if in_ram { resident(self.view + chunk, len) } else { [1; CHUNK / PAGE] };
            for at in (chunk..chunk + len).step_by(PAGE) {
                if resident[(at - chunk) / PAGE] & 1 != 0 {
                    visit(Page {
                        view: self.view + at,
                        shadow: self.shadow + at,
                        offset: self.offset + at as u64,
                        len: PAGE.min(inside - at),
                    });
                }
            }
        }
    }

    /// Brings the shadow up to the file, from byte `from` of the view on.
    fn refresh(self, from: usize, in_ram: bool) {
        self.each_page(from, in_ram, |page| copy(page.view, page.shadow, page.len));
    }

    /// Whether the program's range has something in common with another.
    fn meets(&self, address: usize, len: usize) -> bool {
        address < self.address + self.len && self.address < address.saturating_add(len)
    }

    /// Where in the shadow a range of the file lies: its address, what of the range is before it, its length.
    fn overlap(&self, from: u64, to: u64) -> Option<(usize, usize, usize)> {
        let first = from.max(self.offset);
        let last = to.min(self.offset + self.view_len as u64);
        let at = self.shadow + first.checked_sub(self.offset)? as usize;
        (first < last).then(|| (at, (first - from) as usize, (last - first) as usize))
    }
}

/// `mmap`.
pub(super) fn map(call: Call) -> Returned {
    let [address, len, protection, flags, fd, offset] = call.args;
    let (flags, fd) = (flags as c_int, fd as c_int);
    let shared = matches!(flags & libc::MAP_TYPE, libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE);
    let file = if shared && flags & libc::MAP_ANONYMOUS == 0 { DOOR.behind(fd) } else { None };
    let may_write = sys::open_flags(fd) & libc::O_ACCMODE == libc::O_RDWR;
    let replaces = flags & libc::MAP_FIXED != 0 && DOOR.maps.count.load(Relaxed) > 0;
    let file = file.filter(|stat| may_write && stat.is(libc::S_IFREG));
    if file.is_none() && !replaces {
        return call.perform();
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    if replaces {
        compare(&held);
    }
    let returned = call.perform();
    if returned < 0 {
        return returned;
    }
    if replaces {
        cut(&held, address, len);
    }
    if let Some(file) = file {
        let mapping = Mapping {
            address: returned as usize,
            len: len.next_multiple_of(PAGE),
            ino: file.ino,
            offset: offset as u64,
            program_offset: offset as u64,
            size: sys::fstat(fd).map_or(file.size, |stat| stat.size),
            view: 0,
            shadow: 0,
            view_len: len.next_multiple_of(PAGE),
            writable: protection as c_int & libc::PROT_WRITE != 0,
            file: 0,
        };
        if !watch(&held, mapping, fd) {
            held.unmodelled(&call, "a shared mapping could not be watched");
        }
    }
    returned
}

/// Adds a mapping; false when there is no room or no memory for it.
fn watch(held: &Held<'_>, mapping: Mapping, fd: c_int) -> bool {
    let count = held.door.maps.count.load(Relaxed);
    if count == MAPS_MAX {
        return false;
    }
    let (len, fd, offset) = (mapping.view_len, fd as usize, mapping.offset as usize);
    let read = libc::PROT_READ as usize;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let view = unsafe { sys::map([0, len, read, libc::MAP_SHARED as usize, fd, offset]) };
    let shadow = new_shadow(len);
    if view < 0 || shadow < 0 {
        return false;
    }
    let mapping = Mapping { view: view as usize, shadow: shadow as usize, ..mapping };
    held.door.maps.count.store(count + 1, Relaxed);
    Maps::of(held)[count] = mapping;
    if mapping.writable {
        mapping.refresh(0, held.door.in_ram());
    }
    true
}

/// Memory for a shadow. Programs map much more than there is of a file, so that it can grow; private memory would
/// count as used for all of it (`RLIMIT_DATA`, by which a worker is limited), shared memory does not.
fn new_shadow(len: usize) -> Returned {
    let both = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let shared = (libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as usize;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    unsafe { sys::map([0, len, both, shared, usize::MAX, 0]) }
}

/// `mprotect`.
pub(super) fn protect(call: Call) -> Returned {
    let [address, len, protection, ..] = call.args;
    let writes = protection as c_int & libc::PROT_WRITE != 0;
    if !writes || DOOR.maps.count.load(Relaxed) == 0 {
        return call.perform();
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    let in_ram = held.door.in_ram();
    for mapping in Maps::of(&held) {
        if mapping.meets(address, len) && !mapping.writable {
            // Before the program can store.
            mapping.refresh(0, in_ram);
            mapping.writable = true;
        }
    }
    call.perform()
}

/// `munmap`.
pub(super) fn unmap(call: Call) -> Returned {
    if DOOR.maps.count.load(Relaxed) == 0 {
        return call.perform();
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    compare(&held);
    let returned = call.perform();
    if returned == 0 {
        cut(&held, call.args[0], call.args[1]);
    }
    returned
}

/// `mremap`.
pub(super) fn remap(call: Call) -> Returned {
    let [address, len, new_len, ..] = call.args;
    if DOOR.maps.count.load(Relaxed) == 0 {
        return call.perform();
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    let len = len.next_multiple_of(PAGE);
    let new_len = new_len.next_multiple_of(PAGE);
    let touched = |mapping: &Mapping| mapping.meets(address, len.max(1));
    let Some(index) = Maps::of(&held).iter().position(touched) else {
        return call.perform();
    };
    compare(&held);
    let before = Maps::of(&held)[index];
    let returned = call.perform();
    if returned < 0 {
        return returned;
    }
    let whole = before.address == address && before.len == len && before.view_len == len;
    if !whole || !resize(&held, index, returned as usize, new_len) {
        held.unmodelled(&call, "a part of a shared mapping was moved");
    }
    returned
}

/// Follows a mapping that the program moved or resized; false when there is no memory for it.
fn resize(held: &Held<'_>, index: usize, address: usize, len: usize) -> bool {
    let mapping = &mut Maps::of(held)[index];
    let old = mapping.view_len;
    let given = sys::args([mapping.view, old, len, libc::MREMAP_MAYMOVE as usize]);
    // SAFETY: the range is the door's own, and its address is replaced by the new one below.
    let view = unsafe { sys::raw(libc::SYS_mremap, given) };
    // Shared memory of no file does not grow with its mapping.
    let shadow = new_shadow(len);
    if view < 0 || shadow < 0 {
        return false;
    }
    let inside = mapping.size.saturating_sub(mapping.offset).min(old.min(len) as u64) as usize;
    copy(mapping.shadow, shadow as usize, inside);
    // SAFETY: the door's own, and its address is replaced by the new one below.
    unsafe { sys::unmap(mapping.shadow, old) };
    *mapping = Mapping {
        address,
        len,
        view: view as usize,
        shadow: shadow as usize,
        view_len: len,
        ..*mapping
    };
    if mapping.writable {
        mapping.refresh(old, held.door.in_ram());
    }
    true
}

/// Takes a range out of the mappings that the program has.
fn cut(held: &Held<'_>, address: usize, len: usize) {
    let end = address + len.next_multiple_of(PAGE);
    let mut index = 0;
    while let Some(mapping) = Maps::of(held).get_mut(index) {
        let mapping_end = mapping.address + mapping.len;
        if address <= mapping.address && mapping_end <= end {
            remove(held, index);
            continue;
        }
        if address <= mapping.address && mapping.address < end {
            mapping.program_offset += (end - mapping.address) as u64;
            mapping.len = mapping_end - end;
            mapping.address = end;
        } else if mapping.address < address && address < mapping_end && mapping_end <= end {
            mapping.len = address - mapping.address;
        }
        index += 1;
    }
}

fn remove(held: &Held<'_>, index: usize) {
    let last = held.door.maps.count.load(Relaxed) - 1;
    let mappings = Maps::of(held);
    let gone = mappings[index];
    mappings.swap(index, last);
    held.door.maps.count.store(last, Relaxed);
    // SAFETY: both are the door's own, and the entry that knew them is gone.
    unsafe {
        sys::unmap(gone.view, gone.view_len);
        sys::unmap(gone.shadow, gone.view_len);
    }
    // Where the program has closed all that there was, the number may be its own by now.
    if gone.file != 0 && held.door.fds.get(gone.file) == gone.ino {
        held.door.fds.set(gone.file, 0);
        // SAFETY: no addresses; the copy was made by the door.
        unsafe { sys::raw(libc::SYS_close, sys::args([gone.file as usize])) };
    }
}

/// Keeps a copy of the descriptor of a mapping that was just made; the copy.
pub(super) fn keep_file(held: &Held<'_>, address: usize, fd: c_int) -> Option<c_int> {
    let mapping = Maps::of(held).iter_mut().find(|mapping| mapping.address == address)?;
    // Out of the way of a program that counts on low numbers, where the limit leaves room for that.
    let copy = [KEPT_FROM, 3].into_iter().find_map(|from| {
        let given = [fd as usize, libc::F_DUPFD_CLOEXEC as usize, from];
        // SAFETY: no addresses.
        let copy = unsafe { sys::raw(libc::SYS_fcntl, sys::args(given)) };
        c_int::try_from(copy).ok().filter(|copy| *copy > 0)
    })?;
    mapping.file = copy;
    held.door.fds.set(copy, mapping.ino);
    Some(copy)
}

const KEPT_FROM: usize = 900;

/// Forgets all mappings at the end of a session.
pub(super) fn forget(held: &Held<'_>) {
    while !Maps::of(held).is_empty() {
        remove(held, 0);
    }
}

/// Writes what was stored through mappings since the last comparison.
pub(super) fn compare(held: &Held<'_>) {
    let mut together = false;
    for index in 0..held.door.maps.count.load(Relaxed) {
        let mapping = Maps::of(held)[index];
        if mapping.writable {
            mapping.each_page(0, held.door.in_ram(), |page| {
                if differ(page.view, page.shadow, page.len) {
                    let words = [mapping.ino, page.offset, u64::from(together)];
                    together |= stored(held, words, page.view, page.len);
                }
            });
        }
    }
}

/// Records a page that differs; false where the log has no room.
fn stored(held: &Held<'_>, words: [u64; 3], view: usize, len: usize) -> bool {
    let Some(slot) = held.reserve(0, Kind::MapStore, &words, &[], len, 1) else { return false };
    let data = slot.data;
    copy(view, data.expose_provenance(), len);
    held.commit(0, slot, len);
    // The log's copy, not the view once more: stores go on meanwhile.
    // SAFETY: the log stays while the lock is held, and this part of it never changes again.
    let data = unsafe { std::slice::from_raw_parts(data, len) };
    patch(held, words[0], words[1], data);
    true
}

/// Tells the shadows of a write that is in the log already.
pub(super) fn wrote(held: &Held<'_>, ino: u64, offset: u64, data: &[u8]) {
    patch(held, ino, offset, data);
    let end = offset + data.len() as u64;
    for mapping in Maps::of(held) {
        if mapping.ino == ino {
            mapping.size = mapping.size.max(end);
        }
    }
}

fn patch(held: &Held<'_>, ino: u64, offset: u64, data: &[u8]) {
    for mapping in Maps::of(held) {
        if mapping.writable
            && mapping.ino == ino
            && let Some((at, skipped, len)) = mapping.overlap(offset, offset + data.len() as u64)
        {
            copy(data[skipped..].as_ptr().expose_provenance(), at, len);
        }
    }
}

/// Tells the shadows of a range that became zero.
pub(super) fn zeroed(held: &Held<'_>, ino: u64, from: u64, to: u64) {
    for mapping in Maps::of(held) {
        if mapping.writable
            && mapping.ino == ino
            && let Some((at, _, len)) = mapping.overlap(from, to.min(mapping.size))
        {
            // SAFETY: the range lies in a shadow, which only the holder of the lock touches.
            unsafe { ptr::with_exposed_provenance_mut::<u8>(at).write_bytes(0, len) };
        }
    }
}

/// Tells the mappings of a file that it has a new size.
pub(super) fn resized(held: &Held<'_>, ino: u64, size: u64) {
    zeroed(held, ino, size, u64::MAX);
    for mapping in Maps::of(held) {
        if mapping.ino == ino {
            mapping.size = size;
        }
    }
}

/// The inodes that somebody has mapped.
pub(super) fn mapped<'a>(held: &'a Held<'_>) -> impl Iterator<Item = u64> + 'a {
    Maps::of(held).iter().map(|mapping| mapping.ino)
}

/// What of the watched files lies in a range of memory.
pub(super) enum Found {
    None,
    One { ino: u64, offset: u64, len: u64, file: c_int },
    Many,
}

pub(super) fn find(address: usize, len: usize) -> Found {
    if DOOR.maps.count.load(Relaxed) == 0 {
        return Found::None;
    }
    let Some(held) = DOOR.hold() else { return Found::None };
    let end = address.saturating_add(len.next_multiple_of(PAGE));
    let mut found = Found::None;
    for mapping in Maps::of(&held) {
        let first = address.max(mapping.address);
        let last = end.min(mapping.address + mapping.len);
        if first < last {
            if !matches!(found, Found::None) {
                return Found::Many;
            }
            let offset = mapping.program_offset + (first - mapping.address) as u64;
            let len = (last - first) as u64;
            found = Found::One { ino: mapping.ino, offset, len, file: mapping.file };
        }
    }
    found
}

/// Which of the pages of a range are in memory.
fn resident(address: usize, len: usize) -> [u8; CHUNK / PAGE] {
    let mut pages = [0; CHUNK / PAGE];
    let given = sys::args([address, len, pages.as_mut_ptr().expose_provenance()]);
    // SAFETY: a byte for each page of a chunk, of which the range is no more than one.
    let told = unsafe { sys::raw(libc::SYS_mincore, given) };
    if told == 0 { pages } else { [1; CHUNK / PAGE] }
}

fn differ(view: usize, shadow: usize, len: usize) -> bool {
    let view = ptr::with_exposed_provenance(view);
    let shadow = ptr::with_exposed_provenance(shadow);
    // SAFETY: both ranges are mapped by the door and inside the file. The program may store to
    // the first meanwhile: what the comparison misses then, the next one sees.
    unsafe { libc::memcmp(view, shadow, len) != 0 }
}

fn copy(from: usize, to: usize, len: usize) {
    let from = ptr::with_exposed_provenance::<u8>(from);
    let to = ptr::with_exposed_provenance_mut::<u8>(to);
    // SAFETY: every caller passes ranges of the log, of a view inside its file or of a shadow.
    unsafe { ptr::copy_nonoverlapping(from, to, len) };
}
