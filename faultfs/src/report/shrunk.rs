//! Whether a counter-example loses no more than it must, as data.

use std::fmt;

use serde::Serialize;

use crate::verdict::Verdict;

/// How the state that shows a failure was made smaller, and whether it is minimal: then every one of its
/// losses was given back alone, with all else as it was and also with what was lost for its sake, and no
/// such disk fails in this way.
///
/// "In this way" is the verdict. What the check says is not asked for: messages name ids and offsets, which
/// differ where less is lost.
///
/// [`Display`](fmt::Display) is what reports say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Shrunk {
    /// Losses of the state that was found.
    pub from: u64,
    /// Losses of the state that is shown.
    pub to: u64,
    /// Disks that were checked for it, besides those that had been before.
    pub reruns: u64,
    /// How many there may be.
    pub reruns_max: u64,
    /// Why less may do: what ended the shrinking before its end. None where the state is minimal.
    pub open: Option<String>,
    /// Of the disks right below the state, the worst verdict; never the failure's own.
    pub below: Verdict,
}

impl Shrunk {
    /// True where every loss was given back alone, and none of these disks fails in this way.
    pub fn is_minimal(&self) -> bool {
        self.open.is_none()
    }
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = if self.to == 1 { "it" } else { "each of these" };
        match (&self.open, self.to, self.below) {
            (Some(why), ..) => write!(f, "not shown to be minimal: {why}")?,
            (None, 0, _) => f.write_str("minimal: the power cut alone is enough")?,
            (None, _, Verdict::Held) => {
                write!(f, "minimal: {each} was given back alone, and the engine recovered")?;
            }
            (None, _, other) => write!(
                f,
                "minimal: {each} was given back alone, and the engine failed in another way or not at \
                 all ({other})"
            )?,
        }
        let Shrunk { from, reruns, reruns_max, .. } = self;
        if self.from != self.to {
            write!(f, "; shrunk from {from} losses")?;
        }
        write!(f, " ({reruns} of at most {reruns_max} re-runs)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_shown_and_no_more() {
        let shrunk = |from, to, below, open: Option<&str>| Shrunk {
            from,
            to,
            reruns: 3,
            reruns_max: 200,
            open: open.map(String::from),
            below,
        };
        for (shrunk, words) in [
            (
                shrunk(1, 1, Verdict::Held, None),
                "minimal: it was given back alone, and the engine recovered (3 of at most 200 re-runs)",
            ),
            (
                shrunk(20, 2, Verdict::Held, None),
                "minimal: each of these was given back alone, and the engine recovered; shrunk from 20 \
                 losses (3 of at most 200 re-runs)",
            ),
            (
                shrunk(1, 1, Verdict::Corrupt, None),
                "minimal: it was given back alone, and the engine failed in another way or not at all \
                 (corrupt) (3 of at most 200 re-runs)",
            ),
            (
                shrunk(4, 0, Verdict::Held, None),
                "minimal: the power cut alone is enough; shrunk from 4 losses (3 of at most 200 re-runs)",
            ),
            (
                shrunk(4, 3, Verdict::Held, Some("interrupted")),
                "not shown to be minimal: interrupted; shrunk from 4 losses (3 of at most 200 re-runs)",
            ),
        ] {
            assert_eq!(shrunk.to_string(), words);
        }
    }
}
