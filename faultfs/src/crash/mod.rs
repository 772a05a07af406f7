//! The disks that a crash may leave: which are looked at, how each is named, how it is built.

mod bound;
mod bounded;
#[cfg(test)]
mod brute;
mod build;
#[cfg(any(test, feature = "litmus"))]
mod complete;
#[cfg(test)]
mod drawn;
mod id;
mod image;
#[cfg(test)]
mod limits;
#[cfg(any(test, feature = "litmus"))]
#[cfg_attr(not(test), expect(dead_code, reason = "what is expected is compared by the tests"))]
pub mod litmus;
mod mixed;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod reference;
mod sample;
mod shrink;
mod states;
mod tape;
mod ways;
mod window;
#[cfg(test)]
mod within;

pub use bound::Bound;
pub(crate) use bounded::Level;
pub(crate) use image::uncrashed;
pub use image::{CrashImage, Loss};
pub(crate) use states::{Builder, Covered, Listing, State};
pub use tape::Token;
pub(crate) use tape::{Choice, Tape};
