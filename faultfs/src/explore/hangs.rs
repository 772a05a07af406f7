//! A hang costs the whole time limit: of states that lose alike only so many are waited for, and the others are
//! left out and counted.
//!
//! Outcomes are looked at in the order of the states, whoever finds them first. So which states are left out
//! depends on what the others came to, and on no worker.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What tells a kind of state from others.
pub(crate) type Kind = BTreeSet<String>;

/// Which of some states, or cases, are left out.
pub(crate) struct Hangs<'a> {
    /// Those of one kind that are waited for.
    max: u32,
    kind_of: &'a dyn Fn(usize) -> Kind,
    hung: Vec<Kind>,
    left_out: &'a [AtomicBool],
}

/// The same for all kinds together, as a multiple.
const KINDS: u32 = 8;

impl<'a> Hangs<'a> {
    /// Of as many as there are flags in `left_out`, which are set for those that are not to be looked at.
    pub(crate) fn new(
        max: u32,
        left_out: &'a [AtomicBool],
        kind_of: &'a dyn Fn(usize) -> Kind,
    ) -> Self {
        Hangs { max, kind_of, hung: Vec::new(), left_out }
    }

    /// Goes on where others have hung before.
    pub(crate) fn after(mut self, hung: Vec<Kind>) -> Self {
        self.hung = hung;
        self.leave_out(0);
        self
    }

    /// What has hung so far.
    pub(crate) fn into_hung(self) -> Vec<Kind> {
        self.hung
    }

    /// Told of each in turn whether it hung; false where it is left out, and what came of it does not count.
    pub(crate) fn counts(&mut self, index: usize, has_hung: bool) -> bool {
        if self.left_out[index].load(Relaxed) {
            return false;
        }
        if has_hung {
            self.hung.push((self.kind_of)(index));
            self.leave_out(index + 1);
        }
        true
    }

    /// Flags what is known by now, from a place on.
    fn leave_out(&self, from: usize) {
        if (self.hung.len() as u64) < u64::from(self.max) {
            return;
        }
        for later in from..self.left_out.len() {
            if !self.left_out[later].load(Relaxed) && self.is_known((self.kind_of)(later)) {
                self.left_out[later].store(true, Relaxed);
            }
        }
    }

    /// Enough have hung that lost no more than this one; or enough of all kinds.
    fn is_known(&self, kind: Kind) -> bool {
        let alike = self.hung.iter().filter(|hung| hung.is_subset(&kind)).count() as u64;
        let all = self.hung.len() as u64;
        alike >= u64::from(self.max) || all >= u64::from(self.max) * u64::from(KINDS)
    }
}

/// Of recoveries with faults: how many that hang are waited for, and what has hung so far.
#[derive(Clone, Debug)]
pub struct Patience {
    max: u32,
    hung: Vec<Kind>,
}

impl Patience {
    /// So many whose faults strike alike are waited for.
    pub(super) fn new(max: u32) -> Patience {
        Patience { max, hung: Vec::new() }
    }

    /// All are waited for.
    pub(super) fn endless() -> Patience {
        Patience::new(u32::MAX)
    }

    /// Goes on where it was.
    pub(super) fn hangs<'a>(
        &mut self,
        left_out: &'a [AtomicBool],
        kind_of: &'a dyn Fn(usize) -> Kind,
    ) -> Hangs<'a> {
        Hangs::new(self.max, left_out, kind_of).after(std::mem::take(&mut self.hung))
    }

    /// What has hung meanwhile.
    pub(super) fn keep(&mut self, hangs: Hangs<'_>) {
        self.hung = hangs.into_hung();
    }
}

/// As many flags, none of which is set.
pub(crate) fn flags(count: usize) -> Vec<AtomicBool> {
    (0..count).map(|_| AtomicBool::new(false)).collect()
}

/// Why some were left out, in words.
pub(crate) fn in_words(left_out: u64, what: &str, max: u32) -> String {
    format!(
        "{left_out} {what} left out: {max} that are like each of them hung, or {} of all; a hang costs the time \
         limit each time, a greater number of `hangs` waits for more",
        u64::from(max) * u64::from(KINDS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which are left out where those hang that hold an `h`.
    fn left_out(states: &[&str], max: u32) -> Vec<usize> {
        let flags = flags(states.len());
        let kind = |index: usize| states[index].split(' ').map(String::from).collect::<Kind>();
        let mut hangs = Hangs::new(max, &flags, &kind);
        let each = 0..states.len();
        let counts: Vec<bool> = each.map(|i| hangs.counts(i, states[i].contains('h'))).collect();
        counts.iter().enumerate().filter_map(|(i, counts)| (!counts).then_some(i)).collect()
    }

    #[test]
    fn of_those_that_lose_what_has_hung_before_only_so_many_are_waited_for() {
        let states = ["h", "h", "a", "a h", "b", "h", "b h"];
        assert_eq!(left_out(&states, 2), [3, 5, 6]);
        assert_eq!(left_out(&states, 3), [6]);
        assert_eq!(left_out(&states, u32::MAX), [0; 0]);
    }

    #[test]
    fn where_all_kinds_hang_the_rest_is_left_out_whatever_it_loses() {
        let states = ["h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8", "a", "b"];
        assert_eq!(left_out(&states, 1), [8, 9]);
        assert_eq!(left_out(&states, 2), [0; 0]);
    }
}
