//! The disks that a crash may leave: which are looked at, how each is named, how it is built.

mod bounded;
mod build;
mod complete;
#[cfg(test)]
mod litmus;
mod tape;

pub use tape::Token;
