//! Explorations, and how fast their workers are.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultfs::Profile;
use faultfs::explore::{
    Bound, Crashes, Door, Faults, Oracle, Plan, Progress, Replay, Settings, run,
};
use faultfs::session::Session;
use faultfs::trace::Trace;
use faultfs::worker::{self, Launch, Pool, Role, Task};

use super::spent::{pool_time, workers_time};

#[derive(Clone, Copy)]
pub(crate) struct How {
    pub(crate) real_files: bool,
    pub(crate) prune: bool,
    pub(crate) workers: u32,
    /// States, at most.
    pub(crate) budget: u64,
}

/// What came of one exploration.
pub(crate) struct Rates {
    /// States for each second of the workers' processor time.
    pub(crate) processor: f64,
    /// States for each second by the clock, from the first answer to the last.
    pub(crate) clock: f64,
    /// Microseconds of this process's processor time for each state.
    pub(crate) pool: f64,
    /// States for each that was run.
    pub(crate) saved: f64,
}

/// How far the workers had come at a moment.
#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    workers: Duration,
    pool: Duration,
    states: u32,
}

/// Looking takes time that one of the workers may want, so it is not done for every answer.
const BETWEEN_SAMPLES: Duration = Duration::from_millis(20);

/// What is seen of an exploration while it goes on.
#[derive(Default)]
struct Watch {
    listed: u64,
    states: u32,
    run: u32,
    /// From the first answer on: the start of the process is paid once, not by state.
    samples: Option<[Sample; 2]>,
    /// When the first answer came, and the last.
    span: Option<[Instant; 2]>,
}

impl Watch {
    fn see(&mut self, progress: Progress) {
        match progress {
            Progress::Listed(states) => return self.listed = states,
            Progress::Checked => self.run += 1,
            Progress::Known => {}
            _ => return,
        }
        // What is checked again afterwards is another matter.
        if u64::from(self.states) == self.listed {
            return;
        }
        self.states += 1;
        let now = Instant::now();
        let [first, _] = self.span.unwrap_or([now; 2]);
        self.span = Some([first, now]);
        if self.samples.is_some_and(|[_, last]| now - last.at < BETWEEN_SAMPLES) {
            return;
        }
        let (workers, pool) = (workers_time(), pool_time());
        let sample = Sample { at: now, workers, pool, states: self.states };
        match &mut self.samples {
            None => self.samples = Some([sample; 2]),
            // A worker that has answered all may be gone before its last answers come by.
            Some([_, last]) if workers >= last.workers && pool >= last.pool => *last = sample,
            Some(_) => {}
        }
    }

    fn rates(&self) -> Option<Rates> {
        let [first, last] = self.samples?;
        let [since, until] = self.span?;
        let states = f64::from(last.states - first.states);
        Some(Rates {
            processor: states / (last.workers - first.workers).as_secs_f64(),
            clock: f64::from(self.states - 1) / (until - since).as_secs_f64(),
            pool: (last.pool - first.pool).as_secs_f64() * 1e6 / states,
            saved: f64::from(self.states) / f64::from(self.run),
        })
    }
}

/// Explores under the weakest profile. None in a worker.
pub(crate) fn explore<R: ?Sized>(
    name: &str,
    door: &mut dyn Door<Root = R>,
    oracle: &mut Oracle<'_, R>,
    how: How,
) -> Option<Rates> {
    let launch = Launch::program().expect("this program");
    let call = launch.next_call();
    let mut plan = Plan::new(launch, call);
    plan.profiles = vec![Profile::POSIX];
    plan.workers = how.workers;
    plan.real_files = how.real_files;
    plan.prune = how.prune;
    let traces = Session::new().expect("a session");
    let mut watch = Watch::default();
    let mut progress = |progress| watch.see(progress);
    let mut settings = settings(traces.path().to_path_buf(), how.budget, &mut progress);
    run(name, door, oracle, &plan, &mut settings).expect("the run is made").first()?;
    watch.rates()
}

/// The workload's run, recorded in a process of its own. None in a worker.
pub(crate) fn record<R: ?Sized>(door: &mut dyn Door<Root = R>) -> Option<Arc<Trace>> {
    let launch = Launch::program().expect("this program");
    let call = launch.next_call();
    if let Some(role) = worker::current() {
        if role.call == call {
            let room = PathBuf::from(String::from_utf8_lossy(&role.setup).into_owned());
            worker::serve(|_| door.record(&room, &Faults::default()).map(|()| Vec::new()));
        }
        return None;
    }
    let session = Session::new().expect("a session");
    let room = session.path().to_str().expect("a plain name").as_bytes();
    let reply = Pool::new(launch, Role::new(Task::Record, call).setup(room)).run_once(Vec::new());
    reply.expect("a worker runs").expect("the workload runs");
    Some(Arc::new(door.trace(session.path()).expect("it was recorded")))
}

pub(crate) fn settings<'a>(
    traces: PathBuf,
    budget: u64,
    progress: &'a mut dyn FnMut(Progress),
) -> Settings<'a> {
    let mut bound = Bound::default();
    bound.budget = budget;
    Settings {
        traces,
        replay: Replay::Tool,
        crashes: Crashes::Everywhere,
        recovery_depth: 0,
        recovery_faults: Default::default(),
        bound,
        progress,
        interrupted: &|| false,
    }
}
