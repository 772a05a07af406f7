//! The one error of this crate: what was wrong with the input, and how to mend it.

use std::fmt;

/// Bad input: a profile, plan, token or trace that cannot be used. The message says how to mend it.
///
/// Faults that are injected are never of this type: they are genuine [`std::io::Error`]s.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    message: Box<str>,
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Error { message: message.into().into_boxed_str() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

// `unwrap()` in a test prints `Debug`: let it be the same prose.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
