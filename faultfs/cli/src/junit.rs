//! A torture as JUnit XML, for CI: one case for each configuration under each profile.

use std::path::Path;
use std::time::Duration;

use faultfs::verdict::Verdict;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::exit::Trouble;
use crate::output::Run;

/// Writes `runs` to `file`.
pub(crate) fn write(runs: &[Run], file: &Path) -> Result<(), Trouble> {
    std::fs::write(file, xml(runs))
        .map_err(|error| Trouble::usage(format!("{}: cannot write: {error}", file.display())))
}

/// What was not expected is a failure, and what was not measured an error: neither is a pass.
fn xml(runs: &[Run]) -> String {
    let mut report = Report::new("faultfs");
    for of_config in runs.chunk_by(|a, b| (a.target, a.config) == (b.target, b.config)) {
        let name = format!("{}/{}", of_config[0].target, of_config[0].config);
        let mut suite = TestSuite::new(name.as_str());
        for run in of_config {
            let mut case = TestCase::new(run.report.profile.name, status(run));
            case.set_classname(name.as_str());
            case.set_time(Duration::from_secs_f64(run.seconds));
            if run.as_expected() {
                case.set_system_out(run.report.to_string());
            }
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report.to_string().expect("a report is written to memory")
}

fn status(run: &Run) -> TestCaseStatus {
    let verdict = run.report.verdict;
    if run.as_expected() && verdict != Verdict::NotMeasured {
        return TestCaseStatus::success();
    }
    let (kind, message) = match verdict {
        Verdict::NotMeasured => (NonSuccessKind::Error, run.report.not_measured.join("; ")),
        _ => (NonSuccessKind::Failure, run.difference()),
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(verdict.word()).set_message(message).set_description(run.report.to_string());
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tests::run;

    #[test]
    fn nothing_but_what_was_measured_and_expected_passes() {
        let runs = [
            run("wal", Verdict::Held, Verdict::Held),
            run("off", Verdict::Lost, Verdict::Lost),
            run("bad", Verdict::Held, Verdict::Corrupt),
            run("good", Verdict::Lost, Verdict::Held),
            run("unseen", Verdict::Held, Verdict::NotMeasured),
        ];
        let xml = xml(&runs);
        let count = |text: &str| xml.matches(text).count();
        assert!(xml.contains("tests=\"5\" skipped=\"0\" failures=\"2\" errors=\"1\""), "{xml}");
        assert_eq!((count("<testcase "), count("<failure "), count("<error ")), (5, 2, 1), "{xml}");
        assert!(xml.contains("type=\"corrupt\""), "{xml}");
        assert!(xml.contains("held, where lost is expected"), "{xml}");
        // Text of engines is escaped.
        assert!(xml.contains("&lt;row&gt; &amp; more") && !xml.contains("<row>"), "{xml}");
    }
}
