//! Carrying out a call, with what goes wrong with it.

use std::mem::MaybeUninit;
use std::slice;

use faultfs::errno::{EIO, Errno};
use faultfs::fault::{Effect, Fault};
use faultfs::plan::OpKind;
use libc::iovec;

use crate::record::Kind;

use super::super::files::PARTS_MAX;
use super::super::sys::{self, Returned};
use super::super::{Call, DOOR, maps};
use super::ask::{self, Asked};
use super::{elsewhere, halves, space, syncs};

/// Does what is left of a call, and answers as its fault says.
pub(super) fn carry_out(call: Call, asked: &Asked, fault: Fault) -> Returned {
    let whole = usize::try_from(asked.len).unwrap_or(usize::MAX);
    let is_sync = matches!(asked.kind, OpKind::Sync | OpKind::SyncDir | OpKind::SyncMap);
    match fault.effect(asked.offset, whole) {
        Effect::Nothing(_) if is_sync && fault.sync_failure().is_some() => {
            syncs::fail(&call, asked, &fault)
        }
        Effect::Nothing(errno) => answer(0, errno),
        Effect::Crash => crash(call, asked),
        Effect::Part { len, errno } => {
            let returned = match asked.kind {
                OpKind::Read | OpKind::Write if len < whole => shortened(&call, len),
                OpKind::SetLen if len < whole => shrunk(&call, len as u64),
                _ => do_all(call, asked),
            };
            if returned < 0 {
                return returned;
            }
            if asked.kind == OpKind::Read {
                let offset = asked.offset;
                each_part(&call, returned as usize, |at, part| {
                    fault.spoil(offset.map(|offset| offset + at as u64), part);
                });
            }
            if errno.is_some() {
                give_up(&call, asked, returned);
            }
            answer(returned, errno)
        }
        Effect::Pieces(errno) => elsewhere::write(call, asked, &fault, None, errno),
        Effect::Elsewhere(place) if asked.kind == OpKind::Read => elsewhere::read(call, &place),
        Effect::Elsewhere(place) => elsewhere::write(call, asked, &fault, Some(&place), None),
        Effect::Stale(since) => elsewhere::read_stale(call, asked, since),
        Effect::BothNames(errno) => halves::leave_both_names(call, errno),
        // A fault that this door does not know yet.
        _ => do_all(call, asked),
    }
}

/// A call that nothing goes wrong with but what went wrong before: a sync that was owed an error, a disk that
/// is full.
pub(super) fn do_all(call: Call, asked: &Asked) -> Returned {
    match asked.kind {
        OpKind::Sync | OpKind::SyncDir | OpKind::SyncMap => syncs::sync(call, asked),
        _ => space::within(call, asked),
    }
}

/// The power goes while the call is under way: it is done, and for the record it never ended.
fn crash(call: Call, asked: &Asked) -> Returned {
    let from = DOOR.hold().map(|held| held.door.log.tail());
    if asked.kind.is_change() || asked.writes {
        let returned = call.record();
        give_up(&call, asked, returned);
    }
    if let (Some(held), Some(from)) = (DOOR.hold(), from) {
        maps::compare(&held);
        let under_way = held.door.log.started_by(held.thread, from);
        held.append(0, Kind::Cut, &[under_way.unwrap_or(0)], &[], &[]);
    }
    answer(0, Some(EIO))
}

/// What the caller is told: this, or an error.
pub(super) fn answer(done: Returned, errno: Option<Errno>) -> Returned {
    errno.map_or(done, |errno| -(errno.raw() as Returned))
}

/// The caller is told that nothing was opened, so nobody else would close it.
fn give_up(call: &Call, asked: &Asked, returned: Returned) {
    let opens = matches!(asked.kind, OpKind::Open | OpKind::Create)
        && !matches!(call.number, libc::SYS_mknod | libc::SYS_mknodat);
    if let (true, Ok(fd)) = (opens, usize::try_from(returned)) {
        // SAFETY: a descriptor that nobody knows of yet.
        unsafe { Call::new(libc::SYS_close, sys::args([fd])) }.record();
    }
}

/// A change of size that comes as far as `len`.
fn shrunk(call: &Call, len: u64) -> Returned {
    let mut args = call.args;
    if call.number != libc::SYS_fallocate {
        args[1] = len as usize;
        return Call { args, ..*call }.record();
    }
    // Space is given from the first byte on, and the size follows.
    match (len as usize).checked_sub(args[2]) {
        None | Some(0) => 0,
        Some(part) => {
            args[3] = part;
            Call { args, ..*call }.record()
        }
    }
}

/// A read or write of the first `len` bytes only.
pub(super) fn shortened(call: &Call, len: usize) -> Returned {
    if matches!(call.number, libc::SYS_copy_file_range | libc::SYS_sendfile) {
        let mut args = call.args;
        args[if call.number == libc::SYS_sendfile { 3 } else { 4 }] = len;
        return Call { args, ..*call }.record();
    }
    let mut args = call.args;
    if ask::is_single(call) {
        args[2] = len;
        return Call { args, ..*call }.record();
    }
    let mut fewer = [const { MaybeUninit::<iovec>::uninit() }; PARTS_MAX];
    let count = ask::parts(call, |parts| {
        let (mut count, mut left) = (0, len);
        for part in parts {
            if left == 0 {
                break;
            }
            let iov_len = part.iov_len.min(left);
            fewer[count].write(iovec { iov_len, ..*part });
            (count, left) = (count + 1, left - iov_len);
        }
        count
    });
    args[1] = fewer.as_ptr().expose_provenance();
    args[2] = count.unwrap_or(0);
    Call { args, ..*call }.record()
}

/// Shows the parts of memory that a read has filled, each with how much was read before it.
pub(super) fn each_part(call: &Call, read: usize, mut see: impl FnMut(usize, &mut [u8])) {
    let mut at = 0;
    let _ = ask::parts(call, |parts| {
        for part in parts {
            let len = part.iov_len.min(read - at);
            if len == 0 {
                continue;
            }
            let base = part.iov_base.cast::<u8>();
            // SAFETY: the kernel has just written so many bytes there.
            let data = unsafe { slice::from_raw_parts_mut(base, len) };
            see(at, data);
            at += len;
        }
    });
}
