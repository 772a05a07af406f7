//! What goes wrong while a workload runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::fs::Capacity;
use crate::plan::Plan;
use crate::sweep::Group;

/// What goes wrong while a workload runs. The default: nothing.
///
/// As text it is the text of a plan, or `disk 8192 bytes`.
///
/// ```
/// use faultfs::explore::Faults;
///
/// let faults: Faults = "sync db/1.wal skip 2 take 1 -> fail EIO".parse()?;
/// assert_eq!(faults.plan.rules().len(), 1);
/// let full: Faults = "disk 8192 bytes".parse()?;
/// assert_eq!(full.capacity.unwrap().bytes, 8192);
/// assert_eq!(full.to_string(), "disk 8192 bytes");
/// # Ok::<(), faultfs::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Faults {
    /// The rules, armed before the workload starts.
    pub plan: Plan,
    /// How much the disk holds, where that is limited.
    pub capacity: Option<Capacity>,
    /// Every call of the run is noted: see [`Door::calls`](super::Door::calls).
    pub observe: bool,
}

impl Faults {
    /// Nothing goes wrong, and every call is noted.
    pub fn observing() -> Faults {
        Faults { observe: true, ..Faults::default() }
    }
}

/// What goes wrong during recoveries. The default: nothing.
///
/// ```
/// use faultfs::explore::RecoveryFaults;
/// use faultfs::sweep::Group;
///
/// let few = RecoveryFaults::from(8);
/// assert_eq!(few.groups, [Group::Crash, Group::Io, Group::Fsync]);
/// let more = RecoveryFaults { groups: vec![Group::NoSpace, Group::Short], ..few };
/// assert_eq!(more.recoveries, 8);
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RecoveryFaults {
    /// In how many recoveries, spread over the states that hold.
    pub recoveries: u32,
    /// Of these families: one fault a run, at every call, once and from then on for ever. Of the error numbers
    /// of a family one is tried at each call; disks that are too small, and data that rots at rest, are not.
    pub groups: Vec<Group>,
    /// In the place of the families: one run in which these are armed.
    pub plan: Option<Plan>,
    /// At how many crash points after the fault the power goes, besides the end of the recovery, where
    /// [`Group::Crash`] is among the families.
    pub crash_points: u32,
}

impl RecoveryFaults {
    /// Whether the power goes, too.
    pub(super) fn crashes(&self) -> bool {
        self.groups.contains(&Group::Crash)
    }
}

/// In words, for people.
impl fmt::Display for RecoveryFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.recoveries, &self.plan) {
            (0, _) => return f.write_str("none"),
            (_, Some(plan)) => write!(f, "{plan}")?,
            (_, None) => {
                let families: Vec<String> = self.groups.iter().map(Group::to_string).collect();
                f.write_str(&families.join(", "))?;
            }
        }
        write!(f, " in {} recoveries", self.recoveries)?;
        match self.crashes() {
            true => write!(f, ", {} crash points after each", self.crash_points),
            false => Ok(()),
        }
    }
}

/// I/O errors and failed syncs in so many recoveries, with power cuts behind them.
impl From<u32> for RecoveryFaults {
    fn from(recoveries: u32) -> RecoveryFaults {
        let groups = vec![Group::Crash, Group::Io, Group::Fsync];
        RecoveryFaults { recoveries, groups, plan: None, crash_points: CRASH_POINTS }
    }
}

/// Crash points after a fault in a recovery, unless told otherwise.
const CRASH_POINTS: u32 = 4;

impl From<Plan> for Faults {
    fn from(plan: Plan) -> Faults {
        Faults { plan, ..Faults::default() }
    }
}

/// A disk of that size, on which nothing else goes wrong.
impl From<Capacity> for Faults {
    fn from(capacity: Capacity) -> Faults {
        Faults { capacity: Some(capacity), ..Faults::default() }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.capacity {
            Some(capacity) => write!(f, "{DISK}{}{BYTES}", capacity.bytes),
            None => self.plan.fmt(f),
        }
    }
}

impl FromStr for Faults {
    type Err = Error;

    fn from_str(text: &str) -> Result<Faults, Error> {
        match text.strip_prefix(DISK) {
            None => text.parse::<Plan>().map(Faults::from),
            Some(rest) => {
                let bytes = rest.strip_suffix(BYTES).and_then(|number| number.parse().ok());
                let bytes = bytes.ok_or_else(|| {
                    Error::new(format!("`{text}` is no size of a disk; write `disk 8192 bytes`"))
                })?;
                Ok(Faults::from(Capacity { bytes, ..Capacity::UNLIMITED }))
            }
        }
    }
}

const DISK: &str = "disk ";
const BYTES: &str = " bytes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_prints_and_parses_back() {
        for text in ["", "disk 0 bytes", "sync * -> fail EIO; write a take 1 -> short 512"] {
            assert_eq!(text.parse::<Faults>().unwrap().to_string(), text);
        }
        let error = "disk full".parse::<Faults>().unwrap_err().to_string();
        assert_eq!(error, "`disk full` is no size of a disk; write `disk 8192 bytes`");
        assert!("snyc * -> fail EIO".parse::<Faults>().is_err());
    }
}
