//! Does what the ops of a trace say on a real filesystem.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use faultfs::disk::{Body, Disk};
use faultfs::op::{Ino, Kind, Op, PAGE, Slot, SyncKind};
use memmap2::MmapMut;
use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, RenameFlags};
use rustix::io::ReadWriteFlags;

/// The inodes of a run, each open, so that ops name inodes as in the trace.
pub(crate) struct Files {
    open: BTreeMap<Ino, OwnedFd>,
}

impl Files {
    /// Opens all that `base` holds, which `root` holds too.
    pub(crate) fn open(root: &Path, base: &Disk) -> io::Result<Files> {
        let mut files = Files { open: BTreeMap::new() };
        files.open.insert(Ino::ROOT, directory(CWD, root.as_os_str().as_bytes())?);
        for (path, ino) in base.walk() {
            let path = root.join(std::ffi::OsStr::from_bytes(&path));
            let path = path.as_os_str().as_bytes();
            let opened = match base.get(ino).map(|inode| &inode.body) {
                Some(Body::File(_)) => rustix::fs::openat(CWD, path, OFlags::RDWR, Mode::empty())?,
                Some(Body::Dir(_)) => directory(CWD, path)?,
                _ => continue,
            };
            files.open.insert(ino, opened);
        }
        Ok(files)
    }

    fn get(&self, ino: Ino) -> io::Result<&OwnedFd> {
        self.open.get(&ino).ok_or_else(|| io::Error::other(format!("{ino} is not open")))
    }

    /// The regular files, in the order of their numbers.
    pub(crate) fn regular(&self) -> impl Iterator<Item = (Ino, &OwnedFd)> {
        let is_file = |fd: &OwnedFd| {
            rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_mode & 0o170000 == 0o100000)
        };
        self.open.iter().filter(move |(_, fd)| is_file(fd)).map(|(ino, fd)| (*ino, fd))
    }

    /// Carries out an op.
    pub(crate) fn carry_out(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::Create { slot, ino, kind, mode } => self.create(slot, *ino, kind, *mode)?,
            Op::CreateUnnamed { ino, mode } => {
                let root = self.get(Ino::ROOT)?;
                let flags = OFlags::TMPFILE | OFlags::RDWR;
                let made = rustix::fs::openat(root, c".", flags, Mode::from_raw_mode(*mode))?;
                self.open.insert(*ino, made);
            }
            Op::Link { ino, slot } => {
                let (file, dir) = (self.get(*ino)?, self.get(slot.dir)?);
                rustix::fs::linkat(file, c"", dir, slot.name.as_bytes(), AtFlags::EMPTY_PATH)?;
            }
            Op::Unlink { slot } => self.unlink(slot)?,
            Op::Rename { from, to, exchange } => {
                let flags = match exchange {
                    true => RenameFlags::EXCHANGE,
                    false => RenameFlags::empty(),
                };
                let (old, new) = (self.get(from.dir)?, self.get(to.dir)?);
                let (from, to) = (from.name.as_bytes(), to.name.as_bytes());
                rustix::fs::renameat_with(old, from, new, to, flags)?;
            }
            Op::Write { ino, offset, data, direct, sync } => {
                self.write(*ino, *offset, data, *direct, *sync)?;
            }
            Op::MapStore { ino, offset, data, .. } => {
                let map = &mut map(self.get(*ino)?)?;
                let at = map.len().min(*offset as usize);
                let len = data.len().min(map.len() - at);
                map[at..at + len].copy_from_slice(&data[..len]);
            }
            Op::SetLen { ino, len } => rustix::fs::ftruncate(self.get(*ino)?, *len)?,
            Op::Zero { ino, offset, len } if *len > 0 => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(self.get(*ino)?, flags, *offset, *len)?;
            }
            Op::Zero { .. } => {}
            Op::SetMode { ino, mode } => {
                rustix::fs::fchmod(self.get(*ino)?, Mode::from_raw_mode(*mode))?;
            }
            Op::Sync { ino, kind: SyncKind::All } => rustix::fs::fsync(self.get(*ino)?)?,
            Op::Sync { ino, kind: SyncKind::Data } => rustix::fs::fdatasync(self.get(*ino)?)?,
            Op::SyncMap { ino, offset, len } => {
                let map = map(self.get(*ino)?)?;
                let at = map.len().min(*offset as usize);
                let len = (map.len() - at).min((*len).next_multiple_of(PAGE) as usize);
                map.flush_range(at, len)?;
            }
            Op::SyncAll => rustix::fs::syncfs(self.get(Ino::ROOT)?)?,
            Op::StartWriteback { ino } => write_back(self.get(*ino)?, true)?,
        }
        Ok(())
    }

    fn create(&mut self, slot: &Slot, ino: Ino, kind: &Kind, mode: u32) -> io::Result<()> {
        let (dir, name) = (self.get(slot.dir)?, slot.name.as_bytes());
        let mode = Mode::from_raw_mode(mode);
        let made = match kind {
            Kind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
                rustix::fs::openat(dir, name, flags, mode)?
            }
            Kind::Dir => {
                rustix::fs::mkdirat(dir, name, mode)?;
                directory(dir, name)?
            }
            Kind::Symlink(target) => {
                return Ok(rustix::fs::symlinkat(target.as_bytes(), dir, name)?);
            }
        };
        self.open.insert(ino, made);
        Ok(())
    }

    fn unlink(&self, slot: &Slot) -> io::Result<()> {
        let (dir, name) = (self.get(slot.dir)?, slot.name.as_bytes());
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Err(rustix::io::Errno::ISDIR) => {
                Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
            }
            other => Ok(other?),
        }
    }

    fn write(
        &self,
        ino: Ino,
        offset: u64,
        data: &[u8],
        direct: bool,
        sync: Option<SyncKind>,
    ) -> io::Result<()> {
        let file = self.get(ino)?;
        if direct {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let flags = OFlags::WRONLY | OFlags::DIRECT;
            let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
            // Memory at a multiple of the page size, which every device takes.
            let mut memory = vec![0; data.len() + PAGE as usize];
            let from = memory.as_ptr().align_offset(PAGE as usize);
            memory[from..from + data.len()].copy_from_slice(data);
            return file.write_all_at(&memory[from..from + data.len()], offset);
        }
        let flags = match sync {
            None => ReadWriteFlags::empty(),
            Some(SyncKind::Data) => ReadWriteFlags::DSYNC,
            Some(SyncKind::All) => ReadWriteFlags::SYNC,
        };
        if data.is_empty() {
            return Ok(());
        }
        match rustix::io::pwritev2(file, &[IoSlice::new(data)], offset, flags)? {
            len if len == data.len() => Ok(()),
            len => Err(io::Error::other(format!("{len} bytes written of {}", data.len()))),
        }
    }
}

fn directory(at: impl std::os::fd::AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?)
}

fn map(file: &OwnedFd) -> io::Result<MmapMut> {
    // SAFETY: the file is of this run alone, whose one process does one op at a time: nobody changes it
    // under the mapping, nor makes it shorter.
    #[allow(unsafe_code)]
    unsafe {
        MmapMut::map_mut(file)
    }
}

/// Writes back the dirty pages of a file or of a block device, and may wait for that: its data reaches the
/// device, and neither is the device flushed nor the filesystem asked to commit (sync_file_range(2)).
pub(crate) fn write_back(file: &impl AsRawFd, waits: bool) -> io::Result<()> {
    let flags = match waits {
        true => {
            libc::SYNC_FILE_RANGE_WAIT_BEFORE
                | libc::SYNC_FILE_RANGE_WRITE
                | libc::SYNC_FILE_RANGE_WAIT_AFTER
        }
        false => libc::SYNC_FILE_RANGE_WRITE,
    };
    // SAFETY: the call takes no memory; the descriptor is open as long as `file` lives.
    #[allow(unsafe_code)]
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
