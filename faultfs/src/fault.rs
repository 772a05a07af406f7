//! What can go wrong with one op.
//!
//! - *fail*: the op fails before it has done anything.
//! - *fail-after*: the op does all of its work, then says that it failed.
//! - *short*: a read or write moves fewer bytes than asked, and says so.
//! - *torn*: the first part of a write reaches the file, then the write says that it failed.
//!
//! Every error is a real one of the operating system, so that an engine that matches on
//! [`std::io::ErrorKind`] or on the number takes the path that it takes in production.

use crate::errno::Errno;
use crate::op::{PAGE, SECTOR};

/// What is done to an op. Which ops a fault fits is a matter of [`OpKind`]: see [`on`].
///
/// [`OpKind`]: crate::plan::OpKind
/// [`on`]: crate::plan::on
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The op fails with this error and changes nothing.
    Fail(Errno),
    /// The op is carried out in full; the caller is told that it failed.
    FailAfter(Errno),
    /// A read or write moves at most so many bytes (at least 1) and returns their number.
    Short(u64),
    /// The first part of a write reaches the file; the caller is told that the write failed.
    Torn {
        /// What reaches the file.
        keep: Part,
        /// What the caller is told.
        errno: Errno,
    },
}

impl Fault {
    /// True where the fault makes a difference to a call that moves `len` bytes at `offset`.
    pub(crate) fn changes(&self, offset: Option<u64>, len: u64) -> bool {
        match self {
            Fault::Fail(_) | Fault::FailAfter(_) => true,
            Fault::Short(bytes) => *bytes < len,
            Fault::Torn { keep, .. } => keep.len(offset) < len,
        }
    }

    /// What of a read or write of `len` bytes at `offset` is carried out, and the error that is
    /// returned instead of its result.
    pub(crate) fn cut(&self, offset: Option<u64>, len: usize) -> (usize, Option<Errno>) {
        let at_most = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(len);
        match *self {
            Fault::Fail(errno) => (0, Some(errno)),
            Fault::FailAfter(errno) => (len, Some(errno)),
            Fault::Short(bytes) => (at_most(bytes), None),
            Fault::Torn { keep, errno } => (at_most(keep.len(offset)), Some(errno)),
        }
    }
}

/// The first part of a write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// So many bytes.
    Bytes(u64),
    /// So many sectors of 512 bytes that the write touches, whole ones of the file: of a write at
    /// offset 500, one sector is its first 12 bytes. Where the offset is not known (a stream that is
    /// not a file of [`FaultFs`]), sectors are counted from the first byte of the write.
    ///
    /// [`FaultFs`]: crate::FaultFs
    Sectors(u64),
    /// So many pages of 4096 bytes, counted like sectors.
    Pages(u64),
}

impl Part {
    /// How many bytes of a write at `offset` that is.
    fn len(self, offset: Option<u64>) -> u64 {
        let whole = |count: u64, unit: u64| match count {
            0 => 0,
            _ => count.saturating_mul(unit).saturating_sub(offset.unwrap_or(0) % unit),
        };
        match self {
            Part::Bytes(bytes) => bytes,
            Part::Sectors(count) => whole(count, SECTOR),
            Part::Pages(count) => whole(count, PAGE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::EIO;

    #[test]
    fn sectors_are_those_of_the_file_where_the_offset_is_known() {
        assert_eq!(Part::Sectors(1).len(Some(500)), 12);
        assert_eq!(Part::Sectors(2).len(Some(512)), 1024);
        assert_eq!(Part::Sectors(2).len(None), 1024);
        assert_eq!(Part::Sectors(0).len(Some(500)), 0);
        assert_eq!(Part::Pages(1).len(Some(4095)), 1);
        assert_eq!(Part::Bytes(7).len(Some(500)), 7);
        assert_eq!(Part::Pages(u64::MAX).len(Some(1)), u64::MAX - 1);
    }

    #[test]
    fn a_fault_that_would_change_nothing_is_known_as_such() {
        assert!(Fault::Short(10).changes(None, 11));
        assert!(!Fault::Short(10).changes(None, 10));
        let torn = Fault::Torn { keep: Part::Sectors(1), errno: EIO };
        assert!(torn.changes(Some(500), 13));
        assert!(!torn.changes(Some(500), 12));
        assert_eq!(torn.cut(Some(500), 100), (12, Some(EIO)));
        assert_eq!(Fault::FailAfter(EIO).cut(None, 5), (5, Some(EIO)));
        assert_eq!(Fault::Short(2).cut(None, 5), (2, None));
    }
}
