//! A workload behind a door, and its recording and checking in worker processes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::findings::likeness;
use super::hangs::{self, Hangs};
use super::judge::{
    Checked, Judge, Outcome, Recovered, Recovery, check_built, doubt, no_such_state,
};
use super::known::{How, Known};
use super::{Faults, Progress, Settings, Work};
use crate::crash::{Builder, Token};
use crate::disk::Disk;
use crate::model::{Model, Profile};
use crate::reads::Reads;
use crate::report::Report;
use crate::session::Session;
use crate::trace::{Marks, Said, Trace};
use crate::verdict::{Broken, Verdict};
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

    /// Told once, before the first check, of which run the disks are.
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
    /// Recover from this state only, in this process.
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

/// What a checking worker is told.
#[derive(Serialize, Deserialize)]
struct Setup {
    trace: PathBuf,
    rooms: PathBuf,
    real_files: bool,
    prune: bool,
    record: bool,
    /// The calls of a recovery that is recorded are noted.
    observe: bool,
}

/// What a checking worker answers where no promise was broken, or where it cannot tell.
#[derive(Serialize, Deserialize)]
enum Answer {
    /// It was run, and held.
    Held,
    /// It is known to hold.
    Known,
    /// It is known to hold, and broke a promise when it was run.
    Doubted(Broken),
    /// It asked for what only real files have.
    Unserved(String),
    /// What was done to its disk.
    Recorded(Box<Recovered>),
    /// Nothing: others like it hung.
    LeftOut,
}

/// An oracle behind a door, in one place.
pub(crate) struct Checks<'a, 'b, R: ?Sized> {
    pub(crate) door: &'a mut dyn Door<Root = R>,
    pub(crate) oracle: &'a mut Oracle<'b, R>,
    pub(crate) room: PathBuf,
}

impl<R: ?Sized> Recovery for Checks<'_, '_, R> {
    fn check(&mut self, disk: &Disk, marks: &Marks) -> Checked {
        let Checks { door, oracle, room } = self;
        let outcome = door.check(room, disk, &mut |root| oracle(root, marks));
        (outcome.map_err(|broken| broken.without_folder(room)), door.take_reads())
    }

    fn record(&mut self, disk: &Disk, marks: &Marks, faults: &Faults) -> Result<Recovered, Broken> {
        let Checks { door, oracle, room } = self;
        let is_faulty = !faults.plan.rules().is_empty();
        let may_refuse = marks.acked.is_empty();
        let recorded = door.recover(room, disk, marks, faults, &mut |root| {
            match oracle(root, marks) {
                // An error is an answer to a fault.
                Err(_) if is_faulty => Ok(()),
                Err(broken) if broken.verdict() == Verdict::Unopenable && may_refuse => Ok(()),
                outcome => outcome,
            }
        });
        recorded.map_err(|broken| broken.without_folder(room))
    }
}

/// The models of the tokens that a worker was given last.
struct Models {
    session: PathBuf,
    trace: Arc<Trace>,
    id: String,
    /// They live as long as the process, which serves until it is told to end.
    builders: BTreeMap<&'static str, Builder<'static>>,
    /// Of the recovery that the last token was of.
    recovery: Option<(String, Profile, Model)>,
}

impl Models {
    fn build(&mut self, token: &Token) -> Option<(Disk, Said)> {
        let (profile, state) = (token.profile(), token.state());
        if token.trace == self.id {
            let builder = self.builders.entry(profile.name).or_insert_with(|| {
                let model = Model::new(self.trace.clone(), profile);
                Builder::new(Box::leak(Box::new(model)))
            });
            return builder.build(&state);
        }
        let known = |(id, of, _): &(String, Profile, Model)| *id == token.trace && *of == profile;
        if !self.recovery.as_ref().is_some_and(known) {
            let path = file::find(&self.session, &token.trace).expect("the pool saved the trace");
            let trace = Arc::new(file::load(&path).expect("the session's trace is whole"));
            self.recovery = Some((token.trace.clone(), profile, Model::new(trace, profile)));
        }
        let (_, _, model) = self.recovery.as_ref().expect("it was just made");
        Builder::new(model).build(&state)
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
        let trace = trace_of(token, &trace, &settings.traces)?;
        let mut judge = Workers::new(plan, &*door, &trace, session.path())?;
        let model = Model::new(trace.clone(), token.profile());
        let outcome = judge.afresh(&model, &[token.to_string()], false)?.pop().flatten();
        if let Some(Err(broken)) = outcome {
            let words = super::in_words(&trace, token).unwrap_or_default().join("\n  ");
            return Err(Error::new(format!("kept token {token} fails again: {broken}\n  {words}")));
        }
    }
    let mut judge = Workers::new(plan, &*door, &trace, session.path())?;
    super::explore_profiles(&trace, &plan.profiles, &plan.work, &mut judge, settings)
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
pub(crate) fn trace_of(token: &Token, present: &Arc<Trace>, traces: &Path) -> Result<Arc<Trace>> {
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

/// Recovers from one state, in this process.
pub(crate) fn replay<R: ?Sized>(
    door: &mut dyn Door<Root = R>,
    oracle: &mut Oracle<'_, R>,
    trace: &Arc<Trace>,
    token: &Token,
) -> Result<()> {
    let session = new_session()?;
    let (disk, marks) = super::state(trace, token)?;
    door.checks(trace);
    let mut check = |disk: &Disk, marks: &Marks| {
        door.check(session.path(), disk, &mut |root| oracle(root, marks))
    };
    super::check_state(&mut check, &disk, &marks).map_err(|broken| {
        let words = super::in_words(trace, token).unwrap_or_default().join("\n  ");
        Error::new(format!("{token}: {broken}\n  {words}"))
    })
}

/// Recovers from one state and reports nothing but that; `present` is the run as it is recorded now.
pub(crate) fn replay_only<R: ?Sized>(
    door: &mut dyn Door<Root = R>,
    oracle: &mut Oracle<'_, R>,
    present: &Arc<Trace>,
    token: &Token,
    settings: &Settings<'_>,
) -> Result<Vec<Report>> {
    let trace = trace_of(token, present, &settings.traces)?;
    let outcome = replay(door, oracle, &trace, token);
    if super::trace_id(present) == token.trace {
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

/// The worker's side; ends with the process.
pub(crate) fn work<R: ?Sized>(
    door: &mut dyn Door<Root = R>,
    oracle: &mut Oracle<'_, R>,
    role: &Role,
) -> ! {
    match role.task {
        Task::Sweep => unreachable!("an exploration starts no such worker"),
        Task::Record => {
            let room = PathBuf::from(String::from_utf8_lossy(&role.setup).into_owned());
            worker::serve(|_| door.record(&room, &Faults::default()).map(|()| Vec::new()))
        }
        Task::Check => {
            let setup: Setup = postcard::from_bytes(&role.setup).expect("the pool sent a setup");
            let trace = Arc::new(file::load(&setup.trace).expect("the session's trace is whole"));
            // Where disks come from memory nothing of a real one may lie around.
            let kind = if setup.real_files { "worker" } else { "memory" };
            let room = setup.rooms.join(format!("{kind}-{}", role.slot));
            std::fs::create_dir_all(&room).expect("the session's folder can be written");
            if !setup.real_files {
                door.use_memory(setup.prune);
            }
            door.checks(&trace);
            let (id, session) = (super::trace_id(&trace), setup.rooms.clone());
            let builders = BTreeMap::new();
            let mut models = Models { session, trace, id, builders, recovery: None };
            let mut known = Known::new(setup.prune);
            worker::serve(move |job| {
                let text = std::str::from_utf8(job).expect("a token is text");
                if text.is_empty() {
                    return Ok(postcard::to_stdvec(&Answer::LeftOut).expect("texts serialise"));
                }
                let (text, faults) = text.split_once('\n').unwrap_or((text, ""));
                let token: Token = text.parse().expect("the pool sends tokens");
                let built = models.build(&token);
                let mut checks =
                    Checks { door: &mut *door, oracle: &mut *oracle, room: room.clone() };
                let answer = if setup.record {
                    let (disk, marks) = built.ok_or_else(no_such_state)?;
                    let faults = Faults {
                        observe: setup.observe,
                        ..faults.parse().expect("the pool sends the text of faults")
                    };
                    Answer::Recorded(Box::new(checks.record(&disk, &marks, &faults)?))
                } else {
                    if crc32fast::hash(job).is_multiple_of(COMPARED) {
                        checks.door.compare_next();
                    }
                    let checked = check_built(text, built, &mut known, &mut checks);
                    match (door.unserved(), checked) {
                        (Some(why), _) => Answer::Unserved(why),
                        (None, (Ok(()), How::Known)) => Answer::Known,
                        (None, (Ok(()), _)) => Answer::Held,
                        (None, (Err(broken), How::Doubted)) => Answer::Doubted(broken),
                        (None, (Err(broken), _)) => return Err(broken),
                    }
                };
                Ok(postcard::to_stdvec(&answer).expect("texts serialise"))
            })
        }
    }
}

/// One in so many states is compared with the real files made of it.
const COMPARED: u32 = 64;

/// How long a workload may run while it is recorded.
const RECORDING_LIMIT: Duration = Duration::from_secs(600);

/// Checks in worker processes.
pub(crate) struct Workers<'a> {
    plan: &'a Plan,
    trace: PathBuf,
    rooms: PathBuf,
    /// From the first state on that was not served otherwise, or from the start.
    real_files: bool,
    doubts: Vec<String>,
    left_out: u64,
    subject: String,
    /// One process can record again and again.
    repeats: bool,
}

impl<'a> Workers<'a> {
    pub(crate) fn new<R: ?Sized>(
        plan: &'a Plan,
        door: &dyn Door<Root = R>,
        trace: &Trace,
        session: &Path,
    ) -> Result<Self> {
        let subject = trace.subject.clone();
        let trace = file::save(trace, session).map_err(|error| {
            Error::new(format!("cannot write the trace to {}: {error}", session.display()))
        })?;
        let (rooms, real_files) = (session.to_path_buf(), plan.real_files || !door.has_memory());
        Ok(Workers {
            plan,
            trace,
            rooms,
            real_files,
            doubts: Vec::new(),
            left_out: 0,
            subject,
            repeats: door.repeats(),
        })
    }

    fn pool(&self, time_limit: Duration, real_files: bool) -> Pool {
        let (trace, rooms) = (self.trace.clone(), self.rooms.clone());
        let (prune, record, observe) = (self.plan.prune, false, false);
        self.pool_for(&Setup { trace, rooms, real_files, prune, record, observe }, time_limit)
    }

    fn pool_for(&self, setup: &Setup, time_limit: Duration) -> Pool {
        let setup = postcard::to_stdvec(setup);
        let role = Role::new(Task::Check, self.plan.call).setup(setup.expect("paths serialise"));
        Pool::new(self.plan.launch.clone(), role)
            .workers(self.plan.workers)
            .memory_limit(self.plan.memory_limit)
            .time_limit(time_limit)
    }
}

/// Has the pool do every job; those that an interruption leaves out have no answer.
fn answers(
    pool: &Pool,
    tokens: &[String],
    each: impl FnMut(&Answered) -> ControlFlow<()>,
) -> Result<Vec<Option<Answered>>> {
    answers_but(pool, tokens, &hangs::flags(tokens.len()), &mut |_, _| true, each)
}

/// As [`answers`], without those that are flagged by then, and without answers of which `counts` says that they
/// do not count.
fn answers_but(
    pool: &Pool,
    tokens: &[String],
    left_out: &[AtomicBool],
    counts: &mut dyn FnMut(usize, &Answered) -> bool,
    mut each: impl FnMut(&Answered) -> ControlFlow<()>,
) -> Result<Vec<Option<Answered>>> {
    let mut answers: Vec<Option<Answered>> = tokens.iter().map(|_| None).collect();
    let job = |(token, left_out): (&String, &AtomicBool)| match left_out.load(Relaxed) {
        // Places stay what they are: a worker has nothing to do for an empty job.
        true => Vec::new(),
        false => token.clone().into_bytes(),
    };
    let _ = pool.run(tokens.iter().zip(left_out).map(job), |index, reply| {
        let answer = reply.map(|bytes| postcard::from_bytes(&bytes).expect("a worker answered"));
        match counts(index, &answer) {
            true => each(answers[index].insert(answer)),
            false => ControlFlow::Continue(()),
        }
    })?;
    Ok(answers)
}

/// A reply of a worker: an answer, or how the promise was broken.
type Answered = Result<Answer, Broken>;

/// Whether only real files can tell: the check asked for what they alone have, or the worker did not
/// live to say whether it did.
fn is_open(answer: &Option<Answered>) -> bool {
    match answer {
        None => false,
        Some(Ok(answer)) => matches!(answer, Answer::Unserved(_)),
        Some(Err(broken)) => matches!(
            broken.verdict(),
            Verdict::Faulted
                | Verdict::Aborted
                | Verdict::Panicked
                | Verdict::OutOfMemory
                | Verdict::Hung
                | Verdict::NotMeasured
        ),
    }
}

fn outcome(answer: Option<Answered>) -> Option<Outcome> {
    Some(answer?.and_then(|answer| match answer {
        Answer::Doubted(broken) => Err(broken),
        Answer::Held | Answer::Known | Answer::Unserved(_) | Answer::Recorded(_) => Ok(()),
        Answer::LeftOut => unreachable!("what is left out does not count"),
    }))
}

impl Workers<'_> {
    /// The outcomes of states, of which those of one kind are not waited for again and again.
    fn judged(
        &mut self,
        tokens: &[String],
        kind_of: &dyn Fn(usize) -> hangs::Kind,
        settings: &mut Settings<'_>,
    ) -> Result<Vec<Option<Outcome>>> {
        let limit = self.plan.time_limit;
        let interrupted = settings.interrupted;
        let go_on = || match interrupted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let left_out = hangs::flags(tokens.len());
        let mut hangs = Hangs::new(settings.bound.hangs, &left_out, kind_of);
        let mut counts = |index: usize, answer: &Answered| {
            let has_hung = matches!(answer, Err(broken) if broken.verdict() == Verdict::Hung);
            hangs.counts(index, has_hung)
        };
        let pool = self.pool(limit, self.real_files);
        let mut answers = answers_but(&pool, tokens, &left_out, &mut counts, |answer| {
            (settings.progress)(match answer {
                Ok(Answer::Known) => Progress::Known,
                _ => Progress::Checked,
            });
            go_on()
        })?;
        self.left_out += left_out.iter().filter(|left_out| left_out.load(Relaxed)).count() as u64;
        let doubts = tokens.iter().zip(&answers).filter_map(|(token, answer)| match answer {
            Some(Ok(Answer::Doubted(broken))) => Some(doubt(token, broken)),
            _ => None,
        });
        self.doubts.extend(doubts);
        if self.real_files {
            return Ok(answers.into_iter().map(outcome).collect());
        }
        let unserved = |answer: &Option<Answered>| matches!(answer, Some(Ok(Answer::Unserved(_))));
        self.real_files = answers.iter().any(unserved);
        let open: Vec<usize> = (0..tokens.len()).filter(|&i| is_open(&answers[i])).collect();
        let again: Vec<String> = open.iter().map(|&index| tokens[index].clone()).collect();
        let real = self::answers(&self.pool(limit, true), &again, |_| go_on())?;
        for (index, answer) in open.into_iter().zip(real) {
            answers[index] = answer;
        }
        Ok(answers.into_iter().map(outcome).collect())
    }
}

impl Judge for Workers<'_> {
    fn judge(
        &mut self,
        model: &Model,
        tokens: &[String],
        settings: &mut Settings<'_>,
    ) -> Result<Vec<Option<Outcome>>> {
        self.judged(tokens, &|index| likeness(model, &tokens[index]), settings)
    }

    fn afresh(
        &mut self,
        _: &Model,
        tokens: &[String],
        patience: bool,
    ) -> Result<Vec<Option<Outcome>>> {
        let time_limit = self.plan.time_limit * if patience { 10 } else { 1 };
        let pool = self.pool(time_limit, true).fresh_processes(true);
        let answers = answers(&pool, tokens, |_| ControlFlow::Continue(()))?;
        Ok(answers.into_iter().map(outcome).collect())
    }

    /// All of them in one go of the pool.
    fn judge_all(
        &mut self,
        jobs: &[(&Model, &[String])],
        settings: &mut Settings<'_>,
    ) -> Result<Vec<Vec<Option<Outcome>>>> {
        let all = jobs.iter().flat_map(|(model, tokens)| tokens.iter().map(move |t| (*model, t)));
        let (models, tokens): (Vec<&Model>, Vec<String>) =
            all.map(|(model, token)| (model, token.clone())).unzip();
        let kind_of = |index: usize| likeness(models[index], &tokens[index]);
        let mut outcomes = self.judged(&tokens, &kind_of, settings)?.into_iter();
        Ok(jobs.iter().map(|(_, tokens)| outcomes.by_ref().take(tokens.len()).collect()).collect())
    }

    /// Each in a process of its own, unless the door says otherwise: what an engine draws by chance may
    /// depend on all it did before.
    fn record(
        &mut self,
        _: &Model,
        states: &[(String, Faults)],
    ) -> Result<Vec<Option<Result<Recovered, Broken>>>> {
        let (trace, rooms) = (self.trace.clone(), self.rooms.clone());
        let observe = states.iter().any(|(_, faults)| faults.observe);
        let setup = Setup { trace, rooms, real_files: true, prune: false, record: true, observe };
        let pool = self.pool_for(&setup, self.plan.time_limit).fresh_processes(!self.repeats);
        let job = |(token, faults): &(String, Faults)| format!("{token}\n{faults}");
        let jobs: Vec<String> = states.iter().map(job).collect();
        let answers = answers(&pool, &jobs, |_| ControlFlow::Continue(()))?;
        let mut recorded = Vec::new();
        for answer in answers {
            recorded.push(match answer {
                Some(Ok(Answer::Recorded(recovered))) => {
                    let Recovered { trace, calls } = *recovered;
                    let trace = Trace { subject: self.subject.clone(), ..trace };
                    file::save(&trace, &self.rooms).map_err(|error| {
                        Error::new(format!("cannot write a trace to the session: {error}"))
                    })?;
                    Some(Ok(Recovered { trace, calls }))
                }
                Some(Ok(_)) => Some(Err(no_such_state())),
                Some(Err(broken)) => Some(Err(broken)),
                None => None,
            });
        }
        Ok(recorded)
    }

    fn take_doubts(&mut self) -> Vec<String> {
        std::mem::take(&mut self.doubts)
    }

    fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}
