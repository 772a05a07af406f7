//! The raw log: what the door writes and the decoder reads.
//!
//! One page of [`Header`], then records back to back. The position of a record in the log is its
//! place in the one global sequence, and the position of a start is the id of its operation.

#![cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")),
    allow(dead_code, reason = "written by the door only, which is not here")
)]

use std::io::{self, Read, Seek, SeekFrom};
use std::mem::offset_of;

use faultfs::Reach;

/// The first bytes of a log of this version.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"faultlg2");

/// Where the first record begins.
pub(crate) const RECORDS_AT: usize = 4096;

/// Every record begins at a multiple of this.
pub(crate) const ALIGN: usize = 8;

/// The words of the header, by index.
pub(crate) mod header {
    pub(crate) const MAGIC: usize = 0;
    /// Length of the log in bytes, header and complete records.
    pub(crate) const TAIL: usize = 1;
    /// Not 0 when a record did not fit.
    pub(crate) const FULL: usize = 2;
    /// Not 0 when a forked child changed something below the root.
    pub(crate) const FORKED: usize = 3;
    /// Not 0 when the session was ended by `finish`.
    pub(crate) const FINISHED: usize = 4;
    /// Not 0 when the door was entered again while it was recording.
    pub(crate) const REENTERED: usize = 5;
    /// Not 0 when every call was to be written down.
    pub(crate) const OBSERVED: usize = 6;
    pub(crate) const COUNT: usize = 7;
}

/// What is at the front of each record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Head {
    /// Of the whole record, padding included.
    pub(crate) len_bytes: u32,
    pub(crate) kind: u16,
    /// The system call.
    pub(crate) number: u16,
    pub(crate) thread: u32,
    pub(crate) name_len: u32,
    /// From the front of the record; the data of direct writes is aligned to a page of the log.
    pub(crate) data_at: u32,
    pub(crate) data_len: u32,
    /// Position of the [`Kind::Stack`] from which it was asked for, or 0.
    pub(crate) stack: u64,
    pub(crate) words: [u64; 6],
}

pub(crate) const HEAD_LEN: usize = size_of::<Head>();

/// What a record says; the words of each are named in its comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    /// An operation returned: position of its start, result, inode, mode.
    End = 1,
    /// Inode, offset, flags of [`write`]; data.
    Write,
    /// Inode, length.
    SetLen,
    /// Inode, `fallocate` mode, offset, length.
    Allocate,
    /// Parent, existing inode or 0, `open` flags, mode; name. Only opens that create or truncate.
    Open,
    /// Directory, mode.
    TempFile,
    /// Parent, mode; name.
    MakeDir,
    /// Parent; name; target as data.
    Symlink,
    /// Inode, parent, replaced inode or 0; name. No call replaces by a link: half a rename does.
    Link,
    /// Parent, inode; name.
    Unlink,
    /// Parent, inode; name.
    RemoveDir,
    /// Parent, inode, new parent, replaced inode or 0, `renameat2` flags; name; new name as data.
    Rename,
    /// Inode, mode.
    Chmod,
    /// Inode, 1 where it failed and the device kept the old size. The number tells `fsync` from `fdatasync`.
    Sync,
    /// Inode, offset, length, flags of `sync_file_range`.
    SyncRange,
    /// Nothing: `sync` or `syncfs`.
    SyncAll,
    /// Inode, offset, length, flags of `msync`, 1 where it failed and the device kept the old size.
    Msync,
    /// Single: inode, offset, 1 where the same comparison found the record before; the new bytes of a page that was
    /// stored to through a mapping.
    MapStore,
    /// Single: 0 begin, 1 ack, 2 failed; id; line of the site, and its file as the name, where there is one.
    Mark,
    /// Single: line of the site; a fail point that was passed as the name, its file as data.
    Passed,
    /// Single: position of the start of the operation that was under way, or 0. The power was cut.
    Cut,
    /// Single: why the recording is not complete, as data.
    Unmodelled,
    /// Single: inode; path below the root as the name, empty for the root. What was there at the start.
    Known,
    /// Single: kind as an index of [`OpKind::ALL`], 1 and the offset, or 0 and 0, length, reach as an index of
    /// [`REACHES`], 1 for an open that asks for write access; path as the name; as data the other path of two, a zero byte, the text of the rule that faults the call, if one
    /// does, and each fail point that its thread has passed last, behind a zero byte.
    ///
    /// [`OpKind::ALL`]: faultfs::plan::OpKind::ALL
    Called,
    /// Single: what is added to the addresses that the file states, first address and the one behind the last,
    /// length of the file, its time in seconds and nanoseconds; path of the file as the name. Code of the process.
    Module,
    /// Single: as data the return addresses on a stack, eight bytes each, the innermost first.
    Stack,
}

impl Kind {
    /// True where an [`Kind::End`] follows, sooner or later.
    pub(crate) fn is_start(self) -> bool {
        use Kind::*;
        let single = [MapStore, Mark, Passed, Cut, Unmodelled, Known, Called, Module, Stack];
        self != End && !single.contains(&self)
    }

    pub(crate) fn from_code(code: u16) -> Option<Self> {
        use Kind::*;
        const ALL: [Kind; 26] = [
            End, Write, SetLen, Allocate, Open, TempFile, MakeDir, Symlink, Link, Unlink,
            RemoveDir, Rename, Chmod, Sync, SyncRange, SyncAll, Msync, MapStore, Mark, Passed, Cut,
            Unmodelled, Known, Called, Module, Stack,
        ];
        ALL.into_iter().find(|&kind| kind as u16 == code)
    }
}

/// How far the door reaches in a call.
pub(crate) const REACHES: [Reach; 4] = [Reach::Call, Reach::File, Reach::Filesystem, Reach::Answer];

/// Flags of a write record.
pub(crate) mod write {
    pub(crate) const DIRECT: u64 = 1;
    pub(crate) const DSYNC: u64 = 2;
    pub(crate) const SYNC: u64 = 4;
    pub(crate) const APPEND: u64 = 8;
}

/// What records hold as the kernel of the door has it, for those who decode elsewhere.
pub(crate) mod linux {
    /// Number of the system call.
    pub(crate) const FDATASYNC: u16 = 75;
    pub(crate) const KEEP_SIZE: i32 = 1;
    pub(crate) const PUNCH_HOLE: i32 = 2;
    pub(crate) const ZERO_RANGE: i32 = 16;
    pub(crate) const MS_SYNC: u64 = 4;
    pub(crate) const RENAME_EXCHANGE: u64 = 2;
}

/// A log as it was found, with its header checked.
#[derive(Debug)]
pub(crate) struct Log {
    bytes: Vec<u8>,
}

/// One complete record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) position: u64,
    pub(crate) kind: Kind,
    pub(crate) thread: u32,
    pub(crate) number: u16,
    pub(crate) stack: u64,
    pub(crate) words: [u64; 6],
    pub(crate) name: &'a [u8],
    pub(crate) data: &'a [u8],
}

impl Log {
    /// Reads what was written of a log; it may have been cut short by a death at any moment.
    pub(crate) fn read(from: impl Read + Seek) -> io::Result<Self> {
        let mut from = from;
        let mut bytes = vec![0; RECORDS_AT];
        from.read_exact(&mut bytes).map_err(|_| damaged("it is shorter than its header"))?;
        let log = Self { bytes };
        if log.header(header::MAGIC) != MAGIC {
            return Err(damaged("it is none, or was written by another version"));
        }
        let Self { mut bytes } = log;
        let tail = word(&bytes, header::TAIL * 8);
        if tail < RECORDS_AT as u64 || tail > from.seek(SeekFrom::End(0))? {
            return Err(damaged("its length is not that of the file"));
        }
        from.seek(SeekFrom::Start(RECORDS_AT as u64))?;
        from.take(tail - RECORDS_AT as u64).read_to_end(&mut bytes)?;
        Ok(Self { bytes })
    }

    /// A log as its writer has it.
    pub(crate) fn of_writer(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn header(&self, index: usize) -> u64 {
        word(&self.bytes, index * 8)
    }

    /// The records in order; an error ends them.
    pub(crate) fn records(&self) -> impl Iterator<Item = io::Result<Record<'_>>> {
        let mut at = RECORDS_AT;
        std::iter::from_fn(move || {
            if at >= self.bytes.len() {
                return None;
            }
            let record = parse(&self.bytes[at..], at as u64);
            at = match &record {
                Ok((_, len)) => at + len,
                Err(_) => self.bytes.len(),
            };
            Some(record.map(|(record, _)| record))
        })
    }
}

/// The record at the front of `bytes`, and its length.
fn parse(bytes: &[u8], position: u64) -> io::Result<(Record<'_>, usize)> {
    let bad = || damaged(&format!("its record at {position} makes no sense"));
    let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let number =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if bytes.len() < HEAD_LEN {
        return Err(bad());
    }
    let len = number(offset_of!(Head, len_bytes)) as usize;
    let name_len = number(offset_of!(Head, name_len)) as usize;
    let data_at = number(offset_of!(Head, data_at)) as usize;
    let data_len = number(offset_of!(Head, data_len)) as usize;
    let ordered = HEAD_LEN + name_len <= data_at && data_at + data_len <= len;
    if !ordered || len > bytes.len() || !len.is_multiple_of(ALIGN) {
        return Err(bad());
    }
    let mut words = [0; 6];
    for (index, value) in words.iter_mut().enumerate() {
        *value = word(bytes, offset_of!(Head, words) + index * 8);
    }
    let record = Record {
        position,
        kind: Kind::from_code(half(offset_of!(Head, kind))).ok_or_else(bad)?,
        thread: number(offset_of!(Head, thread)),
        number: half(offset_of!(Head, number)),
        stack: word(bytes, offset_of!(Head, stack)),
        words,
        name: &bytes[HEAD_LEN..HEAD_LEN + name_len],
        data: &bytes[data_at..data_at + data_len],
    };
    Ok((record, len))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) fn damaged(what: &str) -> io::Error {
    let message = format!("this log of an interposed session cannot be used: {what}");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// A log that is made in one process, of what others do, or by hand.
#[derive(Debug)]
pub(crate) struct Writer(Vec<u8>);

/// Who asked for what a record holds.
#[derive(Clone, Copy, Default)]
pub(crate) struct By {
    pub(crate) thread: u32,
    /// The system call.
    pub(crate) number: u16,
    /// Position of the [`Kind::Stack`] from which it was asked for, or 0.
    pub(crate) stack: u64,
}

impl Writer {
    pub(crate) fn new() -> Self {
        let mut bytes = vec![0; RECORDS_AT];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        Self(bytes)
    }

    pub(crate) fn header(&mut self, word: usize, to: u64) {
        self.0[word * 8..word * 8 + 8].copy_from_slice(&to.to_le_bytes());
    }

    /// Adds a record; its position.
    pub(crate) fn add(
        &mut self,
        by: By,
        kind: Kind,
        words: &[u64],
        name: &[u8],
        data: &[u8],
    ) -> u64 {
        let position = self.0.len();
        let data_at = HEAD_LEN + name.len();
        let len = (data_at + data.len()).next_multiple_of(ALIGN);
        self.0.reserve(len);
        self.0.extend((len as u32).to_le_bytes());
        self.0.extend((kind as u16).to_le_bytes());
        self.0.extend(by.number.to_le_bytes());
        for half in [by.thread, name.len() as u32, data_at as u32, data.len() as u32] {
            self.0.extend(half.to_le_bytes());
        }
        self.0.extend(by.stack.to_le_bytes());
        let missing = [0; 6];
        for word in words.iter().chain(&missing[words.len()..]) {
            self.0.extend(word.to_le_bytes());
        }
        self.0.extend(name);
        self.0.extend(data);
        self.0.resize(position + len, 0);
        position as u64
    }

    /// Its length so far, in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub(crate) fn finish(mut self) -> Log {
        self.header(header::TAIL, self.len());
        Log { bytes: self.0 }
    }
}

/// Logs made by hand.
#[cfg(test)]
pub(crate) mod made {
    use std::io::Cursor;

    use super::*;

    pub(crate) struct Maker(Writer);

    impl Maker {
        pub(crate) fn new() -> Self {
            Self(Writer::new())
        }

        pub(crate) fn header(&mut self, word: usize, to: u64) {
            self.0.header(word, to);
        }

        /// Adds a record; its position.
        pub(crate) fn add(&mut self, kind: Kind, words: &[u64], name: &[u8], data: &[u8]) -> u64 {
            self.add_by(kind, 0, 0, words, name, data)
        }

        pub(crate) fn add_by(
            &mut self,
            kind: Kind,
            thread: u32,
            number: u16,
            words: &[u64],
            name: &[u8],
            data: &[u8],
        ) -> u64 {
            self.0.add(By { thread, number, stack: 0 }, kind, words, name, data)
        }

        pub(crate) fn bytes(&mut self) -> Vec<u8> {
            self.header(header::TAIL, self.0.len());
            self.0.0.clone()
        }

        pub(crate) fn log(&mut self) -> Log {
            Log::read(Cursor::new(self.bytes())).expect("a whole log")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::made::Maker;
    use super::*;

    #[test]
    fn records_come_back_as_they_were_written() {
        let mut maker = Maker::new();
        let first = maker.add_by(Kind::Rename, 7, 82, &[1, 2, 3], b"from", b"to");
        let second = maker.add(Kind::Mark, &[0, 9], b"", b"");
        let log = maker.log();
        let records: Vec<_> = log.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), 2);
        let Record { position, kind, thread, number, words, name, data, .. } = records[0];
        assert_eq!((position, kind, thread, number), (first, Kind::Rename, 7, 82));
        assert_eq!((words, name, data), ([1, 2, 3, 0, 0, 0], &b"from"[..], &b"to"[..]));
        assert_eq!((records[1].position, records[1].kind), (second, Kind::Mark));
    }

    #[test]
    fn what_is_behind_the_tail_does_not_count() {
        let mut maker = Maker::new();
        maker.add(Kind::SyncAll, &[], b"", b"");
        let mut bytes = maker.bytes();
        // A death in the midst of a record, and the rest of a sparse file.
        bytes.extend([0xFF; 5000]);
        let log = Log::read(Cursor::new(bytes)).unwrap();
        assert_eq!(log.records().count(), 1);
    }

    #[test]
    fn foreign_and_cut_files_are_refused() {
        let refusal = |bytes: Vec<u8>| match Log::read(Cursor::new(bytes)) {
            Ok(_) => panic!("taken for a log"),
            Err(error) => error.to_string(),
        };
        assert!(refusal(Vec::new()).ends_with("it is shorter than its header"));
        assert!(refusal(vec![1; 9000]).ends_with("it is none, or was written by another version"));
        let mut maker = Maker::new();
        maker.add(Kind::SyncAll, &[], b"", b"");
        let mut bytes = maker.bytes();
        bytes.pop();
        assert!(refusal(bytes).ends_with("its length is not that of the file"));
    }

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn the_kernels_numbers_are_the_kernels() {
        assert_eq!(i64::from(linux::FDATASYNC), libc::SYS_fdatasync);
        assert_eq!(linux::KEEP_SIZE, libc::FALLOC_FL_KEEP_SIZE);
        assert_eq!(linux::PUNCH_HOLE, libc::FALLOC_FL_PUNCH_HOLE);
        assert_eq!(linux::ZERO_RANGE, libc::FALLOC_FL_ZERO_RANGE);
        assert_eq!(linux::MS_SYNC, libc::MS_SYNC as u64);
        assert_eq!(linux::RENAME_EXCHANGE, u64::from(libc::RENAME_EXCHANGE));
    }

    #[test]
    fn every_kind_has_its_code() {
        for code in 1..=Kind::Stack as u16 {
            assert_eq!(Kind::from_code(code).map(|kind| kind as u16), Some(code));
        }
        assert_eq!(Kind::from_code(0), None);
        assert_eq!(Kind::from_code(Kind::Stack as u16 + 1), None);
    }
}
