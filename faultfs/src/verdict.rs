//! What became of one recovery: held, or one of nine ways to fail; and what a check says when it finds
//! one of them.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The outcome of checking one crash state, or of a whole run: the worst of its states.
///
/// Ordered worst first, so that the worst of several is the smallest: see [`Verdict::worst`].
/// [`Display`](fmt::Display) and [`FromStr`] use the words of the reports (`out-of-memory`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The engine gave back something that nobody had asked it to keep.
    Corrupt,
    /// Something that was acknowledged is gone.
    Lost,
    /// The engine refused to open the disk, or failed with an error of its own.
    Unopenable,
    /// The process died of a bus error or a segmentation fault.
    Faulted,
    /// The process died by `abort`, an exit in the middle of a check, or another signal.
    Aborted,
    /// A panic.
    Panicked,
    /// The memory limit was exhausted.
    OutOfMemory,
    /// No answer within the time limit: the one verdict that a clock decides.
    Hung,
    /// Nothing can be said: something was not seen, or did not repeat. Never a pass.
    NotMeasured,
    /// Everything that was promised is there, and nothing else.
    Held,
}

/// Every verdict with its word, worst first.
const WORDS: [(Verdict, &str); 10] = [
    (Verdict::Corrupt, "corrupt"),
    (Verdict::Lost, "lost"),
    (Verdict::Unopenable, "unopenable"),
    (Verdict::Faulted, "faulted"),
    (Verdict::Aborted, "aborted"),
    (Verdict::Panicked, "panicked"),
    (Verdict::OutOfMemory, "out-of-memory"),
    (Verdict::Hung, "hung"),
    (Verdict::NotMeasured, "not-measured"),
    (Verdict::Held, "held"),
];

impl Verdict {
    /// The worst of `verdicts`; [`Verdict::NotMeasured`] where there are none, since nothing was seen.
    pub fn worst(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        verdicts.into_iter().min().unwrap_or(Verdict::NotMeasured)
    }

    /// The word of the reports.
    pub fn word(self) -> &'static str {
        WORDS[self as usize].1
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Verdict {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = WORDS.iter().find(|(_, word)| *word == text);
        known.map(|&(verdict, _)| verdict).ok_or_else(|| {
            let words = WORDS.map(|(_, word)| word).join(", ");
            Error::new(format!("{text:?} is not a verdict; the verdicts are {words}"))
        })
    }
}

/// What a check returns when the engine did not keep its promise.
///
/// Any error turns into an unopenable one by `?`, so that a check reads like ordinary code; what only
/// the oracle can know is said with [`Broken::lost`] and [`Broken::corrupt`]. Deliberately not an
/// [`Error`](StdError) itself.
///
/// ```
/// use faultfs::verdict::{Broken, Verdict};
///
/// fn check(found: &str, acked: u64) -> Result<(), Broken> {
///     let count: u64 = found.parse()?;
///     if count < acked {
///         return Err(Broken::lost(format!("{acked} acknowledged, {count} found")));
///     }
///     Ok(())
/// }
///
/// assert_eq!(check("x", 2).unwrap_err().verdict(), Verdict::Unopenable);
/// assert_eq!(check("1", 2).unwrap_err().to_string(), "lost: 2 acknowledged, 1 found");
/// assert!(check("2", 2).is_ok());
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    verdict: Verdict,
    message: String,
    output: String,
}

impl Broken {
    /// Something acknowledged is gone.
    pub fn lost(message: impl Into<String>) -> Self {
        Broken::new(Verdict::Lost, message)
    }

    /// Something is there that nobody had asked for, or a value is wrong.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Broken::new(Verdict::Corrupt, message)
    }

    /// The engine does not come up on this disk.
    pub fn unopenable(message: impl Into<String>) -> Self {
        Broken::new(Verdict::Unopenable, message)
    }

    /// Nothing can be said of this disk, for a reason that lies in the check's surroundings.
    pub fn not_measured(message: impl Into<String>) -> Self {
        Broken::new(Verdict::NotMeasured, message)
    }

    /// Any verdict but held: what the explorer and the workers find out by themselves.
    pub(crate) fn new(verdict: Verdict, message: impl Into<String>) -> Self {
        assert_ne!(verdict, Verdict::Held, "a promise that held is not broken");
        Broken { verdict, message: message.into(), output: String::new() }
    }

    /// Adds what the process had last written to its standard error.
    pub(crate) fn with_output(mut self, output: impl Into<String>) -> Self {
        self.output = output.into();
        self
    }

    /// The same without the worker's own folder in its words, so that they do not depend on the worker.
    pub(crate) fn without_folder(mut self, folder: &Path) -> Self {
        if let Some(folder) = folder.to_str() {
            self.message = self.message.replace(folder, "…");
        }
        self
    }

    /// Which of the ways to fail it is; never [`Verdict::Held`].
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What is wrong, in words. Depends on the state alone, for a check that does.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The last lines that a process which died had written to its standard error, in earlier checks too;
    /// empty otherwise. Not the same from run to run, and so for people only.
    pub fn output(&self) -> &str {
        &self.output
    }
}

impl<E: StdError> From<E> for Broken {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Many errors repeat their cause in their own text.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Broken::unopenable(message)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.verdict, self.message)
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip_and_stand_worst_first() {
        for (index, &(verdict, word)) in WORDS.iter().enumerate() {
            assert_eq!(verdict as usize, index);
            assert_eq!(verdict.to_string(), word);
            assert_eq!(word.parse::<Verdict>().unwrap(), verdict);
        }
        assert!(WORDS.is_sorted());
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_known_ones() {
        let error = "Held".parse::<Verdict>().unwrap_err().to_string();
        assert!(error.starts_with("\"Held\" is not a verdict"), "{error}");
        assert!(error.contains("out-of-memory, hung"), "{error}");
    }

    #[test]
    fn the_worst_of_nothing_is_not_a_pass() {
        assert_eq!(Verdict::worst([]), Verdict::NotMeasured);
        assert_eq!(Verdict::worst([Verdict::Held, Verdict::Hung, Verdict::Lost]), Verdict::Lost);
        assert_eq!(Verdict::worst([Verdict::Held, Verdict::Held]), Verdict::Held);
    }

    #[test]
    fn an_error_becomes_unopenable_with_its_causes() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("header")
            }
        }
        impl StdError for Outer {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
        let broken = Broken::from(Outer("x".parse::<u8>().unwrap_err()));
        assert_eq!(broken.to_string(), "unopenable: header: invalid digit found in string");
    }
}
