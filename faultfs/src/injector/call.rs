//! Calls as an injector is asked about them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::plan::OpKind;

/// A call that an engine is about to make, as a door sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What kind of call.
    pub kind: OpKind,
    /// The path, relative to the root of the filesystem; `.` for the root itself.
    pub path: &'a Path,
    /// The other path of a rename or link.
    pub other: Option<&'a Path>,
    /// Where the data goes or comes from, in bytes from the start of the file, where that is known; the
    /// present size for a change of size.
    pub offset: Option<u64>,
    /// How many bytes are to be read or written, or the size that is set; 0 for calls without one.
    pub len: u64,
    /// What the door can do beyond carrying the call out.
    pub reach: Reach,
    /// True for an open that asks for write access.
    pub writes: bool,
    /// Where the call is written, file and line, where the door knows.
    pub site: Option<(&'a str, u32)>,
}

/// What a door can do beyond carrying a call out, or a part of it. A fault that needs more than that is
/// not injected into the call, which the rule then does not count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Reach {
    /// Less: it can let the call fail, before its effect or after it.
    Answer,
    /// Nothing more.
    Call,
    /// It can read and write the same file anywhere.
    File,
    /// It also knows the file's earlier content, the other files and their names.
    Filesystem,
}

impl<'a> Call<'a> {
    /// A call about one path that moves no data.
    pub fn new(kind: OpKind, path: &'a Path) -> Self {
        let (offset, len, reach) = (None, 0, Reach::Call);
        Call { kind, path, other: None, offset, len, reach, writes: false, site: None }
    }
}

/// A call that an observing [`Injector`](crate::Injector) has seen: a [`Call`] that owns its paths.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seen {
    kind: OpKind,
    path: PathBuf,
    other: Option<PathBuf>,
    offset: Option<u64>,
    len: u64,
    reach: Reach,
    writes: bool,
}

impl Seen {
    /// The call.
    pub fn call(&self) -> Call<'_> {
        let other = self.other.as_deref();
        let Seen { kind, offset, len, reach, writes, .. } = *self;
        Call { kind, path: &self.path, other, offset, len, reach, writes, site: None }
    }
}

impl From<&Call<'_>> for Seen {
    fn from(call: &Call<'_>) -> Seen {
        let Call { kind, path, other, offset, len, reach, writes, site: _ } = *call;
        let (path, other) = (path.into(), other.map(Path::to_path_buf));
        Seen { kind, path, other, offset, len, reach, writes }
    }
}

/// `write db/wal 4096..8192`, as reports name a call.
impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.path.display())?;
        if let Some(other) = self.other {
            write!(f, " {}", other.display())?;
        }
        use OpKind::{Load, Read, SetLen, Store, SyncMap, Write};
        match (self.kind, self.offset) {
            (Read | Write | Load | Store | SyncMap, Some(offset)) => {
                write!(f, " {offset}..{}", offset.saturating_add(self.len))
            }
            (Read | Write, None) => write!(f, " {} bytes", self.len),
            (SetLen, _) => write!(f, " {}", self.len),
            _ => Ok(()),
        }
    }
}
