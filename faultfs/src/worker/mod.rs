//! Processes that do what may kill them: record a workload, recover from a crash state.
//!
//! A worker is the running program started again. Its [`Pool`] tells it through a socket, which it finds
//! as its standard input, who it is ([`Role`]) and what to do; the code that made the pool is reached
//! again in the worker, asks [`current`], and calls [`serve`] instead.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use faultfs::worker::{self, Launch, Pool, Role, Task};
//!
//! # fn main() -> faultfs::Result<()> {
//! let launch = Launch::here()?;
//! let call = launch.next_call();
//! if worker::current().is_some_and(|role| role.call == call) {
//!     worker::serve(|job| Ok(job.to_ascii_uppercase()));
//! }
//! let pool = Pool::new(launch, Role::new(Task::Check, call)).workers(2);
//! pool.run(["a", "b"].map(|job| job.into()).into_iter(), |index, reply| {
//!     println!("{index}: {reply:?}");
//!     ControlFlow::Continue(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # How a death is told from another
//!
//! A worker answers its jobs in order, each as soon as it is done, so that a death belongs to the first
//! job without an answer; the jobs behind it go to another worker.
//!
//! | seen | verdict |
//! |---|---|
//! | no answer within the time limit | hung |
//! | SIGSEGV, SIGBUS | faulted |
//! | SIGABRT, and std's or C++'s report of a failed allocation on standard error | out-of-memory |
//! | SIGKILL, and the kernel's count of out-of-memory kills has grown | out-of-memory |
//! | SIGKILL otherwise: somebody from outside | not-measured |
//! | SIGABRT otherwise, any other signal, an exit | aborted |
//! | a panic, caught in the worker, on any thread that the check does not look after | panicked |
//!
//! The memory limit is one on private writable memory (`RLIMIT_DATA`), counted from what the worker has
//! when it begins to serve: mapped files do not count. An engine that meets the limit and reports an
//! error of its own cannot be told from one that is broken; confirm such a failure with a higher limit.
//!
//! # What stays behind
//!
//! Nothing. A worker is killed by the kernel when its pool's thread ends, however that ends
//! (`PR_SET_PDEATHSIG`); it writes no core file; it runs in a process group of its own, so that a Ctrl-C
//! at the terminal reaches the pool alone.
//!
//! Linux only.

mod launch;
mod output;
mod pool;
mod process;
mod serve;
mod wire;

use serde::{Deserialize, Serialize};

pub use launch::Launch;
pub use pool::{MEMORY_LIMIT, Pool, TIME_LIMIT};
pub use process::{cause_of_death, oom_kills};
pub use serve::{current, serve, serve_ahead};

use crate::verdict::Broken;

/// What a worker answers: bytes for the one who asked, or how the promise was broken. A death of the
/// worker is one of the latter.
pub type Reply = Result<Vec<u8>, Broken>;

/// What a worker is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Task {
    /// Run the workload and record it.
    Record,
    /// Recover from crash states and check them.
    Check,
    /// Run the workload while something goes wrong, and check what that leaves.
    Sweep,
}

/// Who a worker is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Role {
    /// What it is for.
    pub task: Task,
    /// Which call of the test or program it belongs to; see [`Launch::next_call`].
    pub call: u32,
    /// Its place in the pool, from 0. A replacement takes the place of the worker that died, and may
    /// take over its folder.
    pub slot: u32,
    /// Whatever else it must know before its first job.
    pub setup: Vec<u8>,
}

impl Role {
    /// A role without a setup. The pool fills in the slot.
    pub fn new(task: Task, call: u32) -> Role {
        Role { task, call, slot: 0, setup: Vec::new() }
    }

    /// Adds what the worker must know before its first job.
    pub fn setup(mut self, setup: impl Into<Vec<u8>>) -> Role {
        self.setup = setup.into();
        self
    }
}
