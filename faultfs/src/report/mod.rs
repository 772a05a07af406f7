//! What a run found: the verdict, the stated bound, and for every failure what was lost, in words.

mod crash;
#[cfg(feature = "html")]
pub mod page;
mod shrunk;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use crash::{Acked, CrashPoint, Fate, Loss, Part, Place};
pub use shrunk::Shrunk;

use crate::explore::{Partition, trace_id};
use crate::model::Profile;
use crate::trace::{Marks, Site, Trace};
use crate::verdict::Verdict;

/// Failures of this class do not decide the verdict: the run made the database's own folder and nobody
/// made its entry in the folder above durable. The engine cannot, its caller can.
pub const CREATION_NOT_DURABLE: &str = "creation not durable";

/// The outcome of exploring one recorded run under one profile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What ran.
    pub subject: String,
    /// The recorded run, as tokens and saved files name it: see [`trace_id`].
    pub trace: String,
    /// The model of the filesystem.
    pub profile: Profile,
    /// The worst verdict of all states.
    pub verdict: Verdict,
    /// Recorded ops.
    pub ops: u64,
    /// Crash points: every start and end of an op, and every mark.
    pub crash_points: u64,
    /// States before equal ones were joined.
    pub states: u64,
    /// States that were checked.
    pub distinct: u64,
    /// What was covered, in words.
    pub bound: String,
    /// The same part by part, in the order in which the parts were checked.
    pub coverage: Vec<Coverage>,
    /// Why this report cannot be compared with another, nor merged: a time budget ended the checks.
    pub incomparable: Option<String>,
    /// One failure for each kind that was found, worst first.
    pub failures: Vec<Failure>,
    /// Why the run, or a part of it, was not measured.
    pub not_measured: Vec<String>,
    /// The share of the states that was judged, where the run was split; then all the rest is of it alone.
    pub share: Option<Partition>,
    /// Of a sweep: what was tried besides crashes of the run without faults, which the other counts are of.
    pub swept: Option<Swept>,
}

/// What a sweep has tried.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Swept {
    /// Calls of the workload, reads and opens too.
    pub calls: u64,
    /// Faults at their places by family: once and for ever are two.
    pub cases: BTreeMap<String, u64>,
    /// The number of the first of them, in the order in which they are tried and counted from 1, that broke
    /// a promise; none where every promise was kept.
    pub first_failure: Option<u64>,
    /// Runs of the workload with a fault, and recoveries from disks that rot.
    pub runs: u64,
    /// Faults that were injected in all of them.
    pub injected: u64,
    /// Runs whose workload returned the error.
    pub refused: u64,
    /// Crash points after faults.
    pub crash_points: u64,
    /// Crash points that the bound left out.
    pub left_out: u64,
    /// Distinct disks after each fault, all runs together.
    pub states: u64,
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.cases.values().sum();
        let cases = self.cases.iter().map(|(family, count)| format!("{family} {count}"));
        let cases = cases.collect::<Vec<_>>().join(", ");
        writeln!(f, "  swept: {} calls, {total} single faults ({cases})", self.calls)?;
        writeln!(
            f,
            "  {} runs, {} faults injected, {} runs returned an error; {} crash points, {} states",
            self.runs, self.injected, self.refused, self.crash_points, self.states
        )
    }
}

/// What was covered of a part of the states.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Coverage {
    /// Which states, in words: `nothing lost`, `1 omission`, `2 omissions or torn pages` …
    pub states: String,
    /// States that were checked, of those that belong to no part before.
    pub checked: u64,
    /// States that were listed.
    pub listed: u64,
    /// Crash points at which the part is listed whole; 0 for samples.
    pub points: u64,
    /// Crash points at which disks differ from those of the one before.
    pub of_points: u64,
    /// Crash points that are not covered, because there was no room for them in the budget or because the search
    /// ended; 0 for samples.
    pub not_covered: u64,
    /// Steps that the search for them took: see [`Bound::effort`](crate::explore::Bound::effort).
    pub steps: u64,
    /// True where the search ended before the budget did.
    pub search_ended: bool,
}

impl Coverage {
    /// True where every state of the part was checked.
    pub fn is_complete(&self) -> bool {
        self.points == self.of_points && self.checked == self.listed
    }
}

/// One way to fail, shown by a state of which nothing could be given back: see [`Shrunk`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// What became of the recovery.
    pub verdict: Verdict,
    /// [`CREATION_NOT_DURABLE`], or empty.
    pub class: &'static str,
    /// What the check said.
    pub message: String,
    /// Names the state.
    pub token: String,
    /// The line that runs it again.
    pub replay: String,
    /// What went wrong besides the power, as the text of a plan or in the words of a sweep.
    pub fault: Option<String>,
    /// Where the call was asked for that the fault struck first, where the door knows.
    pub fault_site: Option<Site>,
    /// What had happened before, where the crash came during a recovery: for each recovery, the first one
    /// first, the token of the state that it is from, and that crash in words.
    pub before: Vec<String>,
    /// Where the power went.
    pub crash: CrashPoint,
    /// What had been asked for and promised by then.
    pub marks: Marks,
    /// What the crash lost or tore, each with the rule that allows it. What went only because it stands
    /// on one of these is not listed.
    pub losses: Vec<Loss>,
    /// Whether less does, and what it took to find out; none where that was not tried.
    pub shrunk: Option<Shrunk>,
    /// States that failed in this way.
    pub count: u64,
}

impl Report {
    /// A report of `trace` in which nothing has been looked at yet.
    pub(crate) fn of(trace: &Trace, profile: Profile, bound: String) -> Report {
        Report {
            subject: trace.subject.clone(),
            trace: trace_id(trace),
            profile,
            verdict: Verdict::NotMeasured,
            ops: trace.ops.len() as u64,
            crash_points: 0,
            states: 0,
            distinct: 0,
            bound,
            coverage: Vec::new(),
            incomparable: None,
            failures: Vec::new(),
            not_measured: Vec::new(),
            share: None,
            swept: None,
        }
    }

    /// True where everything that was acknowledged survived every state.
    pub fn held(&self) -> bool {
        self.verdict == Verdict::Held
    }

    /// True for a share of a run in which every state held: whether the run does, all shares tell.
    pub fn share_held(&self) -> bool {
        self.share.is_some() && self.verdict == Verdict::NotMeasured && self.not_measured.len() == 1
    }
}

/// The page of the run that a report is of, where it was made.
pub fn page_of(report: &Report, folder: &Path) -> Option<PathBuf> {
    let path = folder.join(&report.trace).with_extension("html");
    (!report.failures.is_empty() && path.is_file()).then_some(path)
}

impl Failure {
    /// What the crash did, in a sentence: `Lost only the directory entry of CURRENT, created at
    /// manifest.rs:212, acknowledged at lib.rs:88.`
    pub fn sentence(&self) -> String {
        crash::sentence(&self.losses)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} under {}: {}", self.subject, self.profile, self.verdict)?;
        writeln!(
            f,
            "  {} ops, {} crash points, {} states, {} distinct",
            self.ops, self.crash_points, self.states, self.distinct
        )?;
        self.swept.iter().try_for_each(|swept| swept.fmt(f))?;
        writeln!(f, "  bound: {}", self.bound)?;
        if let Some(reason) = &self.incomparable {
            writeln!(f, "  not comparable: {reason}")?;
        }
        for reason in &self.not_measured {
            writeln!(f, "  not measured: {reason}")?;
        }
        self.failures.iter().try_for_each(|failure| write!(f, "{failure}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class =
            if self.class.is_empty() { String::new() } else { format!(" ({})", self.class) };
        let of = if self.fault.is_some() { "case" } else { "state" };
        let plural = if self.count == 1 { "" } else { "s" };
        let Failure { verdict, count, message, .. } = self;
        writeln!(f, "  {verdict}{class} in {count} {of}{plural}: {message}")?;
        self.fault.iter().try_for_each(|fault| writeln!(f, "    fault: {fault}"))?;
        self.fault_site.iter().try_for_each(|site| writeln!(f, "    met at: {site}"))?;
        for words in &self.before {
            writeln!(f, "    {words}")?;
        }
        writeln!(f, "    {}", self.sentence())?;
        let during = if self.before.is_empty() { "" } else { "during the recovery " };
        writeln!(f, "    {during}crash {}", self.crash)?;
        for loss in &self.losses {
            writeln!(f, "    {loss}")?;
            let called = crash::called_from(&loss.callers);
            called.iter().try_for_each(|called| writeln!(f, "      {called}"))?;
            writeln!(f, "      allowed: {}", loss.rule)?;
        }
        self.shrunk.iter().try_for_each(|shrunk| writeln!(f, "    {shrunk}"))?;
        writeln!(f, "    replay: {}", self.replay)
    }
}
