//! Has the cases attempted: in worker processes, or in this one.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Bound, Job, Known, RUN, Step, Tester, at};
use super::findings::struck;
use crate::disk::Disk;
use crate::explore::hangs::{self, Hangs};
use crate::explore::{self, Door, InProcess, Judge, Oracle};
use crate::session::remove_tree;
use crate::trace::{Marks, Trace};
use crate::verdict::{Broken, Verdict};
use crate::worker::{self, Pool, Reply, Role, Task};
use crate::{Error, Result, file, points};

/// What came of a case, or of the process that worked on it.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// What was being done when the process died; empty where it did not.
    pub(super) at: String,
    pub(super) reply: std::result::Result<Attempt, Broken>,
}

impl Outcome {
    /// Of a case that was not attempted, for others like it hung.
    fn left_out() -> Outcome {
        let reply = Err(Broken::new(Verdict::NotMeasured, LEFT_OUT));
        Outcome { at: RUN.into(), reply }
    }

    /// Whether it was not attempted, for others like it hung.
    pub(super) fn is_left_out(&self) -> bool {
        self.reply.as_ref().is_err_and(|broken| broken.message() == LEFT_OUT)
    }

    /// Where promises were broken, and how.
    pub(super) fn failures(&self) -> Vec<(String, Broken)> {
        match &self.reply {
            Ok(attempt) => attempt.failures.clone(),
            Err(death) => vec![(self.at.clone(), death.clone())],
        }
    }
}

/// A door and an oracle, and who works with them.
pub(super) struct Runs<'a, 'o, R: ?Sized> {
    pub(super) tester: Tester<'a, 'o, R>,
    /// None: this process.
    pub(super) pools: Option<Pools<'a>>,
    pub(super) session: PathBuf,
}

impl<R: ?Sized> Runs<'_, '_, R> {
    /// The outcome of each case in order; none for those that an interruption leaves out. `each` is asked
    /// after each whether to go on.
    pub(super) fn attempts(
        &mut self,
        cases: &[String],
        each: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Option<Outcome>>> {
        if let Some(pools) = &self.pools {
            return pools.attempts(cases, each);
        }
        let mut outcomes = Vec::with_capacity(cases.len());
        for case in cases {
            outcomes.push(Some(self.here(&job(self.room(), case, Step::Whole))));
            if each().is_break() {
                break;
            }
        }
        outcomes.resize_with(cases.len(), || None);
        Ok(outcomes)
    }

    /// The outcome of one case by itself, as if nothing were known; in a process of its own where there are
    /// workers. Its room stays.
    pub(super) fn afresh(&mut self, case: &str, patience: bool) -> Result<Outcome> {
        match &self.pools {
            Some(pools) => pools.afresh(case, patience),
            None => self.alone(Job { keep: true, ..job(self.room(), case, Step::Whole) }),
        }
    }

    /// Runs the workload only, and notes its calls where asked. The room stays.
    pub(super) fn record(&mut self, case: &str, observe: bool) -> Result<Outcome> {
        match &self.pools {
            Some(pools) => pools.record(case, observe),
            None => self.alone(Job { observe, ..job(self.room(), case, Step::Record) }),
        }
    }

    /// The room of the last case that was done alone.
    pub(super) fn room(&self) -> PathBuf {
        room(&self.session, ALONE)
    }

    /// Tells which run without faults the disks that rot are of.
    pub(super) fn set_base(&mut self, base: &Arc<Trace>) -> Result<()> {
        self.tester.base = Some(base.clone());
        self.pools.as_mut().map_or(Ok(()), |pools| pools.set_base(base))
    }

    /// Has `look` look at disks of `trace`, which are checked by whoever makes the runs.
    pub(super) fn with_judge<T>(
        &mut self,
        trace: &Trace,
        look: impl FnOnce(&mut dyn Judge) -> Result<T>,
    ) -> Result<T> {
        let Tester { door, oracle, disks, .. } = &mut self.tester;
        let (door, oracle) = (&mut **door, &mut **oracle);
        match &self.pools {
            Some(pools) => {
                look(&mut explore::Workers::new(pools.plan, door, trace, &self.session)?)
            }
            None => {
                let mut checks = explore::Checks { door, oracle, room: disks.clone() };
                look(&mut InProcess::new(&mut checks, true))
            }
        }
    }

    /// Recovers from a disk in this process.
    pub(super) fn recover(&mut self, disk: &Disk, marks: &Marks) -> Result<(), Broken> {
        let Tester { door, oracle, disks, .. } = &mut self.tester;
        std::fs::create_dir_all(&*disks)?;
        let mut check =
            |disk: &Disk, marks: &Marks| door.check(disks, disk, &mut |root| oracle(root, marks));
        explore::check_state(&mut check, disk, marks)
    }

    fn alone(&mut self, job: Job) -> Result<Outcome> {
        let _ = remove_tree(&job.room);
        let known = std::mem::take(&mut self.tester.known);
        let outcome = self.here(&job);
        self.tester.known = known;
        Ok(outcome)
    }

    /// In this process; a panic is an outcome.
    fn here(&mut self, job: &Job) -> Outcome {
        // Other tests of this process pass points, too.
        let _scope = points::own_scope();
        // What the engine had in its hands when it panicked is its own; each case starts anew.
        let attempt = AssertUnwindSafe(|| self.tester.attempt(job));
        match catch_unwind(attempt).unwrap_or_else(|panic| Err(explore::panicked(panic))) {
            Ok(attempt) => Outcome { at: String::new(), reply: Ok(attempt) },
            Err(death) => Outcome { at: at(&job.room), reply: Err(death) },
        }
    }
}

fn room(session: &Path, index: usize) -> PathBuf {
    session.join(format!("run-{index}"))
}

fn job(room: PathBuf, case: &str, step: Step) -> Job {
    Job { case: case.into(), room, step, observe: false, keep: false }
}

/// In worker processes.
pub(super) struct Pools<'a> {
    pub(super) plan: &'a explore::Plan,
    pub(super) bound: Bound,
    pub(super) session: PathBuf,
    pub(super) base: Option<PathBuf>,
    pub(super) repeats: bool,
    pub(super) has_memory: bool,
    /// Cases that strike alike and are waited for where they hang.
    pub(super) hangs: u32,
    /// What has hung so far.
    pub(super) hung: RefCell<Vec<hangs::Kind>>,
}

/// What a worker is told.
#[derive(Serialize, Deserialize)]
struct Setup {
    bound: Bound,
    base: Option<PathBuf>,
    rooms: PathBuf,
    real_files: bool,
}

/// Runs that lie recorded at once, for doors that need a process for each.
const BATCH: usize = 64;
/// A run with the check of all its disks may take so many times as long as one check.
const CHECKS_IN_A_JOB: u32 = 6;

impl Pools<'_> {
    /// As [`Runs::attempts`].
    fn attempts(
        &self,
        cases: &[String],
        each: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Option<Outcome>>> {
        let mut outcomes = Vec::with_capacity(cases.len());
        let size = if self.repeats { cases.len().max(1) } else { BATCH };
        for batch in cases.chunks(size) {
            // Disks that rot need no run.
            let step = |case: &str| match self.repeats || case.starts_with("rot ") {
                true => Step::Whole,
                false => Step::Record,
            };
            let jobs = batch.iter().enumerate();
            let jobs: Vec<Job> =
                jobs.map(|(index, case)| self.job(case, index, step(case))).collect();
            let done = self.batch(&jobs, each)?;
            let cut = done.iter().any(Option::is_none);
            outcomes.extend(done);
            if cut {
                break;
            }
        }
        outcomes.resize_with(cases.len(), || None);
        Ok(outcomes)
    }

    /// As [`Runs::afresh`].
    fn afresh(&self, case: &str, patience: bool) -> Result<Outcome> {
        let whole = self.job(case, ALONE, Step::Whole);
        if self.repeats || case.starts_with("rot ") {
            return self.alone(&whole, patience);
        }
        let run = self.record(case, false)?;
        if run.reply.is_err() {
            return Ok(run);
        }
        // The recorder may have changed its process; the check gets another.
        let job = Job { step: Step::Judge, keep: true, ..whole };
        let bytes = postcard::to_stdvec(&job).expect("a job serialises");
        let limit = self.limit() * if patience { 10 } else { 1 };
        Ok(outcome(self.pool(true).time_limit(limit).run_once(bytes)?, &job))
    }

    /// As [`Runs::record`].
    fn record(&self, case: &str, observe: bool) -> Result<Outcome> {
        let job = Job { observe, ..self.job(case, ALONE, Step::Record) };
        self.alone(&job, true)
    }

    fn set_base(&mut self, base: &Arc<Trace>) -> Result<()> {
        self.base = Some(file::save(base, &self.session).map_err(|error| {
            Error::new(format!("cannot write the trace to {}: {error}", self.session.display()))
        })?);
        Ok(())
    }

    fn pool(&self, real_files: bool) -> Pool {
        let (bound, base, rooms) = (self.bound.clone(), self.base.clone(), self.session.clone());
        let setup = postcard::to_stdvec(&Setup { bound, base, rooms, real_files });
        let role = Role::new(Task::Sweep, self.plan.call).setup(setup.expect("paths serialise"));
        Pool::new(self.plan.launch.clone(), role)
            .workers(self.plan.workers)
            .memory_limit(self.plan.memory_limit)
            .time_limit(self.limit())
    }

    fn limit(&self) -> Duration {
        self.plan.time_limit * CHECKS_IN_A_JOB
    }

    fn job(&self, case: &str, index: usize, step: Step) -> Job {
        job(room(&self.session, index), case, step)
    }

    /// Has `pool` do the jobs; of those whose faults strike alike, few that hang are waited for.
    fn jobs(
        &self,
        pool: &Pool,
        jobs: &[&Job],
        each: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Option<Outcome>>> {
        let mut outcomes = vec![None; jobs.len()];
        let flags = hangs::flags(jobs.len());
        let kind_of = |index: usize| hangs::Kind::from([struck(&jobs[index].case)]);
        let mut hangs = Hangs::new(self.hangs, &flags, &kind_of).after(self.hung.take());
        let job = |(job, left_out): (&&Job, &AtomicBool)| match left_out.load(Relaxed) {
            // Places stay what they are: a worker has nothing to do for an empty job.
            true => Vec::new(),
            false => postcard::to_stdvec(job).expect("a job serialises"),
        };
        let _ = pool.run(jobs.iter().zip(&flags).map(job), |index, reply| {
            let has_hung = reply.as_ref().is_err_and(|death| death.verdict() == Verdict::Hung);
            outcomes[index] = Some(match hangs.counts(index, has_hung) {
                true => outcome(reply, jobs[index]),
                false => Outcome::left_out(),
            });
            each()
        })?;
        self.hung.replace(hangs.into_hung());
        Ok(outcomes)
    }

    /// Runs and checks, in as few processes as the door allows.
    fn batch(
        &self,
        jobs: &[Job],
        each: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Option<Outcome>>> {
        let memory = self.has_memory && !self.plan.real_files;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; jobs.len()];
        let is_run = |index: &usize| jobs[*index].step == Step::Record;
        let (runs, mut left): (Vec<usize>, Vec<usize>) = (0..jobs.len()).partition(is_run);
        let alone = self.pool(true).fresh_processes(true);
        let recorded: Vec<&Job> = runs.iter().map(|&index| &jobs[index]).collect();
        let recorded = self.jobs(&alone, &recorded, &mut || ControlFlow::Continue(()))?;
        for (index, outcome) in runs.into_iter().zip(recorded) {
            match outcome {
                Some(Outcome { reply: Ok(_), .. }) => left.push(index),
                dead => outcomes[index] = dead,
            }
        }
        let step = |index: &usize| match jobs[*index].step {
            Step::Record => Job { step: Step::Judge, keep: memory, ..jobs[*index].clone() },
            _ => Job { keep: memory, ..jobs[*index].clone() },
        };
        let second: Vec<Job> = left.iter().map(step).collect();
        let judged = self.jobs(&self.pool(!memory), &second.iter().collect::<Vec<_>>(), each)?;
        left.iter().zip(judged).for_each(|(&index, outcome)| outcomes[index] = outcome);
        if memory {
            self.on_real_files(jobs, &mut outcomes)?;
        }
        jobs.iter().for_each(|job| drop(remove_tree(&job.room)));
        Ok(outcomes)
    }

    /// What failed, or could not be told without real files, is judged on them.
    fn on_real_files(&self, jobs: &[Job], outcomes: &mut [Option<Outcome>]) -> Result<()> {
        let is_open = |outcome: &Option<Outcome>| match outcome {
            None => false,
            Some(Outcome { at, reply: Err(_) }) => at != RUN,
            Some(Outcome { reply: Ok(attempt), .. }) => {
                attempt.unserved || !attempt.failures.is_empty()
            }
        };
        let open: Vec<usize> = (0..jobs.len()).filter(|&index| is_open(&outcomes[index])).collect();
        let again = |&index: &usize| Job { step: Step::Judge, ..jobs[index].clone() };
        let again: Vec<Job> = open.iter().map(again).collect();
        let again: Vec<&Job> = again.iter().collect();
        let real = self.jobs(&self.pool(true), &again, &mut || ControlFlow::Continue(()))?;
        open.into_iter().zip(real).for_each(|(index, outcome)| outcomes[index] = outcome);
        Ok(())
    }

    /// One job in a process of its own; its room stays.
    fn alone(&self, job: &Job, patience: bool) -> Result<Outcome> {
        let _ = remove_tree(&job.room);
        let limit = self.limit() * if patience { 10 } else { 1 };
        let job = Job { keep: true, ..job.clone() };
        let bytes = postcard::to_stdvec(&job).expect("a job serialises");
        Ok(outcome(self.pool(true).time_limit(limit).run_once(bytes)?, &job))
    }
}

fn outcome(reply: Reply, job: &Job) -> Outcome {
    match reply {
        Ok(bytes) => {
            let attempt = postcard::from_bytes(&bytes).expect("a worker sends an attempt");
            Outcome { at: String::new(), reply: Ok(attempt) }
        }
        Err(death) => Outcome { at: at(&job.room), reply: Err(death) },
    }
}

const LEFT_OUT: &str = "left out: others like it hung";

/// The number of the room in which cases are done alone: no batch is so large.
const ALONE: usize = usize::MAX;

/// The worker's side; ends with the process.
pub(super) fn work<R: ?Sized>(
    door: &mut dyn Door<Root = R>,
    oracle: &mut Oracle<'_, R>,
    role: &Role,
) -> ! {
    let Setup { bound, base, rooms, real_files } =
        postcard::from_bytes(&role.setup).expect("the pool sent a setup");
    let base = base.map(|path| Arc::new(file::load(&path).expect("the session's trace is whole")));
    let kind = if real_files { "worker" } else { "memory" };
    let disks = rooms.join(format!("{kind}-{}", role.slot));
    std::fs::create_dir_all(&disks).expect("the session's folder can be written");
    if !real_files {
        door.use_memory(false);
    }
    let mut tester = Tester { door, oracle, bound, base, disks, known: Known::default() };
    worker::serve(move |job| {
        if job.is_empty() {
            return Ok(postcard::to_stdvec(&Attempt::default()).expect("an attempt serialises"));
        }
        let job: Job = postcard::from_bytes(job).expect("the pool sends jobs");
        let attempt = tester.attempt(&job)?;
        Ok(postcard::to_stdvec(&attempt).expect("an attempt serialises"))
    })
}
