//! Listening to passes: who, such as a recorded filesystem, wants to know of every point that a thread
//! comes by, whatever is armed there.
//!
//! There without the feature `failpoints` too, when nothing is ever heard, so that who listens need
//! not turn it on: features unify across a workspace.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::catalogue;
use crate::scope::Scope;
use crate::site::Site;

/// How many passes a thread remembers.
const REMEMBERED: usize = 8;

/// A thread comes by a fail point.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    pub(crate) name: &'a str,
    pub(crate) site: &'static Site,
}

impl<'a> Pass<'a> {
    /// The point's name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Where in the code the thread is.
    pub fn site(&self) -> &'static Site {
        self.site
    }
}

impl fmt::Debug for Pass<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.site)
    }
}

/// Listens until dropped. A call of the listener that is under way on another thread goes on.
#[derive(Debug)]
#[must_use = "nothing is heard any more when this is dropped"]
pub struct Listening {
    id: u64,
}

/// Calls `listener` on each thread of `scope` that comes by a fail point, before what is armed there
/// happens; on every thread of the process if the scope is [the empty one](Scope::default).
///
/// For tools that record what a program does. All points are heard, armed or not, which costs every
/// pass in the process a few dozen nanoseconds while anybody listens. What the listener itself passes
/// is not heard. A point of the `fail` crate is heard while it is armed.
///
/// With the feature `failpoints` off there are no points and nothing is heard.
///
/// ```
/// use faultpoint::{Scope, fail_point, listen};
/// use std::sync::{Arc, Mutex};
///
/// let heard = Arc::new(Mutex::new(Vec::new()));
/// let names = Arc::clone(&heard);
/// let listening = listen(&Scope::default(), move |pass| {
///     names.lock().unwrap().push(pass.name().to_owned());
/// });
/// fail_point!("listen_example");
/// drop(listening);
/// fail_point!("listen_example");
/// assert_eq!(heard.lock().unwrap().len(), usize::from(faultpoint::has_failpoints()));
/// ```
pub fn listen<F>(scope: &Scope, listener: F) -> Listening
where
    F: Fn(Pass<'_>) + Send + Sync + 'static,
{
    let mut listeners = lock();
    let id = listeners.next;
    listeners.next += 1;
    let listener: Arc<Listener> = Arc::new(listener);
    listeners.by_id.insert(id, (scope.clone(), listener));
    if listeners.by_id.len() == 1 {
        catalogue::set_heard(true);
    }
    Listening { id }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = lock();
        let own = listeners.by_id.remove(&self.id);
        if listeners.by_id.is_empty() {
            catalogue::set_heard(false);
            listeners.era += 1;
        }
        // Dropped without the lock: it owns values of its user.
        drop(listeners);
        drop(own);
    }
}

/// The names of the points that this thread has passed since somebody [listens](listen), the last one
/// last; the last eight.
pub fn last_passes() -> Vec<Arc<str>> {
    let now = lock().era;
    let last = LAST.try_with(|last| {
        let Last { era, names } = &*last.borrow();
        if *era == now { names.iter().cloned().collect() } else { Vec::new() }
    });
    last.unwrap_or_default()
}

type Listener = dyn Fn(Pass<'_>) + Send + Sync;

#[derive(Default)]
struct Listeners {
    by_id: BTreeMap<u64, (Scope, Arc<Listener>)>,
    next: u64,
    /// How often the last listener has gone.
    era: u64,
}

fn lock() -> MutexGuard<'static, Listeners> {
    static LISTENERS: Mutex<Listeners> =
        Mutex::new(Listeners { by_id: BTreeMap::new(), next: 0, era: 0 });
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static LAST: RefCell<Last> = const { RefCell::new(Last { era: 0, names: VecDeque::new() }) };
    static IS_TELLING: Cell<bool> = const { Cell::new(false) };
}

/// What a thread remembers.
struct Last {
    era: u64,
    names: VecDeque<Arc<str>>,
}

/// This thread comes by a point; whoever listens hears of it.
#[cold]
#[inline(never)]
pub(crate) fn tell(name: &str, site: &'static Site) {
    let Ok(false) = IS_TELLING.try_with(|is_telling| is_telling.replace(true)) else { return };
    let _told = Told;
    let hears = |scope: &Scope| scope.is_empty() || scope.is_current();
    let (era, listeners): (u64, Vec<_>) = {
        let listeners = lock();
        if listeners.by_id.is_empty() {
            return;
        }
        let hearing = listeners.by_id.values().filter(|(scope, _)| hears(scope));
        (listeners.era, hearing.map(|(_, listener)| Arc::clone(listener)).collect())
    };
    remember(era, name);
    for listener in listeners {
        listener(Pass { name, site });
    }
}

/// Also where a listener panics.
struct Told;

impl Drop for Told {
    fn drop(&mut self) {
        IS_TELLING.set(false);
    }
}

fn remember(now: u64, name: &str) {
    // A thread whose local storage is gone is on its way out, and asks nothing any more.
    let _ = LAST.try_with(|last| {
        let Last { era, names } = &mut *last.borrow_mut();
        if std::mem::replace(era, now) != now {
            names.clear();
        }
        if names.len() == REMEMBERED {
            names.pop_front();
        }
        names.push_back(name.into());
    });
}
