//! One name armed in one scope: what it does, who has come by, and who waits here.
//!
//! A pass takes the lock to decide and again to leave; whatever takes time or runs foreign code
//! (sleeping, waiting, a callback, a panic) happens outside it.

mod pass;

use std::collections::BTreeMap;
use std::panic::Location;
#[cfg(feature = "foreign")]
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::action::{Actions, Chance, Task};
use crate::arg::Arg;
use crate::callback::Callback;
use crate::draw;
use crate::limits::Limits;
use crate::site::Site;
use pass::Step;

/// A name armed in one scope.
pub(crate) struct Point {
    name: Box<str>,
    seed: u64,
    limits: Arc<Limits>,
    /// Passes come from the `fail` crate too.
    #[cfg(feature = "foreign")]
    is_foreign: std::sync::atomic::AtomicBool,
    state: Mutex<State>,
    /// Any change of the state that somebody may wait for.
    changed: Condvar,
}

/// What an armed point does.
#[derive(Clone)]
pub(crate) enum Script {
    Actions(Actions),
    Callback(Callback),
}

/// What a point is armed with.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) script: Script,
    /// How often each action was performed before, for what was covered and holds again. Empty is
    /// never.
    pub(crate) performed: Vec<u64>,
    pub(crate) armed_at: &'static Location<'static>,
}

/// A snapshot for reports.
pub(crate) struct Status {
    pub(crate) hits: u64,
    pub(crate) fires: u64,
    pub(crate) script: String,
    /// Threads and tasks that pause here, in the order of their coming.
    pub(crate) paused: Vec<String>,
    /// Threads that wait here for another point to be passed first.
    pub(crate) held: Vec<String>,
    pub(crate) is_optional: bool,
    pub(crate) must_fire: bool,
    pub(crate) armed_at: &'static Location<'static>,
}

struct State {
    script: Script,
    /// How often each action of the chain was performed.
    performed: Vec<u64>,
    hits: u64,
    passed: u64,
    fires: u64,
    /// Who pauses or sleeps here, by ticket; taking the ticket away lets them go on.
    resting: BTreeMap<u64, Resting>,
    next_ticket: u64,
    /// Points that must have been passed before this one is.
    predecessors: Vec<Arc<Point>>,
    held: Vec<String>,
    /// Threads in this point's callback.
    calling: Vec<ThreadId>,
    /// Threads that wait for `changed`.
    watchers: u32,
    /// Tasks to wake at the next change.
    wakers: Vec<Waker>,
    is_retired: bool,
    is_optional: bool,
    armed_at: &'static Location<'static>,
}

struct Resting {
    is_pause: bool,
    who: String,
    waker: Option<Waker>,
}

impl Point {
    pub(crate) fn new(name: &str, scope_seed: u64, limits: Arc<Limits>, setting: Setting) -> Point {
        let state = State {
            performed: setting.start_counts(),
            script: setting.script,
            hits: 0,
            passed: 0,
            fires: 0,
            resting: BTreeMap::new(),
            next_ticket: 0,
            predecessors: Vec::new(),
            held: Vec::new(),
            calling: Vec::new(),
            watchers: 0,
            wakers: Vec::new(),
            is_retired: false,
            is_optional: false,
            armed_at: setting.armed_at,
        };
        Point {
            name: name.into(),
            seed: draw::point_seed(scope_seed, name),
            limits,
            #[cfg(feature = "foreign")]
            is_foreign: false.into(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Arms the point anew: whoever rests here goes on; hits, and what must be passed before, stay.
    pub(crate) fn set(&self, setting: Setting) {
        let mut state = self.lock();
        state.performed = setting.start_counts();
        let old = std::mem::replace(&mut state.script, setting.script);
        state.armed_at = setting.armed_at;
        state.is_optional = false;
        state.release_all();
        self.announce(state);
        // A callback owns values of its user, whose drop is not run under the lock.
        drop(old);
    }

    /// How often each action was performed, for [`Setting::performed`].
    pub(crate) fn performed(&self) -> Vec<u64> {
        self.lock().performed.clone()
    }

    pub(crate) fn has_chance(&self) -> bool {
        match &self.lock().script {
            Script::Actions(actions) => actions.has_chance(),
            Script::Callback(_) => false,
        }
    }

    pub(crate) fn set_optional(&self) {
        self.lock().is_optional = true;
    }

    #[cfg(feature = "foreign")]
    pub(crate) fn set_foreign(&self) {
        self.is_foreign.store(true, Ordering::Relaxed);
    }

    #[cfg(feature = "foreign")]
    pub(crate) fn is_foreign(&self) -> bool {
        self.is_foreign.load(Ordering::Relaxed)
    }

    /// A callback asked for what only the `fail` crate itself can do.
    #[cfg(feature = "foreign")]
    pub(crate) fn report_no_return(&self) {
        self.limits.report(format!(
            "a callback at `{}` asked for an early return, which a site of the `fail` crate makes \
             only for the whole process",
            self.name
        ));
    }

    pub(crate) fn add_predecessor(&self, first: Arc<Point>) {
        self.lock().predecessors.push(first);
    }

    pub(crate) fn predecessors(&self) -> Vec<Arc<Point>> {
        self.lock().predecessors.clone()
    }

    /// Lets up to `count` of those who pause here go on, first come, first served.
    pub(crate) fn release(&self, count: usize) {
        let mut state = self.lock();
        state.release_paused(count);
        self.announce(state);
    }

    /// Lets go whoever rests here because the test panics, which only matters if it goes on.
    pub(crate) fn let_go(&self) {
        let mut state = self.lock();
        for resting in state.resting.values().filter(|resting| resting.is_pause) {
            self.report_let_go(&resting.who);
        }
        state.release_all();
        self.announce(state);
    }

    fn report_let_go(&self, who: &str) {
        self.limits.report(format!(
            "{who} was not held at `{}`, for the test panicked, and caught it; let what may panic \
             run on a thread of its own",
            self.name
        ));
    }

    /// Lets go whoever is here, and anyone who still comes.
    pub(crate) fn retire(&self) {
        let mut state = self.lock();
        state.is_retired = true;
        state.release_all();
        let predecessors = std::mem::take(&mut state.predecessors);
        self.announce(state);
        // Whoever is held here waits for a change there.
        for first in predecessors {
            first.announce(first.lock());
        }
    }

    /// Waits until no other thread is in this point's callback; `false` when patience ran out.
    pub(crate) fn drain(&self) -> bool {
        let own = thread::current().id();
        let is_drained = |state: &State| state.calling.iter().all(|thread| *thread == own);
        self.wait_until(self.limits.patience(), is_drained)
    }

    pub(crate) fn wait_hits(&self, count: u64, limit: Duration) -> bool {
        self.wait_until(limit, |state| state.hits >= count)
    }

    pub(crate) fn wait_paused(&self, count: usize, limit: Duration) -> bool {
        let paused = |state: &State| state.resting.values().filter(|r| r.is_pause).count();
        self.wait_until(limit, |state| paused(state) >= count)
    }

    pub(crate) fn status(&self) -> Status {
        let state = self.lock();
        let paused = state.resting.values().filter(|r| r.is_pause).map(|r| r.who.clone());
        Status {
            hits: state.hits,
            fires: state.fires,
            script: state.script.to_string(),
            paused: paused.collect(),
            held: state.held.clone(),
            is_optional: state.is_optional,
            must_fire: state.script.must_fire(),
            armed_at: state.armed_at,
        }
    }

    /// What is to be done about this pass; if that is nothing that takes time, it is passed.
    // Inlined, with what it calls, into both ways through: an armed pass is not to cost more than
    // one of the `fail` crate.
    #[inline(always)]
    fn decide(&self, state: &mut State, site: &'static Site, number: u64) -> Step {
        if state.is_retired {
            return Step::Done(None);
        }
        let step = match &state.script {
            Script::Callback(callback) => {
                state.calling.push(thread::current().id());
                Step::Call(Arc::clone(callback))
            }
            Script::Actions(actions) => {
                let task = self.next_task(actions, &mut state.performed, number);
                match task {
                    None | Some(Task::Off) => {
                        state.passed += 1;
                        return Step::Done(None);
                    }
                    Some(Task::Return(text)) => {
                        state.passed += 1;
                        Step::Done(Some(Arg::text_at(site, text.clone())))
                    }
                    Some(task) => {
                        let task = task.clone();
                        self.begin(state, site, task)
                    }
                }
            }
        };
        state.fires += 1;
        site.count_fire();
        step
    }

    /// The task of the first action that is not used up and whose chance comes about.
    #[inline(always)]
    fn next_task<'a>(
        &self,
        actions: &'a Actions,
        performed: &mut [u64],
        number: u64,
    ) -> Option<&'a Task> {
        for (index, action) in actions.as_slice().iter().enumerate() {
            let is_left = action.count.is_none_or(|count| performed[index] < count);
            let comes_about =
                |chance: Chance| chance.includes(draw::draw(self.seed, number, index));
            if is_left && action.chance.is_none_or(comes_about) {
                performed[index] += 1;
                return Some(&action.task);
            }
        }
        None
    }

    /// What `task` asks for outside the lock.
    #[inline(never)]
    fn begin(&self, state: &mut State, site: &'static Site, task: Task) -> Step {
        let until = |ms: u64| Instant::now().checked_add(Duration::from_millis(ms));
        match task {
            Task::Off => Step::Done(None),
            Task::Return(text) => Step::Done(Some(Arg::text_at(site, text))),
            Task::Panic(message) => Step::Panic(message),
            Task::Print(message) => Step::Print(message),
            Task::Yield => Step::Yield,
            _ if state.is_retired => Step::Done(None),
            Task::Pause if self.limits.is_letting_go() => {
                self.report_let_go(&who(site));
                Step::Done(None)
            }
            Task::Pause => {
                let until = self.limits.pause_limit().map(|limit| Instant::now() + limit);
                Step::Rest { ticket: state.take_ticket(site, true), until }
            }
            Task::Sleep(ms) => {
                Step::Rest { ticket: state.take_ticket(site, false), until: until(ms) }
            }
            Task::Delay(ms) => {
                Step::Delay { ticket: state.take_ticket(site, false), until: until(ms) }
            }
        }
    }

    /// Waits until `holds`, but no longer than `limit`; says whether it came to hold.
    fn wait_until(&self, limit: Duration, holds: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        state.watchers += 1;
        while !holds(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let result = self.changed.wait_timeout(state, left);
            state = result.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.watchers -= 1;
        holds(&state)
    }

    /// Unlocks, and wakes whoever waits for a change. Costs no system call when nobody does.
    #[inline(always)]
    fn announce(&self, state: MutexGuard<'_, State>) {
        if state.watchers > 0 || !state.wakers.is_empty() {
            self.wake(state);
        }
    }

    #[cold]
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if state.watchers > 0 {
            self.changed.notify_all();
        }
        let wakers = std::mem::take(&mut state.wakers);
        // An executor may do as it likes when it is woken, even come back here.
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A panic at a point (that is what points are for) never poisons it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts the hit and gives its number; `None` when there is nothing here any more.
    fn arrive(&mut self, site: &'static Site) -> Option<u64> {
        if self.is_retired {
            return None;
        }
        self.hits += 1;
        site.count_hit();
        Some(self.hits)
    }

    fn take_ticket(&mut self, site: &'static Site, is_pause: bool) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.resting.insert(ticket, Resting { is_pause, who: who(site), waker: None });
        ticket
    }

    fn release_paused(&mut self, count: usize) {
        let paused = self.resting.iter().filter(|(_, resting)| resting.is_pause);
        let tickets: Vec<u64> = paused.map(|(ticket, _)| *ticket).take(count).collect();
        for ticket in tickets {
            self.release_one(ticket);
        }
    }

    /// Ends sleeps and delays too.
    fn release_all(&mut self) {
        while let Some((ticket, _)) = self.resting.first_key_value() {
            self.release_one(*ticket);
        }
    }

    fn release_one(&mut self, ticket: u64) {
        let resting = self.resting.remove(&ticket);
        self.wakers.extend(resting.and_then(|resting| resting.waker));
    }
}

impl Setting {
    fn start_counts(&self) -> Vec<u64> {
        match &self.script {
            Script::Actions(actions) if self.performed.is_empty() => {
                vec![0; actions.as_slice().len()]
            }
            _ => self.performed.clone(),
        }
    }
}

impl Script {
    fn must_fire(&self) -> bool {
        match self {
            Script::Actions(actions) => actions.surely_fires(),
            Script::Callback(_) => true,
        }
    }
}

impl std::fmt::Display for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Script::Actions(actions) => actions.fmt(f),
            Script::Callback(_) => f.write_str("callback"),
        }
    }
}

/// A thread and its place, for reports.
fn who(site: &'static Site) -> String {
    let thread = thread::current();
    match thread.name() {
        Some(name) => format!("thread `{name}` at {site}"),
        None => format!("{:?} at {site}", thread.id()),
    }
}
