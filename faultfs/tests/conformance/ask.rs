//! What is asked, and answers in words.

use std::fmt::Write as _;
use std::io;

use faultfs::op::SyncKind;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
    pub(crate) truncate: bool,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) sync: Option<SyncKind>,
    pub(crate) mode: u32,
}

/// One thing to ask. Handles are numbered slots; a slot may be empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    Open(usize, String, Flags),
    Unnamed(usize, String),
    LinkUnnamed(usize, String),
    Clone(usize, usize),
    Close(usize),
    Read(usize, usize),
    ReadAt(usize, usize, u64),
    Write(usize, usize),
    WriteAt(usize, usize, u64),
    SeekStart(usize, u64),
    SeekEnd(usize, i64),
    SeekCurrent(usize, i64),
    SetLen(usize, u64),
    Sync(usize, SyncKind),
    Stat(usize),
    Chmod(usize, u32),
    PathStat(String),
    PathLstat(String),
    PathChmod(String, u32),
    Exists(String),
    ReadFile(String),
    WriteFile(String, usize),
    CreateDir(String),
    CreateDirAll(String),
    RemoveDir(String),
    RemoveDirAll(String),
    ReadDir(String),
    Remove(String),
    Rename(String, String),
    Exchange(String, String),
    HardLink(String, String),
    Symlink(String, String),
    ReadLink(String),
    SyncDir(String),
    SyncAll,
    Mapped(usize, MapAsk),
}

/// One thing to ask of the mapping in a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum MapAsk {
    /// To map the file in the slot: from which byte on, how many, whether for writing.
    Map(u64, usize, bool),
    /// These three are cut to the mapping: how many bytes, from which on.
    Load(usize, usize),
    Store(usize, usize),
    Edit(usize, usize),
    Flush(usize, usize),
}

/// Slots for handles.
pub(crate) const HANDLES: usize = 4;

/// Bytes that tell one write from the next.
pub(crate) fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (len * 31 + i * 7 + 1) as u8).collect()
}

pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut out = format!("{} bytes:", bytes.len());
    bytes.iter().for_each(|b| write!(out, "{b:02x}").expect("a string takes text"));
    out
}

pub(crate) fn attributes(file: bool, dir: bool, len: u64, mode: u32) -> String {
    let kind = if file {
        "file"
    } else if dir {
        "dir"
    } else {
        "link"
    };
    let len = if dir { 0 } else { len };
    format!("{kind} {len} {:o}", mode & 0o7777)
}

/// Reads once; what was read.
pub(crate) fn read_some(
    len: usize,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<String> {
    let mut buf = vec![0; len];
    let count = read(&mut buf)?;
    Ok(shown(&buf[..count]))
}
