//! All that belongs to one scenario, and what must hold when it ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::limits::Limits;
use crate::point::Point;
use crate::scope::ScopeState;

/// All scopes of one scenario, the outermost first.
pub(crate) struct Family {
    /// `None` when the scenario has ended.
    members: Mutex<Option<Vec<Arc<ScopeState>>>>,
    pub(crate) limits: Arc<Limits>,
}

impl Family {
    pub(crate) fn new(outermost: Arc<ScopeState>, limits: Arc<Limits>) -> Family {
        Family { members: Mutex::new(Some(vec![outermost])), limits }
    }

    /// Takes a scope in; one that comes too late ends at once.
    pub(crate) fn push(&self, state: Arc<ScopeState>) {
        match &mut *self.lock() {
            Some(members) => members.push(state),
            None => drop(state.end()),
        }
    }

    /// Every armed point, outermost scope first, then by name.
    pub(crate) fn points(&self) -> Vec<Arc<Point>> {
        self.lock().iter().flatten().flat_map(|state| state.points()).collect()
    }

    pub(crate) fn has_chance(&self) -> bool {
        self.points().iter().any(|point| point.has_chance())
    }

    /// The test's thread panics: nobody shall wait for it.
    pub(crate) fn let_go(&self) {
        self.limits.let_go();
        for point in self.points() {
            point.let_go();
        }
    }

    /// Ends all scopes, then says what they left to be desired.
    pub(crate) fn end(&self) -> Vec<String> {
        let members = self.lock().take().unwrap_or_default();
        let points: Vec<_> = members.iter().flat_map(|state| state.end()).collect();
        self.limits.run_at_end();
        let mut failures = Vec::new();
        for point in &points {
            if !point.drain() {
                failures.push(still_running(point.name(), self.limits.patience()));
            }
            failures.extend(shortcoming(point));
        }
        failures.extend(self.limits.take_violations());
        failures
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Arc<ScopeState>>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An action that did not happen, though it was asked for.
fn shortcoming(point: &Point) -> Option<String> {
    let status = point.status();
    let name = point.name();
    if status.is_optional {
        return None;
    }
    if status.hits == 0 {
        return Some(format!(
            "fail point `{name}` was armed at {} but never reached; if that is fine, call \
             `.optional()` on it",
            status.armed_at
        ));
    }
    (status.must_fire && status.fires == 0).then(|| {
        format!(
            "fail point `{name}` was armed with `{}` at {} and reached {}, but never fired",
            status.script,
            status.armed_at,
            times(status.hits)
        )
    })
}

pub(crate) fn still_running(name: &str, patience: Duration) -> String {
    format!("a callback at fail point `{name}` was still running after {patience:?}")
}

pub(crate) fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    }
}
