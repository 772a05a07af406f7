//! A counter-example as data: where the power went, and what of the changes before did not arrive.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::trace::{Site, Stamp};

/// Where the power went.
///
/// [`Display`](fmt::Display) is what reports say: `in op 7 of 12: fdatasync log, log.rs:41`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct CrashPoint {
    /// The position in the sequence of the run: the last thing before the crash.
    pub stamp: Stamp,
    /// What stands there.
    pub place: Place,
    /// The op's index in the trace, from 0; none where it was no op.
    pub op: Option<u64>,
    /// Recorded ops in all.
    pub ops: u64,
    /// The op or the mark in words.
    pub what: String,
    /// The op's call site, where the door can know it.
    pub site: Option<Site>,
    /// The fail points of the engine that were passed there, in order.
    pub points: Vec<Arc<str>>,
}

/// What stands at a crash point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Nothing: the run had not begun.
    Start,
    /// An op that had started and not ended.
    In,
    /// An op that had just ended.
    After,
    /// A mark of the workload.
    Mark,
    /// Nowhere: the power did not go.
    None,
}

/// One change that did not arrive as it was asked for.
///
/// [`Display`](fmt::Display) is what reports say: `lost: create log (its directory entry) (op 0, log.rs:7)`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Loss {
    /// What became of it.
    pub fate: Fate,
    /// What it was a change of.
    pub part: Part,
    /// The op's index in the trace, from 0.
    pub op: u64,
    /// The op's word: `write`, `create`, `rename` …
    pub call: &'static str,
    /// The file or directory, relative to the root; for an entry the name that was set, for a rename the
    /// new one.
    pub path: String,
    /// For data: the first byte, and the first behind it.
    pub bytes: Option<(u64, u64)>,
    /// For a torn page: the sectors of it that arrived, 0 the first.
    pub sectors: Vec<u8>,
    /// The op's call site, where the door can know it.
    pub site: Option<Site>,
    /// Who had called the code there, the nearest first, where the door can know it.
    pub callers: Vec<Site>,
    /// The acknowledgement that promised it before the crash: see [`Trace::acknowledged`].
    ///
    /// [`Trace::acknowledged`]: crate::trace::Trace::acknowledged
    pub acked: Option<Acked>,
    /// The change in words, with op and call site.
    pub what: String,
    /// The rule of the profile that allows it.
    pub rule: String,
}

/// An acknowledgement of the workload.
///
/// [`Display`](fmt::Display) is what reports say: `acknowledged at lib.rs:88`, or without its site by its id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Acked {
    /// The id that was acknowledged.
    pub id: u64,
    /// When it was, in the sequence of the run.
    pub stamp: Stamp,
    /// Where the workload said so, where the door can know it.
    pub site: Option<Site>,
    /// What a program said on its standard output, where that was the acknowledgement.
    pub said: Option<String>,
}

impl fmt::Display for Acked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.said, &self.site) {
            (Some(said), _) => write!(f, "acknowledged at {}: stdout `{said}`", self.id),
            (_, Some(site)) => write!(f, "acknowledged at {site}"),
            (_, None) => write!(f, "acknowledged as {}", self.id),
        }
    }
}

/// What became of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It never happened.
    Lost,
    /// A part of its page arrived, in whole sectors.
    Torn,
    /// The size arrived and the data did not: bytes that the device held before.
    Stale,
}

/// What a change is a change of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Bytes of one page of a file.
    Data,
    /// A file's size.
    Size,
    /// Permission bits.
    Mode,
    /// Directory entries, all of them or none.
    Entry,
}

impl CrashPoint {
    /// The power did not go in a run of so many ops.
    pub(crate) fn none(ops: u64) -> CrashPoint {
        CrashPoint {
            stamp: 0,
            place: Place::None,
            op: None,
            ops,
            what: String::new(),
            site: None,
            points: Vec::new(),
        }
    }
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ops, what) = (self.ops, &self.what);
        match (self.place, self.op) {
            (Place::In, Some(op)) => write!(f, "in op {op} of {ops}: {what}")?,
            (Place::After, Some(op)) => write!(f, "after op {op} of {ops}: {what}")?,
            (Place::Mark, _) => write!(f, "after {what}")?,
            (Place::None, _) => f.write_str("did not come: the run itself")?,
            _ => f.write_str("before the first op")?,
        }
        self.site.iter().try_for_each(|site| write!(f, ", {site}"))?;
        self.points.last().map_or(Ok(()), |point| write!(f, ", at fail point `{point}`"))
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fate {
            Fate::Lost => write!(f, "lost: {}", self.what),
            Fate::Stale => write!(f, "stale bytes for: {}", self.what),
            Fate::Torn => {
                let kept = self.sectors.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
                write!(f, "torn: {}; only sectors {kept} of its page arrived", self.what)
            }
        }
    }
}

impl Loss {
    /// What was lost as a phrase: `the directory entry of CURRENT, created at manifest.rs:212, acknowledged
    /// at lib.rs:88`.
    pub fn phrase(&self) -> String {
        let path = &self.path;
        let what = match (self.part, self.call) {
            (Part::Data, _) => {
                let (from, to) = self.bytes.unwrap_or_default();
                format!("bytes {from}..{to} of {path}")
            }
            (Part::Size, _) => format!("the new size of {path}"),
            (Part::Mode, _) => format!("the mode of {path}"),
            (Part::Entry, "rename" | "exchange") => format!("the rename to {path}"),
            (Part::Entry, "unlink") => format!("the removal of {path}"),
            (Part::Entry, _) => format!("the directory entry of {path}"),
        };
        let done = match self.call {
            "create" | "mkdir" | "symlink" => "created",
            "write" | "mapped store" => "written",
            _ => "asked for",
        };
        let made = match &self.site {
            Some(site) => format!("{what}, {done} at {site}"),
            None => format!("{what}, {done} by op {}", self.op),
        };
        match &self.acked {
            Some(acked) => format!("{made}, {acked}"),
            None => format!("{made}, not acknowledged by then"),
        }
    }
}

/// Who had called the code at a site: `called from wal.rs:88, from db.rs:40`; none where nobody is known.
pub(super) fn called_from(callers: &[Site]) -> Option<String> {
    let callers: Vec<String> = callers.iter().map(Site::to_string).collect();
    (!callers.is_empty()).then(|| format!("called from {}", callers.join(", from ")))
}

/// The losses of a failure as one sentence.
pub(super) fn sentence(losses: &[Loss]) -> String {
    let begin = |fate| match fate {
        Fate::Lost => "Lost only",
        Fate::Torn => "Torn only",
        Fate::Stale => "Stale bytes only in place of",
    };
    match losses {
        [] => "Nothing was lost.".into(),
        [one] => format!("{} {}.", begin(one.fate), one.phrase()),
        [one, other] => format!("Lost or torn only {}; and {}.", one.phrase(), other.phrase()),
        [one, other, rest @ ..] => {
            let (one, other) = (one.phrase(), other.phrase());
            format!("Lost or torn: {one}; {other}; and {} more changes.", rest.len())
        }
    }
}
