//! `torture --faults` and `--plan`: every configuration, with every single fault of some families, or with
//! one plan.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use faultfs::explore::{self, Crashes, Progress, Replay, Settings};
use faultfs::plan;
use faultfs::report::{Report, Swept};
use faultfs::sweep::{self, Group, Token};
use faultfs::verdict::Verdict;
use faultfs::worker::Launch;
use faultfs::{Error, Profile, session};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::args::{Format, From, Torture};
use crate::exit::{self, Trouble};
use crate::replay;
use crate::target::Target;
use crate::torture::in_bytes;

/// One configuration and one family of faults, or one plan.
#[derive(Serialize)]
struct Run {
    config: &'static str,
    faults: String,
    /// Whether the power went after the faults, under the report's profile.
    crashes: bool,
    expected: &'static [Verdict],
    /// Why that is what one may expect, where it is not that all holds.
    because: &'static str,
    report: Report,
    seconds: f64,
}

/// What is injected in one run of the sweep.
#[derive(Clone)]
enum What {
    Family(Group),
    Plan(plan::Plan),
}

pub(crate) fn run(args: &Torture, targets: &[Target]) -> Result<u8, Trouble> {
    let asked = args.families();
    let families = asked.iter().filter(|group| **group != Group::Crash);
    let mut whats: Vec<What> = families.copied().map(What::Family).collect();
    whats.extend(args.plan.clone().map(What::Plan));
    if whats.is_empty() {
        return Err(Trouble::usage(
            "`crash` alone injects nothing: leave out --faults, or add a family",
        ));
    }
    let crashes = asked.contains(&Group::Crash) || args.plan.is_some();
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("{msg:34} {wide_bar} {pos}/{len} faults").expect("a template"),
    );
    let mut runs = Vec::new();
    let planned = targets.len() * whats.len();
    for (target, what) in targets.iter().flat_map(|target| whats.iter().map(move |w| (target, w))) {
        match swept(target, what, crashes, args, &bar) {
            Ok(more) => runs.extend(more),
            Err(_) if session::interrupted() => {}
            Err(error) => return Err(error.into()),
        }
        if session::interrupted() {
            break;
        }
    }
    bar.finish_and_clear();
    exit::print(&match args.output.format {
        Format::Text => text(&runs),
        Format::Json => {
            let runs = serde_json::json!({ "sweeps": &runs });
            serde_json::to_string_pretty(&runs).expect("plain data serialises") + "\n"
        }
    })?;
    if session::interrupted() {
        eprintln!(
            "interrupted: {} of {planned} sweeps were begun, the last one is cut",
            runs.len()
        );
    }
    Ok(code(&runs))
}

fn code(runs: &[Run]) -> u8 {
    let surprise = |run: &&Run| !run.expected.contains(&run.report.verdict);
    match runs {
        _ if session::interrupted() => exit::INTERRUPTED,
        _ if !runs.iter().any(|run| surprise(&run)) => exit::OK,
        _ if runs.iter().filter(surprise).any(|r| r.report.verdict != Verdict::NotMeasured) => {
            exit::FAILURE
        }
        _ => exit::NOT_MEASURED,
    }
}

fn swept(
    target: &Target,
    what: &What,
    crashes: bool,
    args: &Torture,
    bar: &ProgressBar,
) -> Result<Vec<Run>, Error> {
    let launch = Launch::program()?;
    let call = launch.next_call();
    let mut explored = explore::Plan::new(launch, call);
    explored.workers = args.jobs.map_or(explored.workers, u32::from);
    explored.time_limit = args.time_limit.map_or(explored.time_limit, Duration::from_secs);
    explored.memory_limit = args.memory_limit.map_or(explored.memory_limit, in_bytes);
    explored.real_files = args.real_files;
    let mut plan = sweep::Plan::new(explored);
    plan.crash_points = args.crash_points.unwrap_or(plan.crash_points);
    let crashes = crashes && (target.sweeps_under().is_some() || !args.profiles.is_empty());
    plan.profiles = match args.profiles.is_empty() {
        true => vec![target.sweeps_under().unwrap_or(Profile::PROCESS_KILL)],
        false => args.profiles.clone(),
    };
    plan.groups = if crashes { vec![Group::Crash] } else { Vec::new() };
    let name = match what {
        What::Family(group) => {
            plan.groups.push(*group);
            group.to_string()
        }
        What::Plan(faults) => {
            plan.plan = Some(faults.clone());
            faults.to_string()
        }
    };
    let mut progress = |progress: Progress| match progress {
        Progress::Listed(count) => {
            bar.set_message(format!("{} {name}", target.subject()));
            bar.set_length(count);
            bar.set_position(0);
        }
        Progress::Checked => bar.inc(1),
        _ => {}
    };
    let mut settings = Settings {
        traces: args.output.traces.dir(),
        replay: Replay::Tool,
        crashes: Crashes::Everywhere,
        bound: args.bound(explore::Bound::default().budget),
        recovery_depth: 0,
        recovery_faults: Default::default(),
        progress: &mut progress,
        interrupted: &session::interrupted,
    };
    let since = Instant::now();
    let reports = target.sweep(&plan, &mut settings)?;
    let seconds = since.elapsed().as_secs_f64() / reports.len().max(1) as f64;
    let run = |report: Report| {
        let faults = name.clone();
        let power_cut = crashes.then_some(report.profile);
        let (expected, because) = match what {
            What::Family(group) => target.expected_of(*group, power_cut),
            What::Plan(_) => (&[Verdict::Held][..], ""),
        };
        Run { config: target.config(), faults, crashes, expected, because, report, seconds }
    };
    Ok(reports.into_iter().map(run).collect())
}

/// One run of a sweep again.
pub(crate) fn replay(token: &Token, from: &From) -> Result<u8, Trouble> {
    let trace = replay::load(&token.trace, from)?;
    let target = Target::of_subject(&trace.subject).map_err(Trouble::usage)?;
    let launch = Launch::program()?;
    let call = launch.next_call();
    let mut plan = sweep::Plan::new(explore::Plan::new(launch, call));
    plan.profiles = vec![token.profile().unwrap_or(Profile::POSIX)];
    plan.only = Some(token.clone());
    let mut settings = Settings {
        traces: from.traces.dir(),
        replay: Replay::Tool,
        crashes: Crashes::Everywhere,
        bound: explore::Bound::default(),
        recovery_depth: 0,
        recovery_faults: Default::default(),
        progress: &mut |_| {},
        interrupted: &session::interrupted,
    };
    match target.sweep(&plan, &mut settings) {
        Ok(_) => {
            exit::print(&format!("{token}: {}\n", Verdict::Held))?;
            Ok(exit::OK)
        }
        Err(broken) => {
            exit::print(&format!("{broken}\n"))?;
            Ok(exit::FAILURE)
        }
    }
}

/// The table, then each surprise in full, then why what is expected is to be expected.
fn text(runs: &[Run]) -> String {
    let mut out = format!(
        "{:<14} {:<14} {:<8} {:<12} {:<8} {:>5} {:>6} {:>6} {:>8} {:>7} {:>8} {:>7}\n",
        "config",
        "profile",
        "faults",
        "verdict",
        "expected",
        "calls",
        "faults",
        "runs",
        "injected",
        "points",
        "states",
        "seconds"
    );
    for run in runs {
        let report = &run.report;
        let none = Swept::default();
        let swept = report.swept.as_ref().unwrap_or(&none);
        let profile = if run.crashes { report.profile.name } else { "no crash" };
        let faults: u64 = swept.cases.values().sum();
        let name = if run.faults.len() > 8 { "plan" } else { &run.faults };
        let _ = writeln!(
            out,
            "{:<14} {profile:<14} {name:<8} {:<12} {:<8} {:>5} {faults:>6} {:>6} {:>8} {:>7} {:>8} {:>7.1}",
            run.config,
            report.verdict,
            words(run.expected),
            swept.calls,
            swept.runs,
            swept.injected,
            swept.crash_points,
            swept.states,
            run.seconds
        );
    }
    for run in runs.iter().filter(|run| !run.expected.contains(&run.report.verdict)) {
        let _ = write!(out, "\nNOT EXPECTED ({}):\n{}", words(run.expected), run.report);
    }
    for run in runs.iter().filter(|run| run.expected.contains(&run.report.verdict)) {
        if let Some(failure) = run.report.failures.first() {
            let fault = failure.fault.as_deref().unwrap_or_default();
            let _ = writeln!(
                out,
                "\n{}, {}: {}\n  {}\n  {fault}\n  {}",
                run.config, run.faults, failure.message, run.because, failure.replay
            );
        }
    }
    if let Some(run) = runs.first() {
        let _ = writeln!(out, "\nbound: {}", run.report.bound);
    }
    out
}

fn words(verdicts: &[Verdict]) -> String {
    verdicts.iter().map(|verdict| verdict.word()).collect::<Vec<_>>().join("/")
}
