//! One run in parts: each judges its share of the states, wherever it runs, and all of them together make
//! the report of the whole run.
//!
//! Every part lists all states, which is cheap and the same everywhere, and judges each n-th. What became
//! of its share goes to a file, with the trace. A merging run takes the trace from the files and has its
//! states judged from them; findings, confirmation and sampling are then those of any other run, on the
//! same states, and so is the report.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use super::findings::likeness;
use super::hangs::{self, Hangs};
use super::{
    Bound, Faults, Judge, Outcome, Patience, Recorded, RecoveryFaults, Settings, trace_id,
};
use crate::file::{self, Form, Saver};
use crate::model::{Model, Profile};
use crate::trace::Trace;
use crate::verdict::{Broken, Verdict};
use crate::{Error, Result};

/// The environment variable that makes the explorations of tests judge one share of their states, `3/8`,
/// and write it to the folder [`SHARDS`].
pub const PARTITION: &str = "FAULTFS_PARTITION";

/// The environment variable that names the folder for the shares of tests. Default: `shards` in the folder
/// of saved traces.
pub const SHARDS: &str = "FAULTFS_SHARDS";

/// The environment variable that names the folder from which the explorations of tests take what shares
/// have found; nothing is recorded then.
pub const MERGE: &str = "FAULTFS_MERGE";

/// Which share of the states of a run: the third of eight is `3/8`.
///
/// ```
/// use faultfs::explore::Partition;
/// let share: Partition = "3/8".parse().unwrap();
/// assert_eq!(share.to_string(), "3/8");
/// assert!("0/8".parse::<Partition>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Partition {
    index: u32,
    of: u32,
}

impl Partition {
    /// Whether the state at this place of the list is in the share. Neighbours go to different shares:
    /// they cost alike.
    fn holds(self, place: usize) -> bool {
        place as u64 % u64::from(self.of) == u64::from(self.index - 1)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl From<Partition> for String {
    fn from(partition: Partition) -> Self {
        partition.to_string()
    }
}

impl TryFrom<String> for Partition {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Partition {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('/');
        let parts = parts.and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Partition { index, of }),
            _ => Err(Error::new(format!(
                "`{text}` is not a share: write 3/8 for the third of eight, from 1/8 to 8/8"
            ))),
        }
    }
}

/// Which part of the work a run does.
#[derive(Clone, Debug, Default)]
pub enum Work {
    /// All of it.
    #[default]
    Whole,
    /// One share of the states, whose outcomes go to a file in the folder.
    Share(Partition, PathBuf),
    /// What remains when all shares were made: they are in these files.
    Merge(Arc<Shards>),
}

/// What one part of a run found.
#[derive(Debug, Serialize, Deserialize)]
struct Shard {
    partition: Partition,
    /// The program that explored, for tests of the same name in others.
    program: String,
    trace: Trace,
    /// The profiles by name; under one that could not be measured nothing was judged.
    profiles: Vec<String>,
    told: Told,
    shares: Vec<Share>,
}

/// What a run is told, all of its shares the same, and whoever merges them goes by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Told {
    /// Without a limit of time.
    bound: Bound,
    recovery_depth: u32,
    recovery_faults: RecoveryFaults,
}

impl Told {
    pub(super) fn of(settings: &Settings<'_>) -> Told {
        Told {
            bound: settings.bound,
            recovery_depth: settings.recovery_depth,
            recovery_faults: settings.recovery_faults.clone(),
        }
    }

    /// Every setting by its name.
    fn settings(&self) -> [(&'static str, String); 8] {
        let Bound { omissions, samples, seed, budget, effort, hangs, time: _ } = self.bound;
        [
            ("omissions", omissions.to_string()),
            ("samples", samples.to_string()),
            ("seed", seed.to_string()),
            ("budget", budget.to_string()),
            ("effort", effort.to_string()),
            ("hangs", hangs.to_string()),
            ("recovery depth", self.recovery_depth.to_string()),
            ("faults in recoveries", self.recovery_faults.to_string()),
        ]
    }

    /// The first setting that differs: here, and in the other.
    fn difference(&self, other: &Told) -> Option<(&'static str, String, String)> {
        let both = self.settings().into_iter().zip(other.settings());
        both.filter(|(here, there)| here != there)
            .map(|((name, here), (_, there))| (name, here, there))
            .next()
    }
}

/// What became of a share of the states under one profile.
#[derive(Debug, Serialize, Deserialize)]
struct Share {
    /// By its name.
    profile: String,
    /// A hash of the tokens of all states, of every share.
    states: u128,
    count: u64,
    /// Those that failed, by their place in the list; the others of the share held.
    failing: BTreeMap<u64, Broken>,
    /// Why these outcomes are not to be trusted: see [`Judge::take_doubts`].
    doubts: Vec<String>,
}

const FORM: Form = Form { magic: *b"faultsh\x1a", version: 5, what: "shard" };

fn digest(tokens: &[String]) -> u128 {
    XxHash3_128::oneshot(tokens.join("\n").as_bytes())
}

/// What both judges leave to the one that they stand before: crashes during recovery are no part of a share, and
/// are looked at when all are merged.
macro_rules! left_to_the_judge {
    () => {
        fn afresh(
            &mut self,
            model: &Model,
            tokens: &[String],
            patience: bool,
        ) -> Result<Vec<Option<Outcome>>> {
            self.judge.afresh(model, tokens, patience)
        }

        fn judge_all(
            &mut self,
            jobs: &[(&Model, &[String])],
            settings: &mut Settings<'_>,
        ) -> Result<Vec<Vec<Option<Outcome>>>> {
            self.judge.judge_all(jobs, settings)
        }

        fn record(
            &mut self,
            model: &Model,
            states: &[(String, Faults)],
            patience: &mut Patience,
        ) -> Result<Vec<Option<Recorded>>> {
            self.judge.record(model, states, patience)
        }

        fn record_afresh(
            &mut self,
            model: &Model,
            states: &[(String, Faults)],
        ) -> Result<Vec<Option<Recorded>>> {
            self.judge.record_afresh(model, states)
        }
    };
}

/// Judges one share of the states of a run.
pub(super) struct Sharing<'a> {
    judge: &'a mut dyn Judge,
    partition: Partition,
    shares: Vec<Share>,
    /// Some state of the share was left out: the run was interrupted.
    cut: bool,
}

impl<'a> Sharing<'a> {
    pub(super) fn new(judge: &'a mut dyn Judge, partition: Partition) -> Self {
        Sharing { judge, partition, shares: Vec::new(), cut: false }
    }

    /// Writes what was found into `folder`. An interrupted share is no share, and is not written.
    pub(super) fn save(
        self,
        trace: &Trace,
        profiles: &[Profile],
        told: Told,
        folder: &Path,
    ) -> Result<()> {
        if self.cut {
            return Ok(());
        }
        let (partition, program) = (self.partition, Saver::here().program);
        let name =
            format!("{}-{}of{}.{}", trace_id(trace), partition.index, partition.of, FORM.what);
        let profiles = profiles.iter().map(Profile::to_string).collect();
        let (trace, shares) = (trace.clone(), self.shares);
        let shard = Shard { partition, program, trace, profiles, told, shares };
        let body = postcard::to_stdvec(&shard).expect("plain data serialises");
        FORM.save(&folder.join(name), &body).map_err(|error| {
            Error::new(format!("cannot write the shard to {}: {error}", folder.display()))
        })
    }
}

impl Judge for Sharing<'_> {
    fn judge(
        &mut self,
        model: &Model,
        tokens: &[String],
        settings: &mut Settings<'_>,
    ) -> Result<Vec<Option<Outcome>>> {
        let partition = self.partition;
        let places: Vec<usize> = (0..tokens.len()).filter(|&i| partition.holds(i)).collect();
        let own: Vec<String> = places.iter().map(|&place| tokens[place].clone()).collect();
        // What is left out of the whole run for hangs, merging leaves out.
        let hangs = std::mem::replace(&mut settings.bound.hangs, u32::MAX);
        let outcomes = self.judge.judge(model, &own, settings);
        settings.bound.hangs = hangs;
        let outcomes = outcomes?;
        self.cut |= outcomes.iter().any(Option::is_none) || (settings.interrupted)();
        let mut spread = vec![None; tokens.len()];
        let mut failing = BTreeMap::new();
        for (place, outcome) in places.into_iter().zip(outcomes) {
            if let Some(Err(broken)) = &outcome {
                failing.insert(place as u64, broken.clone());
            }
            spread[place] = outcome;
        }
        self.shares.push(Share {
            profile: model.profile().to_string(),
            states: digest(tokens),
            count: tokens.len() as u64,
            failing,
            doubts: Vec::new(),
        });
        Ok(spread)
    }

    left_to_the_judge!();

    fn take_doubts(&mut self) -> Vec<String> {
        let doubts = self.judge.take_doubts();
        self.shares.last_mut().into_iter().for_each(|share| share.doubts.extend(doubts.clone()));
        doubts
    }

    fn partition(&self) -> Option<Partition> {
        Some(self.partition)
    }
}

/// All the shares of one run.
#[derive(Debug)]
pub struct Shards {
    trace: Arc<Trace>,
    program: String,
    /// By their index, from 1.
    shards: Vec<Shard>,
}

impl Shards {
    /// Reads the shares of any number of runs, one run after the other in the order of their names.
    ///
    /// # Errors
    ///
    /// Where a file is no shard, or is damaged; where shares of a run are of different traces or
    /// partitions, where one is there twice, and where one is missing.
    pub fn load(files: &[PathBuf]) -> Result<Vec<Shards>> {
        let mut runs: BTreeMap<(String, String), Vec<(PathBuf, Shard)>> = BTreeMap::new();
        for path in files {
            let shard: Shard = postcard::from_bytes(&FORM.load(path)?)
                .map_err(|error| Error::new(format!("{}: no shard: {error}", path.display())))?;
            let run = (shard.trace.subject.clone(), shard.program.clone());
            runs.entry(run).or_default().push((path.clone(), shard));
        }
        runs.into_iter().map(|((_, program), shards)| Shards::of(program, shards)).collect()
    }

    fn of(program: String, mut shards: Vec<(PathBuf, Shard)>) -> Result<Shards> {
        shards.sort_by_key(|(_, shard)| shard.partition);
        let (first, of) = (&shards[0], shards[0].1.partition.of);
        let trace = Arc::new(first.1.trace.clone());
        let subject = &trace.subject;
        let wrong = |why: String| Err(Error::new(format!("the shards of {subject}: {why}")));
        for (path, shard) in &shards {
            let (path, id) = (path.display(), trace_id(&shard.trace));
            if id != trace_id(&trace) {
                return wrong(format!(
                    "{path} is of trace {id}, {} of {}: the run has changed in between, or differs from \
                     time to time, and cannot be split",
                    first.0.display(),
                    trace_id(&trace)
                ));
            }
            if shard.profiles != first.1.profiles {
                return wrong(format!("{path} is of other profiles than {}", first.0.display()));
            }
            if let Some((setting, here, there)) = shard.told.difference(&first.1.told) {
                return wrong(format!(
                    "{path} was made with {setting} {here}, {} with {there}: make all shares with the same",
                    first.0.display()
                ));
            }
            if shard.partition.of != of {
                return wrong(format!(
                    "{path} is share {}, {} is share {}: give those of one partition only",
                    shard.partition,
                    first.0.display(),
                    first.1.partition
                ));
            }
        }
        for index in 1..=of {
            let wanted = Partition { index, of };
            let found = shards.iter().filter(|(_, shard)| shard.partition == wanted);
            match found.map(|(path, _)| path.display().to_string()).collect::<Vec<_>>() {
                paths if paths.is_empty() => {
                    return wrong(format!(
                        "share {wanted} is missing: run that part again, it may have been interrupted"
                    ));
                }
                paths if paths.len() > 1 => {
                    return wrong(format!("share {wanted} is there twice: {}", paths.join(", ")));
                }
                _ => {}
            }
        }
        let shards = shards.into_iter().map(|(_, shard)| shard).collect();
        Ok(Shards { trace, program, shards })
    }

    /// The recorded run.
    pub fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }

    /// The profiles under which it was explored, in order.
    ///
    /// # Errors
    ///
    /// Where this program does not know one of them.
    pub fn profiles(&self) -> Result<Vec<Profile>> {
        self.shards[0].profiles.iter().map(|name| name.parse()).collect()
    }

    /// How far it was explored.
    pub fn bound(&self) -> Bound {
        self.shards[0].told.bound
    }

    /// How deep crashes during recovery are looked at, which is left to whoever merges.
    pub fn recovery_depth(&self) -> u32 {
        self.shards[0].told.recovery_depth
    }

    /// What goes wrong in recoveries, which is left to whoever merges.
    pub fn recovery_faults(&self) -> &RecoveryFaults {
        &self.shards[0].told.recovery_faults
    }

    /// Whoever merges does as the shares were told.
    pub(super) fn tell(&self, settings: &mut Settings<'_>) {
        let Told { bound, recovery_depth, recovery_faults } = self.shards[0].told.clone();
        (settings.bound, settings.recovery_depth) = (bound, recovery_depth);
        settings.recovery_faults = recovery_faults;
    }

    /// The outcomes of all states under a profile.
    fn outcomes(&self, profile: Profile, tokens: &[String]) -> Result<Vec<Option<Outcome>>> {
        let mut outcomes: Vec<Option<Outcome>> = vec![Some(Ok(())); tokens.len()];
        for shard in &self.shards {
            let partition = shard.partition;
            let wrong = |why: &str| {
                let subject = &self.trace.subject;
                Error::new(format!("share {partition} of {subject} under {profile} {why}"))
            };
            let share = shard.shares.iter().find(|share| share.profile == profile.name);
            let share =
                share.ok_or_else(|| wrong("is missing: explore the same profiles everywhere"))?;
            if share.states != digest(tokens) {
                return Err(wrong(&format!(
                    "is one of {} states, this run has {}: another bound, seed, place of crashes or \
                     version; make all shares and merge them with the same ones",
                    share.count,
                    tokens.len()
                )));
            }
            for (&place, broken) in &share.failing {
                if !partition.holds(place as usize) {
                    return Err(wrong("holds a state of another share: make it again"));
                }
                outcomes[place as usize] = Some(Err(broken.clone()));
            }
        }
        Ok(outcomes)
    }
}

/// Has states judged from the shares of a run, and whatever else there is to judge by another judge.
pub(super) struct Merging<'a> {
    judge: &'a mut dyn Judge,
    shards: &'a Shards,
    doubts: Vec<String>,
    left_out: u64,
}

impl<'a> Merging<'a> {
    pub(super) fn new(judge: &'a mut dyn Judge, shards: &'a Shards) -> Self {
        Merging { judge, shards, doubts: Vec::new(), left_out: 0 }
    }
}

impl Judge for Merging<'_> {
    fn judge(
        &mut self,
        model: &Model,
        tokens: &[String],
        settings: &mut Settings<'_>,
    ) -> Result<Vec<Option<Outcome>>> {
        let profile = model.profile();
        let shares = self.shards.shards.iter().flat_map(|shard| &shard.shares);
        let ours = shares.filter(|share| share.profile == profile.name);
        self.doubts.extend(ours.flat_map(|share| share.doubts.clone()));
        let mut outcomes = self.shards.outcomes(profile, tokens)?;
        let flags = hangs::flags(tokens.len());
        let kind_of = |index: usize| likeness(model, &tokens[index]);
        let mut hangs = Hangs::new(settings.bound.hangs, &flags, &kind_of);
        for (index, outcome) in outcomes.iter_mut().enumerate() {
            let hung = |broken: &Broken| broken.verdict() == Verdict::Hung;
            let has_hung = outcome.as_ref().is_some_and(|o| o.as_ref().is_err_and(hung));
            if !hangs.counts(index, has_hung) {
                *outcome = None;
                self.left_out += 1;
            }
        }
        Ok(outcomes)
    }

    left_to_the_judge!();

    fn take_doubts(&mut self) -> Vec<String> {
        let mut doubts = std::mem::take(&mut self.doubts);
        doubts.extend(self.judge.take_doubts());
        doubts
    }

    fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out) + self.judge.take_left_out()
    }
}

/// What the environment says of the work of the run called `name` in a test.
pub(super) fn from_environment(name: &str, traces: &Path) -> Result<Work> {
    let folder = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    match (std::env::var(PARTITION), folder(MERGE)) {
        (Ok(_), Some(_)) => Err(Error::new(format!(
            "{PARTITION} and {MERGE} are both set: first make the shares, then merge them"
        ))),
        (Ok(share), None) => {
            let share = share.parse().map_err(|e| Error::new(format!("{PARTITION}: {e}")))?;
            Ok(Work::Share(share, folder(SHARDS).unwrap_or_else(|| traces.join("shards"))))
        }
        (Err(_), Some(folder)) => {
            let program = Saver::here().program;
            let runs = Shards::load(&file::saved_in(&folder, FORM.what))?;
            let of_run = |run: &Shards| run.trace.subject == name && run.program == program;
            match runs.into_iter().find(of_run) {
                Some(run) => Ok(Work::Merge(Arc::new(run))),
                None => Err(Error::new(format!(
                    "{MERGE}: there is no share of {name} of {program} in {}",
                    folder.display()
                ))),
            }
        }
        (Err(_), None) => Ok(Work::Whole),
    }
}
