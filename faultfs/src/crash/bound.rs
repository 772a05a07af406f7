//! How far an exploration goes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The bound of an exploration; the report states what was covered of it.
///
/// Levels are listed one after the other: nothing lost, everything unsynced lost, one omission, an op's tail
/// or all of one inode lost, one torn page, two omissions, two omissions or torn pages, and so on. A level
/// that does not fit into what the samples and the levels before it leave of the budget gets half of that,
/// the last level all of it; of it as many crash points as fit are covered whole: first those after an
/// acknowledgement, then the starts and ends of syncs. What is left then goes to the levels that are not
/// whole, in their order. Then as many states as are asked for are drawn of all that the profile allows.
///
/// ```
/// let mut bound = faultfs::explore::Bound::default();
/// bound.omissions = 3;
/// bound.budget = 50_000;
/// assert_eq!(bound.steps(), (50_000 - 200) * 20_000);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Bound {
    /// How many omissions or torn pages a state of the complete part has at most. What stands on something
    /// that is lost goes with it and does not count.
    pub omissions: u32,
    /// States that are drawn beyond, with any number of omissions and torn pages; fewer where there are
    /// no more.
    pub samples: u64,
    /// What the samples are drawn with. The same seed draws the same states.
    pub seed: u64,
    /// States that are checked at most, samples included.
    pub budget: u64,
    /// How long a level is searched for states that differ, in steps for each state of the budget, samples
    /// not included. A step is a micro-op of a loss that is looked at, or a torn or stale page in its place;
    /// a million of them take some hundredths of a second. What the search does not come to is reported as not
    /// covered, and is the same on every machine.
    pub effort: u64,
    /// How many states that lose alike are waited for where they hang: the others that lose the same, and more,
    /// are left out, and the run is not measured. After eight times as many hangs of all kinds whatever is left is.
    pub hangs: u32,
    /// How long checking may take under one profile. What it leaves out depends on the machine: such a
    /// report is marked, cannot be compared with another, and cannot be merged.
    pub time: Option<Duration>,
}

impl Default for Bound {
    /// Two omissions and 200 samples, in 1,500 states, 20,000 steps for each, 3 hangs of a kind,
    /// without a limit of time.
    fn default() -> Self {
        let (budget, effort, hangs) = (1_500, 20_000, 3);
        Bound { omissions: 2, samples: 200, seed: 0, budget, effort, hangs, time: None }
    }
}

impl Bound {
    /// States that are left for the levels.
    pub(crate) fn room(&self) -> u64 {
        self.budget.saturating_sub(self.samples)
    }

    /// Steps after which the search of a level ends.
    pub fn steps(&self) -> u64 {
        self.room().saturating_mul(self.effort)
    }

    /// What is looked at after each of many faults, and in each of many recoveries: one omission or torn page, in 300 states.
    pub(crate) fn after_fault() -> Bound {
        Bound { omissions: 1, samples: 0, budget: 300, ..Bound::default() }
    }
}
