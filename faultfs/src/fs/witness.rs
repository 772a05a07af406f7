//! An open file of a `FaultFs` as its door sees it: where else than at the place of a call it is read and
//! written, and what it is told of the faults of its calls.

use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::at::Anywhere;
use super::door::{Doing, Synced, Witness};
use super::folder::Folder;
use super::handle::Open;
use super::options::OpenOptions;
use super::path::Follow;
use super::power::Wants;
use super::shared::{Caller, State, outcome};
use crate::device::before_last_write;
use crate::errno::ENOSPC;
use crate::fault::{Fault, Place, Since};
use crate::injector::{Call, Injection, Reach};
use crate::op::{Bytes, Found, Ino, Op};
use crate::plan::OpKind;
use crate::reads::Reads;

impl Open {
    /// The file of a real folder, for writing anywhere: this handle need not be one that writes, and may be
    /// one that appends.
    pub(super) fn reopened(&self) -> io::Result<Option<std::fs::File>> {
        let open = |real: &std::fs::File| {
            let path = format!("/proc/self/fd/{}", real.as_raw_fd());
            std::fs::OpenOptions::new().write(true).open(path)
        };
        self.real.as_ref().map(open).transpose()
    }

    /// The regular file of a place, if there is one.
    fn file_at(&self, state: &State, place: &Place) -> Option<Ino> {
        let ino = match place.file.as_deref() {
            None => self.ino,
            Some(path) => self.shared.names(state).find(Path::new(path), Follow::Always).ok()?.0,
        };
        state.disk().content(ino).map(|_| ino)
    }

    /// The file of a place on a real folder, for writing.
    fn real_at(&self, place: &Place) -> io::Result<Option<std::fs::File>> {
        let Some(path) = place.file.as_deref() else { return self.reopened() };
        let mut options = OpenOptions::new();
        options.write(true);
        let open = |folder: &Folder| folder.open_file(Path::new(path), &options, None);
        self.shared.folder.as_ref().map(open).transpose()
    }
}

impl Anywhere for Open {
    fn reach(&self) -> Reach {
        Reach::Filesystem
    }

    fn peek(&self, place: &Place, buf: &mut [u8]) -> io::Result<usize> {
        let state = &*self.shared.enter(Wants::Look)?;
        state.reading(Reads::everything);
        let content = self.file_at(state, place).and_then(|ino| state.disk().content(ino));
        Ok(content.map_or(0, |content| content.read_at(buf, place.offset)))
    }

    fn poke(&self, place: &Place, data: &[u8], caller: Caller) -> io::Result<()> {
        let state = &mut *self.shared.enter(Wants::Change)?;
        let offset = place.offset;
        self.check_range(self.options.writes(), Some(offset), data.len())?;
        let Some(ino) = self.file_at(state, place).filter(|_| !data.is_empty()) else {
            return Ok(());
        };
        let real = self.real_at(place)?;
        if state.room_for(ino, offset, data.len() as u64) < data.len() as u64 {
            return Err(ENOSPC.into());
        }
        let sync = self.options.sync;
        let op = Op::Write { ino, offset, data: Bytes::new(data), direct: false, sync };
        let started = state.start(caller, op);
        let wrote = real.map_or(Ok(()), |real| real.write_all_at(data, offset));
        state.end(started, outcome(&wrote));
        wrote
    }

    fn stale(&self, since: Since, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let state = &*self.shared.enter(Wants::Look)?;
        state.reading(Reads::everything);
        let trace = state.recorder.trace();
        let content = match since {
            Since::Sync => state.on_device(self.ino).content,
            Since::Write => before_last_write(trace, self.ino, offset, buf.len() as u64),
        };
        Ok(content.read_at(buf, offset))
    }
}

impl Witness for Open {
    fn kind(&self, kind: OpKind) -> OpKind {
        match kind {
            OpKind::Sync if self.is_dir => OpKind::SyncDir,
            kind => kind,
        }
    }

    fn offset(&self, kind: OpKind, at: Option<u64>) -> Option<u64> {
        match kind {
            OpKind::Read => Some(at.unwrap_or_else(|| self.cursor())),
            OpKind::Write => self.write_offset(&self.shared.lock(), at).ok(),
            _ => at,
        }
    }

    fn injected(&self, call: &Call<'_>, injection: &Injection) {
        self.shared.lock().note(call, injection);
    }

    fn move_cursor(&self, to: u64) -> io::Result<()> {
        let _state = self.shared.lock();
        if let Some(mut real) = self.real.as_ref() {
            real.seek(SeekFrom::Start(to))?;
        }
        self.cursor.store(to, Ordering::Relaxed);
        Ok(())
    }

    fn crash(&self, doing: Doing<'_>, caller: Caller) {
        let state = &mut *self.shared.lock();
        let (ino, OpenOptions { direct, sync, .. }) = (self.ino, &self.options);
        let (direct, sync) = (*direct, *sync);
        let op = match doing {
            Doing::Write(offset, data) if !data.is_empty() && self.options.writes() => {
                Some(Op::Write { ino, offset, data: Bytes::new(data), direct, sync })
            }
            Doing::SetLen(len) if self.options.writes() && i64::try_from(len).is_ok() => {
                Some(Op::SetLen { ino, len })
            }
            Doing::Store(offset, data) => {
                Some(Op::MapStore { ino, offset, data: Bytes::new(data), found: Found::Stored })
            }
            Doing::Sync(what) => Some(self.sync_op(what)),
            _ => None,
        };
        state.crash(op, caller);
        self.shared.thawed.notify_all();
    }

    fn fail_sync(&self, fault: &Fault, what: Synced, caller: Caller) -> io::Result<()> {
        Open::fail_sync(self, fault, what, caller)
    }
}
