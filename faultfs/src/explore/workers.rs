//! The judge that has states checked by workers.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::door::{Door, Plan};
use super::findings::likeness;
use super::hangs::{self, Hangs};
use super::judge::{Judge, Outcome, Recorded, Recovered, doubt, no_such_state};
use super::serving::{Answer, Setup};
use super::{Faults, Patience, Progress, Settings};
use crate::model::Model;
use crate::sweep::struck;
use crate::trace::Trace;
use crate::verdict::{Broken, Verdict};
use crate::worker::{Pool, Role, Task};
use crate::{Error, Result, file};

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

/// Recoveries that are recorded.
impl Workers<'_> {
    fn recorders(&self, states: &[(String, Faults)], time_limit: Duration) -> Pool {
        let (trace, rooms) = (self.trace.clone(), self.rooms.clone());
        let observe = states.iter().any(|(_, faults)| faults.observe);
        let setup = Setup { trace, rooms, real_files: true, prune: false, record: true, observe };
        self.pool_for(&setup, time_limit)
    }

    fn recorded(
        &self,
        pool: &Pool,
        states: &[(String, Faults)],
        patience: &mut Patience,
    ) -> Result<Vec<Option<Recorded>>> {
        let job = |(token, faults): &(String, Faults)| format!("{token}\n{faults}");
        let jobs: Vec<String> = states.iter().map(job).collect();
        let left_out = hangs::flags(jobs.len());
        let kind_of = |index: usize| hangs::Kind::from([struck(&states[index].1.to_string())]);
        let mut hangs = patience.hangs(&left_out, &kind_of);
        let mut counts = |index: usize, answer: &Answered| {
            let has_hung = matches!(answer, Err(broken) if broken.verdict() == Verdict::Hung);
            hangs.counts(index, has_hung)
        };
        let go_on = |_: &Answered| ControlFlow::Continue(());
        let answers = answers_but(pool, &jobs, &left_out, &mut counts, go_on)?;
        patience.keep(hangs);
        let all = answers.into_iter().zip(&left_out);
        all.map(|(answer, left_out)| match left_out.load(Relaxed) {
            true => Ok(Some(Err(Recovered::left_out()))),
            false => answer.map(|answer| self.kept(answer)).transpose(),
        })
        .collect()
    }

    /// What a recovery did, under the name of the run and where workers find it.
    fn kept(&self, answer: Answered) -> Result<Recorded> {
        let Recovered { trace, calls } = match answer {
            Ok(Answer::Recorded(recovered)) => *recovered,
            Ok(_) => return Ok(Err(no_such_state())),
            Err(broken) => return Ok(Err(broken)),
        };
        let trace = Trace { subject: self.subject.clone(), ..trace };
        file::save(&trace, &self.rooms)
            .map_err(|error| Error::new(format!("cannot write a trace to the session: {error}")))?;
        Ok(Ok(Recovered { trace, calls }))
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
        patience: &mut Patience,
    ) -> Result<Vec<Option<Recorded>>> {
        let pool = self.recorders(states, self.plan.time_limit).fresh_processes(!self.repeats);
        self.recorded(&pool, states, patience)
    }

    fn record_afresh(
        &mut self,
        _: &Model,
        states: &[(String, Faults)],
    ) -> Result<Vec<Option<Recorded>>> {
        let pool = self.recorders(states, self.plan.time_limit * 10).fresh_processes(true);
        self.recorded(&pool, states, &mut Patience::endless())
    }

    fn take_doubts(&mut self) -> Vec<String> {
        std::mem::take(&mut self.doubts)
    }

    fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}
