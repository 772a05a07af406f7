//! Scenarios: isolation, knowing and ordering, and what must hold at their end.

mod callbacks;
mod ends;
mod isolation;
mod order;
mod tasks;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::JoinHandle;

use faultpoint::{Scope, fail_point, fault_point};

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

fn io() -> std::io::Result<()> {
    fault_point!("scenarios_io")
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
