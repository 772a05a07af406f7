//! What becomes of a file of a `FaultFs` whose sync has failed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::shared::{Caller, State};
use crate::device::{OnDevice, changes};
use crate::disk::Content;
use crate::errno::Errno;
use crate::fault::SyncFailure;
use crate::op::{Bytes, Ino, Op};
use crate::trace::Outcome;

impl State {
    /// What the device has of a file.
    pub(super) fn on_device(&self, ino: Ino) -> OnDevice {
        OnDevice::of(self.recorder.trace(), ino, &self.failures)
    }

    /// A sync of a file that has failed so, for the record.
    pub(super) fn note_failed_sync(
        &mut self,
        caller: Caller,
        op: Op,
        errno: Errno,
        how: SyncFailure,
    ) {
        self.failures.insert(self.recorder.next_start(), how);
        self.note_failed(caller, op, errno);
    }

    /// Every handle of the file will be told of a failed sync.
    pub(super) fn owe(&mut self, ino: Ino, errno: Errno) {
        let handles = self.open.get(&ino).into_iter().flatten();
        self.owed.extend(handles.map(|id| (*id, errno)));
    }

    /// Makes a file what it was, in the record, in memory, and on the folder through `real`.
    pub(super) fn restore(
        &mut self,
        ino: Ino,
        content: &Content,
        real: Option<&File>,
        caller: Caller,
    ) -> io::Result<()> {
        let live = self.disk().content(ino).cloned().unwrap_or_default();
        let (len, bytes) = changes(&live, content);
        if let Some(len) = len {
            real.map_or(Ok(()), |real| real.set_len(len))?;
            self.done(caller, Op::SetLen { ino, len });
        }
        for (offset, bytes) in bytes {
            real.map_or(Ok(()), |real| real.write_all_at(&bytes, offset))?;
            let data = Bytes::new(&bytes);
            self.done(caller, Op::Write { ino, offset, data, direct: false, sync: None });
        }
        Ok(())
    }

    fn done(&mut self, caller: Caller, op: Op) {
        let started = self.start(caller, op);
        self.end(started, Outcome::Done);
    }
}
