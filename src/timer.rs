//! Wakes tasks at their time, for sleeps in asynchronous sites. One thread for the process,
//! started at the first sleep, so that no executor is favoured.

use std::collections::BTreeMap;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Instant;

/// Wakes `waker` at `deadline` or soon after.
pub(crate) fn wake_at(deadline: Instant, waker: Waker) {
    let mut queue = TIMER.lock();
    queue.count += 1;
    let key = (deadline, queue.count);
    queue.alarms.insert(key, waker);
    drop(queue);
    TIMER.changed.notify_one();
}

static TIMER: LazyLock<Timer> = LazyLock::new(|| {
    let name = "faultpoint-timer".to_owned();
    let result = thread::Builder::new().name(name).spawn(|| TIMER.run());
    result.expect("a thread for the sleeps of asynchronous fail points");
    Timer { queue: Mutex::default(), changed: Condvar::new() }
});

struct Timer {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    alarms: BTreeMap<(Instant, u64), Waker>,
    /// Tells alarms of one time apart.
    count: u64,
}

impl Timer {
    fn run(&self) -> ! {
        let mut queue = self.lock();
        loop {
            let now = Instant::now();
            match queue.alarms.first_entry() {
                None => {
                    queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                Some(first) if first.key().0 <= now => {
                    let waker = first.remove();
                    drop(queue);
                    waker.wake();
                    queue = self.lock();
                }
                Some(first) => {
                    let left = first.key().0 - now;
                    let result = self.changed.wait_timeout(queue, left);
                    queue = result.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
