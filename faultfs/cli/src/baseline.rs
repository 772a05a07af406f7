//! A baseline: what was found once, kept in a file beside the code. A later run must not be worse, and must
//! not have measured less.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use faultfs::report::Failure;
use faultfs::verdict::Verdict;
use serde::{Deserialize, Serialize};

use crate::exit::{self, Trouble};
use crate::output::Run;

/// Raised with every change of what the file holds.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Baseline {
    format: u32,
    /// By target, configuration and profile.
    runs: BTreeMap<String, Known>,
}

/// What was found in one configuration under one profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    verdict: Verdict,
    trace: String,
    /// Distinct states that were checked.
    distinct: u64,
    /// The ways to fail, without what differs from run to run.
    failures: BTreeSet<String>,
}

/// How a run compares with the baseline.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Worse(String),
    Unmeasured(String),
    Better(String),
    New(String),
}

/// Whether the variable `CI` says that nobody is looking.
pub(crate) fn is_ci(value: Option<&str>) -> bool {
    !matches!(value, None | Some("" | "0" | "false"))
}

/// Refuses, before anything runs, what would let CI agree with itself.
pub(crate) fn refuse_in_ci() -> Result<(), Trouble> {
    match is_ci(std::env::var("CI").ok().as_deref()) {
        true => Err(Trouble::usage(
            "--update-baseline: the variable CI is set, and a baseline that CI rewrites holds nothing; \
             update it where you look at the difference, and commit it",
        )),
        false => Ok(()),
    }
}

impl Baseline {
    pub(crate) fn load(path: &Path) -> Result<Baseline, Trouble> {
        let wrong = |why: String| Trouble::usage(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| {
            wrong(format!("cannot read the baseline: {error}; --update-baseline makes one"))
        })?;
        let baseline: Baseline = serde_json::from_str(&text).map_err(|error| {
            wrong(format!("not a baseline: {error}; bring back the committed one"))
        })?;
        match baseline.format {
            FORMAT => Ok(baseline),
            other => Err(wrong(format!(
                "a baseline of format {other}, this program reads {FORMAT}: update it with this program"
            ))),
        }
    }

    pub(crate) fn of(runs: &[Run]) -> Baseline {
        let known = |run: &Run| Known {
            verdict: run.report.verdict,
            trace: run.report.trace.clone(),
            distinct: run.report.distinct,
            failures: run.report.failures.iter().map(kind).collect(),
        };
        let runs = runs.iter().map(|run| (name(run), known(run)));
        Baseline { format: FORMAT, runs: runs.collect() }
    }

    pub(crate) fn save(&self, path: &Path) -> Result<(), Trouble> {
        let text = serde_json::to_string_pretty(self).expect("plain data serialises") + "\n";
        std::fs::write(path, text)
            .map_err(|error| Trouble::usage(format!("{}: cannot write: {error}", path.display())))
    }

    /// What has changed from this baseline to `now`.
    pub(crate) fn compare(&self, now: &Baseline) -> Comparison {
        let mut changes = BTreeMap::new();
        for name in self.runs.keys().chain(now.runs.keys()) {
            let of_run = match (self.runs.get(name), now.runs.get(name)) {
                (Some(before), Some(now)) => compare(before, now),
                (Some(before), None) => {
                    vec![Change::Unmeasured(format!("was {}, and was not run", before.verdict))]
                }
                (None, Some(now)) => vec![Change::New(now.verdict.to_string())],
                (None, None) => vec![],
            };
            changes.insert(name.clone(), of_run);
        }
        Comparison(changes)
    }
}

fn name(run: &Run) -> String {
    format!("{}/{} under {}", run.target, run.config, run.report.profile)
}

/// A way to fail without offsets, op numbers and lines: they move with every change of the engine.
fn kind(failure: &Failure) -> String {
    let losses = failure.losses.iter();
    let losses: BTreeSet<String> =
        losses.map(|loss| format!("{} of {}", loss.call, loss.path)).collect();
    let class =
        if failure.class.is_empty() { String::new() } else { format!(" ({})", failure.class) };
    let losses = losses.into_iter().collect::<Vec<_>>().join(", ");
    format!("{}{class}: {losses}", failure.verdict)
}

fn compare(before: &Known, now: &Known) -> Vec<Change> {
    let mut changes = Vec::new();
    let both = format!("was {}, is {}", before.verdict, now.verdict);
    match (before.verdict, now.verdict) {
        (a, b) if a == b => {}
        (_, Verdict::NotMeasured) => changes.push(Change::Unmeasured(both)),
        (a, b) if b < a => changes.push(Change::Worse(both)),
        _ => changes.push(Change::Better(both)),
    }
    let new = now.failures.difference(&before.failures);
    changes.extend(new.map(|kind| Change::Worse(format!("fails in a new way: {kind}"))));
    let gone = before.failures.difference(&now.failures);
    changes.extend(gone.map(|kind| Change::Better(format!("fails no more: {kind}"))));
    // Of another recording there are other states.
    if before.trace == now.trace && now.distinct < before.distinct {
        let counts = format!("{} states were checked, now {}", before.distinct, now.distinct);
        changes.push(Change::Unmeasured(counts));
    }
    changes
}

/// The changes of every run.
pub(crate) struct Comparison(BTreeMap<String, Vec<Change>>);

impl Comparison {
    /// How the tool is to end where the baseline decides; none where nothing is worse.
    pub(crate) fn code(&self) -> Option<u8> {
        let all = || self.0.values().flatten();
        match () {
            () if all().any(|change| matches!(change, Change::Worse(_))) => Some(exit::FAILURE),
            () if all().any(|change| matches!(change, Change::Unmeasured(_))) => {
                Some(exit::NOT_MEASURED)
            }
            () => None,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same = self.0.values().filter(|changes| changes.is_empty()).count();
        writeln!(f, "baseline: {same} of {} runs as before", self.0.len())?;
        for (name, changes) in &self.0 {
            for change in changes {
                let (word, what) = match change {
                    Change::Worse(what) => ("WORSE", what),
                    Change::Unmeasured(what) => ("UNMEASURED", what),
                    Change::Better(what) => ("better", what),
                    Change::New(what) => ("new", what),
                };
                writeln!(f, "  {word:<10} {name}: {what}")?;
            }
        }
        match self.code() {
            Some(_) => Ok(()),
            None if same == self.0.len() => Ok(()),
            None => writeln!(f, "  --update-baseline keeps what is better or new"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tests::run;

    fn baseline(verdicts: &[(&'static str, Verdict)]) -> Baseline {
        let runs: Vec<Run> = verdicts.iter().map(|(name, v)| run(name, *v, *v)).collect();
        Baseline::of(&runs)
    }

    #[test]
    fn what_is_worse_and_what_is_no_longer_measured_ends_the_tool_in_its_own_way() {
        use Verdict::{Corrupt, Held, Lost, NotMeasured};
        for (before, now, code) in [
            (Held, Held, None),
            (Lost, Lost, None),
            (Lost, Held, None),
            (NotMeasured, Held, None),
            (NotMeasured, Lost, Some(exit::FAILURE)),
            (Held, Lost, Some(exit::FAILURE)),
            (Lost, Corrupt, Some(exit::FAILURE)),
            (Held, NotMeasured, Some(exit::NOT_MEASURED)),
            // Not a loss any more, and nothing better either.
            (Lost, NotMeasured, Some(exit::NOT_MEASURED)),
        ] {
            let comparison = baseline(&[("a", before)]).compare(&baseline(&[("a", now)]));
            assert_eq!(comparison.code(), code, "{before} {now}: {comparison}");
        }
    }

    #[test]
    fn a_run_that_is_missing_is_unmeasured_and_one_more_is_new() {
        let (one, two) = ([("a", Verdict::Held)], [("a", Verdict::Held), ("b", Verdict::Held)]);
        let missing = baseline(&two).compare(&baseline(&one));
        assert_eq!(missing.code(), Some(exit::NOT_MEASURED));
        let text = missing.to_string();
        assert!(
            text.contains("UNMEASURED sqlite/b under posix: was held, and was not run"),
            "{text}"
        );
        assert_eq!(baseline(&one).compare(&baseline(&two)).code(), None);
    }

    #[test]
    fn fewer_states_of_the_same_run_are_unmeasured() {
        let before = baseline(&[("a", Verdict::Held)]);
        let mut now = baseline(&[("a", Verdict::Held)]);
        let known = now.runs.values_mut().next().unwrap();
        known.distinct -= 1;
        assert_eq!(before.compare(&now).code(), Some(exit::NOT_MEASURED));
        now.runs.values_mut().next().unwrap().trace = "another".into();
        assert_eq!(before.compare(&now).code(), None);
    }

    #[test]
    fn a_new_way_to_fail_is_worse_under_the_same_verdict() {
        let before = baseline(&[("a", Verdict::Lost)]);
        let mut now = baseline(&[("a", Verdict::Lost)]);
        now.runs.values_mut().next().unwrap().failures.insert("lost: write of log".into());
        assert_eq!(before.compare(&now).code(), Some(exit::FAILURE));
        assert_eq!(now.compare(&before).code(), None);
    }

    #[test]
    fn ci_is_what_says_so() {
        assert!(is_ci(Some("true")) && is_ci(Some("1")) && is_ci(Some("woodpecker")));
        assert!(!is_ci(None) && !is_ci(Some("")) && !is_ci(Some("false")) && !is_ci(Some("0")));
    }
}
