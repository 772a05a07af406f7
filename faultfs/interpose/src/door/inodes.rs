//! Which inodes are below the root, and which file each descriptor stands for.
//!
//! Both tables are fixed in size, read without a lock and changed with atomic stores.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering::*};

const SLOTS: usize = 1 << 17;
const KEPT_MAX: usize = SLOTS / 4 * 3;
const EMPTY: u64 = 0;
const REMOVED: u64 = u64::MAX;

/// A set of inode numbers; changed under the door's lock, looked up without.
pub(crate) struct Inodes {
    slots: [AtomicU64; SLOTS],
    /// Slots that are not empty, removed ones included: they lengthen every search.
    used: AtomicU64,
}

impl Inodes {
    pub(crate) const fn new() -> Self {
        Self { slots: [const { AtomicU64::new(EMPTY) }; SLOTS], used: AtomicU64::new(0) }
    }

    pub(crate) fn contains(&self, ino: u64) -> bool {
        self.find(ino).is_some()
    }

    /// False when the set is full.
    pub(crate) fn insert(&self, ino: u64) -> bool {
        if self.contains(ino) {
            return true;
        }
        for slot in self.search(ino) {
            match self.slots[slot].load(Relaxed) {
                EMPTY if self.used.load(Relaxed) as usize >= KEPT_MAX => return false,
                EMPTY => _ = self.used.fetch_add(1, Relaxed),
                REMOVED => {}
                _ => continue,
            }
            self.slots[slot].store(ino, Release);
            return true;
        }
        false
    }

    pub(crate) fn remove(&self, ino: u64) {
        if let Some(slot) = self.find(ino) {
            self.slots[slot].store(REMOVED, Release);
        }
    }

    pub(crate) fn clear(&self) {
        // Most of it was never touched: what is empty stays unwritten, so its pages stay unbacked.
        for slot in &self.slots {
            if slot.load(Relaxed) != EMPTY {
                slot.store(EMPTY, Relaxed);
            }
        }
        self.used.store(0, Release);
    }

    fn find(&self, ino: u64) -> Option<usize> {
        for slot in self.search(ino) {
            match self.slots[slot].load(Acquire) {
                EMPTY => return None,
                kept if kept == ino => return Some(slot),
                _ => {}
            }
        }
        None
    }

    fn search(&self, ino: u64) -> impl Iterator<Item = usize> {
        let first = (ino.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize;
        (0..SLOTS).map(move |step| (first + step) % SLOTS)
    }
}

/// How many descriptors are followed.
pub(crate) const FDS: usize = 1 << 16;

/// A descriptor of the kernel's random bytes.
pub(crate) const RANDOM: u64 = u64::MAX;

/// The inode behind each descriptor that is below the root, 0 for all others.
pub(crate) struct Fds([AtomicU64; FDS]);

impl Fds {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; FDS])
    }

    #[inline]
    pub(crate) fn get(&self, fd: c_int) -> u64 {
        match self.0.get(fd as u32 as usize) {
            Some(entry) => entry.load(Relaxed),
            None => 0,
        }
    }

    /// False when the number of the descriptor is too large to be followed.
    pub(crate) fn set(&self, fd: c_int, ino: u64) -> bool {
        match self.0.get(fd as u32 as usize) {
            // Written only when it changes: most stay 0, and their pages unbacked.
            Some(entry) if entry.load(Relaxed) != ino => entry.store(ino, Relaxed),
            Some(_) => {}
            None => return ino == 0,
        }
        true
    }

    /// The inodes that somebody has open.
    pub(crate) fn open(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|entry| entry.load(Relaxed)).filter(|ino| ![0, RANDOM].contains(ino))
    }

    pub(crate) fn clear(&self, first: u32, last: u32) {
        for fd in first as usize..(last as usize).saturating_add(1).min(FDS) {
            self.set(fd as c_int, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inodes_are_found_until_removed_and_their_slots_are_used_again() {
        static SET: Inodes = Inodes::new();
        for ino in 1..=20_000 {
            assert!(SET.insert(ino));
        }
        for ino in (1..=20_000).filter(|ino| ino % 3 == 0) {
            SET.remove(ino);
        }
        for ino in 1..=20_000 {
            assert_eq!(SET.contains(ino), ino % 3 != 0, "{ino}");
        }
        assert!(SET.insert(3));
        assert!(SET.contains(3));
        SET.clear();
        assert!(!SET.contains(1));
    }

    #[test]
    fn a_full_set_says_so() {
        static SET: Inodes = Inodes::new();
        let full = (1..=SLOTS as u64).find(|&ino| !SET.insert(ino));
        assert_eq!(full, Some(KEPT_MAX as u64 + 1));
        assert!(SET.insert(1));
    }

    #[test]
    fn descriptors_out_of_range_are_not_followed() {
        static TABLE: Fds = Fds::new();
        assert!(TABLE.set(3, 9));
        assert_eq!(TABLE.get(3), 9);
        assert!(!TABLE.set(FDS as c_int, 9));
        assert!(TABLE.set(-1, 0));
        assert_eq!(TABLE.get(-1), 0);
        TABLE.clear(0, u32::MAX);
        assert_eq!(TABLE.get(3), 0);
    }
}
