//! What an armed point does, as plain data: every value prints itself, and what it prints parses
//! back to the same value.

mod parse;

use std::fmt;

pub use parse::settings;

use crate::error::Error;

/// What an armed point does when its turn has come.
///
/// The text of a task is its lower-case name, with an argument in parentheses where it takes one:
/// `off`, `return(ENOSPC)`, `sleep(20)`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// Nothing: the code goes on. With a count it is how to skip passes, as in `2*off->return`.
    Off,
    /// Ends the function early, or gives the error or value that the site asks for, made from
    /// the argument.
    Return(Option<String>),
    /// Sleeps for so many milliseconds; an asynchronous site lets its executor go on meanwhile.
    /// Ends early when the point is disarmed or its scenario ends.
    Sleep(u64),
    /// Panics with the message, or with one that names the point.
    Panic(Option<String>),
    /// Logs the message through the `log` crate, at level info.
    Print(Option<String>),
    /// Waits until released, armed anew, disarmed, or the end of the scenario.
    Pause,
    /// Yields the processor, or in an asynchronous site the executor, once.
    Yield,
    /// Keeps the processor busy for so many milliseconds; an asynchronous site yields to its
    /// executor all along. Ends early as a sleep does.
    Delay(u64),
}

/// How often an action comes about: from never to always, in steps of 10⁻⁹ percent.
///
/// The text is a percentage with up to nine decimals: `25%`, `0.5%`. No float is involved, so that
/// the same seed decides the same on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance {
    /// In units of 10⁻⁹ percent, `0..=Chance::UNITS`.
    units: u64,
}

/// One action: a task, how often it comes about, and how many times at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Without a chance the action always comes about.
    pub chance: Option<Chance>,
    /// Performed at most so many times; `None` is without end.
    pub count: Option<u64>,
    /// What is done.
    pub task: Task,
}

/// A chain of actions: at each pass the first one that is not used up, and whose chance comes
/// about, is performed.
///
/// The text is `[p%][n*]task[(argument)]`, chained by `->`, the grammar of the `fail` crate. In an
/// argument parentheses nest; `\(`, `\)` and `\\` stand for the character itself.
///
/// ```
/// use faultpoint::{Action, Actions, Task};
///
/// let third_pass: Actions = "2*off->1*return(ENOSPC)".parse()?;
/// assert_eq!(third_pass, Action::from(Task::Return(Some("ENOSPC".into()))).take(1).skip(2));
/// assert_eq!(third_pass.to_string(), "2*off->1*return(ENOSPC)");
///
/// let error = "200%return".parse::<Actions>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "action `200%return`, column 1: a chance cannot be `200`%; write a number from 0 to 100 \
///      with at most 9 decimals, as in `25%return`"
/// );
/// # Ok::<(), faultpoint::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actions {
    /// Never empty.
    chain: Vec<Action>,
}

impl Task {
    /// An early return, or the error that a [`fault_point!`](crate::fault_point) gives, for the
    /// operating system's error number or name: `Task::errno("ENOSPC")`, `Task::errno(28)`.
    pub fn errno(errno: impl fmt::Display) -> Task {
        Task::Return(Some(errno.to_string()))
    }

    /// The task's word in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Task::Off => "off",
            Task::Return(_) => "return",
            Task::Sleep(_) => "sleep",
            Task::Panic(_) => "panic",
            Task::Print(_) => "print",
            Task::Pause => "pause",
            Task::Yield => "yield",
            Task::Delay(_) => "delay",
        }
    }
}

impl Chance {
    const UNITS: u64 = 100_000_000_000;

    /// `numerator` times in `denominator`, rounded down to the unit that is kept.
    ///
    /// # Panics
    ///
    /// When `denominator` is zero, or less than `numerator`.
    #[track_caller]
    pub fn new(numerator: u32, denominator: u32) -> Chance {
        assert!(denominator > 0, "a chance of {numerator} in 0: the second number is at least 1");
        assert!(
            numerator <= denominator,
            "a chance of {numerator} in {denominator} is more than always"
        );
        let units = u64::from(numerator) as u128 * Chance::UNITS as u128 / denominator as u128;
        Chance { units: units as u64 }
    }

    /// Whether this chance comes about for `draw`, a number drawn evenly from all of `u64`.
    pub(crate) fn includes(self, draw: u64) -> bool {
        let scaled = (u128::from(draw) * u128::from(Chance::UNITS)) >> 64;
        scaled < u128::from(self.units)
    }

    pub(crate) fn is_certain(self) -> bool {
        self.units == Chance::UNITS
    }
}

impl Action {
    /// At most `count` times.
    #[must_use]
    pub fn take(mut self, count: u64) -> Action {
        self.count = Some(count);
        self
    }

    /// `numerator` times in `denominator`, drawn from the scenario's seed.
    ///
    /// # Panics
    ///
    /// As [`Chance::new`].
    #[must_use]
    #[track_caller]
    pub fn sometimes(mut self, numerator: u32, denominator: u32) -> Action {
        self.chance = Some(Chance::new(numerator, denominator));
        self
    }

    /// Lets the first `count` passes go by: `count*off->` before this action.
    #[must_use]
    pub fn skip(self, count: u64) -> Actions {
        Actions::from(self).after(Action::from(Task::Off).take(count))
    }
}

impl Actions {
    /// Adds what comes when all actions so far are used up, or did not come about.
    #[must_use]
    pub fn then(mut self, next: impl Into<Actions>) -> Actions {
        self.chain.extend(next.into().chain);
        self
    }

    /// The actions, in order; never empty.
    pub fn as_slice(&self) -> &[Action] {
        &self.chain
    }

    /// Whether, given enough passes, it surely does something other than letting them by.
    pub(crate) fn surely_fires(&self) -> bool {
        for action in &self.chain {
            let certain = action.chance.is_none_or(Chance::is_certain);
            match action.task {
                Task::Off if certain && action.count.is_none() => return false,
                Task::Off => {}
                _ if certain && action.count != Some(0) => return true,
                _ => {}
            }
        }
        false
    }

    pub(crate) fn has_chance(&self) -> bool {
        self.chain.iter().any(|action| action.chance.is_some())
    }

    fn after(mut self, first: Action) -> Actions {
        self.chain.insert(0, first);
        self
    }
}

impl From<Task> for Action {
    fn from(task: Task) -> Action {
        Action { chance: None, count: None, task }
    }
}

impl From<Action> for Actions {
    fn from(action: Action) -> Actions {
        Actions { chain: vec![action] }
    }
}

impl TryFrom<&str> for Actions {
    type Error = Error;

    /// The same as [`str::parse`].
    fn try_from(text: &str) -> Result<Actions, Error> {
        text.parse()
    }
}

impl From<Task> for Actions {
    fn from(task: Task) -> Actions {
        Actions::from(Action::from(task))
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Task::Return(Some(text)) | Task::Panic(Some(text)) | Task::Print(Some(text)) => {
                let must_escape_parentheses = !is_balanced(text);
                f.write_str("(")?;
                for c in text.chars() {
                    if c == '\\' || must_escape_parentheses && matches!(c, '(' | ')') {
                        f.write_str("\\")?;
                    }
                    write!(f, "{c}")?;
                }
                f.write_str(")")
            }
            Task::Sleep(time_ms) | Task::Delay(time_ms) => write!(f, "({time_ms})"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PERCENT: u64 = Chance::UNITS / 100;
        let (whole, fraction) = (self.units / PERCENT, self.units % PERCENT);
        if fraction == 0 {
            return write!(f, "{whole}%");
        }
        let decimals = format!("{fraction:09}");
        write!(f, "{whole}.{}%", decimals.trim_end_matches('0'))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(chance) = self.chance {
            write!(f, "{chance}")?;
        }
        if let Some(count) = self.count {
            write!(f, "{count}*")?;
        }
        write!(f, "{}", self.task)
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, action) in self.chain.iter().enumerate() {
            if index > 0 {
                f.write_str("->")?;
            }
            write!(f, "{action}")?;
        }
        Ok(())
    }
}

/// Whether every parenthesis has its partner.
fn is_balanced(text: &str) -> bool {
    let depth = text.chars().try_fold(0_usize, |depth, c| match c {
        '(' => Some(depth + 1),
        ')' => depth.checked_sub(1),
        _ => Some(depth),
    });
    depth == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_is_exact_at_both_ends() {
        assert!(!Chance::new(0, 1).includes(0));
        assert!(Chance::new(1, 1).includes(u64::MAX));
        assert!(Chance::new(1, 2).includes(u64::MAX / 2));
        assert!(!Chance::new(1, 2).includes(u64::MAX / 2 + 1));
    }

    #[test]
    fn only_a_certain_task_surely_fires() {
        let surely = |text: &str| text.parse::<Actions>().unwrap().surely_fires();
        assert!(surely("return"));
        assert!(surely("2*off->1*return"));
        assert!(surely("100%pause"));
        assert!(surely("5%return->panic"));
        assert!(!surely("off"));
        assert!(!surely("5%return"));
        assert!(!surely("0*return"));
        assert!(!surely("off->return"));
    }
}
