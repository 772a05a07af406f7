//! The parent's side: workers side by side, results in the order of their jobs.

use std::collections::{BTreeMap, VecDeque};
use std::iter::{Enumerate, Fuse};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::process::{Heard, Process};
use super::wire::{self, Hello, Said};
use super::{Launch, Reply, Role};
use crate::error::{Error, Result};
use crate::session;
use crate::verdict::{Broken, Verdict};

/// How long a job may take, unless told otherwise.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of private memory that a worker may use on top of what it has when it begins to serve, unless
/// told otherwise: 1 GiB.
pub const MEMORY_LIMIT: u64 = 1 << 30;

/// How long a worker may take until it is ready for jobs.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How many jobs a worker has at once, at most, and how many of their bytes: less than the kernel buffers,
/// so that nobody waits for a worker to read.
const JOBS_MAX: usize = 256;
const JOBS_BYTES_MAX: usize = 32 << 10;
/// Jobs that take less than this are handed out several at a time, so that no round trip is waited for, and
/// as many as take no longer than the second, so that no worker has much to do when others have nothing.
const QUICK: Duration = Duration::from_millis(2);
const GIVEN_MAX: Duration = Duration::from_millis(10);
/// How often an interrupt is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Runs jobs in worker processes.
///
/// What comes out depends on the jobs alone, not on the number of workers, nor on which of them did what.
#[derive(Clone, Debug)]
#[must_use = "no worker starts until `run` or `run_once`"]
pub struct Pool {
    launch: Launch,
    role: Role,
    workers: u32,
    time_limit: Duration,
    memory_limit: Option<u64>,
    fresh: bool,
}

impl Pool {
    /// A pool of one worker with the default limits.
    pub fn new(launch: Launch, role: Role) -> Pool {
        let (time_limit, memory_limit) = (TIME_LIMIT, Some(MEMORY_LIMIT));
        Pool { launch, role, workers: 1, time_limit, memory_limit, fresh: false }
    }

    /// Sets how many workers run side by side; 0 counts as 1.
    pub fn workers(mut self, workers: u32) -> Pool {
        self.workers = workers.max(1);
        self
    }

    /// Sets how long one job may take before its worker is killed and the job is [`Verdict::Hung`].
    pub fn time_limit(mut self, limit: Duration) -> Pool {
        self.time_limit = limit;
        self
    }

    /// Sets how many bytes of private memory a worker may use on top of what it has when it begins to
    /// serve; `None` for no limit.
    pub fn memory_limit(mut self, bytes: Option<u64>) -> Pool {
        self.memory_limit = bytes;
        self
    }

    /// Gives every job a process of its own, so that none can see what another left in memory.
    pub fn fresh_processes(mut self, fresh: bool) -> Pool {
        self.fresh = fresh;
        self
    }

    /// Runs the jobs and calls `each` with every reply, in the order of the jobs, on this thread. The
    /// jobs are taken one by one, from other threads, as workers come free.
    ///
    /// Ends early, with `Break`, when `each` says so or when the process was
    /// [interrupted](session::interrupted). No worker is alive when it returns.
    ///
    /// # Errors
    ///
    /// Where workers cannot be started, or do not come to the point where they [`serve`](super::serve).
    pub fn run<J>(
        &self,
        jobs: J,
        mut each: impl FnMut(usize, Reply) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>>
    where
        J: Iterator<Item = Vec<u8>> + Send,
    {
        let queue = Queue::new(jobs);
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            // On every way out of here, a panic in `each` included, the workers are stopped.
            let _stop = StopOnDrop(&queue);
            for slot in 0..self.workers {
                let (sender, queue) = (sender.clone(), &queue);
                let drive = move || Driver::new(self, slot, queue).drive(&sender);
                let thread = std::thread::Builder::new().name(format!("faultfs worker {slot}"));
                let started = thread.spawn_scoped(scope, drive);
                started.map_err(|e| Error::new(format!("cannot start a thread: {e}")))?;
            }
            drop(sender);
            deliver(&receiver, &mut each)
        })
    }

    /// Runs one job in a process of its own.
    ///
    /// # Errors
    ///
    /// As [`Pool::run`], and where the process was [interrupted](session::interrupted).
    pub fn run_once(&self, job: impl Into<Vec<u8>>) -> Result<Reply> {
        let mut answer = None;
        let alone = Pool { workers: 1, fresh: true, ..self.clone() };
        let _ = alone.run(std::iter::once(job.into()), |_, reply| {
            answer = Some(reply);
            ControlFlow::Continue(())
        })?;
        answer.ok_or_else(|| Error::new("interrupted"))
    }
}

/// Passes replies on in the order of their jobs.
fn deliver(
    receiver: &Receiver<Result<Replies>>,
    each: &mut dyn FnMut(usize, Reply) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    loop {
        if session::interrupted() {
            return Ok(ControlFlow::Break(()));
        }
        match receiver.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(ControlFlow::Continue(())),
            Ok(replies) => early.extend(replies?),
        }
        while let Some(reply) = early.remove(&next) {
            if each(next, reply).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            next += 1;
        }
    }
}

type Job = (usize, Vec<u8>);
type Replies = Vec<(usize, Reply)>;

/// What the threads of a run share.
struct Queue<J>(Mutex<Shared<J>>);

struct Shared<J> {
    jobs: Fuse<Enumerate<J>>,
    /// Jobs whose worker died before it came to them.
    again: VecDeque<Job>,
    stopped: bool,
    groups: BTreeMap<u32, Pid>,
}

impl<J: Iterator<Item = Vec<u8>>> Queue<J> {
    fn new(jobs: J) -> Queue<J> {
        let jobs = jobs.enumerate().fuse();
        let (again, groups) = (VecDeque::new(), BTreeMap::new());
        Queue(Mutex::new(Shared { jobs, again, stopped: false, groups }))
    }

    /// The next job, if there is one. After a panic in the iterator there is none.
    fn next(&self) -> Option<Job> {
        let shared = &mut *self.0.lock().ok()?;
        match shared.stopped {
            true => None,
            false => shared.again.pop_front().or_else(|| shared.jobs.next()),
        }
    }

    fn put_back(&self, jobs: impl IntoIterator<Item = Job>) {
        if let Ok(mut shared) = self.0.lock() {
            shared.again.extend(jobs);
        }
    }

    /// From here until [`Queue::leave`] the group is killed when the run stops; false where it has.
    fn enter(&self, slot: u32, group: Pid) -> bool {
        self.0.lock().is_ok_and(|mut shared| {
            shared.groups.insert(slot, group);
            !shared.stopped
        })
    }

    /// To be called before the process is reaped, when its number becomes free for others.
    fn leave(&self, slot: u32) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).groups.remove(&slot);
    }

    fn is_stopped(&self) -> bool {
        self.0.lock().is_ok_and(|shared| shared.stopped)
    }
}

struct StopOnDrop<'a, J>(&'a Queue<J>);

impl<J> Drop for StopOnDrop<'_, J> {
    fn drop(&mut self) {
        let mut shared = self.0.0.lock().unwrap_or_else(|e| e.into_inner());
        shared.stopped = true;
        for &group in shared.groups.values() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// One thread of a run with the worker in its slot. The worker is started from this thread, because the
/// kernel ends it with the thread.
struct Driver<'a, J: Iterator<Item = Vec<u8>>> {
    pool: &'a Pool,
    slot: u32,
    queue: &'a Queue<J>,
    process: Option<Process>,
    /// Jobs that the worker has not answered, in the order in which it was given them.
    given: VecDeque<Job>,
    /// How many it is given at once.
    depth: usize,
}

impl<'a, J: Iterator<Item = Vec<u8>>> Driver<'a, J> {
    fn new(pool: &'a Pool, slot: u32, queue: &'a Queue<J>) -> Self {
        Driver { pool, slot, queue, process: None, given: VecDeque::new(), depth: 1 }
    }

    fn drive(mut self, replies: &Sender<Result<Replies>>) {
        while let Some(more) = self.step().transpose() {
            let failed = more.is_err();
            if replies.send(more).is_err() || failed {
                return;
            }
        }
    }

    /// More replies, at least one; `None` when there are no more jobs, or the run was stopped.
    fn step(&mut self) -> Result<Option<Replies>> {
        let jobs = self.take_jobs();
        if self.given.is_empty() || !self.is_started()? {
            return Ok(None);
        }
        let process = self.process.as_mut().expect("it was just started");
        let limit = self.pool.time_limit;
        if !jobs.is_empty() {
            process.send(&jobs, limit);
        }
        let asked = Instant::now();
        let replies: Vec<Reply> = match process.hear(limit) {
            Heard::Said(said) => said.into_iter().map_while(Said::reply).collect(),
            Heard::Silence => {
                let hung = Broken::new(Verdict::Hung, format!("no answer within {limit:?}"));
                vec![Err(hung.with_output(process.output()))]
            }
            Heard::End => Vec::new(),
        };
        let replies = if replies.is_empty() { vec![Err(self.bury())] } else { replies };
        if self.queue.is_stopped() {
            return Ok(None);
        }
        self.settle(&replies, asked.elapsed());
        let indices = self.given.drain(..replies.len().min(self.given.len())).map(|(i, _)| i);
        let replies = indices.zip(replies).collect();
        if self.process.is_none() {
            self.queue.put_back(self.given.drain(..));
        }
        Ok(Some(replies))
    }

    /// Fills up what the worker has to do, framed, once it has half or less of what it may have. It calls
    /// when that is so again, and after the last.
    fn take_jobs(&mut self) -> Vec<u8> {
        let mut framed = Vec::new();
        if self.given.len() > self.depth / 2 {
            return framed;
        }
        let mut bytes: usize = self.given.iter().map(|(_, job)| job.len()).sum();
        let mut places = Vec::new();
        while self.given.len() < self.depth && (bytes < JOBS_BYTES_MAX || self.given.is_empty()) {
            let Some((index, job)) = self.queue.next() else { break };
            if !self.given.is_empty() && bytes + job.len() > JOBS_BYTES_MAX {
                self.queue.put_back([(index, job)]);
                break;
            }
            bytes += job.len();
            places.push(wire::frame_job(&mut framed, &job));
            self.given.push_back((index, job));
        }
        let half = places.len().saturating_sub(self.depth / 2 + 1);
        for place in places.get(half).into_iter().chain(places.last()) {
            wire::call_after(&mut framed, *place);
        }
        framed
    }

    /// Starts a worker where there is none, and waits until it is ready; false where the run was stopped.
    fn is_started(&mut self) -> Result<bool> {
        if self.process.is_some() {
            return Ok(true);
        }
        let Pool { launch, memory_limit, .. } = self.pool;
        let role = Role { slot: self.slot, ..self.pool.role.clone() };
        let hello = Hello { role, memory_limit: *memory_limit };
        let mut process = Process::start(launch, &hello)
            .map_err(|e| Error::new(format!("cannot start a worker ({}): {e}", launch.line())))?;
        if !self.queue.enter(self.slot, process.group()) {
            self.retire(process);
            return Ok(false);
        }
        let why = match process.hear(START_LIMIT.max(self.pool.time_limit)) {
            Heard::Said(said) if said == [Said::Ready] => {
                self.process = Some(process);
                return Ok(true);
            }
            Heard::Silence => format!("was not ready within {START_LIMIT:?}"),
            Heard::Said(_) | Heard::End => {
                self.queue.leave(self.slot);
                let death = process.death();
                format!("ended before it was ready: {death}\n{}", death.output())
            }
        };
        if self.queue.is_stopped() {
            return Ok(false);
        }
        Err(Error::new(format!(
            "a worker did not come back to the place that started it. It is started as\n  {}\nand {}",
            launch.line(),
            why.trim_end()
        )))
    }

    /// After replies: what becomes of the worker, and how much it is given from now on.
    fn settle(&mut self, replies: &[Reply], took: Duration) {
        let spent = match replies.last() {
            Some(Err(broken)) => matches!(broken.verdict(), Verdict::Panicked | Verdict::Hung),
            _ => false,
        };
        if (spent || self.pool.fresh)
            && let Some(process) = self.process.take()
        {
            self.retire(process);
        }
        let each = took / replies.len() as u32;
        self.depth = match each < QUICK && !self.pool.fresh {
            true => {
                let in_time = GIVEN_MAX.as_nanos() / each.as_nanos().max(1);
                (self.depth * 2).min(JOBS_MAX).min(in_time as usize)
            }
            false => 1,
        };
    }

    fn retire(&self, process: Process) {
        self.queue.leave(self.slot);
        drop(process);
    }

    fn bury(&mut self) -> Broken {
        self.queue.leave(self.slot);
        self.process.take().expect("a worker that was listened to").death()
    }
}

impl<J: Iterator<Item = Vec<u8>>> Drop for Driver<'_, J> {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            self.retire(process);
        }
    }
}
