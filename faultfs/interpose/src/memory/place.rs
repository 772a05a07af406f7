//! Whether a path is below the mount, told without a lock and, for the usual paths, without memory.

use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering::*;

use faultfs::op::Ino;
use libc::{EBADF, PATH_MAX};

use super::{FIRST, Mount, ROOT};
use crate::door::sys;

/// Where a path starts that is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum From {
    Root,
    /// Behind an open directory.
    Dir(c_int),
    /// What is open itself, by an empty path or by `/proc/self/fd`.
    Open(c_int),
}

/// A path below the mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place<'a> {
    pub(super) from: From,
    pub(super) path: Cow<'a, [u8]>,
}

impl<'a> Place<'a> {
    /// What a call's directory and path mean; none where that is not ours. `empty`: no path means the
    /// descriptor itself.
    pub(super) fn of(dir: c_int, path: usize, empty: bool) -> Option<Place<'a>> {
        if path == 0 {
            return (empty && is_ours(dir)).then_some(Place::open(dir));
        }
        // SAFETY: the program answers for the path, which it gave to a call that reads it.
        let path = unsafe { CStr::from_ptr(std::ptr::with_exposed_provenance(path)) }.to_bytes();
        match path {
            [] => (empty && is_ours(dir)).then_some(Place::open(dir)),
            [b'/', ..] => absolute(path),
            _ if is_ours(dir) => Some(Place { from: From::Dir(dir), path: Cow::Borrowed(path) }),
            _ => relative(dir, path),
        }
    }

    fn open(fd: c_int) -> Place<'a> {
        Place { from: From::Open(fd), path: Cow::Borrowed(b"") }
    }

    /// As an owned path of its own.
    fn owned(self) -> Place<'static> {
        Place { from: self.from, path: Cow::Owned(self.path.into_owned()) }
    }
}

impl Mount {
    /// The inode that a place starts from.
    pub(super) fn start(&self, place: &Place<'_>) -> Result<Ino, c_int> {
        match place.from {
            From::Root => Ok(Ino::ROOT),
            From::Dir(fd) | From::Open(fd) => Ok(self.opens.get(fd).ok_or(EBADF)?.ino),
        }
    }

    /// The inode that a place leads to.
    pub(super) fn at(&self, place: &Place<'_>, follow: bool) -> Result<Ino, c_int> {
        let start = self.start(place)?;
        match place.from {
            From::Open(_) => Ok(start),
            _ => self.existing(start, &place.path, follow),
        }
    }
}

/// Whether a descriptor is one of ours.
pub(super) fn is_ours(fd: c_int) -> bool {
    fd >= FIRST
}

fn root() -> Option<&'static [u8]> {
    // SAFETY: null or never freed.
    Some(unsafe { ROOT.load(Acquire).as_ref() }?.path.as_os_str().as_bytes())
}

fn absolute(path: &[u8]) -> Option<Place<'_>> {
    if let Some(rest) = path.strip_prefix(root()?)
        && (rest.is_empty() || rest.starts_with(b"/"))
    {
        return Some(Place { from: From::Root, path: Cow::Borrowed(rest) });
    }
    if let Some(fd) = path.strip_prefix(b"/proc/self/fd/") {
        let fd = std::str::from_utf8(fd).ok()?.parse().ok()?;
        return is_ours(fd).then_some(Place::open(fd));
    }
    let plain = !path.windows(2).any(|pair| pair == b"//" || pair == b"/.");
    if plain { None } else { absolute_plain(path) }
}

/// For a path in which something is to be left out first.
#[cold]
fn absolute_plain<'a>(path: &[u8]) -> Option<Place<'a>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    // The end of a path is told from a directory by its slash.
    let ends = path.ends_with(b"/") || path.ends_with(b"/.");
    let mut plain = [b"/", &*parts.join(&b'/')].concat();
    if ends {
        plain.push(b'/');
    }
    let inside = plain.strip_prefix(root()?)?;
    if !inside.is_empty() && !inside.starts_with(b"/") {
        return None;
    }
    Some(Place { from: From::Root, path: Cow::Borrowed(inside) }.owned())
}

/// For a path that starts from a folder of the kernel's.
#[cold]
fn relative<'a>(dir: c_int, path: &[u8]) -> Option<Place<'a>> {
    let mut folder = vec![0u8; PATH_MAX as usize];
    let at = folder.as_mut_ptr().expose_provenance();
    let len = if dir == libc::AT_FDCWD {
        // SAFETY: a buffer of that length.
        let len = unsafe { sys::raw(libc::SYS_getcwd, sys::args([at, folder.len()])) };
        len - 1
    } else {
        let link = format!("/proc/self/fd/{dir}\0");
        let link = link.as_ptr().expose_provenance();
        // SAFETY: a path that ends in zero, and a buffer of that length.
        unsafe { sys::raw(libc::SYS_readlink, sys::args([link, at, folder.len()])) }
    };
    folder.truncate(usize::try_from(len).ok()?);
    folder.push(b'/');
    folder.extend_from_slice(path);
    // Only what would be ours as a whole path; what it then looks like is not looked at again.
    Some(absolute(&folder)?.owned())
}
