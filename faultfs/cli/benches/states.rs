//! States checked per second and worker, beside what the engine's own reopening costs, side by side in one
//! run.
//!
//! Two ways to reopen without us, both on the RAM-backed folder, in a process without a trap:
//!
//! - *bare*: open, `PRAGMA integrity_check`, read and compare all rows, close; the folder is left alone and
//!   was closed cleanly, so nothing has to be recovered. What an engine's own reopen test would cost.
//! - *same*: the same check on the same disks: the very states that the exploration checks, each written to a
//!   real folder of its own beforehand, outside of the clock. All the recovery that a worker sees, nothing of
//!   what a worker does.
//!
//! Beside each stands *own*: the share of it that runs outside of the kernel. That is the engine and the
//! check, which nobody can take away: served for nothing at all, they would be about 1 / own times as fast,
//! and no ratio to it can be more (but for *pruned*, which does not run them). About: without the kernel in
//! between they run a little faster, and the kernel tells the two halves apart by samples.
//!
//! - *memory*: one worker process of an exploration: build the disk of each state, serve it from memory,
//!   and do the same through the interposed door, recovery included.
//! - *files*: the same, but make a real folder equal to each disk.
//! - *pruned*: as *memory*, without the states that are known to hold by what recovery read in others; all
//!   states count, and *saved* is how many of them there are for each that was run.
//! - *two*: as *memory*, by two workers, over one, by the clock: 2 where they do not hinder each other.
//!
//! But for *two*, time is that of the processor, user and kernel, as the kernel counts it for this thread
//! and for the worker: what else runs on the machine does not count. Rounds are interleaved, so that the
//! machine's mood meets all; medians are printed, and the ratios to *bare* and to *same*.
//!
//! `cargo bench -p cargo-faultfs --bench states`, or only some of them, in so many rounds:
//! `-- wal-full delete-extra 3`

#[path = "../src/sqlite.rs"]
#[allow(dead_code, reason = "the tool uses the rest")]
mod sqlite;

use std::ops::{Add, AddAssign, Sub};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultfs::Profile;
use faultfs::disk::Disk;
use faultfs::explore::{
    Bound, Checked, Crashes, Door, Faults, InProcess, Plan, Progress, Recovered, Recovery, Replay,
    Settings, explore_trace, run,
};
use faultfs::folder::Folder;
use faultfs::session::Session;
use faultfs::trace::{Marks, Trace};
use faultfs::verdict::Broken;
use faultfs::worker::{self, Launch, Pool, Role, Task};
use faultfs_interpose::Interposed;

const ROUNDS: usize = 7;

/// States of an exploration: four times the usual budget, so that two workers are not timed while one of them
/// still starts.
const STATES: u64 = 6_000;

fn main() {
    let named: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let rounds = named.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    let chosen = |config: &&sqlite::Config| {
        let mut names = named.iter().filter(|word| word.parse::<usize>().is_err()).peekable();
        names.peek().is_none() || names.any(|name| name == config.name)
    };
    println!("medians of {rounds} rounds; /b: over bare, /s: over same");
    println!(
        "{:<13} {:>6} {:>4} {:>6} {:>4} {:>8} {:>5} {:>5} {:>7} {:>5} {:>5} {:>8} {:>5} {:>5} {:>5}",
        "config",
        "bare/s",
        "own",
        "same/s",
        "own",
        "memory/s",
        "/b",
        "/s",
        "files/s",
        "/b",
        "/s",
        "pruned/s",
        "/b",
        "saved",
        "two"
    );
    sqlite::CONFIGS.iter().filter(chosen).for_each(|config| measure(config, rounds));
}

/// Measures one configuration and prints its line.
fn measure(config: &sqlite::Config, rounds: usize) {
    let (mut bare, mut same) = (Reopened::default(), Reopened::default());
    let (mut memory, mut files) = (Vec::new(), Vec::new());
    let (mut pruned, mut saved) = (Vec::new(), 0.0);
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let trace = record(config);
    for _ in 0..rounds {
        // Workers count the explorations on their way, and do nothing in between.
        if let Some(trace) = &trace {
            bare.push(reopen_clean(config));
            same.push(reopen_states(trace));
        }
        let usual = How { real_files: false, prune: false, workers: 1 };
        if let Some(rates) = worker_rates(config, usual) {
            memory.push(rates.processor);
            one.push(rates.clock);
        }
        two.extend(worker_rates(config, How { workers: 2, ..usual }).map(|r| r.clock));
        let on_files = How { real_files: true, ..usual };
        files.extend(worker_rates(config, on_files).map(|rates| rates.processor));
        if let Some(rates) = worker_rates(config, How { prune: true, ..usual }) {
            pruned.push(rates.processor);
            saved = rates.saved;
        }
    }
    let (bare_own, same_own) = (bare.own(), same.own());
    let (bare, same) = (median(bare.rates), median(same.rates));
    let (memory, files) = (median(memory), median(files));
    let (pruned, one, two) = (median(pruned), median(one), median(two));
    println!(
        "{:<13} {bare:>6.0} {bare_own:>4.2} {same:>6.0} {same_own:>4.2} {memory:>8.0} {:>5.2} {:>5.2} \
         {files:>7.0} {:>5.2} {:>5.2} {pruned:>8.0} {:>5.2} {saved:>5.2} {:>5.2}",
        config.name,
        memory / bare,
        memory / same,
        files / bare,
        files / same,
        pruned / bare,
        two / one,
    );
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Reopening without us, round by round.
#[derive(Default)]
struct Reopened {
    /// Reopens for each second.
    rates: Vec<f64>,
    spent: Spent,
}

impl Reopened {
    fn push(&mut self, (reopens, spent): (u32, Spent)) {
        self.rates.push(f64::from(reopens) / spent.total.as_secs_f64());
        self.spent += spent;
    }

    /// The share outside of the kernel.
    fn own(&self) -> f64 {
        self.spent.user as f64 / (self.spent.user + self.spent.system) as f64
    }
}

/// Processor time of this thread.
#[derive(Clone, Copy, Default)]
struct Spent {
    total: Duration,
    /// Its parts outside and inside of the kernel, in hundredths of a second: for a sum of many
    /// differences, as each of them may be wrong by one.
    user: i64,
    system: i64,
}

impl Spent {
    fn now() -> Spent {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux counts");
        // Fields 14 and 15 of proc_pid_stat(5); the second, a name, may hold anything but this.
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut fields = fields.split(' ').skip(11).map(|field| field.parse().unwrap_or(0));
        let (user, system) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
        Spent { total: processor_time("thread-self"), user, system }
    }
}

impl Sub for Spent {
    type Output = Spent;
    fn sub(self, since: Spent) -> Spent {
        let (user, system) = (self.user - since.user, self.system - since.system);
        Spent { total: self.total - since.total, user, system }
    }
}

impl Add for Spent {
    type Output = Spent;
    fn add(self, more: Spent) -> Spent {
        let (user, system) = (self.user + more.user, self.system + more.system);
        Spent { total: self.total + more.total, user, system }
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, more: Spent) {
        *self = *self + more;
    }
}

/// Reopens the database that the workload leaves.
fn reopen_clean(config: &sqlite::Config) -> (u32, Spent) {
    const REOPENS: u32 = 2000;
    let session = Session::new().expect("a session");
    let mut marks = Marks::default();
    config.run(session.path()).expect("the workload runs");
    (0..=6).for_each(|id| marks.add(faultfs::trace::Mark::Ack(id)));
    let since = Spent::now();
    for _ in 0..REOPENS {
        sqlite::check(session.path(), &marks).expect("nothing was lost");
    }
    (REOPENS, Spent::now() - since)
}

/// Reopens each disk of the exploration once.
fn reopen_states(trace: &Arc<Trace>) -> (u32, Spent) {
    let (session, traces) = (Session::new().expect("a session"), Session::new().expect("one more"));
    let (folders, waiting, spent) = (Vec::new(), Vec::new(), Spent::default());
    let mut reopen = Reopen { session, folders, waiting, count: 0, spent };
    let mut silent = |_| {};
    let mut settings = settings(traces.path().to_path_buf(), &mut silent);
    let mut judge = InProcess::new(&mut reopen, false);
    let report = explore_trace(trace, Profile::POSIX, &mut judge, &mut settings);
    report.expect("the run is explored");
    reopen.work_off();
    (reopen.count, reopen.spent)
}

/// Collects disks; writes some to folders, and then reopens these.
struct Reopen {
    session: Session,
    folders: Vec<Folder>,
    waiting: Vec<(Disk, Marks)>,
    count: u32,
    spent: Spent,
}

impl Reopen {
    /// So few that what the engine opens is not always new to the processor's caches.
    const AT_ONCE: usize = 64;

    fn work_off(&mut self) {
        let disks = std::mem::take(&mut self.waiting);
        for (place, (disk, _)) in disks.iter().enumerate() {
            if place == self.folders.len() {
                self.folders.push(Folder::new(self.session.path().join(place.to_string())));
            }
            self.folders[place].write(disk).expect("there is room");
        }
        let since = Spent::now();
        for ((_, marks), folder) in disks.iter().zip(&self.folders) {
            // Whether it holds is the exploration's matter.
            let _ = sqlite::check(folder.path(), marks);
        }
        self.spent += Spent::now() - since;
        self.count += disks.len() as u32;
    }
}

impl Recovery for Reopen {
    /// All hold at first; the few that are looked at again do not matter.
    fn check(&mut self, disk: &Disk, marks: &Marks) -> Checked {
        self.waiting.push((disk.clone(), marks.clone()));
        if self.waiting.len() == Reopen::AT_ONCE {
            self.work_off();
        }
        (Ok(()), None)
    }

    fn record(&mut self, _: &Disk, _: &Marks, _: &Faults) -> Result<Recovered, Broken> {
        unreachable!("no crashes during recovery are asked for")
    }
}

/// The workload's run, recorded in a process of its own; none in a worker.
fn record(config: &sqlite::Config) -> Option<Arc<Trace>> {
    let config = *config;
    let launch = Launch::program().expect("this program");
    let call = launch.next_call();
    let mut door = Interposed::new(move |root: &Path| config.run(root));
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

/// Processor time of a process or thread until now (`Documentation/scheduler/sched-stats.rst`).
fn processor_time(of: &str) -> Duration {
    let counts = std::fs::read_to_string(format!("/proc/{of}/schedstat")).unwrap_or_default();
    let nanoseconds = counts.split_whitespace().next().and_then(|count| count.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// Processor time of the workers: of all children there are.
fn workers_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")));
    let children: String = children.map(Result::unwrap_or_default).collect();
    children.split_whitespace().map(processor_time).sum()
}

#[derive(Clone, Copy)]
struct How {
    real_files: bool,
    prune: bool,
    workers: u32,
}

/// What came of one exploration.
struct Rates {
    /// States for each second of the workers' processor time, and for each by the clock.
    processor: f64,
    clock: f64,
    /// States for each that was run.
    saved: f64,
}

/// How far the workers had come at a moment.
#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    workers: Duration,
    states: u32,
}

/// Looking takes time that one of the workers may want, so it is not done for every answer.
const BETWEEN_SAMPLES: Duration = Duration::from_millis(20);

/// Explores under the weakest profile.
fn worker_rates(config: &sqlite::Config, how: How) -> Option<Rates> {
    let config = *config;
    let launch = Launch::program().expect("this program");
    let call = launch.next_call();
    let mut plan = Plan::new(launch, call);
    plan.profiles = vec![Profile::POSIX];
    plan.workers = how.workers;
    plan.real_files = how.real_files;
    plan.prune = how.prune;
    let traces = Session::new().expect("a session");
    let mut door = Interposed::new(move |root: &Path| config.run(root));
    let (mut states, mut run_states) = (0u32, 0u32);
    // From the first answer on: the start of the process is paid once, not by state.
    let mut samples: Option<[Sample; 2]> = None;
    let mut progress = |progress| {
        if !matches!(progress, Progress::Checked | Progress::Known) {
            return;
        }
        states += 1;
        run_states += u32::from(progress == Progress::Checked);
        let now = Instant::now();
        if samples.is_some_and(|[_, last]| now - last.at < BETWEEN_SAMPLES) {
            return;
        }
        let sample = Sample { at: now, workers: workers_time(), states };
        match &mut samples {
            None => samples = Some([sample; 2]),
            // A worker that has answered all may be gone before its last answers come by.
            Some([_, last]) if sample.workers >= last.workers => *last = sample,
            Some(_) => {}
        }
    };
    let mut settings = settings(traces.path().to_path_buf(), &mut progress);
    let door: &mut dyn Door<Root = Path> = &mut door;
    let reports = run(config.name, door, &mut sqlite::check, &plan, &mut settings);
    reports.expect("the run is made").first()?;
    let [first, last] = samples?;
    let rate = |time: Duration| f64::from(last.states - first.states) / time.as_secs_f64();
    Some(Rates {
        processor: rate(last.workers - first.workers),
        clock: rate(last.at - first.at),
        saved: f64::from(states) / f64::from(run_states),
    })
}

fn settings<'a>(traces: PathBuf, progress: &'a mut dyn FnMut(Progress)) -> Settings<'a> {
    let mut bound = Bound::default();
    bound.budget = STATES;
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
