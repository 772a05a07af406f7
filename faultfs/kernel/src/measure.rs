//! One program on one filesystem: recorded under several schedules, every crash state mounted and looked at,
//! and held against what the profiles allow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use faultfs::Profile;
use faultfs::trace::{Record, Trace};

use crate::crash::{Cut, Log};
use crate::device::Blocks;
use crate::legal::Legal;
use crate::look::Sectors;
use crate::programs;
use crate::rig::Rig;
use crate::schedule::{Force, Schedule};
use crate::systems::System;
use crate::token::Token;

/// How much is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    /// Schedules of a program, at most.
    pub(crate) schedules: usize,
    /// Drawn disks of each epoch.
    pub(crate) samples: usize,
    /// Disks of each schedule, at most: drawn of all where there are more.
    pub(crate) states: usize,
    /// What is drawn with.
    pub(crate) seed: u64,
}

/// A disk that a kernel left and a profile does not allow.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) token: Token,
    pub(crate) profile: &'static str,
    pub(crate) stamp: u64,
    pub(crate) found: String,
}

/// What was seen of one program on one filesystem.
pub(crate) struct Seen {
    pub(crate) program: String,
    /// What was found, with every stamp at which it may be left.
    pub(crate) found: BTreeMap<String, BTreeSet<u64>>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) schedules: usize,
    pub(crate) states: usize,
    /// The profiles with what they allow.
    pub(crate) legal: Vec<Legal>,
    /// Turned profiles with what they allow, and why they are wrong.
    pub(crate) turned: Vec<(&'static str, Legal)>,
    /// Why it was not measured, or not to its end.
    pub(crate) unmeasured: Option<Unmeasured>,
}

/// Why a program was not measured.
#[derive(Debug)]
pub(crate) enum Unmeasured {
    /// It cannot be on this filesystem.
    Limit(&'static str),
    /// It can be, and something went wrong.
    Failed(String),
}

/// A program that is ready to be run on a rig.
pub(crate) struct Prepared {
    pub(crate) trace: Arc<Trace>,
    pub(crate) sectors: Sectors,
    base: Arc<Blocks>,
}

impl Prepared {
    /// Puts the disk that a program starts with on a fresh filesystem.
    pub(crate) fn new(rig: &mut Rig, fresh: &Arc<Blocks>, name: &str) -> Result<Prepared, String> {
        let trace = Arc::new(programs::find(name).ok_or("no such program")?);
        rig.tell(&format!("program {name}"))?;
        rig.device.hold(fresh.clone(), Blocks::new());
        rig.tell("fill")?;
        Ok(Prepared { sectors: Sectors::of(&trace), base: rig.device.blocks(), trace })
    }

    /// Runs the program under a schedule; `None` where the schedule has left nothing to an op that is to fail.
    pub(crate) fn record(&self, rig: &mut Rig, schedule: &Schedule) -> Result<Option<Log>, String> {
        rig.device.hold(self.base.clone(), Blocks::new());
        rig.device.record();
        rig.tell("mount")?;
        let done = self.steps(rig, schedule);
        rig.device.catch_up();
        let settled = rig.tell(&format!("force {}", Force::Sync));
        let unmounted = rig.tell("unmount");
        let events = rig.device.recorded();
        let is_run = done?;
        if !self.has_failures() {
            settled?;
        }
        unmounted?;
        Ok(is_run.then(|| Log::new(self.base.clone(), &events)))
    }

    /// The ops in the order of their stamps. One that takes time is done when it ends; one that never ends,
    /// when it starts. False where one has not failed that is to.
    fn steps(&self, rig: &mut Rig, schedule: &Schedule) -> Result<bool, String> {
        let mut stamps: Vec<(u64, usize, bool)> = Vec::new();
        for (index, record) in self.trace.ops.iter().enumerate() {
            stamps.push((record.start, index, record.end.is_none()));
            stamps.extend(record.end.map(|end| (end, index, true)));
        }
        stamps.sort_unstable();
        for (stamp, index, is_done_here) in stamps {
            let record = &self.trace.ops[index];
            if record.start == stamp {
                rig.device.mark(stamp);
            }
            if is_done_here && !self.step(rig, index, record)? {
                return Ok(false);
            }
            if record.end == Some(stamp) {
                rig.device.mark(stamp);
            }
            if is_done_here {
                for force in schedule.after(index) {
                    self.force(rig, force)?;
                }
            }
        }
        Ok(true)
    }

    fn force(&self, rig: &mut Rig, force: Force) -> Result<(), String> {
        if force == Force::Slow {
            rig.device.slow_down(self.data());
            return Ok(());
        }
        match rig.tell(&format!("force {force}")) {
            Err(error) if !self.has_failures() => Err(format!("{force}: {error}")),
            _ => Ok(()),
        }
    }

    /// True where a sync of the program fails. A sync of everything tells of that once more.
    fn has_failures(&self) -> bool {
        self.trace.ops.iter().any(|record| record.errno.is_some())
    }

    fn data(&self) -> Vec<Arc<[u8]>> {
        self.sectors.data().map(Arc::from).collect()
    }

    fn step(&self, rig: &mut Rig, index: usize, record: &Record) -> Result<bool, String> {
        if record.errno.is_none() {
            return rig.tell(&format!("do {index}")).map(|_| true);
        }
        rig.device.fail(self.data());
        let done = rig.tell(&format!("do {index}"));
        rig.device.fail(Vec::new());
        Ok(done.is_err())
    }

    /// Mounts a disk and tells what is there.
    pub(crate) fn look(&self, rig: &mut Rig, log: &Log, cut: &Cut) -> Result<String, String> {
        let (over, _) = log.disk(cut).ok_or("the log has no such cut")?;
        rig.device.hold(self.base.clone(), over);
        Ok(rig.tell("look").unwrap_or_else(|error| format!("broken: {error}")))
    }

    /// True for data of the program: the only blocks that are torn. Of its own blocks a filesystem takes care,
    /// or is broken.
    pub(crate) fn is_data(&self, written: &[u8]) -> bool {
        let sectors = written.chunks(512).take(1);
        written.len() > 512 && self.sectors.data().any(|known| sectors.clone().any(|s| s == known))
    }
}

/// Measures a program.
pub(crate) fn measure(
    rig: &mut Rig,
    system: &'static System,
    fresh: &Arc<Blocks>,
    program: &str,
    bound: &Bound,
) -> Result<Seen, String> {
    let prepared = Prepared::new(rig, fresh, program)?;
    let tears = !programs::is_drawn(program);
    let legal = |profile: Profile| {
        let profile = Profile { torn_pages: tears && profile.torn_pages, ..profile };
        Legal::of(&prepared.trace, &prepared.sectors, profile)
    };
    let mut seen = Seen {
        program: program.into(),
        found: BTreeMap::new(),
        findings: Vec::new(),
        schedules: 0,
        states: 0,
        legal: system.profiles.iter().copied().map(legal).collect(),
        turned: system.turned.iter().map(|(why, turned)| (*why, legal(*turned))).collect(),
        unmeasured: None,
    };
    seen.unmeasured = system.unmeasured(&prepared.trace).map(Unmeasured::Limit);
    if seen.unmeasured.is_some() {
        return Ok(seen);
    }
    for schedule in Schedule::all(&prepared.trace).into_iter().take(bound.schedules) {
        let log = match prepared.record(rig, &schedule) {
            Ok(Some(log)) => log,
            Ok(None) => continue,
            Err(error) => {
                seen.unmeasured = Some(Unmeasured::Failed(format!("{schedule}: {error}")));
                break;
            }
        };
        seen.schedules += 1;
        let seed = bound.seed ^ seen.schedules as u64;
        let cuts = log.cuts(bound.samples, seed, |data| tears && prepared.is_data(data));
        let distinct = log.distinct(cuts);
        let mut some: Vec<_> = distinct.into_values().collect();
        some.sort();
        if some.len() > bound.states {
            fastrand::Rng::with_seed(seed).shuffle(&mut some);
            some.truncate(bound.states);
        }
        for (cut, stamps) in some {
            let found = prepared.look(rig, &log, &cut)?;
            seen.states += 1;
            let token = || Token {
                system: system.name.into(),
                program: program.into(),
                schedule: schedule.clone(),
                cut: cut.clone(),
                shape: log.shape(),
            };
            for legal in &seen.legal {
                if let Some(stamp) = legal.forbids(&found, &stamps) {
                    let profile = legal.profile.name;
                    let known = |f: &Finding| f.profile == profile && f.found == found;
                    if !seen.findings.iter().any(known) {
                        let found = found.clone();
                        seen.findings.push(Finding { token: token(), profile, stamp, found });
                    }
                }
            }
            seen.found.entry(found).or_default().extend(stamps);
        }
    }
    Ok(seen)
}
