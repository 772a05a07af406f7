//! An open file of a `FaultFs`, without its faults.

use std::fmt;
use std::fs::Permissions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::door::Witness;
use super::file::FaultFile;
use super::folder::Stat;
use super::metadata::Metadata;
use super::options::OpenOptions;
use super::power::Wants;
use super::shared::{Caller, OpenId, Shared, State, outcome};
use super::storage::Storage;
use crate::disk::Content;
use crate::errno::{EBADF, EINVAL, EISDIR, ENOSPC, Errno};
use crate::fault::{Size, SyncFailure};
use crate::op::{Bytes, Ino, Op, SECTOR, SyncKind};
use crate::plan::OpKind;
use crate::trace::Outcome;

/// An open file of a [`FaultFs`], as the inside of a [`File`]: it records what is asked of it.
///
/// A handle keeps its file, whatever becomes of the names: it can be renamed, replaced and removed.
///
/// [`FaultFs`]: super::FaultFs
/// [`File`]: super::File
#[derive(Clone)]
pub struct FsFile(Arc<Open>);

/// An open file description: shared by the clones of a handle and by mappings.
pub(super) struct Open {
    pub(super) shared: Arc<Shared>,
    pub(super) id: OpenId,
    pub(super) ino: Ino,
    pub(super) options: OpenOptions,
    pub(super) is_dir: bool,
    /// Read and set under the lock of the filesystem only.
    pub(super) cursor: AtomicU64,
    /// The open file of a real folder.
    pub(super) real: Option<std::fs::File>,
}

impl FsFile {
    pub(super) fn new(
        shared: &Arc<Shared>,
        state: &mut State,
        ino: Ino,
        options: OpenOptions,
        real: Option<std::fs::File>,
    ) -> FsFile {
        let is_dir = state.disk().entries(ino).is_some();
        let (id, shared, cursor) = (state.open(ino), shared.clone(), AtomicU64::new(0));
        FsFile(Arc::new(Open { shared, id, ino, options, is_dir, cursor, real }))
    }

    /// The inode that is open.
    pub fn ino(&self) -> Ino {
        self.0.ino
    }

    pub(super) fn open(&self) -> &Open {
        &self.0
    }

    pub(super) fn is_dir(&self) -> bool {
        self.0.is_dir
    }

    /// True where it was opened by a clone of the filesystem that `shared` belongs to.
    pub(super) fn belongs_to(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.0.shared, shared)
    }

    pub(super) fn real(&self) -> Option<&std::fs::File> {
        self.0.real.as_ref()
    }

    pub(super) fn witness(&self) -> Arc<dyn Witness> {
        self.0.clone()
    }

    fn metadata(&self) -> io::Result<Metadata> {
        let open = &*self.0;
        let state = open.shared.enter(Wants::Look)?;
        state.reading(|reads| reads.attributes(open.ino));
        let inode = state.disk().get(open.ino).expect("an open file has an inode");
        let metadata = Metadata::of(open.ino, inode);
        match &open.real {
            None => Ok(metadata),
            Some(real) => Ok(metadata.updated(&Stat::of(real)?)),
        }
    }

    fn set_permissions(&self, permissions: Permissions, caller: Caller) -> io::Result<()> {
        let open = &*self.0;
        let mode = permissions.mode() & 0o7777;
        let mut state = open.shared.enter(Wants::Change)?;
        let started = state.start(caller, Op::SetMode { ino: open.ino, mode });
        let done = open.real.as_ref().map_or(Ok(()), |real| real.set_permissions(permissions));
        state.end(started, outcome(&done));
        done
    }
}

impl Open {
    pub(super) fn content<'a>(&self, state: &'a State) -> io::Result<&'a Content> {
        state.disk().content(self.ino).ok_or(EISDIR.into())
    }

    /// The size of a file, which is read by that.
    pub(super) fn len(&self, state: &State) -> io::Result<u64> {
        state.reading(|reads| reads.len(self.ino));
        Ok(self.content(state)?.len())
    }

    pub(super) fn cursor(&self) -> u64 {
        self.cursor.load(Ordering::Relaxed)
    }

    /// Where a write goes: `at`, or the cursor; with `O_APPEND` the end of the file, always.
    pub(super) fn write_offset(&self, state: &State, at: Option<u64>) -> io::Result<u64> {
        match self.options.append {
            true => self.len(state),
            false => Ok(at.unwrap_or_else(|| self.cursor())),
        }
    }

    /// What the kernel refuses before it looks at the file.
    pub(super) fn check_range(
        &self,
        allowed: bool,
        at: Option<u64>,
        len: usize,
    ) -> Result<(), Errno> {
        let offset = at.unwrap_or_else(|| self.cursor());
        if i64::try_from(offset).is_err() {
            return Err(EINVAL);
        }
        if !allowed {
            return Err(EBADF);
        }
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(EINVAL);
        }
        let whole_sectors = offset.is_multiple_of(SECTOR) && (len as u64).is_multiple_of(SECTOR);
        if self.options.direct && !whole_sectors { Err(EINVAL) } else { Ok(()) }
    }

    fn read(&self, buf: &mut [u8], at: Option<u64>) -> io::Result<usize> {
        let state = self.shared.enter(Wants::Look)?;
        self.check_range(self.options.read, at, buf.len())?;
        let count = match (self.real.as_ref(), at) {
            (None, _) => {
                let offset = at.unwrap_or_else(|| self.cursor());
                let count = self.content(&state)?.read_at(buf, offset);
                state.reading(|reads| reads.file(self.ino, offset, count as u64));
                count
            }
            (Some(real), Some(at)) => real.read_at(buf, at)?,
            (Some(mut real), None) => real.read(buf)?,
        };
        if at.is_none() {
            self.cursor.fetch_add(count as u64, Ordering::Relaxed);
        }
        Ok(count)
    }

    fn write(&self, data: &[u8], at: Option<u64>, caller: Caller) -> io::Result<usize> {
        let mut state = self.shared.enter(Wants::Change)?;
        self.check_range(self.options.writes(), at, data.len())?;
        if data.is_empty() {
            return Ok(0);
        }
        let offset = self.write_offset(&state, at)?;
        let room = state.room_for(self.ino, offset, data.len() as u64);
        let fits = usize::try_from(room).expect("no more than was asked for");
        let OpenOptions { direct, sync, .. } = self.options;
        if fits == 0 {
            let op = Op::Write { ino: self.ino, offset, data: Bytes::new(data), direct, sync };
            state.note_failed(caller, op, ENOSPC);
            return Err(ENOSPC.into());
        }
        let data = &data[..fits];
        let op = Op::Write { ino: self.ino, offset, data: Bytes::new(data), direct, sync };
        let started = state.start(caller, op);
        let wrote = match (self.real.as_ref(), at) {
            (None, _) => Ok(data.len()),
            (Some(real), Some(at)) => real.write_at(data, at),
            (Some(mut real), None) => real.write(data),
        };
        let outcome = match &wrote {
            Ok(count) if *count < data.len() => Outcome::Short(*count as u64),
            other => outcome(other),
        };
        state.end(started, outcome);
        if let (Ok(count), None) = (&wrote, at) {
            self.cursor.store(offset + *count as u64, Ordering::Relaxed);
        }
        wrote
    }

    fn seek(&self, to: SeekFrom) -> io::Result<u64> {
        // Positions in a directory mean something else on every filesystem.
        if self.is_dir {
            return Err(EINVAL.into());
        }
        let state = self.shared.lock();
        let position = match (self.real.as_ref(), to) {
            (Some(mut real), _) => real.seek(to)?,
            (None, SeekFrom::Start(offset)) => offset,
            (None, SeekFrom::End(by)) => add(self.len(&state)?, by)?,
            (None, SeekFrom::Current(by)) => add(self.cursor(), by)?,
        };
        if i64::try_from(position).is_err() {
            return Err(EINVAL.into());
        }
        self.cursor.store(position, Ordering::Relaxed);
        Ok(position)
    }

    fn set_len(&self, len: u64, caller: Caller) -> io::Result<()> {
        if i64::try_from(len).is_err() {
            let message = "a file has at most 2^63 - 1 bytes";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let mut state = self.shared.enter(Wants::Change)?;
        if !self.options.writes() {
            return Err(EINVAL.into());
        }
        let started = state.start(caller, Op::SetLen { ino: self.ino, len });
        let done = self.real.as_ref().map_or(Ok(()), |real| real.set_len(len));
        state.end(started, outcome(&done));
        done
    }

    fn sync(&self, kind: SyncKind, caller: Caller) -> io::Result<()> {
        let real = match kind {
            SyncKind::All => std::fs::File::sync_all,
            SyncKind::Data => std::fs::File::sync_data,
        };
        self.synced(Op::Sync { ino: self.ino, kind }, caller, real)
    }

    /// A sync of the file, or of pages of it.
    pub(super) fn synced(
        &self,
        op: Op,
        caller: Caller,
        real: impl FnOnce(&std::fs::File) -> io::Result<()>,
    ) -> io::Result<()> {
        {
            let state = &mut *self.shared.enter(Wants::Change)?;
            if let Some(errno) = state.owed.remove(&self.id) {
                state.unseen.remove(&self.ino);
                // Kernels differ in whether such a sync writes; the weaker side: nothing, the size neither.
                let how = SyncFailure { size: Size::Reverted, ..SyncFailure::EXT4_ORDERED };
                state.note_failed_sync(caller, op, errno, how);
                return Err(errno.into());
            }
        }
        self.shared.sync(op, caller, |_| self.real.as_ref().map_or(Ok(()), real))
    }
}

fn add(position: u64, by: i64) -> io::Result<u64> {
    position.checked_add_signed(by).ok_or(EINVAL.into())
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.lock_anyway().close(self.ino, self.id);
    }
}

impl fmt::Debug for FsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Open { ino, options, .. } = &*self.0;
        f.debug_struct("FsFile").field("ino", ino).field("options", options).finish_non_exhaustive()
    }
}

impl Storage for FsFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    #[track_caller]
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len, Location::caller())
    }

    #[track_caller]
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync(SyncKind::All, Location::caller())
    }

    #[track_caller]
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync(SyncKind::Data, Location::caller())
    }
}

impl FileExt for FsFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read(buf, Some(offset))
    }

    #[track_caller]
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write(buf, Some(offset), Location::caller())
    }
}

macro_rules! streams {
    ($($file:ty),*) => {$(
        impl Read for $file {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.0.read(buf, None)
            }
        }

        impl Write for $file {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.0.write(buf, None, Location::caller())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        impl Seek for $file {
            fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
                self.0.seek(to)
            }
        }
    )*};
}

streams!(FsFile, &FsFile);

impl FaultFile<FsFile> {
    /// Attributes of the file. This corresponds to [`std::fs::File::metadata`].
    pub fn metadata(&self) -> io::Result<Metadata> {
        match self.gate().armed() {
            None => self.get_ref().metadata(),
            Some(door) => door.call(OpKind::Metadata, || self.get_ref().metadata()),
        }
    }

    /// Sets the permission bits. This corresponds to [`std::fs::File::set_permissions`].
    ///
    /// # After a crash
    ///
    /// `sync_data` does not cover the bits, `sync_all` does.
    #[track_caller]
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        let caller = Location::caller();
        match self.gate().armed() {
            None => self.get_ref().set_permissions(permissions, caller),
            Some(door) => {
                let act = || self.get_ref().set_permissions(permissions, caller);
                door.call(OpKind::SetMode, act)
            }
        }
    }

    /// Starts to write dirty pages back, and waits for that: `sync_file_range` with all its flags.
    ///
    /// # After a crash
    ///
    /// Nothing is durable by it, under any profile: neither size nor mapping nor the device's cache are
    /// covered (sync_file_range(2), "Warning").
    #[track_caller]
    pub fn start_writeback(&self) -> io::Result<()> {
        let open = &*self.get_ref().0;
        let caller = Location::caller();
        let mut state = open.shared.enter(Wants::Change)?;
        let started = state.start(caller, Op::StartWriteback { ino: open.ino });
        state.end(started, Outcome::Done);
        Ok(())
    }

    /// A second handle that shares the cursor. This corresponds to [`std::fs::File::try_clone`].
    pub fn try_clone(&self) -> io::Result<FaultFile<FsFile>> {
        Ok(FaultFile::behind(self.gate().clone(), self.get_ref().clone()))
    }
}
