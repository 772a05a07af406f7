//! Reads and writes that a fault has changed beyond their length: of which pieces arrive, which go to or
//! come from another place, and which find what a file held earlier.
//!
//! What of a write arrives is decided where every door decides it ([`Fault::pieces`]), and written as ops
//! like any other.

use std::ffi::c_int;

use faultfs::errno::Errno;
use faultfs::fault::{Fault, Place, Since};
use libc::iovec;

use super::super::files::{self, Write};
use super::super::sys::{self, Returned};
use super::super::{Call, DOOR, Held};
use super::act::{answer, each_part};
use super::ask::Asked;
use super::past::Past;
use super::{Faults, ask, space};

/// A file that the door has opened for itself, past itself.
pub(super) struct Opened(c_int);

impl Opened {
    /// The file behind a descriptor once more, whatever that one can.
    pub(super) fn again(fd: c_int, flags: c_int) -> Option<Self> {
        Self::at(super::text::link_of(fd)?.as_ptr(), flags)
    }

    /// A regular file below the root by its path from there.
    fn named(held: &Held<'_>, path: &str, flags: c_int) -> Option<Self> {
        let root = &Faults::of(held)?.root;
        let path = [root, &b"/"[..], path.as_bytes(), b"\0"].concat();
        // A pipe is not waited for.
        let opened = Self::at(path.as_ptr(), flags | libc::O_NONBLOCK)?;
        let is_file = DOOR.behind(opened.0).is_some_and(|stat| stat.is(libc::S_IFREG));
        is_file.then_some(opened)
    }

    /// `path` must be null-terminated.
    fn at(path: *const u8, flags: c_int) -> Option<Self> {
        let flags = (flags | libc::O_CLOEXEC) as usize;
        let given = [libc::AT_FDCWD as usize, path.expose_provenance(), flags];
        // SAFETY: both callers give a null-terminated path that outlives the call.
        let opened = unsafe { sys::raw(libc::SYS_openat, sys::args(given)) };
        c_int::try_from(opened).ok().filter(|fd| *fd >= 0).map(Self)
    }

    pub(super) fn fd(&self) -> c_int {
        self.0
    }

    /// Reads what is there; how much that was.
    fn read_at(&self, into: &mut [u8], offset: u64) -> usize {
        let mut done = 0;
        while done < into.len() {
            let rest = &mut into[done..];
            let (address, len) = (rest.as_mut_ptr().expose_provenance(), rest.len());
            let at = (offset + done as u64) as usize;
            let given = sys::args([self.0 as usize, address, len, at]);
            // SAFETY: the kernel writes at most `len` bytes to `rest`.
            match unsafe { sys::raw(libc::SYS_pread64, given) } {
                read if read > 0 => done += read as usize,
                _ => break,
            }
        }
        done
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: the descriptor was opened here, and nobody else knows of it.
        unsafe { sys::raw(libc::SYS_close, sys::args([self.0 as usize])) };
    }
}

/// Writes bytes, as an op like any other; an error of the kernel, or of a disk that is full.
pub(super) fn put(
    held: &Held<'_>,
    file: &Opened,
    offset: u64,
    bytes: &[u8],
) -> Result<(), Returned> {
    let Some(stat) = DOOR.behind(file.0).filter(|_| !bytes.is_empty()) else { return Ok(()) };
    let len = bytes.len();
    if space::room(held, &stat, offset, len as u64) < len as u64 {
        return Err(-(libc::ENOSPC as Returned));
    }
    let parts = [iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: len }];
    let write = Write { fd: file.0, parts: &parts, len, at: Some(offset), flags: 0 };
    let call = Call { number: libc::SYS_pwrite64, args: [0; 6] };
    match files::recorded(held, &call, &write, &stat) {
        Some(written) if written == len as Returned => Ok(()),
        Some(refused) if refused < 0 => Err(refused),
        // The log is full, or the kernel's disk; the log says so, or the comparison with the folder.
        _ => Err(-(libc::EIO as Returned)),
    }
}

/// A write of which pieces arrive, or that goes to another place: `place` gets all of it then.
pub(super) fn write(
    call: Call,
    asked: &Asked,
    fault: &Fault,
    place: Option<&Place>,
    errno: Option<Errno>,
) -> Returned {
    let (fd, Some(offset), Some(data)) = (call.fd(0), asked.offset, gathered(&call)) else {
        return call.record();
    };
    let open = sys::open_flags(fd);
    let refused = open & libc::O_ACCMODE == libc::O_RDONLY;
    let flags = libc::O_RDWR | open & (libc::O_SYNC | libc::O_DSYNC);
    if refused {
        return call.record();
    }
    let Some(held) = DOOR.hold() else { return call.perform() };
    let Some(file) = Opened::again(fd, flags) else {
        held.unmodelled(&call, "a file could not be opened once more, which a fault needed");
        return -(libc::EIO as Returned);
    };
    let wrote = put_elsewhere(&held, &file, place, &data, flags)
        .and_then(|()| put_pieces(&held, &file, fault, offset, &data));
    match (wrote, errno) {
        (Err(refused), _) => return refused,
        (Ok(()), None) if ask::is_at_position(&call) => {
            sys::seek(fd, offset + data.len() as u64);
        }
        _ => {}
    }
    answer(data.len() as Returned, errno)
}

fn put_elsewhere(
    held: &Held<'_>,
    file: &Opened,
    place: Option<&Place>,
    data: &[u8],
    flags: c_int,
) -> Result<(), Returned> {
    match place {
        None => Ok(()),
        Some(Place { file: None, offset }) => put(held, file, *offset, data),
        // Where there is no such file, it is lost.
        Some(Place { file: Some(path), offset }) => match Opened::named(held, path, flags) {
            Some(other) => put(held, &other, *offset, data),
            None => Ok(()),
        },
    }
}

fn put_pieces(
    held: &Held<'_>,
    file: &Opened,
    fault: &Fault,
    offset: u64,
    data: &[u8],
) -> Result<(), Returned> {
    let mut old = vec![0; data.len()];
    let known = file.read_at(&mut old, offset);
    let mut pieces = fault.pieces(offset, data, &old[..known]).into_iter();
    pieces.try_for_each(|(at, piece)| put(held, file, at, &piece))
}

/// A read of another place.
pub(super) fn read(call: Call, place: &Place) -> Returned {
    replaced(call, |held, into| match &place.file {
        None => Opened::again(call.fd(0), libc::O_RDONLY)
            .map_or(0, |file| file.read_at(into, place.offset)),
        Some(path) => Opened::named(held, path, libc::O_RDONLY)
            .map_or(0, |file| file.read_at(into, place.offset)),
    })
}

/// A read of what the file held earlier.
pub(super) fn read_stale(call: Call, asked: &Asked, since: Since) -> Returned {
    let Some(offset) = asked.offset else { return call.record() };
    replaced(call, |held, into| match (Past::of(held), DOOR.behind(call.fd(0))) {
        (Some(past), Some(stat)) => past.stale(stat.ino, since, offset, into),
        _ => {
            held.unmodelled(&call, "a stale read could not be told from the log");
            0
        }
    })
}

/// A read whose data is other; zeros where `find` finds less than was read.
fn replaced(call: Call, find: impl FnOnce(&Held<'_>, &mut [u8]) -> usize) -> Returned {
    let returned = call.record();
    let Some(read) = usize::try_from(returned).ok().filter(|read| *read > 0) else {
        return returned;
    };
    let mut data = vec![0; read];
    if let Some(held) = DOOR.hold() {
        let found = find(&held, &mut data);
        data[found..].fill(0);
    }
    each_part(&call, read, |at, part| part.copy_from_slice(&data[at..at + part.len()]));
    returned
}

/// What a call wants written.
fn gathered(call: &Call) -> Option<Vec<u8>> {
    ask::parts(call, |parts| {
        let mut data = Vec::new();
        for part in parts.iter().filter(|part| part.iov_len > 0) {
            // SAFETY: the program answers for the parts, see `Call::new`.
            let bytes = unsafe { std::slice::from_raw_parts(part.iov_base.cast(), part.iov_len) };
            data.extend_from_slice(bytes);
        }
        data
    })
}
