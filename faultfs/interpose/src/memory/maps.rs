//! Mapped files. From its first mapping on a file's content is in memory that the kernel knows as a file,
//! so that mapping and file are one, a page past the end faults, and what is stored is there at once.

use std::ffi::c_int;
use std::fmt;

use faultfs::op::Ino;
use libc::{EACCES, EBADF, ENODEV, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_TYPE};

use super::{Mount, Outcome};
use crate::door::sys::{self, Returned};

/// A file of the kernel's without a name.
pub(super) struct Memfd(c_int);

impl fmt::Debug for Memfd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memfd {}", self.0)
    }
}

impl Drop for Memfd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours, and nobody uses it any more.
        unsafe { sys::raw(libc::SYS_close, sys::args([self.0 as usize])) };
    }
}

impl Memfd {
    fn new() -> Result<Memfd, c_int> {
        let name = c"faultfs".as_ptr().expose_provenance();
        let given = sys::args([name, libc::MFD_CLOEXEC as usize]);
        // SAFETY: a name that ends in zero.
        told(unsafe { sys::raw(libc::SYS_memfd_create, given) }).map(|fd| Memfd(fd as c_int))
    }

    pub(super) fn len(&self) -> u64 {
        sys::fstat(self.0).map_or(0, |stat| stat.size)
    }

    pub(super) fn set_len(&self, len: u64) {
        // SAFETY: no addresses.
        unsafe { sys::raw(libc::SYS_ftruncate, sys::args([self.0 as usize, len as usize])) };
    }

    pub(super) fn punch(&self, at: u64, len: u64) {
        let mode = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as usize;
        let given = sys::args([self.0 as usize, mode, at as usize, len as usize]);
        // SAFETY: no addresses.
        unsafe { sys::raw(libc::SYS_fallocate, given) };
    }

    pub(super) fn read_at(&self, into: &mut [u8], at: u64) -> usize {
        let address = into.as_mut_ptr().expose_provenance();
        let given = sys::args([self.0 as usize, address, into.len(), at as usize]);
        // SAFETY: a buffer of that length.
        told(unsafe { sys::raw(libc::SYS_pread64, given) }).unwrap_or(0)
    }

    pub(super) fn write_at(&self, from: &[u8], at: u64) {
        let address = from.as_ptr().expose_provenance();
        let given = sys::args([self.0 as usize, address, from.len(), at as usize]);
        // SAFETY: a buffer of that length.
        unsafe { sys::raw(libc::SYS_pwrite64, given) };
    }

    /// Another descriptor, which may not write.
    fn read_only(&self) -> Result<Memfd, c_int> {
        let path = format!("/proc/self/fd/{}\0", self.0);
        let path = path.as_ptr().expose_provenance();
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
        let given = sys::args([libc::AT_FDCWD as usize, path, flags]);
        // SAFETY: a path that ends in zero.
        told(unsafe { sys::raw(libc::SYS_openat, given) }).map(|fd| Memfd(fd as c_int))
    }
}

fn told(returned: Returned) -> Outcome {
    usize::try_from(returned).map_err(|_| -returned as c_int)
}

impl Mount {
    pub(super) fn memfd(&self, ino: Ino) -> Option<&Memfd> {
        self.inodes[ino.0 as usize].memfd.as_ref()
    }

    /// Moves a file's content to where it can be mapped.
    fn make_mappable(&mut self, ino: Ino) -> Result<(), c_int> {
        if self.memfd(ino).is_some() {
            return Ok(());
        }
        let content = self.disk.content(ino).ok_or(ENODEV)?;
        self.reads.mapped(ino);
        let memfd = Memfd::new()?;
        memfd.set_len(content.len());
        let mut chunk = vec![0; 64 << 10];
        let mut at = 0;
        while at < content.len() {
            let count = content.read_at(&mut chunk, at);
            if chunk[..count].iter().any(|&byte| byte != 0) {
                memfd.write_at(&chunk[..count], at);
            }
            at += count as u64;
        }
        self.meta(ino).memfd = Some(memfd);
        Ok(())
    }

    /// `mmap` of a descriptor of ours.
    pub(super) fn map(&mut self, args: sys::Args) -> Outcome {
        let [address, len, protection, flags, fd, at] = args;
        let open = self.opens.get(fd as c_int).ok_or(EBADF)?;
        let (ino, readable, writable) = (open.ino, open.is_readable(), open.is_writable());
        let kind = flags as c_int & MAP_TYPE;
        let shared = kind == MAP_SHARED || kind == MAP_SHARED_VALIDATE;
        if open.flags & libc::O_PATH != 0 {
            return Err(EBADF);
        }
        let stores = shared && protection as c_int & libc::PROT_WRITE != 0;
        if !readable || stores && !writable {
            return Err(EACCES);
        }
        if shared || kind == MAP_PRIVATE {
            self.make_mappable(ino)?;
        }
        let memfd = self.memfd(ino).ok_or(libc::EINVAL)?;
        let other = if shared && !writable { Some(memfd.read_only()?) } else { None };
        let fd = other.as_ref().unwrap_or(memfd).0 as usize;
        // SAFETY: the program answers for the address, as it does to the kernel.
        told(unsafe { sys::raw(libc::SYS_mmap, [address, len, protection, flags, fd, at]) })
    }
}
