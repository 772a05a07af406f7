//! Calls that make, copy and end descriptors.

use std::ffi::c_int;
use std::ptr;

use crate::record::Kind;

use super::inodes::RANDOM;
use super::names::{self, Place};
use super::sys::{self, Returned};
use super::{Call, DOOR, Held, Whereabouts, maps};

const NOFOLLOW: c_int = libc::AT_SYMLINK_NOFOLLOW;
const TMPFILE_BIT: c_int = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// `open`, `creat`, `openat`.
pub(super) fn open(call: Call, dir: c_int, path: usize, flags: c_int, mode: usize) -> Returned {
    if flags & libc::O_PATH != 0 {
        return open_elsewhere(&call);
    }
    if flags & TMPFILE_BIT != 0 {
        return open_temp_file(&call, dir, path, mode);
    }
    if matches!(effect(dir, path, flags), Effect::Elsewhere) {
        return open_elsewhere(&call);
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    // What was there may have changed before the lock was taken.
    match effect(dir, path, flags) {
        Effect::Creates(place) => {
            let linked = sys::fstatat(dir, path, NOFOLLOW).is_ok();
            let words = [place.parent, 0, flags as u64, mode as u64];
            let returned = open_recorded(&held, &call, Kind::Open, &words, place.name);
            if linked && returned >= 0 {
                held.unmodelled(&call, "a file was created through a dangling symbolic link");
            }
            returned
        }
        Effect::Empties(ino) => {
            open_recorded(&held, &call, Kind::Open, &[0, ino, flags as u64, mode as u64], &[])
        }
        Effect::Opens => {
            let absent = sys::fstatat(dir, path, 0).is_err();
            let returned = call.perform();
            if absent && returned >= 0 {
                forget_reused(returned as c_int);
            }
            if !settle(returned) {
                held.unmodelled(&call, TOO_MANY);
            }
            returned
        }
        Effect::Elsewhere => {
            drop(held);
            open_elsewhere(&call)
        }
    }
}

/// `openat2`.
pub(super) fn open_how(call: Call) -> Returned {
    let [dir, path, how, size, ..] = call.args;
    if size < size_of::<[u64; 3]>() {
        return call.perform(); // refused by the kernel
    }
    // SAFETY: the program answers for the address; flags, mode and resolve are its first words.
    let [flags, mode, _] = unsafe { ptr::with_exposed_provenance::<[u64; 3]>(how).read() };
    open(call, dir as c_int, path, flags as c_int, mode as usize)
}

/// What an open will do.
enum Effect<'a> {
    /// Make a file below the root.
    Creates(Place<'a>),
    /// Truncate a file below the root.
    Empties(u64),
    /// Open what is below the root, or fail unless somebody makes it. Done with the lock held, so that
    /// nobody makes it, or removes it before the descriptor is followed.
    Opens,
    /// Nothing below the root, or wait for somebody to open the other end of a pipe.
    Elsewhere,
}

fn effect<'a>(dir: c_int, path: usize, flags: c_int) -> Effect<'a> {
    let creates = flags & libc::O_CREAT != 0;
    match sys::fstatat(dir, path, 0) {
        Ok(stat) if !stat.is(libc::S_IFREG) && !stat.is(libc::S_IFDIR) => Effect::Elsewhere,
        Ok(stat) if !creates && !DOOR.is_on_device(&stat) => Effect::Elsewhere,
        Ok(stat) if DOOR.is_below(&stat) => {
            let fails = creates && flags & libc::O_EXCL != 0;
            if stat.is(libc::S_IFREG) && flags & libc::O_TRUNC != 0 && !fails {
                Effect::Empties(stat.ino)
            } else {
                Effect::Opens
            }
        }
        found => match names::place(dir, path) {
            Whereabouts::Below(place) if creates && found.is_err() => Effect::Creates(place),
            Whereabouts::Outside => Effect::Elsewhere,
            _ => Effect::Opens,
        },
    }
}

/// An open that creates or truncates, between its start and its end.
fn open_recorded(held: &Held<'_>, call: &Call, kind: Kind, words: &[u64], name: &[u8]) -> Returned {
    let started = held.start(call, kind, words, name, &[]);
    let returned = call.perform();
    let made = sys::fstat(returned as c_int).ok().filter(|_| returned >= 0);
    held.end(started, returned, made.as_ref());
    follow(held, call, returned)
}

/// Takes note of a new descriptor of something below the root.
fn follow(held: &Held<'_>, call: &Call, returned: Returned) -> Returned {
    let fd = returned as c_int;
    if returned >= 0
        && let Ok(stat) = sys::fstat(fd)
    {
        held.insert(call, stat.ino);
        if !DOOR.is_on_device(&stat) {
            held.unmodelled(call, "files below the root have another device number than the root");
        }
        if stat.is(libc::S_IFREG) {
            maps::resized(held, stat.ino, stat.size);
        }
        if !DOOR.fds.set(fd, stat.ino) {
            held.unmodelled(call, TOO_MANY);
        }
    }
    returned
}

/// A file made outside may have the inode number of one that was once below.
fn forget_reused(fd: c_int) {
    if let Ok(stat) = sys::fstat(fd)
        && DOOR.is_below(&stat)
    {
        DOOR.inodes.remove(stat.ino);
    }
}

fn open_elsewhere(call: &Call) -> Returned {
    let returned = call.perform();
    if !settle(returned)
        && let Some(held) = DOOR.hold()
    {
        held.unmodelled(call, TOO_MANY);
    }
    returned
}

fn open_temp_file(call: &Call, dir: c_int, path: usize, mode: usize) -> Returned {
    let below = || DOOR.at(dir, path, 0);
    if below().is_outside() {
        return open_elsewhere(call);
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    match below() {
        Whereabouts::Below(dir) => {
            open_recorded(&held, call, Kind::TempFile, &[dir.ino, mode as u64], &[])
        }
        _ => call.perform(),
    }
}

/// Finds out what a new descriptor stands for. False for a descriptor below the root that is too large to be followed.
fn settle(returned: Returned) -> bool {
    let fd = returned as c_int;
    let stands_for = match sys::fstat(fd) {
        _ if returned < 0 => return true,
        Ok(stat) if DOOR.is_below(&stat) => stat.ino,
        Ok(stat) if stat.is_random() => RANDOM,
        _ => 0,
    };
    DOOR.fds.set(fd, stands_for) || stands_for == RANDOM
}

const TOO_MANY: &str = "a descriptor beyond those that the door can follow (65,536)";

/// `mknod`, `mknodat`.
pub(super) fn make_node(call: Call, dir: c_int, path: usize, mode: usize) -> Returned {
    if names::place(dir, path).is_outside() {
        return call.perform();
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    let Whereabouts::Below(place) = names::place(dir, path) else { return call.perform() };
    if !matches!(mode as u32 & libc::S_IFMT, 0 | libc::S_IFREG) {
        let returned = call.perform();
        if returned == 0 {
            held.unmodelled(&call, "a device, a pipe or a socket was made");
        }
        return returned;
    }
    let flags = libc::O_CREAT | libc::O_EXCL;
    let words = [place.parent, 0, flags as u64, mode as u64];
    let started = held.start(&call, Kind::Open, &words, place.name, &[]);
    names::made(&held, &call, started, dir, path)
}

/// `close`. The entry goes first: once the kernel has closed it, another thread may get the number.
pub(super) fn close(call: Call) -> Returned {
    DOOR.fds.set(call.fd(0), 0);
    call.perform()
}

/// `close_range`.
pub(super) fn close_range(call: Call) -> Returned {
    if call.args[2] as u32 & libc::CLOSE_RANGE_CLOEXEC == 0 {
        DOOR.fds.clear(call.args[0] as u32, call.args[1] as u32);
    }
    call.perform()
}

/// `dup`, `dup2`, `dup3`.
pub(super) fn duplicate(call: Call) -> Returned {
    let returned = call.perform();
    copied(&call, returned)
}

/// `fcntl`.
pub(super) fn control(call: Call) -> Returned {
    let returned = call.perform();
    match call.fd(1) {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => copied(&call, returned),
        _ => returned,
    }
}

fn copied(call: &Call, returned: Returned) -> Returned {
    if returned >= 0 {
        let stands_for = DOOR.fds.get(call.fd(0));
        if !DOOR.fds.set(returned as c_int, stands_for)
            && stands_for != RANDOM
            && let Some(held) = DOOR.hold()
        {
            held.unmodelled(call, TOO_MANY);
        }
    }
    returned
}
