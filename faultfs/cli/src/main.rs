//! `cargo faultfs`.
fn main() {}
