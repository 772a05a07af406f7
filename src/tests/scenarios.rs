//! Scenarios: isolation, knowing and ordering, and what must hold at their end.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::run_child;
use faultpoint::{
    Action, Outcome, Scenario, Scope, Task, fail_point, fault_point, fault_point_async,
};

/// Runs `work`, which is to panic, and gives its message.
fn panic_of<T>(work: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(work)) else { panic!("it did not panic") };
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast::<&str>().unwrap().to_string(),
    }
}

fn number() -> u32 {
    fail_point!("scenarios_number", |argument| argument.map_or(1, |text| text.parse().unwrap()));
    0
}

/// A store with a worker thread that comes by a point at each job, and is joined on drop.
struct Store {
    jobs: Option<mpsc::Sender<()>>,
    worker: Option<JoinHandle<u32>>,
}

impl Store {
    fn open() -> Store {
        let (jobs, queue) = mpsc::channel();
        let worker = Scope::current().spawn(move || {
            let mut sum = 0;
            while queue.recv().is_ok() {
                sum += number();
                fail_point!("scenarios_job");
            }
            sum
        });
        Store { jobs: Some(jobs), worker: Some(worker) }
    }

    fn submit(&self) {
        self.jobs.as_ref().unwrap().send(()).unwrap();
    }

    fn close(mut self) -> u32 {
        self.jobs = None;
        self.worker.take().unwrap().join().unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

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
        let output = run_child("scenarios::in_child_seed", "FAULTPOINT_SEED", seed);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{stderr}");
        let line = format!("chances were drawn from seed {printed} (FAULTPOINT_SEED={printed})");
        assert!(stderr.contains(&line), "{stderr}");
    }
    let output = run_child("scenarios::in_child_seed", "FAULTPOINT_SEED", "seven");
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

fn io() -> std::io::Result<()> {
    fault_point!("scenarios_io")
}

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
    assert!(rest.contains(" at src/tests/scenarios.rs:"), "{rest}");
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

/// Polls a future on this thread alone until it is ready, and counts the polls.
fn block_on<F: Future>(future: F) -> (F::Output, u32) {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    for polls in 1.. {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return (output, polls),
            Poll::Pending => thread::park_timeout(Duration::from_secs(5)),
        }
    }
    unreachable!("polled four billion times");
}

async fn upload() -> std::io::Result<u32> {
    fault_point_async!("scenarios_upload").await?;
    Ok(1)
}

#[test]
fn an_asynchronous_site_returns_errors_and_waits_its_turn() {
    let faults = Scenario::new();
    let armed = faults.arm("scenarios_upload", "1*return(ETIMEDOUT)->1*yield->1*sleep(20)->off");
    let (result, polls) = block_on(upload());
    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(polls, 1);
    assert_eq!(block_on(upload()).1, 2);
    let start = Instant::now();
    assert!(block_on(upload()).1 >= 2);
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert_eq!(block_on(upload()).1, 1);
    assert_eq!(armed.hits(), 4);
    faults.finish();
}

#[test]
fn a_paused_task_holds_up_no_thread() {
    let faults = Scenario::new();
    let armed = faults.arm("scenarios_upload", "pause");
    let mut future = pin!(upload());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    assert_eq!((armed.hits(), armed.paused()), (1, 1));
    armed.release();
    assert!(matches!(future.as_mut().poll(&mut cx), Poll::Ready(Ok(1))));
    faults.finish();
}

#[test]
fn a_task_dropped_while_it_pauses_is_forgotten() {
    let faults = Scenario::new();
    let armed = faults.arm("scenarios_upload", "pause");
    {
        let mut future = pin!(upload());
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(armed.paused(), 1);
    }
    assert_eq!(armed.paused(), 0);
    faults.finish();
}

#[test]
fn a_wrapped_task_is_in_its_scope_on_any_thread() {
    let faults = Scenario::new();
    faults.arm("scenarios_upload", "return(EIO)");
    let inside = faults.scope().wrap(upload());
    assert!(thread::spawn(move || block_on(inside).0).join().unwrap().is_err());
    assert!(thread::spawn(|| block_on(upload()).0).join().unwrap().is_ok());
    faults.finish();
}

#[test]
fn an_asynchronous_pass_waits_for_the_earlier_point() {
    let faults = Scenario::new();
    faults.happens_before("scenarios_io", "scenarios_upload");
    let task = faults.scope().wrap(upload());
    let task = thread::spawn(move || block_on(task).0);
    faults.point("scenarios_upload").wait_hits(1);
    thread::sleep(Duration::from_millis(10));
    assert!(!task.is_finished());
    io().unwrap();
    assert_eq!(task.join().unwrap().unwrap(), 1);
    faults.finish();
}

#[test]
fn a_sleep_ends_with_its_scenario() {
    let faults = Scenario::new();
    let armed = faults.arm("scenarios_job", "sleep(600000)");
    let store = Store::open();
    store.submit();
    armed.wait_hits(1);
    faults.finish();
    store.close();
}
