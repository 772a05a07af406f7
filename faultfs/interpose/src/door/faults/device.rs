//! What of a file is on the device, and what only memory still has: read from the log, which knows every
//! write and every sync. No state is kept for it; it is asked for where a sync has failed, seldom.
//!
//! As the trace has it (`on_device` of the typed door): a sync covers what had ended before it started; one
//! that failed leaves the pages clean, and no later one writes them until they are written to again
//! (fsync(2); Rebello et al., "Can Applications Recover from fsync Failures?", table 1).

use std::ffi::c_int;

use libc::iovec;

use crate::record::{Head, Kind, write};

use super::super::files::{self, Write};
use super::super::log::Log;
use super::super::sys::{self, Stat};
use super::super::{Call, Held, maps};

const PAGE: usize = 4096;

/// One page of a file on its way through the log.
struct Page {
    number: u64,
    live: [u8; PAGE],
    device: [u8; PAGE],
    /// Differs from the device and will be written.
    dirty: bool,
    /// Memory has it anew, and no later sync will write it.
    lost: bool,
}

/// The sizes of a file.
struct Sizes {
    live: u64,
    device: u64,
}

/// Makes a file what its last successful sync left.
pub(super) fn revert(held: &Held<'_>, call: &Call, stat: &Stat) {
    let sizes = Sizes::of(&held.door.log, stat.ino);
    let restored = with_writable(call.fd(0), |fd| {
        if sizes.live != sizes.device {
            set_len(held, fd, stat.ino, sizes.device);
        }
        each_page(held, fd, stat.ino, sizes.live.max(sizes.device), |page| {
            page.live != page.device
        });
    });
    if restored.is_none() {
        held.unmodelled(call, "a file could not be opened to be reverted after a failed sync");
    }
}

/// Drops from memory what is clean: pages that a failed sync has left there alone read as the device has
/// them.
pub(super) fn evict(held: &Held<'_>, fd: c_int, stat: &Stat) -> Option<()> {
    with_writable(fd, |fd| each_page(held, fd, stat.ino, stat.size, |page| page.lost))
}

/// A descriptor of the same file that can be written to, whatever that of the program can.
fn with_writable(fd: c_int, then: impl FnOnce(c_int)) -> Option<()> {
    let path = super::text::link_of(fd)?;
    let flags = (libc::O_RDWR | libc::O_CLOEXEC) as usize;
    let given = [libc::AT_FDCWD as usize, path.as_ptr().expose_provenance(), flags];
    // SAFETY: a null-terminated path.
    let writable = unsafe { sys::raw(libc::SYS_openat, sys::args(given)) };
    let writable = c_int::try_from(writable).ok().filter(|fd| *fd >= 0)?;
    then(writable);
    // SAFETY: the descriptor was opened here.
    unsafe { sys::raw(libc::SYS_close, sys::args([writable as usize])) };
    Some(())
}

/// Writes those pages as the device has them, which is an op like any other.
fn each_page(held: &Held<'_>, fd: c_int, ino: u64, size: u64, wanted: impl Fn(&Page) -> bool) {
    maps::compare(held);
    for number in 0..size.div_ceil(PAGE as u64) {
        let page = Page::of(&held.door.log, ino, number);
        let Ok(stat) = sys::fstat(fd) else { return };
        let offset = number * PAGE as u64;
        let len = stat.size.saturating_sub(offset).min(PAGE as u64) as usize;
        if len == 0 || !wanted(&page) {
            continue;
        }
        let base = page.device.as_ptr().cast_mut().cast();
        let part = [iovec { iov_base: base, iov_len: len }];
        let write = Write { fd, parts: &part, len, at: Some(offset), flags: 0 };
        let call = Call { number: libc::SYS_pwrite64, args: [0; 6] };
        files::recorded(held, &call, &write, &stat);
    }
}

fn set_len(held: &Held<'_>, fd: c_int, ino: u64, len: u64) {
    let args = sys::args([fd as usize, len as usize]);
    let call = Call { number: libc::SYS_ftruncate, args };
    if held.perform(&call, Kind::SetLen, &[ino, len], &[]) == 0 {
        maps::resized(held, ino, len);
    }
}

impl Sizes {
    fn of(log: &Log, ino: u64) -> Self {
        let mut sizes = Self { live: 0, device: 0 };
        log.each(|position, head, data| match change(log, position, head, data, ino) {
            Change::Bytes { offset, data, synced } => {
                sizes.live = sizes.live.max(offset + data.len() as u64);
                if synced {
                    sizes.device = sizes.live;
                }
            }
            Change::Base(data) => {
                sizes = Self { live: data.len() as u64, device: data.len() as u64 };
            }
            Change::Len(len) => sizes.live = len,
            Change::Longer(len) => sizes.live = sizes.live.max(len),
            Change::Synced { success: true, .. } => sizes.device = sizes.live,
            Change::Zeros { .. } | Change::Synced { .. } | Change::None => {}
        });
        sizes
    }
}

impl Page {
    fn of(log: &Log, ino: u64, number: u64) -> Self {
        let (dirty, lost) = (false, false);
        let mut page = Self { number, live: [0; PAGE], device: [0; PAGE], dirty, lost };
        log.each(|position, head, data| page.follow(change(log, position, head, data, ino)));
        page
    }

    fn follow(&mut self, change: Change<'_>) {
        match change {
            Change::Bytes { offset, data, synced } => {
                self.put(offset, data.len() as u64, Some(data));
                if synced && self.dirty {
                    (self.device, self.dirty) = (self.live, false);
                }
            }
            Change::Base(data) => {
                self.put(0, data.len() as u64, Some(data));
                (self.device, self.dirty) = (self.live, false);
            }
            Change::Zeros { offset, len } => self.put(offset, len, None),
            Change::Len(len) => {
                let start = self.number * PAGE as u64;
                if len <= start {
                    self.live = [0; PAGE];
                    (self.dirty, self.lost) = (false, false);
                } else if len < start + PAGE as u64 {
                    self.put(len, start + PAGE as u64 - len, None);
                }
            }
            Change::Synced { offset, len, success } => {
                if self.dirty && self.overlap(offset, len).is_some() {
                    self.dirty = false;
                    self.lost = !success;
                    if success {
                        self.device = self.live;
                    }
                }
            }
            Change::Longer(_) | Change::None => {}
        }
    }

    /// Which bytes of the page a range of the file is, and what of the range is before it.
    fn overlap(&self, offset: u64, len: u64) -> Option<(usize, usize, usize)> {
        let start = self.number * PAGE as u64;
        let first = offset.max(start);
        let last = offset.saturating_add(len).min(start + PAGE as u64);
        (first < last)
            .then(|| ((first - start) as usize, (first - offset) as usize, (last - first) as usize))
    }

    fn put(&mut self, offset: u64, len: u64, data: Option<&[u8]>) {
        let Some((at, skipped, len)) = self.overlap(offset, len) else { return };
        match data {
            Some(data) => self.live[at..at + len].copy_from_slice(&data[skipped..skipped + len]),
            None => self.live[at..at + len].fill(0),
        }
        (self.dirty, self.lost) = (true, false);
    }
}

/// What a record means for one file.
enum Change<'a> {
    None,
    /// What it held at the start of the session.
    Base(&'a [u8]),
    Bytes {
        offset: u64,
        data: &'a [u8],
        synced: bool,
    },
    Zeros {
        offset: u64,
        len: u64,
    },
    Len(u64),
    /// At least so long.
    Longer(u64),
    Synced {
        offset: u64,
        len: u64,
        success: bool,
    },
}

fn change<'a>(log: &Log, position: u64, head: &Head, data: &'a [u8], ino: u64) -> Change<'a> {
    let [first, second, third, fourth, ..] = head.words;
    let Some(kind) = Kind::from_code(head.kind) else { return Change::None };
    let about = match kind {
        Kind::SyncAll => ino,
        Kind::Open => second,
        _ => first,
    };
    if about != ino {
        return Change::None;
    }
    match kind {
        Kind::Known => return Change::Base(data),
        Kind::MapStore => return Change::Bytes { offset: second, data, synced: false },
        _ => {}
    }
    // In flight it has done nothing that counts.
    let Some(returned) = log.end_of(position) else { return Change::None };
    match kind {
        Kind::Sync | Kind::SyncAll => {
            Change::Synced { offset: 0, len: u64::MAX, success: returned >= 0 }
        }
        Kind::Msync if fourth & libc::MS_SYNC as u64 != 0 => {
            Change::Synced { offset: second, len: third, success: returned >= 0 }
        }
        _ if returned < 0 => Change::None,
        Kind::Write => {
            let written = &data[..data.len().min(returned as usize)];
            let synced = third & (write::SYNC | write::DSYNC) != 0;
            Change::Bytes { offset: second, data: written, synced }
        }
        Kind::SetLen => Change::Len(second),
        Kind::Open => Change::Len(0),
        Kind::Allocate => {
            let zeroes = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) as u64;
            match second & zeroes {
                0 if second & libc::FALLOC_FL_KEEP_SIZE as u64 == 0 => {
                    Change::Longer(third.saturating_add(fourth))
                }
                0 => Change::None,
                _ => Change::Zeros { offset: third, len: fourth },
            }
        }
        _ => Change::None,
    }
}
