//! Keys and values that are changed in batches: some prefix of the batches, each whole.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::{brief, missing, promised, sound};
use crate::trace::Marks;
use crate::verdict::{Broken, Verdict};

/// A change of one key: its new value, or `None` where it is removed.
type Change<K, V> = (K, Option<V>);

/// How many failed batches are tried both ways: with and without each.
const FAILED_MAX: usize = 8;

/// The oracle of a key-value engine: acknowledged ⊆ recovered ⊆ issued; recovered is what the first so many
/// batches make, not fewer than were acknowledged, and no part of a further one. This is the check of
/// RocksDB's stress test: after reopening, some prefix of the operations in order of their sequence.
///
/// ```
/// use faultfs::oracle::KeyValue;
/// use std::collections::BTreeMap;
///
/// let model = KeyValue::of(|id| vec![("sum", Some(id)), (["even", "odd"][id as usize % 2], Some(id))]);
/// let mut marks = faultfs::trace::Marks::default();
/// marks.add(faultfs::trace::Mark::Ack(1));
/// marks.add(faultfs::trace::Mark::Begin(2));
/// let found = |pairs: &[(&'static str, u64)]| pairs.iter().copied().collect::<BTreeMap<_, _>>();
/// assert!(model.check(&found(&[("sum", 1), ("odd", 1)]), &marks).is_ok());
/// assert!(model.check(&found(&[("sum", 2), ("odd", 1), ("even", 2)]), &marks).is_ok());
/// // Half a batch.
/// assert!(model.check(&found(&[("sum", 2), ("odd", 1)]), &marks).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct KeyValue<F> {
    batch: F,
}

impl<K: Ord + Clone + Debug, V: PartialEq + Clone + Debug, F: Fn(u64) -> Vec<Change<K, V>>>
    KeyValue<F>
{
    /// The oracle of an engine which the op `id` asks for the changes `batch(id)`, all or none.
    pub fn of(batch: F) -> Self {
        KeyValue { batch }
    }

    /// Compares what is in the engine after recovery with the marks of the crash.
    ///
    /// # Errors
    ///
    /// Lost where it is what fewer batches make than were acknowledged; corrupt where no prefix of the
    /// batches makes it; not measured where more than 8 batches were reported as failed.
    pub fn check(&self, recovered: &BTreeMap<K, V>, marks: &Marks) -> Result<(), Broken> {
        if marks.failed.len() > FAILED_MAX {
            let why = format!("{} batches failed, of which each may be there", marks.failed.len());
            return Err(Broken::new(Verdict::NotMeasured, why));
        }
        let ids = sound(marks);
        let needed = promised(&ids, marks);
        // What may be there after so many batches: one content, or more where some failed.
        let mut contents = vec![BTreeMap::new()];
        let (mut count, mut kept) = (0, None);
        for &id in &marks.issued {
            if !marks.failed.contains(&id) && contents.contains(recovered) {
                kept = Some(count);
            }
            let failed = marks.failed.contains(&id);
            let without = if failed { contents.clone() } else { Vec::new() };
            contents.iter_mut().for_each(|content| self.apply(content, id));
            contents.extend(without);
            count += usize::from(!failed);
        }
        if contents.contains(recovered) {
            kept = Some(count);
        }
        match kept {
            Some(kept) if kept >= needed => Ok(()),
            Some(kept) => Err(missing(&ids, kept, marks)),
            None => Err(self.difference(recovered, &ids[..needed])),
        }
    }

    fn apply(&self, content: &mut BTreeMap<K, V>, id: u64) {
        for (key, value) in (self.batch)(id) {
            match value {
                Some(value) => drop(content.insert(key, value)),
                None => drop(content.remove(&key)),
            }
        }
    }

    /// What is wrong, against the least that was promised.
    fn difference(&self, recovered: &BTreeMap<K, V>, promised: &[u64]) -> Broken {
        let mut content = BTreeMap::new();
        promised.iter().for_each(|id| self.apply(&mut content, *id));
        let keys = content.keys().chain(recovered.keys());
        let differs = |key: &&K| content.get(*key) != recovered.get(*key);
        let first = keys.filter(differs).min().expect("no prefix is no promised prefix either");
        Broken::corrupt(format!(
            "no prefix of the batches: after what was acknowledged {} was {}, it is {}",
            brief(first),
            brief(&content.get(first)),
            brief(&recovered.get(first))
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Mark;

    /// Batch `id` writes its number under two keys and removes what the batch before it wrote second.
    fn batch(id: u64) -> Vec<Change<u64, u64>> {
        vec![(id, Some(id)), (100 + id, Some(id)), (99 + id, None)]
    }

    fn content(ids: &[u64]) -> BTreeMap<u64, u64> {
        let mut content = BTreeMap::new();
        ids.iter().for_each(|id| KeyValue::of(batch).apply(&mut content, *id));
        content
    }

    fn said(recovered: &BTreeMap<u64, u64>, marks: &[Mark]) -> String {
        let mut all = Marks::default();
        marks.iter().for_each(|mark| all.add(*mark));
        let found = KeyValue::of(batch).check(recovered, &all);
        found.map_or_else(|broken| broken.to_string(), |()| "held".into())
    }

    #[test]
    fn a_prefix_with_all_that_was_acknowledged_holds_and_nothing_else() {
        let marks = [Mark::Ack(1), Mark::Ack(2), Mark::Begin(3)];
        assert_eq!(said(&content(&[1, 2]), &marks), "held");
        assert_eq!(said(&content(&[1, 2, 3]), &marks), "held");
        assert_eq!(said(&content(&[1]), &marks), "lost: 2 was acknowledged and is gone");
        assert!(said(&content(&[2]), &marks).starts_with("corrupt: no prefix"));
        let mut half = content(&[1, 2]);
        half.insert(3, 3);
        assert!(
            said(&half, &marks).contains("3 was None, it is Some(3)"),
            "{}",
            said(&half, &marks)
        );
    }

    #[test]
    fn a_failed_batch_may_be_there_or_not() {
        let marks = [Mark::Ack(1), Mark::Failed(2), Mark::Ack(3)];
        assert_eq!(said(&content(&[1, 3]), &marks), "held");
        assert_eq!(said(&content(&[1, 2, 3]), &marks), "held");
        assert_eq!(said(&content(&[1, 2]), &marks), "lost: 3 was acknowledged and is gone");
    }

    /// Each may be there or not: there are too many ways to look at them all.
    #[test]
    fn of_more_than_eight_failed_batches_nothing_is_said() {
        let marks: Vec<Mark> = (1..=9).map(Mark::Failed).collect();
        assert_eq!(said(&content(&[1, 2]), &marks[..8]), "held");
        let why = "not-measured: 9 batches failed, of which each may be there";
        assert_eq!(said(&content(&[1, 2]), &marks), why);
    }
}
