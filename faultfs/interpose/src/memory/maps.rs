//! Mapped files. From its first mapping on a file's content is in memory that the kernel knows as a file,
//! so that mapping and file are one, a page past the end faults, and what is stored is there at once.
//!
//! To make such memory and to free it costs as much as a small recovery does. So what nobody has mapped any
//! more when a mount ends serves the next one.

use std::cell::Cell;
use std::ffi::c_int;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use faultfs::op::Ino;
use libc::{
    EACCES, EBADF, ENODEV, MAP_POPULATE, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_TYPE,
};

use super::{Mount, Outcome};
use crate::door::Call;
use crate::door::sys::{self, Returned};

/// A file of the kernel's without a name.
pub(super) struct Memfd {
    fd: c_int,
    /// Nobody else changes it.
    len: Cell<u64>,
}

/// Memory that the next mounts may use, and how much of it is kept.
static SPARE: Mutex<Vec<Memfd>> = Mutex::new(Vec::new());
const SPARES_MAX: usize = 4;
const SPARE_LEN_MAX: u64 = 1 << 20;

/// Of a small file all pages are mapped at once: each would be a fault of its own.
const POPULATED_MAX: u64 = 256 << 10;

/// What is mapped of the files that are served. A lock of its own, under which nothing is allocated: an
/// allocator may end mappings of its own while the mount is held.
static MAPPED: Mutex<[Option<Region>; MAPPED_MAX]> = Mutex::new([None; MAPPED_MAX]);
const MAPPED_MAX: usize = 64;

#[derive(Clone, Copy)]
struct Region {
    ino: Ino,
    address: usize,
    /// In bytes; `None` of one that was moved or changed in part, whose end will not be seen.
    len: Option<usize>,
}

impl fmt::Debug for Memfd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memfd {}", self.fd)
    }
}

impl Drop for Memfd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours, and nobody uses it any more.
        unsafe { sys::raw(libc::SYS_close, sys::args([self.fd as usize])) };
    }
}

impl Memfd {
    fn new() -> Result<Memfd, c_int> {
        let name = c"faultfs".as_ptr().expose_provenance();
        let given = sys::args([name, libc::MFD_CLOEXEC as usize]);
        // SAFETY: a name that ends in zero.
        let fd = told(unsafe { sys::raw(libc::SYS_memfd_create, given) })?;
        Ok(Memfd { fd: fd as c_int, len: Cell::new(0) })
    }

    pub(super) fn len(&self) -> u64 {
        self.len.get()
    }

    pub(super) fn set_len(&self, len: u64) {
        // SAFETY: no addresses.
        let done =
            unsafe { sys::raw(libc::SYS_ftruncate, sys::args([self.fd as usize, len as usize])) };
        if done == 0 {
            self.len.set(len);
        }
    }

    pub(super) fn punch(&self, at: u64, len: u64) {
        let mode = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as usize;
        let given = sys::args([self.fd as usize, mode, at as usize, len as usize]);
        // SAFETY: no addresses.
        unsafe { sys::raw(libc::SYS_fallocate, given) };
    }

    pub(super) fn read_at(&self, into: &mut [u8], at: u64) -> usize {
        let address = into.as_mut_ptr().expose_provenance();
        let given = sys::args([self.fd as usize, address, into.len(), at as usize]);
        // SAFETY: a buffer of that length.
        told(unsafe { sys::raw(libc::SYS_pread64, given) }).unwrap_or(0)
    }

    pub(super) fn write_at(&self, from: &[u8], at: u64) {
        let address = from.as_ptr().expose_provenance();
        let given = sys::args([self.fd as usize, address, from.len(), at as usize]);
        // SAFETY: a buffer of that length.
        let wrote = unsafe { sys::raw(libc::SYS_pwrite64, given) };
        self.len.set(self.len.get().max(at + u64::try_from(wrote).unwrap_or(0)));
    }

    /// Another descriptor, which may not write.
    fn read_only(&self) -> Result<Memfd, c_int> {
        let path = format!("/proc/self/fd/{}\0", self.fd);
        let path = path.as_ptr().expose_provenance();
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
        let given = sys::args([libc::AT_FDCWD as usize, path, flags]);
        // SAFETY: a path that ends in zero.
        let fd = told(unsafe { sys::raw(libc::SYS_openat, given) })?;
        Ok(Memfd { fd: fd as c_int, len: self.len.clone() })
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
        let spare = lock(&SPARE).pop();
        let is_new = spare.is_none();
        let memfd = spare.map_or_else(Memfd::new, Ok)?;
        if memfd.len() != content.len() {
            memfd.set_len(content.len());
        }
        let mut chunk = vec![0; content.len().min(64 << 10) as usize];
        let mut at = 0;
        while at < content.len() {
            let count = content.read_at(&mut chunk, at);
            // A new one is zeros already, and takes no memory where it stays so.
            if !is_new || chunk[..count].iter().any(|&byte| byte != 0) {
                memfd.write_at(&chunk[..count], at);
            }
            at += count as u64;
        }
        self.meta(ino).memfd = Some(memfd);
        Ok(())
    }

    /// Keeps for the next mount what nobody has mapped any more.
    pub(super) fn spare(&mut self) {
        let regions = std::mem::replace(&mut *lock(&MAPPED), [None; MAPPED_MAX]);
        let all_seen = regions.iter().any(Option::is_none);
        let mapped = |index| regions.iter().flatten().any(|region| region.ino.0 as usize == index);
        for (index, meta) in self.inodes.iter_mut().enumerate() {
            let Some(memfd) = meta.memfd.take() else { continue };
            let mut spares = lock(&SPARE);
            let fits = memfd.len() <= SPARE_LEN_MAX && spares.len() < SPARES_MAX;
            if all_seen && fits && !mapped(index) {
                spares.push(memfd);
            }
        }
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
        let fd = other.as_ref().unwrap_or(memfd).fd as usize;
        let small = shared && memfd.len() <= POPULATED_MAX;
        let flags = if small { flags | MAP_POPULATE as usize } else { flags };
        // SAFETY: the program answers for the address, as it does to the kernel.
        let address =
            told(unsafe { sys::raw(libc::SYS_mmap, [address, len, protection, flags, fd, at]) })?;
        let mut regions = lock(&MAPPED);
        // Where there is no room left, none is known to have ended.
        if let Some(place) = regions.iter_mut().find(|region| region.is_none()) {
            *place = Some(Region { ino, address, len: Some(len) });
        }
        Ok(address)
    }
}

/// `munmap` and `mremap`: the kernel's, and seen, so that it is known what is still mapped.
pub(super) fn changed(call: &Call) -> Option<Outcome> {
    let mut regions = lock(&MAPPED);
    let [address, len, ..] = call.args;
    let touched = |region: &Region| {
        // Of nothing `mremap` makes a second mapping.
        region.address < address.saturating_add(len.max(1))
            && address < region.address.saturating_add(region.len.unwrap_or(0))
    };
    if !regions.iter().flatten().any(touched) {
        return None;
    }
    let done = told(call.perform());
    let ends = call.number == libc::SYS_munmap && done.is_ok();
    for place in regions.iter_mut() {
        match place {
            Some(region) if ends && (region.address, region.len) == (address, Some(len)) => {
                *place = None;
            }
            Some(region) if touched(region) => region.len = None,
            _ => {}
        }
    }
    Some(done)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
