//! How the tool ends: exit codes, part of its interface, and what it prints.

use std::fmt;
use std::io::{ErrorKind, Write};

/// Every run ended as expected.
pub(crate) const OK: u8 = 0;
/// A failure that was not expected, or an expected one that was not found; what was waited for did not
/// come.
pub(crate) const FAILURE: u8 = 1;
/// Bad usage: an unknown target, configuration, profile, token, socket, fail point or option (clap's own
/// code, too).
pub(crate) const USAGE: u8 = 2;
/// A run, or a part of it, was not measured; a process gave no answer.
pub(crate) const NOT_MEASURED: u8 = 3;
/// The tool itself failed: no memory, no space, a bug.
pub(crate) const INTERNAL: u8 = 4;
/// Ended by Ctrl-C or SIGTERM; what was found so far has been printed.
pub(crate) const INTERRUPTED: u8 = 130;

/// Printed by `--help`.
pub(crate) const HELP: &str = "Exit codes:
  0    every run ended as expected
  1    a failure was found, or an expected one was not; `points wait`: it did not come
  2    bad usage
  3    not measured; `points`: the process gave no answer
  4    the tool itself failed
  130  interrupted; the report says what was covered";

/// Why a command could not do its job.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) code: u8,
    message: String,
}

impl Trouble {
    pub(crate) fn new(code: u8, why: impl fmt::Display) -> Trouble {
        Trouble { code, message: why.to_string() }
    }

    /// The input was wrong; the message says how to mend it.
    pub(crate) fn usage(wrong: impl fmt::Display) -> Trouble {
        Trouble::new(USAGE, wrong)
    }
}

impl From<faultfs::Error> for Trouble {
    fn from(error: faultfs::Error) -> Self {
        Trouble { code: INTERNAL, message: error.to_string() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Prints to standard output. A reader that has seen enough, as `head`, is no error.
pub(crate) fn print(text: &str) -> Result<(), Trouble> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Trouble { code: INTERNAL, message: format!("cannot print: {error}") })
        }
        _ => Ok(()),
    }
}
