//! Callbacks that decide at each pass.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use faultpoint::{Outcome, Scenario, Task};

use super::{number, panic_of};

#[test]
fn a_callback_decides_each_pass() {
    let faults = Scenario::new();
    faults.on("scenarios_number", |hit| match hit.number() {
        1 => Outcome::from(()),
        2 => Outcome::from(Task::Return(Some("20".to_owned()))),
        _ => Outcome::from(Task::Panic(None)),
    });
    assert_eq!((number(), number()), (0, 20));
    assert_eq!(panic_of(number), "failpoint scenarios_number panic");
    faults.finish();
}

#[test]
fn a_callback_is_drained_when_its_point_is_disarmed() {
    let faults = Scenario::new();
    let (entered, is_entered) = mpsc::sync_channel(0);
    let (leave, may_leave) = mpsc::channel::<()>();
    let may_leave = std::sync::Mutex::new(may_leave);
    let is_done = Arc::new(AtomicU32::new(0));
    let done = Arc::clone(&is_done);
    faults.on("scenarios_number", move |_| {
        entered.send(()).unwrap();
        may_leave.lock().unwrap().recv().unwrap();
        thread::sleep(Duration::from_millis(20));
        done.store(1, Ordering::SeqCst);
    });
    let worker = faults.scope().spawn(number);
    is_entered.recv().unwrap();
    leave.send(()).unwrap();
    faults.disarm("scenarios_number");
    assert_eq!(is_done.load(Ordering::SeqCst), 1, "disarm came back while the callback ran");
    worker.join().unwrap();
    faults.finish();
}

#[test]
fn a_callback_that_never_ends_is_reported_not_waited_for() {
    let faults = Scenario::new();
    let (leave, may_leave) = mpsc::channel::<()>();
    let may_leave = std::sync::Mutex::new(may_leave);
    let point = faults.on("scenarios_number", move |_| {
        let _ = may_leave.lock().unwrap().recv();
    });
    let worker = faults.scope().spawn(number);
    point.wait_hits(1);
    faults.set_patience(Duration::from_millis(20));
    let message = panic_of(|| faults.finish());
    assert!(message.contains("a callback at fail point `scenarios_number` was still running"));
    drop(leave);
    worker.join().unwrap();
}

#[test]
fn a_callback_may_disarm_its_own_point_and_may_panic() {
    let faults = Scenario::new();
    let instance = Arc::new(faults.instance("store-1"));
    let own = Arc::downgrade(&instance);
    instance.on("scenarios_number", move |_| {
        own.upgrade().unwrap().disarm("scenarios_number");
        Task::Return(Some("3".to_owned()))
    });
    assert_eq!(instance.scope().run(number), 3);
    assert_eq!(instance.scope().run(number), 0);
    faults.on("scenarios_number", |_| -> Task { panic!("in the callback") });
    let worker = faults.scope().spawn(number);
    assert!(worker.join().is_err());
    faults.finish();
}
