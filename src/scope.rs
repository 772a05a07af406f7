//! Scopes: which armed points a thread sees. The handle that production code passes on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use crate::limits::Limits;
use crate::point::{Point, Setting};
use crate::{catalogue, seed, site};

/// The scope of a thread, to hand on to the threads and tasks that work for it.
///
/// An engine takes [`Scope::current()`] where it is opened and enters it wherever it starts a
/// thread or task; then a scenario that a test began around it holds for all of it, and for no
/// other test. Two engines opened in two [instances](crate::Instance) can be told apart the same
/// way. With the `failpoints` feature off a scope is empty and costs nothing.
///
/// ```
/// struct Store {
///     scope: faultpoint::Scope,
/// }
///
/// impl Store {
///     fn open() -> Store {
///         Store { scope: faultpoint::Scope::current() }
///     }
///
///     fn start_worker(&self) -> std::thread::JoinHandle<()> {
///         self.scope.spawn(|| faultpoint::fail_point!("store_worker_started"))
///     }
/// }
/// # Store::open().start_worker().join().unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Scope {
    #[cfg(feature = "failpoints")]
    pub(crate) state: Option<Arc<ScopeState>>,
}

/// Until dropped, the thread that called [`Scope::enter`] is in that scope.
#[must_use = "the scope is left when this is dropped"]
pub struct Entered {
    #[cfg(feature = "failpoints")]
    entry: Option<u64>,
    /// Belongs to its thread.
    not_send: PhantomData<*const ()>,
}

impl Scope {
    /// The scope that this thread is in, innermost first; the empty one if it is in none.
    #[inline]
    pub fn current() -> Scope {
        #[cfg(feature = "failpoints")]
        return Scope { state: innermost() };
        #[cfg(not(feature = "failpoints"))]
        Scope {}
    }

    /// Whether this thread is in the scope, or in one within it. Of the empty one: never.
    pub fn is_current(&self) -> bool {
        #[cfg(feature = "failpoints")]
        return self.state.as_ref().is_some_and(is_in);
        #[cfg(not(feature = "failpoints"))]
        false
    }

    /// Whether it is the empty one: that of a thread that is in none.
    pub fn is_empty(&self) -> bool {
        #[cfg(feature = "failpoints")]
        return self.state.is_none();
        #[cfg(not(feature = "failpoints"))]
        true
    }

    /// Puts this thread in the scope until the guard is dropped.
    #[inline]
    pub fn enter(&self) -> Entered {
        #[cfg(feature = "failpoints")]
        return Entered {
            entry: self.state.as_ref().map(|state| push(Arc::clone(state))),
            not_send: PhantomData,
        };
        #[cfg(not(feature = "failpoints"))]
        Entered { not_send: PhantomData }
    }

    /// Runs `work` in the scope.
    #[inline]
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.enter();
        work()
    }

    /// The same as [`std::thread::spawn`], in the scope.
    #[inline]
    pub fn spawn<T, F>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let scope = self.clone();
        thread::spawn(move || scope.run(work))
    }

    /// A future that is in the scope whenever it is polled, on whatever thread.
    #[inline]
    pub fn wrap<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let scope = self.clone();
        async move {
            if cfg!(not(feature = "failpoints")) {
                return future.await;
            }
            let mut future = pin!(future);
            poll_fn(|cx| scope.run(|| future.as_mut().poll(cx))).await
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(feature = "failpoints")]
        if let Some(state) = &self.state {
            return write!(f, "Scope({})", state.label);
        }
        f.write_str("Scope(none)")
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entered")
    }
}

#[cfg(feature = "failpoints")]
impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            pop(entry);
        }
    }
}

/// The points armed in one scope.
pub(crate) struct ScopeState {
    pub(crate) label: String,
    pub(crate) seed: u64,
    pub(crate) limits: Arc<Limits>,
    /// This scope's own gate bit.
    bit: u64,
    /// The bits of all scopes that a thread in this one is in.
    mask: u64,
    parent: Option<Arc<ScopeState>>,
    armed: RwLock<Armed>,
}

#[derive(Default)]
struct Armed {
    points: BTreeMap<Box<str>, Arc<Point>>,
    has_ended: bool,
}

impl ScopeState {
    pub(crate) fn new(
        label: String,
        seed: u64,
        limits: Arc<Limits>,
        parent: Option<Arc<ScopeState>>,
    ) -> ScopeState {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let bit = site::scope_bit(COUNT.fetch_add(1, Ordering::Relaxed));
        let outer = parent.as_ref().map_or(site::EVERYBODY, |parent| parent.mask);
        ScopeState { label, seed, limits, bit, mask: bit | outer, parent, armed: RwLock::default() }
    }

    /// Arms `name`, or arms it anew; `None` when the scope has ended.
    pub(crate) fn arm(&self, name: &str, setting: Setting) -> Option<Arc<Point>> {
        let mut armed = self.armed.write().unwrap_or_else(PoisonError::into_inner);
        if armed.has_ended {
            return None;
        }
        if let Some(point) = armed.points.get(name) {
            let point = Arc::clone(point);
            drop(armed);
            point.set(setting);
            return Some(point);
        }
        let point = Arc::new(Point::new(name, self.seed, Arc::clone(&self.limits), setting));
        armed.points.insert(name.into(), Arc::clone(&point));
        catalogue::add_interest(name, self.bit);
        Some(point)
    }

    pub(crate) fn disarm(&self, name: &str) -> Option<Arc<Point>> {
        let point = {
            let mut armed = self.armed.write().unwrap_or_else(PoisonError::into_inner);
            armed.points.remove(name)?
        };
        self.close(&point);
        Some(point)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Point>> {
        let armed = self.armed.read().unwrap_or_else(PoisonError::into_inner);
        armed.points.get(name).cloned()
    }

    /// What is armed, in the order of names.
    pub(crate) fn points(&self) -> Vec<Arc<Point>> {
        let armed = self.armed.read().unwrap_or_else(PoisonError::into_inner);
        armed.points.values().cloned().collect()
    }

    /// Disarms everything, for good.
    pub(crate) fn end(&self) -> Vec<Arc<Point>> {
        let points = {
            let mut armed = self.armed.write().unwrap_or_else(PoisonError::into_inner);
            armed.has_ended = true;
            std::mem::take(&mut armed.points)
        };
        for point in points.values() {
            self.close(point);
        }
        points.into_values().collect()
    }

    fn close(&self, point: &Point) {
        catalogue::remove_interest(point.name(), self.bit);
        point.retire();
        #[cfg(feature = "foreign")]
        if point.is_foreign() {
            crate::foreign::unhook(point.name());
        }
    }
}

/// The scope that every thread is in.
pub(crate) fn global() -> &'static ScopeState {
    static GLOBAL: LazyLock<ScopeState> = LazyLock::new(|| ScopeState {
        label: "whole process".to_owned(),
        // Production code may be what comes by first; it is not what should panic.
        seed: seed::from_env().unwrap_or_else(|error| {
            eprintln!("faultpoint: {error}; 0 is used");
            0
        }),
        limits: Arc::new(Limits::of_process()),
        bit: site::GLOBAL,
        mask: site::EVERYBODY,
        parent: None,
        armed: RwLock::default(),
    });
    &GLOBAL
}

/// What is armed under `name` for this thread: the innermost scope that armed it decides alone.
pub(crate) fn armed_here(name: &str) -> Option<Arc<Point>> {
    let found = STACK.try_with(|stack| {
        let stack = stack.borrow();
        let mut scope = stack.last().map(|(_, state)| state);
        while let Some(state) = scope {
            if let Some(point) = state.get(name) {
                return Some(point);
            }
            scope = state.parent.as_ref();
        }
        None
    });
    // A thread whose local storage is gone is on its way out, in no scope but the process's.
    found.ok().flatten().or_else(|| global().get(name))
}

/// The bits of all scopes that this thread is in.
#[inline]
pub(crate) fn mask() -> u64 {
    MASK.get()
}

thread_local! {
    static MASK: Cell<u64> = const { Cell::new(site::EVERYBODY) };
    static STACK: RefCell<Vec<(u64, Arc<ScopeState>)>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn innermost() -> Option<Arc<ScopeState>> {
    let top = STACK.try_with(|stack| stack.borrow().last().map(|(_, state)| Arc::clone(state)));
    top.ok().flatten()
}

/// Whether this thread's innermost scope is this one, or lies within it.
#[cfg(feature = "failpoints")]
fn is_in(scope: &Arc<ScopeState>) -> bool {
    let mut own = innermost();
    while let Some(state) = own {
        if Arc::ptr_eq(&state, scope) {
            return true;
        }
        own = state.parent.clone();
    }
    false
}

/// Enters a scope on this thread; [`pop`] of the entry leaves it, in whatever order.
pub(crate) fn push(state: Arc<ScopeState>) -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let entry = COUNT.fetch_add(1, Ordering::Relaxed);
    let mask = state.mask;
    if STACK.try_with(|stack| stack.borrow_mut().push((entry, state))).is_ok() {
        MASK.set(mask);
    }
    entry
}

pub(crate) fn pop(entry: u64) {
    let left = STACK.try_with(|stack| {
        let mut stack = stack.borrow_mut();
        let index = stack.iter().position(|(id, _)| *id == entry)?;
        let (_, state) = stack.remove(index);
        MASK.set(stack.last().map_or(site::EVERYBODY, |(_, top)| top.mask));
        Some(state)
    });
    // Dropped out here: a scope owns callbacks, whose drop may enter scopes itself.
    drop(left);
}
