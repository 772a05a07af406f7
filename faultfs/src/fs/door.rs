//! What happens to the calls of a file while a rule may fire: out of the way of the calls of one that is
//! not armed.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::panic::{Location, RefUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::shared::Caller;
use super::storage::Storage;
use crate::errno::Errno;
use crate::fault::{Effect, Fault};
use crate::injector::{Call, Injection};
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

/// What a recorded file knows about its own calls, and is told of their faults.
pub(super) trait Witness: Send + Sync + RefUnwindSafe {
    /// The kind of a call: the sync of a directory is one of its own.
    fn kind(&self, kind: OpKind) -> OpKind;

    /// Where a read or write goes.
    fn offset(&self, kind: OpKind, at: Option<u64>) -> Option<u64>;

    /// A fault is about to be injected.
    fn injected(&self, call: &Call<'_>, injection: &Injection);

    /// A sync fails before its effect: what becomes of the file, and what the caller is told.
    fn fail_sync(&self, fault: Fault, kind: SyncKind, caller: Caller) -> io::Result<()>;
}

impl Door {
    /// The fault of a call, and where the call goes.
    pub(super) fn decide(&self, kind: OpKind, at: Option<u64>, len: u64) -> Decided {
        let (kind, offset) = match &self.witness {
            Some(witness) => (witness.kind(kind), witness.offset(kind, at)),
            None => (kind, at),
        };
        let call = Call { offset, len, ..Call::new(kind, &self.path) };
        let injection = self.injector.decide(&call)?;
        if let Some(witness) = &self.witness {
            witness.injected(&call, &injection);
        }
        Some((injection.fault, offset))
    }

    #[cold]
    pub(super) fn read(
        &self,
        inner: &mut impl Read,
        at: Option<u64>,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        read(self.decide(OpKind::Read, at, buf.len() as u64), inner, buf)
    }

    #[cold]
    pub(super) fn read_vectored(
        &self,
        inner: &mut impl Read,
        bufs: &mut [IoSliceMut<'_>],
    ) -> io::Result<usize> {
        let mut whole = vec![0; bufs.iter().map(|b| b.len()).sum()];
        let count = self.read(inner, None, &mut whole)?;
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
    pub(super) fn write(
        &self,
        inner: &mut impl Write,
        at: Option<u64>,
        buf: &[u8],
    ) -> io::Result<usize> {
        write(self.decide(OpKind::Write, at, buf.len() as u64), inner, buf)
    }

    #[cold]
    #[track_caller]
    pub(super) fn write_vectored(
        &self,
        inner: &mut impl Write,
        bufs: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let whole: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.write(inner, None, &whole)
    }

    #[cold]
    #[track_caller]
    pub(super) fn set_len(&self, inner: &impl Storage, len: u64) -> io::Result<()> {
        match self.before(OpKind::SetLen, len) {
            Effect::Nothing(errno) => answer((), errno),
            Effect::Part { errno, .. } => answer(inner.set_len(len)?, errno),
        }
    }

    #[cold]
    #[track_caller]
    pub(super) fn sync(&self, inner: &impl Storage, kind: SyncKind) -> io::Result<()> {
        let fault = self.decide(OpKind::Sync, None, 0).map(|(fault, _)| fault);
        let effect = fault.map_or(Effect::WHOLE, |fault| fault.effect(None, 1));
        let errno = match (effect, fault, &self.witness) {
            (Effect::Part { errno, .. }, ..) => errno,
            (Effect::Nothing(Some(_)), Some(fault), Some(witness)) => {
                return witness.fail_sync(fault, kind, Location::caller());
            }
            (Effect::Nothing(errno), ..) => return answer((), errno),
        };
        match kind {
            SyncKind::All => inner.sync_all()?,
            SyncKind::Data => inner.sync_data()?,
        }
        answer((), errno)
    }

    /// A call that moves no data and is not recorded with its line.
    #[cold]
    pub(super) fn call<T>(
        &self,
        kind: OpKind,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match self.before(kind, 0) {
            Effect::Nothing(Some(errno)) => Err(errno.into()),
            // Only syncs lie, and they do not come here.
            Effect::Nothing(None) => act(),
            Effect::Part { errno, .. } => answer(act()?, errno),
        }
    }

    /// What is left of a call that moves no data: all of it, or nothing.
    pub(super) fn before(&self, kind: OpKind, len: u64) -> Effect {
        match self.decide(kind, None, len) {
            Some((fault, offset)) => fault.effect(offset, 1),
            None => Effect::WHOLE,
        }
    }
}

/// What goes wrong with a call, and where the call goes, where that is known.
pub(super) type Decided = Option<(Fault, Option<u64>)>;

/// Carries out a read of which `decided` is left.
pub(super) fn read(decided: Decided, inner: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let Some((fault, offset)) = decided else { return inner.read(buf) };
    match fault.effect(offset, buf.len()) {
        Effect::Nothing(errno) => answer(0, errno),
        Effect::Part { len, errno } => {
            let count = inner.read(&mut buf[..len])?;
            fault.spoil(offset, &mut buf[..count]);
            answer(count, errno)
        }
    }
}

/// Carries out a write of which `decided` is left.
#[track_caller]
pub(super) fn write(decided: Decided, inner: &mut impl Write, buf: &[u8]) -> io::Result<usize> {
    let Some((fault, offset)) = decided else { return inner.write(buf) };
    match fault.effect(offset, buf.len()) {
        Effect::Nothing(errno) => answer(buf.len(), errno),
        Effect::Part { len, errno: None } => inner.write(&buf[..len]),
        Effect::Part { len, errno: Some(errno) } => {
            inner.write_all(&buf[..len])?;
            Err(errno.into())
        }
    }
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
