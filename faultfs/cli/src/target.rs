//! What can be tortured.

use std::path::Path;
use std::sync::Arc;

use faultfs::disk::Disk;
use faultfs::explore::{self, Door, Faults, Plan, Settings};
use faultfs::report::Report;
use faultfs::sweep::{self, Group};
use faultfs::trace::{Marks, Trace};
use faultfs::verdict::{Broken, Verdict};
use faultfs::{Error, Profile};
use faultfs_interpose::{Commands, Restored, Traced};

use crate::args::Torture;
use crate::sqlite::{self, Config, HELD};

/// What is recorded and checked.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// The SQLite that is compiled in, in one configuration.
    Sqlite(Config),
    /// Any program, by commands for a shell.
    Command(Commands),
}

impl Target {
    /// What is asked for; of SQLite in some of its configurations, or in all.
    pub(crate) fn asked(args: &Torture) -> Result<Vec<Target>, String> {
        match (args.target.as_str(), args.commands()?) {
            ("sqlite", None) => {
                Ok(Config::find(&args.configs)?.into_iter().map(Target::Sqlite).collect())
            }
            ("command", Some(_)) if !args.configs.is_empty() => {
                Err("--config is for sqlite: a command has one configuration".into())
            }
            ("command", Some(commands)) => Ok(vec![Target::Command(commands)]),
            ("command", None) => {
                Err("say what runs: --workload '…' --check '…', both for `sh -c`".into())
            }
            ("sqlite", Some(_)) => {
                Err("--setup, --workload and --check are for the target `command`".into())
            }
            (name, _) => Err(format!("unknown target `{name}`; there are sqlite and command")),
        }
    }

    /// The target that a trace is of.
    pub(crate) fn of_subject(subject: &str) -> Result<Target, Error> {
        match subject.parse() {
            Ok(commands) => Ok(Target::Command(commands)),
            Err(_) => Config::of_subject(subject).map(Target::Sqlite),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Target::Sqlite(_) => "sqlite",
            Target::Command(_) => "command",
        }
    }

    pub(crate) fn config(&self) -> &'static str {
        match self {
            Target::Sqlite(config) => config.name,
            Target::Command(_) => "command",
        }
    }

    /// Its place among all configurations.
    pub(crate) fn place(&self) -> usize {
        let is_this = |config: &Config| config.name == self.config();
        sqlite::CONFIGS.iter().position(is_this).unwrap_or(sqlite::CONFIGS.len())
    }

    /// The name by which traces know it.
    pub(crate) fn subject(&self) -> String {
        match self {
            Target::Sqlite(config) => config.subject(),
            Target::Command(commands) => commands.to_string(),
        }
    }

    /// The verdicts that are no surprise, where faults of some families strike recoveries.
    pub(crate) fn expected(&self, profile: Profile, in_recoveries: &[Group]) -> &'static [Verdict] {
        match self {
            Target::Sqlite(config) if config.expected(profile) == HELD => {
                sqlite::expected_of_recoveries(in_recoveries)
            }
            Target::Sqlite(config) => config.expected(profile),
            Target::Command(_) => &[Verdict::Held],
        }
    }

    /// The model of the power cuts of a sweep, unless told otherwise. What fails in the sync of a command fails as on
    /// ext4.
    pub(crate) fn sweeps_under(&self) -> Option<Profile> {
        match self {
            Target::Sqlite(config) => config.sweeps_under(),
            Target::Command(_) => Some(Profile::EXT4),
        }
    }

    /// The verdicts that are no surprise when faults of a family are injected, and why.
    pub(crate) fn expected_of(
        &self,
        group: Group,
        power_cut: Option<Profile>,
    ) -> (&'static [Verdict], &'static str) {
        match self {
            Target::Sqlite(config) => config.expected_of(group, power_cut),
            Target::Command(_) => (HELD, ""),
        }
    }

    /// Runs it with every fault, and looks at what is left.
    pub(crate) fn sweep(
        &self,
        plan: &sweep::Plan,
        settings: &mut Settings<'_>,
    ) -> Result<Vec<Report>, Error> {
        let subject = self.subject();
        match self {
            Target::Sqlite(config) => {
                sweep::run(&subject, &mut config.door(), &mut sqlite::check, plan, settings)
            }
            Target::Command(commands) => {
                let mut door = Traced::new(commands.clone());
                sweep::run(&subject, &mut door, &mut Restored::check, plan, settings)
            }
        }
    }

    /// Records it and recovers from what may be left.
    pub(crate) fn explore(
        &self,
        plan: &Plan,
        settings: &mut Settings<'_>,
    ) -> Result<Vec<Report>, Error> {
        let subject = self.subject();
        match self {
            Target::Sqlite(config) => {
                explore::run(&subject, &mut config.door(), &mut sqlite::check, plan, settings)
            }
            Target::Command(commands) => {
                let mut door = Traced::new(commands.clone());
                explore::run(&subject, &mut door, &mut Restored::check, plan, settings)
            }
        }
    }

    /// Recovers from one disk of a run while faults go wrong, in this process, and tells whether it dies of them.
    pub(crate) fn recover(
        &self,
        room: &Path,
        disk: &Disk,
        marks: &Marks,
        faults: &Faults,
    ) -> Result<(), Broken> {
        match self {
            Target::Sqlite(config) => {
                let (door, check) = (&mut config.door(), &mut sqlite::check);
                explore::faulty_recovery(door, check, room, disk, marks, faults)
            }
            Target::Command(commands) => {
                let (door, check) = (&mut Traced::new(commands.clone()), &mut Restored::check);
                explore::faulty_recovery(door, check, room, disk, marks, faults)
            }
        }
    }

    /// Recovers from one disk of a run, in this process.
    pub(crate) fn check(
        &self,
        trace: &Arc<Trace>,
        room: &Path,
        disk: &Disk,
        marks: &Marks,
    ) -> Result<(), Broken> {
        match self {
            Target::Sqlite(config) => {
                config.door().check(room, disk, &mut |root| sqlite::check(root, marks))
            }
            Target::Command(commands) => {
                let mut door = Traced::new(commands.clone());
                door.checks(trace);
                door.check(room, disk, &mut |restored| restored.check(marks))
            }
        }
    }
}
