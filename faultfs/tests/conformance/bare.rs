//! std, and for what std lacks the kernel, on a bare folder: the truth.

use std::fs::Permissions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use faultfs::op::SyncKind;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};

use crate::ask::{Ask, HANDLES, attributes, data, read_some, shown};

/// A folder, and handles of files in it.
pub(crate) struct Bare {
    pub(crate) root: PathBuf,
    handles: [Option<std::fs::File>; HANDLES],
}

impl Bare {
    pub(crate) fn new(root: &Path) -> Bare {
        Bare { root: root.into(), handles: Default::default() }
    }

    /// Not `Path::join`: an empty path must not become the root.
    fn at(&self, path: &str) -> PathBuf {
        match path {
            "" => PathBuf::new(),
            _ => PathBuf::from(format!("{}/{path}", self.root.display())),
        }
    }

    pub(crate) fn handle(&mut self, slot: usize) -> io::Result<&mut std::fs::File> {
        self.handles[slot].as_mut().ok_or(io::ErrorKind::NotConnected.into())
    }

    /// What a position in a directory is differs between filesystems: `FaultFs` has none.
    fn seek(&mut self, slot: usize, to: SeekFrom) -> io::Result<String> {
        let file = self.handle(slot)?;
        match file.metadata()?.is_dir() {
            true => Err(io::ErrorKind::InvalidInput.into()),
            false => Ok(file.seek(to)?.to_string()),
        }
    }

    pub(crate) fn try_run(&mut self, ask: &Ask) -> io::Result<String> {
        use std::fs;
        let done = |()| "done".to_owned();
        let stat =
            |m: fs::Metadata| attributes(m.is_file(), m.is_dir(), m.len(), m.permissions().mode());
        Ok(match ask {
            Ask::Open(slot, path, flags) => {
                let mut options = fs::OpenOptions::new();
                options.read(flags.read).write(flags.write).append(flags.append);
                options.truncate(flags.truncate).create(flags.create);
                options.create_new(flags.create_new).mode(flags.mode);
                options.custom_flags(match flags.sync {
                    Some(SyncKind::All) => OFlags::SYNC.bits() as i32,
                    Some(SyncKind::Data) => OFlags::DSYNC.bits() as i32,
                    None => 0,
                });
                self.handles[*slot] = Some(options.open(self.at(path))?);
                "open".into()
            }
            Ask::Unnamed(slot, dir) => {
                let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
                let mode = Mode::from_raw_mode(0o600);
                self.handles[*slot] = Some(rustix::fs::open(self.at(dir), flags, mode)?.into());
                "open".into()
            }
            Ask::LinkUnnamed(slot, path) => {
                let to = self.at(path);
                let from = format!("/proc/self/fd/{}", self.handle(*slot)?.as_raw_fd());
                rustix::fs::linkat(CWD, from, CWD, to, AtFlags::SYMLINK_FOLLOW).map(done)?
            }
            Ask::Clone(from, to) => {
                self.handles[*to] = Some(self.handle(*from)?.try_clone()?);
                "cloned".into()
            }
            Ask::Close(slot) => {
                self.handles[*slot] = None;
                "done".into()
            }
            Ask::Read(slot, len) => {
                let file = self.handle(*slot)?;
                read_some(*len, |buf| file.read(buf))?
            }
            Ask::ReadAt(slot, len, at) => {
                let file = self.handle(*slot)?;
                read_some(*len, |buf| file.read_at(buf, *at))?
            }
            Ask::Write(slot, len) => self.handle(*slot)?.write(&data(*len))?.to_string(),
            Ask::WriteAt(slot, len, at) => {
                self.handle(*slot)?.write_at(&data(*len), *at)?.to_string()
            }
            Ask::SeekStart(slot, to) => self.seek(*slot, SeekFrom::Start(*to))?,
            Ask::SeekEnd(slot, by) => self.seek(*slot, SeekFrom::End(*by))?,
            Ask::SeekCurrent(slot, by) => self.seek(*slot, SeekFrom::Current(*by))?,
            Ask::SetLen(slot, len) => self.handle(*slot)?.set_len(*len).map(done)?,
            Ask::Sync(slot, SyncKind::All) => self.handle(*slot)?.sync_all().map(done)?,
            Ask::Sync(slot, SyncKind::Data) => self.handle(*slot)?.sync_data().map(done)?,
            Ask::Stat(slot) => stat(self.handle(*slot)?.metadata()?),
            Ask::Chmod(slot, mode) => {
                self.handle(*slot)?.set_permissions(Permissions::from_mode(*mode)).map(done)?
            }
            Ask::PathStat(path) => stat(fs::metadata(self.at(path))?),
            Ask::PathLstat(path) => stat(fs::symlink_metadata(self.at(path))?),
            Ask::PathChmod(path, mode) => {
                fs::set_permissions(self.at(path), Permissions::from_mode(*mode)).map(done)?
            }
            Ask::Exists(path) => fs::exists(self.at(path))?.to_string(),
            Ask::ReadFile(path) => shown(&fs::read(self.at(path))?),
            Ask::WriteFile(path, len) => fs::write(self.at(path), data(*len)).map(done)?,
            Ask::CreateDir(path) => {
                fs::DirBuilder::new().mode(0o777).create(self.at(path)).map(done)?
            }
            Ask::CreateDirAll(path) => fs::create_dir_all(self.at(path)).map(done)?,
            Ask::RemoveDir(path) => fs::remove_dir(self.at(path)).map(done)?,
            Ask::RemoveDirAll(path) => fs::remove_dir_all(self.at(path)).map(done)?,
            Ask::ReadDir(path) => {
                let entries = fs::read_dir(self.at(path))?.map(|entry| {
                    let entry = entry?;
                    Ok((entry.file_name(), stat(entry.metadata()?)))
                });
                let mut entries = entries.collect::<io::Result<Vec<_>>>()?;
                entries.sort();
                let lines: Vec<_> = entries
                    .iter()
                    .map(|(name, what)| format!("{} {what}", name.display()))
                    .collect();
                lines.join(", ")
            }
            Ask::Remove(path) => fs::remove_file(self.at(path)).map(done)?,
            Ask::Rename(from, to) => fs::rename(self.at(from), self.at(to)).map(done)?,
            Ask::Exchange(from, to) => {
                let (from, to) = (self.at(from), self.at(to));
                rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE).map(done)?
            }
            Ask::HardLink(from, to) => fs::hard_link(self.at(from), self.at(to)).map(done)?,
            Ask::Symlink(target, path) => {
                std::os::unix::fs::symlink(target, self.at(path)).map(done)?
            }
            Ask::ReadLink(path) => fs::read_link(self.at(path))?.display().to_string(),
            Ask::SyncDir(path) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let dir = rustix::fs::open(self.at(path), flags, Mode::empty())?;
                rustix::fs::fsync(dir).map(done)?
            }
            Ask::SyncAll => "done".into(),
            Ask::Mapped(..) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }
}
