//! Who checks the states: this process, or workers.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use super::known::{How, Known};
use super::{Faults, Partition, Patience, Progress, Settings, check_state};
use crate::crash::{Builder, Token};
use crate::disk::Disk;
use crate::model::Model;
use crate::reads::Reads;
use crate::trace::{Marks, Said, Trace};
use crate::verdict::{Broken, Verdict};
use crate::{Result, Seen};

/// What became of one state.
pub type Outcome = Result<(), Broken>;

/// What a check found, and what it read of the disk, where that was followed.
pub type Checked = (Outcome, Option<Reads>);

/// What was done to a disk by its recovery.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Recovered {
    /// As a run, which starts on the disk.
    pub trace: Trace,
    /// The calls in order, where [`Faults::observe`] asks for them.
    pub calls: Vec<Seen>,
}

impl Recovered {
    /// In the place of one that was not run, for others like it hung.
    pub(super) fn left_out() -> Broken {
        Broken::new(Verdict::NotMeasured, LEFT_OUT)
    }

    pub(super) fn is_left_out(broken: &Broken) -> bool {
        broken.message() == LEFT_OUT
    }
}

const LEFT_OUT: &str = "left out: others like it hung";

/// What was done to a disk, or why that is not known.
pub type Recorded = Result<Recovered, Broken>;

/// An oracle, and how a disk comes before it.
pub trait Recovery {
    /// Checks one disk.
    fn check(&mut self, disk: &Disk, marks: &Marks) -> Checked;

    /// Checks one disk that holds, and records what is done to it while `faults` go wrong.
    ///
    /// # Errors
    ///
    /// What the check says where nothing goes wrong, or why it cannot be recorded.
    fn record(&mut self, disk: &Disk, marks: &Marks, faults: &Faults) -> Result<Recovered, Broken>;
}

/// Checks states of a model.
pub trait Judge {
    /// The outcome of each token, in order; none for those that an interruption left out.
    ///
    /// # Errors
    ///
    /// Where no worker can be started.
    fn judge(
        &mut self,
        model: &Model,
        tokens: &[String],
        settings: &mut Settings<'_>,
    ) -> Result<Vec<Option<Outcome>>>;

    /// The outcome of each token in a process of its own, where there can be one. With `patience`, a
    /// check may take ten times as long as otherwise before it counts as hung.
    ///
    /// # Errors
    ///
    /// Where no worker can be started.
    fn afresh(
        &mut self,
        model: &Model,
        tokens: &[String],
        patience: bool,
    ) -> Result<Vec<Option<Outcome>>>;

    /// As [`Judge::judge`], for several models.
    ///
    /// # Errors
    ///
    /// As there.
    fn judge_all(
        &mut self,
        jobs: &[(&Model, &[String])],
        settings: &mut Settings<'_>,
    ) -> Result<Vec<Vec<Option<Outcome>>>> {
        jobs.iter().map(|(model, tokens)| self.judge(model, tokens, settings)).collect()
    }

    /// What the check of each state does to its disk while something goes wrong, or nothing; none for those
    /// that an interruption left out. Those that are left out for others like them that hung are
    /// not measured.
    ///
    /// # Errors
    ///
    /// Where no worker can be started.
    fn record(
        &mut self,
        model: &Model,
        states: &[(String, Faults)],
        patience: &mut Patience,
    ) -> Result<Vec<Option<Recorded>>>;

    /// The same in a process of its own, where there can be one, of which each may take ten times as long.
    ///
    /// # Errors
    ///
    /// Where no worker can be started.
    fn record_afresh(
        &mut self,
        model: &Model,
        states: &[(String, Faults)],
    ) -> Result<Vec<Option<Recorded>>>;

    /// Why outcomes since the last call are not to be trusted: states that were known to hold, and did
    /// not when they were run.
    fn take_doubts(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// How many states were left out since the last call because others like them hung.
    fn take_left_out(&mut self) -> u64 {
        0
    }

    /// The share of the states that is judged, where it is not all of them.
    fn partition(&self) -> Option<Partition> {
        None
    }
}

/// Checks in this process: fast to start. A panic of the engine is a verdict here too; an abort or a hang
/// is ours.
pub struct InProcess<'a> {
    recovery: &'a mut dyn Recovery,
    known: Known,
    doubts: Vec<String>,
}

impl<'a> InProcess<'a> {
    /// Checks disks; with `prune`, only those whose outcome what was read does not tell.
    pub fn new(recovery: &'a mut dyn Recovery, prune: bool) -> Self {
        InProcess { recovery, known: Known::new(prune), doubts: Vec::new() }
    }
}

impl Judge for InProcess<'_> {
    fn judge(
        &mut self,
        model: &Model,
        tokens: &[String],
        settings: &mut Settings<'_>,
    ) -> Result<Vec<Option<Outcome>>> {
        let mut builder = Builder::new(model);
        let mut outcomes = vec![None; tokens.len()];
        for (token, outcome) in tokens.iter().zip(&mut outcomes) {
            if (settings.interrupted)() {
                break;
            }
            let (found, how) = guarded(&mut builder, token, &mut self.known, self.recovery);
            (settings.progress)(match how {
                How::Known => Progress::Known,
                _ => Progress::Checked,
            });
            if let (How::Doubted, Err(broken)) = (how, &found) {
                self.doubts.push(doubt(token, broken));
            }
            *outcome = Some(found);
        }
        Ok(outcomes)
    }

    fn afresh(
        &mut self,
        model: &Model,
        tokens: &[String],
        _: bool,
    ) -> Result<Vec<Option<Outcome>>> {
        let mut builder = Builder::new(model);
        let mut nothing = Known::new(false);
        let mut again = |token| guarded(&mut builder, token, &mut nothing, self.recovery).0;
        Ok(tokens.iter().map(|token| Some(again(token))).collect())
    }

    fn record(
        &mut self,
        model: &Model,
        states: &[(String, Faults)],
        _: &mut Patience,
    ) -> Result<Vec<Option<Recorded>>> {
        let mut builder = Builder::new(model);
        let mut record = |(token, faults): &(String, Faults)| {
            let (disk, marks) = builder.build(&parsed(token).state()).ok_or_else(no_such_state)?;
            let record = AssertUnwindSafe(|| self.recovery.record(&disk, &marks, faults));
            catch_unwind(record).unwrap_or_else(|panic| Err(panicked(panic)))
        };
        Ok(states.iter().map(|state| Some(record(state))).collect())
    }

    fn record_afresh(
        &mut self,
        model: &Model,
        states: &[(String, Faults)],
    ) -> Result<Vec<Option<Recorded>>> {
        self.record(model, states, &mut Patience::endless())
    }

    fn take_doubts(&mut self) -> Vec<String> {
        std::mem::take(&mut self.doubts)
    }
}

/// As [`check_built`], and a panic is an outcome.
fn guarded(
    builder: &mut Builder<'_>,
    token: &str,
    known: &mut Known,
    recovery: &mut dyn Recovery,
) -> (Outcome, How) {
    let built = builder.build(&parsed(token).state());
    // What the check had in its hands when it panicked is its own; each state starts on a new disk.
    let checked = AssertUnwindSafe(|| check_built(token, built, known, recovery));
    catch_unwind(checked).unwrap_or_else(|panic| (Err(panicked(panic)), How::Run))
}

pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Broken {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Broken::new(Verdict::Panicked, text.unwrap_or_else(|| "a panic without a text".into()))
}

fn parsed(token: &str) -> Token {
    token.parse().expect("a token made here parses")
}

/// Has the disk of a token checked, unless it is known to hold.
pub(super) fn check_built(
    token: &str,
    built: Option<(Disk, Said)>,
    known: &mut Known,
    recovery: &mut dyn Recovery,
) -> (Outcome, How) {
    let Some((disk, marks)) = built else { return (Err(no_such_state()), How::Run) };
    known.outcome(token, &disk, &marks, &mut |disk, marks| {
        let mut reads = None;
        let mut noting = |disk: &Disk, marks: &Marks| {
            let (outcome, read) = recovery.check(disk, marks);
            reads = read;
            outcome
        };
        (check_state(&mut noting, disk, marks), reads)
    })
}

/// For a token that belongs to another run.
pub(super) fn no_such_state() -> Broken {
    Broken::new(Verdict::NotMeasured, "the model has no such state")
}

/// A state that was known to hold, and did not.
pub(super) fn doubt(token: &str, broken: &Broken) -> String {
    format!("{token}: known to hold by what recovery reads, and when it was run {broken}")
}
