//! Paths below the root, on the stack and in the kernel's own words: `/proc/self/fd` knows the path of
//! whatever is open.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use super::super::sys::{self, Stat};
use super::super::{DOOR, Whereabouts, names};

const LEN_MAX: usize = libc::PATH_MAX as usize;
/// Behind the path of what has no name any more, or never had one.
const NAMELESS: &[u8] = b" (deleted)";

/// A path relative to the root; `.` is the root itself.
pub(super) struct Text {
    bytes: [u8; LEN_MAX],
    len: usize,
}

impl Text {
    pub(super) fn new() -> Self {
        Self { bytes: [0; LEN_MAX], len: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The path of an open file; none for what is not below the root.
    fn of_open(&mut self, fd: c_int, root: &[u8], stat: &Stat) -> Option<()> {
        let link = link_of(fd)?;
        let given = sys::args([
            link.as_ptr().expose_provenance(),
            self.bytes.as_mut_ptr().expose_provenance(),
            LEN_MAX,
        ]);
        // SAFETY: a null-terminated path, and as much memory as is said.
        let read = unsafe { sys::raw(libc::SYS_readlink, given) };
        self.len = usize::try_from(read).ok()?;
        self.cut_nameless(stat);
        self.cut_root(root)
    }

    /// A file without a name is called by the one it had; one that never had any, by its directory.
    fn cut_nameless(&mut self, stat: &Stat) {
        let Some(named) = self.bytes().strip_suffix(NAMELESS) else { return };
        let name_at = named.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (len, unnamed) = (named.len(), is_number(&named[name_at..], stat.ino));
        if unnamed {
            self.len = name_at.saturating_sub(1);
        } else if stat.links == 0 || stat.is(libc::S_IFDIR) {
            self.len = len;
        }
    }

    fn cut_root(&mut self, root: &[u8]) -> Option<()> {
        let below = self.bytes().strip_prefix(root)?;
        let (from, len) = match below {
            [] => return self.set(b"."),
            [b'/', rest @ ..] => (self.len - rest.len(), rest.len()),
            _ => return None,
        };
        self.bytes.copy_within(from..from + len, 0);
        self.len = len;
        Some(())
    }

    fn set(&mut self, to: &[u8]) -> Option<()> {
        self.bytes.get_mut(..to.len())?.copy_from_slice(to);
        self.len = to.len();
        Some(())
    }

    /// A name in the directory that this is the path of.
    fn push(&mut self, name: &[u8]) -> Option<()> {
        let at = if self.bytes() == b"." { 0 } else { self.len + 1 };
        self.bytes.get_mut(at..at + name.len())?.copy_from_slice(name);
        if at > 0 {
            self.bytes[at - 1] = b'/';
        }
        self.len = at + name.len();
        Some(())
    }
}

/// The link to what a descriptor stands for, null-terminated.
pub(super) fn link_of(fd: c_int) -> Option<[u8; 25]> {
    let mut link = *b"/proc/self/fd/0000000000\0";
    let mut rest = u32::try_from(fd).ok()?;
    let digits = rest.checked_ilog10().unwrap_or(0) as usize + 1;
    let end = b"/proc/self/fd/".len() + digits;
    link[end] = 0;
    for at in (end - digits..end).rev() {
        link[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    Some(link)
}

/// How the kernel calls a file that never had a name (`d_tmpfile` in fs/dcache.c).
fn is_number(name: &[u8], ino: u64) -> bool {
    let [b'#', digits @ ..] = name else { return false };
    let mut value = 0u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return false;
        }
        value = value.wrapping_mul(10).wrapping_add(digit.into());
    }
    value == ino
}

/// What a call is about.
pub(super) enum What {
    /// What is open.
    Fd(c_int),
    /// What a path names, or will name: where it starts from, and its address.
    Path(c_int, usize),
    /// All that is below the root.
    Everything,
}

impl What {
    pub(super) fn fd(&self) -> Option<c_int> {
        match *self {
            Self::Fd(fd) => Some(fd),
            _ => None,
        }
    }

    /// Writes its path; none for what is not below the root.
    pub(super) fn tell(&self, root: &[u8], into: &mut Text) -> Option<()> {
        match *self {
            Self::Fd(fd) => into.of_open(fd, root, &DOOR.behind(fd)?),
            Self::Path(dir, path) => {
                named(dir, path, root, into).or_else(|| whole(dir, path, root, into))
            }
            Self::Everything => into.set(b"."),
        }
    }
}

/// A name in a directory below the root, a link or not, there or not.
fn named(dir: c_int, path: usize, root: &[u8], into: &mut Text) -> Option<()> {
    let mut buffer = [MaybeUninit::uninit(); LEN_MAX];
    let (parent, name) = names::split(path, &mut buffer)?;
    told(dir, parent, root, into)?;
    into.push(name)
}

/// What a path leads to that is no such name: the root, `.`, a link outside.
fn whole(dir: c_int, path: usize, root: &[u8], into: &mut Text) -> Option<()> {
    told(dir, path, root, into)
}

fn told(dir: c_int, path: usize, root: &[u8], into: &mut Text) -> Option<()> {
    let Whereabouts::Below(stat) = DOOR.at(dir, path, 0) else { return None };
    let flags = (libc::O_PATH | libc::O_CLOEXEC) as usize;
    // SAFETY: the kernel has just read a null-terminated path there.
    let fd = unsafe { sys::raw(libc::SYS_openat, sys::args([dir as usize, path, flags])) };
    let fd = c_int::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    let told = into.of_open(fd, root, &stat);
    // SAFETY: the descriptor was opened here.
    unsafe { sys::raw(libc::SYS_close, sys::args([fd as usize])) };
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(of: &[u8]) -> Text {
        let mut text = Text::new();
        text.set(of).unwrap();
        text
    }

    #[test]
    fn a_path_is_told_from_the_root() {
        for (whole, below) in [
            ("/tmp/root", Some(".")),
            ("/tmp/root/a", Some("a")),
            ("/tmp/root/a/b", Some("a/b")),
            ("/tmp/root2/a", None),
            ("/tmp", None),
        ] {
            let mut text = text(whole.as_bytes());
            let cut = text.cut_root(b"/tmp/root");
            assert_eq!(cut.map(|()| text.bytes()), below.map(str::as_bytes), "{whole}");
        }
    }

    #[test]
    fn a_descriptor_is_a_number_without_zeros_in_front() {
        for fd in [0, 7, 10, 65_535, c_int::MAX] {
            let link =
                std::ffi::CStr::from_bytes_until_nul(&link_of(fd).unwrap()).unwrap().to_owned();
            assert_eq!(link.to_str().unwrap(), format!("/proc/self/fd/{fd}"));
        }
        assert!(link_of(-1).is_none());
    }

    #[test]
    fn names_are_put_behind_their_directory() {
        let mut text = text(b".");
        text.push(b"a").unwrap();
        text.push(b"b").unwrap();
        assert_eq!(text.bytes(), b"a/b");
        assert!(text.push(&[b'x'; LEN_MAX]).is_none());
    }

    #[test]
    fn what_has_no_name_is_called_by_its_last_or_by_its_directory() {
        let stat = Stat { dev: 1, ino: 47, mode: libc::S_IFREG, links: 0, size: 0, rdev: 0 };
        let linked = Stat { links: 1, ..stat };
        for (told, stat, expected) in [
            ("/r/a (deleted)", stat, "/r/a"),
            ("/r/a (deleted)", linked, "/r/a (deleted)"),
            ("/r/#47 (deleted)", stat, "/r"),
            ("/r/#47 (deleted)", linked, "/r"),
            ("/r/#48 (deleted)", stat, "/r/#48"),
            ("/r/#47", linked, "/r/#47"),
        ] {
            let mut text = text(told.as_bytes());
            text.cut_nameless(&stat);
            assert_eq!(text.bytes(), expected.as_bytes(), "{told}");
        }
    }
}
