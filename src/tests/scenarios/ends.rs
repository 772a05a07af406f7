//! What must hold at the end of a scenario, and what it tells.

use faultpoint::{Action, Scenario, Task, fail_point};

use super::{io, number, panic_of};
use crate::run_child;

#[test]
fn an_unknown_name_is_an_error_with_a_suggestion() {
    let faults = Scenario::new();
    let message = "there is no fail point `scenarios_nubmer`; did you mean `scenarios_number`?";
    assert_eq!(panic_of(|| faults.arm("scenarios_nubmer", "return")), message);
    assert_eq!(panic_of(|| faults.on("scenarios_nubmer", |_| ())), message);
    assert_eq!(panic_of(|| faults.watch("scenarios_nubmer")), message);
    assert_eq!(panic_of(|| faults.happens_before("scenarios_number", "scenarios_nubmer")), message);
    assert_eq!(faults.try_arm("scenarios_nubmer", "off").unwrap_err().to_string(), message);
    let far = faults.try_arm("there_is_nothing_like_it", "off").unwrap_err().to_string();
    assert!(far.contains("`faultpoint::catalogue()` lists the "), "{far}");
    faults.disarm("scenarios_number");
    faults.finish();
}

#[test]
fn malformed_actions_are_an_error_that_names_the_point() {
    let faults = Scenario::new();
    let message = panic_of(|| faults.arm("scenarios_number", "25return"));
    assert!(message.starts_with("fail point `scenarios_number`: action `25return`, column 1:"));
    faults.finish();
}

#[test]
fn an_armed_point_that_was_never_reached_fails_the_scenario() {
    let faults = Scenario::new();
    let line = line!() + 1;
    faults.arm("scenarios_number", "return");
    let message = panic_of(|| faults.finish());
    let place = format!("fail point `scenarios_number` was armed at {}:{line}:12", file!());
    assert!(message.contains(&place), "{message}");
    assert!(message.contains("but never reached"), "{message}");

    let dropped = Scenario::new();
    dropped.watch("scenarios_number");
    assert!(panic_of(|| drop(dropped)).contains("but never reached"));

    let instance = Scenario::new();
    instance.instance("store-1").arm("scenarios_number", "return");
    assert!(panic_of(|| instance.finish()).contains("but never reached"));
}

#[test]
fn a_point_that_was_reached_but_never_fired_fails_the_scenario() {
    let faults = Scenario::new();
    faults.arm("scenarios_number", "2*off->1*return");
    number();
    let message = panic_of(|| faults.finish());
    assert!(message.contains("with `2*off->1*return` at"), "{message}");
    assert!(message.contains("and reached once, but never fired"), "{message}");
    assert!(!message.contains("seed"), "no chance was involved: {message}");
}

#[test]
fn what_need_not_happen_may_be_left_out() {
    let faults = Scenario::new();
    faults.arm("scenarios_number", "return").optional();
    faults.finish();
    let by_chance = Scenario::new();
    by_chance.arm("scenarios_number", "0%return");
    number();
    by_chance.finish();
    let disarmed = Scenario::new();
    disarmed.arm("scenarios_number", "return");
    disarmed.disarm("scenarios_number");
    disarmed.finish();
}

#[test]
fn a_panic_of_the_test_is_not_hidden_by_the_scenario() {
    let message = panic_of(|| {
        let faults = Scenario::new();
        faults.arm("scenarios_number", "return");
        panic!("what the test found");
    });
    assert_eq!(message, "what the test found");
}

#[test]
fn the_same_seed_fires_at_the_same_passes() {
    let schedule = |seed: u64, noise: bool| -> Vec<u32> {
        let faults = Scenario::seeded(seed);
        faults.arm("scenarios_number", "25%return");
        faults.arm("scenarios_job", "50%yield").optional();
        let pass = |_| {
            if noise {
                fail_point!("scenarios_job");
            }
            number()
        };
        let schedule = (0..64).map(pass).collect();
        faults.finish();
        schedule
    };
    assert_eq!(schedule(1, false), schedule(1, false));
    assert_eq!(schedule(1, false), schedule(1, true), "other points draw for themselves");
    assert_ne!(schedule(1, false), schedule(2, false));
    assert!((4..=28).contains(&schedule(1, false).iter().sum::<u32>()));
}

#[test]
fn a_failing_test_prints_the_seed_that_repeats_it() {
    for (seed, printed) in [("0x1f", "31"), ("7", "7")] {
        let output = run_child("scenarios::ends::in_child_seed", "FAULTPOINT_SEED", seed);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{stderr}");
        let line = format!("chances were drawn from seed {printed} (FAULTPOINT_SEED={printed})");
        assert!(stderr.contains(&line), "{stderr}");
    }
    let output = run_child("scenarios::ends::in_child_seed", "FAULTPOINT_SEED", "seven");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("FAULTPOINT_SEED `seven` is not a seed; write a number"), "{stderr}");
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn in_child_seed() {
    let faults = Scenario::new();
    faults.arm("scenarios_number", "50%return");
    number();
    panic!("the test fails here");
}

#[test]
fn one_component_fails_for_certain_while_another_is_fuzzed() {
    let run = |seed| {
        let faults = Scenario::seeded(seed);
        faults.arm("scenarios_io", Action::from(Task::errno("ENOSPC")).skip(3));
        faults.arm("scenarios_number", Action::from(Task::Return(None)).sometimes(1, 3));
        let log: Vec<_> = (0..30).map(|_| (io().is_err(), number())).collect();
        faults.finish();
        log
    };
    let log = run(7);
    assert!(log.iter().enumerate().all(|(pass, (failed, _))| *failed == (pass >= 3)));
    assert!(log.iter().any(|(_, fuzzed)| *fuzzed == 1));
    assert!(log.iter().any(|(_, fuzzed)| *fuzzed == 0));
    assert_eq!(log, run(7));
}

#[test]
fn coverage_tells_what_was_passed_and_what_was_not_watched() {
    let faults = Scenario::new();
    faults.arm("scenarios_number", "1*return");
    faults.watch("scenarios_io");
    number();
    number();
    io().unwrap();
    let coverage = faults.coverage();
    assert!(!coverage.get("scenarios_job").unwrap().is_measured);
    assert!(coverage.to_string().starts_with("2 of 2 points passed, 1 fired, "), "{coverage}");
    faults.watch_all();
    let coverage = faults.finish();
    let number_of = coverage.get("scenarios_number").unwrap();
    assert_eq!((number_of.sites, number_of.hits, number_of.fires), (1, 2, 1));
    let job = coverage.get("scenarios_job").unwrap();
    assert!(job.is_measured && !job.is_passed);
    let all = coverage.points().count();
    let summary = coverage.to_string();
    assert!(summary.starts_with(&format!("2 of {all} points passed, 1 fired; never")), "{summary}");
    assert!(summary.contains("scenarios_job"), "{summary}");
}
