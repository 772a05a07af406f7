//! What happens to the calls of a file while a rule may fire: out of the way of the calls of one that is
//! not armed.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::panic::{Location, RefUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::at::{Anywhere, At, Stream};
use super::shared::{Caller, site_of};
use super::storage::Storage;
use crate::errno::{EIO, Errno};
use crate::fault::{Effect, Fault, Place};
use crate::injector::{Call, Injection, Reach};
// For `file.rs`, whose other door has types of its own.
pub(super) use crate::injector::Injector;
pub(super) use crate::op::SyncKind;
pub(super) use crate::plan::OpKind;

/// The way to a file's door, where it has one.
#[derive(Clone)]
pub(super) struct Gate(Option<Arc<Door>>);

impl Gate {
    /// No door: nothing goes wrong.
    pub(super) const OPEN: Gate = Gate(None);

    pub(super) fn new(injector: &Injector, path: &Path) -> Gate {
        Gate::to(injector, path.into(), None)
    }

    /// The door of a file that is told of its faults.
    pub(super) fn witnessed(witness: Arc<dyn Witness>, injector: &Injector, path: PathBuf) -> Gate {
        Gate::to(injector, path.into(), Some(witness))
    }

    fn to(injector: &Injector, path: Box<Path>, witness: Option<Arc<dyn Witness>>) -> Gate {
        Gate(Some(Arc::new(Door {
            injector: injector.clone(),
            path,
            witness,
            #[cfg(feature = "tokio")]
            waiting: Default::default(),
        })))
    }

    /// Where calls are judged, while a rule may fire. All that an unarmed file costs.
    #[inline]
    pub(super) fn armed(&self) -> Option<&Door> {
        self.0.as_deref().filter(|door| door.injector.is_armed())
    }

    pub(super) fn describe(&self, out: &mut fmt::DebugStruct<'_, '_>) {
        if let Some(door) = &self.0 {
            out.field("door", door);
        }
    }
}

/// Where a file's calls are judged.
pub(super) struct Door {
    injector: Injector,
    path: Box<Path>,
    witness: Option<Arc<dyn Witness>>,
    /// Ops that were judged and are not ready.
    #[cfg(feature = "tokio")]
    pub(super) waiting: super::poll::Waiting,
}

/// What goes wrong with a call, and where the call goes, where that is known.
pub(super) type Decided = Option<(Fault, Option<u64>)>;

/// What a recorded file knows about its own calls, and is told of their faults.
pub(super) trait Witness: Anywhere + Send + Sync + RefUnwindSafe {
    /// The kind of a call: the sync of a directory is one of its own.
    fn kind(&self, kind: OpKind) -> OpKind;

    /// Where a read or write goes.
    fn offset(&self, kind: OpKind, at: Option<u64>) -> Option<u64>;

    /// A fault is about to be injected.
    fn injected(&self, call: &Call<'_>, injection: &Injection);

    /// A sync fails before its effect: what becomes of the file, and what the caller is told.
    fn fail_sync(&self, fault: &Fault, what: Synced, caller: Caller) -> io::Result<()>;

    /// Moves the cursor behind what a call at the cursor has written otherwise.
    fn move_cursor(&self, to: u64) -> io::Result<()>;

    /// The power goes while this is under way.
    fn crash(&self, doing: Doing<'_>, caller: Caller);
}

/// What is under way when the power goes.
pub(super) enum Doing<'a> {
    Write(u64, &'a [u8]),
    Store(u64, &'a [u8]),
    SetLen(u64),
    Sync(Synced),
    /// Nothing that a crash could leave half done.
    Nothing,
}

/// What a sync is about.
#[derive(Clone, Copy)]
pub(super) enum Synced {
    /// A file, its data or all of it.
    File(SyncKind),
    /// The pages of a mapping that these bytes of the file touch.
    Range { offset: u64, len: u64 },
}

impl Synced {
    /// The bytes of the file that it is about.
    pub(super) fn bytes(self) -> Range<u64> {
        match self {
            Synced::File(_) => 0..u64::MAX,
            Synced::Range { offset, len } => offset..offset.saturating_add(len),
        }
    }
}

impl Door {
    /// The fault of a call, and where the call goes.
    #[track_caller]
    pub(super) fn decide(&self, kind: OpKind, at: Option<u64>, len: u64, reach: Reach) -> Decided {
        let (kind, offset, reach) = match &self.witness {
            Some(w) => (w.kind(kind), w.offset(kind, at), reach.max(w.reach())),
            None => (kind, at, reach),
        };
        let site = site_of(Location::caller());
        let call = Call { offset, len, reach, site, ..Call::new(kind, &self.path) };
        let injection = self.injector.decide(&call)?;
        if let Some(witness) = &self.witness {
            witness.injected(&call, &injection);
        }
        Some((injection.fault, offset))
    }

    /// Where else this file can be read and written.
    fn anywhere<'a>(&'a self, given: &'a dyn Anywhere) -> &'a dyn Anywhere {
        match &self.witness {
            Some(witness) => &**witness,
            None => given,
        }
    }

    /// The power goes.
    #[track_caller]
    pub(super) fn crash<T>(&self, doing: Doing<'_>) -> io::Result<T> {
        let caller = Location::caller();
        if let Some(witness) = &self.witness {
            witness.crash(doing, caller);
        }
        Err(EIO.into())
    }

    #[cold]
    #[track_caller]
    pub(super) fn read(&self, inner: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(inner, &Stream, None, buf)
    }

    #[cold]
    #[track_caller]
    pub(super) fn read_at(
        &self,
        file: &impl FileExt,
        offset: u64,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        self.read_with(&mut At { file, offset }, &At { file, offset }, Some(offset), buf)
    }

    #[track_caller]
    fn read_with(
        &self,
        inner: &mut impl Read,
        given: &dyn Anywhere,
        at: Option<u64>,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        let decided = self.decide(OpKind::Read, at, buf.len() as u64, given.reach());
        self.carry_out_read(&decided, inner, given, buf)
    }

    /// Does what is left of a read.
    #[track_caller]
    pub(super) fn carry_out_read(
        &self,
        decided: &Decided,
        inner: &mut impl Read,
        given: &dyn Anywhere,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        let Some((fault, offset)) = decided else { return inner.read(buf) };
        let offset = *offset;
        let elsewhere = self.anywhere(given);
        let (found, count) = match fault.effect(offset, buf.len()) {
            Effect::Nothing(errno) => return answer(0, errno),
            Effect::Crash => return self.crash(Doing::Nothing),
            Effect::Part { len, errno } => {
                let count = inner.read(&mut buf[..len])?;
                fault.spoil(offset, &mut buf[..count]);
                return answer(count, errno);
            }
            Effect::Elsewhere(place) => {
                let count = inner.read(buf)?;
                (elsewhere.peek(&place, &mut buf[..count])?, count)
            }
            Effect::Stale(since) => {
                let count = inner.read(buf)?;
                let offset = offset.expect("a file with a past knows where it is read");
                (elsewhere.stale(since, offset, &mut buf[..count])?, count)
            }
            Effect::Pieces(_) | Effect::BothNames(_) => return inner.read(buf),
        };
        buf[found..count].fill(0);
        Ok(count)
    }

    #[cold]
    #[track_caller]
    pub(super) fn read_vectored(
        &self,
        inner: &mut impl Read,
        bufs: &mut [IoSliceMut<'_>],
    ) -> io::Result<usize> {
        let mut whole = vec![0; bufs.iter().map(|b| b.len()).sum()];
        let count = self.read(inner, &mut whole)?;
        let mut rest = &whole[..count];
        for buf in bufs {
            let len = rest.len().min(buf.len());
            let (head, tail) = rest.split_at(len);
            buf[..len].copy_from_slice(head);
            rest = tail;
        }
        Ok(count)
    }

    #[cold]
    #[track_caller]
    pub(super) fn write(&self, inner: &mut impl Write, buf: &[u8]) -> io::Result<usize> {
        self.write_with(inner, &Stream, None, buf)
    }

    #[cold]
    #[track_caller]
    pub(super) fn write_at(
        &self,
        file: &impl FileExt,
        offset: u64,
        buf: &[u8],
    ) -> io::Result<usize> {
        self.write_with(&mut At { file, offset }, &At { file, offset }, Some(offset), buf)
    }

    #[track_caller]
    fn write_with(
        &self,
        inner: &mut impl Write,
        given: &dyn Anywhere,
        at: Option<u64>,
        buf: &[u8],
    ) -> io::Result<usize> {
        let decided = self.decide(OpKind::Write, at, buf.len() as u64, given.reach());
        self.carry_out_write(&decided, inner, given, at, buf)
    }

    /// Does what is left of a write.
    #[track_caller]
    pub(super) fn carry_out_write(
        &self,
        decided: &Decided,
        inner: &mut impl Write,
        given: &dyn Anywhere,
        at: Option<u64>,
        buf: &[u8],
    ) -> io::Result<usize> {
        let Some((fault, offset)) = decided else { return inner.write(buf) };
        let offset = *offset;
        let caller = Location::caller();
        let errno = match fault.effect(offset, buf.len()) {
            Effect::Nothing(errno) => return answer(buf.len(), errno),
            Effect::Crash => {
                return self.crash(offset.map_or(Doing::Nothing, |at| Doing::Write(at, buf)));
            }
            Effect::Part { len, errno: None } => return inner.write(&buf[..len]),
            Effect::Part { len, errno: Some(errno) } => {
                inner.write_all(&buf[..len])?;
                return Err(errno.into());
            }
            Effect::Pieces(errno) => errno,
            Effect::Elsewhere(place) => {
                self.anywhere(given).poke(&Place::at(offset.unwrap_or(0)), &[], caller)?;
                self.anywhere(given).poke(&place, buf, caller)?;
                None
            }
            Effect::Stale(_) | Effect::BothNames(_) => return inner.write(buf),
        };
        let offset = offset.expect("a fault that writes elsewhere knows where it is");
        put_pieces(fault, self.anywhere(given), offset, buf, caller)?;
        if let (None, None, Some(witness)) = (errno, at, &self.witness) {
            witness.move_cursor(offset + buf.len() as u64)?;
        }
        answer(buf.len(), errno)
    }

    #[cold]
    #[track_caller]
    pub(super) fn write_vectored(
        &self,
        inner: &mut impl Write,
        bufs: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let whole: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.write(inner, &whole)
    }

    #[cold]
    #[track_caller]
    pub(super) fn set_len(&self, inner: &impl Storage, len: u64) -> io::Result<()> {
        let size = inner.size().ok();
        let Some((fault, _)) = self.decide(OpKind::SetLen, size, len, Reach::File) else {
            return inner.set_len(len);
        };
        match fault.effect(size, usize::try_from(len).unwrap_or(usize::MAX)) {
            Effect::Nothing(errno) => answer((), errno),
            Effect::Crash => self.crash(Doing::SetLen(len)),
            Effect::Part { len: reached, errno } => {
                answer(inner.set_len(len.min(reached as u64))?, errno)
            }
            _ => inner.set_len(len),
        }
    }

    #[cold]
    #[track_caller]
    pub(super) fn sync(&self, inner: &impl Storage, kind: SyncKind) -> io::Result<()> {
        let decided = self.decide(OpKind::Sync, None, 0, Reach::Call);
        let errno = match self.before_sync(decided, Synced::File(kind)) {
            ControlFlow::Break(done) => return done,
            ControlFlow::Continue(errno) => errno,
        };
        match kind {
            SyncKind::All => inner.sync_all()?,
            SyncKind::Data => inner.sync_data()?,
        }
        answer((), errno)
    }

    /// What is left of a sync: nothing, or all of it, after which the caller is told of an error, or not.
    #[track_caller]
    pub(super) fn before_sync(
        &self,
        decided: Decided,
        what: Synced,
    ) -> ControlFlow<io::Result<()>, Option<Errno>> {
        let fault = decided.map(|(fault, _)| fault);
        let effect = fault.as_ref().map_or(Effect::WHOLE, |fault| fault.effect(None, 1));
        match (effect, &fault, &self.witness) {
            (Effect::Crash, ..) => ControlFlow::Break(self.crash(Doing::Sync(what))),
            (Effect::Nothing(_), Some(fault), Some(witness)) if fault.sync_failure().is_some() => {
                ControlFlow::Break(witness.fail_sync(fault, what, Location::caller()))
            }
            (Effect::Nothing(errno), ..) => ControlFlow::Break(answer((), errno)),
            (Effect::Part { errno, .. }, ..) => ControlFlow::Continue(errno),
            _ => ControlFlow::Continue(None),
        }
    }

    /// A call that moves no data and is not recorded with its line.
    #[cold]
    #[track_caller]
    pub(super) fn call<T>(
        &self,
        kind: OpKind,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match self.before(kind, 0) {
            Effect::Nothing(Some(errno)) => Err(errno.into()),
            Effect::Crash => self.crash(Doing::Nothing),
            Effect::Part { errno, .. } => answer(act()?, errno),
            _ => act(),
        }
    }

    /// What is left of a call that moves no data: all of it, or nothing.
    #[track_caller]
    pub(super) fn before(&self, kind: OpKind, len: u64) -> Effect {
        let decided = self.decide(kind, None, len, Reach::Call);
        decided.map_or(Effect::WHOLE, |(fault, offset)| fault.effect(offset, 1))
    }
}

/// Writes what a fault leaves of a write.
fn put_pieces(
    fault: &Fault,
    file: &dyn Anywhere,
    offset: u64,
    data: &[u8],
    caller: Caller,
) -> io::Result<()> {
    // Where nothing is to be written, what may not be written still fails.
    file.poke(&Place::at(offset), &[], caller)?;
    let mut old = vec![0; data.len()];
    // Of a file that cannot be read nothing is known: what does not arrive is taken for new.
    let known = file.peek(&Place::at(offset), &mut old).unwrap_or(0);
    for (at, piece) in fault.pieces(offset, data, &old[..known]) {
        file.poke(&Place::at(at), &piece, caller)?;
    }
    Ok(())
}

/// What the caller is told of a call that came to `done`.
pub(super) fn answer<T>(done: T, errno: Option<Errno>) -> io::Result<T> {
    errno.map_or(Ok(done), |errno| Err(errno.into()))
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Door { injector, path, .. } = self;
        f.debug_struct("Door").field("path", path).field("plan", injector).finish()
    }
}
