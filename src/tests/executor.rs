//! Asynchronous points under tokio: they hold up their task, never the thread.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use faultpoint::{Scenario, fault_point_async};
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet, yield_now};

async fn compact() -> std::io::Result<u32> {
    fault_point_async!("executor_compact").await?;
    Ok(1)
}

/// Runs a compaction on a single thread beside a task that yields ten times; how often it had come
/// round when the compaction was done.
fn rounds_beside(actions: &str) -> u32 {
    let faults = Scenario::new();
    let armed = faults.arm("executor_compact", actions);
    let rounds = Rc::new(Cell::new(0));
    let beside = Rc::clone(&rounds);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let seen = LocalSet::new().block_on(&runtime, async move {
        tokio::task::spawn_local(async move {
            for _ in 0..10 {
                beside.set(beside.get() + 1);
                yield_now().await;
            }
            armed.release();
        });
        compact().await.unwrap();
        rounds.get()
    });
    faults.finish();
    seen
}

#[test]
fn a_task_that_sleeps_pauses_or_delays_lets_others_go_on() {
    assert_eq!(rounds_beside("pause"), 10);
    // How far the others come depends on the machine; that they come at all does not.
    for actions in ["sleep(50)", "delay(50)", "yield"] {
        assert!(rounds_beside(actions) >= 1, "{actions}");
    }
}

#[test]
fn wrapped_tasks_on_many_threads_are_in_their_scope() {
    let faults = Scenario::new();
    let armed = faults.arm("executor_compact", "3*return(ETIMEDOUT)->sleep(1)");
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let scope = faults.scope();
    let failed = runtime.block_on(async move {
        let mut tasks = JoinSet::new();
        (0..50).for_each(|_| drop(tasks.spawn(scope.wrap(compact()))));
        (0..50).for_each(|_| drop(tasks.spawn(compact())));
        tasks.join_all().await.into_iter().filter(Result::is_err).count()
    });
    assert_eq!((failed, armed.hits(), armed.fires()), (3, 50, 50));
    faults.finish();
}

#[test]
fn a_runtime_that_shuts_down_with_paused_tasks_leaves_nothing_behind() {
    let faults = Scenario::new();
    let armed = faults.arm("executor_compact", "pause");
    let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for _ in 0..8 {
        runtime.spawn(faults.scope().wrap(compact()));
    }
    armed.wait_paused(8);
    runtime.shutdown_timeout(Duration::from_secs(5));
    assert_eq!(armed.paused(), 0);
    faults.finish();
}
