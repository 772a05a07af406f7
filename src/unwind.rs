//! When a test panics, what it declared last is dropped first: a store, whose drop waits for its
//! threads, before the scenario that pauses them. A panic hook lets them go before the unwinding.

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::{Once, Weak};

use crate::family::Family;

thread_local! {
    /// The scenarios that this thread began.
    static OWNED: RefCell<Vec<Weak<Family>>> = const { RefCell::new(Vec::new()) };
    /// A fail point is about to panic: part of the test, not its end.
    static IS_INJECTED: Cell<bool> = const { Cell::new(false) };
}

/// From now on a panic of this thread lets go whoever pauses in `family`.
pub(crate) fn watch(family: Weak<Family>) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_INJECTED.replace(false) {
                let_go();
            }
            previous(info);
        }));
    });
    OWNED.with_borrow_mut(|owned| {
        owned.retain(|family| family.strong_count() > 0);
        owned.push(family);
    });
}

/// The panic that follows at once is a fail point's.
pub(crate) fn expect_injected() {
    IS_INJECTED.set(true);
}

fn let_go() {
    let owned = OWNED.try_with(|owned| owned.try_borrow().map(|owned| owned.clone()));
    for family in owned.into_iter().flatten().flatten().filter_map(|family| family.upgrade()) {
        family.let_go();
    }
}
