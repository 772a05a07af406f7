//! Carrying out a call that something goes wrong with.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::slice;

use faultfs::errno::{EIO, Errno};
use faultfs::fault::{Effect, Fault};
use faultfs::plan::OpKind;
use libc::iovec;

use super::super::Call;
use super::super::files::PARTS_MAX;
use super::super::sys::{self, Returned};
use super::ask::{self, Asked};
use super::syncs;
use crate::session;

/// Does what is left of a call, and answers as its fault says.
pub(super) fn carry_out(call: Call, asked: &Asked, fault: Fault) -> Returned {
    let whole = usize::try_from(asked.len).unwrap_or(usize::MAX);
    let is_sync = matches!(asked.kind, OpKind::Sync | OpKind::SyncDir);
    match fault.effect(asked.offset, whole) {
        Effect::Nothing(_) if is_sync && fault.sync_failure().is_some() => {
            syncs::fail(&call, &fault)
        }
        Effect::Nothing(errno) => answer(0, errno),
        Effect::Crash => {
            session::cut();
            answer(0, Some(EIO))
        }
        Effect::Part { len, errno } => {
            let moves = matches!(asked.kind, OpKind::Read | OpKind::Write);
            let returned = match () {
                () if moves && len < whole => shortened(&call, len),
                () if is_sync => syncs::sync(call),
                () => call.record(),
            };
            if returned < 0 {
                return returned;
            }
            if asked.kind == OpKind::Read {
                spoil(&call, asked, fault, returned as usize);
            }
            if errno.is_some() && matches!(asked.kind, OpKind::Open | OpKind::Create) {
                give_up(call.number, returned as c_int);
            }
            answer(returned, errno)
        }
        // These need more reach than the door says it has.
        _ => call.record(),
    }
}

/// What the caller is told: this, or an error.
fn answer(done: Returned, errno: Option<Errno>) -> Returned {
    errno.map_or(done, |errno| -(errno.raw() as Returned))
}

/// The caller is told that nothing was opened, so nobody else would close it.
fn give_up(number: i64, fd: c_int) {
    if !matches!(number, libc::SYS_mknod | libc::SYS_mknodat) {
        // SAFETY: a descriptor that nobody knows of yet.
        unsafe { Call::new(libc::SYS_close, sys::args([fd as usize])) }.record();
    }
}

/// A read or write of the first `len` bytes only.
fn shortened(call: &Call, len: usize) -> Returned {
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

/// Changes what was read, in the memory of the program.
fn spoil(call: &Call, asked: &Asked, fault: Fault, read: usize) {
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
            fault.spoil(asked.offset.map(|offset| offset + at as u64), data);
            at += len;
        }
    });
}
