//! What the table says of the patterns that a fault shows, held to what is expected of each.

use faultfs::Profile;
use faultfs::report::{Failure, Report};
use faultfs_matrix::faults::strategies::{self, Strategy};
use faultfs_matrix::faults::{ALL, Bug, Pattern};
use faultfs_matrix::kit::Twin;

#[test]
fn every_planted_bug_dies_by_its_fault_under_every_profile() {
    for pattern in ALL {
        for report in strategies::planted(&pattern, &[Profile::POSIX, Profile::PROCESS_KILL]) {
            assert!(shows(&pattern, &report), "{}: {report}", pattern.id);
            assert_eq!(report.not_measured, [""; 0], "{}: {report}", pattern.id);
            let losses = strategies::smallest(&[report], pattern.verdict);
            assert!(losses <= 1, "{}: a fault and {losses} losses", pattern.id);
        }
    }
}

/// As expected, by a fault of the kind, and its call is known.
fn shows(pattern: &Pattern, report: &Report) -> bool {
    let place = |failure: &Failure| {
        let site = failure.fault_site.as_ref()?;
        site.place().map(|(file, _)| file.contains("matrix/src/faults/"))
    };
    report.failures.iter().any(|failure| {
        let fault = failure.fault.as_deref().unwrap_or_default();
        failure.verdict == pattern.verdict
            && fault.contains(pattern.fault)
            && (!fault.starts_with("sync ") || place(failure) == Some(true))
    })
}

#[test]
fn every_fixed_twin_holds_under_every_fault_that_it_is_to_withstand() {
    let mut engines: Vec<Bug> = Vec::new();
    for engine in ALL.map(|pattern| pattern.of(Twin::Fixed)) {
        if engines.contains(&engine) {
            continue;
        }
        for report in strategies::reports(engine, &engine.withstands(), &[Profile::POSIX]) {
            assert!(report.held() && report.failures.is_empty(), "{report}");
        }
        engines.push(engine);
    }
    assert_eq!(engines.len(), 5);
}

/// The bugs that some simpler way of failing calls misses are why there is another.
#[test]
fn ours_finds_every_bug_and_what_the_simpler_ones_miss_is_known() {
    let missed = |strategy: Strategy| -> Vec<&str> {
        ALL.iter().filter(|pattern| strategy.1(pattern).is_none()).map(|p| p.id).collect()
    };
    let [every_sync, random, one_call, ours] = strategies::ALL.map(missed);
    assert_eq!(ours, [""; 0]);
    let unlike_an_error = ["B15", "B39", "B43", "B44"];
    let by_no_sync = ["B46", "B50", "B51", "B52", "B53", "B55"];
    assert_eq!(every_sync, [&unlike_an_error[..], &by_no_sync].concat());
    assert_eq!(random, [&unlike_an_error[..], &["B46", "B51"]].concat());
    assert_eq!(one_call, [&unlike_an_error[..], &["B51", "B52"]].concat());
}
