use std::fmt;

/// What was wrong with a text or a request, where, and how to mend it. One line.
///
/// Opaque on purpose: the message is for people. Faults that a fail point injects never come as
/// this type, they are whatever the code under test would have met (an [`std::io::Error`], say).
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    message: Box<str>,
}

impl Error {
    /// Line breaks and other control characters, from a text that is quoted, are escaped.
    pub(crate) fn new(message: impl AsRef<str>) -> Error {
        Error { message: one_line(message.as_ref()).into_boxed_str() }
    }
}

/// The text with its control characters escaped.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// The value, or a panic with the error at the caller's line: a test that is mistaken.
#[track_caller]
pub(crate) fn or_panic<T>(result: Result<T, Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The same prose as `Display`, so that `unwrap()` prints a sentence.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
