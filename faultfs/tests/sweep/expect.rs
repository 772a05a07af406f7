//! What the sweep of a planted engine must come to.

use faultfs::report::{Failure, Report};
use faultfs::verdict::Verdict;

/// A failure of this verdict by a fault with this text. In a worker there is no report.
#[track_caller]
pub(crate) fn finds(report: Option<Report>, verdict: Verdict, fault: &str) {
    let Some(report) = report else { return };
    let shows = |failure: &Failure| {
        failure.verdict == verdict && failure.fault.as_ref().is_some_and(|f| f.contains(fault))
    };
    assert!(report.failures.iter().any(shows), "expected {verdict} by {fault:?} in\n{report}");
    assert_eq!(report.not_measured, [""; 0], "{report}");
    // Both doors know the line of the call that a failing sync was met by.
    let met = |failure: &&Failure| failure.fault.as_ref().is_some_and(|f| f.starts_with("sync "));
    for failure in report.failures.iter().filter(met) {
        let site = failure.fault_site.as_ref().and_then(|site| site.place());
        assert!(site.is_some_and(|(file, _)| file.contains("tests/sweep")), "{report}");
    }
}

#[track_caller]
pub(crate) fn holds(report: Option<Report>) {
    let Some(report) = report else { return };
    assert_eq!(report.verdict, Verdict::Held, "{report}");
    assert_eq!(report.failures, [], "{report}");
    println!("{report}");
}
