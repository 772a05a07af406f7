//! Why a request came to nothing.

use std::fmt;

use crate::error::Error;

/// Why a request came to nothing, with the mend.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The request was wrong, or the process would not do it: an unknown name, malformed actions.
    Refused(Error),
    /// What was waited for did not come in time.
    Late(Error),
    /// The process gave no answer, or none that makes sense; whether it did what was asked is not known.
    NoAnswer(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Refused(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Refused(error) | Failure::Late(error) | Failure::NoAnswer(error)) = self;
        error.fmt(f)
    }
}

impl std::error::Error for Failure {}
