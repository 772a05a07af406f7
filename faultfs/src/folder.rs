//! What a real folder holds, as a [`Disk`], and in what two disks differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::disk::{Body, Disk};
use crate::op::{Bytes, Ino, Kind, Name, Op, Slot};

/// The disk that a folder holds: names, which of them are one file, kinds, modes, contents.
///
/// Taken before a session it is the base of its trace; symbolic links are not followed.
///
/// # Errors
/// What reading the folder gives, and `Unsupported` for what is neither file, folder nor symbolic link.
pub fn snapshot(root: &Path) -> io::Result<Disk> {
    let mut disk = Disk::new();
    let mode = mode(&fs::metadata(root)?);
    disk.apply(&Op::SetMode { ino: Ino::ROOT, mode });
    add_dir(&mut disk, root, Ino::ROOT, &mut HashMap::new())?;
    Ok(disk)
}

fn add_dir(disk: &mut Disk, at: &Path, dir: Ino, seen: &mut HashMap<u64, Ino>) -> io::Result<()> {
    let names: BTreeSet<_> =
        fs::read_dir(at)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    for name in names {
        let at = at.join(&name);
        let slot = Slot::new(dir, name.as_bytes());
        let metadata = fs::symlink_metadata(&at)?;
        if let Some(&ino) = seen.get(&metadata.ino()) {
            disk.apply(&Op::Link { ino, slot });
            continue;
        }
        let ino = disk.fresh_ino();
        seen.insert(metadata.ino(), ino);
        let kind = match metadata.file_type() {
            kind if kind.is_file() => Kind::File,
            kind if kind.is_dir() => Kind::Dir,
            kind if kind.is_symlink() => {
                Kind::Symlink(Name::new(fs::read_link(&at)?.as_os_str().as_bytes()))
            }
            _ => {
                let message = format!("{} is no file, folder or symbolic link", at.display());
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        };
        disk.apply(&Op::Create { slot, ino, kind, mode: mode(&metadata) });
        if metadata.is_dir() {
            add_dir(disk, &at, ino, seen)?;
        } else if metadata.is_file() {
            add_content(disk, &at, ino)?;
        }
    }
    Ok(())
}

fn add_content(disk: &mut Disk, at: &Path, ino: Ino) -> io::Result<()> {
    let mut file = File::open(at)?;
    let mut buffer = vec![0; 1 << 16];
    let mut offset = 0;
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        // Holes stay holes: a sparse file takes no more memory here than there.
        if buffer[..len].iter().any(|&byte| byte != 0) {
            let data = Bytes::new(&buffer[..len]);
            disk.apply(&Op::Write { ino, offset, data, direct: false, sync: None });
        }
        offset += len as u64;
    }
    disk.apply(&Op::SetLen { ino, len: offset });
    Ok(())
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o7777
}

/// The first difference between two disks, in words: that of a trace, and that of a folder.
pub fn difference(expected: &Disk, found: &Disk) -> Option<String> {
    if expected.digest() == found.digest() {
        return None;
    }
    let walked = |disk: &Disk| -> BTreeMap<Vec<u8>, Ino> {
        disk.walk().into_iter().chain([(b".".to_vec(), Ino::ROOT)]).collect()
    };
    let (expected_names, found_names) = (walked(expected), walked(found));
    let mut pairs = HashMap::new();
    for (path, &ino) in &expected_names {
        let shown = String::from_utf8_lossy(path);
        let Some(&other) = found_names.get(path) else {
            return Some(format!("{shown} is in the trace and not in the folder"));
        };
        if *pairs.entry(ino).or_insert(other) != other {
            return Some(format!(
                "{shown} is another name of one file in the trace, not in the folder"
            ));
        }
        if let Some(words) = inode_difference(expected, ino, found, other) {
            return Some(format!("{shown} {words}"));
        }
    }
    let extra = found_names.keys().find(|path| !expected_names.contains_key(*path));
    Some(match extra {
        Some(path) => {
            format!("{} is in the folder and not in the trace", String::from_utf8_lossy(path))
        }
        None => "two names are one file in the folder, not in the trace".into(),
    })
}

fn inode_difference(expected: &Disk, a: Ino, found: &Disk, b: Ino) -> Option<String> {
    let (a, b) = (expected.get(a)?, found.get(b)?);
    if a.mode != b.mode {
        return Some(format!("has mode {:o} in the trace, {:o} in the folder", a.mode, b.mode));
    }
    match (&a.body, &b.body) {
        (Body::Dir(_), Body::Dir(_)) => None,
        (Body::Symlink(a), Body::Symlink(b)) => {
            (a != b).then(|| format!("leads to {a} in the trace, to {b} in the folder"))
        }
        (Body::File(a), Body::File(b)) if a.len() != b.len() => {
            Some(format!("has {} bytes in the trace, {} in the folder", a.len(), b.len()))
        }
        (Body::File(a), Body::File(b)) if a == b => None,
        (Body::File(a), Body::File(b)) => {
            let (a, b) = (a.to_vec(), b.to_vec());
            let at = a.iter().zip(&b).position(|(a, b)| a != b).unwrap_or(a.len());
            Some(format!("differs from the trace at byte {at}"))
        }
        _ => Some("is of another kind in the trace than in the folder".into()),
    }
}
