//! Mapped files. From its first mapping on a file's content is in memory that the kernel knows as a file,
//! so that mapping and file are one, a page past the end faults, and what is stored is there at once.
//!
//! To make such memory, to map it and to free it costs as much as a small recovery does. So what nobody has
//! mapped any more when a mount ends serves the next one; and a mapping of the usual kind that is ended is
//! kept, for the next who asks for the same.

use std::cell::Cell;
use std::ffi::c_int;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{ptr, slice};

use faultfs::disk::Content;
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
static MAPPED: Mutex<Regions> = Mutex::new([None; MAPPED_MAX]);
const MAPPED_MAX: usize = 64;
/// So many of them are kept at most.
const KEPT_MAX: usize = 4;

type Regions = [Option<Region>; MAPPED_MAX];

#[derive(Clone, Copy)]
struct Region {
    /// The descriptor of the memory.
    of: c_int,
    address: usize,
    /// In bytes; `None` of one that was moved or changed in part, whose end will not be seen.
    len: Option<usize>,
    /// Shared, small, to be read and written, from the start of the file, anywhere.
    is_usual: bool,
    /// The program has ended it. The kernel does not know that.
    is_kept: bool,
}

impl Region {
    fn overlaps(&self, address: usize, len: usize) -> bool {
        self.address < address.saturating_add(len)
            && address < self.address.saturating_add(self.len.unwrap_or(0))
    }
}

impl fmt::Debug for Memfd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memfd {}", self.fd)
    }
}

impl Drop for Memfd {
    fn drop(&mut self) {
        release(&mut lock(&MAPPED), |region| region.of == self.fd);
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

    /// Puts in all of a content of this size through a mapping that was kept; false where there is none.
    fn fill(&self, content: &Content) -> bool {
        let regions = lock(&MAPPED);
        let covers = |region: &&Region| {
            region.is_kept && region.of == self.fd && region.len >= Some(content.len() as usize)
        };
        let Some(region) = regions.iter().flatten().find(covers) else { return false };
        let address = ptr::with_exposed_provenance_mut(region.address);
        // SAFETY: mapped, to be written, and of that length within the file; nobody else uses it while it
        // is kept, and it is kept while the lock is held.
        content.read_at(unsafe { slice::from_raw_parts_mut(address, content.len() as usize) }, 0);
        true
    }

    fn fill_by_calls(&self, content: &Content, is_new: bool) {
        let mut chunk = vec![0; content.len().min(64 << 10) as usize];
        let mut at = 0;
        while at < content.len() {
            let count = content.read_at(&mut chunk, at);
            // A new one is zeros already, and takes no memory where it stays so.
            if !is_new || chunk[..count].iter().any(|&byte| byte != 0) {
                self.write_at(&chunk[..count], at);
            }
            at += count as u64;
        }
    }

    /// The address of a mapping that was kept and is the program's again.
    fn mapped_again(&self, len: usize) -> Option<usize> {
        let mut regions = lock(&MAPPED);
        let fits = |region: &&mut Region| {
            region.is_kept && region.of == self.fd && region.len == Some(len)
        };
        let region = regions.iter_mut().flatten().find(fits)?;
        region.is_kept = false;
        Some(region.address)
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
        if !memfd.fill(content) {
            memfd.fill_by_calls(content, is_new);
        }
        self.meta(ino).memfd = Some(memfd);
        Ok(())
    }

    /// Keeps for the next mount what nobody has mapped any more.
    pub(super) fn spare(&mut self) {
        let mut memfds = self.inodes.iter_mut().filter_map(|meta| meta.memfd.take()).peekable();
        if memfds.peek().is_none() {
            return;
        }
        let regions = {
            let mut regions = lock(&MAPPED);
            let all = *regions;
            regions.iter_mut().for_each(|place| *place = place.filter(|region| region.is_kept));
            all
        };
        let all_seen = regions.iter().any(Option::is_none);
        for memfd in memfds {
            let is_mapped = |region: &Region| region.of == memfd.fd && !region.is_kept;
            let mut spares = lock(&SPARE);
            let fits = memfd.len() <= SPARE_LEN_MAX && spares.len() < SPARES_MAX;
            if all_seen && fits && !regions.iter().flatten().any(is_mapped) {
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
        let is_usual = is_usual(args);
        if is_usual && let Some(address) = memfd.mapped_again(len) {
            return Ok(address);
        }
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
            let (of, len) = (memfd.fd, Some(len));
            *place = Some(Region { of, address, len, is_usual, is_kept: false });
        }
        Ok(address)
    }
}

fn is_usual([address, len, protection, flags, _, at]: sys::Args) -> bool {
    let usual = (libc::PROT_READ | libc::PROT_WRITE, MAP_SHARED);
    (address, at) == (0, 0)
        && (protection as c_int, flags as c_int) == usual
        && (1..=POPULATED_MAX as usize).contains(&len)
}

/// `munmap` and `mremap`: the kernel's, and seen, so that it is known what is still mapped.
pub(super) fn changed(call: &Call) -> Option<Outcome> {
    let mut regions = lock(&MAPPED);
    let [address, len, new_len, flags, to, _] = call.args;
    let is_end = call.number == libc::SYS_munmap;
    if is_end && keep(&mut regions, address, len) {
        return Some(Ok(0));
    }
    // Of nothing `mremap` makes a second mapping.
    let range = (address, len.max(1));
    release(&mut regions, |region| region.overlaps(range.0, range.1));
    if !is_end && flags as c_int & libc::MREMAP_FIXED != 0 {
        release(&mut regions, |region| region.overlaps(to, new_len));
    }
    if !regions.iter().flatten().any(|region| region.overlaps(range.0, range.1)) {
        return None;
    }
    let done = told(call.perform());
    for place in regions.iter_mut() {
        match place {
            Some(region)
                if is_end
                    && done.is_ok()
                    && (region.address, region.len) == (address, Some(len)) =>
            {
                *place = None;
            }
            Some(region) if region.overlaps(range.0, range.1) => region.len = None,
            _ => {}
        }
    }
    Some(done)
}

/// A mapping at a fixed place: what the program believes to be free there becomes so.
pub(super) fn make_room(call: &Call) {
    let [address, len, _, flags, ..] = call.args;
    if flags as c_int & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0 {
        release(&mut lock(&MAPPED), |region| region.overlaps(address, len));
    }
}

/// `mprotect`: the kernel's; what is mapped there is not of the usual kind any more.
pub(super) fn protected(call: &Call) {
    let [address, len, ..] = call.args;
    let mut regions = lock(&MAPPED);
    release(&mut regions, |region| region.overlaps(address, len));
    let touched = regions.iter_mut().flatten().filter(|region| region.overlaps(address, len));
    touched.for_each(|region| region.is_usual = false);
}

/// Keeps a mapping that the program ends; false where it is not one to keep.
fn keep(regions: &mut Regions, address: usize, len: usize) -> bool {
    let kept = regions.iter().flatten().filter(|region| region.is_kept).count();
    let ended = |region: &&mut Region| {
        region.is_usual && !region.is_kept && (region.address, region.len) == (address, Some(len))
    };
    match regions.iter_mut().flatten().find(ended) {
        Some(region) if kept < KEPT_MAX => {
            region.is_kept = true;
            true
        }
        _ => false,
    }
}

/// Ends for the kernel, too, mappings that were kept.
fn release(regions: &mut Regions, chosen: impl Fn(&Region) -> bool) {
    for place in regions {
        if let Some(Region { address, len: Some(len), is_kept: true, .. }) = *place
            && place.as_ref().is_some_and(&chosen)
        {
            // SAFETY: the program has ended it, and we have kept it for no one yet.
            unsafe { sys::unmap(address, len) };
            *place = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
