//! Writes of which only a part reaches the file.

use std::fmt;
use std::ops::Range;

use crate::errno::Errno;
use crate::op::{PAGE, SECTOR};

/// So much of a write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// So many bytes.
    Bytes(u64),
    /// So many sectors of 512 bytes that the write touches, whole ones of the file: of a write at
    /// offset 500, the first sector is its first 12 bytes. Where the offset is not known (a stream that
    /// is not a file of [`FaultFs`]), sectors are counted from the first byte of the write.
    ///
    /// [`FaultFs`]: crate::FaultFs
    Sectors(u64),
    /// So many pages of 4096 bytes, counted like sectors.
    Pages(u64),
    /// So many units of the device, such as the 16 KiB of an SSD's internal page, counted like sectors.
    Units {
        /// How many.
        count: u64,
        /// Bytes per unit; 0 is taken for 1.
        size: u64,
    },
}

impl Part {
    fn count_and_size(self) -> (u64, u64) {
        match self {
            Part::Bytes(count) => (count, 1),
            Part::Sectors(count) => (count, SECTOR),
            Part::Pages(count) => (count, PAGE),
            Part::Units { count, size } => (count, size.max(1)),
        }
    }

    /// How many bytes of a write at `offset` that is, from its first byte on.
    pub(super) fn len(self, offset: Option<u64>) -> u64 {
        let (count, size) = self.count_and_size();
        boundary(count, size, offset.unwrap_or(0))
    }
}

/// How many bytes after `offset` the unit number `count` starts, the first one being that of `offset`.
fn boundary(count: u64, size: u64, offset: u64) -> u64 {
    match count {
        0 => 0,
        _ => count.saturating_mul(size).saturating_sub(offset % size),
    }
}

/// `3 sectors`, `1 units of 16384`.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Bytes(count) => write!(f, "{count} bytes"),
            Part::Sectors(count) => write!(f, "{count} sectors"),
            Part::Pages(count) => write!(f, "{count} pages"),
            Part::Units { count, size } => write!(f, "{count} units of {size}"),
        }
    }
}

/// Which part of a write reaches the file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Keep {
    /// The first so many bytes, sectors, pages or units.
    First(Part),
    /// The last so many.
    Last(Part),
    /// All but so many, which follow on the first `after` of the same unit.
    Hole {
        /// What is missing.
        missing: Part,
        /// How many bytes, sectors, pages or units before it arrive.
        after: u64,
    },
}

impl From<Part> for Keep {
    fn from(part: Part) -> Keep {
        Keep::First(part)
    }
}

impl Keep {
    /// The bytes of a write of `len` bytes at `offset` that do not arrive. Empty: all of it does.
    pub(super) fn missing(self, offset: Option<u64>, len: u64) -> Range<u64> {
        let range = match self {
            Keep::First(part) => part.len(offset)..len,
            Keep::Last(part) => {
                let (count, size) = part.count_and_size();
                // Counted back from the end: the last unit is the one that the last byte is in.
                let first = offset.unwrap_or(0) % size;
                let units = (first + len).div_ceil(size);
                0..boundary(units.saturating_sub(count), size, first).min(len)
            }
            Keep::Hole { missing, after } => {
                let (count, size) = missing.count_and_size();
                let at = offset.unwrap_or(0);
                boundary(after, size, at)..boundary(after.saturating_add(count), size, at).min(len)
            }
        };
        if range.start < range.end { range } else { 0..0 }
    }
}

/// What stands in the file where a part of a write did not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Leaves {
    /// What stood there before; zeros behind the old end of the file.
    Old,
    /// Zeros.
    Zeros,
    /// Bytes that are drawn from this seed and their place in the file.
    Garbage(u64),
}

/// A write of which only a part reaches the file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Torn {
    /// What reaches the file.
    pub keep: Keep,
    /// What stands where it does not.
    pub leaves: Leaves,
    /// What the caller is told; `None`: that all was written.
    pub errno: Option<Errno>,
}

impl Torn {
    /// A write that is lost: the caller is told that all was written, and nothing was.
    pub const LOST: Torn =
        Torn { keep: Keep::First(Part::Bytes(0)), leaves: Leaves::Old, errno: None };

    /// True where a stream can do it: the first bytes are written, and that is all.
    pub(super) fn is_prefix(&self) -> bool {
        matches!(self.keep, Keep::First(_)) && self.leaves == Leaves::Old && self.errno.is_some()
    }

    /// What is to be written instead of `data` at `offset`: runs of bytes with their offsets, in order.
    /// `old` is what the file holds there, as far as it goes.
    ///
    /// Where the caller is told of an error and the old content is left, the file grows no further than
    /// the last byte that arrived; else it has the size that the whole write would give it.
    pub(super) fn pieces(&self, offset: u64, data: &[u8], old: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let len = data.len() as u64;
        let missing = self.keep.missing(Some(offset), len);
        let is_missing = |index: usize| missing.contains(&(index as u64));
        let arrives = (0..data.len()).rev().find(|&index| !is_missing(index));
        let end = match (self.errno, self.leaves) {
            (Some(_), Leaves::Old) => old.len().max(arrives.map_or(0, |index| index + 1)),
            _ => data.len(),
        };
        let byte = |index: usize| match self.leaves {
            _ if !is_missing(index) => Some(data[index]),
            Leaves::Old if index < old.len() => None,
            Leaves::Old | Leaves::Zeros => Some(0),
            Leaves::Garbage(seed) => Some(garbage(seed, offset + index as u64)),
        };
        let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
        for index in 0..end.min(data.len()) {
            let Some(byte) = byte(index) else { continue };
            let at = offset + index as u64;
            match pieces.last_mut() {
                Some((start, run)) if *start + run.len() as u64 == at => run.push(byte),
                _ => pieces.push((at, vec![byte])),
            }
        }
        pieces
    }
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Torn::LOST {
            return f.write_str("lose");
        }
        match self.keep {
            Keep::First(part) => write!(f, "torn {part}")?,
            Keep::Last(part) => write!(f, "torn last {part}")?,
            Keep::Hole { missing, after } => write!(f, "torn hole {missing} after {after}")?,
        }
        match self.leaves {
            Leaves::Old => {}
            Leaves::Zeros => f.write_str(" leaving zeros")?,
            Leaves::Garbage(seed) => write!(f, " leaving garbage {seed}")?,
        }
        match self.errno {
            Some(errno) => write!(f, " {errno}"),
            None => f.write_str(" silently"),
        }
    }
}

/// The byte that stands at `offset` in garbage of this seed: one step of SplitMix64 (Steele et al., "Fast
/// Splittable Pseudorandom Number Generators", 2014) for each eight bytes.
pub(crate) fn garbage(seed: u64, offset: u64) -> u8 {
    let mut z = seed.wrapping_add((offset / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()[(offset % 8) as usize]
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
        assert_eq!(Part::Units { count: 2, size: 100 }.len(Some(130)), 170);
    }

    #[test]
    fn what_is_missing_is_the_end_the_start_or_the_middle() {
        let missing = |keep: Keep, offset, len| keep.missing(Some(offset), len);
        assert_eq!(missing(Part::Bytes(3).into(), 0, 10), 3..10);
        assert_eq!(missing(Part::Bytes(10).into(), 0, 10), 0..0);
        assert_eq!(missing(Keep::Last(Part::Bytes(3)), 5, 10), 0..7);
        assert_eq!(missing(Keep::Last(Part::Sectors(1)), 500, 600), 0..524);
        assert_eq!(missing(Keep::Last(Part::Sectors(3)), 500, 600), 0..0);
        assert_eq!(missing(Keep::Last(Part::Sectors(2)), 500, 600), 0..12);
        let hole = |count, after| Keep::Hole { missing: Part::Sectors(count), after };
        assert_eq!(missing(hole(1, 1), 500, 600), 12..524);
        assert_eq!(missing(hole(9, 1), 500, 600), 12..600);
        assert_eq!(missing(hole(1, 0), 500, 600), 0..12);
        assert_eq!(missing(hole(1, 9), 500, 600), 0..0);
    }

    #[test]
    fn what_is_missing_is_old_or_zero_or_garbage_and_the_size_follows() {
        let torn = |keep, leaves, errno| Torn { keep, leaves, errno };
        let first = Keep::First(Part::Bytes(1));
        let last = Keep::Last(Part::Bytes(1));
        let run = |at: u64, bytes: &[u8]| (at, bytes.to_vec());
        let told = Some(EIO);
        for (torn, old, expected) in [
            (torn(first, Leaves::Old, told), "oooo", vec![run(9, b"n")]),
            (torn(first, Leaves::Old, told), "", vec![run(9, b"n")]),
            (torn(first, Leaves::Old, None), "", vec![run(9, b"n\0\0\0")]),
            (torn(first, Leaves::Old, None), "oo", vec![run(9, b"n"), run(11, b"\0\0")]),
            (torn(first, Leaves::Zeros, told), "oo", vec![run(9, b"n\0\0\0")]),
            (torn(last, Leaves::Old, told), "oo", vec![run(11, b"\0n")]),
            (torn(last, Leaves::Old, told), "oooo", vec![run(12, b"n")]),
            (Torn::LOST, "oooo", vec![]),
            (Torn::LOST, "", vec![run(9, b"\0\0\0\0")]),
            (Torn { errno: told, ..Torn::LOST }, "", vec![]),
        ] {
            assert_eq!(torn.pieces(9, b"nnnn", old.as_bytes()), expected, "{torn} over {old:?}");
        }
        let spoilt = torn(first, Leaves::Garbage(7), None).pieces(9, b"nnnn", b"");
        let expected: Vec<u8> = (10..13).map(|at| garbage(7, at)).collect();
        assert_eq!(spoilt[0].1[1..], expected);
        assert_ne!(garbage(7, 10), garbage(8, 10));
    }
}
