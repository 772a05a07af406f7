//! Asynchronous sites.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use faultpoint::{Scenario, fault_point_async};

use super::{Store, io};

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
