//! Who checks the states: this process, or workers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Progress, Settings, check_state};
use crate::Result;
use crate::crash::{Builder, State, Token};
use crate::disk::Disk;
use crate::model::Model;
use crate::trace::Marks;
use crate::verdict::{Broken, Verdict};

/// What became of one state.
pub type Outcome = Result<(), Broken>;

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
}

/// Checks in this process: fast to start. A panic of the engine is a verdict here too; an abort or a hang
/// is ours.
pub struct InProcess<'a> {
    /// The check of one disk.
    pub check: &'a mut dyn FnMut(&Disk, &Marks) -> Result<(), Broken>,
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
            *outcome = Some(guarded(&mut builder, token, self.check));
            (settings.progress)(Progress::Checked);
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
        let again = |token: &String| Some(guarded(&mut builder, token, self.check));
        Ok(tokens.iter().map(again).collect())
    }
}

/// As [`check_token`], and a panic is an outcome.
fn guarded(
    builder: &mut Builder<'_>,
    token: &str,
    check: &mut dyn FnMut(&Disk, &Marks) -> Result<(), Broken>,
) -> Outcome {
    // What the check had in its hands when it panicked is its own; each state starts on a new disk.
    let checked = AssertUnwindSafe(|| check_token(builder, token, check));
    catch_unwind(checked).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Broken::new(Verdict::Panicked, text.unwrap_or_else(|| "a panic without a text".into())))
    })
}

/// Builds the disk of a token and has it checked.
pub(super) fn check_token(
    builder: &mut Builder<'_>,
    token: &str,
    check: &mut dyn FnMut(&Disk, &Marks) -> Result<(), Broken>,
) -> Outcome {
    let token: Token = token.parse().expect("a token made here parses");
    let state = State { stamp: token.stamp, tape: token.tape };
    let Some((disk, marks)) = builder.build(&state) else {
        return Err(Broken::new(Verdict::NotMeasured, "the model has no such state"));
    };
    check_state(check, &disk, &marks)
}
