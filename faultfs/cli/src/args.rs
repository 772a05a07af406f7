//! The words of the command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use faultfs::Profile;
use faultfs::explore::{Bound, Partition, RecoveryFaults, Token};
use faultfs::plan::Plan;
use faultfs::sweep::{self, Group};
use faultfs_interpose::Commands;

use crate::points::Points;

/// Prove that a storage engine keeps its promises when the power goes.
#[derive(Parser, Debug)]
#[command(name = "cargo faultfs", version, after_help = crate::exit::HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Record a database, recover from every disk that a power cut could leave, and compare.
    Torture(Box<Torture>),
    /// Join the shares of a torture that was split by `--partition`: the report is that of the whole.
    Merge(Merge),
    /// Recover from one recorded disk again.
    Replay(Replay),
    /// Write one recorded disk to a folder, for a debugger.
    Materialize(Materialize),
    /// Print a saved trace.
    Show {
        /// The saved trace: a file, or the beginning of its hash.
        trace: String,
    },
    /// List, arm and wait for the fail points of a running process that has the feature `control`.
    Points(Points),
}

#[derive(clap::Args, Debug)]
pub(crate) struct Torture {
    /// What to run: `sqlite`, or `command` for any program.
    pub(crate) target: String,
    /// A command that makes what is there at the start, in an empty folder. Each command is for `sh -c`, and runs in
    /// the folder that it is about, also in FAULTFS_ROOT; one that begins with ./ or ../ is found from here, which
    /// is FAULTFS_HERE.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) setup: Option<String>,
    /// The command that is recorded, with all that it starts. What it prints are its acknowledgements.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) workload: Option<String>,
    /// The command that looks at the folder after a power cut; the file FAULTFS_OUTPUT has what had been printed by
    /// then. Exit code 0: held. Otherwise what it says on standard error is the reason, and its verdict where it
    /// begins with `lost:`, `corrupt:` or `unopenable:`.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) check: Option<String>,
    /// Only this configuration of the target (may be given several times).
    #[arg(long = "config", value_name = "NAME")]
    pub(crate) configs: Vec<String>,
    /// This profile instead of posix, ext4, xfs, btrfs, data-journal and process-kill (may be given
    /// several times); an unknown one is answered with all there are.
    #[arg(long = "profile", value_name = "NAME")]
    pub(crate) profiles: Vec<Profile>,
    /// Omissions or torn pages that a state has at most, where it fits the budget. Default: 2.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(0..=8))]
    pub(crate) omissions: Option<u32>,
    /// States drawn beyond, with any number of omissions and torn pages. Default: 200.
    #[arg(long, value_name = "N")]
    pub(crate) samples: Option<u64>,
    /// What they are drawn with. Default: 0.
    #[arg(long, value_name = "SEED")]
    pub(crate) seed: Option<u64>,
    /// States checked at most in each configuration under each profile, samples included. Default: 10000; in a
    /// sweep, of the run without faults, 1500.
    #[arg(long, value_name = "STATES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) budget: Option<u64>,
    /// How long each level of the bound is searched for states that differ, in steps for each state of the budget: a
    /// million steps take some hundredths of a second. Default: 20000.
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) effort: Option<u64>,
    /// How long checking may take in each configuration under each profile. What it leaves out depends on the machine:
    /// such a run has no baseline and no shares. Default: as long as it takes.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(conflicts_with_all = ["partition", "baseline"])]
    pub(crate) time_budget: Option<u64>,
    /// Worker processes; the result does not depend on it. Default: one for each processor.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,
    /// How long one check may take before it counts as hung. Default: 10.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) time_limit: Option<u64>,
    /// States that lose alike, or faults that strike alike, of which so many are waited for where they hang, before the
    /// others are left out: each costs the time limit. Default: 3.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) hangs: Option<u32>,
    /// Private memory that a worker, or one process of a command, may take. Default: 1024.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) memory_limit: Option<u64>,
    /// Sweep: fail every call in turn with every fault of these families (all, or a list of crash, io,
    /// fsync, nospace, short, torn, bitrot), once and for ever; with `crash` the power goes afterwards, too. The calls
    /// of a command that change something can fail: io, fsync, nospace; and what it left can rot: bitrot.
    #[arg(long, value_name = "FAMILIES", value_delimiter = ',', conflicts_with_all = ["plan", "partition", "junit", "baseline", "recovery_depth", "recovery_faults", "recovery_plan"])]
    pub(crate) faults: Vec<Families>,
    /// Run once while these faults are armed (`sync *.db take 1 -> fail EIO`), then cut the power.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["partition", "junit", "baseline", "recovery_depth", "recovery_faults", "recovery_plan"])]
    pub(crate) plan: Option<Plan>,
    /// At how many crash points after each fault the power goes, besides the end of what the fault is in. Default: 16
    /// in a sweep, 4 in a recovery.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) crash_points: Option<u32>,
    /// Check every disk on real files, not from memory: slower, with the same result.
    #[arg(long)]
    pub(crate) real_files: bool,
    /// Recover from every disk, also where what recovery read of another tells that it holds: slower, with
    /// the same result.
    #[arg(long)]
    pub(crate) no_pruning: bool,
    /// Have the power go during recovery as well: 1 during the recovery from a crash, 2 also during the
    /// recovery from that.
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=4))]
    pub(crate) recovery_depth: u32,
    /// In some of the recoveries fail every call in turn with one fault of each of these families that fits it (as
    /// for --faults; of data at rest nothing rots), once and for ever: what such a recovery leaves, and with `crash`
    /// what a power cut leaves of that, must hold when it is recovered without faults.
    #[arg(long, value_name = "FAMILIES", value_delimiter = ',', conflicts_with = "recovery_plan")]
    pub(crate) recovery_faults: Vec<Families>,
    /// In some of the recoveries arm these faults, then cut the power.
    #[arg(long, value_name = "TEXT")]
    pub(crate) recovery_plan: Option<Plan>,
    /// In how many recoveries, spread over the states that hold. Default: 8.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) recoveries: Option<u32>,
    /// Judge one share of the states, as 3/8, and write what was found to the folder of shards; `merge` tells
    /// whether the whole is as expected.
    #[arg(long, value_name = "I/N", requires = "shards", conflicts_with_all = ["baseline", "junit"])]
    pub(crate) partition: Option<Partition>,
    /// The folder for the shard files.
    #[arg(long, value_name = "DIR", requires = "partition")]
    pub(crate) shards: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl Torture {
    /// The commands, where there are any.
    pub(crate) fn commands(&self) -> Result<Option<Commands>, String> {
        match (&self.setup, &self.workload, &self.check) {
            (None, None, None) => Ok(None),
            (setup, Some(workload), Some(check)) => Ok(Some(Commands {
                setup: setup.clone(),
                workload: workload.clone(),
                check: check.clone(),
            })),
            (_, None, _) => Err("there is no --workload".into()),
            (_, _, None) => Err("there is no --check".into()),
        }
    }

    /// How far is looked, in so many states where nothing is said.
    pub(crate) fn bound(&self, budget: u64) -> Bound {
        let mut bound = Bound::default();
        bound.omissions = self.omissions.unwrap_or(bound.omissions);
        bound.samples = self.samples.unwrap_or(bound.samples);
        bound.seed = self.seed.unwrap_or(bound.seed);
        bound.budget = self.budget.unwrap_or(budget);
        bound.effort = self.effort.unwrap_or(bound.effort);
        bound.hangs = self.hangs.unwrap_or(bound.hangs);
        bound.time = self.time_budget.map(Duration::from_secs);
        bound
    }

    /// The families of a sweep.
    pub(crate) fn families(&self) -> Vec<Group> {
        all_of(&self.faults)
    }

    /// What goes wrong in recoveries.
    pub(crate) fn faults_in_recoveries(&self) -> Result<RecoveryFaults, String> {
        let (mut groups, plan) = (all_of(&self.recovery_faults), self.recovery_plan.clone());
        if plan.is_some() {
            groups.push(Group::Crash);
        }
        if groups.is_empty() {
            return match self.recoveries {
                None => Ok(RecoveryFaults::default()),
                Some(_) => {
                    Err("--recoveries counts those with faults: say which, with --recovery-faults \
                     or --recovery-plan"
                        .into())
                }
            };
        }
        if plan.is_none() && groups.iter().all(|group| *group == Group::Crash) {
            return Err("`crash` alone injects nothing into a recovery: add a family, as in \
                        `--recovery-faults crash,io`, or cut the power with --recovery-depth"
                .into());
        }
        let usual = RecoveryFaults::from(self.recoveries.unwrap_or(RECOVERIES));
        let crash_points = self.crash_points.unwrap_or(usual.crash_points);
        Ok(RecoveryFaults { groups, plan, crash_points, ..usual })
    }

    /// What is said of power cuts after faults, where there are none.
    pub(crate) fn needless_crash_points(&self) -> Option<String> {
        let is_crash = |group: &Group| *group == Group::Crash;
        let crashes = self.plan.is_some()
            || self.recovery_plan.is_some()
            || all_of(&self.faults).iter().chain(&all_of(&self.recovery_faults)).any(is_crash);
        (self.crash_points.is_some() && !crashes).then(|| {
            "--crash-points is about power cuts after faults: add `crash` to --faults or --recovery-faults"
                .into()
        })
    }
}

/// Recoveries with faults, unless told otherwise.
const RECOVERIES: u32 = 8;

/// In the order of all families, each once.
fn all_of(families: &[Families]) -> Vec<Group> {
    let asked = |group: &Group| families.iter().any(|families| families.0.contains(group));
    Group::ALL.into_iter().filter(asked).collect()
}

#[derive(clap::Args, Debug)]
pub(crate) struct Merge {
    /// The shard files, all of them.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Worker processes; the result does not depend on it. Default: one for each processor.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,
    /// How long one check may take before it counts as hung: that of the shares. Default: 10.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) time_limit: Option<u64>,
    /// Private memory that a worker, or one process of a command, may take: that of the shares. Default: 1024.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) memory_limit: Option<u64>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Output {
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Write the result to this file as JUnit XML, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Compare with what this file holds: nothing may be worse, and nothing measured no longer.
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Write what was found to the file of the baseline. Refused where the variable CI is set.
    #[arg(long, requires = "baseline")]
    pub(crate) update_baseline: bool,
    #[command(flatten)]
    pub(crate) traces: Traces,
}

/// Families of faults in one word.
#[derive(Clone, Debug)]
pub(crate) struct Families(pub(crate) Vec<Group>);

impl FromStr for Families {
    type Err = faultfs::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Families(Group::ALL.to_vec())),
            one => one.parse().map(|group| Families(vec![group])),
        }
    }
}

#[derive(Clone, Copy, ValueEnum, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Replay {
    /// The token from a report; one with faults has blanks and stands in quotes.
    pub(crate) token: AnyToken,
    #[command(flatten)]
    pub(crate) from: From,
}

/// A recovery from a disk after a crash, or a run of a sweep.
#[derive(Clone, Debug)]
pub(crate) enum AnyToken {
    Recovery(Box<Token>),
    Sweep(Box<sweep::Token>),
}

impl FromStr for AnyToken {
    type Err = faultfs::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.contains(": ") {
            true => text.parse().map(Box::new).map(AnyToken::Sweep),
            false => text.parse().map(Box::new).map(AnyToken::Recovery),
        }
    }
}

#[derive(clap::Args, Debug)]
pub(crate) struct Materialize {
    /// The token from a report.
    pub(crate) token: Token,
    /// The folder to make; it must be empty or not there.
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) from: From,
}

#[derive(clap::Args, Debug)]
pub(crate) struct From {
    /// The saved trace, where it is not in the folder of traces.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) traces: Traces,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Traces {
    /// The folder of saved traces. Default: `faultfs` in Cargo's target folder.
    #[arg(long = "traces", value_name = "DIR", id = "traces")]
    folder: Option<PathBuf>,
}

impl Traces {
    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(faultfs::file::default_folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }
}
