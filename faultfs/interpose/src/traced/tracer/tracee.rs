//! A stopped thread of another process, as far as its calls need to be understood.

use std::ffi::{OsStr, c_int};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use libc::{pid_t, user_regs_struct};

/// A call that is about to be made.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) thread: pid_t,
    pub(super) number: i64,
    pub(super) args: [u64; 6],
    pub(super) registers: user_regs_struct,
}

/// What a descriptor stands for.
pub(super) struct Opened {
    pub(super) position: u64,
    pub(super) flags: c_int,
}

impl Call {
    pub(super) fn new(thread: pid_t, registers: user_regs_struct) -> Self {
        let r = &registers;
        let args = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
        Self { thread, number: r.orig_rax as i64, args, registers }
    }

    /// An argument that is a descriptor, or stands in the place of one.
    pub(super) fn fd(&self, index: usize) -> c_int {
        self.args[index] as c_int
    }

    /// Something below the process's own folder in `/proc`.
    fn own(&self, what: &str) -> PathBuf {
        format!("/proc/{}/{what}", self.thread).into()
    }

    /// The name by which everybody reaches what is behind a descriptor.
    pub(super) fn name_of(&self, fd: c_int) -> PathBuf {
        self.own(&format!("fd/{fd}"))
    }

    /// What is behind a descriptor.
    pub(super) fn file(&self, fd: c_int) -> Option<Metadata> {
        fs::metadata(self.name_of(fd)).ok()
    }

    pub(super) fn opened(&self, fd: c_int) -> Option<Opened> {
        let text = fs::read_to_string(self.own(&format!("fdinfo/{fd}"))).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let position = field("pos:")?.trim().parse().ok()?;
        let flags = c_int::from_str_radix(field("flags:")?.trim(), 8).ok()?;
        Some(Opened { position, flags })
    }

    /// Bytes of its memory; fewer where it ends before.
    pub(super) fn memory(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let memory = File::open(self.own("mem"))?;
        let mut filled = 0;
        while filled < len {
            match memory.read_at(&mut bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Words of its memory, all of them.
    pub(super) fn words(&self, at: u64, count: usize) -> Option<Vec<u64>> {
        let bytes = self.memory(at, count * 8).ok().filter(|bytes| bytes.len() == count * 8)?;
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        Some(bytes.chunks_exact(8).map(word).collect())
    }

    /// The text at an address up to its zero.
    pub(super) fn text(&self, at: u64) -> Option<Vec<u8>> {
        let mut bytes = self.memory(at, libc::PATH_MAX as usize).ok()?;
        let end = bytes.iter().position(|&byte| byte == 0)?;
        bytes.truncate(end);
        Some(bytes)
    }

    /// A path as the process means it, for this one. None for an empty one, and one that cannot be read.
    pub(super) fn path(&self, dir: c_int, at: u64) -> Option<PathBuf> {
        let given = self.text(at).filter(|given| !given.is_empty())?;
        let given = Path::new(OsStr::from_bytes(&given));
        if given.is_relative() {
            return Some(match dir {
                libc::AT_FDCWD => self.own("cwd").join(given),
                dir => self.name_of(dir).join(given),
            });
        }
        // What is the process's own under a name that everybody has.
        const OWN: [(&str, &str); 6] = [
            ("/proc/self", ""),
            ("/proc/thread-self", ""),
            ("/dev/fd", "fd"),
            ("/dev/stdin", "fd/0"),
            ("/dev/stdout", "fd/1"),
            ("/dev/stderr", "fd/2"),
        ];
        let own = OWN.iter().find_map(|(name, own)| {
            given.strip_prefix(name).ok().map(|rest| match rest.as_os_str().is_empty() {
                true => self.own(own),
                false => self.own(own).join(rest),
            })
        });
        Some(own.unwrap_or_else(|| given.to_path_buf()))
    }

    /// The file that is mapped at an address: device, inode, and the offset in it.
    pub(super) fn mapped(&self, at: u64) -> Option<(u64, u64, u64)> {
        let maps = self.maps();
        let found = maps.iter().find(|mapping| (mapping.start..mapping.end).contains(&at))?;
        (found.inode != 0).then_some((found.dev, found.inode, found.offset + at - found.start))
    }

    pub(super) fn maps(&self) -> Vec<Mapping> {
        let text = fs::read(self.own("maps")).unwrap_or_default();
        text.split(|&byte| byte == b'\n').filter_map(Mapping::parse).collect()
    }
}

/// A line of `/proc/PID/maps`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) is_code: bool,
    pub(super) offset: u64,
    dev: u64,
    inode: u64,
    pub(super) path: PathBuf,
}

impl Mapping {
    /// `559e…-559f… r-xp 00002000 08:02 173521    /usr/bin/dbus-daemon`
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |&byte| byte == b' ');
        let mut field = || std::str::from_utf8(fields.next()?).ok();
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let (start, end) = field()?.split_once('-')?;
        let (start, end) = (hex(start)?, hex(end)?);
        let is_code = field()?.as_bytes().get(2) == Some(&b'x');
        let offset = hex(field()?)?;
        let (major, minor) = field()?.split_once(':')?;
        let dev = libc::makedev(hex(major)? as u32, hex(minor)? as u32);
        let inode = field()?.parse().ok()?;
        let path = fields.next().unwrap_or_default().trim_ascii_start();
        let path = OsStr::from_bytes(path).into();
        Some(Self { start, end, is_code, offset, dev, inode, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_maps_is_understood() {
        let line = b"7f3a-7f3c r-xp 00002000 08:02 173521    /usr/lib/with space.so";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!((mapping.start, mapping.end, mapping.offset), (0x7f3a, 0x7f3c, 0x2000));
        assert!(mapping.is_code);
        assert_eq!((mapping.dev, mapping.inode), (libc::makedev(8, 2), 173_521));
        assert_eq!(mapping.path, Path::new("/usr/lib/with space.so"));
        let anonymous = Mapping::parse(b"10-20 rw-p 00000000 00:00 0 ").unwrap();
        assert_eq!((anonymous.is_code, anonymous.inode), (false, 0));
        assert_eq!(Mapping::parse(b""), None);
    }
}
