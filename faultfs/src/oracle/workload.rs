//! Workloads to go with the oracles, as data that is drawn: by `proptest`, from the bytes of a fuzzer by
//! `arbitrary`, or by hand.

use std::io;

use super::{KeyValue, Log, Replaced};
use crate::FaultFs;
use crate::verdict::Broken;

/// What is asked of an engine, step by step. The index of a step is its id in the marks.
///
/// With the feature `proptest` it is a `proptest::arbitrary::Arbitrary`, which draws up to 8 steps and shrinks a
/// workload that fails to the fewest and smallest; with the feature `arbitrary` an `arbitrary::Arbitrary`, so that
/// `fuzz_target!(|work: Records| …)` is the same line. It prints as Rust but for `vec!`: a workload that failed is
/// kept in a test as `Workload(vec![Do(Length(1)), Restart])`.
///
#[cfg_attr(feature = "proptest", doc = "```")]
#[cfg_attr(not(feature = "proptest"), doc = "```ignore")]
/// use faultfs::FaultFs;
/// use faultfs::oracle::Records;
/// use proptest::prelude::*;
/// use std::io;
///
/// /// Replaces what a file holds.
/// fn save(fs: &mut FaultFs, value: Vec<u8>) -> io::Result<()> {
///     fs.write("new", value)?;
///     fs.open("new")?.sync_all()?; // without it: minimal failing input: [Do(Length(1))], a file of no version
///     fs.rename("new", "file")?;
///     fs.sync_dir(".")
/// }
///
/// proptest! {
///     // In a test: #[test]
///     fn a_saved_value_survives_any_power_cut(work: Records) {
///         faultfs::explore(|fs| work.run(fs, |fs| Ok(fs.clone()), save, |_| Ok(())))
///             .named("file")
///             .given(&work)
///             .budget(100)
///             .in_process()
///             .try_check(|fs, marks| work.replaced().check(fs.read("file").ok(), marks))?;
///     }
/// }
/// a_saved_value_survives_any_power_cut();
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Workload<T>(pub Vec<Step<T>>);

/// One step of a [`Workload`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Step<T> {
    /// The engine is asked for this, begins it, and acknowledges it.
    Do(T),
    /// The engine is dropped and opened again.
    Restart,
    /// What the engine does beside its work: a checkpoint, a compaction.
    Tidy,
}

/// Changes of keys, all or none: see [`KeyValue`].
pub type Batches = Workload<Batch>;

/// Records to be appended, for [`Log`], or versions of a value, for [`Replaced`].
pub type Records = Workload<Length>;

/// A key, and its new value, or `None` where it is removed.
pub type Change = (u8, Option<Vec<u8>>);

/// For each key the length of its new value in bytes, or that it is removed. Keys are few, so that they come
/// again: 0 to 3 where a batch is drawn, which is of up to three.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Batch(pub Vec<(u8, Option<u16>)>);

/// The length of a record in bytes, at least 1; up to 9,000 where it is drawn, so that some span pages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Length(pub u16);

/// What a step asks for, as data, of which the step's id makes what the engine is given: no two steps are alike,
/// so that an oracle can tell them apart.
///
/// Implement it for ops of your own, and `Workload<YourOp>` draws and runs them.
pub trait Asked {
    /// What the engine is given.
    type Given;

    /// What the engine is given in step `id`.
    fn given(&self, id: u64) -> Self::Given;
}

impl Asked for Batch {
    type Given = Vec<Change>;

    fn given(&self, id: u64) -> Self::Given {
        let Batch(changes) = self;
        changes.iter().map(|(key, len)| (*key, len.map(|len| content(id, len)))).collect()
    }
}

impl Asked for Length {
    type Given = Vec<u8>;

    fn given(&self, id: u64) -> Vec<u8> {
        content(id, self.0)
    }
}

/// Never zeros, which is what a disk holds that was not written, and never the end of a line.
fn content(id: u64, len: u16) -> Vec<u8> {
    vec![b'!' + (id % 200) as u8; len.into()]
}

impl<T: Asked> Workload<T> {
    /// Runs the steps on an engine that `open` opens: `apply` does what is asked for, durably or not as the
    /// engine promises, and `tidy` what it does besides. Each step that asks for something is begun, and
    /// acknowledged when `apply` returns.
    ///
    /// # Errors
    ///
    /// The first error of the engine, with which the run ends.
    #[track_caller]
    pub fn run<S>(
        &self,
        fs: &FaultFs,
        open: impl Fn(&FaultFs) -> io::Result<S>,
        apply: impl Fn(&mut S, T::Given) -> io::Result<()>,
        tidy: impl Fn(&mut S) -> io::Result<()>,
    ) -> Result<(), Broken> {
        let mut engine = open(fs)?;
        for (id, step) in (0..).zip(&self.0) {
            match step {
                Step::Do(asked) => {
                    fs.begin(id);
                    apply(&mut engine, asked.given(id))?;
                    fs.ack(id);
                }
                Step::Restart => {
                    drop(engine);
                    engine = open(fs)?;
                }
                Step::Tidy => tidy(&mut engine)?,
            }
        }
        Ok(())
    }

    /// What the engine is given in step `id`, where that asks for something.
    pub fn given(&self, id: u64) -> Option<T::Given> {
        match self.0.get(usize::try_from(id).ok()?)? {
            Step::Do(asked) => Some(asked.given(id)),
            Step::Restart | Step::Tidy => None,
        }
    }

    fn asked(&self, id: u64) -> T::Given {
        self.given(id).unwrap_or_else(|| panic!("step {id} asks for nothing; no mark is of it"))
    }
}

impl Batches {
    /// The oracle of this workload.
    pub fn key_value(&self) -> KeyValue<impl Fn(u64) -> Vec<Change>> {
        KeyValue::of(|id| self.asked(id))
    }
}

impl Records {
    /// The oracle of this workload on a log.
    pub fn log(&self) -> Log<impl Fn(u64) -> Vec<u8>> {
        Log::of(|id| self.asked(id))
    }

    /// The oracle of this workload on a value that each record replaces.
    pub fn replaced(&self) -> Replaced<impl Fn(u64) -> Vec<u8>> {
        Replaced::of(|id| self.asked(id))
    }
}
