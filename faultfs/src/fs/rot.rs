//! What becomes of a file that nobody writes: the page cache drops what it holds, and bits rot on the device.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::Location;
use std::path::Path;

use super::faultfs::FaultFs;
use super::options::OpenOptions;
use super::path::Follow;
use super::power::Wants;
use crate::device::OnDevice;
use crate::disk::{Body, Content, page_spans};
use crate::errno::EISDIR;
use crate::fault::Fault;
use crate::op::{Bytes, Op, SyncKind};
use crate::reads::Reads;
use crate::trace::Outcome;

/// What has happened to stored bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rot {
    /// This bit of the file, counted from its start, is its opposite.
    Flip(u64),
    /// These bytes are others, drawn from the seed and the place of each.
    Garbage {
        /// Which bytes.
        bytes: Range<u64>,
        /// What they are drawn from.
        seed: u64,
    },
}

impl FaultFs {
    /// Drops the clean pages of a file from memory, as a kernel does that needs room. What a failed sync
    /// left there alone is gone: those pages read as the device has them, zeros where it never had any; where
    /// nobody has the file open, a size that was never written is gone too. Without a failed sync nothing
    /// changes.
    ///
    /// # Errors
    ///
    /// `EISDIR` for what is no regular file.
    #[track_caller]
    pub fn evict(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let (path, caller) = (path.as_ref(), Location::caller());
        let state = &mut *self.shared.enter(Wants::Change)?;
        state.reading(Reads::everything);
        let (ino, inode) = self.shared.names(state).find(path, Follow::Always)?;
        let Body::File(live) = &inode.body else { return Err(EISDIR.into()) };
        let is_open = state.open.contains_key(&ino);
        let content = state.on_device(ino).evicted(live, is_open);
        let mut options = OpenOptions::new();
        options.write(true);
        let folder = self.shared.folder.as_ref();
        let real = folder.map(|folder| folder.open_file(path, &options, None)).transpose()?;
        state.restore(ino, &content, real.as_ref(), caller)
    }

    /// Stored bytes of a file have changed on the device, as they do without anybody's doing: from now on
    /// every reader finds them so, and so does a recovery after any crash, until they are written again.
    /// What lies past the end of the file is left out.
    ///
    /// ```
    /// use faultfs::FaultFs;
    /// use faultfs::fs::Rot;
    ///
    /// let fs = FaultFs::mem();
    /// fs.write("f", "a")?;
    /// fs.sync()?;
    /// fs.rot("f", Rot::Flip(1))?;
    /// assert_eq!(fs.read("f")?, b"c");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `EISDIR` for what is no regular file; `InvalidInput` where the file has changes that no sync has
    /// written: what is not on the device cannot rot there.
    #[track_caller]
    pub fn rot(&self, path: impl AsRef<Path>, rot: Rot) -> io::Result<()> {
        let (path, caller) = (path.as_ref(), Location::caller());
        let state = &mut *self.shared.enter(Wants::Change)?;
        state.reading(Reads::everything);
        let (ino, inode) = self.shared.names(state).find(path, Follow::Always)?;
        let Body::File(live) = &inode.body else { return Err(EISDIR.into()) };
        let rotten = rot.apply(live, &state.on_device(ino))?;
        let mut options = OpenOptions::new();
        options.write(true);
        let folder = self.shared.folder.as_ref();
        let real = folder.map(|folder| folder.open_file(path, &options, None)).transpose()?;
        for (offset, data) in rotten {
            real.as_ref().map_or(Ok(()), |real| real.write_all_at(&data, offset))?;
            let (data, sync) = (Bytes::new(&data), Some(SyncKind::Data));
            let op = Op::Write { ino, offset, data, direct: false, sync };
            let started = state.start(caller, op);
            state.end(started, Outcome::Done);
        }
        Ok(())
    }
}

impl Rot {
    /// The bytes that change and what they are then, page by page; for a door.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where not all of `content` is on the device.
    pub fn apply(self, content: &Content, device: &OnDevice) -> io::Result<Vec<(u64, Vec<u8>)>> {
        if !device.is_whole() {
            let message = "the file has changes that are not on the device; sync it before it rots";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let (bytes, fault) = match self {
            Rot::Flip(bit) => (bit / 8..bit / 8 + 1, Fault::Flip(bit)),
            Rot::Garbage { bytes, seed } => {
                let (first, end) = (bytes.start, bytes.end);
                (bytes, Fault::Garbage { first, end, seed })
            }
        };
        let len = bytes.end.min(content.len()).saturating_sub(bytes.start);
        let pieces = page_spans(bytes.start, len).map(|(_, _, range)| {
            let offset = bytes.start + range.start as u64;
            let mut data = vec![0; range.len()];
            content.read_at(&mut data, offset);
            fault.spoil(Some(offset), &mut data);
            (offset, data)
        });
        Ok(pieces.collect())
    }
}
