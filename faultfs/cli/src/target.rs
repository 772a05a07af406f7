//! What can be tortured.

use std::path::Path;

use faultfs::explore::Door;
use faultfs::sweep::Group;
use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs::{Error, Profile};
use faultfs_interpose::Interposed;

use crate::sqlite;
use faultfs::verdict::Verdict;

/// A database and one way to configure it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    config: sqlite::Config,
}

impl Target {
    /// The target `name` in those of its configurations that are asked for, or in all.
    pub(crate) fn find(name: &str, configs: &[String]) -> Result<Vec<Target>, String> {
        if name != "sqlite" {
            return Err(format!("unknown target `{name}`; there is sqlite"));
        }
        let known = sqlite::CONFIGS.map(|config| config.name);
        if let Some(unknown) = configs.iter().find(|config| !known.contains(&config.as_str())) {
            let known = known.join(", ");
            return Err(format!("unknown configuration `{unknown}` of sqlite; there are {known}"));
        }
        let asked = |name: &str| configs.is_empty() || configs.iter().any(|config| config == name);
        let configs = sqlite::CONFIGS.into_iter().filter(|config| asked(config.name));
        Ok(configs.map(|config| Target { name: "sqlite", config }).collect())
    }

    /// The target that a trace is of.
    pub(crate) fn of_subject(subject: &str) -> Result<Target, Error> {
        let found = subject.split_once('/').and_then(|(name, config)| {
            Target::find(name, &[config.to_string()]).ok()?.into_iter().next()
        });
        found.ok_or_else(|| {
            Error::new(format!(
                "the trace is of `{subject}`, which this tool cannot run; if it is a test, run that \
                 test with FAULTFS_REPLAY set to the token"
            ))
        })
    }

    pub(crate) fn config(&self) -> &'static str {
        self.config.name
    }

    /// Its place among all configurations.
    pub(crate) fn place(&self) -> usize {
        sqlite::CONFIGS
            .iter()
            .position(|config| config.name == self.config.name)
            .expect("one of them")
    }

    /// The name by which traces know it.
    pub(crate) fn subject(&self) -> String {
        format!("{}/{}", self.name, self.config.name)
    }

    pub(crate) fn expected(&self, profile: Profile) -> &'static [Verdict] {
        self.config.expected(profile)
    }

    /// The profile for a sweep with crashes; `None`: no crash is survived under any.
    pub(crate) fn sweeps_under(&self) -> Option<Profile> {
        self.config.sweeps_under()
    }

    /// What a sweep of one family comes to, and why.
    pub(crate) fn expected_of(
        &self,
        group: Group,
        power_cut: Option<Profile>,
    ) -> (&'static [Verdict], &'static str) {
        self.config.expected_of(group, power_cut)
    }

    /// The workload behind the door through which it is recorded.
    pub(crate) fn door(&self) -> impl Door<Root = Path> + use<> {
        let config = self.config;
        Interposed::new(move |root: &Path| config.run(root))
    }

    /// The oracle.
    pub(crate) fn check(&self, root: &Path, marks: &Marks) -> Result<(), Broken> {
        sqlite::check(root, marks)
    }
}
