//! Calls that make, copy and end descriptors.

use std::ffi::c_int;
use std::ptr;

use crate::record::Kind;

use super::inodes::RANDOM;
use super::names::{self, Place};
use super::sys::{self, Returned, Stat};
use super::{Call, DOOR, Held, maps};

const NOFOLLOW: c_int = libc::AT_SYMLINK_NOFOLLOW;
const TMPFILE_BIT: c_int = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// `open`, `creat`, `openat`.
pub(super) fn open(call: Call, dir: c_int, path: usize, flags: c_int, mode: usize) -> Returned {
    if flags & libc::O_PATH != 0 || flags & (libc::O_CREAT | libc::O_TRUNC | TMPFILE_BIT) == 0 {
        let returned = call.perform();
        return settled(&call, returned);
    }
    if flags & TMPFILE_BIT != 0 {
        return open_temp_file(&call, dir, path, mode);
    }
    let Effect::Below { .. } = effect(dir, path, flags) else {
        return open_elsewhere(&call, dir, path, flags);
    };
    let Some(held) = DOOR.hold() else { return call.perform() };
    // What was there may have changed before the lock was taken.
    match effect(dir, path, flags) {
        Effect::Below { existing, place } => {
            let parent = place.map_or(0, |place| place.parent);
            let name = place.map_or(&[][..], |place| place.name);
            let words = [parent, existing, flags as u64, mode as u64];
            let linked = existing == 0 && sys::fstatat(dir, path, NOFOLLOW).is_ok();
            let started = held.start(&call, Kind::Open, &words, name, &[]);
            let returned = call.perform();
            let made = sys::fstat(returned as c_int).ok().filter(|_| returned >= 0);
            held.end(started, returned, made.as_ref());
            if let Some(made) = made {
                made_or_truncated(&held, &call, returned as c_int, &made, linked);
            }
            returned
        }
        Effect::None => {
            let returned = call.perform();
            drop(held);
            settled(&call, returned)
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

/// What an open that may create or truncate will do.
enum Effect<'a> {
    /// It creates at a place, or truncates an existing inode.
    Below { existing: u64, place: Option<Place<'a>> },
    /// Nothing, or nothing below the root.
    None,
}

fn effect<'a>(dir: c_int, path: usize, flags: c_int) -> Effect<'a> {
    match sys::fstatat(dir, path, 0) {
        Ok(stat) => {
            let empties = flags & libc::O_TRUNC != 0 && stat.is(libc::S_IFREG);
            let fails = flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL;
            if empties && !fails && DOOR.is_below(&stat) {
                return Effect::Below { existing: stat.ino, place: None };
            }
            Effect::None
        }
        Err(error) if error == -(libc::ENOENT as Returned) && flags & libc::O_CREAT != 0 => {
            match names::place(dir, path) {
                Some(place) => Effect::Below { existing: 0, place: Some(place) },
                None => Effect::None,
            }
        }
        Err(_) => Effect::None,
    }
}

/// An open that creates outside may reuse the inode number of a file that was once below.
fn open_elsewhere(call: &Call, dir: c_int, path: usize, flags: c_int) -> Returned {
    let absent = flags & libc::O_CREAT != 0 && sys::fstatat(dir, path, 0).is_err();
    let returned = call.perform();
    if absent
        && returned >= 0
        && let Ok(stat) = sys::fstat(returned as c_int)
        && stat.links == 1
        && DOOR.is_below(&stat)
        && names::place(dir, path).is_none()
        && let Some(_held) = DOOR.hold()
    {
        DOOR.inodes.remove(stat.ino);
    }
    settled(call, returned)
}

fn made_or_truncated(held: &Held<'_>, call: &Call, fd: c_int, made: &Stat, linked: bool) {
    if linked {
        held.unmodelled(call, "a file was created through a dangling symbolic link");
    }
    held.insert(call, made.ino);
    maps::resized(held, made.ino, made.size);
    if !DOOR.fds.set(fd, made.ino) {
        held.unmodelled(call, TOO_MANY);
    }
}

fn open_temp_file(call: &Call, dir: c_int, path: usize, mode: usize) -> Returned {
    let Some(below) = DOOR.at(dir, path, 0) else {
        let returned = call.perform();
        return settled(call, returned);
    };
    let Some(held) = DOOR.hold() else { return call.perform() };
    let started = held.start(call, Kind::TempFile, &[below.ino, mode as u64], &[], &[]);
    let returned = call.perform();
    let made = sys::fstat(returned as c_int).ok().filter(|_| returned >= 0);
    held.end(started, returned, made.as_ref());
    if let Some(made) = made {
        made_or_truncated(&held, call, returned as c_int, &made, false);
    }
    returned
}

/// Finds out what a new descriptor stands for.
fn settled(call: &Call, returned: Returned) -> Returned {
    if returned < 0 {
        return returned;
    }
    let fd = returned as c_int;
    let random = |stat: &Stat| {
        // /dev/random and /dev/urandom
        stat.is(libc::S_IFCHR)
            && (stat.rdev == libc::makedev(1, 8) || stat.rdev == libc::makedev(1, 9))
    };
    let stands_for = match sys::fstat(fd) {
        Ok(stat) if DOOR.is_below(&stat) => stat.ino,
        Ok(stat) if random(&stat) => RANDOM,
        _ => 0,
    };
    if !DOOR.fds.set(fd, stands_for)
        && stands_for != RANDOM
        && let Some(held) = DOOR.hold()
    {
        held.unmodelled(call, TOO_MANY);
    }
    returned
}

const TOO_MANY: &str = "a descriptor beyond those that the door can follow (65,536)";

/// `mknod`, `mknodat`.
pub(super) fn make_node(call: Call, dir: c_int, path: usize, mode: usize) -> Returned {
    if names::place(dir, path).is_none() {
        return call.perform();
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    let Some(place) = names::place(dir, path) else { return call.perform() };
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
