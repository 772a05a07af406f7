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
    /// An error that says what is wrong and how to mend it: for doors and tools outside this crate.
    pub fn new(message: impl Into<String>) -> Self {
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

/// The candidate nearest to `word`, where it is near enough to be a slip of the pen: at most a third
/// of the word wrong. Of equally near ones the first.
pub(crate) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    let distance =
        |candidate: &str| strsim::osa_distance(&word.to_lowercase(), &candidate.to_lowercase());
    candidates
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
