//! What a test holds: a scope of its own with points armed in it, and what must hold at its end.

use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::action::{Actions, Task};
use crate::armed::Armed;
use crate::callback::{Callback, Hit, Outcome};
use crate::coverage::Coverage;
use crate::error::{Error, or_panic};
use crate::family::{Family, still_running};
use crate::limits::Limits;
use crate::point::{Point, Script, Setting};
use crate::scope::{self, Scope, ScopeState};
use crate::{catalogue, seed, unwind};

/// Fail points armed for this test alone.
///
/// From [`Scenario::new`] on, the calling thread is in the scenario's scope, and so is whatever
/// thread or task the code under test starts through its [`Scope`]. Scenarios of other tests, in
/// other threads of the same process, neither see it nor wait for it. What the whole process has
/// armed ([`cfg()`](crate::cfg()), `FAILPOINTS`, live control) holds at the points that the
/// scenario has not armed itself.
///
/// [`Scenario::finish`], or dropping it, ends the scenario: everything is disarmed, whoever pauses
/// goes on, callbacks that are running are waited for, and then it is checked that every armed
/// point was reached, and fired if it was sure to.
///
/// A store whose drop waits for its threads is usually bound after the scenario, so dropped before
/// it. Call `finish` first: paused threads go on at the end of the scenario. If the test panics
/// they are let go before anything is dropped, and a pause never lasts longer than six times
/// [patience](Instance::set_patience), which fails the scenario.
///
/// ```
/// use faultpoint::{Scenario, fault_point};
///
/// fn append() -> std::io::Result<()> {
///     fault_point!("log_append_unsynced")?;
///     Ok(())
/// }
///
/// # if !faultpoint::has_failpoints() { return }
/// let faults = Scenario::new();
/// faults.arm("log_append_unsynced", "2*off->1*return(ENOSPC)");
/// assert!(append().is_ok());
/// assert!(append().is_ok());
/// assert_eq!(append().unwrap_err().raw_os_error(), Some(28));
/// assert!(append().is_ok());
/// faults.finish();
/// ```
#[must_use = "a scenario ends when it is dropped"]
pub struct Scenario {
    root: Instance,
    entry: u64,
    has_ended: bool,
    /// Belongs to the thread that it has put in its scope.
    not_send: PhantomData<*const ()>,
}

/// One of several instances of the code under test, with points of its own: of two stores in a
/// process, the faulty one.
///
/// A [`Scenario`] is the outermost instance. A thread in an inner one sees the inner one's points
/// first, then those of the scenario around it: the innermost that armed a name decides alone,
/// and counts the pass.
pub struct Instance {
    state: Arc<ScopeState>,
    family: Arc<Family>,
}

impl Scenario {
    /// A scenario whose chances are drawn from the seed in `FAULTPOINT_SEED`, or from seed 0.
    ///
    /// # Panics
    ///
    /// When the `failpoints` feature is off, for nothing could be injected, and when
    /// `FAULTPOINT_SEED` is not a seed.
    #[allow(clippy::new_without_default)]
    #[track_caller]
    pub fn new() -> Scenario {
        Scenario::seeded(or_panic(seed::from_env()))
    }

    /// A scenario whose chances are drawn from `seed`. The same seed fires at the same passes of
    /// each point, whatever other points and threads do.
    ///
    /// # Panics
    ///
    /// When the `failpoints` feature is off, for nothing could be injected.
    #[track_caller]
    pub fn seeded(seed: u64) -> Scenario {
        assert!(crate::has_failpoints(), "{}", catalogue::COMPILED_OUT);
        let limits = Arc::new(Limits::of_scenario());
        let label = format!("scenario at {}", Location::caller());
        let outer = scope::innermost();
        let state = Arc::new(ScopeState::new(label, seed, Arc::clone(&limits), outer));
        let entry = scope::push(Arc::clone(&state));
        let family = Arc::new(Family::new(Arc::clone(&state), limits));
        let root = Instance { state, family };
        unwind::watch(Arc::downgrade(&root.family));
        Scenario { root, entry, has_ended: false, not_send: PhantomData }
    }

    /// Ends the scenario and says what was passed.
    ///
    /// # Panics
    ///
    /// When an armed point was never reached, or reached but never fired though no chance was
    /// involved; when a point waited in vain for [its predecessor](Instance::happens_before); when
    /// a callback did not come to an end.
    #[track_caller]
    pub fn finish(mut self) -> Coverage {
        let coverage = self.coverage();
        if let Err(message) = self.end() {
            panic!("{message}");
        }
        coverage
    }

    /// Ends the scenario, once; what it left to be desired.
    fn end(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.has_ended, true) {
            return Ok(());
        }
        let (has_chance, seed) = (self.family.has_chance(), self.seed());
        let chance = format!("chances were drawn from seed {seed} ({}={seed})", seed::VARIABLE);
        let failures = self.family.end();
        scope::pop(self.entry);
        if has_chance && thread::panicking() {
            eprintln!("faultpoint: {chance}");
        }
        if failures.is_empty() {
            return Ok(());
        }
        let mut message = String::from("the fail points of this scenario did not do their part:");
        for failure in failures {
            let _ = write!(message, "\n  - {failure}");
        }
        if has_chance {
            let _ = write!(message, "\n{chance}");
        }
        Err(message)
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let ended = self.end();
        if let Err(message) = ended
            && !thread::panicking()
        {
            panic!("{message}");
        }
    }
}

impl Deref for Scenario {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.root
    }
}

impl Instance {
    /// Arms a point: from now on passes in this scope do what `actions` say, text or values.
    /// Arming it anew replaces what it did, lets those go on who rest there, and keeps its counts.
    ///
    /// # Panics
    ///
    /// When there is no such point (with the nearest name), the actions are malformed (with the
    /// place and the mend), or no site of that name can take them.
    #[track_caller]
    pub fn arm<A>(&self, name: &str, actions: A) -> Armed
    where
        A: TryInto<Actions>,
        A::Error: fmt::Display,
    {
        or_panic(self.try_arm(name, actions))
    }

    /// The same as [`arm`](Instance::arm), for names and actions that come from outside.
    ///
    /// # Errors
    ///
    /// Where `arm` panics; nothing is armed then.
    #[track_caller]
    pub fn try_arm<A>(&self, name: &str, actions: A) -> Result<Armed, Error>
    where
        A: TryInto<Actions>,
        A::Error: fmt::Display,
    {
        catalogue::check_name(name)?;
        let actions = actions_at(name, actions)?;
        catalogue::check_actions(name, &actions)?;
        self.set(name, Script::Actions(actions))
    }

    /// Calls `callback` on each thread that comes by; what it answers is done: a [`Task`], a
    /// [value](Outcome::value), or nothing.
    ///
    /// # Panics
    ///
    /// When there is no such point.
    #[track_caller]
    pub fn on<F, O>(&self, name: &str, callback: F) -> Armed
    where
        F: Fn(&mut Hit<'_>) -> O + Send + Sync + 'static,
        O: Into<Outcome>,
    {
        let callback: Callback = Arc::new(move |hit| callback(hit).into());
        or_panic(catalogue::check_name(name));
        or_panic(self.set(name, Script::Callback(callback)))
    }

    /// Arms a point of a dependency that uses the `fail` crate, for the threads of this scope, with
    /// all that [`Armed`] has. `fail` does not list its points, so that a wrong name only shows at
    /// the end of the scenario: it was never reached.
    ///
    /// # Panics
    ///
    /// When the actions are malformed, or contain an early return: at a point of the `fail` crate
    /// it holds for the whole process, so that is what [`FailGuard`](crate::FailGuard) and
    /// [`cfg()`](crate::cfg()) are for. When the process has armed one already.
    #[cfg(feature = "foreign")]
    #[track_caller]
    pub fn arm_foreign<A>(&self, name: &str, actions: A) -> Armed
    where
        A: TryInto<Actions>,
        A::Error: fmt::Display,
    {
        let actions = or_panic(actions_at(name, actions));
        or_panic(crate::foreign::check_scoped(name, &actions));
        or_panic(self.set_foreign(name, Script::Actions(actions)))
    }

    /// Calls `callback` on each thread of this scope that comes by a point of a dependency that
    /// uses the `fail` crate. The callback cannot make the point return early.
    ///
    /// # Panics
    ///
    /// When the process has armed an early return there already.
    #[cfg(feature = "foreign")]
    #[track_caller]
    pub fn on_foreign<F, O>(&self, name: &str, callback: F) -> Armed
    where
        F: Fn(&mut Hit<'_>) -> O + Send + Sync + 'static,
        O: Into<Outcome>,
    {
        let callback: Callback = Arc::new(move |hit| callback(hit).into());
        or_panic(self.set_foreign(name, Script::Callback(callback)))
    }

    /// Counts the passes of a point and lets them by. It must be reached, like any armed point.
    ///
    /// # Panics
    ///
    /// When there is no such point.
    #[track_caller]
    pub fn watch(&self, name: &str) -> Armed {
        self.arm(name, Task::Off)
    }

    /// Counts the passes of every point in the program that is not armed here, for
    /// [coverage](Instance::coverage). None of them has to be reached.
    #[track_caller]
    pub fn watch_all(&self) {
        for name in catalogue::names() {
            if self.state.get(name).is_none() {
                self.watch(name).optional();
            }
        }
    }

    /// Disarms a point: whoever rests there goes on, a callback that is running is waited for.
    /// It need not be reached any more.
    ///
    /// # Panics
    ///
    /// When the point is not armed in this scope, or its callback does not come to an end.
    #[track_caller]
    pub fn disarm(&self, name: &str) {
        let Some(point) = self.state.disarm(name) else { panic!("{}", self.not_armed(name)) };
        assert!(point.drain(), "{}", still_running(name, self.family.limits.patience()));
    }

    /// Makes every pass of `then` wait until `first` has been passed once in this scope. Points
    /// that are not armed yet are [watched](Instance::watch).
    ///
    /// A thread that waits longer than [patience](Instance::set_patience) goes on, and the
    /// scenario fails at its end, saying who waited where.
    ///
    /// # Panics
    ///
    /// When there is no such point, or `first` itself already waits for `then`.
    #[track_caller]
    pub fn happens_before(&self, first: &str, then: &str) {
        let (before, after) = (self.watched(first), self.watched(then));
        assert!(
            !reaches(&before, &after),
            "`{first}` cannot come before `{then}`: it already waits for `{then}`, and both would \
             wait for ever; drop one of the two orders"
        );
        after.add_predecessor(before);
    }

    /// A point that is armed in this scope.
    ///
    /// # Panics
    ///
    /// When it is not armed.
    #[track_caller]
    pub fn point(&self, name: &str) -> Armed {
        let Some(point) = self.state.get(name) else { panic!("{}", self.not_armed(name)) };
        Armed::new(point, Arc::clone(&self.family))
    }

    /// An instance within this one, with points of its own. `label` is for reports.
    pub fn instance(&self, label: &str) -> Instance {
        let limits = Arc::clone(&self.family.limits);
        let outer = Some(Arc::clone(&self.state));
        let state = ScopeState::new(label.to_owned(), self.seed(), limits, outer);
        let state = Arc::new(state);
        self.family.push(Arc::clone(&state));
        Instance { state, family: Arc::clone(&self.family) }
    }

    /// The handle with which threads and tasks come into this scope.
    pub fn scope(&self) -> Scope {
        #[cfg(feature = "failpoints")]
        return Scope { state: Some(Arc::clone(&self.state)) };
        #[cfg(not(feature = "failpoints"))]
        Scope {}
    }

    /// What the chances are drawn from.
    pub fn seed(&self) -> u64 {
        self.state.seed
    }

    /// How long a wait may last before it is reported, 10 seconds if not set; for the whole
    /// scenario.
    pub fn set_patience(&self, patience: Duration) {
        self.family.limits.set_patience(patience);
    }

    /// Which points of the program were passed and which fired, so far, in all instances of the
    /// scenario. Points that nobody armed or [watched](Instance::watch_all) were not measured, and
    /// it says so.
    pub fn coverage(&self) -> Coverage {
        Coverage::of_points(&self.family.points())
    }

    #[track_caller]
    fn watched(&self, name: &str) -> Arc<Point> {
        match self.state.get(name) {
            Some(point) => point,
            None => self.watch(name).into_point(),
        }
    }

    #[track_caller]
    fn set(&self, name: &str, script: Script) -> Result<Armed, Error> {
        self.family.limits.hold_again();
        let setting = Setting { script, performed: Vec::new(), armed_at: Location::caller() };
        match self.state.arm(name, setting) {
            Some(point) => Ok(Armed::new(point, Arc::clone(&self.family))),
            None => Err(Error::new(format!(
                "fail point `{name}` cannot be armed: its scenario has ended"
            ))),
        }
    }

    #[cfg(feature = "foreign")]
    #[track_caller]
    fn set_foreign(&self, name: &str, script: Script) -> Result<Armed, Error> {
        let armed = self.set(name, script)?;
        let point = armed.clone().into_point();
        if !point.is_foreign() {
            crate::foreign::hook(name).inspect_err(|_| drop(self.state.disarm(name)))?;
            point.set_foreign();
        }
        Ok(armed)
    }

    fn not_armed(&self, name: &str) -> String {
        let armed: Vec<_> = self.state.points().iter().map(|p| format!("`{}`", p.name())).collect();
        let armed = if armed.is_empty() { "nothing".to_owned() } else { armed.join(", ") };
        format!("fail point `{name}` is not armed in {}; armed here: {armed}", self.state.label)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({})", self.state.label)
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scenario({})", self.root.state.label)
    }
}

fn actions_at<A>(name: &str, actions: A) -> Result<Actions, Error>
where
    A: TryInto<Actions>,
    A::Error: fmt::Display,
{
    actions.try_into().map_err(|error| Error::new(format!("fail point `{name}`: {error}")))
}

/// Whether `point` waits for `target`, directly or through others, or is it.
fn reaches(point: &Arc<Point>, target: &Arc<Point>) -> bool {
    Arc::ptr_eq(point, target) || point.predecessors().iter().any(|first| reaches(first, target))
}
