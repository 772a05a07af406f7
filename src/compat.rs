//! The interface of the `fail` crate, over what the whole process has armed.
//!
//! A name has layers: what [`cfg()`] set, and one for each living [`FailGuard`]. The topmost holds;
//! when a guard goes, what it covered holds again.

use std::collections::{BTreeMap, BTreeSet};
use std::env::{self, VarError};
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::action::{Actions, Task, settings};
use crate::callback::{Callback, Outcome};
use crate::catalogue;
use crate::error::or_panic;
use crate::point::{Point, Script, Setting};
use crate::site::{Form, Site};
use crate::{passes, scope};

/// The variable that [`FailScenario::setup`] reads.
const VARIABLE: &str = "FAILPOINTS";

/// Whether fail points are compiled in: the `failpoints` feature is on.
pub const fn has_failpoints() -> bool {
    cfg!(feature = "failpoints")
}

/// Arms a point for the whole process. Replaces what was set before; whoever pauses there goes
/// on.
///
/// `actions` is the text form of [`Actions`]: `[p%][n*]task[(argument)]`, chained by `->`.
///
/// A name that no site has is accepted, since a crate that uses the `fail` crate may have it, but
/// it is said once on standard error, with the nearest name. A [`Scenario`](crate::Scenario) is
/// strict.
///
/// # Errors
///
/// When the actions are malformed, with the place and the mend; when the `failpoints` feature is
/// off, for then nothing could ever happen; when a scenario counts the passes of a point of the
/// `fail` crate that is to return early (feature `foreign`).
#[track_caller]
pub fn cfg<S: Into<String>>(name: S, actions: &str) -> Result<(), String> {
    let name = name.into();
    let layer = Layer::parse(&name, actions)?;
    let replaced = LAYERS.lock().replace_top(name, layer)?;
    drop(replaced);
    Ok(())
}

/// Calls `callback` whenever a thread of the process comes by the point.
///
/// # Errors
///
/// When the `failpoints` feature is off.
#[track_caller]
pub fn cfg_callback<S, F>(name: S, callback: F) -> Result<(), String>
where
    S: Into<String>,
    F: Fn() + Send + Sync + 'static,
{
    let name = name.into();
    let layer = Layer::callback(&name, callback)?;
    let replaced = LAYERS.lock().replace_top(name, layer)?;
    drop(replaced);
    Ok(())
}

/// Disarms a point for the whole process; whoever pauses there goes on. Nothing happens if it is
/// not armed. Returns when no other thread is in its callback any more.
pub fn remove<S: AsRef<str>>(name: S) {
    let name = name.as_ref();
    let layers = LAYERS.lock().by_name.remove(name);
    drain(name, disarm(name));
    drop(layers);
}

/// What the whole process has armed: names and the text of their actions, `callback` for a
/// callback. What there is to arm is in the [catalogue](crate::catalogue()).
pub fn list() -> Vec<(String, String)> {
    let layers = LAYERS.lock();
    let tops = layers.by_name.iter().filter_map(|(name, stack)| Some((name, stack.last()?)));
    tops.map(|(name, layer)| (name.clone(), layer.text.clone())).collect()
}

/// Passes the point called `name`; if it returns early, gives what `make` makes of the argument.
/// For macros that were written against `fail`: the place is in no catalogue, and has no gate.
#[doc(hidden)]
pub fn eval<R, F: FnOnce(Option<String>) -> R>(name: &str, make: F) -> Option<R> {
    static SITE: Site =
        Site::new(None, Form::RETURN, env!("CARGO_PKG_NAME"), module_path!(), (file!(), 0, 0));
    passes::tell(name, &SITE);
    let arg = scope::armed_here(name)?.pass(&SITE, None)?;
    Some(make(arg.into_text()))
}

/// Arms a point for the whole process until dropped; then what was armed before holds again.
#[derive(Debug)]
#[must_use = "the point is disarmed when this is dropped"]
pub struct FailGuard {
    name: String,
    id: u64,
}

impl FailGuard {
    /// As [`cfg()`], until dropped.
    ///
    /// # Errors
    ///
    /// As [`cfg()`].
    #[track_caller]
    pub fn new<S: Into<String>>(name: S, actions: &str) -> Result<FailGuard, String> {
        let name = name.into();
        let layer = Layer::parse(&name, actions)?;
        FailGuard::push(name, layer)
    }

    /// As [`cfg_callback`], until dropped.
    ///
    /// # Errors
    ///
    /// As [`cfg_callback`].
    #[track_caller]
    pub fn with_callback<S, F>(name: S, callback: F) -> Result<FailGuard, String>
    where
        S: Into<String>,
        F: Fn() + Send + Sync + 'static,
    {
        let name = name.into();
        let layer = Layer::callback(&name, callback)?;
        FailGuard::push(name, layer)
    }

    #[track_caller]
    fn push(name: String, mut layer: Layer) -> Result<FailGuard, String> {
        let mut layers = LAYERS.lock();
        if let Some(covered) = layers.by_name.get_mut(&name).and_then(|stack| stack.last_mut()) {
            covered.keep_counts(&name);
        }
        arm(&name, &layer)?;
        layers.last_guard += 1;
        let id = layers.last_guard;
        layer.guard = Some(id);
        layers.by_name.entry(name.clone()).or_default().push(layer);
        Ok(FailGuard { name, id })
    }
}

impl Drop for FailGuard {
    fn drop(&mut self) {
        let mut layers = LAYERS.lock();
        let Some(stack) = layers.by_name.get_mut(&self.name) else { return };
        let Some(index) = stack.iter().position(|layer| layer.guard == Some(self.id)) else {
            return;
        };
        let was_top = index + 1 == stack.len();
        let own = stack.remove(index);
        let armed = match stack.last() {
            Some(covered) if was_top => arm_again(&self.name, covered),
            Some(_) => None,
            None => {
                layers.by_name.remove(&self.name);
                disarm(&self.name)
            }
        };
        // Waited for and dropped without the lock: a callback may set points itself.
        drop(layers);
        drain(&self.name, armed);
        drop(own);
    }
}

/// A time in which one test has the whole process's fail points to itself: others that call
/// [`setup`](FailScenario::setup) on other threads wait for their turn. A
/// [`Scenario`](crate::Scenario) needs no turn.
#[must_use = "everything is disarmed when this is dropped"]
pub struct FailScenario<'a> {
    /// What the scenario around this one, on the same thread, had set.
    covered: BTreeMap<String, Vec<Layer>>,
    /// Belongs to its thread, as one that holds a lock does.
    not_send: PhantomData<(&'a (), *const ())>,
}

impl FailScenario<'_> {
    /// Disarms everything, then arms what the `FAILPOINTS` variable says: `name=actions;...`.
    ///
    /// Within another scenario of the same thread it covers that one until it is torn down.
    ///
    /// # Panics
    ///
    /// When the variable is malformed, with the place and the mend; nothing is armed then, and the
    /// next scenario is not affected.
    #[track_caller]
    pub fn setup() -> Self {
        let entries = match env::var(VARIABLE) {
            Ok(text) => or_panic(settings(&text)),
            Err(VarError::NotPresent) => Vec::new(),
            Err(VarError::NotUnicode(text)) => {
                panic!("{VARIABLE} {text:?} is not UTF-8; write `{VARIABLE}=name=actions`")
            }
        };
        if !has_failpoints() && !entries.is_empty() {
            eprintln!("faultpoint: {VARIABLE} is set, but {}", catalogue::COMPILED_OUT);
        }
        TURN.take();
        let scenario =
            FailScenario { covered: replace_all(BTreeMap::new()), not_send: PhantomData };
        if has_failpoints() {
            for (name, actions) in entries {
                warn_if_unknown(&name);
                let layer = Layer::new(actions.to_string(), Script::Actions(actions));
                let replaced = LAYERS.lock().replace_top(name, layer);
                drop(replaced.unwrap_or_else(|error| panic!("{error}")));
            }
        }
        scenario
    }

    /// Disarms everything; paused threads go on. The same as dropping it.
    pub fn teardown(self) {
        drop(self);
    }
}

impl Drop for FailScenario<'_> {
    fn drop(&mut self) {
        replace_all(std::mem::take(&mut self.covered));
        TURN.give_back();
    }
}

impl fmt::Debug for FailScenario<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FailScenario")
    }
}

/// One setting of a name.
struct Layer {
    /// The guard that set it; `None` for [`cfg()`].
    guard: Option<u64>,
    text: String,
    setting: Setting,
}

impl Layer {
    #[track_caller]
    fn parse(name: &str, text: &str) -> Result<Layer, String> {
        check_is_on()?;
        let actions: Actions =
            text.parse().map_err(|error| format!("fail point `{name}`: {error}"))?;
        warn_if_unknown(name);
        Ok(Layer::new(text.to_owned(), Script::Actions(actions)))
    }

    #[track_caller]
    fn callback<F: Fn() + Send + Sync + 'static>(name: &str, call: F) -> Result<Layer, String> {
        check_is_on()?;
        warn_if_unknown(name);
        let callback: Callback = Arc::new(move |_| {
            call();
            Outcome::from(Task::Off)
        });
        Ok(Layer::new("callback".to_owned(), Script::Callback(callback)))
    }

    #[track_caller]
    fn new(text: String, script: Script) -> Layer {
        let setting = Setting { script, performed: Vec::new(), armed_at: Location::caller() };
        Layer { guard: None, text, setting }
    }

    /// Keeps how far the layer has come, before another one covers it.
    fn keep_counts(&mut self, name: &str) {
        if let Some(point) = scope::global().get(name) {
            self.setting.performed = point.performed();
        }
    }
}

#[derive(Default)]
struct Layers {
    /// No stack is empty.
    by_name: BTreeMap<String, Vec<Layer>>,
    last_guard: u64,
    /// Names that were warned about.
    warned: BTreeSet<String>,
}

impl Layers {
    /// What `cfg` does: the guard on top, if any, keeps the name, with the new actions. Gives what
    /// was there, to be dropped without the lock.
    fn replace_top(&mut self, name: String, mut layer: Layer) -> Result<Option<Layer>, String> {
        arm(&name, &layer)?;
        let stack = self.by_name.entry(name).or_default();
        let top = stack.pop();
        layer.guard = top.as_ref().and_then(|top| top.guard);
        stack.push(layer);
        Ok(top)
    }
}

struct SharedLayers(LazyLock<Mutex<Layers>>);

static LAYERS: SharedLayers = SharedLayers(LazyLock::new(Mutex::default));

impl SharedLayers {
    fn lock(&self) -> MutexGuard<'_, Layers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn arm(name: &str, layer: &Layer) -> Result<Option<Arc<Point>>, String> {
    forward(name, Some(&layer.setting.script))?;
    Ok(scope::global().arm(name, layer.setting.clone()))
}

/// Arms what was armed before, where there is nobody to give an error to.
fn arm_again(name: &str, layer: &Layer) -> Option<Arc<Point>> {
    arm(name, layer).unwrap_or_else(|error| {
        eprintln!("faultpoint: {error}");
        None
    })
}

fn disarm(name: &str) -> Option<Arc<Point>> {
    if let Err(error) = forward(name, None) {
        eprintln!("faultpoint: {error}");
    }
    scope::global().disarm(name)
}

/// Tells the `fail` crate of a name that may be one of its points.
#[cfg(feature = "foreign")]
fn forward(name: &str, script: Option<&Script>) -> Result<(), String> {
    if catalogue::sites_of(name).is_empty() {
        crate::foreign::set_process(name, script).map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(not(feature = "foreign"))]
fn forward(_name: &str, _script: Option<&Script>) -> Result<(), String> {
    Ok(())
}

/// Waits for callbacks that are running at a point that was armed anew or disarmed.
fn drain(name: &str, point: Option<Arc<Point>>) {
    if point.is_some_and(|point| !point.drain()) {
        eprintln!("faultpoint: a callback at fail point `{name}` is still running");
    }
}

/// Puts `next` in the place of all settings, which it returns.
fn replace_all(next: BTreeMap<String, Vec<Layer>>) -> BTreeMap<String, Vec<Layer>> {
    let mut layers = LAYERS.lock();
    let mut old = std::mem::replace(&mut layers.by_name, next);
    for (name, stack) in &mut old {
        if let Some(top) = stack.last_mut() {
            top.keep_counts(name);
        }
    }
    for (name, stack) in &layers.by_name {
        if let Some(top) = stack.last() {
            arm_again(name, top);
        }
    }
    let gone: Vec<&String> =
        old.keys().filter(|name| !layers.by_name.contains_key(*name)).collect();
    drop(layers);
    for name in gone {
        drain(name, disarm(name));
    }
    old
}

fn check_is_on() -> Result<(), String> {
    if has_failpoints() { Ok(()) } else { Err(catalogue::COMPILED_OUT.to_owned()) }
}

fn warn_if_unknown(name: &str) {
    if let Err(error) = catalogue::check_name(name)
        && LAYERS.lock().warned.insert(name.to_owned())
    {
        if cfg!(feature = "foreign") {
            eprintln!(
                "faultpoint: {error} (armed at the points of the `fail` crate, which it does not \
                 list)"
            );
        } else {
            eprintln!("faultpoint: {error}");
        }
    }
}

/// Whose turn it is to have the whole process; a thread may take it several times over.
struct Turn {
    holder: Mutex<Option<(ThreadId, u32)>>,
    given_back: Condvar,
}

static TURN: Turn = Turn { holder: Mutex::new(None), given_back: Condvar::new() };

impl Turn {
    fn take(&self) {
        let own = thread::current().id();
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &mut *holder {
                None => {
                    *holder = Some((own, 1));
                    return;
                }
                Some((thread, depth)) if *thread == own => {
                    *depth += 1;
                    return;
                }
                Some(_) => {
                    holder = self.given_back.wait(holder).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn give_back(&self) {
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        *holder = holder.and_then(|(thread, depth)| (depth > 1).then_some((thread, depth - 1)));
        self.given_back.notify_one();
    }
}
