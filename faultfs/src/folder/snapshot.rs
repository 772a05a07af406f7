//! A real folder as a disk, and how the two differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::{CHUNK, MODE_BITS, as_path, list};
use crate::disk::{Body, Content, Disk, Inode};
use crate::op::{Ino, Kind, Name, PAGE, Slot};

/// What the folder at `root` holds, as a disk. Inodes are numbered in the order of a walk by name.
///
/// Taken before a session it is the base of its trace.
///
/// # Errors
///
/// Those of the filesystem, and where there is something other than files, directories and symbolic
/// links: a disk cannot hold it.
pub fn snapshot(root: &Path) -> io::Result<Disk> {
    let mut disk = Disk::new();
    let mode = fs::metadata(root)?.mode() & MODE_BITS;
    disk.inode_mut(Ino::ROOT).expect("every disk has a root").mode = mode;
    add_dir(&mut disk, &mut BTreeMap::new(), root, Ino::ROOT)?;
    Ok(disk)
}

fn add_dir(
    disk: &mut Disk,
    linked: &mut BTreeMap<(u64, u64), Ino>,
    dir: &Path,
    dir_ino: Ino,
) -> io::Result<()> {
    for (name, kind) in list(dir)? {
        let path = dir.join(as_path(&name));
        let slot = Slot { dir: dir_ino, name };
        let metadata = path.symlink_metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        if let Some(&ino) = linked.get(&identity) {
            disk.set_slot(&slot, Some(ino));
            continue;
        }
        let kind = match kind {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => {
                Kind::Symlink(Name::new(fs::read_link(&path)?.as_os_str().as_bytes()))
            }
            kind => {
                let path = path.display();
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!(
                        "{path} is {kind:?}: only files, directories and symbolic links can be held"
                    ),
                ));
            }
        };
        let ino = disk.fresh_ino();
        disk.insert(ino, &kind, metadata.mode() & MODE_BITS);
        disk.set_slot(&slot, Some(ino));
        if kind != Kind::Dir && metadata.nlink() > 1 {
            linked.insert(identity, ino);
        }
        match kind {
            Kind::Dir => add_dir(disk, linked, &path, ino)?,
            Kind::File => {
                let content = disk.content_mut(ino).expect("it was just made a file");
                add_content(&path, content)?;
            }
            Kind::Symlink(_) => {}
        }
    }
    Ok(())
}

/// Reads a file, passing over its holes.
fn add_content(path: &Path, content: &mut Content) -> io::Result<()> {
    // Looking changes nothing, where it is ours to say so.
    let flags = OFlags::NOATIME | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::PERM) => File::open(path)?,
        other => other?.into(),
    };
    let len = file.metadata()?.len();
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < len {
        // A filesystem that does not know its holes says that all is data.
        at = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data / PAGE * PAGE,
            Err(rustix::io::Errno::NXIO) => break,
            Err(_) => at,
        };
        let count = file.read_at(&mut chunk, at)?;
        if count == 0 {
            break;
        }
        for (index, page) in chunk[..count].chunks(PAGE as usize).enumerate() {
            if page.iter().any(|&byte| byte != 0) {
                content.patch(at / PAGE + index as u64, 0, page);
            }
        }
        at += count as u64;
    }
    content.set_len(len);
    Ok(())
}

/// The first difference between the disk that is expected and the one that was found, in words; `None`
/// where what can be seen from their roots is equal. Inode numbers do not count.
pub fn difference(expected: &Disk, found: &Disk) -> Option<String> {
    let (names, found_names) = (first_names(expected), first_names(found));
    let missing = names.keys().find(|path| !found_names.contains_key(*path));
    let excess = found_names.keys().find(|path| !names.contains_key(*path));
    if let Some(path) = missing {
        return Some(format!("{} is missing", show(path)));
    }
    if let Some(path) = excess {
        return Some(format!("{} should not be there", show(path)));
    }
    names.iter().find_map(|(path, (ino, first))| {
        let (found_ino, found_first) = &found_names[path];
        let what = match first == found_first {
            true => inode_difference(expected.get(*ino)?, found.get(*found_ino)?)?,
            false => {
                let (first, found_first) = (show(first), show(found_first));
                format!("is one file with {found_first}, should be one with {first}")
            }
        };
        Some(format!("{}: {what}", show(path)))
    })
}

/// Every path with its inode and the first path that names the same inode. The root's is empty.
fn first_names(disk: &Disk) -> BTreeMap<Vec<u8>, (Ino, Vec<u8>)> {
    let mut first = BTreeMap::new();
    let root = std::iter::once((Vec::new(), Ino::ROOT));
    root.chain(disk.walk())
        .filter(|(_, ino)| disk.get(*ino).is_some())
        .map(|(path, ino)| {
            let first = first.entry(ino).or_insert_with(|| path.clone()).clone();
            (path, (ino, first))
        })
        .collect()
}

fn show(path: &[u8]) -> String {
    if path.is_empty() { ".".into() } else { String::from_utf8_lossy(path).into_owned() }
}

fn inode_difference(expected: &Inode, found: &Inode) -> Option<String> {
    match (&expected.body, &found.body) {
        (Body::File(expected), Body::File(found)) if expected != found => {
            return Some(content_difference(expected, found));
        }
        (Body::File(_), Body::File(_)) | (Body::Dir(_), Body::Dir(_)) => {}
        // The mode of a symbolic link means nothing.
        (Body::Symlink(expected), Body::Symlink(found)) => {
            return (expected != found).then(|| format!("points to {found}, should to {expected}"));
        }
        (expected, found) => {
            return Some(format!("is a {}, should be a {}", kind_word(found), kind_word(expected)));
        }
    }
    let (mode, expected) = (found.mode & MODE_BITS, expected.mode & MODE_BITS);
    (mode != expected).then(|| format!("has mode {mode:o}, should have {expected:o}"))
}

fn kind_word(body: &Body) -> &'static str {
    match body {
        Body::File(_) => "file",
        Body::Dir(_) => "directory",
        Body::Symlink(_) => "symbolic link",
    }
}

fn content_difference(expected: &Content, found: &Content) -> String {
    if expected.len() != found.len() {
        return format!("has {} bytes, should have {}", found.len(), expected.len());
    }
    let pages: BTreeSet<u64> = expected.page_numbers().chain(found.page_numbers()).collect();
    let first = pages.into_iter().find_map(|number| {
        let (expected, found) = (expected.page(number), found.page(number));
        let at = (0..expected.len()).find(|&at| expected[at] != found[at])?;
        Some((number * PAGE + at as u64, expected[at], found[at]))
    });
    let (at, expected, found) = first.expect("unequal contents of one size differ somewhere");
    format!("has {found:#04x} at byte {at}, should have {expected:#04x}")
}
