//! The run so far, of those faults that need more of it than one call: what a file held earlier, what of it is
//! on the device, what is on the disk at all.
//!
//! No state is kept for it: it is read from the log, as a recording is after its end, where a fault asks for
//! it, seldom. That allocates, with the door's lock held.

use std::ffi::c_int;
use std::io;

use faultfs::device::{OnDevice, before_last_write, changes};
use faultfs::disk::Content;
use faultfs::fault::{Since, Size, SyncFailure};
use faultfs::fs::Rot;
use faultfs::op::Ino;
use faultfs::plan::OpKind;

use crate::decode::SoFar;
use crate::record::{Kind, Log};

use super::super::files;
use super::super::sys::Stat;
use super::super::{Call, Held, maps};
use super::Faults;
use super::ask::Asked;
use super::elsewhere::{Opened, put};

/// The run so far.
pub(super) struct Past(SoFar);

impl Past {
    /// None where the log cannot be understood, or no injector may change anything.
    pub(super) fn of(held: &Held<'_>) -> Option<Past> {
        let armed = Faults::of(held)?;
        maps::compare(held);
        let log = Log::of_writer(held.door.log.bytes().to_vec());
        SoFar::of(&log, armed.base.clone()?).ok().map(Past)
    }

    pub(super) fn so_far(&self) -> &SoFar {
        &self.0
    }

    /// A regular file by the kernel's number, and what it holds.
    fn file(&self, kernel: u64) -> Option<(Ino, &Content)> {
        let ino = *self.0.inos.get(&kernel)?;
        Some((ino, self.0.recorder.live().content(ino)?))
    }

    fn on_device(&self, ino: Ino) -> OnDevice {
        OnDevice::of(self.0.recorder.trace(), ino, &self.0.failures)
    }

    /// What a file held earlier; how many of the bytes there were.
    pub(super) fn stale(&self, kernel: u64, since: Since, offset: u64, into: &mut [u8]) -> usize {
        let Some((ino, _)) = self.file(kernel) else { return 0 };
        match since {
            Since::Sync => self.on_device(ino).content().read_at(into, offset),
            Since::Write => {
                let trace = self.0.recorder.trace();
                before_last_write(trace, ino, offset, into.len() as u64).read_at(into, offset)
            }
        }
    }
}

const LOST: &str = "the log so far cannot be read back, which a fault needed";

/// Makes a file what its last successful sync left.
pub(super) fn revert(held: &Held<'_>, call: &Call, asked: &Asked, stat: &Stat, size: Size) {
    let Some(past) = Past::of(held) else { return held.unmodelled(call, LOST) };
    let Some((ino, live)) = past.file(stat.ino) else { return held.unmodelled(call, LOST) };
    let device = past.on_device(ino);
    let reverted = match asked.kind {
        OpKind::SyncMap => device.reverted_pages(live, asked.synced()),
        _ => device.reverted(live, size),
    };
    let restored = asked.what.fd().and_then(|fd| restore(held, fd, stat, live, &reverted));
    if restored.is_none() {
        held.unmodelled(call, "a file could not be reverted after a failed sync");
    }
}

/// Drops from memory what is clean: what a failed sync has left there alone reads as the device has it.
pub(super) fn evict(held: &Held<'_>, fd: c_int, stat: &Stat) -> Option<()> {
    let past = Past::of(held)?;
    let (ino, live) = past.file(stat.ino)?;
    let mut users = held.door.fds.open().chain(maps::mapped(held));
    let is_open = users.any(|open| open == stat.ino);
    restore(held, fd, stat, live, &past.on_device(ino).evicted(live, is_open))
}

/// Changes stored bytes, on the device too.
pub(super) fn rot(held: &Held<'_>, fd: c_int, stat: &Stat, rot: Rot) -> io::Result<()> {
    let refused = || io::Error::other(LOST);
    let past = Past::of(held).ok_or_else(refused)?;
    let (ino, live) = past.file(stat.ino).ok_or_else(refused)?;
    let rotten = rot.apply(live, &past.on_device(ino))?;
    let file = Opened::again(fd, libc::O_RDWR | libc::O_DSYNC).ok_or_else(refused)?;
    for (offset, bytes) in rotten {
        put(held, &file, offset, &bytes).map_err(|refused| {
            io::Error::from_raw_os_error(i32::try_from(-refused).unwrap_or(libc::EIO))
        })?;
    }
    Ok(())
}

/// A sync of which only some pages cannot be written has written the others that it was about.
pub(super) fn sync_others(
    held: &Held<'_>,
    call: &Call,
    asked: &Asked,
    stat: &Stat,
    how: SyncFailure,
) {
    if how.only.is_none() {
        return;
    }
    let Some(past) = Past::of(held) else { return held.unmodelled(call, LOST) };
    let Some((ino, _)) = past.file(stat.ino) else { return held.unmodelled(call, LOST) };
    let about = asked.synced();
    for (offset, len) in past.on_device(ino).written_besides(how) {
        let (first, end) = (offset.max(about.start), (offset + len).min(about.end));
        if first >= end {
            continue;
        }
        let words = [stat.ino, first, end - first, libc::MS_SYNC as u64];
        let started = held.start(call, Kind::Msync, &words, &[], &[]);
        held.end(started, 0, None);
    }
}

/// Makes a file what it was, by ops like any other.
fn restore(held: &Held<'_>, fd: c_int, stat: &Stat, live: &Content, was: &Content) -> Option<()> {
    let (len, bytes) = changes(live, was);
    if len.is_none() && bytes.is_empty() {
        return Some(());
    }
    let file = Opened::again(fd, libc::O_RDWR)?;
    if let Some(len) = len {
        (files::truncated(held, file.fd(), stat.ino, len) == 0).then_some(())?;
    }
    bytes.iter().try_for_each(|(offset, bytes)| put(held, &file, *offset, bytes).ok())
}
