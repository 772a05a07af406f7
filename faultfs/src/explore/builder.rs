//! The builder that all doors share.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::asked::{AnyToken, REPLAY, asked_to_replay};
use super::serving::Checks;
use super::{
    Bound, Crashes, Door, Faults, InProcess, Oracle, Plan, Progress, RecoveryFaults, Replay,
    Settings, Token, Work, shard,
};
use crate::model::Profile;
use crate::report::{self, Report};
use crate::session;
use crate::trace::{Marks, Trace};
use crate::verdict::Broken;
use crate::worker::{self, Launch};
use crate::{Error, Result, file, points};

/// An exploration that waits for its oracle.
#[must_use = "nothing runs until `.check(..)`"]
#[derive(Debug)]
pub struct Explore<D> {
    pub(crate) door: D,
    name: Option<String>,
    given: Option<String>,
    pub(crate) profiles: Vec<Profile>,
    crashes: Crashes,
    pub(crate) bound: Bound,
    workers: Option<u32>,
    in_process: bool,
    memory_limit: Option<u64>,
    time_limit: Option<Duration>,
    real_files: bool,
    prune: bool,
    recovery_depth: u32,
    recovery_faults: RecoveryFaults,
    traces: Option<PathBuf>,
    first: Vec<String>,
}

impl<D: Door> Explore<D> {
    /// An exploration through `door`.
    pub fn new(door: D) -> Self {
        Explore {
            door,
            name: None,
            given: None,
            profiles: vec![Profile::POSIX],
            crashes: Crashes::Everywhere,
            bound: Bound::default(),
            workers: None,
            in_process: false,
            memory_limit: None,
            time_limit: None,
            real_files: false,
            prune: true,
            recovery_depth: 0,
            recovery_faults: RecoveryFaults::default(),
            traces: None,
            first: Vec::new(),
        }
    }

    /// The name in reports. Default: the name of the test.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The ops of which the workload is made, where it is data: reports name them behind the name, and a
    /// token belongs to the exploration of just these. See [`Explore::try_check`].
    pub fn given(mut self, ops: &(impl fmt::Debug + ?Sized)) -> Self {
        self.given = Some(format!("{ops:?}"));
        self
    }

    /// The persistence models. Default: [`Profile::POSIX`], the weakest.
    pub fn profiles(mut self, profiles: impl IntoIterator<Item = Profile>) -> Self {
        self.profiles = profiles.into_iter().collect();
        self
    }

    /// The power goes at the passes of the fail point `name`, and nowhere else: the engine names the moments
    /// that matter to it. The run itself goes on after each. See [`points`](crate::points).
    ///
    /// A run that never passes the point is an error.
    pub fn at_point(mut self, name: impl Into<String>) -> Self {
        self.crashes = Crashes::AtPoint(name.into());
        self
    }

    /// How many omissions or torn pages a state has at most, where it fits the budget. Default: 2. See
    /// [`Bound`].
    pub fn omissions(mut self, count: u32) -> Self {
        self.bound.omissions = count;
        self
    }

    /// States that are drawn beyond, with any number of omissions and torn pages. Default: 200.
    pub fn samples(mut self, count: u64) -> Self {
        self.bound.samples = count;
        self
    }

    /// What samples are drawn with. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.bound.seed = seed;
        self
    }

    /// States that are checked at most under each profile, samples included. Default: 1,500. What does not
    /// fit is stated in the report.
    ///
    /// # Panics
    ///
    /// For 0, which checks nothing.
    #[track_caller]
    pub fn budget(mut self, states: u64) -> Self {
        assert!(states > 0, "a budget of 0 states checks nothing: name at least 1");
        self.bound.budget = states;
        self
    }

    /// How long each level of the bound is searched for states that differ, in steps for each state of the
    /// budget: see [`Bound::effort`]. Default: 20,000. What the search does not come to is stated in the report.
    ///
    /// # Panics
    ///
    /// For 0, which finds nothing.
    #[track_caller]
    pub fn effort(mut self, steps: u64) -> Self {
        assert!(steps > 0, "an effort of 0 steps finds nothing: name at least 1");
        self.bound.effort = steps;
        self
    }

    /// How long checking may take under each profile. Default: as long as it takes. A run that this ends
    /// cannot be compared with another, for what was left out depends on the machine: its report says so.
    pub fn time_budget(mut self, limit: Duration) -> Self {
        self.bound.time = Some(limit);
        self
    }

    /// Worker processes; the reports do not depend on it. Default: one for each processor.
    ///
    /// # Panics
    ///
    /// For 0: use [`Explore::in_process`].
    #[track_caller]
    pub fn workers(mut self, count: u32) -> Self {
        assert!(count > 0, "0 workers check nothing: use .in_process()");
        self.workers = Some(count);
        self
    }

    /// Records and checks in this process. Nothing is started, and an oracle may look at variables of
    /// the test; an abort, a hang or a fault of the engine is then the test's own.
    pub fn in_process(mut self) -> Self {
        self.in_process = true;
        self
    }

    /// Bytes of private memory that one worker may take. Default: 1 GiB.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// How long one check may take before it counts as hung. Default: 10 seconds; a hang is confirmed at
    /// ten times the limit.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// How many states that lose alike are waited for where they hang, before the others are left out: see
    /// [`Bound::hangs`]. Default: 3; `u32::MAX` goes on to the end.
    ///
    /// # Panics
    ///
    /// For 0, which waits for none.
    #[track_caller]
    pub fn hangs(mut self, count: u32) -> Self {
        assert!(count > 0, "of 0 hangs nothing is known: name at least 1");
        self.bound.hangs = count;
        self
    }

    /// Checks every disk on real files, where the door could serve it in a faster way. The reports do not
    /// depend on it: what is not served otherwise is checked on real files by itself.
    pub fn real_files(mut self) -> Self {
        self.real_files = true;
        self
    }

    /// Recovers from every disk, also where what recovery read of another tells that it holds. The
    /// reports do not depend on it.
    pub fn without_pruning(mut self) -> Self {
        self.prune = false;
        self
    }

    /// Has the power go during recovery, too: what the check does to a disk is recorded like a run, and
    /// what a crash may leave of it is checked in turn, each distinct disk once. With `depth` 2 also during
    /// the recovery from such a disk, and so on. Default: 0, not at all.
    ///
    /// A check that asks the engine for more than to come up says so by marks of its own: what it
    /// acknowledges, later recoveries must keep. One that acknowledges what it has found demands that
    /// recovering twice gives the same.
    pub fn recovery_crashes(mut self, depth: u32) -> Self {
        self.recovery_depth = depth;
        self
    }

    /// Has things go wrong during recovery, too, in some of the recoveries, spread over the states that hold.
    /// With a number, in so many recoveries every call fails with an I/O error, and every sync as each kernel
    /// fails it, once and from then on for ever; [`RecoveryFaults`] chooses other families or arms a plan.
    ///
    /// What the check says then counts for nothing, for an error is an answer; but what such a recovery has left,
    /// and what a power cut at some crash point after the fault leaves of that, must hold when it is recovered
    /// without faults. So is found what takes an unreadable log for an empty one, and what removes a log though
    /// the sync of what it made of it has failed. Default: none.
    ///
    /// A recovery that panics, aborts, hangs or runs out of memory under a fault is a failure with that verdict,
    /// and what it has left is not looked at. An engine that is meant to stop itself by a panic is one whose check
    /// catches it ([`catch_unwind`](std::panic::catch_unwind)) and returns an error, as a workload that is swept
    /// does: then what the engine has left is looked at, too.
    ///
    /// ```
    /// use faultfs::explore::RecoveryFaults;
    /// use faultfs::sweep::Group;
    /// # let explore = faultfs::explore(|fs| Ok(fs.write("a", "b")?)).named("a").in_process();
    /// let full = RecoveryFaults { groups: vec![Group::NoSpace, Group::Crash], ..RecoveryFaults::from(4) };
    /// explore.recovery_faults(full).check(|_, _| Ok(()));
    /// ```
    pub fn recovery_faults(mut self, faults: impl Into<RecoveryFaults>) -> Self {
        self.recovery_faults = faults.into();
        self
    }

    /// The folder of saved traces. Default: `faultfs` in Cargo's target folder.
    pub fn traces(mut self, folder: impl Into<PathBuf>) -> Self {
        self.traces = Some(folder.into());
        self
    }

    /// Tokens of earlier failures, checked before anything else. Where a token's run has changed since,
    /// and its trace is not in the folder of traces, that is said, and the exploration fails.
    pub fn tokens<T: Into<String>>(mut self, tokens: impl IntoIterator<Item = T>) -> Self {
        self.first = tokens.into_iter().map(T::into).collect();
        self
    }

    /// Recovers from every disk and has `oracle` look at it.
    ///
    /// With the environment variable [`REPLAY`] set to a token, only that state is looked at, in this
    /// process. With [`PARTITION`](super::PARTITION) set only a share of the states is, and only its failures count; with
    /// [`MERGE`](super::MERGE) the shares make the whole.
    ///
    /// # Panics
    ///
    /// With the reports, where a promise was broken or the run was not measured, and with the path of the
    /// page that shows them, which is made beside the saved trace; with the reason, where the run could not
    /// be made.
    #[track_caller]
    pub fn check(self, oracle: impl FnMut(&D::Root, &Marks) -> Result<(), Broken>) {
        if let Err(error) = self.try_check(oracle) {
            panic!("{error}");
        }
    }

    /// As [`Explore::check`], with an error in the place of the panic. For workloads that are drawn, by
    /// proptest for example: one that fails is then made smaller by whoever drew it, and the smallest
    /// ends in the report of its smallest counter-example, with the token.
    ///
    /// [`Explore::in_process`] is right for these: a worker would first draw all workloads before its own
    /// again. A drawn workload runs many times, so that a budget of some hundred states is enough for each.
    /// That a token is replayed needs the same workload again: keep the seed.
    ///
    /// ```
    /// use faultfs::oracle::Log;
    /// use proptest::prelude::*;
    /// use std::io::Write;
    ///
    /// proptest! {
    ///     // In a test: #[test]
    ///     fn synced_records_survive_any_power_cut(sizes in prop::collection::vec(1..2000usize, 1..4)) {
    ///         let record = |id: u64| vec![id as u8; sizes[id as usize]];
    ///         faultfs::explore(|fs| {
    ///             let mut log = fs.create("log")?;
    ///             fs.sync_dir(".")?;
    ///             for id in 0..sizes.len() as u64 {
    ///                 fs.begin(id);
    ///                 log.write_all(&record(id))?;
    ///                 log.sync_data()?; // without it: minimal failing input: sizes = [1]
    ///                 fs.ack(id);
    ///             }
    ///             Ok(())
    ///         })
    ///         .named("log")
    ///         .given(&sizes)
    ///         .budget(100)
    ///         .in_process()
    ///         .try_check(|fs, marks| {
    ///             let mut bytes = fs.read("log").unwrap_or_default();
    ///             let mut found = Vec::new();
    ///             for id in 0..sizes.len() as u64 {
    ///                 if bytes.starts_with(&record(id)) {
    ///                     bytes.drain(..record(id).len());
    ///                     found.push(record(id));
    ///                 }
    ///             }
    ///             Log::of(record).check(&found, marks)
    ///         })?;
    ///     }
    /// }
    /// synced_records_survive_any_power_cut();
    /// ```
    ///
    /// # Errors
    ///
    /// What [`Explore::check`] panics with.
    pub fn try_check(
        self,
        oracle: impl FnMut(&D::Root, &Marks) -> Result<(), Broken>,
    ) -> Result<()> {
        let traces = self.traces.clone().unwrap_or_else(file::default_folder);
        let reports = self.explored(oracle)?;
        let fine = |report: &&Report| report.held() || report.share_held();
        let bad: Vec<_> = reports.iter().filter(|report| !fine(report)).collect();
        if bad.is_empty() {
            return Ok(());
        }
        let text: Vec<_> = bad.iter().map(|report| report.to_string()).collect();
        let page = bad.iter().find_map(|report| report::page_of(report, &traces));
        let page = page.map(|page| format!("page: {}\n", page.display()));
        Err(Error::new(format!("\n{}{}", page.unwrap_or_default(), text.join("\n"))))
    }

    /// As [`Explore::check`], but returns what was found: one report a profile. In a worker process that
    /// was started for another exploration of the same test there are none, nor where only a share of the
    /// states is looked at.
    ///
    /// # Errors
    ///
    /// Where the run cannot be made: no name, no worker, a workload that fails by itself, a token that
    /// does not fit.
    pub fn reports(
        self,
        oracle: impl FnMut(&D::Root, &Marks) -> Result<(), Broken>,
    ) -> Result<Vec<Report>> {
        // What a share found says nothing of the run.
        self.explored(oracle)
            .map(|reports| reports.into_iter().filter(|report| report.share.is_none()).collect())
    }

    fn explored(
        mut self,
        mut oracle: impl FnMut(&D::Root, &Marks) -> Result<(), Broken>,
    ) -> Result<Vec<Report>> {
        let oracle: &mut Oracle<'_, D::Root> = &mut oracle;
        let place = self.place()?;
        let only = match worker::current() {
            None => match asked_to_replay(&place)? {
                Some(AnyToken::OfSweep(token)) => {
                    return Err(Error::new(format!(
                        "{REPLAY}: {token} is of a sweep of this name, and this is an exploration: name \
                         one of them otherwise, with .named(..)"
                    )));
                }
                Some(AnyToken::OfState(token)) => Some(token),
                None => None,
            },
            Some(_) => None,
        };
        let work = match worker::current() {
            None if only.is_none() => shard::from_environment(&place.name, &place.traces)?,
            _ => Work::Whole,
        };
        let mut progress = |_| {};
        let mut settings = place.settings(&mut progress);
        settings.recovery_depth = self.recovery_depth;
        settings.recovery_faults = std::mem::take(&mut self.recovery_faults);
        settings.crashes = std::mem::take(&mut self.crashes);
        settings.bound = self.bound;
        let Some((launch, call)) = place.launch.clone() else {
            return self.here(&place.name, only, &work, oracle, &mut settings);
        };
        let mut plan = self.plan(launch, call);
        plan.only = only;
        plan.work = work;
        plan.first = tokens(&self.first)?;
        super::run(&place.name, &mut self.door, oracle, &plan, &mut settings)
    }

    /// Where this is, and how to come back to it.
    pub(crate) fn place(&self) -> Result<Place> {
        let traces = self.traces.clone().unwrap_or_else(file::default_folder);
        let launch = match self.in_process {
            true => None,
            false => {
                let launch = Launch::here()?;
                let call = launch.next_call();
                Some((launch, call))
            }
        };
        let name = self.name(launch.as_ref().map_or(0, |(_, call)| *call));
        let thread = std::thread::current();
        let test = thread.name().filter(|name| *name != "main").map(String::from);
        let program = std::env::args().collect::<Vec<_>>().join(" ");
        Ok(Place { name, traces, launch, test, program })
    }

    /// How this is done in workers.
    pub(crate) fn plan(&self, launch: Launch, call: u32) -> Plan {
        let mut plan = Plan::new(launch, call);
        plan.profiles = self.profiles.clone();
        plan.workers = self.workers.unwrap_or(plan.workers);
        plan.memory_limit = self.memory_limit.or(plan.memory_limit);
        plan.time_limit = self.time_limit.unwrap_or(plan.time_limit);
        plan.real_files = self.real_files;
        plan.prune = self.prune;
        plan
    }

    /// The name of the test, and for the second and later explorations of one test their number; behind it
    /// what the workload is made of.
    fn name(&self, call: u32) -> String {
        let name = self.name.clone().unwrap_or_else(|| {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or("unnamed").to_string();
            if call == 0 { test } else { format!("{test}#{}", call + 1) }
        });
        self.given.iter().fold(name, |name, ops| format!("{name} of {ops}"))
    }

    fn here(
        mut self,
        name: &str,
        only: Option<Token>,
        work: &Work,
        oracle: &mut Oracle<'_, D::Root>,
        settings: &mut Settings<'_>,
    ) -> Result<Vec<Report>> {
        let session = super::door::new_session()?;
        let room = super::door::make(session.path().join("recording"))?;
        // Other tests of this process pass points, too.
        let scope = points::own_scope();
        self.door.record(&room, &Faults::default()).map_err(|broken| {
            Error::new(format!("the workload of {name} failed without any fault: {broken}"))
        })?;
        let mut trace = Arc::new(Trace { subject: name.into(), ..self.door.trace(&room)? });
        drop(scope);
        if let Work::Merge(shards) = work {
            trace = shards.trace().clone();
        }
        if let Some(token) = only {
            return super::door::replay_only(&mut self.door, oracle, &trace, &token, settings);
        }
        for token in tokens(&self.first)? {
            let trace = super::door::trace_of(&token.state, &trace, &settings.traces)?;
            super::door::replay(&mut self.door, oracle, &trace, &token)?;
        }
        let room = super::door::make(session.path().join("here"))?;
        let mut checks = Checks { door: &mut self.door, oracle, room };
        let mut judge = InProcess::new(&mut checks, self.prune);
        super::explore_profiles(&trace, &self.profiles, work, &mut judge, settings)
    }
}

/// A call of a builder: what it is named, and how a worker or a person comes back to it.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) traces: PathBuf,
    /// None: everything is done in this process.
    pub(crate) launch: Option<(Launch, u32)>,
    test: Option<String>,
    program: String,
}

impl Place {
    pub(crate) fn settings<'a>(&'a self, progress: &'a mut dyn FnMut(Progress)) -> Settings<'a> {
        Settings {
            traces: self.traces.clone(),
            replay: match &self.test {
                Some(test) => Replay::Test(test),
                None => Replay::Program(&self.program),
            },
            crashes: Crashes::Everywhere,
            recovery_depth: 0,
            recovery_faults: RecoveryFaults::default(),
            bound: Bound::default(),
            progress,
            interrupted: &session::interrupted,
        }
    }
}

fn tokens(texts: &[String]) -> Result<Vec<Token>> {
    texts.iter().map(|text| text.parse()).collect()
}
