//! The disks that a crash may leave: which are looked at, how each is named, how it is built.

mod bounded;
mod build;
#[cfg(test)]
mod complete;
mod image;
#[cfg(test)]
mod litmus;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod reference;
mod states;
mod tape;

pub(crate) use bounded::BOUND;
pub(crate) use image::uncrashed;
pub use image::{CrashImage, Loss};
pub(crate) use states::{Builder, Listing, State};
pub use tape::Token;
pub(crate) use tape::{Choice, Tape};
