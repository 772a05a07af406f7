//! What a person asks to see again: a state, and what went wrong in the recovery from it.

use std::fmt;
use std::str::FromStr;

use super::Faults;
use crate::crash;
use crate::{Error, Result};

/// Names one recovery: the disk that it is from, and what goes wrong meanwhile, in most of them nothing.
///
/// ```
/// use faultfs::explore::Token;
///
/// let text = "9f3a2c71d0e45b68-posix-41-m17 with read db/1.wal take 1 -> fail EIO";
/// let token: Token = text.parse()?;
/// assert_eq!(token.to_string(), text);
/// assert_eq!(token.faults.plan.rules().len(), 1);
/// let state: Token = "9f3a2c71d0e45b68-posix-41-m17".parse()?;
/// assert_eq!(state, Token::from(token.state));
/// # Ok::<(), faultfs::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// The disk, in the trace that it names.
    pub state: crash::Token,
    /// What goes wrong in the recovery.
    pub faults: Faults,
}

impl Token {
    /// Whether something goes wrong in the recovery.
    pub(super) fn is_faulty(&self) -> bool {
        !self.faults.plan.rules().is_empty()
    }
}

impl From<crash::Token> for Token {
    fn from(state: crash::Token) -> Token {
        Token { state, faults: Faults::default() }
    }
}

const WITH: &str = " with ";

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)?;
        match self.is_faulty() {
            true => write!(f, "{WITH}{}", self.faults),
            false => Ok(()),
        }
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Token> {
        let Some((state, plan)) = text.split_once(WITH) else {
            return text.parse().map(|state: crash::Token| state.into());
        };
        let (state, faults): (crash::Token, Faults) = (state.parse()?, plan.parse()?);
        let token = Token { state, faults };
        match token.is_faulty() {
            true => Ok(token),
            false => Err(Error::new(format!(
                "`{text}` names no fault of a recovery; copy it whole from a report, it looks like \
                 `9f3a2c71d0e45b68-posix-41-m17 with read log take 1 -> fail EIO`"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_token_is_refused_with_the_way_out() {
        for (text, reason) in [
            ("nonsense with read log -> fail EIO", "is not a replay token"),
            ("9f3a2c71d0e45b68-posix-41-m17 with ", "names no fault of a recovery"),
            ("9f3a2c71d0e45b68-posix-41-m17 with disk 8192 bytes", "names no fault of a recovery"),
            ("9f3a2c71d0e45b68-posix-41-m17 with snyc log -> fail EIO", "unknown op `snyc`"),
        ] {
            let error = text.parse::<Token>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
