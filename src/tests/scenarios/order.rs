//! Pauses, and one pass before another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use faultpoint::Scenario;

use super::{Store, io, number, panic_of};

#[test]
fn a_paused_thread_is_waited_for_and_released() {
    let faults = Scenario::new();
    let job = faults.arm("scenarios_job", "pause");
    let stores: Vec<_> = (0..3).map(|_| Store::open()).collect();
    for store in &stores {
        store.submit();
        store.submit();
    }
    job.wait_paused(3);
    assert_eq!((job.hits(), job.paused()), (3, 3));
    job.release_one();
    job.wait_hits(4);
    job.wait_paused(3);
    faults.arm("scenarios_job", "off");
    for store in stores {
        store.close();
    }
    assert_eq!((job.hits(), job.paused()), (6, 0));
    faults.finish();
}

#[test]
fn releasing_lets_only_those_go_who_pause_now() {
    let faults = Scenario::new();
    let job = faults.arm("scenarios_job", "pause");
    let store = Store::open();
    store.submit();
    store.submit();
    job.wait_paused(1);
    job.release();
    job.wait_hits(2);
    job.wait_paused(1);
    job.release();
    store.close();
    faults.finish();
}

#[test]
fn a_wait_in_vain_reports_who_waits_where() {
    let faults = Scenario::new();
    let job = faults.arm("scenarios_job", "pause");
    let number_of = faults.watch("scenarios_number");
    let store = Store::open();
    store.submit();
    job.wait_paused(1);
    faults.set_patience(Duration::from_millis(50));
    let message = panic_of(|| job.wait_hits(3));
    let (head, rest) = message.split_once('\n').unwrap();
    assert_eq!(head, "waited 50ms in vain for fail point `scenarios_job` to be hit 3 times:");
    assert!(rest.contains("`scenarios_job` [pause]: hit once, fired once\n    pauses: "), "{rest}");
    assert!(rest.contains(" at src/tests/scenarios/mod.rs:"), "{rest}");
    assert!(rest.contains("`scenarios_number` [off]: hit once, fired 0 times"), "{rest}");
    assert!(panic_of(|| number_of.wait_paused(1)).contains("to have 1 paused"));
    // Both panics were caught, so the test says that it goes on, and nobody was let go meanwhile.
    assert!(panic_of(|| faults.finish()).contains("was not held at `scenarios_job`"));
    drop(store);
}

#[test]
fn the_end_of_a_scenario_lets_everybody_go_before_the_store_is_dropped() {
    let faults = Scenario::new();
    let job = faults.arm("scenarios_job", "pause");
    let store = Store::open();
    for _ in 0..5 {
        store.submit();
    }
    job.wait_paused(1);
    faults.finish();
    assert_eq!(store.close(), 0);
}

#[test]
fn a_store_whose_test_panics_is_dropped_without_a_hang_or_a_leak() {
    let start = Instant::now();
    let message = panic_of(|| {
        let faults = Scenario::new();
        let job = faults.arm("scenarios_job", "pause");
        let store = Store::open();
        for _ in 0..5 {
            store.submit();
        }
        job.wait_paused(1);
        panic!("the test fails here");
    });
    assert_eq!(message, "the test fails here");
    assert!(start.elapsed() < Duration::from_secs(50), "not by the time limit of a pause");
    let next = Scenario::new();
    let store = Store::open();
    store.submit();
    store.close();
    next.finish();
}

#[test]
fn a_pause_that_nobody_releases_ends_and_fails_the_scenario() {
    let faults = Scenario::new();
    faults.set_patience(Duration::from_millis(10));
    faults.arm("scenarios_job", "1*pause");
    let store = Store::open();
    store.submit();
    // The store is dropped first, as at the end of a test that calls nothing.
    drop(store);
    let message = panic_of(|| faults.finish());
    assert!(message.contains("paused at `scenarios_job` for 60ms, and then went on"), "{message}");
}

#[test]
fn a_panic_at_a_point_lets_nobody_else_go() {
    let faults = Scenario::new();
    let job = faults.arm("scenarios_job", "pause");
    faults.arm("scenarios_io", "panic(injected)");
    let store = Store::open();
    store.submit();
    job.wait_paused(1);
    assert_eq!(panic_of(io), "injected");
    assert_eq!(job.paused(), 1);
    job.release();
    store.close();
    faults.finish();
}

#[test]
fn a_pass_waits_until_the_earlier_point_was_passed() {
    let faults = Scenario::new();
    faults.happens_before("scenarios_io", "scenarios_job");
    let store = Store::open();
    store.submit();
    faults.point("scenarios_job").wait_hits(1);
    let order = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&order);
    let closed = thread::spawn(move || {
        store.close();
        seen.load(Ordering::SeqCst)
    });
    thread::sleep(Duration::from_millis(20));
    assert!(!closed.is_finished());
    order.store(1, Ordering::SeqCst);
    io().unwrap();
    assert_eq!(closed.join().unwrap(), 1);
    faults.finish();
}

#[test]
fn a_pass_that_waits_in_vain_goes_on_and_fails_the_scenario() {
    let faults = Scenario::new();
    faults.set_patience(Duration::from_millis(20));
    faults.happens_before("scenarios_io", "scenarios_number");
    faults.point("scenarios_io").optional();
    number();
    let message = panic_of(|| faults.finish());
    assert!(message.contains("waited 20ms at `scenarios_number` for `scenarios_io`"), "{message}");
    assert!(message.contains("`scenarios_io` was hit 0 times"), "{message}");
}

#[test]
fn an_order_in_a_circle_is_an_error() {
    let faults = Scenario::new();
    faults.happens_before("scenarios_io", "scenarios_number");
    faults.happens_before("scenarios_number", "scenarios_job");
    let message = panic_of(|| faults.happens_before("scenarios_job", "scenarios_io"));
    assert!(message.contains("it already waits for `scenarios_io`"), "{message}");
    assert!(
        panic_of(|| faults.happens_before("scenarios_io", "scenarios_io")).contains("cannot come")
    );
    let _ = panic_of(|| faults.finish());
}

#[test]
fn a_held_pass_goes_on_when_its_point_is_disarmed() {
    let faults = Scenario::new();
    faults.happens_before("scenarios_io", "scenarios_number");
    let held = faults.point("scenarios_number");
    let worker = faults.scope().spawn(number);
    held.wait_hits(1);
    faults.disarm("scenarios_number");
    worker.join().unwrap();
    faults.point("scenarios_io").optional();
    faults.finish();
}
