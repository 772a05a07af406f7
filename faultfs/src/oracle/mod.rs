//! Checks that fit most engines, so that a crash test is an engine, a workload and one of these.
//!
//! Each compares what an engine gives back after a crash with what was asked for and promised. How the
//! engine is opened and read is the caller's, so they serve every door alike: a
//! [`FaultFs`](crate::FaultFs) and a folder, a log and a database.
//!
//! | what the engine keeps | oracle | drawn workload |
//! |---|---|---|
//! | records in the order in which they were appended | [`Log`] | [`Records`], [`log`](Records::log) |
//! | keys and values, changed in batches | [`KeyValue`] | [`Batches`], [`key_value`](Batches::key_value) |
//! | one value that is replaced as a whole | [`Replaced`] | [`Records`], [`replaced`](Records::replaced) |
//! | anything, compared with runs that did not crash | [`Uncrashed`] | either |
//! | anything: it opens and answers, no more | the closure itself, `\|root, _\| open(root)?.answer()` | either |
//!
//! A [`Workload`] is drawn by `proptest` or `arbitrary`, shrinks, runs, and knows its oracle.
//!
//! The ids of the marks are the order: what `begin(3)` announced comes after what `begin(2)` did. What was
//! reported as failed may be there or not, and promises nothing.
//!
//! Verdicts: [`lost`](Broken::lost) where something acknowledged is gone and what is left would be right
//! without it, [`corrupt`](Broken::corrupt) for everything that the engine was never asked to be.

#[cfg(any(feature = "proptest", feature = "arbitrary"))]
mod drawn;
mod key_value;
mod log;
mod replaced;
mod uncrashed;
mod workload;

#[cfg(feature = "proptest")]
pub use drawn::Steps;
pub use key_value::KeyValue;
pub use log::Log;
pub use replaced::Replaced;
pub use uncrashed::Uncrashed;
pub use workload::{Asked, Batch, Batches, Change, Length, Records, Step, Workload};

use crate::trace::Marks;
use crate::verdict::Broken;

/// The ids that count, in order: begun, and not reported as failed.
fn sound(marks: &Marks) -> Vec<u64> {
    marks.issued.difference(&marks.failed).copied().collect()
}

/// How many of `ids` an engine must have: up to the last one that was acknowledged.
fn promised(ids: &[u64], marks: &Marks) -> usize {
    let last = marks.acked.difference(&marks.failed).last();
    ids.partition_point(|id| last.is_some_and(|last| id <= last))
}

/// The first id that was promised and is not among the first `count`.
fn missing(ids: &[u64], count: usize, marks: &Marks) -> Broken {
    let id = ids[count..].iter().find(|id| marks.acked.contains(id)).expect("fewer than promised");
    Broken::lost(format!("{id} was acknowledged and is gone"))
}

/// A value in words, and of a long one its beginning: a message is read by people.
fn brief(value: &impl std::fmt::Debug) -> String {
    const CHARACTERS: usize = 80;
    let text = format!("{value:?}");
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
        None => text,
    }
}
