//! The sweep: every pass of every point fails once, and once for good.

use std::any::Any;
use std::env;
use std::fmt::{self, Write as _};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use crate::action::{Action, Actions, Task};
use crate::armed::Armed;
use crate::catalogue;
use crate::error::{Error, or_panic};
use crate::family::times;
use crate::scenario::Scenario;

/// The variable that repeats one run of a sweep.
const VARIABLE: &str = "FAULTPOINT_REPLAY";

/// For each point, for n = 1, 2, 3 … until it is no longer reached: run, inject at the n-th pass,
/// check. Each pass is injected twice: alone, and with all that follow.
///
/// ```
/// use faultpoint::{Sweep, Task, fault_point};
///
/// fn save(parts: &[&str]) -> std::io::Result<usize> {
///     for part in parts {
///         fault_point!("save_part")?;
///         let _ = part;
///     }
///     Ok(parts.len())
/// }
///
/// # if !faultpoint::has_failpoints() { return }
/// let report = Sweep::of(["save_part"]).injecting(Task::errno("ENOSPC")).check(|run| {
///     let saved = save(&["a", "b"]);
///     assert_eq!(saved.is_err(), run.has_fired());
/// });
/// assert_eq!(report.to_string(), "5 runs, 4 injected");
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing runs until `.check(..)`"]
pub struct Sweep {
    /// `None` is every point that can do the task.
    points: Option<Vec<String>>,
    task: Task,
    seed: u64,
    passes_max: u64,
}

/// One run of a sweep: its [`Scenario`], and what is injected.
pub struct Run {
    faults: Scenario,
    armed: Armed,
    injection: Injection,
}

/// What a sweep did, when nothing broke.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepReport {
    /// How often the code was run.
    pub runs: u64,
    /// In how many of the runs something was injected.
    pub injected: u64,
    /// Points that no run came by.
    pub unreached: Vec<String>,
    /// Points at which the [limit](Sweep::passes_max) ended the sweep before the last pass.
    pub cut_short: Vec<String>,
}

/// Where a run injects. Prints as the token that repeats it: `save_part@3` for the third pass
/// alone, `save_part@3+` for it and all that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Injection {
    point: String,
    /// Counted from 1.
    pass: u64,
    is_lasting: bool,
}

impl Sweep {
    /// A sweep over these points, each of which must be reached.
    pub fn of<N: Into<String>>(points: impl IntoIterator<Item = N>) -> Sweep {
        Sweep { points: Some(points.into_iter().map(Into::into).collect()), ..Sweep::of_all() }
    }

    /// A sweep over every point of the program that can do what is injected, reached or not.
    pub fn of_all() -> Sweep {
        Sweep { points: None, task: Task::Return(None), seed: 0, passes_max: 1000 }
    }

    /// What happens at the pass; a bare `return` if not set.
    pub fn injecting(mut self, task: Task) -> Sweep {
        self.task = task;
        self
    }

    /// What the chances of other points that the runs arm are drawn from; 0 if not set.
    pub fn seed(mut self, seed: u64) -> Sweep {
        self.seed = seed;
        self
    }

    /// Up to which pass of each point; 1000 if not set. A point with more is reported.
    pub fn passes_max(mut self, passes: u64) -> Sweep {
        self.passes_max = passes;
        self
    }

    /// Runs `check` for each pass of each point. It runs the code, and panics if the code then
    /// does not keep its word. A run that hangs, hangs the sweep.
    ///
    /// With `FAULTPOINT_REPLAY` set to what a failed sweep printed, only that run is made.
    ///
    /// # Panics
    ///
    /// When a run panics: after all runs, with the first that did, how many more, and the line
    /// that repeats it. When a point that was asked for does not exist, cannot do the task, or is
    /// never reached. When `FAULTPOINT_REPLAY` is malformed.
    #[track_caller]
    pub fn check(self, check: impl Fn(&Run)) -> SweepReport {
        if let Some(token) = env::var_os(VARIABLE) {
            return self.replay(or_panic(token.to_string_lossy().parse()), check);
        }
        let mut report = SweepReport::default();
        let mut failures = Vec::new();
        for point in self.points_to_sweep() {
            self.sweep_point(&point, &check, &mut report, &mut failures);
        }
        if let Some((injection, message)) = failures.first() {
            let more = failures.len() - 1;
            let mut text = format!("the check failed with `{}` injected at {injection}", self.task);
            let _ = write!(text, ":\n  {message}\n");
            if more > 0 {
                let _ = writeln!(text, "and {more} more of {} runs failed", report.runs);
            }
            panic!("{text}replay with {VARIABLE}={injection}");
        }
        if self.points.is_some() && !report.unreached.is_empty() {
            panic!("the sweep never reached {}", report.unreached.join(", "));
        }
        report
    }

    /// The points there are, or an error about one that there is not.
    #[track_caller]
    fn points_to_sweep(&self) -> Vec<String> {
        let can = |name: &str| catalogue::check_actions(name, &Actions::from(self.task.clone()));
        match &self.points {
            Some(points) => {
                for name in points {
                    let usable = catalogue::check_name(name).and_then(|()| can(name));
                    or_panic(usable);
                }
                points.clone()
            }
            None => {
                assert!(crate::has_failpoints(), "{}", catalogue::COMPILED_OUT);
                let usable = |name: &&str| can(name).is_ok();
                catalogue::names().into_iter().filter(usable).map(str::to_owned).collect()
            }
        }
    }

    fn sweep_point(
        &self,
        point: &str,
        check: &impl Fn(&Run),
        report: &mut SweepReport,
        failures: &mut Vec<(Injection, String)>,
    ) {
        for pass in 1.. {
            if pass > self.passes_max {
                report.cut_short.push(point.to_owned());
                return;
            }
            for is_lasting in [false, true] {
                let injection = Injection { point: point.to_owned(), pass, is_lasting };
                let run = self.begin(injection.clone());
                let armed = run.armed.clone();
                let result = catch_unwind(AssertUnwindSafe(|| run.check(check)));
                let has_fired = armed.fires() > 0;
                report.runs += 1;
                report.injected += u64::from(has_fired);
                if let Err(panic) = result {
                    failures.push((injection, message_of(panic)));
                }
                if !has_fired {
                    if pass == 1 {
                        report.unreached.push(point.to_owned());
                    }
                    return;
                }
            }
        }
    }

    #[track_caller]
    fn replay(&self, injection: Injection, check: impl Fn(&Run)) -> SweepReport {
        let run = self.begin(injection);
        let (armed, token) = (run.armed.clone(), run.injection.to_string());
        run.check(&check);
        assert!(
            armed.fires() > 0,
            "{VARIABLE}={token} injected nothing: the point was hit {}",
            times(armed.hits())
        );
        SweepReport { runs: 1, injected: 1, ..SweepReport::default() }
    }

    #[track_caller]
    fn begin(&self, injection: Injection) -> Run {
        let faults = Scenario::seeded(self.seed);
        let mut action = Action::from(self.task.clone());
        if !injection.is_lasting {
            action = action.take(1);
        }
        let armed = faults.arm(&injection.point, action.skip(injection.pass - 1)).optional();
        Run { faults, armed, injection }
    }
}

impl Run {
    /// The point at which this run injects.
    pub fn point(&self) -> &str {
        &self.injection.point
    }

    /// At which pass of the point, counted from 1.
    pub fn pass(&self) -> u64 {
        self.injection.pass
    }

    /// Whether the passes after it are injected too.
    pub fn is_lasting(&self) -> bool {
        self.injection.is_lasting
    }

    /// Whether anything was injected so far. In the last run at each point nothing is.
    pub fn has_fired(&self) -> bool {
        self.armed.fires() > 0
    }

    fn check(self, check: impl Fn(&Run)) {
        check(&self);
        self.faults.finish();
    }
}

/// To arm more.
impl Deref for Run {
    type Target = Scenario;

    fn deref(&self) -> &Scenario {
        &self.faults
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({})", self.injection)
    }
}

impl fmt::Display for SweepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runs, {} injected", self.runs, self.injected)?;
        for (names, what) in [(&self.unreached, "never reached"), (&self.cut_short, "cut short")] {
            if !names.is_empty() {
                write!(f, "; {what}: {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}{}", self.point, self.pass, if self.is_lasting { "+" } else { "" })
    }
}

impl FromStr for Injection {
    type Err = Error;

    fn from_str(text: &str) -> Result<Injection, Error> {
        let parse = || {
            let (point, pass) = text.rsplit_once('@')?;
            let (pass, is_lasting) = match pass.strip_suffix('+') {
                Some(pass) => (pass, true),
                None => (pass, false),
            };
            let pass = pass.parse().ok().filter(|pass| *pass > 0)?;
            (!point.is_empty()).then(|| Injection { point: point.to_owned(), pass, is_lasting })
        };
        parse().ok_or_else(|| {
            Error::new(format!(
                "{VARIABLE} `{text}` names no run; write the point, `@` and the pass, as in \
                 `{VARIABLE}=save_part@3`, with a `+` if all later passes fail too"
            ))
        })
    }
}

fn message_of(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => match panic.downcast::<&str>() {
            Ok(message) => (*message).to_owned(),
            Err(_) => "a panic without a message".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_parses_to_the_run_that_printed_it() {
        for text in ["save_part@1", "save_part@3+", "a::b@c@12"] {
            assert_eq!(text.parse::<Injection>().unwrap().to_string(), text);
        }
        for text in ["", "save_part", "save_part@", "save_part@0", "@3", "save_part@-1", "a@3++"] {
            let message = text.parse::<Injection>().unwrap_err().to_string();
            assert!(message.contains("FAULTPOINT_REPLAY=save_part@3"), "{message}");
        }
    }
}
