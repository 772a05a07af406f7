//! Who sees what a scenario arms.

use std::sync::{Arc, Barrier};
use std::thread;

use faultpoint::Scenario;

use super::{Store, number};

#[test]
fn thirty_two_tests_at_once_never_see_each_other() {
    // Miri takes a thousand times as long.
    const ROUNDS: usize = if cfg!(miri) { 3 } else { 1000 };
    let start = Arc::new(Barrier::new(32));
    let tests: Vec<_> = (0..32_u32)
        .map(|test| {
            let start = Arc::clone(&start);
            thread::spawn(move || {
                for round in 0..ROUNDS {
                    start.wait();
                    let faults = Scenario::new();
                    let text = format!("{}*off->1*return({test})", round % 3);
                    let armed = faults.arm("scenarios_number", text.as_str());
                    for pass in 0..5 {
                        let expected = if pass == round % 3 { test } else { 0 };
                        assert_eq!(number(), expected, "test {test}, round {round}");
                    }
                    let worker = faults.scope().spawn(number);
                    assert_eq!(worker.join().unwrap(), 0);
                    assert_eq!((armed.hits(), armed.fires()), (6, 1));
                    faults.finish();
                    assert_eq!(number(), 0);
                }
            })
        })
        .collect();
    for test in tests {
        test.join().unwrap();
    }
}

#[test]
fn a_thread_outside_the_scope_sees_nothing() {
    let faults = Scenario::new();
    faults.arm("scenarios_number", "return(5)");
    assert_eq!(thread::spawn(number).join().unwrap(), 0);
    assert_eq!(faults.scope().spawn(number).join().unwrap(), 5);
    let scope = faults.scope();
    assert_eq!(thread::spawn(move || scope.run(number)).join().unwrap(), 5);
    faults.finish();
}

#[test]
fn the_scope_of_a_scenario_that_ended_is_empty() {
    let faults = Scenario::new();
    faults.arm("scenarios_number", "return(5)").optional();
    let scope = faults.scope();
    faults.finish();
    assert_eq!(scope.run(number), 0);
    let next = Scenario::new();
    next.arm("scenarios_number", "return(6)");
    assert_eq!(scope.run(number), 0);
    assert_eq!(number(), 6);
    next.finish();
}

#[test]
fn an_instance_that_outlives_its_scenario_arms_nothing() {
    let faults = Scenario::new();
    let instance = faults.instance("store-1");
    faults.finish();
    for ended in [&instance, &instance.instance("store-2")] {
        let error = ended.try_arm("scenarios_number", "return(5)").unwrap_err().to_string();
        assert!(error.contains("its scenario has ended"), "{error}");
        assert_eq!(ended.scope().run(number), 0);
    }
}

#[test]
fn of_two_stores_only_the_faulty_one_fails() {
    let faults = Scenario::new();
    let (first, second) = (faults.instance("store-1"), faults.instance("store-2"));
    let armed = first.arm("scenarios_number", "return(5)");
    let stores = [&first, &second].map(|instance| instance.scope().run(Store::open));
    for store in &stores {
        store.submit();
    }
    assert_eq!(stores.map(Store::close), [5, 0]);
    assert_eq!(armed.hits(), 1);
    faults.finish();
}

#[test]
fn the_innermost_scope_that_armed_a_point_decides() {
    let faults = Scenario::new();
    let around = faults.arm("scenarios_number", "return(1)");
    let instance = faults.instance("store-1");
    assert_eq!(instance.scope().run(number), 1);
    let inner = instance.arm("scenarios_number", "return(2)");
    assert_eq!(instance.scope().run(number), 2);
    assert_eq!(number(), 1);
    instance.disarm("scenarios_number");
    assert_eq!(instance.scope().run(number), 1);
    assert_eq!((around.hits(), inner.hits()), (3, 1));
    faults.finish();
}

#[test]
fn a_scenario_within_a_scenario_gives_it_back() {
    let outer = Scenario::new();
    outer.arm("scenarios_number", "return(1)");
    let inner = Scenario::new();
    assert_eq!(number(), 1);
    inner.arm("scenarios_number", "return(2)");
    assert_eq!(number(), 2);
    inner.finish();
    assert_eq!(number(), 1);
    outer.finish();
    assert_eq!(number(), 0);
}

#[test]
fn scenarios_may_end_in_any_order() {
    let outer = Scenario::new();
    let inner = Scenario::new();
    inner.arm("scenarios_number", "return(2)");
    outer.finish();
    assert_eq!(number(), 2);
    inner.finish();
    assert_eq!(number(), 0);
}
