//! `FaultIter`: an iterator of `Result`s in which chosen items go wrong.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use crate::error::Error;

/// An iterator of `Result`s, such as a scan of a snapshot, in which chosen items go wrong. Items are
/// counted from 0, as by [`Iterator::nth`], as the inner iterator yields them.
///
/// ```
/// use faultfs::FaultIter;
/// use faultfs::errno::EIO;
/// use std::io;
///
/// let scan = (0..4).map(io::Result::Ok);
/// let mut faulty = FaultIter::new(scan).repeat(0).fail(1, EIO).corrupt(2, |n| n + 100).truncate(3);
/// let found: Vec<_> = faulty.by_ref().map(|item| item.map_err(|e| e.raw_os_error())).collect();
/// assert_eq!(found, [Ok(0), Ok(0), Err(Some(5)), Ok(102)]);
/// faulty.finish().unwrap();
/// ```
///
/// # Faults
///
/// One item has one fault; naming the same item again replaces its fault. A fault of an item that never
/// came is an error of [`FaultIter::finish`].
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct FaultIter<I: Iterator> {
    inner: I,
    /// Number of items taken from `inner`.
    taken: u64,
    faults: BTreeMap<u64, ItemFault<I::Item>>,
    /// Items that come before the next one of `inner`.
    waiting: VecDeque<I::Item>,
    /// Items whose fault has happened.
    fired: u64,
    ended: bool,
}

enum ItemFault<R> {
    /// Something else comes in its place.
    Change(Box<dyn FnOnce(R) -> R + Send>),
    /// It comes twice.
    Repeat(fn(&R) -> Option<R>),
    /// The one after it comes first.
    Swap,
    /// The end comes in its place.
    Truncate,
}

impl<T, E, I: Iterator<Item = Result<T, E>>> FaultIter<I> {
    /// An iterator in which nothing goes wrong.
    pub fn new(inner: I) -> Self {
        let (faults, waiting) = (BTreeMap::new(), VecDeque::new());
        FaultIter { inner, taken: 0, faults, waiting, fired: 0, ended: false }
    }

    /// `error` comes in place of item `index`; the items after it still come.
    pub fn fail(self, index: u64, error: impl Into<E> + Send + 'static) -> Self {
        self.with(index, ItemFault::Change(Box::new(|_| Err(error.into()))))
    }

    /// The iterator ends before item `index`, as if there were no more.
    pub fn truncate(self, index: u64) -> Self {
        self.with(index, ItemFault::Truncate)
    }

    /// Item `index` comes twice. An error comes once: it may not be one that can be cloned.
    pub fn repeat(self, index: u64) -> Self
    where
        T: Clone,
    {
        self.with(
            index,
            ItemFault::Repeat(|item| item.as_ref().ok().map(|value| Ok(value.clone()))),
        )
    }

    /// Item `index` and the one after it come in the other order. Where it is the last, nothing changes,
    /// and [`FaultIter::finish`] says so.
    pub fn swap(self, index: u64) -> Self {
        self.with(index, ItemFault::Swap)
    }

    /// `change` is applied to item `index`, unless that is an error.
    pub fn corrupt(self, index: u64, change: impl FnOnce(T) -> T + Send + 'static) -> Self {
        self.with(index, ItemFault::Change(Box::new(|item| item.map(change))))
    }

    fn with(mut self, index: u64, fault: ItemFault<I::Item>) -> Self {
        self.faults.insert(index, fault);
        self
    }

    /// The end of a run: every fault must have happened.
    ///
    /// # Errors
    ///
    /// Names the items that were never reached.
    pub fn finish(&self) -> Result<(), Error> {
        let unreached: Vec<String> = self.faults.keys().map(u64::to_string).collect();
        if unreached.is_empty() {
            return Ok(());
        }
        Err(Error::new(format!(
            "the fault of item {} was armed but never reached ({} items came); name an earlier item, \
             or read on",
            unreached.join(", "),
            self.taken
        )))
    }

    /// How many faults have happened.
    pub fn fired(&self) -> u64 {
        self.fired
    }

    fn take(&mut self) -> Option<I::Item> {
        let item = self.inner.next()?;
        self.taken += 1;
        Some(item)
    }
}

impl<T, E, I: Iterator<Item = Result<T, E>>> Iterator for FaultIter<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        if let Some(item) = self.waiting.pop_front() {
            return Some(item);
        }
        if self.ended {
            return None;
        }
        let index = self.taken;
        let item = self.take()?;
        let Some(fault) = self.faults.remove(&index) else { return Some(item) };
        self.fired += 1;
        match fault {
            ItemFault::Change(change) => Some(change(item)),
            ItemFault::Repeat(copy) => {
                self.waiting.extend(copy(&item));
                Some(item)
            }
            ItemFault::Swap => match self.take() {
                Some(next) => {
                    self.waiting.push_back(item);
                    Some(next)
                }
                None => {
                    self.fired -= 1;
                    self.faults.insert(index, ItemFault::Swap);
                    Some(item)
                }
            },
            ItemFault::Truncate => {
                self.ended = true;
                None
            }
        }
    }
}

impl<I: Iterator + fmt::Debug> fmt::Debug for FaultIter<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultIter")
            .field("inner", &self.inner)
            .field("taken", &self.taken)
            .field("pending", &self.faults.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::{EIO, Errno};
    use std::io;

    type Item = Result<u32, Errno>;

    fn scan() -> FaultIter<impl Iterator<Item = Item>> {
        FaultIter::new((0..4).map(Ok))
    }

    #[track_caller]
    fn yields(mut faulty: FaultIter<impl Iterator<Item = Item>>, expected: &[Item]) {
        assert_eq!(faulty.by_ref().collect::<Vec<_>>(), expected);
        assert!(faulty.next().is_none(), "an end stays an end");
        faulty.finish().unwrap();
    }

    #[test]
    fn without_a_fault_every_item_comes_as_it_is() {
        yields(scan(), &[Ok(0), Ok(1), Ok(2), Ok(3)]);
    }

    #[test]
    fn each_fault_changes_its_item_and_no_other() {
        yields(scan().fail(1, EIO), &[Ok(0), Err(EIO), Ok(2), Ok(3)]);
        yields(scan().truncate(1), &[Ok(0)]);
        yields(scan().truncate(0), &[]);
        yields(scan().repeat(3), &[Ok(0), Ok(1), Ok(2), Ok(3), Ok(3)]);
        yields(scan().swap(1), &[Ok(0), Ok(2), Ok(1), Ok(3)]);
        yields(scan().corrupt(2, |n| n ^ 64), &[Ok(0), Ok(1), Ok(66), Ok(3)]);
        yields(scan().repeat(0).fail(0, EIO), &[Err(EIO), Ok(1), Ok(2), Ok(3)]);
        yields(scan().swap(0).fail(2, EIO), &[Ok(1), Ok(0), Err(EIO), Ok(3)]);
    }

    #[test]
    fn errors_of_the_inner_iterator_pass_through() {
        let errors = || FaultIter::new([Ok(1), Err(EIO), Ok(3)].into_iter());
        yields(errors().corrupt(1, |_| 9), &[Ok(1), Err(EIO), Ok(3)]);
        yields(errors().repeat(1), &[Ok(1), Err(EIO), Ok(3)]);
    }

    #[test]
    fn a_fault_of_an_item_that_never_came_fails_the_run() {
        let mut faulty = scan().fail(4, EIO).swap(3);
        assert_eq!(faulty.by_ref().count(), 4);
        let error = faulty.finish().unwrap_err().to_string();
        assert!(
            error.starts_with("the fault of item 3, 4 was armed but never reached (4 items came)")
        );
        assert_eq!(faulty.fired(), 0);
    }

    #[test]
    fn an_injected_error_is_the_operating_system_s_own() {
        let mut scan = FaultIter::new([io::Result::Ok(1)].into_iter()).fail(0, EIO);
        assert_eq!(scan.next().unwrap().unwrap_err().raw_os_error(), Some(5));
    }
}
