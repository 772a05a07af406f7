//! The same site in every library, in every state that it may be in. Each loop calls a function
//! that is not inlined, so that all of them pay the same for being called.

use std::any::Any;
use std::hint::black_box;
use std::sync::{Arc, LazyLock};

use faultpoint::{Scenario, fail_point};

/// Passes in one measurement.
pub(crate) const PASSES: u64 = 1000;

/// What is armed while the sites are passed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// Nothing. In a build without fail points the only state there is.
    Idle,
    /// 100 other points.
    Others,
    /// The same point, in another scope: an instance, a registry.
    Elsewhere,
    /// The point itself.
    Here(&'static str),
}

/// What is armed stays armed until this is dropped.
pub(crate) type Guard = Box<dyn Any>;

pub(crate) fn bare() -> u64 {
    #[inline(never)]
    fn pass(value: u64) -> u64 {
        black_box(value)
    }
    (0..PASSES).map(|value| black_box(pass(value))).sum()
}

pub(crate) fn faultpoint() -> u64 {
    #[inline(never)]
    fn pass(value: u64) -> u64 {
        fail_point!("bench", |_| 0);
        black_box(value)
    }
    (0..PASSES).map(|value| black_box(pass(value))).sum()
}

pub(crate) fn fail_0_5() -> u64 {
    #[inline(never)]
    fn pass(value: u64) -> u64 {
        fail::fail_point!("bench", |_| 0);
        black_box(value)
    }
    (0..PASSES).map(|value| black_box(pass(value))).sum()
}

pub(crate) fn fail_parallel() -> u64 {
    #[inline(never)]
    #[allow(unused_variables)]
    fn pass(registry: &Arc<fail_parallel::FailPointRegistry>, value: u64) -> u64 {
        fail_parallel::fail_point!(Arc::clone(registry), "bench", |_| 0);
        black_box(value)
    }
    (0..PASSES).map(|value| black_box(pass(&REGISTRY, value))).sum()
}

static REGISTRY: LazyLock<Arc<fail_parallel::FailPointRegistry>> =
    LazyLock::new(|| Arc::new(fail_parallel::FailPointRegistry::new()));

/// Names that are computed here make every name one that may be armed.
fn pass_computed(name: &str) {
    fail_point!(name);
}

pub(crate) fn arm_faultpoint(state: State) -> Guard {
    // The first pass of a site is not idle.
    faultpoint();
    pass_computed("other");
    if !faultpoint::has_failpoints() {
        return Box::new(());
    }
    let faults = Scenario::new();
    match state {
        State::Idle => {}
        State::Others => {
            for index in 0..100 {
                faults.arm(&format!("other_{index}"), "return").optional();
            }
        }
        State::Elsewhere => {
            faults.instance("elsewhere").arm("bench", "return").optional();
        }
        State::Here(actions) => {
            faults.arm("bench", actions).optional();
        }
    }
    Box::new(faults)
}

pub(crate) fn arm_fail(state: State) -> Guard {
    let scenario = fail::FailScenario::setup();
    match state {
        State::Idle => {}
        State::Others => {
            (0..100).for_each(|i| fail::cfg(format!("other_{i}"), "return").expect("an action"));
        }
        State::Elsewhere => unreachable!("`fail` has one scope"),
        State::Here(actions) => fail::cfg("bench", actions).expect("an action"),
    }
    Box::new(scenario)
}

pub(crate) fn arm_fail_parallel(state: State) -> Guard {
    let arm = |registry: &Arc<fail_parallel::FailPointRegistry>, name: String, actions| {
        fail_parallel::cfg(Arc::clone(registry), name, actions).expect("an action");
    };
    let elsewhere = Arc::new(fail_parallel::FailPointRegistry::new());
    match state {
        State::Idle => {
            LazyLock::force(&REGISTRY);
        }
        State::Others => (0..100).for_each(|i| arm(&REGISTRY, format!("other_{i}"), "return")),
        State::Elsewhere => arm(&elsewhere, "bench".to_owned(), "return"),
        State::Here(actions) => arm(&REGISTRY, "bench".to_owned(), actions),
    }
    Box::new(ClearRegistry(elsewhere))
}

/// Leaves the registry as it was.
struct ClearRegistry(#[allow(dead_code)] Arc<fail_parallel::FailPointRegistry>);

impl Drop for ClearRegistry {
    fn drop(&mut self) {
        for (name, _) in fail_parallel::list(Arc::clone(&REGISTRY)) {
            fail_parallel::remove(Arc::clone(&REGISTRY), name);
        }
    }
}
