//! Fail points of a running process, over a Unix socket that only its owner can open.
//!
//! The program calls `serve`; a [`Client`], on the same machine and of the same user, lists, arms,
//! counts and waits, as does `cargo faultfs points` from the shell. The feature `control` is for the
//! program; `control-client` has the client alone, and turns no fail points on. What it arms holds for
//! the whole process, as with [`cfg()`](crate::cfg()), but names and actions are checked as strictly as
//! in a [`Scenario`](crate::Scenario).
//!
#![cfg_attr(feature = "control", doc = "```")]
#![cfg_attr(not(feature = "control"), doc = "```ignore")]
//! use faultpoint::control::{self, Client, Request};
//! use faultpoint::fault_point;
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().join("control");
//! // The program.
//! fn flush() -> std::io::Result<()> {
//!     fault_point!("control_flush")
//! }
//! let server = control::serve(&folder)?;
//!
//! // Another process.
//! let mut client = Client::connect(server.socket())?;
//! client.request(&"arm\tcontrol_flush\t1*return(ENOSPC)".parse()?)?;
//! assert!(flush().is_err());
//! assert!(flush().is_ok());
//! let counts = client.request(&Request::Count { name: "control_flush".into() })?;
//! assert_eq!(counts, ["hits 2\tfires 1\tpaused 0"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The wire
//!
//! A request is one line of fields parted by tabs, at most 64 KiB: see [`Request`]. The answer is
//! `ok N` and N lines, `error` and what was wrong and how to mend it, or `late` and what did not come
//! in time. A request that is malformed or too long is answered with an error; who sends nothing for a
//! minute, or does not take an answer for five seconds, is hung up on. The program's own threads never
//! wait for a client.

mod client;
mod failure;
mod request;
#[cfg(feature = "control")]
mod server;

pub use client::Client;
pub use failure::Failure;
pub use request::{Request, What};
#[cfg(feature = "control")]
pub use server::{Server, serve};

/// The longest line in either direction, in bytes.
const LINE_MAX: u64 = 64 * 1024;
