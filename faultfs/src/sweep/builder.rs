//! The builder that all doors share.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{CRASH_POINTS, Group, Plan};
use crate::explore::{AnyToken, Door, Explore, Oracle, Typed, asked_to_replay, explore};
use crate::fs::FaultFs;
use crate::model::Profile;
use crate::report::Report;
use crate::trace::Marks;
use crate::verdict::Broken;
use crate::{Error, Result, worker};

/// Sweeps a workload on a [`FaultFs`]: every single fault at every call.
///
/// The workload says through [`begin`](FaultFs::begin), [`ack`](FaultFs::ack) and
/// [`failed`](FaultFs::failed) what it asked for and what it was told; an error that it returns is an answer
/// too. What it reads it compares with what it wrote. [`Sweep::check`] looks at what is left.
///
/// ```no_run
/// use std::io::Write;
/// use faultfs::verdict::Broken;
///
/// // In a test: `#[test] fn no_single_fault_breaks_a_promise() { … }`
/// faultfs::sweep(|fs| {
///     fs.begin(1);
///     let mut file = fs.create("log")?;
///     file.write_all(b"one")?;
///     file.sync_all()?;
///     fs.sync_dir(".")?;
///     fs.ack(1);
///     if fs.read("log")? != b"one" {
///         return Err(Broken::corrupt("read something else"));
///     }
///     Ok(())
/// })
/// .check(|fs, marks| match fs.read("log") {
///     Ok(found) if found == b"one" => Ok(()),
///     _ if marks.acked.is_empty() => Ok(()),
///     found => Err(Broken::lost(format!("acknowledged, and then {found:?}"))),
/// });
/// ```
pub fn sweep<W>(workload: W) -> Sweep<Typed<W>>
where
    W: FnMut(&FaultFs) -> Result<(), Broken>,
{
    Sweep::of(explore(workload))
}

/// A sweep that waits for its oracle.
#[must_use = "nothing runs until `.check(..)`"]
#[derive(Debug)]
pub struct Sweep<D> {
    explore: Explore<D>,
    groups: Vec<Group>,
    crash_points: u32,
}

impl<D: Door> Sweep<D> {
    /// A sweep through `door`.
    pub fn new(door: D) -> Self {
        Sweep::of(Explore::new(door))
    }

    fn of(explore: Explore<D>) -> Self {
        Sweep { explore, groups: Group::ALL.to_vec(), crash_points: CRASH_POINTS }
    }

    /// The families of faults that are tried. Default: all.
    pub fn faults(mut self, groups: impl IntoIterator<Item = Group>) -> Self {
        self.groups = groups.into_iter().collect();
        self
    }

    /// At how many crash points after each fault the power goes, besides the end of the run. Default: 16.
    pub fn crash_points(mut self, count: u32) -> Self {
        self.crash_points = count;
        self
    }

    /// The name in reports: [`Explore::named`].
    pub fn named(self, name: impl Into<String>) -> Self {
        self.with(|explore| explore.named(name))
    }

    /// The persistence models, under each of which all is done: [`Explore::profiles`].
    pub fn profiles(self, profiles: impl IntoIterator<Item = Profile>) -> Self {
        self.with(|explore| explore.profiles(profiles))
    }

    /// Worker processes: [`Explore::workers`].
    ///
    /// # Panics
    ///
    /// For 0.
    #[track_caller]
    pub fn workers(self, count: u32) -> Self {
        self.with(|explore| explore.workers(count))
    }

    /// Runs and checks in this process: [`Explore::in_process`]. Only for engines on a [`FaultFs`]: the
    /// interposed door needs a process for each run.
    pub fn in_process(self) -> Self {
        self.with(Explore::in_process)
    }

    /// The ops of which the workload is made, where it is data: [`Explore::given`].
    pub fn given(self, ops: &(impl fmt::Debug + ?Sized)) -> Self {
        self.with(|explore| explore.given(ops))
    }

    /// Bytes of private memory that one worker may take: [`Explore::memory_limit`].
    pub fn memory_limit(self, bytes: u64) -> Self {
        self.with(|explore| explore.memory_limit(bytes))
    }

    /// How long one check may take before it counts as hung: [`Explore::time_limit`]. A run with all of its
    /// checks may take six times as long.
    pub fn time_limit(self, limit: Duration) -> Self {
        self.with(|explore| explore.time_limit(limit))
    }

    /// How many cases whose faults strike the same kind of call on the same path are waited for where they hang,
    /// before the others are left out: [`Explore::hangs`].
    ///
    /// # Panics
    ///
    /// For 0.
    #[track_caller]
    pub fn hangs(self, count: u32) -> Self {
        self.with(|explore| explore.hangs(count))
    }

    /// Checks every disk on real files: [`Explore::real_files`].
    pub fn real_files(self) -> Self {
        self.with(Explore::real_files)
    }

    /// The folder of saved traces: [`Explore::traces`].
    pub fn traces(self, folder: impl Into<PathBuf>) -> Self {
        self.with(|explore| explore.traces(folder))
    }

    fn with(self, change: impl FnOnce(Explore<D>) -> Explore<D>) -> Self {
        Sweep { explore: change(self.explore), ..self }
    }

    /// Runs the workload with every fault and has `oracle` look at what is left.
    ///
    /// With the environment variable [`REPLAY`](crate::explore::REPLAY) set to a token of its report, only that
    /// run is made, or that disk recovered from.
    ///
    /// # Panics
    ///
    /// With the reports, where a promise was broken or something was not measured; with the reason, where
    /// the sweep could not be made.
    #[track_caller]
    pub fn check(self, oracle: impl FnMut(&D::Root, &Marks) -> Result<(), Broken>) {
        if let Err(error) = self.try_check(oracle) {
            panic!("{error}");
        }
    }

    /// As [`Sweep::check`], with an error in the place of the panic: for workloads that are drawn, as
    /// [`Explore::try_check`] says. Every drawn workload is swept, so a few ops and families of faults are
    /// enough for each.
    ///
    /// # Errors
    ///
    /// What [`Sweep::check`] panics with.
    pub fn try_check(
        self,
        oracle: impl FnMut(&D::Root, &Marks) -> Result<(), Broken>,
    ) -> Result<()> {
        let reports = self.reports(oracle)?;
        let bad: Vec<_> = reports.iter().filter(|report| !report.held()).collect();
        let text: Vec<_> = bad.iter().map(|report| report.to_string()).collect();
        if bad.is_empty() { Ok(()) } else { Err(Error::new(format!("\n{}", text.join("\n")))) }
    }

    /// As [`Sweep::check`], but returns what was found: one report a profile. In a worker process that was
    /// started for another sweep or exploration of the same test there are none.
    ///
    /// # Errors
    ///
    /// Where the sweep cannot be made: no name, no worker, a workload that fails by itself, a token that
    /// fails again.
    pub fn reports(
        mut self,
        mut oracle: impl FnMut(&D::Root, &Marks) -> Result<(), Broken>,
    ) -> Result<Vec<Report>> {
        let oracle: &mut Oracle<'_, D::Root> = &mut oracle;
        let place = self.explore.place()?;
        let workers = place.launch.clone().map(|(launch, call)| self.explore.plan(launch, call));
        let (mut only, mut state) = (None, None);
        if worker::current().is_none() {
            match asked_to_replay(&place)? {
                Some(AnyToken::OfSweep(token)) => only = Some(token),
                Some(AnyToken::OfState(token)) => state = Some(token),
                None => {}
            }
        }
        let Sweep { groups, crash_points, .. } = self;
        let profiles = self.explore.profiles.clone();
        let plan = Plan { workers, profiles, groups, plan: None, crash_points, only, state };
        let mut progress = |_| {};
        let mut settings = place.settings(&mut progress);
        settings.bound.hangs = self.explore.bound.hangs;
        super::run(&place.name, &mut self.explore.door, oracle, &plan, &mut settings)
    }
}
