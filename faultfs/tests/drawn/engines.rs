//! Engines for drawn workloads. Each has one bug, which needs its steps in some order or of some size, or none.

use std::collections::BTreeMap;
use std::io::{self, Write};

use faultfs::FaultFs;
use faultfs::fs::{File, OpenOptions};

type Change = (u8, Option<Vec<u8>>);
type Content = BTreeMap<u8, Vec<u8>>;

/// A store of keys and values: a log of batches with a checksum each.
pub(crate) struct Store {
    fs: FaultFs,
    log: File,
    content: Content,
    /// The directory is synced after the log was put in the place of another.
    syncs_names: bool,
}

impl Store {
    pub(crate) fn open(fs: &FaultFs, syncs_names: bool) -> io::Result<Store> {
        let fs = fs.clone();
        let log = fs.open_with("log", OpenOptions::new().append(true).create(true))?;
        fs.sync_dir(".")?;
        let content = content(&fs)?;
        Ok(Store { fs, log, content, syncs_names })
    }

    pub(crate) fn write(&mut self, batch: Vec<Change>) -> io::Result<()> {
        self.log.write_all(&frame(&batch))?;
        self.log.sync_data()?;
        apply(&mut self.content, batch);
        Ok(())
    }

    /// Writes the log anew, with what it comes to.
    pub(crate) fn compact(&mut self) -> io::Result<()> {
        let mut new = self.fs.create("new")?;
        let all: Vec<Change> =
            self.content.iter().map(|(key, value)| (*key, Some(value.clone()))).collect();
        if !all.is_empty() {
            new.write_all(&frame(&all))?;
        }
        new.sync_all()?;
        self.fs.rename("new", "log")?;
        if self.syncs_names {
            self.fs.sync_dir(".")?;
        }
        self.log = new;
        Ok(())
    }
}

fn apply(content: &mut Content, batch: Vec<Change>) {
    for (key, value) in batch {
        match value {
            Some(value) => content.insert(key, value),
            None => content.remove(&key),
        };
    }
}

/// A batch as it stands in the log: length and checksum, and for each change its key, what it is, a length,
/// a value.
fn frame(batch: &[Change]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in batch {
        let bytes = value.as_deref().unwrap_or_default();
        body.extend([*key, u8::from(value.is_some())]);
        body.extend((bytes.len() as u16).to_le_bytes());
        body.extend(bytes);
    }
    [&(body.len() as u32).to_le_bytes(), &crc32fast::hash(&body).to_le_bytes(), &body[..]].concat()
}

/// The body of the first frame, if it is whole, and the rest.
fn unframed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = bytes.split_at_checked(8)?;
    let (len, sum) = header.split_at(4);
    let len = u32::from_le_bytes(len.try_into().expect("four bytes"));
    let (body, rest) = rest.split_at_checked(len as usize)?;
    (sum == crc32fast::hash(body).to_le_bytes() && len > 0).then_some((body, rest))
}

pub(crate) fn content(fs: &FaultFs) -> io::Result<Content> {
    let bytes = if fs.exists("log")? { fs.read("log")? } else { Vec::new() };
    let (mut content, mut rest) = (Content::new(), &bytes[..]);
    while let Some((mut body, next)) = unframed(rest) {
        let mut batch = Vec::new();
        while let [key, is_put, low, high, tail @ ..] = body {
            let (value, next) = tail.split_at(u16::from_le_bytes([*low, *high]).into());
            batch.push((*key, (*is_put == 1).then(|| value.to_vec())));
            body = next;
        }
        apply(&mut content, batch);
        rest = next;
    }
    Ok(content)
}

/// A log of records.
pub(crate) struct Journal {
    file: File,
    /// A sync follows each record.
    syncs: bool,
}

impl Journal {
    /// With the bug, nobody thinks of syncs any more when the file was there already.
    pub(crate) fn open(fs: &FaultFs, is_fixed: bool) -> io::Result<Journal> {
        let is_new = !fs.exists("journal")?;
        let file = fs.open_with("journal", OpenOptions::new().append(true).create(true))?;
        fs.sync_dir(".")?;
        Ok(Journal { file, syncs: is_new || is_fixed })
    }

    pub(crate) fn append(&mut self, record: Vec<u8>) -> io::Result<()> {
        let header = [(record.len() as u32).to_le_bytes(), crc32fast::hash(&record).to_le_bytes()];
        self.file.write_all(&[&header.concat(), &record[..]].concat())?;
        if self.syncs { self.file.sync_data() } else { Ok(()) }
    }

    /// The whole records at its front.
    pub(crate) fn records(fs: &FaultFs) -> Vec<Vec<u8>> {
        let bytes = fs.read("journal").unwrap_or_default();
        let (mut records, mut rest) = (Vec::new(), &bytes[..]);
        while let Some((record, next)) = unframed(rest) {
            records.push(record.to_vec());
            rest = next;
        }
        records
    }
}

/// A value in a file, which each new one replaces.
pub(crate) struct Document {
    fs: FaultFs,
    is_fixed: bool,
}

impl Document {
    pub(crate) fn open(fs: &FaultFs, is_fixed: bool) -> io::Result<Document> {
        Ok(Document { fs: fs.clone(), is_fixed })
    }

    /// With the bug, what fits in a page is thought to be written at once.
    pub(crate) fn save(&mut self, value: Vec<u8>) -> io::Result<()> {
        let name = if value.len() > PAGE || self.is_fixed { "new" } else { "document" };
        self.fs.write(name, value)?;
        self.fs.open(name)?.sync_all()?;
        if name == "new" {
            self.fs.rename("new", "document")?;
        }
        self.fs.sync_dir(".")
    }
}

const PAGE: usize = 4096;
