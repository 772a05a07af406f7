//! A sync of an open file that fails.

use std::io;

use super::door::Synced;
use super::handle::Open;
use super::shared::{Caller, State};
use crate::fault::{Fault, Pages, Size, SyncFailure, Told};
use crate::op::Op;
use crate::reads::Reads;
use crate::trace::Outcome;

impl Open {
    /// A sync of the file, or of pages of it, fails: what becomes of these, and who is told.
    pub(super) fn fail_sync(&self, fault: &Fault, what: Synced, caller: Caller) -> io::Result<()> {
        let (Some(how), Some(errno)) = (fault.sync_failure(), fault.errno()) else { return Ok(()) };
        let state = &mut *self.shared.lock();
        let op = self.sync_op(what);
        if self.is_dir {
            state.note_failed(caller, op, errno);
            return Err(errno.into());
        }
        if how.pages == Pages::Reverted {
            self.revert(state, what, how.size, caller)?;
        }
        // Dirty pages are what they were: as if nobody had asked for the sync.
        if how.pages != Pages::Dirty {
            self.write_others(state, what, how, caller);
            state.note_failed_sync(caller, op, errno, how);
        }
        match how.told {
            Told::EveryHandle | Told::EveryHandleLater => state.owe(self.ino, errno),
            Told::CallerLater => drop(state.owed.insert(self.id, errno)),
            Told::Caller | Told::FirstOpener | Told::Nobody => {}
        }
        if matches!(how.told, Told::EveryHandleLater | Told::FirstOpener) {
            state.unseen.insert(self.ino, errno);
        }
        if how.told.is_now() {
            state.owed.remove(&self.id);
            return Err(errno.into());
        }
        Ok(())
    }

    /// The pages that a sync was about as the device has them; where that was the whole file, its size by
    /// `size` too.
    fn revert(
        &self,
        state: &mut State,
        what: Synced,
        size: Size,
        caller: Caller,
    ) -> io::Result<()> {
        state.reading(Reads::everything);
        let (device, live) = (state.on_device(self.ino), self.content(state)?);
        let content = match what {
            Synced::File(_) => device.reverted(live, size),
            Synced::Range { .. } => device.reverted_pages(live, what.bytes()),
        };
        state.restore(self.ino, &content, self.reopened()?.as_ref(), caller)
    }

    /// A sync of which only some pages cannot be written has written the others that it was about.
    fn write_others(&self, state: &mut State, what: Synced, how: SyncFailure, caller: Caller) {
        if how.only.is_none() {
            return;
        }
        state.reading(Reads::everything);
        for (offset, len) in state.on_device(self.ino).written_besides(how) {
            let about = what.bytes();
            let (first, end) = (offset.max(about.start), (offset + len).min(about.end));
            if first < end {
                let op = Op::SyncMap { ino: self.ino, offset: first, len: end - first };
                let started = state.start(caller, op);
                state.end(started, Outcome::Done);
            }
        }
    }

    /// What a sync asks for.
    pub(super) fn sync_op(&self, what: Synced) -> Op {
        match what {
            Synced::File(kind) => Op::Sync { ino: self.ino, kind },
            Synced::Range { offset, len } => Op::SyncMap { ino: self.ino, offset, len },
        }
    }
}
