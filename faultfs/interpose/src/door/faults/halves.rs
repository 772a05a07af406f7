//! A rename that stops half-way.

use std::ffi::c_int;

use faultfs::errno::Errno;

use crate::record::Kind;

use super::super::names;
use super::super::sys::{self, Returned};
use super::super::{Call, DOOR, Whereabouts};
use super::act::answer;

/// A path as calls give it: where it starts from, and its address.
pub(super) type At = (c_int, usize);

const NOFOLLOW: c_int = libc::AT_SYMLINK_NOFOLLOW;

/// Whether half of a rename is something that can be left: a regular file below the root, that takes the place
/// of another or of none.
pub(super) fn are_possible(from: At, to: At) -> bool {
    let below = |at: At| matches!(names::place(at.0, at.1), Whereabouts::Below(_));
    let Ok(moved) = sys::fstatat(from.0, from.1, NOFOLLOW) else { return false };
    let replaced = sys::fstatat(to.0, to.1, NOFOLLOW);
    moved.is(libc::S_IFREG)
        && replaced.ok().is_none_or(|replaced| {
            !replaced.is(libc::S_IFDIR) && (replaced.dev, replaced.ino) != (moved.dev, moved.ino)
        })
        && below(from)
        && below(to)
}

/// The new name stands for the file too, in place of what it stood for.
pub(super) fn leave_both_names(call: Call, errno: Errno) -> Returned {
    let [a, b, c, d, ..] = call.args;
    let (from, to) = match call.number {
        libc::SYS_rename => ((libc::AT_FDCWD, a), (libc::AT_FDCWD, b)),
        _ => ((a as c_int, b), (c as c_int, d)),
    };
    let Some(held) = DOOR.hold() else { return call.perform() };
    let Whereabouts::Below(place) = names::place(to.0, to.1) else { return call.perform() };
    let Ok(moved) = sys::fstatat(from.0, from.1, NOFOLLOW) else { return call.perform() };
    let replaced = sys::fstatat(to.0, to.1, NOFOLLOW).ok();
    let words = [moved.ino, place.parent, replaced.as_ref().map_or(0, |replaced| replaced.ino)];
    let started = held.start(&call, Kind::Link, &words, place.name, &[]);
    // SAFETY: both paths were just read by the kernel, and the program keeps them for the call.
    let done = unsafe {
        sys::raw(libc::SYS_unlinkat, sys::args([to.0 as usize, to.1, 0]));
        let given = [from.0 as usize, from.1, to.0 as usize, to.1];
        sys::raw(libc::SYS_linkat, sys::args(given))
    };
    held.end(started, done, None);
    match replaced {
        _ if done < 0 => {
            held.unmodelled(&call, "half of a rename could not be left");
            return done;
        }
        Some(replaced) => names::lost_name(&replaced),
        None => {}
    }
    answer(0, Some(errno))
}
