//! A crash state in one word, to be looked at again.

use std::fmt;
use std::str::FromStr;

use crate::crash::Cut;
use crate::schedule::Schedule;

/// A disk that a kernel left: `SYSTEM/PROGRAM/SCHEDULE/CUT@SHAPE`. The kernel writes what it writes: the last
/// part tells whether it has written the same blocks in the same order again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) system: String,
    pub(crate) program: String,
    pub(crate) schedule: Schedule,
    pub(crate) cut: Cut,
    pub(crate) shape: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Token { system, program, schedule, cut, shape } = self;
        write!(f, "{system}/{program}/{schedule}/{cut}@{shape:016x}")
    }
}

impl FromStr for Token {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no SYSTEM/PROGRAM/SCHEDULE/CUT@SHAPE");
        let (rest, shape) = text.rsplit_once('@').ok_or_else(bad)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let [system, program, schedule, cut] = parts[..] else { return Err(bad()) };
        Ok(Token {
            system: system.into(),
            program: program.into(),
            schedule: schedule.parse()?,
            cut: cut.parse()?,
            shape: u64::from_str_radix(shape, 16).map_err(|_| bad())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_parse_as_they_print() {
        let text = "ext4/p07_rename/1:data2,2:commit/3.0-4+6t2@00000000deadbeef";
        assert_eq!(text.parse::<Token>().unwrap().to_string(), text);
        for bad in ["", "ext4/p07/-/1.", "ext4/p07/1.@0", "ext4/p07/-/1.@x"] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }
}
