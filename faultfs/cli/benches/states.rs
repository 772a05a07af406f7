//! States checked per second and worker, against bare reopening of the same database on the same
//! RAM-backed folder, side by side in one run.
//!
//! - *bare*: open, `PRAGMA integrity_check`, read and compare all rows, close; the folder is left alone, so
//!   nothing has to be recovered. What an engine's own reopen test would cost.
//! - *memory*: one worker process of an exploration: build the disk of each state, serve it from memory,
//!   and do the same through the interposed door, recovery included.
//! - *files*: the same, but make a real folder equal to each disk.
//! - *pruned*: as *memory*, without the states that are known to hold by what recovery read in others; all
//!   states count, and *saved* is how many of them there are for each that was run.
//! - *two*: as *memory*, by two workers, over one, by the clock: 2 where they do not hinder each other.
//!
//! But for *two*, time is that of the processor, user and kernel, as the kernel counts it for this thread
//! and for the worker: what else runs on the machine does not count. Rounds are interleaved, so that the
//! machine's mood meets all; medians are printed, and their ratio.
//!
//! `cargo bench -p cargo-faultfs --bench states`, or only some of them: `-- wal-full delete-extra`

#[path = "../src/sqlite.rs"]
#[allow(dead_code, reason = "the tool uses the rest")]
mod sqlite;

use std::path::Path;
use std::time::{Duration, Instant};

use faultfs::Profile;
use faultfs::explore::{Bound, Crashes, Door, Plan, Progress, Replay, Settings, run};
use faultfs::session::Session;
use faultfs::trace::Marks;
use faultfs::worker::{self, Launch};
use faultfs_interpose::Interposed;

const ROUNDS: usize = 7;

fn main() {
    println!(
        "{:<14} {:>8} {:>9} {:>6} {:>8} {:>6} {:>9} {:>6} {:>6} {:>5}   ({ROUNDS} rounds, medians)",
        "config",
        "bare/s",
        "memory/s",
        "ratio",
        "files/s",
        "ratio",
        "pruned/s",
        "ratio",
        "saved",
        "two"
    );
    let named: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    for config in sqlite::CONFIGS {
        if !named.is_empty() && !named.iter().any(|name| name == config.name) {
            continue;
        }
        let (mut bare, mut memory, mut files) = (Vec::new(), Vec::new(), Vec::new());
        let (mut pruned, mut saved) = (Vec::new(), 0.0);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            // Workers count the explorations on their way, and do nothing in between.
            if worker::current().is_none() {
                bare.push(bare_rate(&config));
            }
            let usual = How { real_files: false, prune: false, workers: 1 };
            if let Some(rates) = worker_rates(&config, usual) {
                memory.push(rates.processor);
                one.push(rates.clock);
            }
            two.extend(worker_rates(&config, How { workers: 2, ..usual }).map(|r| r.clock));
            let on_files = How { real_files: true, ..usual };
            files.extend(worker_rates(&config, on_files).map(|rates| rates.processor));
            if let Some(rates) = worker_rates(&config, How { prune: true, ..usual }) {
                pruned.push(rates.processor);
                saved = rates.saved;
            }
        }
        let (bare, memory, files) = (median(bare), median(memory), median(files));
        let (pruned, one, two) = (median(pruned), median(one), median(two));
        println!(
            "{:<14} {bare:>8.0} {memory:>9.0} {:>6.2} {files:>8.0} {:>6.2} {pruned:>9.0} {:>6.2} \
             {saved:>6.2} {:>5.2}",
            config.name,
            memory / bare,
            files / bare,
            pruned / bare,
            two / one,
        );
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Reopens the database that the workload leaves.
fn bare_rate(config: &sqlite::Config) -> f64 {
    const REOPENS: u32 = 1000;
    let session = Session::new().expect("a session");
    let mut marks = Marks::default();
    config.run(session.path()).expect("the workload runs");
    (0..=6).for_each(|id| marks.add(faultfs::trace::Mark::Ack(id)));
    let since = processor_time("thread-self");
    for _ in 0..REOPENS {
        sqlite::check(session.path(), &marks).expect("nothing was lost");
    }
    f64::from(REOPENS) / (processor_time("thread-self") - since).as_secs_f64()
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
    let (mut states, mut run_states, mut first) = (0u32, 0u32, None);
    let mut last = (Instant::now(), Duration::ZERO);
    let mut settings = Settings {
        traces: traces.path().to_path_buf(),
        replay: Replay::Tool,
        crashes: Crashes::Everywhere,
        recovery_depth: 0,
        recovery_faults: 0,
        bound: Bound::default(),
        progress: &mut |progress| {
            if matches!(progress, Progress::Checked | Progress::Known) {
                // From the first answer on: the start of the process is paid once, not by state.
                // A worker that has answered all may be gone before its last answers come by.
                last = (Instant::now(), workers_time().max(last.1));
                first.get_or_insert(last);
                states += 1;
                run_states += u32::from(progress == Progress::Checked);
            }
        },
        interrupted: &|| false,
    };
    let door: &mut dyn Door<Root = Path> = &mut door;
    let reports = run(config.name, door, &mut sqlite::check, &plan, &mut settings);
    reports.expect("the run is made").first()?;
    let first = first?;
    let rate = |time: Duration| f64::from(states - 1) / time.as_secs_f64();
    Some(Rates {
        processor: rate(last.1 - first.1),
        clock: rate(last.0 - first.0),
        saved: f64::from(states) / f64::from(run_states),
    })
}
