//! The smallest fail point.
//!
//! ```sh
//! cargo run --example here --features failpoints
//! FAILPOINTS='here=panic' cargo run --example here --features failpoints
//! ```

use faultpoint::{FailScenario, fail_point};

fn main() {
    let scenario = FailScenario::setup();
    println!("I hope to survive.");
    fail_point!("here");
    println!("I survived.");
    scenario.teardown();
}
