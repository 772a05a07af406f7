//! In the place of the tracer where there is none.

use std::io;
use std::path::Path;
use std::process::ExitStatus;

use super::{Recorded, Start};

/// What goes wrong.
#[allow(dead_code, reason = "nothing is traced here")]
pub(super) struct Armed {
    pub(super) injector: faultfs::Injector,
    pub(super) observe: bool,
}

pub(super) fn watch(_: &Start) -> io::Result<ExitStatus> {
    let message = "commands are traced on Linux on x86-64 with glibc only";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

pub(super) fn record(
    start: &Start,
    _: &Path,
    _: &Path,
    _: u64,
    _: Option<Armed>,
) -> io::Result<(ExitStatus, Recorded)> {
    watch(start).map(|_| unreachable!("it is refused"))
}
