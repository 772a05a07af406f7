//! Holds the persistence models against the kernel that is running.
//!
//! ```text
//! a filesystem on a loop device ──► its writes and flushes ──► disks of a power cut ──► mounted, looked at
//!      a litmus program, writeback forced at chosen places                      what the profile allows ◄─┘
//! ```
//!
//! What is seen and not allowed is a model that promises too much, and fails the run. What is allowed and
//! never seen is counted: a profile covers more kernels and more timing than one machine shows.

mod actor;
mod crash;
mod device;
mod legal;
mod look;
mod measure;
mod ops;
mod programs;
mod rig;
mod schedule;
mod short;
mod systems;
mod table;
mod token;

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;

use measure::{Bound, Prepared, Seen, Unmeasured, measure};
use rig::Rig;
use systems::System;
use token::Token;

/// Hold the persistence models against the kernel that is running.
///
/// Needs root, loop devices, FUSE, and the mkfs of each filesystem. Exit codes: 0 everything seen is allowed,
/// 1 something is not, or a wrong profile is not caught, 2 bad usage, 3 something could not be measured.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    act: Option<Act>,
    /// What catches a wrong profile of each main filesystem in a minute or two, for each change.
    #[arg(long, conflicts_with_all = ["systems", "programs", "drawn", "schedules", "states"])]
    short: bool,
    /// Only this filesystem (may be given several times).
    #[arg(long = "system", value_name = "NAME")]
    systems: Vec<String>,
    /// Only programs whose name has this in it (may be given several times).
    #[arg(long = "program", value_name = "PART")]
    programs: Vec<String>,
    /// As many drawn programs instead of the litmus programs.
    #[arg(long, value_name = "N")]
    drawn: Option<u64>,
    /// Schedules of each program, at most.
    #[arg(long, value_name = "N", default_value_t = 40)]
    schedules: usize,
    /// Disks drawn of what lies between two flushes.
    #[arg(long, value_name = "N", default_value_t = 6)]
    samples: usize,
    /// Disks of each schedule, at most.
    #[arg(long, value_name = "N", default_value_t = 60)]
    states: usize,
    /// What is drawn with; of drawn programs the first.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Devices at work at once.
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: usize,
    /// List what is allowed and was never seen.
    #[arg(long)]
    never: bool,
}

#[derive(clap::Subcommand)]
enum Act {
    /// Looks at one disk again.
    Replay {
        /// As a finding prints it.
        token: Token,
    },
    /// The process that mounts: for this program itself.
    #[command(hide = true)]
    Act { system: String, device: PathBuf, at: PathBuf },
}

/// Set where the mounts have a namespace of their own.
const APART: &str = "FAULTFS_KERNEL_APART";

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Act::Act { system, device, at }) = &args.act {
        return ended(actor::run(system, device, at).map(|()| ExitCode::SUCCESS));
    }
    if std::env::var_os(APART).is_none() {
        if let Some(why) = missing() {
            println!("not measured: {why}");
            return ExitCode::from(3);
        }
        let itself = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
        let error = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--"])
            .arg(itself)
            .args(std::env::args_os().skip(1))
            .env(APART, "1")
            .exec();
        println!("not measured: unshare: {error}");
        return ExitCode::from(3);
    }
    ended(match &args.act {
        Some(Act::Replay { token }) => replay(token),
        _ => run(&args),
    })
}

fn ended(result: Result<ExitCode, String>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

/// Why nothing can be measured here.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may mount".into());
    }
    let devices = ["/dev/loop-control", "/dev/fuse"].into_iter();
    let denied = devices.filter_map(|device| {
        let opened = File::options().read(true).write(true).open(device);
        opened.err().map(|error| format!("{device}: {error}"))
    });
    let commands: [&[&str]; 2] = [&["unshare", "--mount", "true"], &["losetup", "--version"]];
    let refused = commands.into_iter().filter_map(|words| {
        let output = Command::new(words[0]).args(&words[1..]).output();
        match output {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_string()),
            Err(error) => Some(format!("{}: {error}", words[0])),
        }
    });
    denied.chain(refused).next()
}

fn run(args: &Args) -> Result<ExitCode, String> {
    let Chosen { systems, programs, bound } = chosen(args)?;
    let (mut unexplained, mut unmeasured) = (0, 0);
    table::head();
    for system in systems {
        if let Some(why) = system.missing() {
            println!("{:<20} not measured: {why}", system.name);
            unmeasured += 1;
            continue;
        }
        let seen = all(system, &programs, &bound, args.jobs)?;
        table::print(system.name, &seen, args.never);
        unexplained += findings(&seen);
        if args.drawn.is_none() {
            unexplained += turned(system, &seen);
        }
        let failed = |one: &&Seen| matches!(one.unmeasured, Some(Unmeasured::Failed(_)));
        unmeasured += seen.iter().filter(failed).count();
    }
    Ok(match (unexplained, unmeasured) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(3),
        _ => ExitCode::FAILURE,
    })
}

/// What is to be measured.
struct Chosen {
    systems: Vec<&'static System>,
    programs: Vec<String>,
    bound: Bound,
}

fn chosen(args: &Args) -> Result<Chosen, String> {
    let bound = Bound {
        schedules: args.schedules,
        samples: args.samples,
        states: args.states,
        seed: args.seed,
    };
    if args.short {
        let bound = Bound { schedules: short::SCHEDULES, states: short::STATES, ..bound };
        let systems = short::SYSTEMS.iter().map(|name| system(name)).collect::<Result<_, _>>()?;
        let programs = programs::names(&short::PROGRAMS.map(String::from));
        return Ok(Chosen { systems, programs, bound });
    }
    let systems = match args.systems.is_empty() {
        true => systems::ALL.iter().collect(),
        false => args.systems.iter().map(|name| system(name)).collect::<Result<_, _>>()?,
    };
    let programs = match args.drawn {
        Some(count) => programs::drawn_names(args.seed, count),
        None => programs::names(&args.programs),
    };
    if programs.is_empty() {
        return Err("no program has such a name".into());
    }
    Ok(Chosen { systems, programs, bound })
}

/// All programs on one filesystem, in their order.
fn all(
    system: &'static System,
    programs: &[String],
    bound: &Bound,
    jobs: usize,
) -> Result<Vec<Seen>, String> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<(), String> {
        let mut rig = Rig::new(system)?;
        rig.tell("make")?;
        let fresh = rig.device.blocks();
        while let Some(program) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let seen = measure(&mut rig, system, &fresh, program, bound);
            let seen = seen.inspect_err(|_| next.store(programs.len(), Ordering::Relaxed))?;
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(seen);
        }
        Ok(())
    };
    let count = jobs.clamp(1, programs.len());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Result<Vec<()>, String>>()
    })?;
    let mut seen = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    seen.sort_by_key(|one| programs.iter().position(|name| *name == one.program));
    Ok(seen)
}

/// Prints what no profile explains, and says how much that is.
fn findings(seen: &[Seen]) -> usize {
    let all = seen.iter().flat_map(|one| &one.findings);
    let print = |finding: &measure::Finding| {
        let measure::Finding { token, profile, stamp, found } = finding;
        println!(
            "    {profile} does not allow after stamp {stamp}: {found}\n        replay '{token}'"
        );
    };
    all.inspect(|finding| print(finding)).count()
}

/// Says which wrong profiles what was seen gives away, and how many it does not.
fn turned(system: &System, seen: &[Seen]) -> usize {
    let mut missed = 0;
    for (why, _) in system.turned {
        let gives_away = |one: &Seen| {
            let legal = one.turned.iter().find(|(other, _)| other == why).map(|(_, legal)| legal);
            let mut found = one.found.iter();
            legal
                .and_then(|l| found.find(|(text, stamps)| l.forbids(text, stamps).is_some()))
                .map(|(text, _)| format!("{}: {text}", one.program))
        };
        match seen.iter().find_map(gives_away) {
            Some(by) => println!("    a wrong profile is caught: {why}, by {by}"),
            None => {
                println!("    a wrong profile is NOT caught: {why}");
                missed += 1;
            }
        }
    }
    missed
}

fn system(name: &str) -> Result<&'static System, String> {
    systems::ALL.iter().find(|system| system.name == name).ok_or_else(|| {
        let names: Vec<&str> = systems::ALL.iter().map(|system| system.name).collect();
        format!("unknown filesystem `{name}`; there are {}", names.join(", "))
    })
}

fn replay(token: &Token) -> Result<ExitCode, String> {
    let system = system(&token.system)?;
    let mut rig = Rig::new(system)?;
    rig.tell("make")?;
    let fresh = rig.device.blocks();
    let prepared = Prepared::new(&mut rig, &fresh, &token.program)?;
    let log = prepared.record(&mut rig, &token.schedule)?;
    let log = log.ok_or("an op that is to fail has not failed: its data was written before")?;
    if log.shape() != token.shape {
        println!(
            "the kernel has written other blocks, or in another order, than when the token was made"
        );
    }
    let ops = prepared.trace.ops.iter().enumerate();
    ops.for_each(|(op, record)| {
        println!("op {op}: stamp {}: {}", record.start, prepared.trace.describe(op))
    });
    log.lines(|written| prepared.is_data(written)).iter().for_each(|line| println!("{line}"));
    let found = prepared.look(&mut rig, &log, &token.cut)?;
    println!("found: {found}");
    let stamps = log.stamps(&token.cut);
    let mut code = ExitCode::SUCCESS;
    for profile in system.profiles {
        let legal = legal::Legal::of(&prepared.trace, &prepared.sectors, *profile);
        match legal.forbids(&found, &stamps) {
            None => println!("{profile} allows it at all of {stamps:?}"),
            Some(stamp) => {
                println!("{profile} does not allow it at {stamp}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
