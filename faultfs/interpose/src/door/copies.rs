//! Calls that move data between descriptors inside the kernel.
//!
//! Into a file below the root they are done as a read into the log and a write from it, so that
//! the record holds the data. Both calls may copy less than was asked, so a bound is legal.

use std::ffi::c_int;
use std::ptr;

use libc::iovec;

use crate::record::Kind;

use super::sys::{self, Returned, Stat};
use super::{Call, DOOR, Held, files, maps};

const COPY_MAX: usize = 1 << 20;

/// One side of a copy: a descriptor, and the address of its offset, or 0 for its position.
struct Side {
    fd: c_int,
    offset_at: usize,
}

impl Side {
    fn offset(&self) -> Returned {
        if self.offset_at == 0 {
            return sys::position(self.fd);
        }
        // SAFETY: the program answers for the address, see `Call::new`.
        unsafe { ptr::with_exposed_provenance::<i64>(self.offset_at).read() as Returned }
    }

    fn advance(&self, to: u64) {
        if self.offset_at == 0 {
            sys::seek(self.fd, to);
            return;
        }
        // SAFETY: as in `offset`.
        unsafe { ptr::with_exposed_provenance_mut::<i64>(self.offset_at).write(to as i64) };
    }
}

/// `copy_file_range`.
pub(super) fn copy_file_range(call: Call) -> Returned {
    let [from, from_at, to, to_at, len, flags] = call.args;
    let from = Side { fd: from as c_int, offset_at: from_at };
    let to = Side { fd: to as c_int, offset_at: to_at };
    if flags == 0 { copy(&call, &from, &to, len) } else { call.perform() }
}

/// `sendfile`.
pub(super) fn send_file(call: Call) -> Returned {
    let [to, from, from_at, len, ..] = call.args;
    let from = Side { fd: from as c_int, offset_at: from_at };
    copy(&call, &from, &Side { fd: to as c_int, offset_at: 0 }, len)
}

/// `splice`, refused as by a file system that does not support it: its callers fall back to
/// `read` and `write`, which can be recorded without waiting for a pipe under the lock.
pub(super) fn splice(call: Call) -> Returned {
    if DOOR.fds.get(call.fd(2)) != 0 && DOOR.behind(call.fd(2)).is_some() {
        return -(libc::EINVAL as Returned);
    }
    call.perform()
}

fn copy(call: &Call, from: &Side, to: &Side, len: usize) -> Returned {
    if DOOR.fds.get(to.fd) == 0 {
        return call.perform();
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    let (Some(target), Ok(source)) = (DOOR.behind(to.fd), sys::fstat(from.fd)) else {
        return call.perform();
    };
    let appends = sys::open_flags(to.fd) & libc::O_APPEND != 0;
    let (Ok(at), Ok(read_at)) = (u64::try_from(to.offset()), u64::try_from(from.offset())) else {
        return call.perform(); // refused by the kernel
    };
    if len == 0 || appends || !target.is(libc::S_IFREG) {
        return call.perform(); // nothing to do, or refused by the kernel
    }
    let mut len = len.min(COPY_MAX);
    if call.number == libc::SYS_copy_file_range && source.ino == target.ino {
        // Of one file to itself: what of it there is must not overlap.
        len = len.min(source.size.saturating_sub(read_at) as usize);
        if at.abs_diff(read_at) < len as u64 {
            return -(libc::EINVAL as Returned);
        }
    }
    let copied = through_log(&held, call, (from.fd, read_at), (to.fd, at), &target, len);
    if copied > 0 {
        from.advance(read_at + copied as u64);
        to.advance(at + copied as u64);
    }
    copied
}

fn through_log(
    held: &Held<'_>,
    call: &Call,
    (from, read_at): (c_int, u64),
    (to, at): (c_int, u64),
    target: &Stat,
    len: usize,
) -> Returned {
    maps::compare(held);
    let words = [target.ino, at, files::flags_of(sys::open_flags(to), 0, false)];
    let Some(slot) = held.reserve(call.number, Kind::Write, &words, &[], len, 1) else {
        return call.perform();
    };
    let data = slot.data;
    let address = data.expose_provenance();
    let given = sys::args([from as usize, address, len, read_at as usize]);
    // SAFETY: the slot has room for `len` bytes.
    let read = unsafe { sys::raw(libc::SYS_pread64, given) };
    if read <= 0 {
        return read; // the slot is given up: nothing was copied
    }
    let started = held.commit(call.number, slot, read as usize);
    let part = iovec { iov_base: data.cast(), iov_len: read as usize };
    let part_at = ptr::from_ref(&part).expose_provenance();
    // SAFETY: the part lies in the log.
    let wrote =
        unsafe { sys::raw(libc::SYS_pwritev2, [to as usize, part_at, 1, at as usize, 0, 0]) };
    held.end(Some(started), wrote, None);
    if wrote > 0 {
        // SAFETY: the log stays while the lock is held, and this part of it never changes again.
        let written = unsafe { std::slice::from_raw_parts(data, wrote as usize) };
        maps::wrote(held, target.ino, at, written);
    }
    wrote
}
