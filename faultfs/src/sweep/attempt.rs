//! One case from its run to the last disk that is looked at, in whichever process.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use super::case::{Case, Rot};
use super::cases::{is_silent, may_crash};
use crate::crash::{Builder, Listing, State, Tape, Token};
use crate::disk::Disk;
use crate::explore::{Door, Faults, Oracle, check_state, trace_id};
use crate::file;
use crate::model::{Model, Profile};
use crate::trace::{Marks, Site, Stamp, Trace};
use crate::verdict::{Broken, Verdict};

/// How far one case goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Bound {
    pub(super) profile: String,
    /// The power goes too: at so many crash points after the fault, and at the end.
    pub(super) crash_points: Option<u32>,
}

/// What is to be done for a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Step {
    /// Run the workload.
    Record,
    /// Check the disks that a run has left, or one that rots.
    Judge,
    /// Both.
    Whole,
}

/// A case, and the folder in which its run leaves what it leaves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) case: String,
    pub(super) room: PathBuf,
    pub(super) step: Step,
    /// Every call is noted.
    pub(super) observe: bool,
    /// The room stays when the disks have been checked.
    pub(super) keep: bool,
}

/// What came of a case.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// What the workload returned, where that was an error.
    pub(super) said: Option<Broken>,
    /// How often the case's own faults were injected.
    pub(super) fired: u64,
    /// The kind and path of the first call that met them.
    pub(super) place: String,
    /// Where that call was asked for, where the door knows.
    pub(super) site: Option<Site>,
    pub(super) crash_points: u64,
    /// Crash points after the fault that were left out.
    pub(super) left_out: u64,
    /// Distinct disks.
    pub(super) states: u64,
    /// Where a promise was broken: [`RUN`] or the token of a disk.
    pub(super) failures: Vec<(String, Broken)>,
    pub(super) not_measured: Vec<String>,
    /// Only real files can tell.
    pub(super) unserved: bool,
}

/// The place of a failure that shows while the workload runs.
pub(super) const RUN: &str = "run";
/// In a room: what is being done, for whoever finds the process dead.
const AT: &str = "at";
/// In a room: what the workload returned.
const SAID: &str = "said";
/// Failures of one case that are told apart.
const FAILURES_MAX: usize = 16;

/// What the process that works on `room` was doing last.
pub(super) fn at(room: &Path) -> String {
    std::fs::read_to_string(room.join(AT)).unwrap_or_default()
}

/// A door and an oracle at work on one case after the other.
pub(super) struct Tester<'a, 'o, R: ?Sized> {
    pub(super) door: &'a mut dyn Door<Root = R>,
    pub(super) oracle: &'a mut Oracle<'o, R>,
    pub(super) bound: Bound,
    /// The run without faults, for disks that rot.
    pub(super) base: Option<Arc<Trace>>,
    /// A folder that this process shares with none, for disks.
    pub(super) disks: PathBuf,
    pub(super) known: Known,
}

/// What has held before holds again: the check sees the disk, the marks and what was said in them, and nothing else.
#[derive(Default)]
pub(super) struct Known {
    disks: HashSet<(u128, u128)>,
    /// Runs that differ in nothing that a disk or a mark could show.
    runs: HashMap<u128, Attempt>,
    /// What the run that is looked at has said in its acknowledgements: see [`Trace::output`].
    said: Vec<Vec<u8>>,
}

impl<R: ?Sized> Tester<'_, '_, R> {
    /// Does a job.
    ///
    /// # Errors
    ///
    /// Where the room cannot be used; what the engine does wrong is in the attempt.
    pub(super) fn attempt(&mut self, job: &Job) -> Result<Attempt, Broken> {
        let case: Case = job.case.parse().expect("the sweep's own text parses");
        std::fs::create_dir_all(&job.room)?;
        let attempt = match &case {
            Case::Rot(rot) => self.rot(job, rot),
            Case::Faults(faults) => {
                if job.step != Step::Judge {
                    self.record(job, faults)?;
                }
                match job.step {
                    Step::Record => return Ok(Attempt::default()),
                    _ => self.judge(job, &case, faults)?,
                }
            }
        };
        if !job.keep {
            crate::session::remove_tree(&job.room)?;
        }
        Ok(Attempt { unserved: self.door.unserved().is_some(), ..attempt })
    }

    fn record(&mut self, job: &Job, faults: &Faults) -> Result<(), Broken> {
        note(job, RUN);
        let faults = Faults { observe: job.observe, ..faults.clone() };
        let said = self.door.record(&job.room, &faults).err();
        std::fs::write(job.room.join(SAID), postcard::to_stdvec(&said)?)?;
        Ok(())
    }

    fn judge(&mut self, job: &Job, case: &Case, faults: &Faults) -> Result<Attempt, Broken> {
        let said: Option<Broken> = postcard::from_bytes(&std::fs::read(job.room.join(SAID))?)?;
        let mut attempt = Attempt::default();
        // An error is an answer. That what was read is wrong, only a workload itself can say.
        let wrong = said.iter().filter(|broken| broken.verdict() != Verdict::Unopenable);
        attempt.failures.extend(wrong.map(|broken| (RUN.to_string(), broken.clone())));
        attempt.said = said;
        let trace = match self.door.trace(&job.room) {
            Ok(trace) => Arc::new(trace),
            Err(error) => {
                let said = attempt.said.take().map_or(String::new(), |said| format!(" ({said})"));
                attempt.not_measured.push(format!("{error}{said}"));
                return Ok(attempt);
            }
        };
        let Some(met) = Met::first(faults, &trace) else { return Ok(attempt) };
        (attempt.fired, attempt.place, attempt.site) = (met.count, met.place, met.site);
        attempt.not_measured.extend(trace.unmodelled.iter().cloned());
        if attempt.not_measured.is_empty() {
            let manner = Manner { silent: is_silent(case), crashes: may_crash(case) };
            self.disks_of(job, manner, &trace, met.from, &mut attempt);
        }
        Ok(attempt)
    }

    /// Checks the disk that the run left, and those that a power cut after the fault would have left.
    fn disks_of(
        &mut self,
        job: &Job,
        manner: Manner,
        trace: &Arc<Trace>,
        from: Stamp,
        attempt: &mut Attempt,
    ) {
        let shape = shape(trace, from, manner);
        if let Some(same) = self.known.runs.get(&shape) {
            let Attempt { crash_points, left_out, states, .. } = *same;
            (attempt.crash_points, attempt.left_out, attempt.states) =
                (crash_points, left_out, states);
            return;
        }
        self.looks_at(trace);
        let profile: Profile = self.bound.profile.parse().expect("a profile prints its name");
        let model = Model::new(trace.clone(), profile);
        let crash_points = self.bound.crash_points.filter(|_| manner.crashes);
        let (states, left_out) = states(&model, from, crash_points);
        let id = trace_id(trace);
        let mut builder = Builder::new(&model);
        let before = attempt.failures.len();
        for state in &states {
            let Some((disk, marks)) = builder.build(state) else { continue };
            let token = token(&id, profile, state);
            let Err(broken) = self.check(job, &token, &disk, &marks, manner.silent) else {
                continue;
            };
            // That the folder of the database itself may go is told of the run without faults.
            if builder.lost_top_directories(state).is_empty()
                && attempt.failures.len() < FAILURES_MAX
                && !attempt.failures.iter().any(|(_, known)| *known == broken)
            {
                attempt.failures.push((token, broken));
            }
        }
        attempt.states = states.len() as u64;
        attempt.crash_points = states.iter().map(|s| s.stamp).collect::<BTreeSet<_>>().len() as u64;
        attempt.left_out = left_out;
        if attempt.failures.len() == before {
            self.known.runs.insert(shape, attempt.clone());
        }
    }

    fn rot(&mut self, job: &Job, rot: &Rot) -> Attempt {
        let mut attempt = Attempt { place: format!("rot {}", rot.path), ..Attempt::default() };
        let Some(base) = self.base.clone() else { return attempt };
        let Some((disk, marks)) = rotten(&base, rot) else { return attempt };
        self.looks_at(&base);
        (attempt.fired, attempt.states) = (1, 1);
        let token = rot.state.to_string();
        if let Err(broken) = self.check(job, &token, &disk, &marks, true) {
            attempt.failures.push((token, broken));
        }
        attempt
    }

    /// The disks that are checked from now on are of this run.
    pub(super) fn looks_at(&mut self, trace: &Trace) {
        self.door.checks(trace);
        self.known.said.clone_from(&trace.output);
    }

    fn check(
        &mut self,
        job: &Job,
        token: &str,
        disk: &Disk,
        marks: &Marks,
        silent: bool,
    ) -> Result<(), Broken> {
        let told = postcard::to_stdvec(&(marks, &self.known.said))?;
        let key = (disk.digest(), XxHash3_128::oneshot(&told));
        if self.known.disks.contains(&key) {
            return Ok(());
        }
        note(job, token);
        let (door, oracle) = (&mut *self.door, &mut *self.oracle);
        let mut check = |disk: &Disk, marks: &Marks| {
            door.check(&self.disks, disk, &mut |root| oracle(root, marks))
        };
        match check_state(&mut check, disk, marks) {
            Ok(()) => {
                self.known.disks.insert(key);
                Ok(())
            }
            // An engine that finds out that the medium lied may refuse.
            Err(broken) if silent && broken.verdict() == Verdict::Unopenable => Ok(()),
            Err(broken) => Err(broken.without_folder(&self.disks)),
        }
    }
}

/// What may be asked after a fault.
#[derive(Clone, Copy)]
struct Manner {
    /// The engine was not told: it may refuse.
    silent: bool,
    /// The power may go.
    crashes: bool,
}

/// The disk of a state of the run without faults, with what has rotted; `None` where there is no such.
pub(super) fn rotten(base: &Arc<Trace>, rot: &Rot) -> Option<(Disk, Marks)> {
    let (mut disk, marks) = crate::explore::state(base, &rot.state).ok()?;
    rot.apply(&mut disk)?;
    Some((disk, marks))
}

fn note(job: &Job, at: &str) {
    // Where that fails a death is told without its place.
    let _ = std::fs::write(job.room.join(AT), at);
}

fn token(trace: &str, profile: Profile, state: &State) -> String {
    let (stamp, tape) = (state.stamp, state.tape.clone());
    Token { trace: trace.into(), profile, stamp, tape }.to_string()
}

/// Where a run met its faults.
struct Met {
    count: u64,
    /// From here on the run is another.
    from: Stamp,
    place: String,
    site: Option<Site>,
}

impl Met {
    fn first(faults: &Faults, trace: &Trace) -> Option<Met> {
        if faults.capacity.is_some() {
            return Some(Met::full(trace));
        }
        let rules: Vec<String> = faults.plan.rules().iter().map(|rule| rule.to_string()).collect();
        if rules.is_empty() {
            return Some(Met { count: 0, from: 0, place: String::new(), site: None });
        }
        let mut met = trace.injected.iter().filter(|injected| rules.contains(&injected.rule));
        let first = met.next()?;
        let words: Vec<&str> = first.call.split(' ').take(2).collect();
        let (place, site) = (words.join(" "), first.site.clone());
        Some(Met { count: 1 + met.count() as u64, from: first.at, place, site })
    }

    /// A disk that is too small is met by the first op that finds no room, or not at all.
    fn full(trace: &Trace) -> Met {
        let refused = trace.ops.iter().find(|record| record.errno == Some(libc::ENOSPC));
        let from = refused.map_or(0, |record| record.start);
        let site = refused.and_then(|record| record.site.clone());
        Met { count: 1, from, place: "disk".into(), site }
    }
}

/// The states that are looked at: the disk at the end first, then, with crash points, those of the first
/// ones from `from` on and of the last. Beside them how many crash points were left out.
pub(crate) fn states(model: &Model, from: Stamp, crash_points: Option<u32>) -> (Vec<State>, u64) {
    let mut moments = model.moments();
    let mut new = Vec::new();
    while let Some(moment) = moments.next() {
        new.extend(moment.is_new.then_some(moment.stamp));
    }
    let last = new.last().copied().unwrap_or(0);
    let end = State { stamp: last, tape: Tape::default() };
    let Some(count) = crash_points else { return (vec![end], 0) };
    let after: Vec<Stamp> = new.into_iter().filter(|stamp| *stamp >= from).collect();
    let mut wanted: BTreeSet<Stamp> = after.iter().copied().take(count as usize).collect();
    wanted.insert(last);
    let left_out = after.iter().filter(|stamp| !wanted.contains(stamp)).count() as u64;
    let listing =
        Listing::of(model, Some(&wanted), &crate::crash::Bound::after_fault(), &mut || true);
    let others = listing.distinct.into_iter().filter(|state| *state != end);
    (std::iter::once(end.clone()).chain(others).collect(), left_out)
}

/// A hash of all that disks and marks can show: not which fault it was, nor with which number an op failed.
fn shape(trace: &Trace, from: Stamp, manner: Manner) -> u128 {
    let mut trace = Trace { injected: Vec::new(), passed: Vec::new(), ..trace.without_sites() };
    trace.ops.iter_mut().for_each(|record| record.errno = record.errno.map(|_| 1));
    let mut bytes = file::encode(&trace);
    bytes.extend(from.to_le_bytes());
    bytes.extend([u8::from(manner.silent), u8::from(manner.crashes)]);
    XxHash3_128::oneshot(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FaultFs;
    use crate::errno::{EIO, ENOSPC, Errno};
    use crate::plan::on;

    /// A write of two, of which the first may fail.
    fn run(errno: Option<Errno>) -> Trace {
        let fs = FaultFs::mem();
        if let Some(errno) = errno {
            fs.arm(on::create().take(1).fail(errno));
        }
        let _ = fs.create("a");
        let _ = fs.create("b");
        fs.take_trace()
    }

    #[test]
    fn runs_are_the_same_where_no_disk_and_no_mark_can_tell_them_apart() {
        let told = Manner { silent: false, crashes: true };
        let of = |errno| shape(&run(errno), 0, told);
        assert_eq!(of(Some(EIO)), of(Some(ENOSPC)), "not with which number it failed");
        let mut done = run(None);
        let failed = done.ops[0].clone();
        let whole = shape(&done, 0, told);
        done.ops[0] = crate::trace::Record { errno: Some(5), ..failed };
        assert_ne!(shape(&done, 0, told), whole, "but whether it did");
        let manners = [(false, true), (true, true), (false, false)];
        let shapes = manners.map(|(silent, crashes)| shape(&done, 0, Manner { silent, crashes }));
        assert_eq!(shapes.iter().collect::<BTreeSet<_>>().len(), 3);
        assert_ne!(shape(&done, 1, told), shape(&done, 0, told));
    }

    #[test]
    fn a_run_is_another_from_its_first_fault_on() {
        let fs = FaultFs::mem();
        let faults = Faults::from(crate::plan::Plan::from(on::write().fail(EIO)));
        fs.arm(faults.plan.clone());
        let line = line!() + 2;
        for name in ["a", "b"] {
            let _ = fs.write(name, "x");
        }
        let trace = fs.take_trace();
        let met = Met::first(&faults, &trace).unwrap();
        assert_eq!((met.count, &*met.place), (2, "write a"));
        assert!(met.from < trace.injected[1].at);
        assert_eq!(met.site.unwrap().line, line);
        let others = Faults::from(crate::plan::Plan::from(on::sync().fail(EIO)));
        assert!(Met::first(&others, &trace).is_none(), "of a fault that it never came to");
    }
}
