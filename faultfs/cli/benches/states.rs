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
//!
//! Rounds are interleaved, so that the machine's mood meets both; medians are printed, and their ratio.
//!
//! `cargo bench -p cargo-faultfs --bench states`

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
        "{:<14} {:>8} {:>9} {:>6} {:>8} {:>6} {:>9} {:>6}   ({ROUNDS} rounds, medians)",
        "config", "bare/s", "memory/s", "ratio", "files/s", "ratio", "pruned/s", "saved"
    );
    for config in sqlite::CONFIGS {
        let (mut bare, mut memory, mut files) = (Vec::new(), Vec::new(), Vec::new());
        let (mut pruned, mut saved) = (Vec::new(), 0.0);
        for _ in 0..ROUNDS {
            // Workers count the explorations on their way, and do nothing in between.
            if worker::current().is_none() {
                bare.push(bare_rate(&config));
            }
            memory.extend(worker_rates(&config, false, false).map(|rates| rates.0));
            files.extend(worker_rates(&config, true, false).map(|rates| rates.0));
            if let Some((rate, share)) = worker_rates(&config, false, true) {
                pruned.push(rate);
                saved = share;
            }
        }
        let (bare, memory, files) = (median(bare), median(memory), median(files));
        println!(
            "{:<14} {bare:>8.0} {memory:>9.0} {:>6.2} {files:>8.0} {:>6.2} {:>9.0} {saved:>6.2}",
            config.name,
            memory / bare,
            files / bare,
            median(pruned),
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
    let since = Instant::now();
    for _ in 0..REOPENS {
        sqlite::check(session.path(), &marks).expect("nothing was lost");
    }
    f64::from(REOPENS) / since.elapsed().as_secs_f64()
}

/// Explores under the weakest profile with one worker: states per second, and states per state that was
/// run.
fn worker_rates(config: &sqlite::Config, real_files: bool, prune: bool) -> Option<(f64, f64)> {
    let config = *config;
    let launch = Launch::program().expect("this program");
    let call = launch.next_call();
    let mut plan = Plan::new(launch, call);
    plan.profiles = vec![Profile::POSIX];
    plan.workers = 1;
    plan.real_files = real_files;
    plan.prune = prune;
    let traces = Session::new().expect("a session");
    let mut door = Interposed::new(move |root: &Path| config.run(root));
    let (mut states, mut run_states, mut first, mut last) = (0u32, 0u32, None, Instant::now());
    let mut settings = Settings {
        traces: traces.path().to_path_buf(),
        replay: Replay::Tool,
        crashes: Crashes::Everywhere,
        recovery_depth: 0,
        bound: Bound::default(),
        progress: &mut |progress| {
            if matches!(progress, Progress::Checked | Progress::Known) {
                // From the first answer on: the start of the process is paid once, not by state.
                first.get_or_insert_with(Instant::now);
                last = Instant::now();
                states += 1;
                run_states += u32::from(progress == Progress::Checked);
            }
        },
        interrupted: &|| false,
    };
    let door: &mut dyn Door<Root = Path> = &mut door;
    let reports = run(config.name, door, &mut sqlite::check, &plan, &mut settings);
    reports.expect("the run is made").first()?;
    let elapsed: Duration = last - first?;
    let rate = f64::from(states - 1) / elapsed.as_secs_f64();
    Some((rate, f64::from(states) / f64::from(run_states)))
}
