//! The interface of the `fail` crate. Every test here holds a `FailScenario`, for the settings are
//! the whole process's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::run_child;
use faultpoint::{FailGuard, FailScenario, Scenario, cfg, fail_point, list, remove};

fn returns() -> u32 {
    fail_point!("compatible_return", |argument| argument.map_or(2, |a| a.parse().unwrap()));
    0
}

/// Runs `pass` on a thread of its own, and comes back when it has hit the armed point.
fn spawn_until_hit<T: Send + 'static>(
    name: &str,
    pass: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let hits = || -> u64 {
        let sites = faultpoint::catalogue();
        sites.iter().filter(|site| site.name() == Some(name)).map(|site| site.hits()).sum()
    };
    let before = hits();
    let thread = thread::spawn(pass);
    while hits() == before {
        thread::yield_now();
    }
    thread
}

#[test]
fn settings_hold_until_removed() {
    let scenario = FailScenario::setup();
    assert_eq!(returns(), 0);
    cfg("compatible_return", "return(1000)").unwrap();
    assert_eq!(returns(), 1000);
    cfg("compatible_return", "return").unwrap();
    assert_eq!(returns(), 2);
    assert_eq!(list(), [("compatible_return".to_owned(), "return".to_owned())]);
    remove("compatible_return");
    assert_eq!(returns(), 0);
    assert!(list().is_empty());
    remove("compatible_return");
    scenario.teardown();
}

#[test]
fn teardown_disarms_everything() {
    let scenario = FailScenario::setup();
    cfg("compatible_return", "return(1)").unwrap();
    scenario.teardown();
    // Only in a scenario of our own again: between the two another test may hold its turn.
    let _next = FailScenario::setup();
    assert!(list().is_empty());
    assert_eq!(returns(), 0);
}

#[test]
fn counts_and_chains_go_in_order() {
    let _scenario = FailScenario::setup();
    cfg("compatible_return", "2*off->1*return(5)->return(6)").unwrap();
    assert_eq!([returns(), returns(), returns(), returns()], [0, 0, 5, 6]);
}

#[test]
fn sleep_and_delay_take_their_time_and_yield_goes_on() {
    let _scenario = FailScenario::setup();
    let pass = || fail_point!("compatible_time");
    for actions in ["sleep(30)", "delay(30)"] {
        cfg("compatible_time", actions).unwrap();
        let start = Instant::now();
        pass();
        assert!(start.elapsed() >= Duration::from_millis(30), "{actions}");
    }
    cfg("compatible_time", "yield->off").unwrap();
    pass();
}

#[test]
fn print_goes_to_the_log_at_level_info() {
    struct Collect(std::sync::Mutex<Vec<String>>);
    impl log::Log for Collect {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            self.0.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
        }
        fn flush(&self) {}
    }
    static COLLECT: Collect = Collect(std::sync::Mutex::new(Vec::new()));

    let _scenario = FailScenario::setup();
    log::set_logger(&COLLECT).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    cfg("compatible_print", "1*print->print(still alive!)").unwrap();
    let pass = || fail_point!("compatible_print");
    pass();
    pass();
    let printed = COLLECT.0.lock().unwrap();
    assert_eq!(*printed, ["INFO failpoint compatible_print executed.", "INFO still alive!"]);
}

#[test]
fn a_pause_lasts_until_another_action_is_set() {
    let _scenario = FailScenario::setup();
    for release in ["off", "return(9)", "remove"] {
        cfg("compatible_return", "pause").unwrap();
        let paused = spawn_until_hit("compatible_return", returns);
        thread::sleep(Duration::from_millis(10));
        assert!(!paused.is_finished());
        match release {
            "remove" => remove("compatible_return"),
            actions => cfg("compatible_return", actions).unwrap(),
        }
        assert_eq!(paused.join().unwrap(), 0, "the pass that paused goes on");
    }
}

#[test]
fn a_callback_runs_on_the_thread_that_comes_by() {
    let _scenario = FailScenario::setup();
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let guard = FailGuard::with_callback("compatible_return", move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(list(), [("compatible_return".to_owned(), "callback".to_owned())]);
    assert_eq!((returns(), returns()), (0, 0));
    assert_eq!(faultpoint::eval("compatible_return", |text| text), None);
    drop(guard);
    returns();
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    assert_eq!(Arc::strong_count(&calls), 1, "the callback is dropped with its guard");
}

#[test]
#[should_panic(expected = "Return is not supported for the fail point \"compatible_no_return\"")]
fn a_return_at_a_site_without_a_closure_panics() {
    let _scenario = FailScenario::setup();
    cfg("compatible_no_return", "return").unwrap();
    fail_point!("compatible_no_return");
}

#[test]
fn a_guard_that_goes_uncovers_what_was_set_before() {
    let _scenario = FailScenario::setup();
    cfg("compatible_return", "return(1)").unwrap();
    let outer = FailGuard::new("compatible_return", "return(2)").unwrap();
    let inner = FailGuard::new("compatible_return", "return(3)").unwrap();
    assert_eq!(returns(), 3);
    drop(inner);
    assert_eq!(returns(), 2);
    let inner = FailGuard::new("compatible_return", "return(4)").unwrap();
    drop(outer);
    assert_eq!(returns(), 4);
    drop(inner);
    assert_eq!(returns(), 1);
}

#[test]
fn what_was_covered_goes_on_where_it_was() {
    let outer = FailScenario::setup();
    cfg("compatible_return", "1*off->1*return(1)->off").unwrap();
    assert_eq!(returns(), 0);
    let guard = FailGuard::new("compatible_return", "return(2)").unwrap();
    assert_eq!((returns(), returns()), (2, 2));
    drop(guard);
    let inner = FailScenario::setup();
    assert_eq!(returns(), 0);
    inner.teardown();
    assert_eq!((returns(), returns(), returns()), (1, 0, 0));
    outer.teardown();
}

#[test]
fn a_scenario_within_a_scenario_covers_it_and_gives_it_back() {
    let outer = FailScenario::setup();
    cfg("compatible_return", "return(1)").unwrap();
    let inner = FailScenario::setup();
    assert_eq!(returns(), 0);
    cfg("compatible_return", "return(2)").unwrap();
    assert_eq!(returns(), 2);
    inner.teardown();
    assert_eq!(returns(), 1);
    outer.teardown();
}

#[test]
fn scenarios_of_two_threads_take_turns() {
    let scenario = FailScenario::setup();
    cfg("compatible_return", "return(1)").unwrap();
    let other = thread::spawn(|| {
        let _scenario = FailScenario::setup();
        returns()
    });
    thread::sleep(Duration::from_millis(20));
    assert_eq!(returns(), 1);
    scenario.teardown();
    assert_eq!(other.join().unwrap(), 0);
}

#[test]
fn malformed_actions_arm_nothing_and_say_how_to_mend_it() {
    let _scenario = FailScenario::setup();
    for actions in ["-1%return", "NaN%return", "200%return", "retrun", "return(", ""] {
        let error = cfg("compatible_return", actions).unwrap_err();
        assert!(error.starts_with("fail point `compatible_return`: action `"), "{error}");
        assert!(FailGuard::new("compatible_return", actions).is_err());
    }
    assert_eq!(returns(), 0);
    assert!(list().is_empty());
}

#[test]
fn an_arrow_and_a_semicolon_may_stand_in_an_argument() {
    let _scenario = FailScenario::setup();
    let pass = || -> Option<String> {
        fail_point!("compatible_argument", |argument| argument);
        None
    };
    cfg("compatible_argument", "return(a->b;c(d))").unwrap();
    assert_eq!(pass().as_deref(), Some("a->b;c(d)"));
}

#[test]
fn rearming_while_threads_pause_does_not_spin_or_lock_others_out() {
    let _scenario = FailScenario::setup();
    cfg("compatible_pause", "pause").unwrap();
    let pass = || fail_point!("compatible_pause");
    let paused: Vec<_> = (0..4).map(|_| spawn_until_hit("compatible_pause", pass)).collect();
    // Other names can be set and read meanwhile.
    cfg("compatible_return", "return(1)").unwrap();
    assert_eq!(returns(), 1);
    cfg("compatible_pause", "pause").unwrap();
    remove("compatible_pause");
    for thread in paused {
        thread.join().unwrap();
    }
}

#[test]
fn a_scenario_of_ones_own_stands_beside_the_process() {
    let _process = FailScenario::setup();
    cfg("compatible_return", "return(1)").unwrap();
    let faults = Scenario::new();
    assert_eq!(returns(), 1, "what the scenario has not armed is the process's");
    faults.arm("compatible_return", "return(2)");
    assert_eq!(returns(), 2);
    assert_eq!(thread::spawn(returns).join().unwrap(), 1, "others see the process's");
    faults.finish();
    assert_eq!(returns(), 1);
}

#[test]
fn an_unknown_name_is_said_once_with_the_nearest() {
    let output =
        run_child("compatible::in_child_unknown_name", "FAILPOINTS", "compatible_retrun=off");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let warning = "faultpoint: there is no fail point `compatible_retrun`; did you mean \
                   `compatible_return`?";
    assert_eq!(stderr.matches(warning).count(), 1, "{stderr}");
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn in_child_unknown_name() {
    let _scenario = FailScenario::setup();
    cfg("compatible_retrun", "panic").unwrap();
    assert_eq!(returns(), 0);
}

#[test]
fn the_variable_arms_when_a_scenario_is_set_up() {
    let output = run_child(
        "compatible::in_child_variable",
        "FAILPOINTS",
        " compatible_return = 1*off->return(7) ; compatible_argument=return(x;y=z);",
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn in_child_variable() {
    assert_eq!((returns(), returns()), (0, 0));
    let scenario = FailScenario::setup();
    assert_eq!((returns(), returns()), (0, 7));
    let mut settings = list();
    settings.sort();
    assert_eq!(settings[0].1, "return(x;y=z)");
    scenario.teardown();
    assert_eq!(returns(), 0);
}

#[test]
fn a_malformed_variable_is_one_clear_panic_and_poisons_nothing() {
    let output =
        run_child("compatible::in_child_malformed", "FAILPOINTS", "compatible_return=25return");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected = "FAILPOINTS `compatible_return=25return`, column 19: there is no task \
                    `25return`";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn in_child_malformed() {
    for _ in 0..2 {
        assert!(std::panic::catch_unwind(FailScenario::setup).is_err());
        assert_eq!(returns(), 0);
    }
    cfg("compatible_return", "return(1)").unwrap();
    assert_eq!(returns(), 1);
    assert_eq!(list().len(), 1);
}
