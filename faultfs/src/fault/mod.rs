//! What can go wrong with one op.
//!
//! - *fail*: the op fails before it has done anything.
//! - *fail-after*: the op does all of its work, then says that it failed.
//! - *grow*, *both-names*: a change of size or a rename stops half-way and says that it failed.
//! - *short*: a read or write moves fewer bytes than asked, and says so.
//! - *torn*: a part of a write reaches the file, and the caller is told of an error, or is not. *lose*:
//!   nothing of it does, and the caller is not told.
//! - *misdirect*: what is written or read stands in another place.
//! - *flip*, *garbage*, *stale*: what is read is not what the file holds.
//! - *latent*: sectors cannot be read until they have been written again.
//! - *fail-sync*: a sync fails as a certain kernel fails it.
//! - *lie*: a sync says that all is durable, and nothing has become so.
//! - *delay*, *stall*: the op takes its time, or does not come back.
//! - *vanish*: from this op on the device is gone. *crash*: at this op the power goes.
//!
//! Every error is a real one of the operating system, so that an engine that matches on
//! [`std::io::ErrorKind`] or on the number takes the path that it takes in production.
//!
//! # For a door
//!
//! A door asks its [`Injector`] before each call, and is told which fault to inject. [`Fault::effect`] then
//! says what is left of the call, in terms that any door can carry out. The faults that need more than
//! the call itself (writing elsewhere, an earlier content, another file) are asked only of doors that
//! have said in [`Call::reach`] that they can.
//!
//! [`Injector`]: crate::Injector

mod sync;
mod torn;

use std::sync::Arc;

use crate::errno::Errno;
use crate::injector::{Call, Reach};
use crate::op::SECTOR;

pub use sync::{Pages, Size, SyncFailure, Then, Told};
pub(crate) use torn::garbage;
pub use torn::{Keep, Leaves, Part, Torn};

/// What is done to an op. Which ops a fault fits is a matter of [`OpKind`]: see [`on`].
///
/// [`OpKind`]: crate::plan::OpKind
/// [`on`]: crate::plan::on
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The op fails with this error and changes nothing. The sync of a file fails as
    /// [`SyncFailure::EXT4_ORDERED`].
    Fail(Errno),
    /// The sync of a file fails.
    FailSync {
        /// What it does to pages, size and filesystem, and who is told.
        how: SyncFailure,
        /// What they are told.
        errno: Errno,
    },
    /// The op is carried out in full; the caller is told that it failed.
    FailAfter(Errno),
    /// A file grows by a part of what was asked, then the caller is told that it did not.
    Grow {
        /// How far it grows.
        by: Part,
        /// What the caller is told.
        errno: Errno,
    },
    /// A renamed file has its new name, and still its old one; the caller is told that it failed.
    BothNames(Errno),
    /// A read or write moves at most so many bytes (at least 1) and returns their number.
    Short(u64),
    /// A part of a write reaches the file.
    Torn(Torn),
    /// The data of a read or write comes from, or goes to, another place.
    Misdirect(Place),
    /// A sync does nothing and says that it succeeded.
    Lie,
    /// This bit of the file, counted from its start, is read as its opposite. The file itself keeps it.
    Flip(u64),
    /// These bytes of the file are read as others.
    Garbage {
        /// The first of them.
        first: u64,
        /// The one after the last.
        end: u64,
        /// What the garbage is drawn from, with the place of each byte.
        seed: u64,
    },
    /// A read finds what the file held earlier.
    Stale(Since),
    /// The sectors of 512 bytes that these bytes touch cannot be read, until each has been written
    /// again as a whole.
    Latent {
        /// The first byte.
        first: u64,
        /// The one after the last.
        end: u64,
        /// What a reader is told.
        errno: Errno,
    },
    /// The op takes so many milliseconds longer.
    Delay(u64),
    /// The op does not come back until the injector is disarmed; after 30 seconds, as long as Linux waits
    /// for a SCSI device, it fails with `EIO`.
    Stall,
    /// The device is gone: this op and all that follow fail, until the injector is disarmed.
    Vanish(Errno),
    /// The power goes at this op, which may have happened in part: see [`FaultFs::cut_power`].
    ///
    /// [`FaultFs::cut_power`]: crate::FaultFs::cut_power
    Crash,
}

/// A place on the disk that is not the one that was asked for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// The file, by its path; `None`: the same one.
    pub file: Option<Arc<str>>,
    /// The first byte.
    pub offset: u64,
}

impl Place {
    /// A place in the same file.
    pub fn at(offset: u64) -> Place {
        Place { file: None, offset }
    }

    /// A place in another file. Where there is no such file, what is written is lost, and zeros are read.
    pub fn in_file(path: impl Into<Arc<str>>, offset: u64) -> Place {
        Place { file: Some(path.into()), offset }
    }
}

/// How old the content is that a stale read finds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Since {
    /// As it was before the last write that touched what is read: that write was lost on its way.
    Write,
    /// As the last sync of the file left it.
    Sync,
}

/// What is left of a call that a fault has changed. A call that moves no data has a length of 1; that of
/// a change of size is the new size.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// Nothing is done; the caller is told of this error, or of success.
    Nothing(Option<Errno>),
    /// The first `len` bytes are moved, or the size is set to `len` (a call that does neither is carried
    /// out); the caller is told of this error, or of what came of it. Then a read goes through
    /// [`Fault::spoil`].
    Part {
        /// How many bytes are moved.
        len: usize,
        /// What the caller is told.
        errno: Option<Errno>,
    },
    /// A write writes what [`Fault::pieces`] says; the caller is told of this error, or that all of it was
    /// written.
    Pieces(Option<Errno>),
    /// What is read comes from here, and what is written goes here as well as through
    /// [`Fault::pieces`]; the caller is told what an unharmed call tells.
    Elsewhere(Place),
    /// What is read is as old as this.
    Stale(Since),
    /// The second name is made, the first one stays; the caller is told of this error.
    BothNames(Errno),
    /// The power goes; the caller is told of `EIO`.
    Crash,
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
            | Fault::FailSync { errno, .. }
            | Fault::FailAfter(errno)
            | Fault::Grow { errno, .. }
            | Fault::BothNames(errno)
            | Fault::Latent { errno, .. }
            | Fault::Vanish(errno) => Some(errno),
            Fault::Torn(torn) => torn.errno,
            _ => None,
        }
    }

    /// How the sync of a file fails; `None` for what is no failed sync.
    pub fn sync_failure(&self) -> Option<SyncFailure> {
        match self {
            Fault::Fail(_) | Fault::Vanish(_) => Some(SyncFailure::EXT4_ORDERED),
            Fault::FailSync { how, .. } => Some(*how),
            _ => None,
        }
    }

    /// True where it is time that passes: what comes of it depends on a clock.
    pub fn is_clock_based(&self) -> bool {
        matches!(self, Fault::Delay(_) | Fault::Stall)
    }

    /// What a door must be able to do.
    fn needs(&self) -> Reach {
        match self {
            Fault::Torn(torn) if !torn.is_prefix() => Reach::File,
            Fault::Grow { .. } => Reach::File,
            Fault::FailSync { how: SyncFailure { only: Some(_), .. }, .. } => Reach::Filesystem,
            Fault::Misdirect(Place { file: None, .. }) => Reach::File,
            Fault::Misdirect(_) | Fault::Stale(_) | Fault::BothNames(_) => Reach::Filesystem,
            Fault::Fail(_) | Fault::FailAfter(_) => Reach::Answer,
            _ => Reach::Call,
        }
    }

    /// True where the fault makes a difference to the call, and its door can carry it out.
    pub(crate) fn changes(&self, call: &Call<'_>) -> bool {
        let touches = |first: u64, end: u64| {
            let meets = |offset: u64| offset < end && offset.saturating_add(call.len) > first;
            call.len > 0 && call.offset.is_some_and(meets)
        };
        call.reach >= self.needs()
            && match self {
                Fault::Short(bytes) => *bytes < call.len,
                Fault::Torn(torn) => !torn.keep.missing(call.offset, call.len).is_empty(),
                Fault::Grow { by, .. } => call
                    .offset
                    .is_some_and(|size| size < call.len && by.len(Some(size)) < call.len - size),
                Fault::Misdirect(_) => call.len > 0 && call.offset.is_some(),
                Fault::Flip(bit) => touches(bit / 8, bit / 8 + 1),
                Fault::Garbage { first, end, .. } => touches(*first, *end),
                Fault::Latent { first, end, .. } => {
                    touches(first / SECTOR * SECTOR, end.next_multiple_of(SECTOR))
                }
                Fault::Stale(_) => call.len > 0,
                _ => true,
            }
    }

    /// What is left of a call on `len` bytes at `offset`, where that is known; for a change of size they
    /// are the new size and the old one. What a failed sync does to the file beyond that is a matter of the
    /// door.
    pub fn effect(&self, offset: Option<u64>, len: usize) -> Effect {
        let part = |bytes: u64, errno| Effect::Part {
            len: usize::try_from(bytes).unwrap_or(usize::MAX).min(len),
            errno,
        };
        match self {
            Fault::FailSync { how, errno } => {
                Effect::Nothing(Some(*errno).filter(|_| how.told.is_now()))
            }
            Fault::Fail(errno) | Fault::Latent { errno, .. } | Fault::Vanish(errno) => {
                Effect::Nothing(Some(*errno))
            }
            Fault::Lie => Effect::Nothing(None),
            Fault::Flip(_) | Fault::Garbage { .. } | Fault::Delay(_) | Fault::Stall => {
                Effect::Part { len, errno: None }
            }
            Fault::FailAfter(errno) => Effect::Part { len, errno: Some(*errno) },
            Fault::Short(bytes) => part(*bytes, None),
            Fault::Torn(torn) if torn.is_prefix() => {
                let missing = torn.keep.missing(offset, len as u64);
                part(if missing.is_empty() { len as u64 } else { missing.start }, torn.errno)
            }
            Fault::Torn(torn) => Effect::Pieces(torn.errno),
            Fault::Grow { by, errno } => {
                let size = offset.unwrap_or(0);
                part(size.saturating_add(by.len(offset)), Some(*errno))
            }
            Fault::BothNames(errno) => Effect::BothNames(*errno),
            Fault::Misdirect(place) => Effect::Elsewhere(place.clone()),
            Fault::Stale(since) => Effect::Stale(*since),
            Fault::Crash => Effect::Crash,
        }
    }

    /// What is to be written instead of `data` at `offset`: runs of bytes with their offsets, in order.
    /// `old` is what the file holds there, as far as it goes.
    pub fn pieces(&self, offset: u64, data: &[u8], old: &[u8]) -> Vec<(u64, Vec<u8>)> {
        match self {
            Fault::Torn(torn) => torn.pieces(offset, data, old),
            Fault::Misdirect(_) => Torn::LOST.pieces(offset, data, old),
            _ => vec![(offset, data.to_vec())],
        }
    }

    /// Changes what was read at `offset`.
    pub fn spoil(&self, offset: Option<u64>, data: &mut [u8]) {
        let Some(offset) = offset else { return };
        for (at, byte) in (offset..).zip(data) {
            match *self {
                Fault::Flip(bit) if at == bit / 8 => *byte ^= 1 << (bit % 8),
                Fault::Garbage { first, end, seed } if (first..end).contains(&at) => {
                    *byte = garbage(seed, at);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::EIO;
    use crate::plan::OpKind;
    use std::path::Path;

    fn call(offset: Option<u64>, len: u64) -> Call<'static> {
        Call { offset, len, ..Call::new(OpKind::Write, Path::new("f")) }
    }

    #[test]
    fn a_fault_that_would_change_nothing_is_known_as_such() {
        assert!(Fault::Short(10).changes(&call(None, 11)));
        assert!(!Fault::Short(10).changes(&call(None, 10)));
        let keep = Part::Sectors(1).into();
        let torn = Fault::Torn(Torn { keep, leaves: Leaves::Old, errno: Some(EIO) });
        assert!(torn.changes(&call(Some(500), 13)));
        assert!(!torn.changes(&call(Some(500), 12)));
        assert_eq!(torn.effect(Some(500), 100), Effect::Part { len: 12, errno: Some(EIO) });
        let after = Fault::FailAfter(EIO).effect(None, 5);
        assert_eq!(after, Effect::Part { len: 5, errno: Some(EIO) });
        assert_eq!(Fault::Short(2).effect(None, 5), Effect::Part { len: 2, errno: None });
        let grow = Fault::Grow { by: Part::Bytes(3), errno: EIO };
        let sized = |from, to| Call { reach: Reach::File, ..call(Some(from), to) };
        let found = [(5, 9), (5, 8), (5, 2)].map(|(from, to)| grow.changes(&sized(from, to)));
        assert_eq!(found, [true, false, false]);
        assert_eq!(grow.effect(Some(5), 9), Effect::Part { len: 8, errno: Some(EIO) });
        for fault in [Fault::Stale(Since::Write), Fault::Misdirect(Place::at(9)), Fault::Flip(0)] {
            let moves = |len| Call { reach: Reach::Filesystem, ..call(Some(0), len) };
            assert_eq!([0, 1].map(|len| fault.changes(&moves(len))), [false, true], "{fault}");
        }
    }

    #[test]
    fn a_fault_is_not_asked_of_a_door_that_cannot_carry_it_out() {
        let at = |reach| Call { reach, ..call(Some(0), 100) };
        let lost = Fault::Torn(Torn::LOST);
        let here = Fault::Misdirect(Place::at(512));
        let there = Fault::Misdirect(Place::in_file("g", 512));
        for (fault, expected) in [
            (Fault::Short(1), [true, true, true]),
            (lost, [false, true, true]),
            (here, [false, true, true]),
            (there, [false, false, true]),
            (Fault::Stale(Since::Sync), [false, false, true]),
        ] {
            let found =
                [Reach::Call, Reach::File, Reach::Filesystem].map(|r| fault.changes(&at(r)));
            assert_eq!(found, expected, "{fault}");
        }
    }

    #[test]
    fn a_flip_is_at_its_place_in_the_file_whichever_read_meets_it() {
        let flip = Fault::Flip(8 * 100 + 3);
        let met = |offset, len| flip.changes(&call(Some(offset), len));
        assert_eq!(
            [met(0, 100), met(0, 101), met(100, 1), met(101, 9)],
            [false, true, true, false]
        );
        assert!(!flip.changes(&call(None, 1000)), "where the file is not known, nor is the bit");
        let mut data = [0; 4];
        flip.spoil(Some(98), &mut data);
        assert_eq!(data, [0, 0, 8, 0]);
        flip.spoil(Some(98), &mut data[..2]);
        flip.spoil(Some(101), &mut data);
        assert_eq!(data, [0, 0, 8, 0], "the bit lies outside of what was read");
    }
}
