//! The result of a torture, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use faultfs::report::{Coverage, CrashPoint, Failure, Loss, Report, Shrunk, page_of};
use faultfs::summary;
use faultfs::trace::Marks;
use faultfs::verdict::Verdict;
use serde::Serialize;

/// One configuration under one profile.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) target: &'static str,
    pub(crate) config: &'static str,
    pub(crate) expected: &'static [Verdict],
    pub(crate) report: Report,
    pub(crate) seconds: f64,
}

impl Run {
    pub(crate) fn as_expected(&self) -> bool {
        // What is expected of the whole may be in other shares.
        self.report.share_held() || self.expected.contains(&self.report.verdict)
    }

    /// What is not as expected, in a line.
    pub(crate) fn difference(&self) -> String {
        let expected = self.expected_words();
        match self.report.failures.first() {
            Some(failure) => format!("{}; {}", failure.message, failure.sentence()),
            None => format!("{}, where {expected} is expected", self.report.verdict),
        }
    }

    fn expected_words(&self) -> String {
        self.expected.iter().map(|v| v.word()).collect::<Vec<_>>().join(" or ")
    }
}

/// The table of verdicts, then what was not expected in full, then one line for each expected loss.
pub(crate) fn text(runs: &[Run], traces: &Path) -> String {
    let mut out = String::new();
    let mut rows: BTreeMap<usize, Vec<&Run>> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for run in runs {
        let row = order.iter().position(|c| *c == run.config).unwrap_or_else(|| {
            order.push(run.config);
            order.len() - 1
        });
        rows.entry(row).or_default().push(run);
    }
    let _ = writeln!(
        out,
        "{:<14} {:<14} {:<12} {:<18} {:>5} {:>6} {:>8} {:>8} {:>7}",
        "config",
        "profile",
        "verdict",
        "expected",
        "ops",
        "points",
        "states",
        "distinct",
        "seconds"
    );
    for run in rows.values().flatten() {
        let report = &run.report;
        let _ = writeln!(
            out,
            "{:<14} {:<14} {:<12} {:<18} {:>5} {:>6} {:>8} {:>8} {:>7.1}",
            run.config,
            report.profile.name,
            report.verdict,
            run.expected_words(),
            report.ops,
            report.crash_points,
            report.states,
            report.distinct,
            run.seconds
        );
    }
    let several = rows.values().filter(|of_config| of_config.len() > 1);
    for (index, of_config) in several.enumerate() {
        let blank = if index == 0 { "\n" } else { "" };
        let verdicts = summary::one_line(of_config.iter().map(|run| &run.report));
        let _ = writeln!(out, "{blank}{}: {verdicts}", of_config[0].config);
    }
    let surprises: Vec<_> = runs.iter().filter(|run| !run.as_expected()).collect();
    for run in &surprises {
        let _ = write!(out, "\nNOT EXPECTED ({}):\n{}", run.expected_words(), run.report);
        if let Some(page) = page_of(&run.report, traces) {
            let _ = writeln!(out, "  page: {}", page.display());
        }
    }
    expected_losses(runs, &mut out);
    if let Some(run) = runs.first() {
        let _ = writeln!(out, "\nbound: {}", run.report.bound);
    }
    out
}

/// For every expected loss the shortest way to see it.
fn expected_losses(runs: &[Run], out: &mut String) {
    let expected = runs.iter().filter(|run| run.as_expected());
    let shown = expected.filter_map(|run| Some((run, run.report.failures.first()?)));
    for (index, (run, failure)) in shown.enumerate() {
        if index == 0 {
            let _ = writeln!(out, "\nExpected losses, one of each:");
        }
        let lost = failure.losses.first().map_or(String::new(), Loss::to_string);
        let _ = writeln!(
            out,
            "  {} under {}: {}\n    {lost}\n    {}",
            run.config, run.report.profile, failure.message, failure.replay
        );
    }
}

#[derive(Serialize)]
struct Json<'a> {
    runs: Vec<JsonRun<'a>>,
}

#[derive(Serialize)]
struct JsonRun<'a> {
    target: &'a str,
    config: &'a str,
    profile: &'a str,
    verdict: &'a str,
    expected: String,
    ops: u64,
    crash_points: u64,
    states: u64,
    distinct: u64,
    bound: &'a str,
    coverage: &'a [Coverage],
    incomparable: Option<&'a str>,
    failures: Vec<JsonFailure<'a>>,
    not_measured: &'a [String],
    seconds: f64,
    trace: &'a str,
}

#[derive(Serialize)]
struct JsonFailure<'a> {
    verdict: &'a str,
    class: &'a str,
    message: &'a str,
    token: &'a str,
    replay: &'a str,
    sentence: String,
    before: &'a [String],
    crash: String,
    omitted: Vec<String>,
    rules: Vec<&'a str>,
    count: u64,
    at: &'a CrashPoint,
    marks: &'a Marks,
    losses: &'a [Loss],
    shrunk: Option<&'a Shrunk>,
    fault: Option<&'a str>,
    fault_site: Option<String>,
}

impl<'a> From<&'a Failure> for JsonFailure<'a> {
    fn from(failure: &'a Failure) -> Self {
        JsonFailure {
            verdict: failure.verdict.word(),
            class: failure.class,
            message: &failure.message,
            token: &failure.token,
            replay: &failure.replay,
            sentence: failure.sentence(),
            before: &failure.before,
            crash: failure.crash.to_string(),
            omitted: failure.losses.iter().map(Loss::to_string).collect(),
            rules: failure.losses.iter().map(|loss| &*loss.rule).collect(),
            count: failure.count,
            at: &failure.crash,
            marks: &failure.marks,
            losses: &failure.losses,
            shrunk: failure.shrunk.as_ref(),
            fault: failure.fault.as_deref(),
            fault_site: failure.fault_site.as_ref().map(ToString::to_string),
        }
    }
}

/// `{"runs": […]}`; the same for the same traces but for `seconds`.
pub(crate) fn json(runs: &[Run]) -> String {
    let runs = runs.iter().map(|run| JsonRun {
        target: run.target,
        config: run.config,
        profile: run.report.profile.name,
        verdict: run.report.verdict.word(),
        expected: run.expected_words(),
        ops: run.report.ops,
        crash_points: run.report.crash_points,
        states: run.report.states,
        distinct: run.report.distinct,
        bound: &run.report.bound,
        coverage: &run.report.coverage,
        incomparable: run.report.incomparable.as_deref(),
        failures: run.report.failures.iter().map(JsonFailure::from).collect(),
        not_measured: &run.report.not_measured,
        seconds: run.seconds,
        trace: &run.report.trace,
    });
    serde_json::to_string_pretty(&Json { runs: runs.collect() }).expect("plain data serialises")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use faultfs::Profile;

    #[test]
    fn a_configuration_is_summed_up_over_its_profiles() {
        let mut runs = [
            run("off", Verdict::Lost, Verdict::Lost),
            run("off", Verdict::Held, Verdict::Held),
            run("wal", Verdict::Held, Verdict::Held),
        ];
        runs[1].report.profile = Profile::EXT4;
        let text = text(&runs, Path::new("nowhere"));
        assert!(text.contains("\noff: held on ext4, lost on posix\n"), "{text}");
        assert!(!text.contains("wal: "), "one profile needs no sum: {text}");
    }

    /// A run of a configuration that ended with `verdict`.
    pub(crate) fn run(config: &'static str, expected: Verdict, verdict: Verdict) -> Run {
        let exploration = faultfs::explore(|_| Ok(())).named("sqlite").in_process();
        let traces = std::env::temp_dir();
        let reports = exploration.traces(traces).profiles([Profile::POSIX]).reports(|_, _| Ok(()));
        let mut report = reports.expect("nothing to fail at").remove(0);
        report.verdict = verdict;
        report.distinct = 10;
        if verdict == Verdict::NotMeasured {
            report.not_measured.push("<row> & more".into());
        }
        let expected = vec![expected].leak();
        Run { target: "sqlite", config, expected, report, seconds: 0.5 }
    }
}
