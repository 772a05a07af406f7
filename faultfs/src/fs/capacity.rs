//! A disk that fills up.

use std::collections::BTreeSet;

use super::shared::State;
use crate::disk::{Disk, page_spans};
use crate::op::{Ino, Op, PAGE};

/// How much a [`FaultFs`] holds. Space comes free as files go: when the last name and the last handle of a
/// file are gone, when it gets shorter.
///
/// A write that does not fit is short; where not even its first page fits, it fails with `ENOSPC`.
/// Overwriting what is there always fits. Names and directories take an inode each, and no bytes.
///
/// ```
/// use faultfs::FaultFs;
/// use faultfs::fs::Capacity;
/// use std::io::Write;
///
/// let fs = FaultFs::mem();
/// fs.set_capacity(Capacity { bytes: 8192, ..Capacity::UNLIMITED });
/// let mut file = fs.create("f")?;
/// assert_eq!(file.write(&[1; 9000])?, 8192);
/// assert_eq!(file.write(&[1; 808]).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
/// file.set_len(100)?;
/// fs.write("g", &[2; 4096])?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// [`FaultFs`]: super::FaultFs
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Bytes of file content, in whole pages of 4096: a rest is of no use.
    pub bytes: u64,
    /// Files, directories and symbolic links, with the root.
    pub inodes: u64,
}

impl Capacity {
    /// More than there can be.
    pub const UNLIMITED: Capacity = Capacity { bytes: u64::MAX, inodes: u64::MAX };

    /// How many of `len` bytes can be written to `ino` at `offset` of `disk`, from the first on; `open` are
    /// the inodes that somebody has open. For a door.
    pub fn room_for(
        &self,
        disk: &Disk,
        open: impl IntoIterator<Item = Ino>,
        (ino, offset, len): (Ino, u64, u64),
    ) -> u64 {
        if self.bytes == u64::MAX {
            return len;
        }
        let Some(content) = disk.content(ino) else { return len };
        let kept = live_inodes(disk, open).into_iter().filter_map(|ino| disk.content(ino));
        let held: u64 = kept.map(|content| content.page_numbers().count() as u64).sum();
        let mut free = (self.bytes / PAGE).saturating_sub(held);
        for (page, _, range) in page_spans(offset, len) {
            if content.holds(page) {
                continue;
            }
            match free.checked_sub(1) {
                Some(rest) => free = rest,
                None => return range.start as u64,
            }
        }
        len
    }

    /// True where `disk` has an inode left; `open` are those that somebody has open. For a door.
    pub fn has_inode(&self, disk: &Disk, open: impl IntoIterator<Item = Ino>) -> bool {
        self.inodes == u64::MAX || (live_inodes(disk, open).len() as u64) < self.inodes
    }
}

/// Inodes with a name or a handle.
fn live_inodes(disk: &Disk, open: impl IntoIterator<Item = Ino>) -> BTreeSet<Ino> {
    let named = disk.walk().into_iter().map(|(_, ino)| ino);
    named.chain([Ino::ROOT]).chain(open).collect()
}

impl State {
    /// How many of `len` bytes can be written to `ino` at `offset`, from the first on.
    pub(super) fn room_for(&self, ino: Ino, offset: u64, len: u64) -> u64 {
        self.capacity.room_for(self.disk(), self.open.keys().copied(), (ino, offset, len))
    }

    /// True where `op` makes an inode and there is none left.
    pub(super) fn is_out_of_inodes(&self, op: &Op) -> bool {
        matches!(op, Op::Create { .. } | Op::CreateUnnamed { .. })
            && !self.capacity.has_inode(self.disk(), self.open.keys().copied())
    }
}
