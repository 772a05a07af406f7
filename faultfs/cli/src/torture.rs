//! `torture`: every configuration under every profile.

use std::time::{Duration, Instant};

use faultfs::explore::{Bound, Crashes, Plan, Progress, RecoveryFaults, Replay, Settings, Work};
use faultfs::report::Report;
use faultfs::session;
use faultfs::verdict::Verdict;
use faultfs::worker::{self, Launch};
use faultfs::{Error, Profile};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{Format, Output, Torture};
use crate::baseline::{self, Baseline};
use crate::exit::{self, Trouble};
use crate::faults;
use crate::junit;
use crate::output::{self, Run};
use crate::target::Target;

pub(crate) fn run(args: &Torture) -> Result<u8, Trouble> {
    let targets = Target::asked(args).map_err(Trouble::usage)?;
    let recovery_faults = args.faults_in_recoveries().map_err(Trouble::usage)?;
    if let Some(needless) = args.needless_crash_points() {
        return Err(Trouble::usage(needless));
    }
    let is_sweep = !args.faults.is_empty() || args.plan.is_some();
    if is_sweep {
        return faults::run(args, &targets);
    }
    let profiles = match args.profiles.is_empty() {
        true => Profile::MAIN.to_vec(),
        false => args.profiles.clone(),
    };
    let work = match (args.partition, &args.shards) {
        (Some(partition), Some(folder)) => Work::Share(partition, folder.clone()),
        _ => Work::Whole,
    };
    let job = |target| Job {
        target,
        profiles: profiles.clone(),
        work: work.clone(),
        bound: args.bound(BUDGET),
        workers: args.jobs,
        time_limit: args.time_limit,
        memory_limit: args.memory_limit,
        real_files: args.real_files,
        prune: !args.no_pruning,
        recovery_depth: args.recovery_depth,
        recovery_faults: recovery_faults.clone(),
    };
    run_all(targets.into_iter().map(job).collect(), &args.output)
}

/// States that are checked at most, unless told otherwise.
const BUDGET: u64 = 10_000;

/// One configuration and what to do about it.
pub(crate) struct Job {
    pub(crate) target: Target,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) work: Work,
    pub(crate) bound: Bound,
    pub(crate) workers: Option<u16>,
    /// In seconds.
    pub(crate) time_limit: Option<u64>,
    /// In mebibytes.
    pub(crate) memory_limit: Option<u64>,
    pub(crate) real_files: bool,
    pub(crate) prune: bool,
    pub(crate) recovery_depth: u32,
    pub(crate) recovery_faults: RecoveryFaults,
}

/// Does the jobs in order, prints what was found, and says how the tool is to end.
pub(crate) fn run_all(jobs: Vec<Job>, output: &Output) -> Result<u8, Trouble> {
    let before = known(output)?;
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("{msg:34} {wide_bar} {pos}/{len} states").expect("a template"),
    );
    let mut runs = Vec::new();
    for job in &jobs {
        match torture(job, output, &bar) {
            Ok(more) => runs.extend(more),
            // Of what was being recorded when the interruption came nothing can be said.
            Err(_) if session::interrupted() => {}
            Err(error) => return Err(error.into()),
        }
        if session::interrupted() {
            break;
        }
    }
    bar.finish_and_clear();
    if let Some(file) = &output.junit {
        junit::write(&runs, file)?;
    }
    exit::print(&match output.format {
        Format::Text => output::text(&runs, &output.traces.dir()),
        Format::Json => output::json(&runs) + "\n",
    })?;
    if session::interrupted() {
        eprintln!("{}", cut_short(&runs, jobs.iter().map(|job| job.profiles.len()).sum()));
        return Ok(exit::INTERRUPTED);
    }
    let compared = match (&before, &output.baseline) {
        (Some(before), _) => {
            let comparison = before.compare(&Baseline::of(&runs));
            eprint!("{comparison}");
            comparison.code()
        }
        (None, Some(file)) => {
            Baseline::of(&runs).save(file)?;
            None
        }
        (None, None) => None,
    };
    Ok(compared.unwrap_or(code(&runs)))
}

/// The baseline to compare with; read before anything runs, since reading may be refused.
fn known(output: &Output) -> Result<Option<Baseline>, Trouble> {
    match &output.baseline {
        _ if output.update_baseline => baseline::refuse_in_ci().map(|()| None),
        // Workers take no part in it.
        Some(file) if worker::current().is_none() => Baseline::load(file).map(Some),
        _ => Ok(None),
    }
}

/// What an interruption left of the `planned` runs.
fn cut_short(runs: &[Run], planned: usize) -> String {
    let cut = |reason: &String| reason.starts_with("interrupted");
    let whole = runs.iter().filter(|run| !run.report.not_measured.iter().any(cut)).count();
    format!("interrupted: {whole} of {planned} runs were finished, the others are not measured")
}

/// So many mebibytes.
pub(crate) fn in_bytes(mebibytes: u64) -> Option<u64> {
    Some(mebibytes << 20)
}

fn code(runs: &[Run]) -> u8 {
    match runs {
        _ if runs.iter().all(Run::as_expected) => exit::OK,
        _ if runs.iter().any(|r| !r.as_expected() && r.report.verdict != Verdict::NotMeasured) => {
            exit::FAILURE
        }
        _ => exit::NOT_MEASURED,
    }
}

fn torture(job: &Job, output: &Output, bar: &ProgressBar) -> Result<Vec<Run>, Error> {
    let (target, profiles) = (&job.target, &job.profiles);
    let launch = Launch::program()?;
    let call = launch.next_call();
    let mut plan = Plan::new(launch, call);
    plan.profiles = profiles.clone();
    plan.workers = job.workers.map_or(plan.workers, u32::from);
    plan.time_limit = job.time_limit.map_or(plan.time_limit, Duration::from_secs);
    plan.memory_limit = job.memory_limit.map_or(plan.memory_limit, in_bytes);
    plan.real_files = job.real_files;
    plan.prune = job.prune;
    plan.work = job.work.clone();
    let mut seconds = Vec::new();
    let mut since = Instant::now();
    let mut progress = |progress: Progress| match progress {
        Progress::Listed(count) => {
            bar.set_message(format!("{} {}", target.subject(), profiles[seconds.len()]));
            bar.set_length(count);
            bar.set_position(0);
        }
        Progress::Checked | Progress::Known => bar.inc(1),
        Progress::Reported => {
            seconds.push(since.elapsed());
            since = Instant::now();
        }
        _ => {}
    };
    let mut settings = Settings {
        traces: output.traces.dir(),
        replay: Replay::Tool,
        crashes: Crashes::Everywhere,
        recovery_depth: job.recovery_depth,
        recovery_faults: job.recovery_faults.clone(),
        bound: job.bound,
        progress: &mut progress,
        interrupted: &session::interrupted,
    };
    let reports = target.explore(&plan, &mut settings)?;
    let run = |(report, seconds): (Report, Duration)| Run {
        target: target.name(),
        config: target.config(),
        expected: target.expected(report.profile, &job.recovery_faults.groups),
        report,
        seconds: seconds.as_secs_f64(),
    };
    Ok(reports.into_iter().zip(seconds).map(run).collect())
}
