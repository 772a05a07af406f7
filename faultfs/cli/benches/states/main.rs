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
//! - *machine*: *bare* in two processes at once, over one, by the clock: what this machine gives two that have
//!   nothing to do with each other, nor with us. No more can be asked of *two*.
//! - *pool*: microseconds of the processor that the workers' parent takes for each state of *two*: it has to
//!   get them from somewhere.
//!
//! But for *two* and *machine*, time is that of the processor, user and kernel, as the kernel counts it for
//! this thread, for the worker, and for the programs that they have started: what else runs on the machine
//! does not count. Rounds are interleaved, so that the machine's mood meets all; medians are printed, and the
//! ratios to *bare* and to *same*.
//!
//! SQLite does without real files. The last lines are of engines that cannot: programs, each started by a
//! script to check a folder, which is `cargo faultfs torture command`. For them *bare* and *same* run the same
//! script, from here.
//!
//! `cargo bench -p cargo-faultfs --bench states`, or only some of them, in so many rounds:
//! `-- wal-full delete-extra sqlite3 3`

mod command;
mod explored;
mod reopen;
mod spent;
#[path = "../../src/sqlite.rs"]
#[allow(dead_code, reason = "the tool uses the rest")]
mod sqlite;

use std::path::Path;

use faultfs_interpose::Interposed;

use explored::{How, explore, record};
use reopen::{Clean, REOPENER, Reopened, Reopeners, reopen_states, reopen_when_told};

const ROUNDS: usize = 7;

/// States of an exploration: four times the usual budget.
const STATES: u64 = 6_000;
/// States where two workers are timed by the clock: so many that it does not matter that the second starts a
/// little later.
const STATES_BY_CLOCK: u64 = 24_000;
const REOPENS: u32 = 2_000;

fn main() {
    let named: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let chosen = |name: &str| {
        let mut names = named.iter().filter(|word| word.parse::<usize>().is_err()).peekable();
        names.peek().is_none() || names.any(|chosen| chosen == name)
    };
    let configs: Vec<_> = sqlite::CONFIGS.iter().filter(|config| chosen(config.name)).collect();
    if std::env::args().any(|argument| argument == REOPENER) {
        // Where it is not told to begin, nobody waits for it any more.
        return configs.into_iter().for_each(|config| drop(reopen_when_told(config)));
    }
    let rounds = named.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    println!("medians of {rounds} rounds; /b: over bare, /s: over same");
    println!(
        "{:<13} {:>6} {:>4} {:>6} {:>4} {:>8} {:>5} {:>5} {:>7} {:>5} {:>5} {:>8} {:>5} {:>5} {:>5} {:>7} {:>4}",
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
        "two",
        "machine",
        "pool"
    );
    configs.into_iter().for_each(|config| measure(config, rounds));
    let scripts = command::SCRIPTS.iter().filter(|script| chosen(script.name));
    scripts.for_each(|script| script.measure(rounds));
}

/// Measures one configuration and prints its line.
fn measure(config: &sqlite::Config, rounds: usize) {
    let (mut bare, mut same) = (Reopened::default(), Reopened::default());
    let (mut memory, mut files) = (Vec::new(), Vec::new());
    let (mut pruned, mut saved) = (Vec::new(), 0.0);
    let (mut one, mut two, mut pool) = (Vec::new(), Vec::new(), Vec::new());
    let (mut alone, mut both) = (Vec::new(), Vec::new());
    let door = || {
        let config = *config;
        Interposed::new(move |root: &Path| config.run(root))
    };
    let explore = |how| explore(config.name, &mut door(), &mut sqlite::check, how);
    let trace = record(&mut door());
    for _ in 0..rounds {
        // Workers count the explorations on their way, and do nothing in between.
        if let Some(trace) = &trace {
            bare.push(Clean::new(config).reopen(REOPENS));
            let mut check = |root: &Path, marks: &_| drop(sqlite::check(root, marks));
            same.push(reopen_states(trace, STATES, &mut check));
        }
        let usual = How { real_files: false, prune: false, workers: 1, budget: STATES };
        memory.extend(explore(usual).map(|rates| rates.processor));
        let on_files = How { real_files: true, ..usual };
        files.extend(explore(on_files).map(|rates| rates.processor));
        if let Some(rates) = explore(How { prune: true, ..usual }) {
            pruned.push(rates.processor);
            saved = rates.saved;
        }
        let by_clock = How { budget: STATES_BY_CLOCK, ..usual };
        one.extend(explore(by_clock).map(|rates| rates.clock));
        if let Some(rates) = explore(How { workers: 2, ..by_clock }) {
            two.push(rates.clock);
            pool.push(rates.pool);
        }
        if trace.is_some() {
            alone.push(Reopeners::rate(config, 1).expect("a process starts"));
            both.push(Reopeners::rate(config, 2).expect("two processes start"));
        }
    }
    let ((bare, bare_own), (same, same_own)) = (bare.result(), same.result());
    let [memory, files, pruned, pool] = [memory, files, pruned, pool].map(median);
    let [one, two, alone, both] = [one, two, alone, both].map(median);
    println!(
        "{:<13} {bare:>6.0} {bare_own:>4.2} {same:>6.0} {same_own:>4.2} {memory:>8.0} {:>5.2} {:>5.2} \
         {files:>7.0} {:>5.2} {:>5.2} {pruned:>8.0} {:>5.2} {saved:>5.2} {:>5.2} {:>7.2} {pool:>4.1}",
        config.name,
        memory / bare,
        memory / same,
        files / bare,
        files / same,
        pruned / bare,
        two / one,
        both / alone,
    );
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}
