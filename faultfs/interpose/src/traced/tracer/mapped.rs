//! Files that are mapped to be shared: stores into them are no calls, and are seen by comparing each file with
//! what the recorded calls have made of it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

const PAGE: usize = 4096;

/// The files that some process has mapped, by inode. One stays for good: what has no mapping any more does not
/// change unseen.
#[derive(Default)]
pub(super) struct Mapped(BTreeMap<u64, Copy>);

struct Copy {
    file: File,
    /// What is there as far as is recorded.
    content: Vec<u8>,
}

/// New bytes of a page.
pub(super) struct Stored {
    pub(super) ino: u64,
    pub(super) offset: u64,
    pub(super) data: Vec<u8>,
}

impl Mapped {
    /// A file is about to be mapped; `path` leads to it.
    pub(super) fn open(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    /// It was.
    pub(super) fn add(&mut self, file: File) -> io::Result<()> {
        let ino = file.metadata()?.ino();
        if let Entry::Vacant(place) = self.0.entry(ino) {
            let content = content(&file)?;
            place.insert(Copy { file, content });
        }
        Ok(())
    }

    /// What was stored since the last time, page by page.
    pub(super) fn stored(&mut self) -> io::Result<Vec<Stored>> {
        let mut stored = Vec::new();
        for (&ino, copy) in &mut self.0 {
            let now = content(&copy.file)?;
            let len = now.len().min(copy.content.len());
            for at in (0..len).step_by(PAGE) {
                let page = at..(at + PAGE).min(len);
                let differs = |&i: &usize| now[i] != copy.content[i];
                let Some(first) = page.clone().find(differs) else { continue };
                let last = page.clone().rfind(differs).expect("the first, if no other");
                let data = now[first..=last].to_vec();
                copy.content[first..=last].copy_from_slice(&data);
                stored.push(Stored { ino, offset: first as u64, data });
            }
        }
        Ok(stored)
    }

    /// A call has written to a file.
    pub(super) fn wrote(&mut self, ino: u64, offset: u64, data: &[u8]) {
        if let Some(Copy { content, .. }) = self.0.get_mut(&ino) {
            let (start, end) = (offset as usize, offset as usize + data.len());
            content.resize(content.len().max(end), 0);
            content[start..end].copy_from_slice(data);
        }
    }

    /// A call has set the size of a file.
    pub(super) fn resized(&mut self, ino: u64, len: u64) {
        if let Some(Copy { content, .. }) = self.0.get_mut(&ino) {
            content.resize(len as usize, 0);
        }
    }

    /// A call has made a range of a file zeros, within its size.
    pub(super) fn zeroed(&mut self, ino: u64, offset: u64, end: u64) {
        if let Some(Copy { content, .. }) = self.0.get_mut(&ino) {
            let len = content.len();
            content[(offset as usize).min(len)..(end as usize).min(len)].fill(0);
        }
    }
}

fn content(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.metadata().as_ref().map_or(0, Metadata::len) as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
