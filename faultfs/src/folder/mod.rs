//! A real folder made equal to a [`Disk`], again and again, and read back as one.
//!
//! A worker checks thousands of states in one folder, and two states differ little. So what is there is
//! kept where it can be: a file whose name stays is read and only its differing pages are written, and its
//! descriptor is kept for the next time; one that goes may be kept aside, in a [`Stash`]. Names, link
//! identity, kinds, sizes, contents and permission bits become exact, whatever was done to the folder in
//! between, and by whom. Modification and access times of files are set to one fixed time, [`TIME_SECONDS`];
//! those of directories and symbolic links are left alone, and change times are the kernel's own. Holes are
//! not told from zeros: pages of zeros that are new become holes, where a file had one before zeros may stay.

mod content;
mod snapshot;
mod stash;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawMode, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use crate::disk::{Body, Content, Disk};
use crate::op::{Ino, Name, PAGE};
use crate::session::remove_tree;
use crate::verdict::{Broken, Verdict};

pub use snapshot::{difference, snapshot};
pub use stash::Stash;

/// The modification and access time of the files in a folder that was written, in seconds after 1970:
/// the beginning of the year 2000 UTC.
pub const TIME_SECONDS: u64 = 946_684_800;

const TIME: Timespec = Timespec { tv_sec: TIME_SECONDS.cast_signed(), tv_nsec: 0 };

/// Permission bits, those for user and group identity and the sticky one included.
const MODE_BITS: u32 = 0o7777;
const SET_ID_BITS: u32 = 0o6000;
/// Descriptors that are kept open between two writes: a worker has a few folders, and the usual limit is 1024.
const OPEN_MAX: usize = 64;
/// Bytes that are read and compared at once.
const CHUNK: usize = 64 * PAGE as usize;

/// A folder that takes the form of one disk after another.
///
/// ```
/// use faultfs::{disk::Disk, folder::Folder, session::Session};
///
/// let session = Session::new()?;
/// let mut folder = Folder::new(session.path().join("state"));
/// std::fs::create_dir(folder.path())?;
/// std::fs::write(folder.path().join("left over"), "x")?;
/// folder.write(&Disk::new())?;
/// assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// The root, to which paths are relative.
    top: Option<Top>,
    /// Open files by inode number. As long as a file is open no other gets its number.
    open: HashMap<u64, Arc<File>>,
    stash: Option<Arc<Stash>>,
    have: Vec<u8>,
}

impl Folder {
    /// The folder at `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Folder {
        let (top, open, have) = (None, HashMap::new(), vec![0; CHUNK]);
        Folder { root: root.into(), top, open, stash: None, have }
    }

    /// Keeps what goes in a stash, and takes it from there when it comes back. The stash must have been made
    /// for this folder's path.
    pub fn with_stash(self, stash: Arc<Stash>) -> Folder {
        Folder { stash: Some(stash), ..self }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Makes the folder hold `disk` and nothing else. Whatever else is below it is removed.
    ///
    /// Nobody else may change the folder meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the filesystem; the folder then holds neither the one disk nor the other.
    pub fn write(&mut self, disk: &Disk) -> io::Result<()> {
        let root = self.enter()?;
        let mut pass =
            Pass { disk, links: links(disk), placed: BTreeMap::new(), kept: BTreeSet::new() };
        self.write_dir(&mut pass, Path::new(""), root, Ino::ROOT)?;
        let Pass { kept, .. } = pass;
        self.open.retain(|ino, _| kept.contains(ino));
        if let Some(stash) = &self.stash {
            stash.retain(&kept);
        }
        Ok(())
    }

    /// Whether the folder holds `disk`, told by a look at all of it.
    ///
    /// # Errors
    ///
    /// [`Verdict::NotMeasured`] where it does not: what is found out on it means nothing.
    pub fn verify(&self, disk: &Disk) -> Result<(), Broken> {
        let why = match snapshot(&self.root) {
            Ok(found) => difference(disk, &found),
            Err(error) => Some(error.to_string()),
        };
        why.map_or(Ok(()), |why| {
            let why = format!("the folder was not made as the disk is, a bug of faultfs: {why}");
            Err(Broken::new(Verdict::NotMeasured, why))
        })
    }

    /// Opens the root, where it is not the one that is open.
    fn enter(&mut self) -> io::Result<Found> {
        let mut found = match rustix::fs::stat(&self.root) {
            Err(Errno::NOENT) => {
                fs::create_dir_all(&self.root)?;
                Found::of(&rustix::fs::stat(&self.root)?)
            }
            other => Found::of(&other?),
        };
        if found.mode & OURS != OURS {
            fs::set_permissions(&self.root, Permissions::from_mode(OURS))?;
            found.mode = OURS;
        }
        let is_it = |top: &Top| (top.dev, top.ino) == (found.dev, found.ino);
        if !self.top.as_ref().is_some_and(is_it) {
            let fd = File::open(&self.root)?;
            let counts = counts_entries(&fd);
            self.top = Some(Top { fd, dev: found.dev, ino: found.ino, counts });
        }
        Ok(found)
    }

    fn top(&self) -> &Top {
        self.top.as_ref().expect("a write begins with it")
    }

    fn write_dir(
        &mut self,
        pass: &mut Pass<'_>,
        dir: &Path,
        mut held: Found,
        ino: Ino,
    ) -> io::Result<()> {
        if held.mode & OURS != OURS {
            self.set_mode(dir, held.mode, OURS)?;
            held.mode = OURS;
        }
        let disk = pass.disk;
        let wanted = disk.entries(ino).expect("the caller has seen a directory");
        let look = |name: &Name| self.look(&dir.join(as_path(name)));
        let mut found = wanted.keys().map(look).collect::<io::Result<Vec<Option<Found>>>>()?;
        if !self.holds_no_more(&held, found.iter().flatten().count()) {
            let look = |name: &Name| self.found(&dir.join(as_path(name)));
            found = wanted.keys().map(look).collect::<io::Result<_>>()?;
            self.remove_others(dir, wanted)?;
        }
        for ((name, &child), found) in wanted.iter().zip(found) {
            self.write_entry(pass, &dir.join(as_path(name)), found, child)?;
        }
        self.set_mode(dir, held.mode, pass.mode(ino))
    }

    /// What stands at a path, or may: a file that the stash saw go is not looked for where the directory
    /// tells how many names there are.
    fn look(&self, path: &Path) -> io::Result<Option<Found>> {
        match &self.stash {
            Some(stash) if self.top().counts && stash.saw_go(path) => Ok(None),
            _ => self.found(path),
        }
    }

    fn found(&self, path: &Path) -> io::Result<Option<Found>> {
        match rustix::fs::statat(&self.top().fd, path, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            other => Ok(Some(Found::of(&other?))),
        }
    }

    /// Whether a directory is known to hold no more than so many names.
    fn holds_no_more(&self, dir: &Found, names: usize) -> bool {
        let top = self.top();
        top.counts && dir.dev == top.dev && dir.len == ENTRY_LEN * (2 + names as u64)
    }

    fn remove_others(&self, dir: &Path, wanted: &BTreeMap<Name, Ino>) -> io::Result<()> {
        for (name, kind) in list(&self.root.join(dir))? {
            if !wanted.contains_key(&name) {
                self.remove(&dir.join(as_path(&name)), kind)?;
            }
        }
        Ok(())
    }

    fn write_entry(
        &mut self,
        pass: &mut Pass<'_>,
        path: &Path,
        found: Option<Found>,
        ino: Ino,
    ) -> io::Result<()> {
        if let Some(first) = pass.placed.get(&ino) {
            self.clear(path, found)?;
            let top = &self.top().fd;
            return Ok(rustix::fs::linkat(top, first, top, path, AtFlags::empty())?);
        }
        match pass.disk.get(ino).map(|inode| &inode.body) {
            Some(Body::File(content)) => self.write_file(pass, path, found, ino, content),
            Some(Body::Dir(_)) => match found {
                Some(found) if found.kind.is_dir() => self.write_dir(pass, path, found, ino),
                found => {
                    self.clear(path, found)?;
                    rustix::fs::mkdirat(
                        &self.top().fd,
                        path,
                        Mode::from_raw_mode(OURS as RawMode),
                    )?;
                    let found = self.found(path)?.ok_or(io::ErrorKind::NotFound)?;
                    self.write_dir(pass, path, found, ino)
                }
            },
            Some(Body::Symlink(target)) => {
                let alone = found.filter(|found| found.kind.is_symlink() && found.links == 1);
                if alone.is_none() || pass.is_linked(ino) || !self.leads_to(path, target) {
                    self.clear(path, found)?;
                    rustix::fs::symlinkat(as_path(target), &self.top().fd, path)?;
                }
                pass.place(ino, path);
                Ok(())
            }
            // A name whose inode is lost is no name.
            None => self.clear(path, found),
        }
    }

    fn write_file(
        &mut self,
        pass: &mut Pass<'_>,
        path: &Path,
        found: Option<Found>,
        ino: Ino,
        content: &Content,
    ) -> io::Result<()> {
        // What has several names is made anew: which of them stay is not worth finding out.
        let (mode, linked) = (pass.mode(ino), pass.is_linked(ino));
        let held = match found {
            Some(found) if found.kind.is_file() && found.links == 1 && !linked => {
                Some((self.reuse(path, found)?, found))
            }
            found => {
                self.clear(path, found)?;
                if linked { None } else { self.bring_back(path)? }
            }
        };
        let (file, held) = match held {
            Some(held) => held,
            None => {
                let file = self.open_file(path, OFlags::CREATE | OFlags::EXCL, mode)?;
                let found = Found::of(&rustix::fs::fstat(&file)?);
                (Arc::new(file), found)
            }
        };
        let wrote = content::write(&file, held.len, content, &mut self.have)?;
        // A write takes these bits away, unless it is the superuser's.
        self.set_mode(path, if wrote { held.mode & !SET_ID_BITS } else { held.mode }, mode)?;
        if wrote || !held.has_fixed_times {
            rustix::fs::futimens(
                &file,
                &Timestamps { last_access: TIME, last_modification: TIME },
            )?;
        }
        pass.place(ino, path);
        if self.open.len() < OPEN_MAX {
            pass.kept.insert(held.ino);
            if let Some(stash) = self.stash.as_ref().filter(|_| !linked) {
                stash.place(path, held.ino, &file);
            }
            self.open.insert(held.ino, file);
        }
        Ok(())
    }

    /// The file at `path`, opened.
    fn reuse(&mut self, path: &Path, found: Found) -> io::Result<Arc<File>> {
        if let Some(file) = self.open.remove(&found.ino) {
            return Ok(file);
        }
        let file = match self.open_file(path, OFlags::empty(), 0) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.set_mode(path, found.mode, 0o600)?;
                self.open_file(path, OFlags::empty(), 0)?
            }
            other => other?,
        };
        Ok(Arc::new(file))
    }

    /// Opens a file, never through a link, and so that reading leaves its times alone.
    fn open_file(&self, path: &Path, how: OFlags, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOATIME | OFlags::CLOEXEC | how;
        let mode = Mode::from_raw_mode(mode as RawMode);
        Ok(rustix::fs::openat(&self.top().fd, path, flags, mode)?.into())
    }

    /// The file that was last at `path`, there again.
    fn bring_back(&mut self, path: &Path) -> io::Result<Option<(Arc<File>, Found)>> {
        let Some(file) =
            self.stash.as_ref().and_then(|stash| stash.bring_back(&self.top().fd, path))
        else {
            return Ok(None);
        };
        let found = Found::of(&rustix::fs::fstat(&file)?);
        Ok(Some((file, found)))
    }

    fn leads_to(&self, link: &Path, target: &Name) -> bool {
        let found = rustix::fs::readlinkat(&self.top().fd, link, Vec::new());
        found.is_ok_and(|found| found.as_bytes() == target.as_bytes())
    }

    /// Removes what stands at `path`, if anything does.
    fn clear(&self, path: &Path, found: Option<Found>) -> io::Result<()> {
        found.map_or(Ok(()), |found| self.remove(path, found.kind))
    }

    fn remove(&self, path: &Path, kind: FileType) -> io::Result<()> {
        let whole = self.root.join(path);
        match (&self.stash, kind) {
            (_, FileType::Directory) => remove_tree(&whole),
            (Some(stash), FileType::RegularFile) if stash.remove(&whole) => Ok(()),
            _ => fs::remove_file(whole),
        }
    }

    /// Gives what stands at `path`, which is no link, its permission bits, if it has others.
    fn set_mode(&self, path: &Path, held: u32, mode: u32) -> io::Result<()> {
        let (top, bits) = (&self.top().fd, Mode::from_raw_mode(mode as RawMode));
        match path.as_os_str().is_empty() {
            _ if held == mode => {}
            true => rustix::fs::fchmod(top, bits)?,
            false => rustix::fs::chmodat(top, path, bits, AtFlags::empty())?,
        }
        Ok(())
    }
}

/// The root, open.
#[derive(Debug)]
struct Top {
    fd: File,
    dev: u64,
    ino: u64,
    /// Directories on its device tell by their size how many names they hold.
    counts: bool,
}

/// What one write of a disk knows of its progress.
struct Pass<'a> {
    disk: &'a Disk,
    /// How many names each inode has.
    links: BTreeMap<Ino, u32>,
    /// The first name of each inode that has several.
    placed: BTreeMap<Ino, PathBuf>,
    /// Files whose descriptors are worth keeping.
    kept: BTreeSet<u64>,
}

impl Pass<'_> {
    fn mode(&self, ino: Ino) -> u32 {
        self.disk.get(ino).map_or(0, |inode| inode.mode & MODE_BITS)
    }

    fn is_linked(&self, ino: Ino) -> bool {
        self.links.get(&ino).is_some_and(|&count| count > 1)
    }

    /// Remembers where the first of several names of an inode is.
    fn place(&mut self, ino: Ino, path: &Path) {
        if self.is_linked(ino) {
            self.placed.insert(ino, path.to_path_buf());
        }
    }
}

fn links(disk: &Disk) -> BTreeMap<Ino, u32> {
    let (mut links, mut dirs) = (BTreeMap::new(), vec![Ino::ROOT]);
    while let Some(dir) = dirs.pop() {
        for &ino in disk.entries(dir).into_iter().flatten().map(|(_, ino)| ino) {
            *links.entry(ino).or_default() += 1;
            dirs.push(ino);
        }
    }
    links
}

/// What stands at a path.
#[derive(Clone, Copy)]
struct Found {
    kind: FileType,
    dev: u64,
    ino: u64,
    links: u64,
    mode: u32,
    len: u64,
    has_fixed_times: bool,
}

impl Found {
    #[allow(clippy::unnecessary_cast, reason = "the widths differ between systems")]
    fn of(stat: &Stat) -> Found {
        let fixed = (TIME.tv_sec, TIME.tv_nsec as u64);
        Found {
            kind: FileType::from_raw_mode(stat.st_mode),
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            links: stat.st_nlink as u64,
            mode: stat.st_mode as u32 & MODE_BITS,
            len: stat.st_size as u64,
            has_fixed_times: (stat.st_atime as i64, stat.st_atime_nsec as u64) == fixed
                && (stat.st_mtime as i64, stat.st_mtime_nsec as u64) == fixed,
        }
    }
}

/// What its owner may do in a directory of ours.
const OURS: u32 = 0o700;

/// What each name adds to the size of a directory of `tmpfs`, `.` and `..` included (`BOGO_DIRENT_SIZE` in
/// `mm/shmem.c` of Linux).
const ENTRY_LEN: u64 = 20;

/// Whether the directories there tell by their size how many names they hold: `tmpfs` only.
#[cfg(target_os = "linux")]
fn counts_entries(dir: &File) -> bool {
    /// `statfs(2)`.
    const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
    rustix::fs::fstatfs(dir).is_ok_and(|fs| fs.f_type == TMPFS_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn counts_entries(_: &File) -> bool {
    false
}

fn list(dir: &Path) -> io::Result<BTreeMap<Name, FileType>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::set_permissions(dir, Permissions::from_mode(OURS))?;
            fs::read_dir(dir)?
        }
        other => other?,
    };
    let found = entries.map(|entry| {
        let entry = entry?;
        let stat = rustix::fs::statat(CWD, entry.path(), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((Name::new(entry.file_name().as_bytes()), Found::of(&stat).kind))
    });
    found.collect()
}

fn as_path(name: &Name) -> &Path {
    Path::new(OsStr::from_bytes(name.as_bytes()))
}
