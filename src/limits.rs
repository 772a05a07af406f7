//! What all points of a scenario share: how long a wait may last, and what went wrong.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// Shared by the points of a scenario and of its instances.
pub(crate) struct Limits {
    /// How long a wait may last before it is reported, in milliseconds.
    patience_ms: AtomicU64,
    /// Who began the scenario; `None` for the whole process, whose pauses have no limit.
    owner: Option<ThreadId>,
    /// The owner panics: pauses do not hold.
    is_letting_go: AtomicBool,
    /// What went wrong, for the end of the scenario.
    violations: Mutex<Vec<String>>,
    /// What else is to be let go.
    at_end: Mutex<Vec<AtEnd>>,
}

type AtEnd = Box<dyn FnOnce() + Send>;

impl Limits {
    /// For a scenario that this thread begins.
    pub(crate) fn of_scenario() -> Limits {
        Limits { owner: Some(thread::current().id()), ..Limits::of_process() }
    }

    /// For what the whole process has armed.
    pub(crate) fn of_process() -> Limits {
        Limits {
            patience_ms: AtomicU64::new(10_000),
            owner: None,
            is_letting_go: AtomicBool::new(false),
            violations: Mutex::new(Vec::new()),
            at_end: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        // A year is patient enough, and keeps deadlines representable.
        let patience = patience.min(Duration::from_secs(365 * 24 * 3600));
        self.patience_ms.store(patience.as_millis() as u64, Ordering::Relaxed);
    }

    /// How long a thread may pause before it goes on and that is reported. Longer than patience,
    /// for a test may do much between a pause and the release.
    pub(crate) fn pause_limit(&self) -> Option<Duration> {
        self.owner.map(|_| self.patience() * 6)
    }

    pub(crate) fn let_go(&self) {
        self.is_letting_go.store(true, Ordering::Relaxed);
        self.run_at_end();
    }

    pub(crate) fn at_end(&self, act: AtEnd) {
        lock(&self.at_end).push(act);
    }

    pub(crate) fn run_at_end(&self) {
        // Run without the lock: they are their user's.
        let acts = std::mem::take(&mut *lock(&self.at_end));
        acts.into_iter().for_each(|act| act());
    }

    pub(crate) fn is_letting_go(&self) -> bool {
        self.is_letting_go.load(Ordering::Relaxed)
    }

    /// Pauses hold again when the owner goes on after all: its panic was caught.
    pub(crate) fn hold_again(&self) {
        if self.owner == Some(thread::current().id()) && !thread::panicking() {
            self.is_letting_go.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn report(&self, violation: String) {
        lock(&self.violations).push(violation);
    }

    pub(crate) fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.violations))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
