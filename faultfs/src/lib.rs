//! A faulty filesystem, the disks that a power cut may leave, and the proof that a storage engine
//! survives them.
//!
//! ```no_run
//! use faultfs::verdict::Broken;
//!
//! // In a test: `#[test] fn a_saved_file_survives_any_power_cut() { … }`
//! faultfs::explore(|fs| {
//!     fs.write("new", "value")?;
//!     fs.open("new")?.sync_all()?;
//!     fs.rename("new", "file")?;
//!     fs.sync_dir(".")?;
//!     fs.ack(1);
//!     Ok(())
//! })
//! .check(|fs, marks| match fs.read("file") {
//!     Ok(found) if found == b"value" => Ok(()),
//!     _ if marks.acked.is_empty() => Ok(()),
//!     found => Err(Broken::lost(format!("acknowledged, and then {found:?}"))),
//! });
//! ```
//!
//! # How it works
//!
//! ```text
//! workload ──► door ──► Trace ──► Model ──► crash states ──► check ──► Report
//! ```
//!
//! A *door* sees what the engine asks for: [`FaultFs`] for engines written against it, the package
//! `faultfs-interpose` for all others. It tells the [`recorder`]; the [`trace`] holds the ops with their
//! start and end, and the workload's marks. The [`model`] says what a crash may lose under a
//! [`Profile`]; [`explore`](mod@explore) lists every distinct disk within a stated bound, has each
//! checked in a [`worker`] process, and writes the [`report`].
//!
//! An op that has started and not ended may have happened, in part; a sync covers only what had ended
//! before it started, and counts only for crashes after it ended. Marks make nothing durable: they tell
//! the oracle what was asked for and what was promised.
//!
//! # How to read a failure
//!
//! It names the crash point, what was lost or torn (which bytes of which file, asked for where), and the
//! rule of the profile that allowed it. `torn` pages list the sectors that arrived. The last line replays
//! the state: paste it.
//!
//! # Limits
//!
//! One schedule is explored, the one that was recorded. What a door sees and cannot model makes the run
//! [`NotMeasured`](verdict::Verdict::NotMeasured), never a pass. Owners, times and extended attributes are
//! not modelled. Linux only.

#![forbid(unsafe_code)]

#[cfg(feature = "faults")]
pub mod crash;
#[cfg(feature = "faults")]
pub mod device;
#[cfg(feature = "faults")]
pub mod disk;
#[cfg(feature = "faults")]
pub mod errno;
#[cfg(feature = "faults")]
mod error;
#[cfg(feature = "faults")]
pub mod explore;
#[cfg(feature = "faults")]
pub mod fault;
#[cfg(feature = "faults")]
pub mod file;
#[cfg(feature = "faults")]
pub mod folder;
#[cfg(feature = "faults")]
pub mod fs;
#[cfg(feature = "faults")]
mod injector;
#[cfg(feature = "faults")]
pub mod model;
#[cfg(feature = "faults")]
pub mod op;
#[cfg(feature = "faults")]
pub mod oracle;
#[cfg(feature = "faults")]
pub mod plan;
#[cfg(feature = "faults")]
pub mod points;
#[cfg(feature = "faults")]
pub mod reads;
#[cfg(feature = "faults")]
pub mod recorder;
#[cfg(feature = "faults")]
pub mod report;
#[cfg(feature = "faults")]
pub mod session;
#[cfg(feature = "faults")]
pub mod summary;
#[cfg(feature = "faults")]
pub mod sweep;
#[cfg(feature = "faults")]
pub mod trace;
#[cfg(feature = "faults")]
pub mod verdict;
#[cfg(feature = "faults")]
pub mod worker;

#[cfg(not(feature = "faults"))]
#[path = "off.rs"]
pub mod fs;
#[cfg(not(feature = "faults"))]
pub use fs::{FaultFile, FaultMap, Injector};

#[cfg(feature = "faults")]
pub use error::{Error, Result};
#[cfg(feature = "faults")]
pub use explore::explore;
#[cfg(feature = "faults")]
pub use fs::{FaultFile, FaultFs, FaultIter, FaultMap};
#[cfg(feature = "faults")]
pub use injector::{Call, Injection, Injector, Reach, Seen};
#[cfg(feature = "faults")]
pub use model::Profile;
#[cfg(feature = "faults")]
pub use sweep::sweep;
