//! Calls that make things durable. None holds the lock while the kernel works: a sync may take
//! long, and what it covers is decided by the positions of the records alone.

use std::ffi::c_int;

use crate::record::Kind;

use super::sys::{self, Returned};
use super::{Call, DOOR, maps};

/// `fsync`, `fdatasync`: of files and of directories. Asked of the kernel rather than of the
/// table of descriptors, which knows nothing of those that `opendir` made inside libc.
pub(super) fn sync(call: Call) -> Returned {
    match DOOR.behind(call.fd(0)) {
        Some(stat) => around(&call, Kind::Sync, &[stat.ino]),
        None => call.perform(),
    }
}

/// `sync_file_range`.
pub(super) fn sync_range(call: Call) -> Returned {
    let [_, offset, len, flags, ..] = call.args.map(|word| word as u64);
    match DOOR.behind(call.fd(0)) {
        Some(stat) => around(&call, Kind::SyncRange, &[stat.ino, offset, len, flags]),
        None => call.perform(),
    }
}

/// `sync`, `syncfs`.
pub(super) fn sync_all(call: Call) -> Returned {
    let ours = call.number == libc::SYS_sync
        || sys::fstat(call.fd(0)).is_ok_and(|stat| DOOR.is_on_device(&stat));
    if ours { around(&call, Kind::SyncAll, &[]) } else { call.perform() }
}

/// `msync`.
pub(super) fn sync_mapping(call: Call) -> Returned {
    let [address, len, flags, ..] = call.args;
    match maps::find(address, len) {
        maps::Found::One { ino, offset, len, .. } => {
            let words = [ino, offset, len, u64::from(flags as c_int as u32)];
            around(&call, Kind::Msync, &words)
        }
        maps::Found::None => call.perform(),
        maps::Found::Many => {
            if let Some(held) = DOOR.hold() {
                held.unmodelled(&call, "one msync over several mappings");
            }
            call.perform()
        }
    }
}

fn around(call: &Call, kind: Kind, words: &[u64]) -> Returned {
    let started = DOOR.hold().and_then(|held| held.start(call, kind, words, &[], &[]));
    let returned = call.perform();
    if started.is_some()
        && let Some(held) = DOOR.hold()
    {
        held.end(started, returned, None);
    }
    returned
}
