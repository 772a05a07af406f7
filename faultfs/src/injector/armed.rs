//! When a rule fires.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use fastrand::Rng;

use super::Call;
use crate::fault::Fault;
use crate::op::SECTOR;
use crate::plan::{OpKind, Rule};

/// A rule with what it has seen.
pub(super) struct Armed {
    pub(super) rule: Rule,
    pub(super) text: Arc<str>,
    count: Count,
    /// The counts of a rule that counts for each path.
    per_file: BTreeMap<PathBuf, Count>,
    /// Draws for a rule that fires sometimes.
    rng: Rng,
    /// All calls so far.
    calls: u64,
    /// Calls that it has faulted.
    pub(super) fired: u64,
    /// False once it was disarmed: it no longer counts.
    pub(super) on: bool,
    /// False until the fail point was passed after which it begins.
    begun: bool,
    /// Sectors of a latent error that have been written since, by path.
    healed: BTreeMap<PathBuf, Healed>,
}

/// Sectors that can be read again.
struct Healed {
    sectors: BTreeSet<u64>,
    /// All from this one on.
    from: u64,
}

#[derive(Clone, Copy, Default)]
struct Count {
    /// Matching calls so far.
    seen: u64,
    /// How many of them were to be faulted, by this rule or one before it.
    due: u64,
}

impl Armed {
    pub(super) fn new(rule: &Rule) -> Armed {
        Armed {
            text: rule.to_string().into(),
            rule: rule.clone(),
            count: Count::default(),
            per_file: BTreeMap::new(),
            rng: Rng::with_seed(rule.sometimes().map_or(0, |ratio| ratio.seed)),
            calls: 0,
            fired: 0,
            on: true,
            begun: rule.after_point().is_none(),
            healed: BTreeMap::new(),
        }
    }

    /// Counts a call; true where it is one to fault.
    pub(super) fn is_due(&mut self, call: &Call<'_>) -> bool {
        let calls = self.calls;
        self.calls += 1;
        if !self.on || !self.begun || !self.rule.matches(call, calls) || self.is_healed(call) {
            return false;
        }
        let own = self.rule.is_per_file().then(|| self.per_file.entry(call.path.into()));
        let Count { seen, due } = own.map_or(&mut self.count, |entry| entry.or_default());
        let is_due = self.rule.is_due(*seen, *due)
            && self
                .rule
                .sometimes()
                .is_none_or(|ratio| self.rng.u32(0..ratio.denominator) < ratio.numerator);
        *seen += 1;
        *due += u64::from(is_due);
        is_due
    }

    /// True for a read of sectors that were bad, and have all been written since.
    fn is_healed(&self, call: &Call<'_>) -> bool {
        let Fault::Latent { first, end, .. } = self.rule.fault() else { return false };
        let (Some(healed), Some(offset)) = (self.healed.get(call.path), call.offset) else {
            return false;
        };
        let read = offset.max(first / SECTOR * SECTOR)
            ..offset.saturating_add(call.len).min(end.next_multiple_of(SECTOR));
        let mut sectors = read.start / SECTOR..read.end.div_ceil(SECTOR);
        sectors.all(|sector| sector >= healed.from || healed.sectors.contains(&sector))
    }

    /// A call that nothing goes wrong with: what it writes can be read again.
    pub(super) fn heal(&mut self, call: &Call<'_>) {
        if !matches!(self.rule.fault(), Fault::Latent { .. }) {
            return;
        }
        let path = if call.kind == OpKind::Rename { call.other } else { Some(call.path) };
        let Some(path) = path else { return };
        let new = || Healed { sectors: BTreeSet::new(), from: u64::MAX };
        let healed = self.healed.entry(path.into()).or_insert_with(new);
        match (call.kind, call.offset) {
            (OpKind::Write, Some(offset)) => {
                let end = offset.saturating_add(call.len) / SECTOR;
                healed.sectors.extend(offset.div_ceil(SECTOR)..end);
            }
            (OpKind::SetLen, _) => healed.from = healed.from.min(call.len.div_ceil(SECTOR)),
            (OpKind::Create | OpKind::Rename, _) => healed.from = 0,
            _ => {}
        }
    }

    /// A fail point was passed.
    pub(super) fn hear(&mut self, point: &str) {
        self.begun |= self.rule.after_point() == Some(point);
    }

    /// Why it never fired.
    pub(super) fn shortcoming(&self) -> String {
        let (rule, seen) = (&self.text, self.seen());
        match self.rule.after_point() {
            Some(point) if !self.begun => format!(
                "`{rule}` was armed but never reached (fail point `{point}` was not passed since)"
            ),
            _ => format!("`{rule}` was armed but never reached (it matched {seen} calls)"),
        }
    }

    /// Calls that have matched.
    fn seen(&self) -> u64 {
        self.count.seen + self.per_file.values().map(|count| count.seen).sum::<u64>()
    }
}
