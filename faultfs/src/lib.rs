//! A faulty filesystem, the disks that a power cut may leave, and the proof that a storage engine
//! survives them.
//!
//! Data flows one way: a *door* sees what the engine asks for and tells the [`recorder`]; the [`trace`]
//! holds it; the model says what a crash may lose.

#![forbid(unsafe_code)]

pub mod crash;
pub mod disk;
pub mod errno;
mod error;
pub mod explore;
pub mod fault;
pub mod file;
pub mod folder;
pub mod fs;
mod injector;
pub mod model;
pub mod op;
pub mod plan;
pub mod recorder;
pub mod report;
pub mod session;
pub mod trace;
pub mod verdict;
pub mod worker;

pub use error::{Error, Result};
pub use explore::explore;
pub use fs::{FaultFile, FaultFs, FaultIter};
pub use injector::{Call, Injection, Injector};
pub use model::Profile;
