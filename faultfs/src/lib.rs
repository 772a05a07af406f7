//! A faulty filesystem, the disks that a power cut may leave, and the proof that a storage engine
//! survives them.
//!
//! Data flows one way: a *door* sees what the engine asks for and tells the [`recorder`]; the [`trace`]
//! holds it; the model says what a crash may lose.

#![forbid(unsafe_code)]

pub mod crash;
pub mod disk;
mod error;
pub mod file;
pub mod model;
pub mod op;
pub mod recorder;
pub mod session;
pub mod trace;
pub mod verdict;

pub use error::{Error, Result};
