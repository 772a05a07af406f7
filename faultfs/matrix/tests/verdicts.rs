//! What the table says, held to what is expected of each pattern under each profile.

use faultfs::{Profile, explore};
use faultfs_matrix::kit::Twin;
use faultfs_matrix::{Pattern, patterns, strategies};

#[test]
fn every_planted_bug_dies_under_the_profiles_that_let_it_and_is_shown_by_two_losses_at_most() {
    for pattern in patterns::ALL {
        for report in strategies::reports(&pattern, Twin::Planted, &Profile::ALL) {
            let dies = (pattern.dies)(&report.profile);
            assert_eq!(report.held(), !dies, "{}: {report}", pattern.name);
            let losses = report.failures.iter().map(|failure| failure.losses.len()).min();
            assert!(losses.is_none_or(|losses| losses <= 2), "{}: {report}", pattern.name);
        }
        assert!((pattern.dies)(&Profile::POSIX), "{}", pattern.name);
    }
}

#[test]
fn every_fixed_twin_holds_under_all_profiles_with_atomic_renames() {
    for pattern in patterns::ALL {
        for report in strategies::reports(&pattern, Twin::Fixed, &Profile::ALL) {
            assert!(report.held(), "{}: {report}", pattern.name);
        }
    }
}

/// The bugs that take two losses at once are why two are looked at.
#[test]
fn two_bugs_are_found_by_two_omissions_and_not_by_one() {
    let found = |pattern: &Pattern, omissions: u32| {
        let exploration = explore(|fs| (pattern.run)(fs, Twin::Planted)).named(pattern.id);
        let exploration = exploration.in_process().omissions(omissions).samples(0);
        let reports = exploration.reports(|fs, marks| (pattern.check)(fs, Twin::Planted, marks));
        let report = reports.expect("the workload runs").remove(0);
        report.failures.iter().map(|failure| failure.losses.len()).min()
    };
    for id in ["B32", "B34"] {
        let pattern = patterns::ALL.into_iter().find(|pattern| pattern.id == id).expect("listed");
        assert_eq!(found(&pattern, 1), None, "{id}");
        assert_eq!(found(&pattern, 2), Some(2), "{id}");
    }
}

/// Kept apart: a rename in several changes leaves both names, or none. The planted bugs are shown all the same, and
/// what a fixed twin loses it loses by a rename.
#[test]
fn without_atomic_renames_the_planted_die_and_the_fixed_by_renames_alone() {
    let mut by_rename = 0;
    for pattern in patterns::ALL {
        let report = |twin| strategies::reports(&pattern, twin, &[Profile::EXT2]).remove(0);
        assert!(!report(Twin::Planted).held(), "{}", pattern.name);
        let fixed = report(Twin::Fixed);
        let of_rename =
            |loss: &faultfs::report::Loss| loss.to_string().contains("only the new name");
        let failures = fixed.failures.iter();
        let explained = failures.filter(|f| f.losses.iter().any(of_rename)).count();
        assert!(fixed.held() || explained == fixed.failures.len(), "{}: {fixed}", pattern.name);
        by_rename += u32::from(explained > 0);
    }
    assert!(by_rename > 0, "the test has become the one above");
}

/// The bugs that some simpler way of exploring misses are why there is another.
#[test]
fn ours_finds_every_bug_and_what_the_simpler_ones_miss_is_known() {
    let missed = |strategy: strategies::Strategy| -> Vec<&str> {
        let alive = patterns::ALL.iter().filter(|pattern| strategy.1(pattern).is_none());
        alive.map(|pattern| pattern.id).collect()
    };
    let [unsynced, random, omission, ours] = strategies::ALL.map(missed);
    assert_eq!(ours, [""; 0]);
    assert_eq!(
        unsynced,
        [
            "B04", "B06", "B11", "B13", "B14", "B16", "B17", "B19", "B21", "B22", "B31", "B32",
            "B33", "B34", "B35"
        ]
    );
    let torn = ["B11", "B13", "B14", "B16", "B17", "B31", "B32", "B33"];
    assert_eq!(random, [&["B04"], &torn[..], &["B35"]].concat());
    assert_eq!(omission, [&torn[..], &["B34", "B35"]].concat());
}
