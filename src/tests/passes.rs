//! Who listens hears of every pass in the scope, and of no other.

use std::sync::{Arc, Mutex};
use std::thread;

use faultpoint::{Listening, Scenario, Scope, fail_point, fault_point, last_passes, listen};

type Heard = Arc<Mutex<Vec<String>>>;

fn hear(scope: &Scope) -> (Heard, Listening) {
    let heard = Heard::default();
    let names = Arc::clone(&heard);
    let listening = listen(scope, move |pass| {
        names.lock().unwrap().push(format!("{}:{}", pass.name(), pass.site().line()));
    });
    (heard, listening)
}

fn pass() -> u32 {
    fail_point!("passes_pass");
    line!() - 1
}

#[test]
fn a_listener_hears_idle_and_armed_points_and_nothing_when_it_has_gone() {
    let faults = Scenario::new();
    let (heard, listening) = hear(&faults.scope());
    let line = pass();
    faults.arm("passes_pass", "off");
    pass();
    drop(listening);
    pass();
    let expected = format!("passes_pass:{line}");
    assert_eq!(*heard.lock().unwrap(), [expected.clone(), expected]);
    faults.finish();
}

#[test]
fn a_listener_hears_its_scope_and_the_instances_in_it_and_no_other_test() {
    let faults = Scenario::new();
    let (heard, _listening) = hear(&faults.scope());
    let instance = faults.instance("store-1");
    let outside = thread::spawn(|| {
        let other = Scenario::new();
        pass();
        other.finish();
        pass();
    });
    outside.join().unwrap();
    assert!(heard.lock().unwrap().is_empty());
    instance.scope().spawn(pass).join().unwrap();
    faults.scope().spawn(pass).join().unwrap();
    assert_eq!(heard.lock().unwrap().len(), 2);
    faults.finish();
    pass();
    assert_eq!(heard.lock().unwrap().len(), 2, "the scope of a scenario that ended has no threads");
}

#[test]
fn a_pass_is_heard_before_what_is_armed_there_happens() {
    let faults = Scenario::new();
    let (heard, _listening) = hear(&faults.scope());
    let seen = Arc::clone(&heard);
    faults.on("passes_ordered", move |_| {
        assert_eq!(seen.lock().unwrap().len(), 1);
    });
    let passed: std::io::Result<()> = fault_point!("passes_ordered");
    passed.unwrap();
    faults.finish();
}

#[test]
fn a_listener_may_pass_points_itself_and_may_panic() {
    let faults = Scenario::new();
    let (heard, listening) = hear(&faults.scope());
    let own = listen(&faults.scope(), |_| {
        pass();
        panic!("a listener");
    });
    let passing = faults.scope().spawn(|| {
        let first = std::panic::catch_unwind(pass);
        let second = std::panic::catch_unwind(pass);
        first.is_err() && second.is_err()
    });
    assert!(passing.join().unwrap());
    assert_eq!(heard.lock().unwrap().len(), 2, "what a listener passes is not heard");
    drop((own, listening));
    faults.finish();
}

#[test]
fn a_thread_remembers_its_own_last_passes_while_anybody_listens() {
    let faults = Scenario::new();
    let (_heard, _listening) = hear(&faults.scope());
    let own = faults.scope().spawn(|| {
        for _ in 0..20 {
            pass();
        }
        fail_point!("passes_last");
        last_passes()
    });
    let own = own.join().unwrap();
    assert_eq!(own.len(), 8);
    assert_eq!((&*own[6], &*own[7]), ("passes_pass", "passes_last"));
    assert!(last_passes().is_empty());
    faults.finish();
}
