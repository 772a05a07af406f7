//! Locks on files, as they are between the descriptors of one process: ranges of `fcntl` belong to the
//! process, open-file-description ranges and `flock` to what was opened.

use std::ffi::c_int;
use std::ptr;

use libc::{EAGAIN, EBADF, EINVAL, flock};

use super::{Mount, Outcome, unserved};

/// Who holds a range: the process, or an open file description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    Process,
    Open(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    owner: Owner,
    exclusive: bool,
    start: i64,
    /// The last byte.
    last: i64,
}

/// The locks on one file.
#[derive(Default, Debug)]
pub(super) struct Locks {
    ranges: Vec<Range>,
    /// Of `flock`: open file descriptions, and whether exclusively.
    whole: Vec<(u64, bool)>,
}

impl Locks {
    fn conflict(&self, wanted: &Range) -> Option<&Range> {
        let conflicts = |held: &&Range| {
            held.owner != wanted.owner
                && (held.exclusive || wanted.exclusive)
                && held.start <= wanted.last
                && wanted.start <= held.last
        };
        self.ranges.iter().filter(conflicts).min_by_key(|held| held.start)
    }

    /// Takes what `range` covers away from its owner's locks.
    fn clear(&mut self, range: &Range) {
        let apart = |held: &Range| {
            held.owner != range.owner || held.last < range.start || range.last < held.start
        };
        if self.ranges.iter().all(apart) {
            return;
        }
        let mut kept = Vec::with_capacity(self.ranges.len() + 1);
        for held in self.ranges.drain(..) {
            if apart(&held) {
                kept.push(held);
                continue;
            }
            if held.start < range.start {
                kept.push(Range { last: range.start - 1, ..held });
            }
            if range.last < held.last {
                kept.push(Range { start: range.last + 1, ..held });
            }
        }
        self.ranges = kept;
    }

    /// A descriptor of the file was closed, maybe the last of its open file description. The process
    /// loses its ranges whichever descriptor that was.
    pub(super) fn closed(&mut self, id: u64, last: bool) {
        self.ranges.retain(|held| {
            held.owner != Owner::Process && !(last && held.owner == Owner::Open(id))
        });
        if last {
            self.whole.retain(|held| held.0 != id);
        }
    }
}

impl Mount {
    /// `fcntl` with one of the commands for locks. One that would have to wait is refused.
    pub(super) fn lock_range(&mut self, fd: c_int, command: c_int, address: usize) -> Outcome {
        let open = self.opens.get(fd).ok_or(EBADF)?;
        if open.flags & libc::O_PATH != 0 {
            return Err(EBADF);
        }
        // SAFETY: the program answers for the address.
        let mut given = unsafe { ptr::with_exposed_provenance::<flock>(address).read_unaligned() };
        let of_open = matches!(command, libc::F_OFD_SETLK | libc::F_OFD_SETLKW | libc::F_OFD_GETLK);
        if of_open && given.l_pid != 0 {
            return Err(EINVAL);
        }
        let (ino, owner) = match of_open {
            true => (open.ino, Owner::Open(open.id)),
            false => (open.ino, Owner::Process),
        };
        let (readable, writable) = (open.is_readable(), open.is_writable());
        let base = match c_int::from(given.l_whence) {
            libc::SEEK_SET => 0,
            libc::SEEK_CUR => open.position as i64,
            libc::SEEK_END => self.len(ino) as i64,
            _ => return Err(EINVAL),
        };
        let (start, last) = span(base, &given)?;
        let kind = c_int::from(given.l_type);
        let range = Range { owner, exclusive: kind == libc::F_WRLCK, start, last };
        let locks = &mut self.meta(ino).locks;
        if matches!(command, libc::F_GETLK | libc::F_OFD_GETLK) {
            if kind != libc::F_RDLCK && kind != libc::F_WRLCK {
                if of_open && kind == libc::F_UNLCK {
                    unserved(&"F_OFD_GETLK with F_UNLCK, which kernels answer differently");
                }
                return Err(EINVAL);
            }
            match locks.conflict(&range) {
                None => given.l_type = libc::F_UNLCK as i16,
                Some(held) => tell(held, &mut given),
            }
            // SAFETY: as above.
            unsafe { ptr::with_exposed_provenance_mut::<flock>(address).write_unaligned(given) };
            return Ok(0);
        }
        match kind {
            libc::F_RDLCK if !readable => return Err(EBADF),
            libc::F_WRLCK if !writable => return Err(EBADF),
            libc::F_RDLCK | libc::F_WRLCK if locks.conflict(&range).is_some() => {
                return Err(EAGAIN);
            }
            libc::F_RDLCK | libc::F_WRLCK => {
                locks.clear(&range);
                locks.ranges.push(range);
            }
            libc::F_UNLCK => locks.clear(&range),
            _ => return Err(EINVAL),
        }
        Ok(0)
    }

    /// `flock`. One that would have to wait is refused.
    pub(super) fn lock_whole(&mut self, fd: c_int, operation: c_int) -> Outcome {
        let open = self.opens.get(fd).ok_or(EBADF)?;
        let (ino, id, is_path) = (open.ino, open.id, open.flags & libc::O_PATH != 0);
        let exclusive = match operation & !libc::LOCK_NB {
            _ if is_path => return Err(EBADF),
            libc::LOCK_SH => Some(false),
            libc::LOCK_EX => Some(true),
            libc::LOCK_UN => None,
            _ => return Err(EINVAL),
        };
        let whole = &mut self.meta(ino).locks.whole;
        if exclusive.is_some_and(|exclusive| whole.contains(&(id, exclusive))) {
            return Ok(0);
        }
        whole.retain(|held| held.0 != id);
        let Some(exclusive) = exclusive else { return Ok(0) };
        if whole.iter().any(|held| held.1 || exclusive) {
            return Err(EAGAIN);
        }
        whole.push((id, exclusive));
        Ok(0)
    }
}

fn span(base: i64, given: &flock) -> Result<(i64, i64), c_int> {
    let start = base.checked_add(given.l_start).ok_or(libc::EOVERFLOW)?;
    let (start, last) = match given.l_len {
        0 => (start, i64::MAX),
        len if len > 0 => (start, start.checked_add(len - 1).ok_or(libc::EOVERFLOW)?),
        len => (start + len, start - 1),
    };
    if start < 0 { Err(EINVAL) } else { Ok((start, last)) }
}

fn tell(held: &Range, into: &mut flock) {
    into.l_type = if held.exclusive { libc::F_WRLCK } else { libc::F_RDLCK } as i16;
    into.l_whence = libc::SEEK_SET as i16;
    into.l_start = held.start;
    into.l_len = if held.last == i64::MAX { 0 } else { held.last - held.start + 1 };
    into.l_pid = match held.owner {
        Owner::Process => std::process::id() as i32,
        Owner::Open(_) => -1,
    };
}
