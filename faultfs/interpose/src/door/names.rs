//! Calls that change a directory: the names in it and what they stand for.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::ptr;

use crate::record::Kind;

use super::sys::{self, Returned, Stat};
use super::{Call, DOOR, Held, Started, Whereabouts};

const NOFOLLOW: c_int = libc::AT_SYMLINK_NOFOLLOW;

/// A name in a directory below the root.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Inode of the directory.
    pub(super) parent: u64,
    pub(super) name: &'a [u8],
}

/// A path as calls give it: where it starts from, and its address.
type At = (c_int, usize);

/// The place that a path means. The kernel resolves the directory, so any route into the root
/// counts.
pub(super) fn place<'a>(dir: c_int, path: usize) -> Whereabouts<Place<'a>> {
    let mut buffer = [MaybeUninit::uninit(); libc::PATH_MAX as usize];
    let Some((parent, name)) = split(path, &mut buffer) else { return Whereabouts::Outside };
    match DOOR.at(dir, parent, 0) {
        Whereabouts::Below(stat) => Whereabouts::Below(Place { parent: stat.ino, name }),
        Whereabouts::Outside => Whereabouts::Outside,
        Whereabouts::Unsure => Whereabouts::Unsure,
    }
}

/// The directory that a path names, as the address of a path in `buffer`, and the name in it. None
/// for what is no name that a call can make or take.
pub(super) fn split<'a>(
    path: usize,
    buffer: &mut [MaybeUninit<u8>; libc::PATH_MAX as usize],
) -> Option<(usize, &'a [u8])> {
    if !sys::is_path(path) {
        return None;
    }
    // SAFETY: the kernel has just read a null-terminated path there, which the program must keep
    // for the length of the call.
    let bytes = unsafe { CStr::from_ptr(ptr::with_exposed_provenance(path)) }.to_bytes();
    let last = bytes.iter().rposition(|&byte| byte != b'/')?;
    let trimmed = &bytes[..=last];
    let (parent, name) = match trimmed.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&trimmed[..=slash], &trimmed[slash + 1..]),
        None => (&b"."[..], trimmed),
    };
    if name == b"." || name == b".." || parent.len() >= buffer.len() {
        return None;
    }
    let into = buffer.as_mut_ptr().cast::<u8>();
    // SAFETY: the buffer is longer than the parent by at least the zero behind it.
    unsafe {
        ptr::copy_nonoverlapping(parent.as_ptr(), into, parent.len());
        into.add(parent.len()).write(0);
    }
    Some((into.expose_provenance(), name))
}

/// `mkdir`, `mkdirat`.
pub(super) fn make_dir(call: Call, dir: c_int, path: usize, mode: usize) -> Returned {
    at_place(&call, dir, path, |held, place| {
        let words = [place.parent, mode as u64];
        let started = held.start(&call, Kind::MakeDir, &words, place.name, &[]);
        made(held, &call, started, dir, path)
    })
}

/// `symlink`, `symlinkat`.
pub(super) fn symlink(call: Call, target: usize, dir: c_int, path: usize) -> Returned {
    if !sys::is_path(target) {
        return call.perform();
    }
    at_place(&call, dir, path, |held, place| {
        // SAFETY: as in `place`: the kernel has just read a path there.
        let target = unsafe { CStr::from_ptr(ptr::with_exposed_provenance(target)) }.to_bytes();
        let started = held.start(&call, Kind::Symlink, &[place.parent], place.name, target);
        made(held, &call, started, dir, path)
    })
}

/// Performs a call that makes a new inode at a path, and writes its end.
pub(super) fn made(
    held: &Held<'_>,
    call: &Call,
    started: Option<Started>,
    dir: c_int,
    path: usize,
) -> Returned {
    let returned = call.perform();
    let made = sys::fstatat(dir, path, NOFOLLOW).ok().filter(|_| returned == 0);
    held.end(started, returned, made.as_ref());
    if let Some(made) = made {
        held.insert(call, made.ino);
    }
    returned
}

/// `unlink`, `unlinkat`, `rmdir`.
pub(super) fn unlink(call: Call, dir: c_int, path: usize, flags: c_int) -> Returned {
    at_place(&call, dir, path, |held, place| {
        let Ok(gone) = sys::fstatat(dir, path, NOFOLLOW) else { return call.perform() };
        let kind = if flags & libc::AT_REMOVEDIR == 0 { Kind::Unlink } else { Kind::RemoveDir };
        let returned = held.perform(&call, kind, &[place.parent, gone.ino], place.name);
        if returned == 0 {
            lost_name(&gone);
        }
        returned
    })
}

/// `link`, `linkat`.
pub(super) fn link(call: Call, from: At, to: At, flags: c_int) -> Returned {
    let follow = if flags & libc::AT_SYMLINK_FOLLOW == 0 { NOFOLLOW } else { 0 };
    let source = || DOOR.at(from.0, from.1, follow | flags & libc::AT_EMPTY_PATH);
    if source().is_outside() && place(to.0, to.1).is_outside() {
        return call.perform();
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    match (source(), place(to.0, to.1)) {
        (Whereabouts::Below(source), Whereabouts::Below(to)) => {
            held.perform(&call, Kind::Link, &[source.ino, to.parent], to.name)
        }
        (Whereabouts::Below(_), _) | (_, Whereabouts::Below(_)) => across(&held, &call),
        _ => call.perform(),
    }
}

/// `rename`, `renameat`, `renameat2`.
pub(super) fn rename(call: Call, from: At, to: At, flags: u32) -> Returned {
    if place(from.0, from.1).is_outside() && place(to.0, to.1).is_outside() {
        return call.perform();
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    let (source, target) = match (place(from.0, from.1), place(to.0, to.1)) {
        (Whereabouts::Below(source), Whereabouts::Below(target)) => (source, target),
        (Whereabouts::Below(_), _) | (_, Whereabouts::Below(_)) => return across(&held, &call),
        _ => return call.perform(),
    };
    let Ok(moved) = sys::fstatat(from.0, from.1, NOFOLLOW) else { return call.perform() };
    let replaced = sys::fstatat(to.0, to.1, NOFOLLOW).ok();
    let words = [
        source.parent,
        moved.ino,
        target.parent,
        replaced.map_or(0, |replaced| replaced.ino),
        u64::from(flags),
    ];
    let started = held.start(&call, Kind::Rename, &words, source.name, target.name);
    let returned = call.perform();
    held.end(started, returned, None);
    if returned == 0 {
        match replaced {
            // Two names of one inode: both stay.
            Some(replaced) if replaced.ino == moved.ino => {}
            Some(replaced) if flags & libc::RENAME_EXCHANGE == 0 => lost_name(&replaced),
            _ => {}
        }
        if flags & libc::RENAME_WHITEOUT != 0 {
            held.unmodelled(&call, "a rename left a whiteout");
        }
    }
    returned
}

/// Takes an inode out of those below the root when its last name is gone. Open descriptors of it
/// are still followed.
pub(super) fn lost_name(gone: &Stat) {
    if gone.is(libc::S_IFDIR) || gone.links == 1 {
        DOOR.inodes.remove(gone.ino);
    }
}

/// One end below the root and one outside: what comes in has an unknown past, what goes out an
/// unknown future.
fn across(held: &Held<'_>, call: &Call) -> Returned {
    let returned = call.perform();
    if returned == 0 {
        held.unmodelled(call, "a file was renamed or linked into the root or out of it");
    }
    returned
}

fn at_place(
    call: &Call,
    dir: c_int,
    path: usize,
    record: impl FnOnce(&Held<'_>, &Place<'_>) -> Returned,
) -> Returned {
    if place(dir, path).is_outside() {
        return call.perform();
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    match place(dir, path) {
        Whereabouts::Below(place) => record(&held, &place),
        _ => call.perform(),
    }
}
