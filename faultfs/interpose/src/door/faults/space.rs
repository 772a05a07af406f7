//! A disk that fills up: how much it holds is decided where every door decides it ([`Capacity`]), of the disk
//! as the log so far has made it.

use std::sync::atomic::{AtomicU64, Ordering::*};

use faultfs::fs::Capacity;
use faultfs::op::Ino;
use faultfs::plan::OpKind;

use crate::record::Kind;

use super::super::sys::{self, Returned, Stat};
use super::super::{Call, DOOR, Held, Whereabouts, maps, names};
use super::Faults;
use super::act::shortened;
use super::ask::Asked;
use super::past::Past;
use super::text::What;

const FULL: Returned = -(libc::ENOSPC as Returned);

/// How much the disk holds; changed and read with the door's lock held.
pub(crate) struct Space {
    bytes: AtomicU64,
    inodes: AtomicU64,
}

impl Space {
    pub(crate) fn unlimited() -> Self {
        let Capacity { bytes, inodes } = Capacity::UNLIMITED;
        Self { bytes: AtomicU64::new(bytes), inodes: AtomicU64::new(inodes) }
    }

    pub(super) fn set(&self, to: Capacity) {
        self.bytes.store(to.bytes, Relaxed);
        self.inodes.store(to.inodes, Relaxed);
    }

    fn get(&self) -> Capacity {
        Capacity { bytes: self.bytes.load(Relaxed), inodes: self.inodes.load(Relaxed) }
    }
}

/// The limits of the disk, if it has any.
fn limits(held: &Held<'_>) -> Option<Capacity> {
    let capacity = Faults::of(held)?.space.get();
    (capacity != Capacity::UNLIMITED).then_some(capacity)
}

/// A call that needs room, within the room that there is.
pub(super) fn within(call: Call, asked: &Asked) -> Returned {
    match asked.kind {
        OpKind::Write => write(call, asked),
        OpKind::Create | OpKind::CreateDir | OpKind::Symlink => {
            let Some(held) = DOOR.hold() else { return call.perform() };
            if limits(&held).is_some_and(|limits| !has_inode(&held, limits)) {
                note_unmade(&held, &call, asked);
                return FULL;
            }
            drop(held);
            call.record()
        }
        // What it would reserve is not followed.
        OpKind::SetLen if call.number == libc::SYS_fallocate => {
            let Some(held) = DOOR.hold() else { return call.perform() };
            let is_limited = limits(&held).is_some_and(|limits| limits.bytes != u64::MAX);
            drop(held);
            if is_limited { -(libc::EOPNOTSUPP as Returned) } else { call.record() }
        }
        _ => call.record(),
    }
}

fn write(call: Call, asked: &Asked) -> Returned {
    let Some(held) = DOOR.hold() else { return call.perform() };
    let (Some(offset), Some(fd)) = (asked.offset, asked.what.fd()) else {
        drop(held);
        return call.record();
    };
    let Some(stat) = DOOR.behind(fd) else {
        drop(held);
        return call.record();
    };
    match room(&held, &stat, offset, asked.len) {
        0 if asked.len > 0 => {
            note(&held, &call, Kind::Write, &[stat.ino, offset, 0], &[]);
            FULL
        }
        fits => {
            drop(held);
            match usize::try_from(fits) {
                Ok(len) if fits < asked.len => shortened(&call, len),
                _ => call.record(),
            }
        }
    }
}

/// A call that found no room, for the record: from there on the run is another.
fn note(held: &Held<'_>, call: &Call, kind: Kind, words: &[u64], name: &[u8]) {
    let started = held.start(call, kind, words, name, &[]);
    held.end(started, FULL, None);
}

fn note_unmade(held: &Held<'_>, call: &Call, asked: &Asked) {
    let What::Path(dir, path) = asked.what else { return };
    match (names::place(dir, path), sys::fstatat(dir, path, 0)) {
        // Without a name: what the path names is its directory.
        (_, Ok(stat)) => note(held, call, Kind::TempFile, &[stat.ino, 0], &[]),
        (Whereabouts::Below(place), Err(_)) => {
            let kind = match asked.kind {
                OpKind::CreateDir => Kind::MakeDir,
                OpKind::Symlink => Kind::Symlink,
                _ => Kind::Open,
            };
            note(held, call, kind, &[place.parent], place.name);
        }
        _ => {}
    }
}

/// How many of `len` bytes can be written to a file at `offset`, from the first on.
pub(super) fn room(held: &Held<'_>, stat: &Stat, offset: u64, len: u64) -> u64 {
    let Some(limits) = limits(held) else { return len };
    let Some(past) = Past::of(held) else { return len };
    let Some(&ino) = past.so_far().inos.get(&stat.ino) else { return len };
    let disk = past.so_far().recorder.live();
    limits.room_for(disk, open(held, &past), (ino, offset, len))
}

fn has_inode(held: &Held<'_>, limits: Capacity) -> bool {
    Past::of(held)
        .is_none_or(|past| limits.has_inode(past.so_far().recorder.live(), open(held, &past)))
}

/// The inodes that somebody has open or mapped.
fn open(held: &Held<'_>, past: &Past) -> Vec<Ino> {
    let kernel = held.door.fds.open().chain(maps::mapped(held));
    kernel.filter_map(|ino| past.so_far().inos.get(&ino).copied()).collect()
}
