//! Calls that change one file: its data, its length, its mode.

use std::ffi::c_int;
use std::{ptr, slice};

use libc::iovec;

use crate::record::{Kind, write as flag};

use super::sys::{self, Args, Returned, Stat};
use super::{Call, DOOR, Held, Whereabouts, maps};

pub(super) const PARTS_MAX: usize = 1024;
/// Direct writes want their memory aligned as the device does: to a page at most.
const DIRECT_ALIGN: usize = 4096;

/// The six calls that write, told alike.
pub(super) struct Write<'a> {
    pub(super) fd: c_int,
    pub(super) parts: &'a [iovec],
    pub(super) len: usize,
    /// None: at the file's position, which moves.
    pub(super) at: Option<u64>,
    pub(super) flags: c_int,
}

/// `write`, `pwrite64`, `writev`, `pwritev`, `pwritev2`.
pub(super) fn write(call: Call) -> Returned {
    if DOOR.fds.get(call.fd(0)) == 0 {
        return call.perform();
    }
    let [_, address, count, at, ..] = call.args;
    let single = [iovec { iov_base: ptr::with_exposed_provenance_mut(address), iov_len: count }];
    let many = match call.number {
        libc::SYS_write | libc::SYS_pwrite64 => &single[..],
        _ if count > PARTS_MAX => return call.perform(), // refused by the kernel
        // SAFETY: the program answers for the vector, see `Call::new`.
        _ => unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(address), count) },
    };
    let at = match call.number {
        libc::SYS_write | libc::SYS_writev => None,
        libc::SYS_pwritev2 if at == usize::MAX => None,
        _ if (at as isize) < 0 => return call.perform(), // refused by the kernel
        _ => Some(at as u64),
    };
    let flags = if call.number == libc::SYS_pwritev2 { call.args[5] as c_int } else { 0 };
    let len = many.iter().fold(0usize, |len, part| len.saturating_add(part.iov_len));
    let Some(held) = DOOR.hold() else { return call.perform() };
    match DOOR.behind(call.fd(0)) {
        Some(stat) if stat.is(libc::S_IFREG) && len > 0 => {
            let write = Write { fd: call.fd(0), parts: many, len, at, flags };
            recorded(&held, &call, &write, &stat).unwrap_or_else(|| call.perform())
        }
        _ => {
            drop(held);
            call.perform()
        }
    }
}

/// Writes from the log: what is recorded and what reaches the file are the same bytes, whatever
/// other threads do to the program's buffer meanwhile. None when the log is full.
pub(super) fn recorded(
    held: &Held<'_>,
    call: &Call,
    write: &Write<'_>,
    stat: &Stat,
) -> Option<Returned> {
    let open = sys::open_flags(write.fd);
    let appends = (open & libc::O_APPEND != 0 && write.flags & libc::RWF_NOAPPEND == 0)
        || write.flags & libc::RWF_APPEND != 0;
    let offset = match write.at {
        _ if appends => stat.size,
        Some(at) => at,
        None => u64::try_from(sys::position(write.fd)).ok()?,
    };
    let direct = open & libc::O_DIRECT != 0;
    maps::compare(held);
    let words = [stat.ino, offset, flags_of(open, write.flags, appends)];
    let align = if direct { DIRECT_ALIGN } else { 1 };
    let slot = held.reserve(call.number, Kind::Write, &words, &[], write.len, align)?;
    let data = slot.data;
    let mut filled = 0;
    for part in write.parts {
        // SAFETY: the program answers for the parts; the slot has room for their sum.
        unsafe {
            ptr::copy_nonoverlapping(part.iov_base.cast(), data.add(filled), part.iov_len);
        }
        filled += part.iov_len;
    }
    let started = held.commit(call.number, slot, filled);
    let copy = iovec { iov_base: data.cast(), iov_len: filled };
    let given = given(write, &copy);
    // SAFETY: one part, which lies in the log; the rest as the program asked.
    let returned = unsafe { sys::raw(libc::SYS_pwritev2, given) };
    held.end(Some(started), returned, None);
    if direct && returned < 0 {
        // Seen on ext4: `EINVAL` for the unaligned tail, after the aligned front was written.
        held.unmodelled(call, "a direct write failed, and may have been done in part");
    }
    if let Ok(written) = usize::try_from(returned) {
        // SAFETY: the log stays while the lock is held, and this part of it never changes again.
        let written = unsafe { slice::from_raw_parts(data, written) };
        maps::wrote(held, stat.ino, offset, written);
    }
    Some(returned)
}

/// One form for all: `pwritev2` at -1 writes at the file's position and moves it.
fn given(write: &Write<'_>, copy: &iovec) -> Args {
    let at = write.at.map_or(usize::MAX, |at| at as usize);
    let copy = ptr::from_ref(copy).expose_provenance();
    [write.fd as usize, copy, 1, at, 0, write.flags as usize]
}

pub(crate) fn flags_of(open: c_int, asked: c_int, appends: bool) -> u64 {
    let sync = open & libc::O_SYNC == libc::O_SYNC || asked & libc::RWF_SYNC != 0;
    let dsync = open & libc::O_DSYNC != 0 || asked & libc::RWF_DSYNC != 0;
    [
        (open & libc::O_DIRECT != 0, flag::DIRECT),
        (sync, flag::SYNC),
        (dsync && !sync, flag::DSYNC),
        (appends, flag::APPEND),
    ]
    .into_iter()
    .fold(0, |all, (set, one)| if set { all | one } else { all })
}

/// `ftruncate`.
pub(super) fn set_len(call: Call) -> Returned {
    truncate(&call, || behind(call.fd(0)))
}

/// `truncate`.
pub(super) fn set_len_at(call: Call) -> Returned {
    truncate(&call, || DOOR.at(libc::AT_FDCWD, call.args[0], 0))
}

fn truncate(call: &Call, file: impl Fn() -> Whereabouts<Stat>) -> Returned {
    changed(call, file, |held, stat| set_size(held, call, stat.ino, call.args[1] as u64))
}

/// Sets the size of an open file.
pub(super) fn truncated(held: &Held<'_>, fd: c_int, ino: u64, len: u64) -> Returned {
    let args = sys::args([fd as usize, len as usize]);
    set_size(held, &Call { number: libc::SYS_ftruncate, args }, ino, len)
}

fn set_size(held: &Held<'_>, call: &Call, ino: u64, len: u64) -> Returned {
    let returned = held.perform(call, Kind::SetLen, &[ino, len], &[]);
    if returned == 0 {
        maps::resized(held, ino, len);
    }
    returned
}

/// `fallocate`.
pub(super) fn allocate(call: Call) -> Returned {
    let [fd, mode, offset, len, ..] = call.args.map(|word| word as u64);
    let fd = fd as c_int;
    changed(
        &call,
        || behind(fd),
        |held, stat| {
            let words = [stat.ino, u64::from(mode as u32), offset, len];
            let returned = held.perform(&call, Kind::Allocate, &words, &[]);
            if returned == 0 {
                if mode as c_int & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) != 0 {
                    maps::zeroed(held, stat.ino, offset, offset.saturating_add(len));
                }
                if let Ok(now) = sys::fstat(fd) {
                    maps::resized(held, stat.ino, now.size);
                }
            }
            returned
        },
    )
}

/// `fchmod`.
pub(super) fn set_mode(call: Call) -> Returned {
    let mode = call.args[1] as u64;
    changed(
        &call,
        || behind(call.fd(0)),
        |held, stat| held.perform(&call, Kind::Chmod, &[stat.ino, mode], &[]),
    )
}

/// `chmod`, `fchmodat`, `fchmodat2`.
pub(super) fn set_mode_at(
    call: Call,
    dir: c_int,
    path: usize,
    mode: usize,
    flags: c_int,
) -> Returned {
    changed(
        &call,
        || DOOR.at(dir, path, flags),
        |held, stat| held.perform(&call, Kind::Chmod, &[stat.ino, mode as u64], &[]),
    )
}

fn behind(fd: c_int) -> Whereabouts<Stat> {
    DOOR.behind(fd).map_or(Whereabouts::Outside, Whereabouts::Below)
}

/// Decides without the lock whether a file is below the root, and again with it.
fn changed(
    call: &Call,
    file: impl Fn() -> Whereabouts<Stat>,
    record: impl FnOnce(&Held<'_>, &Stat) -> Returned,
) -> Returned {
    if file().is_outside() {
        return call.perform();
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    match file() {
        Whereabouts::Below(stat) => record(&held, &stat),
        _ => call.perform(),
    }
}

const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940D;

/// `ioctl`: clones share blocks between files, which the log has no record for.
pub(super) fn control(call: Call) -> Returned {
    match call.args[1] as u32 {
        FICLONE | FICLONERANGE => {
            beyond(&call, || behind(call.fd(0)), "a file was cloned by ioctl")
        }
        _ => call.perform(),
    }
}

/// `fsetxattr`, `fremovexattr`.
pub(super) fn attributes(call: Call) -> Returned {
    beyond(&call, || behind(call.fd(0)), ATTRIBUTES)
}

/// `setxattr`, `lsetxattr`, `removexattr`, `lremovexattr`.
pub(super) fn attributes_at(call: Call) -> Returned {
    let follow = matches!(call.number, libc::SYS_setxattr | libc::SYS_removexattr);
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    beyond(&call, || DOOR.at(libc::AT_FDCWD, call.args[0], flags), ATTRIBUTES)
}

const ATTRIBUTES: &str = "an extended attribute was changed";

/// Lets a call through that the log cannot tell; if it takes effect, that is written down.
fn beyond(call: &Call, file: impl Fn() -> Whereabouts<Stat>, what: &str) -> Returned {
    changed(call, file, |held, _| {
        let returned = call.perform();
        if returned >= 0 {
            held.unmodelled(call, what);
        }
        returned
    })
}
