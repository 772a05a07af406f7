//! The choices that lead to one disk, and their text: the replay token.

use std::fmt;
use std::str::FromStr;

use super::states::State;
use crate::model::Profile;
use crate::op::Ino;
use crate::trace::Stamp;
use crate::{Error, Result};

/// What a torn page shows where the newer version did not arrive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Older {
    /// What was durable.
    Durable,
    /// Stale bytes of the device, on a page that the file did not have before.
    Stale,
    /// The version that this micro-op made.
    Version(u32),
}

/// One thing that the crash did. Whatever needs what is lost is lost with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Choice {
    /// Everything that no sync covered is lost.
    LoseAll,
    /// One micro-op is lost.
    Lose(u32),
    /// The unsynced micro-ops between these two, and both, are lost.
    LoseRange { from: u32, to: u32 },
    /// An op is lost from its n-th micro-op on.
    LoseOp { op: usize, from: u32 },
    /// Everything unsynced of one file: data, size and mode; or all unsynced entries of a directory.
    LoseInode(Ino),
    /// A micro-op is lost, and stale bytes show where its data should be.
    Stale(u32),
    /// A page was written in part: the sectors of the mask hold the newer version, the rest the older.
    Torn { newer: u32, older: Older, sectors: u8 },
}

impl Choice {
    /// True where a page arrived in part, or stale bytes show in its place.
    pub(crate) fn spoils(&self) -> bool {
        matches!(self, Choice::Torn { .. } | Choice::Stale(_))
    }
}

/// The choices that lead to one disk at a crash point; none: everything was kept.
///
/// Printed, they are the part of a replay token behind the crash point.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Tape(pub(crate) Vec<Choice>);

/// Names one disk of one recorded run: the trace's hash, the profile, the crash point and the choices.
///
/// The choices themselves, not a seed: the same token gives the same disk on any machine.
///
/// ```
/// use faultfs::crash::Token;
/// let token: Token = "9f3a2c71d0e45b68-posix-41-m17".parse().unwrap();
/// assert_eq!(token.to_string(), "9f3a2c71d0e45b68-posix-41-m17");
/// assert!("9f3a2c71d0e45b68-posix-41".parse::<Token>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// The first 16 hexadecimal digits of the trace's hash.
    pub trace: String,
    pub(crate) profile: Profile,
    pub(crate) stamp: Stamp,
    pub(crate) tape: Tape,
}

impl Token {
    /// The state of the run that it names.
    pub(crate) fn state(&self) -> State {
        State { stamp: self.stamp, tape: self.tape.clone() }
    }

    /// The profile under which the disk is legal.
    pub fn profile(&self) -> Profile {
        self.profile
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.trace, self.profile, self.stamp, self.tape)
    }
}

impl FromStr for Token {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::new(format!(
                "`{text}` is not a replay token: {why}; copy it whole from a report, it looks like \
                 9f3a2c71d0e45b68-posix-41-m17"
            ))
        };
        // Profile names hold dashes themselves, so the ends are cut off first.
        let (trace, rest) = text.split_once('-').ok_or_else(|| wrong("there is no `-`"))?;
        let (rest, tape) = rest.rsplit_once('-').ok_or_else(|| wrong("the choices are missing"))?;
        let (profile, stamp) =
            rest.rsplit_once('-').ok_or_else(|| wrong("the crash point is missing"))?;
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if trace.len() != 16 || !trace.chars().all(hex) {
            return Err(wrong("it does not begin with the 16 hexadecimal digits of a trace"));
        }
        Ok(Token {
            trace: trace.into(),
            profile: profile.parse()?,
            stamp: stamp.parse().map_err(|_| wrong("the crash point is not a number"))?,
            tape: tape.parse().map_err(|e: String| wrong(&e))?,
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::LoseAll => f.write_str("n"),
            Choice::Lose(id) => write!(f, "m{id}"),
            Choice::LoseRange { from, to } => write!(f, "m{from}.{to}"),
            Choice::LoseOp { op, from: 0 } => write!(f, "w{op}"),
            Choice::LoseOp { op, from } => write!(f, "w{op}.{from}"),
            Choice::LoseInode(ino) => write!(f, "i{}", ino.0),
            Choice::Stale(id) => write!(f, "g{id}"),
            Choice::Torn { newer, older, sectors } => match older {
                Older::Durable => write!(f, "t{newer}.d.{sectors:02x}"),
                Older::Stale => write!(f, "t{newer}.g.{sectors:02x}"),
                Older::Version(id) => write!(f, "t{newer}.{id}.{sectors:02x}"),
            },
        }
    }
}

impl FromStr for Choice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a choice");
        let number = |s: &str| s.parse::<u32>().map_err(|_| wrong());
        let (word, rest) = text.split_at_checked(1).ok_or_else(wrong)?;
        let parts: Vec<&str> = rest.split('.').collect();
        match (word, &parts[..]) {
            ("n", [""]) => Ok(Choice::LoseAll),
            ("m", [id]) => Ok(Choice::Lose(number(id)?)),
            ("m", [from, to]) => Ok(Choice::LoseRange { from: number(from)?, to: number(to)? }),
            ("g", [id]) => Ok(Choice::Stale(number(id)?)),
            ("i", [ino]) => Ok(Choice::LoseInode(Ino(number(ino)?))),
            ("w", [op]) => Ok(Choice::LoseOp { op: number(op)? as usize, from: 0 }),
            ("w", [op, from]) => {
                Ok(Choice::LoseOp { op: number(op)? as usize, from: number(from)? })
            }
            ("t", [newer, older, sectors]) => {
                let older = match *older {
                    "d" => Older::Durable,
                    "g" => Older::Stale,
                    id => Older::Version(number(id)?),
                };
                let sectors = u8::from_str_radix(sectors, 16).map_err(|_| wrong())?;
                Ok(Choice::Torn { newer: number(newer)?, older, sectors })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("k");
        }
        for (index, choice) in self.0.iter().enumerate() {
            write!(f, "{}{choice}", if index == 0 { "" } else { "+" })?;
        }
        Ok(())
    }
}

impl FromStr for Tape {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "k" {
            return Ok(Tape::default());
        }
        text.split('+').map(Choice::from_str).collect::<Result<_, _>>().map(Tape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tape_prints_parses_back() {
        for text in [
            "k",
            "n",
            "m17",
            "m17.23",
            "g3",
            "i4",
            "w5",
            "w5.2",
            "t9.d.0f",
            "t9.g.fe",
            "t9.8.3c",
            "m1+t7.d.80",
        ] {
            assert_eq!(text.parse::<Tape>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bad_token_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "there is no `-`"),
            ("nonsense", "there is no `-`"),
            ("9f3a2c71d0e45b68-posix", "choices are missing"),
            ("9f3a2c71d0e45b68-posix-41", "crash point is missing"),
            ("9f3a2c71d0e45b6-posix-41-k", "16 hexadecimal digits"),
            ("9f3a2c71d0e45b68-posix-x-k", "crash point is not a number"),
            ("9f3a2c71d0e45b68-ntfs-41-k", "unknown profile `ntfs`"),
            ("9f3a2c71d0e45b68-posix-41-q", "`q` is not a choice"),
            ("9f3a2c71d0e45b68-posix-41-t1.2", "`t1.2` is not a choice"),
            ("9f3a2c71d0e45b68-posix-41-m1+", "`` is not a choice"),
        ] {
            let error = text.parse::<Token>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_profile_with_a_dash_in_its_name_keeps_it() {
        let token: Token = "9f3a2c71d0e45b68-data-journal-41-m1".parse().unwrap();
        assert_eq!(token.profile(), Profile::DATA_JOURNAL);
        assert_eq!(token.to_string(), "9f3a2c71d0e45b68-data-journal-41-m1");
    }
}
