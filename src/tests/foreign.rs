//! Points of a crate that uses `fail`, driven through `faultpoint` alone.

#![forbid(unsafe_code)]
#![cfg(feature = "foreign")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use faultpoint::{FailGuard, FailScenario, Scenario, Task, cfg, list, remove};

/// The dependency: it knows nothing of `faultpoint`.
mod dependency {
    pub(crate) fn append() -> u32 {
        fail::fail_point!("dependency_append", |_| 0);
        1
    }

    /// For what the whole process arms, which other tests would see.
    pub(crate) fn purge() -> Result<u32, String> {
        fail::fail_point!("dependency_purge");
        fail::fail_point!("dependency_purge_err", |reason| Err(reason.unwrap_or_default()));
        Ok(1)
    }

    pub(crate) fn flush() {
        fail::fail_point!("dependency_flush");
    }
}

fn panic_of<T>(work: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(work)).err().expect("it did not panic");
    *panic.downcast::<String>().unwrap()
}

#[test]
fn a_scenario_counts_pauses_and_releases_at_a_foreign_point() {
    let faults = Scenario::new();
    let append = faults.arm_foreign("dependency_append", "1*pause->off");
    let worker = faults.scope().spawn(dependency::append);
    append.wait_paused(1);
    assert_eq!(thread::spawn(dependency::append).join().unwrap(), 1, "others go by");
    append.release();
    assert_eq!(worker.join().unwrap(), 1);
    assert_eq!(dependency::append(), 1);
    assert_eq!((append.hits(), append.fires()), (2, 1));
    faults.finish();
}

#[test]
fn two_scenarios_arm_one_foreign_point_differently() {
    let (ready, is_ready) = mpsc::channel();
    let other = thread::spawn(move || {
        let faults = Scenario::new();
        let flush = faults.arm_foreign("dependency_flush", "panic(of the other)");
        ready.send(()).unwrap();
        assert_eq!(panic_of(dependency::flush), "of the other");
        assert_eq!(flush.hits(), 1);
        faults.finish();
    });
    let faults = Scenario::new();
    let seen = faults.on_foreign("dependency_flush", |hit| {
        assert_eq!(hit.site().package(), "fail");
        Task::Off
    });
    is_ready.recv().unwrap();
    dependency::flush();
    other.join().unwrap();
    dependency::flush();
    assert_eq!(seen.hits(), 2);
    faults.finish();
    dependency::flush();
}

#[test]
fn a_foreign_point_that_was_never_reached_fails_the_scenario() {
    let faults = Scenario::new();
    faults.arm_foreign("dependency_apend", "panic");
    dependency::append();
    let message = panic_of(|| faults.finish());
    assert!(message.contains("`dependency_apend` was armed at"), "{message}");
    assert!(message.contains("but never reached"), "{message}");
}

#[test]
fn an_early_return_of_one_scope_only_is_refused_with_the_way_that_there_is() {
    let faults = Scenario::new();
    let message = panic_of(|| faults.arm_foreign("dependency_append_err", "1*off->return(x)"));
    assert!(message.contains("hold for the whole process, not for one scenario"), "{message}");
    let mend = r#"`faultpoint::FailGuard::new("dependency_append_err", "1*off->return(x)")`"#;
    assert!(message.contains(mend), "{message}");
    faults.finish();
}

#[test]
fn a_callback_that_asks_for_an_early_return_fails_the_scenario() {
    let faults = Scenario::new();
    faults.on_foreign("dependency_append", |_| Task::Return(None));
    assert_eq!(dependency::append(), 1);
    let message = panic_of(|| faults.finish());
    assert!(message.contains("asked for an early return"), "{message}");
}

#[test]
fn the_process_arms_foreign_points_early_returns_included() {
    let process = FailScenario::setup();
    cfg("dependency_purge_err", "1*off->return(full)").unwrap();
    assert_eq!(dependency::purge(), Ok(1));
    assert_eq!(dependency::purge(), Err("full".to_owned()));
    assert_eq!(list(), [("dependency_purge_err".to_owned(), "1*off->return(full)".to_owned())]);
    let guard = FailGuard::new("dependency_purge_err", "return(inner)").unwrap();
    assert_eq!(dependency::purge(), Err("inner".to_owned()));
    drop(guard);
    assert_eq!(dependency::purge(), Ok(1), "armed anew, its count starts over");
    remove("dependency_purge_err");
    assert_eq!(dependency::purge(), Ok(1));

    cfg("dependency_purge", "pause").unwrap();
    let (sender, receiver) = mpsc::channel();
    let paused = thread::spawn(move || sender.send(dependency::purge()).unwrap());
    receiver.recv_timeout(Duration::from_millis(30)).expect_err("it pauses");
    process.teardown();
    assert_eq!(receiver.recv().unwrap(), Ok(1));
    paused.join().unwrap();
    assert_eq!(dependency::purge(), Ok(1));
}

#[test]
fn a_return_of_the_process_and_a_scenario_at_one_point_exclude_each_other() {
    let process = FailScenario::setup();
    cfg("dependency_shared", "return").unwrap();
    let faults = Scenario::new();
    let message = panic_of(|| faults.arm_foreign("dependency_shared", "off"));
    assert!(message.contains("returns early for the whole process (`return`)"), "{message}");
    process.teardown();
    faults.arm_foreign("dependency_shared", "off").optional();
    let process = FailScenario::setup();
    let error = cfg("dependency_shared", "return").unwrap_err();
    assert!(error.contains("is armed in a scenario"), "{error}");
    assert!(FailGuard::new("dependency_shared", "return").is_err());
    assert!(list().is_empty());
    process.teardown();
    faults.finish();
}
