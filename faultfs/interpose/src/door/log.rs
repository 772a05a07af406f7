//! The log as its writer sees it: a file mapped shared, so that what was written outlives the
//! process that wrote it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::{ptr, slice};

use crate::record::{ALIGN, HEAD_LEN, Head, Kind, MAGIC, RECORDS_AT, header};

use super::sys;

/// Memory is asked for this far ahead, so that a full disk is an answer and not a bus error.
const BACKED_AHEAD: usize = 1 << 20;
const PAGE: usize = 4096;

/// What a record is about; its data is written into the slot that the log reserves for it.
pub(crate) struct Entry<'a> {
    pub(crate) kind: Kind,
    pub(crate) number: i64,
    /// Position of the stack from which it was asked for, or 0.
    pub(crate) stack: u64,
    pub(crate) words: [u64; 6],
    pub(crate) name: &'a [u8],
}

/// Room for a record that is not part of the log yet.
pub(crate) struct Slot {
    position: usize,
    head: Head,
    /// Where the data goes.
    pub(crate) data: *mut u8,
}

/// All but the header is only touched with the door's lock held.
pub(crate) struct Log {
    base: AtomicUsize,
    capacity: AtomicUsize,
    tail: AtomicUsize,
    backed: AtomicUsize,
    full: AtomicBool,
}

impl Log {
    pub(crate) const fn new() -> Self {
        Self {
            base: AtomicUsize::new(0),
            capacity: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            backed: AtomicUsize::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// Takes over a mapping.
    ///
    /// # Safety
    /// `base` must be `capacity` bytes mapped shared and writable, all zero, at least
    /// [`RECORDS_AT`] of them, and is the log's own until [`Log::close`].
    pub(crate) unsafe fn open(&self, base: *mut u8, capacity: usize) {
        assert!(capacity >= RECORDS_AT);
        self.base.store(base.expose_provenance(), Relaxed);
        self.capacity.store(capacity, Relaxed);
        self.tail.store(RECORDS_AT, Relaxed);
        self.backed.store(0, Relaxed);
        self.full.store(false, Relaxed);
        self.set(header::TAIL, RECORDS_AT as u64);
        self.set(header::MAGIC, MAGIC);
    }

    /// Gives the mapping back.
    pub(crate) fn close(&self) {
        let (base, capacity) = (self.base.swap(0, Relaxed), self.capacity.load(Relaxed));
        self.capacity.store(0, Relaxed);
        // SAFETY: nobody finds it any more; whoever wrote to it held the lock, as the caller does now.
        unsafe { sys::unmap(base, capacity) };
    }

    /// Sets a word of the header.
    pub(crate) fn set(&self, word: usize, to: u64) {
        debug_assert!(word < header::COUNT);
        let header = ptr::with_exposed_provenance_mut::<u64>(self.base.load(Relaxed));
        if header.is_null() {
            return;
        }
        // SAFETY: the mapping is at least a page and aligned to one; the header is only accessed as
        // atomic words. Without the lock this is called by its holder only, or in a forked child.
        unsafe { AtomicU64::from_ptr(header.add(word)) }.store(to, Release);
    }

    /// Room for a record with up to `data_len` bytes of data; none when the log is full.
    pub(crate) fn reserve(
        &self,
        entry: &Entry<'_>,
        thread: u32,
        data_len: usize,
        data_align: usize,
    ) -> Option<Slot> {
        let position = self.tail.load(Relaxed);
        let data_at = (position + HEAD_LEN + entry.name.len()).next_multiple_of(data_align);
        let end = data_at.checked_add(data_len)?.next_multiple_of(ALIGN);
        let fits = !self.full.load(Relaxed)
            && u32::try_from(end - position).is_ok()
            && end <= self.capacity.load(Relaxed);
        if !fits || !self.back(end) {
            self.set(header::FULL, 1);
            // Nothing more, even if it were short enough: a log with holes in it tells less.
            self.full.store(true, Relaxed);
            return None;
        }
        let base = ptr::with_exposed_provenance_mut::<u8>(self.base.load(Relaxed));
        let head = Head {
            len_bytes: 0,
            kind: entry.kind as u16,
            number: entry.number as u16,
            thread,
            name_len: entry.name.len() as u32,
            data_at: (data_at - position) as u32,
            data_len: 0,
            stack: entry.stack,
            words: entry.words,
        };
        // SAFETY: the record ends within the mapping, checked above, and behind the tail, where
        // only the holder of the lock writes.
        let data = unsafe {
            let name = base.add(position + HEAD_LEN);
            ptr::copy_nonoverlapping(entry.name.as_ptr(), name, entry.name.len());
            base.add(data_at)
        };
        Some(Slot { position, head, data })
    }

    /// Makes a record with `data_len` bytes of data part of the log; its position.
    pub(crate) fn commit(&self, mut slot: Slot, data_len: usize) -> u64 {
        let len = (slot.head.data_at as usize + data_len).next_multiple_of(ALIGN);
        slot.head.data_len = data_len as u32;
        slot.head.len_bytes = len as u32;
        let base = ptr::with_exposed_provenance_mut::<u8>(self.base.load(Relaxed));
        // SAFETY: the slot lies within the mapping, behind the tail and aligned to `ALIGN`, which
        // is that of a head.
        unsafe { base.add(slot.position).cast::<Head>().write(slot.head) };
        self.tail.store(slot.position + len, Relaxed);
        self.set(header::TAIL, (slot.position + len) as u64);
        slot.position as u64
    }

    /// Where the next record will begin. To be called with the lock held.
    pub(crate) fn tail(&self) -> usize {
        self.tail.load(Relaxed)
    }

    /// All that was written, the header too. To be called with the lock held.
    pub(crate) fn bytes(&self) -> &[u8] {
        let base = ptr::with_exposed_provenance::<u8>(self.base.load(Relaxed));
        if base.is_null() {
            return &[];
        }
        // SAFETY: what is before the tail lies within the mapping, which stays while the lock is held. The
        // records never change again; of the header, nothing but what a forked child does.
        unsafe { slice::from_raw_parts(base, self.tail()) }
    }

    /// The data of the record at a position that the log has given. To be called with the lock held.
    pub(crate) fn data(&self, position: u64) -> &[u8] {
        let base = ptr::with_exposed_provenance::<u8>(self.base.load(Relaxed));
        // SAFETY: as in `bytes`: a record begins there, and its data lies within it.
        unsafe {
            let record = base.add(position as usize);
            let head = &*record.cast::<Head>();
            slice::from_raw_parts(record.add(head.data_at as usize), head.data_len as usize)
        }
    }

    /// The first record of a thread from a position on that starts an operation. To be called with the lock
    /// held.
    pub(crate) fn started_by(&self, thread: u32, from: usize) -> Option<u64> {
        let base = ptr::with_exposed_provenance::<u8>(self.base.load(Relaxed));
        let mut position = from;
        while position < self.tail() {
            // SAFETY: as in `bytes`: a record begins here.
            let head = unsafe { &*base.add(position).cast::<Head>() };
            if head.thread == thread && Kind::from_code(head.kind).is_some_and(Kind::is_start) {
                return Some(position as u64);
            }
            position += head.len_bytes as usize;
        }
        None
    }

    /// Sees to it that the log has memory up to `end`.
    fn back(&self, end: usize) -> bool {
        let backed = self.backed.load(Relaxed);
        if end <= backed {
            return true;
        }
        let upto = (end + BACKED_AHEAD).next_multiple_of(PAGE).min(self.capacity.load(Relaxed));
        let given =
            [self.base.load(Relaxed) + backed, upto - backed, 23 /* MADV_POPULATE_WRITE */];
        // SAFETY: the range lies within the mapping; populating it changes no content.
        let populated = unsafe { sys::raw(libc::SYS_madvise, sys::args(given)) };
        // A kernel before 5.14 does not know the advice: then the pages come as they are touched.
        let done = populated == 0 || populated == -(libc::EINVAL as isize);
        if done {
            self.backed.store(upto, Relaxed);
        }
        done
    }
}
