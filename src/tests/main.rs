//! `faultpoint` from outside, as a crate under test and its tests use it.

// What the macros expand to must not need it.
#![forbid(unsafe_code)]
#![cfg(feature = "failpoints")]

use std::env;
use std::process::{Command, Output};

mod compatible;
mod executor;
mod passes;
mod points;
mod scenarios;
mod sweeps;

/// Runs one ignored test of this program in a process of its own, with a variable set.
fn run_child(test: &str, variable: &str, value: &str) -> Output {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", test])
        .env(variable, value)
        .output()
        .unwrap()
}
