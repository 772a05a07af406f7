//! What the small engines have in common: framed records, a file made durable, a value published.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use faultfs::fs::{File, OpenOptions};
use faultfs::model::Kept;
use faultfs::verdict::Broken;
use faultfs::{FaultFs, Profile};

/// What a workload and a check come to.
pub type Done = Result<(), Broken>;

/// What it took to find a bug.
#[derive(Clone, Debug)]
pub struct Kill {
    /// Disks that were recovered from, or faults that were tried, the telling one included.
    pub tried: u64,
    /// The time for them, with the run and the making of the disks.
    pub took: Duration,
}

/// Which of the two engines of a pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Twin {
    /// The one with the bug.
    Planted,
    /// The one without.
    Fixed,
}

impl Twin {
    /// True for the engine with the bug.
    pub fn planted(self) -> bool {
        self == Twin::Planted
    }
}

/// Runs the op `id` and acknowledges it.
pub fn promise(fs: &FaultFs, id: u64, op: impl FnOnce() -> io::Result<()>) -> Done {
    fs.begin(id);
    op()?;
    fs.ack(id);
    Ok(())
}

/// Makes a file with this content, durable with its entry.
pub fn durable(fs: &FaultFs, name: &str, content: &[u8]) -> io::Result<File> {
    let mut file = fs.create(name)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs.sync_dir(parent(name))?;
    Ok(file)
}

/// The folder of a name.
pub fn parent(name: &str) -> &Path {
    match Path::new(name).parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Puts content in the place of what `name` held, as it must be done.
pub fn publish(fs: &FaultFs, name: &str, content: &[u8]) -> io::Result<()> {
    let mut new = fs.create(format!("{name}.new"))?;
    new.write_all(content)?;
    new.sync_all()?;
    fs.rename(format!("{name}.new"), name)?;
    fs.sync_dir(parent(name))
}

/// Bytes that tell whose they are, in every part of them.
pub fn payload(id: u64, len: usize) -> Vec<u8> {
    id.to_le_bytes().iter().copied().cycle().take(len).collect()
}

/// A record as it stands in a log: length, checksum of the payload, payload.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a small record");
    let mut frame = len.to_le_bytes().to_vec();
    frame.extend(crc32fast::hash(payload).to_le_bytes());
    frame.extend(payload);
    frame
}

/// The first record of `bytes`, if it is whole, and the rest.
pub fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (payload, crc, rest) = unchecked(bytes)?;
    (!payload.is_empty() && crc32fast::hash(payload) == crc).then_some((payload, rest))
}

/// The first record of `bytes` and its checksum, if its length fits, and the rest.
pub fn unchecked(bytes: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let (header, rest) = bytes.split_at_checked(8)?;
    let (payload, rest) = rest.split_at_checked(number(&header[..4]) as usize)?;
    Some((payload, number(&header[4..]), rest))
}

/// The whole records at the beginning of `bytes`.
pub fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let Some((payload, rest)) = unframe(bytes) {
        records.push(payload.to_vec());
        bytes = rest;
    }
    records
}

/// A number of four bytes.
pub fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

/// The content of a file, empty where it is not there.
pub fn read(fs: &FaultFs, name: &str) -> Vec<u8> {
    fs.read(name).unwrap_or_default()
}

/// A file that is there, to be written to.
pub fn existing(fs: &FaultFs, name: &str) -> io::Result<Option<File>> {
    match fs.open_with(name, OpenOptions::new().write(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

/// The size of a page.
pub const PAGE: usize = 4096;

/// Writes a whole page of a file.
pub fn put_page(file: &File, index: u64, content: &[u8]) -> io::Result<()> {
    let mut page = vec![0; PAGE];
    page[..content.len()].copy_from_slice(content);
    file.write_all_at(&page, index * PAGE as u64)
}

/// A page of a file's content, if it is there whole.
pub fn page(content: &[u8], index: usize) -> Option<&[u8]> {
    content.get(index * PAGE..(index + 1) * PAGE)
}

/// A header of one page: the same number at both ends of it.
pub fn header(id: u64) -> Vec<u8> {
    let mut header = vec![0; PAGE];
    header[..8].copy_from_slice(&id.to_le_bytes());
    header[PAGE - 8..].copy_from_slice(&id.to_le_bytes());
    header
}

/// The numbers at the ends of a header; they are equal where it is whole.
pub fn header_ends(header: &[u8]) -> [u64; 2] {
    [&header[..4], &header[PAGE - 8..PAGE - 4]].map(|bytes| number(bytes).into())
}

/// Appends three records of a size to a log and promises each, without a mistake.
pub fn append_records(fs: &FaultFs, len: usize) -> Done {
    let mut log = durable(fs, "log", b"")?;
    for id in 1..=3 {
        promise(fs, id, || {
            log.write_all(&frame(&payload(id, len)))?;
            log.sync_data()
        })?;
    }
    Ok(())
}

/// True where a sync that forces a size out takes the sizes before it along, and their data with them.
pub fn orders_appends(profile: &Profile) -> bool {
    profile.order >= Kept::Metadata && !profile.size_before_data && !profile.intent_log
}
