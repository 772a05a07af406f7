//! Where the files go that recovery removes, and from where they come back.
//!
//! To free a file's memory and to take as much again for the next state costs more than what is written into
//! it. So the owner of a removal moves the file here instead, where nobody looks for it; the next state
//! that has such a file gets it back under its name, and has it compared as any other. Nobody can tell: only a
//! file with no other name that nobody has open is moved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::CWD;

use super::Found;

/// Files that are kept, and the size of each, at most: what is larger is worth more as memory.
const KEPT_MAX: usize = 32;
const LEN_MAX: u64 = 1 << 20;
/// Removals from one path in a row that a move would not do for, until it is not tried any more.
const ASKED_MAX: u32 = 4;

/// A place aside, for the files that a [`Folder`](super::Folder) has no use for at the time.
#[derive(Debug)]
pub struct Stash {
    aside: File,
    root: PathBuf,
    is_alone: fn(BorrowedFd<'_>) -> bool,
    /// By their path from the root.
    kept: Mutex<BTreeMap<Vec<u8>, Kept>>,
}

#[derive(Debug)]
struct Kept {
    file: Arc<File>,
    ino: u64,
    /// Which name it has here, when it is here; what else may have the name is of no use any more.
    slot: usize,
    is: Whereabouts,
    /// How often in a row what was removed from this path could not be moved, as it was in use: so will be what
    /// comes after it.
    in_vain: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whereabouts {
    Placed,
    Aside,
    /// It was to be removed in the usual way.
    Gone,
}

impl Stash {
    /// A stash for the folder at `root` in the folder `aside`, which is made where it is not: on the same
    /// filesystem, and not below the root. `is_alone` tells whether the descriptor is the only one of its
    /// file, in all processes, mappings included; where it cannot tell it says no.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be made.
    pub fn new(
        root: impl Into<PathBuf>,
        aside: impl Into<PathBuf>,
        is_alone: fn(BorrowedFd<'_>) -> bool,
    ) -> io::Result<Stash> {
        let (root, aside) = (root.into(), aside.into());
        std::fs::create_dir_all(&aside)?;
        let aside = File::open(aside)?;
        Ok(Stash { aside, root, is_alone, kept: Mutex::new(BTreeMap::new()) })
    }

    /// Removes the file at `path`, a whole path, by moving it here. False where that would not do, and
    /// nothing was done: it is to be removed in the usual way, which also finds the error if there is one.
    ///
    /// May be called at any time, by anybody in this process or in a forked child.
    pub fn remove(&self, path: &Path) -> bool {
        // Somebody else may hold it, in a forked child for ever.
        let Ok(mut all) = self.kept.try_lock() else { return false };
        let root = self.root.as_os_str().as_bytes();
        let below = path.as_os_str().as_bytes().strip_prefix(root);
        let Some(name) = below.and_then(|below| below.strip_prefix(b"/")) else { return false };
        let Some(kept) = all.get_mut(name).filter(|kept| kept.is == Whereabouts::Placed) else {
            return false;
        };
        // Unless it is the one that will be moved.
        kept.is = Whereabouts::Gone;
        if kept.in_vain >= ASKED_MAX {
            return false;
        }
        let is_it = rustix::fs::lstat(path).is_ok_and(|stat| {
            let found = Found::of(&stat);
            found.kind.is_file()
                && found.ino == kept.ino
                && found.links == 1
                && found.len <= LEN_MAX
        });
        let is_alone = is_it && (self.is_alone)(kept.file.as_fd());
        kept.in_vain = if is_alone { 0 } else { kept.in_vain + 1 };
        let moved =
            is_alone && rustix::fs::renameat(CWD, path, &self.aside, aside(kept.slot)).is_ok();
        if moved {
            kept.is = Whereabouts::Aside;
        }
        moved
    }

    /// Whether the file at `path` was seen to go. It may have stayed, or another may have come.
    pub(super) fn saw_go(&self, path: &Path) -> bool {
        let all = self.lock();
        let kept = all.get(path.as_os_str().as_bytes());
        kept.is_some_and(|kept| kept.is != Whereabouts::Placed)
    }

    /// Puts the file that was removed from `path` below `root`, where nothing is now, there again.
    pub(super) fn bring_back(&self, root: &File, path: &Path) -> Option<Arc<File>> {
        let mut all = self.lock();
        let kept = all.get_mut(path.as_os_str().as_bytes())?;
        if kept.is != Whereabouts::Aside {
            return None;
        }
        kept.is = Whereabouts::Gone;
        rustix::fs::renameat(&self.aside, aside(kept.slot), root, path).ok()?;
        Some(kept.file.clone())
    }

    /// Notes which file is at `path` now.
    pub(super) fn place(&self, path: &Path, ino: u64, file: &Arc<File>) {
        let mut all = self.lock();
        let path = path.as_os_str().as_bytes();
        let placed = |slot, in_vain| Kept {
            file: file.clone(),
            ino,
            slot,
            is: Whereabouts::Placed,
            in_vain,
        };
        match all.get_mut(path) {
            Some(kept) if kept.ino == ino => kept.is = Whereabouts::Placed,
            Some(kept) => *kept = placed(kept.slot, kept.in_vain),
            None => {
                let is_free = |slot: &usize| all.values().all(|kept| kept.slot != *slot);
                if let Some(slot) = (0..KEPT_MAX).find(is_free) {
                    all.insert(path.into(), placed(slot, 0));
                }
            }
        }
    }

    /// Forgets files that are neither here nor among those with these inode numbers.
    pub(super) fn retain(&self, placed: &BTreeSet<u64>) {
        let is_known = |kept: &Kept| kept.is == Whereabouts::Aside || placed.contains(&kept.ino);
        self.lock().retain(|_, kept| is_known(kept));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name that a file has aside.
fn aside(slot: usize) -> String {
    slot.to_string()
}
