//! Syncs that fail, and who is told.
//!
//! An error of write-back is told once to every open file description (`errseq_t` of Linux, since 4.13):
//! copies of a descriptor share one, so each has a number here that its copies carry.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::*};

use faultfs::errno::Errno;
use faultfs::fault::{Fault, Pages, Size, Told};
use faultfs::plan::OpKind;

use crate::record::Kind;

use super::super::inodes::FDS;
use super::super::sys::{Returned, Stat};
use super::super::{Call, DOOR, Held, maps};
use super::ask::Asked;
use super::past;

/// Files of which a failed sync is not known to anybody: more than an engine that closes a file without
/// a look at its sync can be meant to have.
const UNSEEN_MAX: usize = 64;

/// What each descriptor is owed. Touched with the door's lock held only.
pub(super) struct Debts {
    /// The open file description behind each descriptor; 0 where that is not known.
    descriptions: [AtomicU32; FDS],
    last: AtomicU32,
    /// The error that its next sync is to tell.
    owed: [AtomicU16; FDS],
    /// One more than the largest descriptor so far.
    end: AtomicU32,
    /// Inodes with a failed sync that nobody has been told of, and the errors.
    unseen: [(AtomicU64, AtomicU16); UNSEEN_MAX],
}

static DEBTS: Debts = Debts {
    descriptions: [const { AtomicU32::new(0) }; FDS],
    last: AtomicU32::new(0),
    owed: [const { AtomicU16::new(0) }; FDS],
    end: AtomicU32::new(0),
    unseen: [const { (AtomicU64::new(0), AtomicU16::new(0)) }; UNSEEN_MAX],
};

/// Forgets what earlier sessions owed.
pub(super) fn clear() {
    for fd in 0..DEBTS.end.swap(0, Relaxed) as usize {
        DEBTS.descriptions[fd].store(0, Relaxed);
        DEBTS.owed[fd].store(0, Relaxed);
    }
    for (ino, _) in &DEBTS.unseen {
        ino.store(0, Relaxed);
    }
}

/// A descriptor is there anew: with a description of its own, which is told of what nobody knows yet
/// (Linux from 4.16 on).
pub(super) fn opened(returned: Returned) {
    let Some(_held) = DOOR.hold() else { return };
    let Some(fd) = entered(returned) else { return };
    let ino = DOOR.fds.get(fd as c_int);
    DEBTS.descriptions[fd].store(DEBTS.last.fetch_add(1, Relaxed) + 1, Relaxed);
    let unseen = DEBTS.unseen.iter().find(|(at, _)| ino != 0 && at.load(Relaxed) == ino);
    DEBTS.owed[fd].store(unseen.map_or(0, |(_, errno)| errno.load(Relaxed)), Relaxed);
    if let Some((at, _)) = unseen {
        at.store(0, Relaxed);
    }
}

/// A descriptor is a copy of another.
pub(super) fn copied(from: c_int, returned: Returned) {
    let Some(_held) = DOOR.hold() else { return };
    let (Some(fd), Ok(from)) = (entered(returned), usize::try_from(from)) else { return };
    if from < FDS {
        DEBTS.descriptions[fd].store(DEBTS.descriptions[from].load(Relaxed), Relaxed);
        DEBTS.owed[fd].store(DEBTS.owed[from].load(Relaxed), Relaxed);
    }
}

/// A file is mapped, and the mapping is told as its descriptor is.
pub(super) fn mapped(fd: c_int, address: usize) {
    let Some(held) = DOOR.hold() else { return };
    let copy = maps::keep_file(&held, address, fd);
    drop(held);
    copied(fd, copy.map_or(-1, |copy| copy as Returned));
}

fn entered(returned: Returned) -> Option<usize> {
    let fd = usize::try_from(returned).ok().filter(|fd| *fd < FDS)?;
    DEBTS.end.fetch_max(fd as u32 + 1, Relaxed);
    Some(fd)
}

/// A sync that no rule is about: an error that is owed is told now, and nothing is synced.
pub(super) fn sync(call: Call, asked: &Asked) -> Returned {
    match take_owed(&call, asked) {
        Some(errno) => -(errno.raw() as Returned),
        None => call.record(),
    }
}

/// A `sync_file_range` that waits tells what is owed, and then no sync does (mm/filemap.c,
/// `file_fdatawait_range`). The error ends it before it has begun to write.
pub(super) fn sync_range(call: Call) -> Returned {
    let waits = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let told = DOOR.hold().filter(|_| call.args[3] as u32 & waits != 0);
    match told.and_then(|held| told_of(&held, call.fd(0))) {
        Some((_, errno)) => -(errno.raw() as Returned),
        None => call.record(),
    }
}

fn take_owed(call: &Call, asked: &Asked) -> Option<Errno> {
    let held = DOOR.hold()?;
    let (stat, errno) = told_of(&held, asked.what.fd()?)?;
    // Kernels differ in whether such a sync writes; the weaker side: nothing, the size neither.
    note(&held, call, asked, &stat, errno, Size::Reverted);
    Some(errno)
}

/// The error that a descriptor is owed, of which nobody is told any more now.
fn told_of(_: &Held<'_>, fd: c_int) -> Option<(Stat, Errno)> {
    let errno = DEBTS.owed.get(usize::try_from(fd).ok()?)?.load(Relaxed);
    if errno == 0 {
        return None;
    }
    let stat = DOOR.behind(fd)?;
    settle(fd);
    for (ino, _) in &DEBTS.unseen {
        if ino.load(Relaxed) == stat.ino {
            ino.store(0, Relaxed);
        }
    }
    Some((stat, Errno::from_raw(errno.into())))
}

/// This descriptor and its copies have been told.
fn settle(fd: c_int) {
    let description = DEBTS.descriptions[fd as usize].load(Relaxed);
    for other in 0..DEBTS.end.load(Relaxed) as usize {
        let same = description != 0 && DEBTS.descriptions[other].load(Relaxed) == description;
        if same || other == fd as usize {
            DEBTS.owed[other].store(0, Relaxed);
        }
    }
}

/// Every descriptor of the file will be told at its next sync.
fn owe(ino: u64, errno: Errno) {
    for fd in 0..DEBTS.end.load(Relaxed) as usize {
        if DOOR.fds.get(fd as c_int) == ino {
            DEBTS.owed[fd].store(errno.raw() as u16, Relaxed);
        }
    }
}

/// The sync of a file or directory fails before it has done anything.
pub(super) fn fail(call: &Call, asked: &Asked, fault: &Fault) -> Returned {
    let (Some(how), Some(errno)) = (fault.sync_failure(), fault.errno()) else { return 0 };
    let now = -(errno.raw() as Returned);
    let Some(held) = DOOR.hold() else { return now };
    let Some(fd) = asked.what.fd() else { return now };
    let Some(stat) = DOOR.behind(fd) else { return now };
    if stat.is(libc::S_IFDIR) {
        note(&held, call, asked, &stat, errno, Size::Persisted);
        return now;
    }
    if how.pages == Pages::Reverted {
        past::revert(&held, call, asked, &stat, how.size);
    }
    // Dirty pages are what they were: as if nobody had asked for the sync.
    if how.pages != Pages::Dirty {
        past::sync_others(&held, call, asked, &stat, how);
        note(&held, call, asked, &stat, errno, how.size);
    }
    match how.told {
        Told::EveryHandle | Told::EveryHandleLater => owe(stat.ino, errno),
        Told::CallerLater => {
            if let Some(owed) = usize::try_from(fd).ok().and_then(|fd| DEBTS.owed.get(fd)) {
                owed.store(errno.raw() as u16, Relaxed);
            }
        }
        Told::Caller | Told::FirstOpener | Told::Nobody => {}
    }
    match how.told {
        Told::Caller | Told::EveryHandle => {
            settle(fd);
            now
        }
        Told::EveryHandleLater | Told::FirstOpener => {
            keep_unseen(&held, call, stat.ino, errno);
            0
        }
        Told::CallerLater | Told::Nobody => 0,
    }
}

/// The first one who opens the file will be told.
fn keep_unseen(held: &Held<'_>, call: &Call, ino: u64, errno: Errno) {
    let free = DEBTS.unseen.iter().find(|(at, _)| [0, ino].contains(&at.load(Relaxed)));
    match free {
        Some((at, kept)) => {
            at.store(ino, Relaxed);
            kept.store(errno.raw() as u16, Relaxed);
        }
        None => {
            held.unmodelled(call, "more failed syncs that nobody was told of than can be kept (64)")
        }
    }
}

/// A sync that failed, for the record.
fn note(held: &Held<'_>, call: &Call, asked: &Asked, stat: &Stat, errno: Errno, size: Size) {
    let old_size = u64::from(size == Size::Reverted);
    let started = match asked.kind {
        OpKind::SyncMap => {
            let bytes = asked.synced();
            let (offset, len) = (bytes.start, bytes.end - bytes.start);
            let words = [stat.ino, offset, len, libc::MS_SYNC as u64, old_size];
            held.start(call, Kind::Msync, &words, &[], &[])
        }
        _ => held.start(call, Kind::Sync, &[stat.ino, old_size], &[], &[]),
    };
    held.end(started, -(errno.raw() as Returned), None);
}
