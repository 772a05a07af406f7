//! A real folder made equal to a [`Disk`], again and again, and read back as one.
//!
//! A worker checks thousands of states in one folder, and two states differ little. So what is there is
//! kept where it can be: a file whose name stays is read and only its differing pages are written, and its
//! descriptor is kept for the next time. Names, link identity, kinds, sizes, contents and permission bits
//! become exact. Modification and access times of files are set to one fixed time, [`TIME_SECONDS`]; those of
//! directories and symbolic links are left alone, and change times are the kernel's own. Holes are not told
//! from zeros: pages of zeros that are new become holes, where a file had one before zeros may stay.

mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, FileType, Metadata, OpenOptions, Permissions};
use std::io::{self, IoSlice};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{
    DirEntryExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{OFlags, SeekFrom};

use crate::disk::{Body, Content, Disk};
use crate::op::{Ino, Name, PAGE};
use crate::session::remove_tree;

pub use snapshot::{difference, snapshot};

/// The modification and access time of the files in a folder that was written, in seconds after 1970:
/// the beginning of the year 2000 UTC.
pub const TIME_SECONDS: u64 = 946_684_800;

/// Permission bits, those for user and group identity and the sticky one included.
const MODE_BITS: u32 = 0o7777;
const SET_ID_BITS: u32 = 0o6000;
/// Descriptors that are kept open between two writes; far below the usual limit of 1024.
const OPEN_MAX: usize = 256;
/// Pages that are written in one go.
const RUN_MAX: usize = 64;
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
    /// Open files by inode number. As long as a file is open no other gets its number.
    open: HashMap<u64, File>,
    have: Vec<u8>,
}

impl Folder {
    /// The folder at `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Folder {
        Folder { root: root.into(), open: HashMap::new(), have: vec![0; CHUNK] }
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
        let mut pass =
            Pass { disk, links: links(disk), placed: BTreeMap::new(), kept: BTreeSet::new() };
        let root = self.root.clone();
        self.write_dir(&mut pass, &root, Ino::ROOT)?;
        let Pass { kept, .. } = pass;
        self.open.retain(|ino, _| kept.contains(ino));
        Ok(())
    }

    fn write_dir(&mut self, pass: &mut Pass<'_>, dir: &Path, ino: Ino) -> io::Result<()> {
        let disk = pass.disk;
        let wanted = disk.entries(ino).expect("the caller has seen a directory");
        let mut found = match list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(dir)?;
                list(dir)?
            }
            other => other?,
        };
        for (name, &excess) in found.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
            clear(&path_in(dir, name), Some(excess), |_| false)?;
        }
        for (name, &child) in wanted {
            self.write_entry(pass, &path_in(dir, name), found.remove(name), child)?;
        }
        set_mode(dir, fs::metadata(dir)?.mode(), pass.mode(ino))
    }

    fn write_entry(
        &mut self,
        pass: &mut Pass<'_>,
        path: &Path,
        found: Option<Found>,
        ino: Ino,
    ) -> io::Result<()> {
        if let Some(first) = pass.placed.get(&ino) {
            clear(path, found, |_| false)?;
            return fs::hard_link(first, path);
        }
        match pass.disk.get(ino).map(|inode| &inode.body) {
            Some(Body::File(content)) => self.write_file(pass, path, found, ino, content),
            Some(Body::Dir(_)) => {
                clear(path, found, |found| found.kind.is_dir())?;
                self.write_dir(pass, path, ino)
            }
            Some(Body::Symlink(target)) => {
                let target = OsStr::from_bytes(target.as_bytes());
                let linked = pass.is_linked(ino);
                let keeps = |found: &Found| {
                    let alone = || path.symlink_metadata().is_ok_and(|m| m.nlink() == 1);
                    let is_right = || fs::read_link(path).is_ok_and(|t| t == target);
                    found.kind.is_symlink() && !linked && alone() && is_right()
                };
                if !clear(path, found, keeps)? {
                    symlink(target, path)?;
                }
                pass.place(ino, path);
                Ok(())
            }
            // A name whose inode is lost is no name.
            None => clear(path, found, |_| false).map(drop),
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
        let held = match found {
            Some(found) if found.kind.is_file() && !pass.is_linked(ino) => {
                self.reuse(path, found.ino)?
            }
            _ => None,
        };
        let mode = pass.mode(ino);
        let (file, metadata) = match held {
            Some(held) => held,
            None => {
                clear(path, found, |_| false)?;
                let file = options().create_new(true).mode(mode).open(path)?;
                let metadata = file.metadata()?;
                (file, metadata)
            }
        };
        let wrote = self.write_content(&file, &metadata, content)?;
        // A write takes these bits away, unless it is the superuser's.
        let held = if wrote { metadata.mode() & !SET_ID_BITS } else { metadata.mode() };
        set_mode(path, held, mode)?;
        if wrote || !has_fixed_times(&metadata) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(TIME_SECONDS);
            file.set_times(FileTimes::new().set_accessed(time).set_modified(time))?;
        }
        pass.place(ino, path);
        if self.open.len() < OPEN_MAX {
            pass.kept.insert(metadata.ino());
            self.open.insert(metadata.ino(), file);
        }
        Ok(())
    }

    /// The file at `path`, if it has no other name.
    fn reuse(&mut self, path: &Path, ino: u64) -> io::Result<Option<(File, Metadata)>> {
        let file = match self.open.remove(&ino) {
            Some(file) => file,
            None => match options().open(path) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    fs::set_permissions(path, Permissions::from_mode(0o600))?;
                    options().open(path)?
                }
                other => other?,
            },
        };
        let metadata = file.metadata()?;
        Ok((metadata.nlink() == 1).then_some((file, metadata)))
    }

    /// Gives a file its new content; writes what differs. True where anything did.
    fn write_content(
        &mut self,
        file: &File,
        metadata: &Metadata,
        content: &Content,
    ) -> io::Result<bool> {
        let (held, len) = (metadata.len(), content.len());
        if held > len {
            file.set_len(len)?;
        }
        let common = held.min(len);
        let (mut at, mut wrote) = (0, held != len);
        while at < common {
            at = skip_holes(file, content, at);
            let count = common.saturating_sub(at).min(CHUNK as u64) as usize;
            let have = &mut self.have[..count];
            file.read_exact_at(have, at)?;
            wrote |= write_differing(file, have, content, at)?;
            at += count as u64;
        }
        if write_new(file, content, common)? < len {
            file.set_len(len)?;
        }
        Ok(wrote)
    }
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
    let mut links = BTreeMap::new();
    disk.walk().into_iter().for_each(|(_, ino)| *links.entry(ino).or_default() += 1);
    links
}

/// An entry of a real directory.
#[derive(Clone, Copy)]
struct Found {
    kind: FileType,
    ino: u64,
}

fn list(dir: &Path) -> io::Result<BTreeMap<Name, Found>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::set_permissions(dir, Permissions::from_mode(0o700))?;
            fs::read_dir(dir)?
        }
        other => other?,
    };
    let found = entries.map(|entry| {
        let entry = entry?;
        let found = Found { kind: entry.file_type()?, ino: entry.ino() };
        Ok((Name::new(entry.file_name().as_bytes()), found))
    });
    found.collect()
}

fn path_in(dir: &Path, name: &Name) -> PathBuf {
    dir.join(OsStr::from_bytes(name.as_bytes()))
}

/// Removes what stands at `path`, if it is not to be kept; true where it is kept.
fn clear(path: &Path, found: Option<Found>, keeps: impl Fn(&Found) -> bool) -> io::Result<bool> {
    match found {
        Some(found) if keeps(&found) => Ok(true),
        Some(found) if found.kind.is_dir() => remove_tree(path).map(|()| false),
        Some(_) => fs::remove_file(path).map(|()| false),
        None => Ok(false),
    }
}

/// How files are opened: never through a link, and reading leaves their times alone.
fn options() -> OpenOptions {
    let flags = (OFlags::NOFOLLOW | OFlags::NOATIME).bits();
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(flags.cast_signed());
    options
}

/// The first byte from `at` on that may differ: what is a hole on both sides is passed over. Not asked
/// for files that one chunk holds.
fn skip_holes(file: &File, content: &Content, at: u64) -> u64 {
    if content.len() <= CHUNK as u64 {
        return at;
    }
    let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => data,
        Err(rustix::io::Errno::NXIO) => u64::MAX,
        Err(_) => at,
    };
    if data == at {
        return at;
    }
    let page = content.page_numbers().find(|&page| page >= at / PAGE);
    let wanted = page.map_or(u64::MAX, |page| page * PAGE);
    at.max(data.min(wanted) / PAGE * PAGE)
}

/// Writes the pages of a content that differ from what a file has from byte `at`, the first of a page, on.
/// True where any do.
fn write_differing(file: &File, have: &[u8], content: &Content, at: u64) -> io::Result<bool> {
    let pages = (at / PAGE..).zip(have.chunks(PAGE as usize));
    let differing = pages.filter_map(|(page, have)| {
        let want = &content.page(page)[..have.len()];
        (have != want).then_some((page, want))
    });
    write_pages(file, differing).map(|end| end > 0)
}

/// Writes what a content has from byte `from` on, where a file ends. What is zeros becomes a hole: memory
/// that need not be taken. Where the file ends then.
fn write_new(file: &File, content: &Content, from: u64) -> io::Result<u64> {
    let (page, within) = (from / PAGE, (from % PAGE) as usize);
    let behind = |number: u64| (content.len() - number * PAGE).min(PAGE) as usize;
    let mut end = from;
    // The rest of the last page that there is.
    if within > 0 && from < content.len() {
        let rest = &content.page(page)[within..behind(page)];
        file.write_all_at(rest, from)?;
        end = from + rest.len() as u64;
    }
    let first = from.div_ceil(PAGE);
    let new =
        content.data().filter(|(number, _)| (first..content.len().div_ceil(PAGE)).contains(number));
    let new = new.map(|(number, page)| (number, &page[..behind(number)]));
    write_pages(file, new).map(|last| end.max(last))
}

/// Writes pages, neighbours in one go; where the last of them ends, or 0.
fn write_pages<'a>(file: &File, pages: impl Iterator<Item = (u64, &'a [u8])>) -> io::Result<u64> {
    let (mut run, mut end): (Vec<IoSlice<'_>>, u64) = (Vec::new(), 0);
    let mut start = 0;
    for (page, bytes) in pages {
        if page * PAGE != end || run.len() == RUN_MAX {
            write_run(file, &run, start)?;
            run.clear();
            start = page * PAGE;
        }
        run.push(IoSlice::new(bytes));
        end = page * PAGE + bytes.len() as u64;
    }
    write_run(file, &run, start)?;
    Ok(end)
}

fn write_run(file: &File, run: &[IoSlice<'_>], start: u64) -> io::Result<()> {
    let mut done = match run {
        [] => return Ok(()),
        run => rustix::io::pwritev(file, run, start)?,
    };
    // What did not fit into one call.
    let mut at = start + done as u64;
    for part in run {
        let rest = &part[done.min(part.len())..];
        done -= part.len() - rest.len();
        file.write_all_at(rest, at)?;
        at += rest.len() as u64;
    }
    Ok(())
}

fn set_mode(path: &Path, held: u32, mode: u32) -> io::Result<()> {
    match (held & MODE_BITS, mode & MODE_BITS) {
        (held, mode) if held == mode => Ok(()),
        (_, mode) => fs::set_permissions(path, Permissions::from_mode(mode)),
    }
}

fn has_fixed_times(metadata: &Metadata) -> bool {
    let fixed = (TIME_SECONDS.cast_signed(), 0);
    (metadata.atime(), metadata.atime_nsec()) == fixed
        && (metadata.mtime(), metadata.mtime_nsec()) == fixed
}
