//! A workload behind a door, and its recording and exploration.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::judge::{Judge, Outcome, Recovered, panicked};
use super::serving::work;
use super::workers::Workers;
use super::{Faults, Settings, Token, Work};
use crate::crash;
use crate::disk::Disk;
use crate::model::{Model, Profile};
use crate::reads::Reads;
use crate::report::Report;
use crate::session::Session;
use crate::trace::{Marks, Trace};
use crate::verdict::Broken;
use crate::worker::{self, Launch, MEMORY_LIMIT, Pool, Role, TIME_LIMIT, Task};
use crate::{Error, Result, Seen, file};

/// A workload behind a door: how it is recorded, and how a disk is opened for recovery.
pub trait Door {
    /// What a workload and a check are given: a [`FaultFs`](crate::fs::FaultFs), or a folder.
    type Root: ?Sized;

    /// Runs the workload while `faults` go wrong, in a process that does nothing else (but see
    /// [`Door::repeats`]). What it leaves in `room`, an empty folder, is all that [`Door::trace`] and
    /// [`Door::calls`] get to see; it leaves the trace also where the workload returns an error.
    ///
    /// # Errors
    ///
    /// What the workload returns: where nothing goes wrong, that it fails by itself. Or that it cannot be
    /// recorded; then there is no trace either.
    fn record(&mut self, room: &Path, faults: &Faults) -> Result<(), Broken>;

    /// The trace of what was recorded, with the faults that were injected, read in the process that asked
    /// for it.
    ///
    /// # Errors
    ///
    /// Where the record in `room` cannot be read.
    fn trace(&mut self, room: &Path) -> Result<Trace>;

    /// The calls of the workload in order, as they would be matched by a rule, read in the process that
    /// asked for it. Of a run that was not observed there are none.
    ///
    /// # Errors
    ///
    /// Where the record in `room` cannot be read.
    fn calls(&mut self, room: &Path) -> Result<Vec<Seen>>;

    /// Whether one process can record again and again, in a room of its own each time. Otherwise each run
    /// has a process of its own.
    fn repeats(&self) -> bool {
        false
    }

    /// Whether [`Faults::capacity`] can be had.
    fn has_capacity(&self) -> bool {
        false
    }

    /// Told before the first check of the disks of a run which one it is.
    fn checks(&mut self, trace: &Trace) {
        let _ = trace;
    }

    /// Opens `disk` and has it checked. `room` is a folder that this worker shares with none, for those
    /// that need real files; it keeps what an earlier check left there.
    ///
    /// # Errors
    ///
    /// What the check says, or why the disk could not be opened.
    fn check(
        &mut self,
        room: &Path,
        disk: &Disk,
        check: &mut dyn FnMut(&Self::Root) -> Result<(), Broken>,
    ) -> Result<(), Broken>;

    /// As [`Door::check`], and records what is done to the disk while `faults` go wrong: the trace starts on
    /// it, with `marks` made first, as [`marks_before`](super::marks_before) has them. In a process that
    /// does nothing else, or where [`Door::repeats`].
    ///
    /// # Errors
    ///
    /// What the check says, where nothing goes wrong; or why it cannot be recorded.
    fn recover(
        &mut self,
        room: &Path,
        disk: &Disk,
        marks: &Marks,
        faults: &Faults,
        check: &mut dyn FnMut(&Self::Root) -> Result<(), Broken>,
    ) -> Result<Recovered, Broken>;

    /// Told what [`Door::check`] will be given next in `room`, some checks in other rooms before that: a door
    /// that needs real files may make them now. What it does one after the other, code and data, is then where
    /// the processor has it at hand.
    ///
    /// # Errors
    ///
    /// As [`Door::check`], which finds them again.
    fn prepare(&mut self, room: &Path, disk: &Disk) -> Result<(), Broken> {
        let _ = (room, disk);
        Ok(())
    }

    /// Told before a sample of the checks: the real files that the next one is given are to be compared with
    /// its disk first, wholly. Where they differ nothing is measured.
    fn compare_next(&mut self) {}

    /// What the last check read of its disk, once, where all of it was followed. Without it every state is
    /// run.
    fn take_reads(&mut self) -> Option<Reads> {
        None
    }

    /// Whether the door can serve disks in a faster way than by real files, and knows when that would
    /// not do ([`Door::unserved`]).
    fn has_memory(&self) -> bool {
        false
    }

    /// Told once, in a worker that does nothing but check: from now on disks may be served that way. With
    /// `follow`, what is read is asked for ([`Door::take_reads`]).
    fn use_memory(&mut self, follow: bool) {
        let _ = follow;
    }

    /// Why nothing that the last check said counts: it asked for what is not served without real files.
    /// The state is then checked again by a worker that has them.
    fn unserved(&mut self) -> Option<String> {
        None
    }
}

/// What is asked of each recovered root.
pub type Oracle<'a, R> = dyn FnMut(&R, &Marks) -> Result<(), Broken> + 'a;

/// How a workload is explored in worker processes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// How to start this program again so that it comes back to the same call.
    pub launch: Launch,
    /// Which exploration of the program it is: see [`Launch::next_call`].
    pub call: u32,
    /// Make this recovery only, in this process.
    pub only: Option<Token>,
    /// Tokens of earlier failures, checked before anything else.
    pub first: Vec<Token>,
    /// The profiles, each of which gets a report.
    pub profiles: Vec<Profile>,
    /// Worker processes; the reports do not depend on it.
    pub workers: u32,
    /// Bytes of private memory that a worker may take, where that is limited.
    pub memory_limit: Option<u64>,
    /// How long one check may take: the one clock that decides.
    pub time_limit: Duration,
    /// Which part of the work is done here.
    pub work: Work,
    /// Check on real files alone. Otherwise a door may serve disks in a faster way; what fails, and a
    /// sample of what holds, is checked on real files all the same. The reports do not depend on it.
    pub real_files: bool,
    /// Leave out states that are known to hold by what recovery has read in others, but for a sample. The
    /// reports do not depend on it.
    pub prune: bool,
}

impl Plan {
    /// All profiles, one worker for each processor, the usual limits.
    pub fn new(launch: Launch, call: u32) -> Plan {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        Plan {
            launch,
            call,
            only: None,
            first: Vec::new(),
            profiles: Profile::MAIN.to_vec(),
            workers: processors,
            memory_limit: Some(MEMORY_LIMIT),
            time_limit: TIME_LIMIT,
            work: Work::Whole,
            real_files: false,
            prune: true,
        }
    }
}

/// Records the workload behind `door` once and explores the trace under each profile of the plan.
///
/// In a worker that was started for this call it does the worker's job and does not return; in one that
/// was started for another call of the same program it returns no reports.
///
/// # Errors
///
/// Where workers cannot be started, the session's folder cannot be written, or a workload fails by
/// itself: there is nothing to explore then.
pub fn run<R: ?Sized>(
    name: &str,
    door: &mut dyn Door<Root = R>,
    oracle: &mut Oracle<'_, R>,
    plan: &Plan,
    settings: &mut Settings<'_>,
) -> Result<Vec<Report>> {
    if let Some(role) = worker::current() {
        if role.call == plan.call {
            work(door, oracle, role);
        }
        return Ok(Vec::new());
    }
    let session = new_session()?;
    let trace = match &plan.work {
        Work::Merge(shards) => shards.trace().clone(),
        _ => Arc::new(record(name, door, plan, session.path())?),
    };
    if let Some(token) = &plan.only {
        return replay_only(door, oracle, &trace, token, settings);
    }
    for token in &plan.first {
        let trace = trace_of(&token.state, &trace, &settings.traces)?;
        let mut judge = Workers::new(plan, &*door, &trace, session.path())?;
        let model = Model::new(trace.clone(), token.state.profile());
        if let Some(Err(broken)) = again(token, &model, &mut judge)? {
            let words = super::in_words(&trace, &token.state).unwrap_or_default().join("\n  ");
            return Err(Error::new(format!("kept token {token} fails again: {broken}\n  {words}")));
        }
    }
    let mut judge = Workers::new(plan, &*door, &trace, session.path())?;
    super::explore_profiles(&trace, &plan.profiles, &plan.work, &mut judge, settings)
}

/// What comes of a kept token in a fresh process.
fn again(token: &Token, model: &Model, judge: &mut dyn Judge) -> Result<Option<Outcome>> {
    let state = token.state.to_string();
    if !token.is_faulty() {
        return Ok(judge.afresh(model, &[state], false)?.pop().flatten());
    }
    let recorded = judge.record_afresh(model, &[(state, token.faults.clone())])?.pop().flatten();
    Ok(recorded.map(|recorded| recorded.map(drop)))
}

pub(crate) fn new_session() -> Result<Session> {
    Session::new().map_err(|error| Error::new(format!("cannot make the session's folder: {error}")))
}

pub(super) fn make(folder: PathBuf) -> Result<PathBuf> {
    match std::fs::create_dir(&folder) {
        Ok(()) => Ok(folder),
        Err(error) => Err(Error::new(format!("cannot make {}: {error}", folder.display()))),
    }
}

/// The trace that a kept token is of: the present one, or a saved one.
pub(crate) fn trace_of(
    token: &crash::Token,
    present: &Arc<Trace>,
    traces: &Path,
) -> Result<Arc<Trace>> {
    if super::trace_id(present) == token.trace {
        return Ok(present.clone());
    }
    let saved = file::find(traces, &token.trace).and_then(|path| file::load(&path));
    saved.map(Arc::new).map_err(|error| {
        Error::new(format!(
            "token {token} is of a run that has changed since, and its trace is not kept ({error}): \
             remove the token, or bring back {}.trace",
            token.trace
        ))
    })
}

/// Makes one recovery, in this process.
pub(crate) fn replay<R: ?Sized>(
    door: &mut dyn Door<Root = R>,
    oracle: &mut Oracle<'_, R>,
    trace: &Arc<Trace>,
    token: &Token,
) -> Result<()> {
    let session = new_session()?;
    let (disk, marks) = super::state(trace, &token.state)?;
    door.checks(trace);
    let room = session.path();
    let outcome = match token.is_faulty() {
        true => faulty_recovery(door, oracle, room, &disk, &marks, &token.faults),
        false => {
            let mut check = |disk: &Disk, marks: &Marks| {
                door.check(room, disk, &mut |root| oracle(root, marks))
            };
            super::check_state(&mut check, &disk, &marks)
        }
    };
    outcome.map_err(|broken| {
        let words = super::in_words(trace, &token.state).unwrap_or_default().join("\n  ");
        Error::new(format!("{token}: {broken}\n  {words}"))
    })
}

/// Whether a recovery dies of faults, in this process: an error is an answer, a panic is none, and anything else that
/// ends it ends the process.
///
/// # Errors
///
/// What it died of, or why it could not be made.
pub fn faulty_recovery<R: ?Sized>(
    door: &mut dyn Door<Root = R>,
    oracle: &mut Oracle<'_, R>,
    room: &Path,
    disk: &Disk,
    marks: &Marks,
    faults: &Faults,
) -> Result<(), Broken> {
    // What the engine had in its hands when it panicked is its own.
    let recover = AssertUnwindSafe(|| {
        door.recover(room, disk, marks, faults, &mut |root| {
            let _ = oracle(root, marks);
            Ok(())
        })
    });
    let recovered = catch_unwind(recover).unwrap_or_else(|panic| Err(panicked(panic)))?;
    match recovered.trace.injected.is_empty() {
        true => Err(Broken::not_measured("the recovery does not come to this call any more")),
        false => Ok(()),
    }
}

/// Recovers from one state and reports nothing but that; `present` is the run as it is recorded now.
pub(crate) fn replay_only<R: ?Sized>(
    door: &mut dyn Door<Root = R>,
    oracle: &mut Oracle<'_, R>,
    present: &Arc<Trace>,
    token: &Token,
    settings: &Settings<'_>,
) -> Result<Vec<Report>> {
    let trace = trace_of(&token.state, present, &settings.traces)?;
    let outcome = replay(door, oracle, &trace, token);
    if super::trace_id(present) == token.state.trace {
        return outcome.map(|()| Vec::new());
    }
    let outcome = outcome.err().map_or(format!("{token}: held"), |error| error.to_string());
    Err(Error::new(format!(
        "{outcome}\nthis is a disk of the saved run; the run has changed since, or differs from time to \
         time: explore it again, without a token"
    )))
}

/// Has a worker record the workload.
fn record<R: ?Sized>(
    name: &str,
    door: &mut dyn Door<Root = R>,
    plan: &Plan,
    session: &Path,
) -> Result<Trace> {
    let room = make(session.join("recording"))?;
    let setup = room.to_str().ok_or_else(|| Error::new("the session's folder is not UTF-8"))?;
    let role = Role::new(Task::Record, plan.call).setup(setup.as_bytes());
    let reply = Pool::new(plan.launch.clone(), role)
        .memory_limit(plan.memory_limit)
        .time_limit(RECORDING_LIMIT)
        .run_once(Vec::new())?;
    if let Err(broken) = reply {
        return Err(Error::new(format!(
            "the workload of {name} failed while it was recorded, without any fault: {broken}\n{}",
            broken.output()
        )));
    }
    let mut trace = door.trace(&room)?;
    trace.subject = name.into();
    Ok(trace)
}

/// How long a workload may run while it is recorded.
const RECORDING_LIMIT: Duration = Duration::from_secs(600);
