//! An append log: what was appended, in order, up to some record.

use std::fmt::Debug;

use super::{brief, missing, promised, sound};
use crate::trace::Marks;
use crate::verdict::Broken;

/// The oracle of an append log: recovered are the records of the first so many ids that were begun, all
/// acknowledged ones among them; none is missing in between, none is there that nobody appended.
///
/// ```
/// use faultfs::oracle::Log;
/// use std::io::Write;
///
/// faultfs::explore(|fs| {
///     let mut log = fs.create("log")?;
///     fs.sync_dir(".")?;
///     for id in 0..3 {
///         fs.begin(id);
///         log.write_all(&record(id))?;
///         log.sync_data()?; // without it: "lost: 0 was acknowledged and is gone"
///         fs.ack(id);
///     }
///     Ok(())
/// })
/// .named("log")
/// .in_process()
/// .check(|fs, marks| {
///     let bytes = fs.read("log").unwrap_or_default();
///     let (records, _) = bytes.as_chunks::<2>();
///     let whole: Vec<_> = records.iter().copied().take_while(|r| r[0] == !r[1]).collect();
///     Log::of(record).check(&whole, marks)
/// });
///
/// /// A number, and something to know it by.
/// fn record(id: u64) -> [u8; 2] {
///     [id as u8, !(id as u8)]
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Log<F> {
    record: F,
}

impl<R: PartialEq + Debug, F: Fn(u64) -> R> Log<F> {
    /// The oracle of a log to which the op `id` appends `record(id)`.
    pub fn of(record: F) -> Self {
        Log { record }
    }

    /// Compares the records that recovery found, in their order, with the marks of the crash.
    ///
    /// # Errors
    ///
    /// Lost where an acknowledged record is missing behind the last one found; corrupt where the records
    /// found are not a beginning of those that were asked for.
    pub fn check(&self, recovered: &[R], marks: &Marks) -> Result<(), Broken> {
        let ids: Vec<u64> = marks.issued.iter().copied().collect();
        let mut rest = recovered.iter().enumerate().peekable();
        let mut found = Vec::new();
        for &id in &ids {
            match rest.peek() {
                Some((_, record)) if **record == (self.record)(id) => {
                    rest.next();
                    found.push(id);
                }
                // A failed append may have left its record or not.
                _ if marks.failed.contains(&id) => {}
                _ => break,
            }
        }
        if let Some((at, record)) = rest.next() {
            return Err(Broken::corrupt(format!(
                "record {at} is {}, which nobody appended there",
                brief(record)
            )));
        }
        let sound = sound(marks);
        let kept = found.iter().filter(|id| !marks.failed.contains(id)).count();
        match kept < promised(&sound, marks) {
            true => Err(missing(&sound, kept, marks)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Mark;

    fn after(issued: u64, acked: u64, failed: &[u64]) -> Marks {
        let mut marks = Marks::default();
        (0..issued).for_each(|id| marks.add(Mark::Begin(id)));
        (0..acked).filter(|id| !failed.contains(id)).for_each(|id| marks.add(Mark::Ack(id)));
        failed.iter().for_each(|id| marks.add(Mark::Failed(*id)));
        marks
    }

    #[test]
    fn a_beginning_with_all_that_was_acknowledged_holds_and_nothing_else() {
        for (recovered, issued, acked, failed, verdict) in [
            (&[][..], 0, 0, &[][..], None),
            (&[0, 1], 3, 2, &[], None),
            (&[0, 1, 2], 3, 2, &[], None),
            (&[0], 3, 2, &[], Some("lost: 1 was acknowledged and is gone")),
            (&[0, 2], 3, 1, &[], Some("corrupt: record 1 is 2, which nobody appended there")),
            (&[0, 1, 2, 3], 3, 3, &[], Some("corrupt: record 3 is 3")),
            (&[0, 2], 3, 3, &[1], None),
            (&[0, 1, 2], 3, 3, &[1], None),
            (&[0], 3, 3, &[1], Some("lost: 2 was acknowledged")),
        ] {
            let found = Log::of(|id| id).check(recovered, &after(issued, acked, failed));
            let said = found.err().map(|broken| broken.to_string());
            let fits = match verdict {
                None => said.is_none(),
                Some(verdict) => said.as_ref().is_some_and(|said| said.starts_with(verdict)),
            };
            assert!(fits, "{recovered:?} of {issued}, {acked} acked, {failed:?}: {said:?}");
        }
    }
}
