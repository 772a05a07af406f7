//! What a transaction layer asks of a replicated store: writes that are answered through a
//! callback, snapshots, and cursors over them.

use std::fmt;

pub(crate) type Key = Vec<u8>;
pub(crate) type Value = Vec<u8>;
pub(crate) type Result<T> = std::result::Result<T, Error>;
/// Called once with the outcome; dropped without a call when the outcome will never be known.
pub(crate) type Callback<T> = Box<dyn FnOnce(Result<T>) + Send>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// The request was refused: another peer leads.
    NotLeader,
    /// The request was accepted and then replaced by a new leader's.
    Stale,
    /// The answer never came; the write may or may not be applied.
    Unknown,
    /// The disk under the snapshot.
    Io(String),
}

impl Error {
    /// The error that a fail point was armed with: `return(NotLeader)`.
    pub(crate) fn injected(argument: Option<&str>) -> Error {
        match argument {
            None | Some("NotLeader") => Error::NotLeader,
            Some("Stale") => Error::Stale,
            Some(other) => Error::Io(other.to_owned()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotLeader => f.write_str("this peer does not lead"),
            Error::Stale => f.write_str("a new leader replaced the request"),
            Error::Unknown => f.write_str("the outcome is not known"),
            Error::Io(what) => write!(f, "reading failed: {what}"),
        }
    }
}

/// Who asks.
pub(crate) struct Context {
    /// The leader that the client believes in.
    pub(crate) term: u64,
}

pub(crate) enum Modify {
    Put(Key, Value),
    Delete(Key),
}

pub(crate) trait Engine {
    type Snap: Snapshot;

    /// Replicates and applies all of `modifies` or none, then calls `cb`.
    ///
    /// # Errors
    ///
    /// When the request was not even accepted; `cb` is not called then.
    fn async_write(&self, ctx: &Context, modifies: Vec<Modify>, cb: Callback<()>) -> Result<()>;

    fn async_snapshot(&self, ctx: &Context, cb: Callback<Self::Snap>) -> Result<()>;
}

#[derive(Default)]
pub(crate) struct IterOptions {
    pub(crate) lower_bound: Key,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanMode {
    Forward,
    Backward,
}

pub(crate) trait Snapshot: Send + 'static {
    type Iter: Iterator<Item = Result<(Key, Value)>>;

    fn get(&self, key: &[u8]) -> Result<Option<Value>>;

    fn iter(&self, opts: IterOptions, mode: ScanMode) -> Result<Cursor<Self::Iter>>;
}

/// A scan that stops for good at its first error.
pub(crate) struct Cursor<I> {
    iter: I,
    has_failed: bool,
}

impl<I> Cursor<I> {
    pub(crate) fn new(iter: I) -> Cursor<I> {
        Cursor { iter, has_failed: false }
    }

    pub(crate) fn into_inner(self) -> I {
        self.iter
    }
}

impl<I: Iterator<Item = Result<(Key, Value)>>> Iterator for Cursor<I> {
    type Item = Result<(Key, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let item = self.iter.next()?;
        self.has_failed = item.is_err();
        Some(item)
    }
}
