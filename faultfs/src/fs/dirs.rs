//! Directories, links and attributes of a `FaultFs`.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::panic::Location;
use std::path::{Path, PathBuf};

use super::faultfs::{FaultFs, UMASK, changed_outside};
use super::folder::Folder;
use super::metadata::{FileType, Metadata, ReadDir, bytes, os_string};
use super::path::Follow;
use super::power::Wants;
use super::shared::{Caller, site_of};
use crate::disk::{Body, Disk};
use crate::errno::{EINVAL, EIO, ENOTDIR};
use crate::fault::Effect;
use crate::injector::Call;
use crate::op::{Ino, Kind, Name, Op};
use crate::plan::OpKind;

/// Directories, links and attributes.
impl FaultFs {
    /// Makes a directory. This corresponds to [`std::fs::create_dir`].
    #[track_caller]
    pub fn create_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mode = 0o777 & !UMASK;
        let (path, caller) = (path.as_ref(), Location::caller());
        let state = &mut *self.shared.enter(Wants::Change)?;
        let asked = self.shared.names(state).vacant(path, true).map(|slot| {
            let ino = state.recorder.fresh_ino();
            Some(Op::Create { slot, ino, kind: Kind::Dir, mode })
        });
        let call = (OpKind::CreateDir, path);
        self.step(state, call, caller, asked, |folder| folder.create_dir(path, mode))?;
        Ok(())
    }

    /// Makes a directory and those above it that are missing. This corresponds to
    /// [`std::fs::create_dir_all`].
    #[track_caller]
    pub fn create_dir_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = path.as_ref();
        while !at.as_os_str().is_empty() {
            match self.create_dir(at) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(at),
                Err(e) => {
                    self.unless_dir(at, e)?;
                    break;
                }
            }
            at = at.parent().unwrap_or(Path::new(""));
        }
        for path in missing.into_iter().rev() {
            self.create_dir(path).or_else(|e| self.unless_dir(path, e))?;
        }
        Ok(())
    }

    /// It is fine that a directory could not be made where there is one.
    fn unless_dir(&self, path: &Path, error: io::Error) -> io::Result<()> {
        match self.metadata(path) {
            Ok(found) if found.is_dir() => Ok(()),
            // A link out of the root is not the same as a name that is taken.
            Err(outside) if outside.raw_os_error().is_none() => Err(outside),
            _ => Err(error),
        }
    }

    /// Removes an empty directory. This corresponds to [`std::fs::remove_dir`].
    #[track_caller]
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let (path, caller) = (path.as_ref(), Location::caller());
        let state = &mut *self.shared.enter(Wants::Change)?;
        let asked = self.shared.names(state).remove_dir(path).map(Some);
        let call = (OpKind::RemoveDir, path);
        self.step(state, call, caller, asked, |folder| folder.remove_dir(path))?;
        Ok(())
    }

    /// Removes a directory and everything in it, in the order of the names. This corresponds to
    /// [`std::fs::remove_dir_all`]; a symbolic link is removed, not followed.
    #[track_caller]
    pub fn remove_dir_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        if self.symlink_metadata(path)?.is_symlink() {
            return self.remove_file(path);
        }
        // A path such as `a/../b` leads nowhere once `a` is removed.
        let physical = {
            let state = &mut *self.shared.enter(Wants::Look)?;
            self.shared.names(state).physical(path)?
        };
        for entry in self.read_dir(physical)? {
            let entry = entry?;
            let removed = match entry.file_type() {
                FileType::Dir => self.remove_dir_all(entry.path()),
                _ => self.remove_file(entry.path()),
            };
            gone_is_fine(removed)?;
        }
        gone_is_fine(self.remove_dir(path))
    }

    /// The entries of a directory, in the byte order of their names. This corresponds to
    /// [`std::fs::read_dir`].
    #[track_caller]
    pub fn read_dir(&self, path: impl AsRef<Path>) -> io::Result<ReadDir> {
        let (path, caller) = (path.as_ref(), Location::caller());
        let state = &mut *self.shared.enter(Wants::Look)?;
        let dir = self.shared.names(state).dir(path);
        let listed = dir.as_ref().ok().map(|ino| list(state.disk(), *ino));
        dir.iter().for_each(|dir| state.reading(|reads| reads.list(*dir)));
        let asked = dir.map(|_| None);
        let call = (OpKind::ReadDir, path);
        let real = self.step(state, call, caller, asked, |folder| folder.list(path))?;
        let listed = listed.ok_or_else(changed_outside)?;
        if real.is_some_and(|names| !names.iter().eq(listed.iter().map(|(name, _)| name))) {
            let shown = path.display();
            state.recorder.unmodelled(format!("the names in {shown} were changed from outside"));
        }
        Ok(ReadDir { fs: self.clone(), dir: path.to_path_buf(), entries: listed.into_iter() })
    }

    /// Makes a symbolic link at `link` that leads to `original`. This corresponds to
    /// [`std::os::unix::fs::symlink`].
    #[track_caller]
    pub fn symlink(&self, original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
        let (original, link, caller) = (original.as_ref(), link.as_ref(), Location::caller());
        let state = &mut *self.shared.enter(Wants::Change)?;
        let target = Name::new(bytes(original));
        let asked = self.shared.names(state).symlink(&target, link).map(|slot| {
            let ino = state.recorder.fresh_ino();
            Some(Op::Create { slot, ino, kind: Kind::Symlink(target), mode: 0o777 })
        });
        let call = (OpKind::Symlink, link);
        self.step(state, call, caller, asked, |folder| folder.symlink(original, link))?;
        Ok(())
    }

    /// Where a symbolic link leads. This corresponds to [`std::fs::read_link`].
    #[track_caller]
    pub fn read_link(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let (path, caller) = (path.as_ref(), Location::caller());
        let state = &mut *self.shared.enter(Wants::Look)?;
        let target = match self.shared.names(state).find(path, Follow::Slash) {
            Ok((_, inode)) => match &inode.body {
                Body::Symlink(target) => Ok(PathBuf::from(os_string(target.as_bytes()))),
                _ => Err(EINVAL.into()),
            },
            Err(e) => Err(e),
        };
        let (target, asked) = split(target);
        let call = (OpKind::ReadLink, path);
        let real = self.step(state, call, caller, asked, |folder| folder.read_link(path))?;
        real.or(target).ok_or_else(changed_outside)
    }

    /// Attributes of what a path leads to. This corresponds to [`std::fs::metadata`].
    #[track_caller]
    pub fn metadata(&self, path: impl AsRef<Path>) -> io::Result<Metadata> {
        self.stat(path.as_ref(), Follow::Always, Location::caller())
    }

    /// Attributes, of a symbolic link its own. This corresponds to [`std::fs::symlink_metadata`].
    #[track_caller]
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> io::Result<Metadata> {
        self.stat(path.as_ref(), Follow::Slash, Location::caller())
    }

    fn stat(&self, path: &Path, follow: Follow, caller: Caller) -> io::Result<Metadata> {
        let state = &mut *self.shared.enter(Wants::Look)?;
        let found = self.shared.names(state).find(path, follow);
        found.iter().for_each(|(ino, _)| state.reading(|reads| reads.attributes(*ino)));
        let (metadata, asked) = split(found.map(|(ino, inode)| Metadata::of(ino, inode)));
        let call = (OpKind::Metadata, path);
        let real = self.step(state, call, caller, asked, |folder| folder.stat(path, follow))?;
        let metadata = metadata.ok_or_else(changed_outside)?;
        Ok(real.map_or(metadata.clone(), |stat| metadata.updated(&stat)))
    }

    /// True where the path leads to something. This corresponds to [`std::fs::exists`].
    #[track_caller]
    pub fn exists(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Sets permission bits. This corresponds to [`std::fs::set_permissions`].
    #[track_caller]
    pub fn set_permissions(
        &self,
        path: impl AsRef<Path>,
        permissions: Permissions,
    ) -> io::Result<()> {
        let (path, caller) = (path.as_ref(), Location::caller());
        let mode = permissions.mode() & 0o7777;
        let state = &mut *self.shared.enter(Wants::Change)?;
        let found = self.shared.names(state).find(path, Follow::Always);
        let asked = found.map(|(ino, _)| Some(Op::SetMode { ino, mode }));
        let call = (OpKind::SetMode, path);
        self.step(state, call, caller, asked, |folder| folder.set_mode(path, mode))?;
        Ok(())
    }

    /// Makes the entries of a directory durable: opens it and calls `sync_all`, as an engine does with
    /// [`std::fs::File`].
    ///
    /// # Errors
    ///
    /// `ENOTDIR` where the path is no directory.
    #[track_caller]
    pub fn sync_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let dir = self.open(path)?;
        match dir.get_ref().is_dir() {
            true => dir.sync_all(),
            false => Err(ENOTDIR.into()),
        }
    }

    /// Makes everything durable that was asked before: `syncfs`.
    #[track_caller]
    pub fn sync(&self) -> io::Result<()> {
        let caller = Location::caller();
        let site = site_of(caller);
        let call = Call { site, ..Call::new(OpKind::SyncAll, Path::new(".")) };
        let effect = {
            let state = &mut *self.shared.enter(Wants::Change)?;
            self.shared.judge(state, &call, caller, || Some(Op::SyncAll))
        };
        match effect {
            Effect::Nothing(errno) => errno.map_or(Ok(()), |errno| Err(errno.into())),
            Effect::Crash => {
                self.shared.lock().crash(Some(Op::SyncAll), caller);
                self.shared.thawed.notify_all();
                Err(EIO.into())
            }
            Effect::Part { errno, .. } => {
                self.shared.sync(Op::SyncAll, caller, Folder::sync_all)?;
                errno.map_or(Ok(()), |errno| Err(errno.into()))
            }
            _ => self.shared.sync(Op::SyncAll, caller, Folder::sync_all),
        }
    }
}

/// Someone else may have removed it first.
fn gone_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A value that is only looked up: what `step` is told of it, beside the value.
fn split<T>(found: io::Result<T>) -> (Option<T>, io::Result<Option<Op>>) {
    match found {
        Ok(value) => (Some(value), Ok(None)),
        Err(e) => (None, Err(e)),
    }
}

fn list(disk: &Disk, dir: Ino) -> Vec<(OsString, FileType)> {
    let file_type = |ino: Ino| match disk.get(ino).map(|inode| &inode.body) {
        Some(Body::Dir(_)) => FileType::Dir,
        Some(Body::Symlink(_)) => FileType::Symlink,
        _ => FileType::File,
    };
    let entries = disk.entries(dir).into_iter().flatten();
    entries.map(|(name, ino)| (os_string(name.as_bytes()), file_type(*ino))).collect()
}
