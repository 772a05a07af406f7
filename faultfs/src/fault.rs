//! What can go wrong with one op.
//!
//! - *fail*: the op fails before it has done anything.
//! - *fail-after*: the op does all of its work, then says that it failed.
//! - *short*: a read or write moves fewer bytes than asked, and says so.
//! - *torn*: the first part of a write reaches the file, then the write says that it failed.
//! - *fail-dirty*, *fail-revert*, *fail-late*: a sync fails as on other kernels than the usual Linux ones.
//! - *lie*: a sync says that all is durable, and nothing has become so.
//! - *flip*: a bit of the file is read wrong.
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
    /// The op fails with this error and changes nothing. A file's sync that fails so leaves the dirty
    /// pages clean: no later sync writes them, unless they are written to again.
    Fail(Errno),
    /// A file's sync fails, and its dirty pages stay dirty: the next sync writes them.
    FailDirty(Errno),
    /// A file's sync fails, and the file is again as the last successful one left it.
    FailRevert(Errno),
    /// A file's sync says that it succeeded and has written nothing; the next one on each handle fails.
    FailLate(Errno),
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
    /// A sync does nothing and says that it succeeded.
    Lie,
    /// This bit of the file, counted from its start, is read as its opposite. The file itself keeps it.
    Flip(u64),
}

/// What is left of a call that a fault has changed: for those who build doors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing is done; the caller is told of this error, or of success.
    Nothing(Option<Errno>),
    /// The first `len` bytes are moved (a call that moves none is carried out); the caller is told of
    /// this error, or of what came of it.
    Part {
        /// How many bytes are moved.
        len: usize,
        /// What the caller is told, if not that.
        errno: Option<Errno>,
    },
}

impl Effect {
    /// A call that moves no data and is left alone.
    pub(crate) const WHOLE: Effect = Effect::Part { len: 1, errno: None };
}

impl Fault {
    /// The error that the caller is told of, now or at a later sync; `None` for a fault without one.
    pub fn errno(&self) -> Option<Errno> {
        match *self {
            Fault::Fail(errno)
            | Fault::FailDirty(errno)
            | Fault::FailRevert(errno)
            | Fault::FailLate(errno)
            | Fault::FailAfter(errno)
            | Fault::Torn { errno, .. } => Some(errno),
            Fault::Short(_) | Fault::Lie | Fault::Flip(_) => None,
        }
    }

    /// True where the fault makes a difference to a call that moves `len` bytes at `offset`.
    pub(crate) fn changes(&self, offset: Option<u64>, len: u64) -> bool {
        match self {
            Fault::Fail(_) | Fault::FailAfter(_) | Fault::Lie => true,
            Fault::FailDirty(_) | Fault::FailRevert(_) | Fault::FailLate(_) => true,
            Fault::Short(bytes) => *bytes < len,
            Fault::Torn { keep, .. } => keep.len(offset) < len,
            Fault::Flip(bit) => {
                let byte = bit / 8;
                offset.is_some_and(|offset| byte >= offset && byte - offset < len)
            }
        }
    }

    /// What is left of a call on `len` bytes at `offset`, where that is known. What a failed sync does to the
    /// file beyond that is a matter of the door.
    pub fn effect(&self, offset: Option<u64>, len: usize) -> Effect {
        let part = |bytes: u64, errno| Effect::Part {
            len: usize::try_from(bytes).unwrap_or(usize::MAX).min(len),
            errno,
        };
        match *self {
            Fault::Fail(errno)
            | Fault::FailDirty(errno)
            | Fault::FailRevert(errno)
            | Fault::FailLate(errno) => Effect::Nothing(Some(errno)),
            Fault::Lie => Effect::Nothing(None),
            Fault::Flip(_) => Effect::Part { len, errno: None },
            Fault::FailAfter(errno) => Effect::Part { len, errno: Some(errno) },
            Fault::Short(bytes) => part(bytes, None),
            Fault::Torn { keep, errno } => part(keep.len(offset), Some(errno)),
        }
    }

    /// Changes `data`, which was read at `offset`.
    pub fn spoil(&self, offset: Option<u64>, data: &mut [u8]) {
        let (Fault::Flip(bit), Some(offset)) = (self, offset) else { return };
        let index = (bit / 8).checked_sub(offset).and_then(|index| usize::try_from(index).ok());
        if let Some(byte) = index.and_then(|index| data.get_mut(index)) {
            *byte ^= 1 << (bit % 8);
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
        assert_eq!(torn.effect(Some(500), 100), Effect::Part { len: 12, errno: Some(EIO) });
        let after = Fault::FailAfter(EIO).effect(None, 5);
        assert_eq!(after, Effect::Part { len: 5, errno: Some(EIO) });
        assert_eq!(Fault::Short(2).effect(None, 5), Effect::Part { len: 2, errno: None });
    }

    #[test]
    fn a_flip_is_at_its_place_in_the_file_whichever_read_meets_it() {
        let flip = Fault::Flip(8 * 100 + 3);
        let met = |offset, len| flip.changes(Some(offset), len);
        assert_eq!(
            [met(0, 100), met(0, 101), met(100, 1), met(101, 9)],
            [false, true, true, false]
        );
        assert!(!flip.changes(None, 1000), "where the file is not known, nor is the bit");
        let mut data = [0; 4];
        flip.spoil(Some(98), &mut data);
        assert_eq!(data, [0, 0, 8, 0]);
        flip.spoil(Some(98), &mut data[..2]);
        flip.spoil(Some(101), &mut data);
        assert_eq!(data, [0, 0, 8, 0], "the bit lies outside of what was read");
    }
}
