//! The three that answer.

use std::fs::Permissions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use faultfs::FaultFs;
use faultfs::fs::{File, OpenOptions};
use faultfs::op::SyncKind;
use rustix::fs::Mode;

use crate::ask::{Ask, HANDLES, attributes, data, read_some, shown};
use crate::bare::Bare;
use crate::maps::{BareMaps, FaultyMaps};

/// The answer in words, so that answers of different types can be compared.
pub(crate) type Answer = Result<String, String>;

/// What a `FaultFs` answers to a path out of its root, where std would go.
const LEADS_OUT: &str = "leads out";

fn answer(result: io::Result<String>) -> Answer {
    result.map_err(|e| match e.raw_os_error() {
        None if e.to_string().contains("leads out of the filesystem") => LEADS_OUT.into(),
        // What std refuses before it asks the kernel has a kind only.
        Some(22) => "InvalidInput".into(),
        Some(errno) => format!("errno {errno}"),
        None => format!("{:?}", e.kind()),
    })
}

/// A `FaultFs` with handles.
pub(crate) struct Faulty {
    pub(crate) fs: FaultFs,
    handles: [Option<File>; HANDLES],
    maps: FaultyMaps,
}

impl Faulty {
    pub(crate) fn new(fs: FaultFs) -> Faulty {
        Faulty { fs, handles: Default::default(), maps: FaultyMaps::default() }
    }

    pub(crate) fn run(&mut self, ask: &Ask) -> Answer {
        answer(self.try_run(ask))
    }

    pub(crate) fn handle(&mut self, slot: usize) -> io::Result<&mut File> {
        self.handles[slot].as_mut().ok_or(io::ErrorKind::NotConnected.into())
    }

    pub(crate) fn try_run(&mut self, ask: &Ask) -> io::Result<String> {
        let done = |()| "done".to_owned();
        let fs = self.fs.clone();
        Ok(match ask {
            Ask::Open(slot, path, flags) => {
                let mut options = OpenOptions::new();
                options.read(flags.read).write(flags.write).append(flags.append);
                options.truncate(flags.truncate).create(flags.create);
                options.create_new(flags.create_new).mode(flags.mode);
                if let Some(kind) = flags.sync {
                    options.sync(kind);
                }
                self.handles[*slot] = Some(fs.open_with(path, &options)?);
                "open".into()
            }
            Ask::Unnamed(slot, dir) => {
                self.handles[*slot] = Some(fs.create_unnamed(dir)?);
                "open".into()
            }
            Ask::LinkUnnamed(slot, path) => fs.link_unnamed(self.handle(*slot)?, path).map(done)?,
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
            Ask::SeekStart(slot, to) => self.handle(*slot)?.seek(SeekFrom::Start(*to))?.to_string(),
            Ask::SeekEnd(slot, by) => self.handle(*slot)?.seek(SeekFrom::End(*by))?.to_string(),
            Ask::SeekCurrent(slot, by) => {
                self.handle(*slot)?.seek(SeekFrom::Current(*by))?.to_string()
            }
            Ask::SetLen(slot, len) => self.handle(*slot)?.set_len(*len).map(done)?,
            Ask::Sync(slot, SyncKind::All) => self.handle(*slot)?.sync_all().map(done)?,
            Ask::Sync(slot, SyncKind::Data) => self.handle(*slot)?.sync_data().map(done)?,
            Ask::Stat(slot) => {
                let m = self.handle(*slot)?.metadata()?;
                attributes(m.is_file(), m.is_dir(), m.len(), m.mode())
            }
            Ask::Chmod(slot, mode) => {
                self.handle(*slot)?.set_permissions(Permissions::from_mode(*mode)).map(done)?
            }
            Ask::PathStat(path) => {
                let m = fs.metadata(path)?;
                attributes(m.is_file(), m.is_dir(), m.len(), m.mode())
            }
            Ask::PathLstat(path) => {
                let m = fs.symlink_metadata(path)?;
                attributes(m.is_file(), m.is_dir(), m.len(), m.mode())
            }
            Ask::PathChmod(path, mode) => {
                fs.set_permissions(path, Permissions::from_mode(*mode)).map(done)?
            }
            Ask::Exists(path) => fs.exists(path)?.to_string(),
            Ask::ReadFile(path) => shown(&fs.read(path)?),
            Ask::WriteFile(path, len) => fs.write(path, data(*len)).map(done)?,
            Ask::CreateDir(path) => fs.create_dir(path).map(done)?,
            Ask::CreateDirAll(path) => fs.create_dir_all(path).map(done)?,
            Ask::RemoveDir(path) => fs.remove_dir(path).map(done)?,
            Ask::RemoveDirAll(path) => fs.remove_dir_all(path).map(done)?,
            Ask::ReadDir(path) => {
                let entries = fs.read_dir(path)?.map(|entry| {
                    let entry = entry?;
                    let m = entry.metadata()?;
                    let what = attributes(m.is_file(), m.is_dir(), m.len(), m.mode());
                    Ok(format!("{} {what}", entry.file_name().display()))
                });
                entries.collect::<io::Result<Vec<_>>>()?.join(", ")
            }
            Ask::Remove(path) => fs.remove_file(path).map(done)?,
            Ask::Rename(from, to) => fs.rename(from, to).map(done)?,
            Ask::Exchange(from, to) => fs.exchange(from, to).map(done)?,
            Ask::HardLink(from, to) => fs.hard_link(from, to).map(done)?,
            Ask::Symlink(target, path) => fs.symlink(target, path).map(done)?,
            Ask::ReadLink(path) => fs.read_link(path)?.display().to_string(),
            Ask::SyncDir(path) => fs.sync_dir(path).map(done)?,
            Ask::SyncAll => fs.sync().map(done)?,
            Ask::Mapped(slot, ask) => {
                self.maps.try_run(*slot, self.handles[*slot].as_ref(), ask)?
            }
        })
    }
}

/// The three, side by side.
pub(crate) struct Worlds {
    folders: tempfile::TempDir,
    pub(crate) mem: Faulty,
    pub(crate) real: Faulty,
    bare: Bare,
    bare_maps: BareMaps,
}

impl Worlds {
    pub(crate) fn new() -> Worlds {
        // New files of std get the umask that `FaultFs` has.
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let ram = Path::new("/dev/shm");
        let base = std::env::var_os("FAULTFS_TEST_DIR").map(PathBuf::from);
        let base = base.or_else(|| ram.is_dir().then(|| ram.into()));
        let folders = tempfile::tempdir_in(base.unwrap_or_else(std::env::temp_dir)).unwrap();
        // Deep, so that a path that leads out by a mistake of ours still meets nothing of value.
        let deep = |name: &str| {
            let path = folders.path().join(name).join("1/2/3/4");
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let real = Faulty::new(FaultFs::real(deep("real")).unwrap());
        let bare = Bare::new(&deep("bare"));
        let mem = Faulty::new(FaultFs::mem());
        Worlds { mem, real, bare, bare_maps: BareMaps::default(), folders }
    }

    /// Asks all three; the one answer that they agree on.
    ///
    /// A path that leads out of the root is refused by both forms of `FaultFs`, where std would go.
    pub(crate) fn ask(&mut self, ask: &Ask) -> Result<Answer, String> {
        let mem = self.mem.run(ask);
        let real = self.real.run(ask);
        if mem != real {
            return Err(format!("{ask:?}\n  memory: {mem:?}\n  folder: {real:?}"));
        }
        if mem != Err(LEADS_OUT.into()) {
            let bare = answer(match ask {
                Ask::Mapped(slot, ask) => {
                    let file = self.bare.handle(*slot).ok();
                    self.bare_maps.try_run(*slot, file.as_deref(), ask)
                }
                _ => self.bare.try_run(ask),
            });
            if mem != bare {
                return Err(format!("{ask:?}\n  memory: {mem:?}\n  std:    {bare:?}"));
            }
        }
        Ok(mem)
    }

    /// Names and contents are the same everywhere, and the two records are one, and true.
    pub(crate) fn compare(self) -> Result<(), String> {
        let disk = self.mem.fs.disk().digest();
        let bare = faultfs::folder::snapshot(&self.bare.root).map_err(|e| e.to_string())?;
        if let Some(words) = faultfs::folder::difference(&self.mem.fs.disk(), &bare) {
            return Err(format!("in memory and with std: {words}"));
        }
        let (mem, real) = (self.mem.fs.take_trace(), self.real.fs.take_trace());
        if mem.replay().digest() != disk {
            return Err("the trace does not lead to the disk".into());
        }
        if let Some(words) = real.unmodelled.first() {
            return Err(format!("on the folder: {words}"));
        }
        if mem.ops != real.ops {
            let at = mem.ops.iter().zip(&real.ops).position(|(a, b)| a != b);
            return Err(format!("the traces differ at op {at:?}"));
        }
        drop(self.folders);
        Ok(())
    }
}
