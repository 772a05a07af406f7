//! What the planted engines ask of a filesystem: a `FaultFs` has it, and through the interposed door so has a
//! folder.

use std::io;
use std::os::unix::fs::FileExt;

use faultfs::fs::Storage;
use faultfs::trace::{Mark, Marks};
use faultfs::verdict::Broken;

pub(crate) trait Files {
    type File: FileExt + Storage;
    /// For reading.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// For reading and writing; made where it is not there.
    fn open_or_create(&self, name: &str) -> io::Result<Self::File>;
    /// For reading and writing; it must not be there.
    fn create_new(&self, name: &str) -> io::Result<Self::File>;
    fn exists(&self, name: &str) -> io::Result<bool>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn sync_dir(&self) -> io::Result<()>;
    fn mark(&self, mark: Mark);
}

/// The whole content of a file.
pub(crate) fn read_all(file: &impl FileExt) -> io::Result<Vec<u8>> {
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

/// What was acknowledged is there; what was reported as failed is not; nothing else is.
pub(crate) fn compare(ids: &[u64], marks: &Marks) -> Result<(), Broken> {
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
pub(crate) fn three_records<E>(
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
