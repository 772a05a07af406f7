//! Names that are computed at run time. In a program of its own: where a site computes its name, no
//! name is known to be wrong.

#![forbid(unsafe_code)]
#![cfg(feature = "failpoints")]

use faultpoint::{FailScenario, Scenario, catalogue, cfg, fail_point};

fn pass(store: u32) -> u32 {
    fail_point!(&format!("store_{store}"));
    fail_point!(&format!("store_{store}"), |_| 1);
    fail_point!(&format!("store_{store}_condition"), store > 1, |_| 2);
    0
}

#[test]
fn a_computed_name_can_be_armed() {
    assert_eq!((pass(1), pass(2)), (0, 0));
    let process = FailScenario::setup();
    cfg("store_2", "1*off->return").unwrap();
    assert_eq!((pass(1), pass(2)), (0, 1));
    assert_eq!(faultpoint::eval("store_2", |text| text), Some(None));
    assert_eq!(faultpoint::eval("store_1", |text| text), None);
    process.teardown();

    let faults = Scenario::new();
    let armed = faults.arm("store_2_condition", "return");
    faults.arm("store_1_condition", "return").optional();
    assert_eq!((pass(1), pass(2)), (0, 2));
    assert_eq!(armed.hits(), 1);
    faults.finish();
    assert_eq!((pass(1), pass(2)), (0, 0));
    assert!(catalogue().iter().all(|site| site.name().is_none()));
}

#[test]
#[should_panic(expected = "but never reached; if that is fine, call `.optional()` on it")]
fn a_computed_name_that_never_comes_fails_the_scenario() {
    let faults = Scenario::new();
    faults.arm("store_9", "return");
    faults.finish();
}
