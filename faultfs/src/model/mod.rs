//! What a crash may do: which of the unsynced changes of a recorded run may be lost, torn or reordered.
//!
//! In prose, and decided once for all profiles:
//!
//! - **Pages.** Dirty data is written back a page at a time. Unsynced buffered writes to one page are
//!   versions of that page: a disk holds one of them, and never a later one without what the earlier
//!   ones put into the same page. A page whose write-back was cut short mixes at most two versions, in
//!   whole 512-byte sectors: the newer as a prefix, as a suffix, or with one hole in it.
//!   `O_DIRECT` writes are versions of the sectors that they cover, not of pages; that they returned
//!   promises neither durability nor size.
//! - **Sizes** grow in steps of one page with the write that extends the file. A smaller size frees the
//!   pages past it; the zeros behind it in its last page are a version of that page, on their own.
//! - **Slots.** The entries of one (directory, name) are versions of one slot. A rename changes both of
//!   its slots or neither, and not before the directory that it moves into is there; a directory goes
//!   only after what left it. One profile, kept apart, has files renamed in two changes, or three.
//! - **Syncs.** `fsync`, `fdatasync`, `syncfs`, `sync`, `O_SYNC` and `O_DSYNC` writes and
//!   `msync(MS_SYNC)` make durable what they cover, of the ops that had ended before they started, and
//!   only for crashes after they ended. `sync_file_range` and `MS_ASYNC` make nothing durable.
//! - **Mappings.** What is stored through a shared mapping is in the page cache at once, and is dirty data as any
//!   other, of which no order is kept until an `msync` or a sync of the file, not even where everything else is
//!   in order: the kernel learns of a store when it writes the page back (msync(2): without it "there is no
//!   guarantee that changes are written back"). No crash comes between stores that were found by one
//!   comparison, of which nobody saw which came first: they are written back one by one, but where only the process
//!   dies they are there together, or not at all.
//! - **Failed syncs** make nothing durable and leave the pages that they were about clean: no later sync
//!   covers these, nor the sizes that came with them, until the page is written to again (Rebello et al.,
//!   "Can Applications Recover from fsync Failures?", table 1); on ext4 since 5.6 not even then, where the page
//!   was a new one. No rename waits for these pages any more, and on ext3 and ext4 no size does. What else the order of a profile puts before something that is durable is
//!   durable too.
//! - **In flight.** An op that has started and not ended may have happened, in part.
//!
//! The rest are switches of a [`Profile`].

mod micro;
mod moment;
mod order;
mod profile;

pub(crate) use micro::{Micros, Part};
pub(crate) use moment::{Moment, Moments};
pub use profile::{Kept, Profile};

use std::sync::Arc;

use crate::trace::Trace;
use order::Order;

/// A recorded run under a profile.
#[derive(Debug)]
pub struct Model {
    pub(crate) trace: Arc<Trace>,
    pub(crate) profile: Profile,
    pub(crate) micros: Micros,
    pub(crate) order: Order,
}

impl Model {
    /// Cuts the ops of `trace` into what a crash may lose separately, in the order that `profile`
    /// keeps.
    pub fn new(trace: Arc<Trace>, profile: Profile) -> Self {
        let micros = Micros::of(&trace, &profile);
        let order = Order::of(&trace, &micros, &profile);
        Model { trace, profile, micros, order }
    }

    /// The recorded run.
    pub fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }

    /// The profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Walks through the crash points of the run, in order.
    pub(crate) fn moments(&self) -> Moments<'_> {
        Moments::new(self)
    }

    /// A micro-op in words: what, of which file, where, by whom it was asked for.
    pub(crate) fn describe(&self, id: u32) -> String {
        let micro = &self.micros.all[id as usize];
        let record = &self.trace.ops[micro.op];
        let what = match &micro.part {
            Part::Page(patch) => {
                let from = patch.page * crate::op::PAGE + patch.at as u64;
                let path = self.trace.path_of(patch.ino);
                format!("{} {path} {from}..{}", record.op.word(), from + patch.len as u64)
            }
            Part::Len { ino, len, .. } => {
                let path = self.trace.path_of(*ino);
                format!("size of {path} set to {len} by {}", record.op.word())
            }
            Part::Mode { ino, mode } => format!("mode {mode:o} of {}", self.trace.path_of(*ino)),
            Part::Slots(_) => {
                let half = self.micros.half(id).map(|half| format!(": only {half}"));
                format!("{}{}", self.trace.describe(micro.op), half.unwrap_or_default())
            }
        };
        let by = match &record.site {
            Some(site) => format!("{site}"),
            None => format!("thread {}", record.thread),
        };
        format!("{what} (op {}, {by})", micro.op)
    }
}
