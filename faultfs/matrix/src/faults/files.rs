//! What the planted engines ask of a filesystem: a `FaultFs` has it, and through the interposed door so has a
//! folder.

use std::io;
use std::os::unix::fs::FileExt;

use faultfs::FaultFs;
use faultfs::fs::{File, OpenOptions, Storage};
use faultfs::trace::{Mark, Marks};
use faultfs::verdict::Broken;

/// The files of one folder.
pub trait Files {
    /// One of them, open.
    type File: FileExt + Storage;
    /// For reading.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// For reading and writing; made where it is not there.
    fn open_or_create(&self, name: &str) -> io::Result<Self::File>;
    /// For reading and writing; it must not be there.
    fn create_new(&self, name: &str) -> io::Result<Self::File>;
    /// Whether the name is there.
    fn exists(&self, name: &str) -> io::Result<bool>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name, in the place of what has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Tells what was asked for and what was promised.
    fn mark(&self, mark: Mark);
}

impl Files for FaultFs {
    type File = File;
    fn open(&self, name: &str) -> io::Result<File> {
        FaultFs::open(self, name)
    }
    fn open_or_create(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OpenOptions::new().read(true).write(true).create(true))
    }
    fn create_new(&self, name: &str) -> io::Result<File> {
        FaultFs::create_new(self, name)
    }
    fn exists(&self, name: &str) -> io::Result<bool> {
        FaultFs::exists(self, name)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.remove_file(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        FaultFs::rename(self, from, to)
    }
    fn sync_dir(&self) -> io::Result<()> {
        FaultFs::sync_dir(self, ".")
    }
    fn mark(&self, mark: Mark) {
        match mark {
            Mark::Begin(id) => self.begin(id),
            Mark::Ack(id) => self.ack(id),
            Mark::Failed(id) => self.failed(id),
        }
    }
}

/// The whole content of a file.
pub fn read_all(file: &impl FileExt) -> io::Result<Vec<u8>> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match file.read_at(&mut chunk, bytes.len() as u64) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A file of this content, durable but for its name, in the place of what an attempt may have left.
pub fn write_new(fs: &impl Files, name: &str, content: &[u8]) -> io::Result<()> {
    if fs.exists(name)? {
        fs.remove(name)?;
    }
    let file = fs.create_new(name)?;
    file.write_all_at(content, 0)?;
    file.sync_all()
}

/// What was acknowledged is there; what was reported as failed is not; nothing else is.
pub fn compare(ids: &[u64], marks: &Marks) -> Result<(), Broken> {
    if let Some(id) = marks.acked.iter().find(|id| !ids.contains(id)) {
        return Err(Broken::lost(format!("record {id} was acknowledged, the log holds {ids:?}")));
    }
    if let Some(id) = ids.iter().find(|id| marks.failed.contains(id)) {
        return Err(Broken::corrupt(format!("record {id} failed, the log holds {ids:?}")));
    }
    if let Some(id) = ids.iter().find(|id| !marks.issued.contains(id)) {
        return Err(Broken::corrupt(format!("nobody wrote {id}, the log holds {ids:?}")));
    }
    Ok(())
}

/// Three records, with a restart after the second, of an engine whose errors end the run.
pub fn three_records<E>(
    fs: &impl Files,
    open: impl Fn() -> io::Result<E>,
    put: impl Fn(&mut E, u64) -> io::Result<()>,
) -> Result<(), Broken> {
    let mut engine = open()?;
    for id in 1..=3 {
        fs.mark(Mark::Begin(id));
        put(&mut engine, id)?;
        fs.mark(Mark::Ack(id));
        if id == 2 {
            engine = open()?;
        }
    }
    Ok(())
}
