//! What is done in one run of a sweep, and the token that names it.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::crash::Token as StateToken;
use crate::disk::{Body, Disk};
use crate::explore::Faults;
use crate::model::Profile;
use crate::op::Ino;
use crate::{Error, Result};

/// One run of a sweep. As text it is the text of [`Faults`], or `rot log bit 4099 in TOKEN`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Case {
    /// The workload runs while these go wrong.
    Faults(Faults),
    /// A recovery from a disk that rots.
    Rot(Rot),
}

/// Data that has gone bad on the medium.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Rot {
    /// The file, as a path from the root.
    pub(crate) path: String,
    pub(crate) what: Rotten,
    /// The disk on which it lies.
    pub(crate) state: StateToken,
}

/// What of a file has gone bad.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Rotten {
    /// This bit, counted from the start of the file.
    Bit(u64),
    /// Every bit of these bytes.
    Bytes(Range<u64>),
}

impl Rot {
    /// Lets the disk rot; `None` where it has no such file, or the file no such bytes.
    pub(crate) fn apply(&self, disk: &mut Disk) -> Option<()> {
        let ino = files(disk).into_iter().find(|(path, _)| *path == self.path)?.1;
        let content = disk.content(ino)?;
        let (start, mask) = match &self.what {
            Rotten::Bit(bit) => (bit / 8, 1 << (bit % 8)),
            Rotten::Bytes(bytes) => (bytes.start, u8::MAX),
        };
        let end = match &self.what {
            Rotten::Bit(_) => start + 1,
            Rotten::Bytes(bytes) => bytes.end,
        };
        if end > content.len() {
            return None;
        }
        let mut data = vec![0; (end - start) as usize];
        content.read_at(&mut data, start);
        data.iter_mut().for_each(|byte| *byte ^= mask);
        disk.write_at(ino, &data, start);
        Some(())
    }
}

/// The regular files of a disk by path, each once; those whose path is no text are left out.
pub(crate) fn files(disk: &Disk) -> Vec<(String, Ino)> {
    let mut files: Vec<(String, Ino)> = Vec::new();
    for (path, ino) in disk.walk() {
        let is_file = disk.get(ino).is_some_and(|inode| matches!(inode.body, Body::File(_)));
        if let (true, Ok(path)) = (is_file, String::from_utf8(path))
            && !files.iter().any(|(_, known)| *known == ino)
        {
            files.push((path, ino));
        }
    }
    files
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Case::Faults(faults) => faults.fmt(f),
            Case::Rot(Rot { path, what: Rotten::Bit(bit), state }) => {
                write!(f, "rot {path} bit {bit} in {state}")
            }
            Case::Rot(Rot { path, what: Rotten::Bytes(bytes), state }) => {
                write!(f, "rot {path} bytes {}..{} in {state}", bytes.start, bytes.end)
            }
        }
    }
}

impl FromStr for Case {
    type Err = Error;

    fn from_str(text: &str) -> Result<Case> {
        match text.strip_prefix("rot ") {
            None => text.parse().map(Case::Faults),
            Some(rest) => rot(rest).map(Case::Rot).ok_or_else(|| {
                Error::new(format!(
                    "`{text}` names no rotten data; it looks like `rot db/log bit 4099 in \
                     9f3a2c71d0e45b68-posix-41-k`"
                ))
            }),
        }
    }
}

/// A path may hold anything, so the ends are cut off first.
fn rot(text: &str) -> Option<Rot> {
    let (rest, state) = text.rsplit_once(" in ")?;
    let (rest, number) = rest.rsplit_once(' ')?;
    let (path, unit) = rest.rsplit_once(' ')?;
    let what = match unit {
        "bit" => Rotten::Bit(number.parse().ok()?),
        "bytes" => {
            let (start, end) = number.split_once("..")?;
            let bytes: Range<u64> = start.parse().ok()?..end.parse().ok()?;
            (!bytes.is_empty()).then_some(Rotten::Bytes(bytes))?
        }
        _ => return None,
    };
    Some(Rot { path: path.into(), what, state: state.parse().ok()? })
}

/// Names one run of a sweep: the run without faults that it was swept from, what goes wrong, and, where
/// the failure shows after a crash, the disk.
///
/// ```
/// use faultfs::sweep::Token;
///
/// let text = "9f3a2c71d0e45b68: sync db/1.wal skip 2 take 1 -> fail EIO \
///             then 0c1d2e3f40516273-posix-41-m17";
/// let token: Token = text.parse()?;
/// assert_eq!(token.to_string(), text);
/// # Ok::<(), faultfs::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// The first 16 hexadecimal digits of the hash of the trace without faults.
    pub trace: String,
    pub(crate) case: Case,
    /// The disk, in the trace of the run with the faults.
    pub(crate) state: Option<StateToken>,
}

impl Token {
    /// The profile that the disk is of, where there is one.
    pub fn profile(&self) -> Option<Profile> {
        self.state.as_ref().map(StateToken::profile)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.trace, self.case)?;
        self.state.as_ref().map_or(Ok(()), |state| write!(f, " then {state}"))
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Token> {
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let (trace, rest) = text
            .split_once(": ")
            .filter(|(trace, _)| trace.len() == 16 && trace.chars().all(is_hex))
            .ok_or_else(|| {
                Error::new(format!(
                    "`{text}` is no token of a sweep; copy it whole from a report, it looks like \
                     `9f3a2c71d0e45b68: sync log take 1 -> fail EIO`"
                ))
            })?;
        let with_state = rest.rsplit_once(" then ").and_then(|(case, state)| {
            let state: StateToken = state.parse().ok()?;
            Some((case, state))
        });
        let (case, state) = match with_state {
            Some((case, state)) => (case, Some(state)),
            None => (rest, None),
        };
        Ok(Token { trace: trace.into(), case: case.parse()?, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Kind, Op, Slot};

    const STATE: &str = "9f3a2c71d0e45b68-posix-41-k";

    #[test]
    fn what_a_token_prints_parses_back() {
        for case in [
            "sync db/1.wal skip 2 take 1 -> fail EIO".to_string(),
            "any * skip 7 -> fail EIO".to_string(),
            "disk 8192 bytes".to_string(),
            format!("rot log bit 4099 in {STATE}"),
            format!("rot a in b bit 3 bytes 512..1024 in {STATE}"),
        ] {
            for text in [
                format!("0011223344556677: {case}"),
                format!("0011223344556677: {case} then {STATE}"),
            ] {
                assert_eq!(text.parse::<Token>().unwrap().to_string(), text);
            }
        }
    }

    #[test]
    fn a_bad_token_is_refused_with_the_way_out() {
        for (text, reason) in [
            ("sync log -> fail EIO", "copy it whole from a report"),
            ("0011: sync log -> fail EIO", "copy it whole from a report"),
            ("0011223344556677: snyc log -> fail EIO", "unknown op `snyc`"),
            ("0011223344556677: rot log bit x in y", "it looks like `rot db/log bit 4099"),
            ("0011223344556677: rot log bytes 5..5 in 9f3a2c71d0e45b68-posix-41-k", "looks like"),
        ] {
            let error = text.parse::<Token>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn rot_changes_what_it_names_and_nothing_else() {
        let mut disk = Disk::new();
        let ino = disk.fresh_ino();
        let slot = Slot::new(Ino::ROOT, "log");
        disk.apply(&Op::Create { slot, ino, kind: Kind::File, mode: 0o644 });
        disk.write_at(ino, &[7; 100], 0);
        let rot = |what, disk: &Disk| {
            let mut disk = disk.clone();
            let rot = Rot { path: "log".into(), what, state: STATE.parse().unwrap() };
            rot.apply(&mut disk).map(|()| disk.content(ino).unwrap().to_vec())
        };
        let mut bit = vec![7; 100];
        bit[99] ^= 0x80;
        assert_eq!(rot(Rotten::Bit(99 * 8 + 7), &disk), Some(bit));
        let mut bytes = vec![7; 100];
        bytes[3..5].fill(!7);
        assert_eq!(rot(Rotten::Bytes(3..5), &disk), Some(bytes));
        assert_eq!(rot(Rotten::Bytes(99..101), &disk), None);
        assert_eq!(rot(Rotten::Bit(800), &disk), None);
    }
}
