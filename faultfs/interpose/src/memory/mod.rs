//! A disk served from memory: below one path of this process, calls are answered here and never reach
//! the kernel.
//!
//! Entered from libc's symbols and, with [`trap_all`], from the handler of trapped system calls. That
//! signal is synchronous: it comes where the program makes a call, so allocating and locking are
//! allowed here as they are in the call's own place. What is not below the root is passed on before
//! anything is allocated or locked.
//!
//! Descriptors are numbers that the kernel never gives, from [`FIRST`] on. What cannot be served is
//! answered somehow and noted: then nothing that was seen on this mount counts.

mod calls;
mod contents;
mod filter;
mod identity;
mod locks;
mod maps;
mod names;
mod opens;
mod place;
mod programs;
mod stats;
mod symbols;
mod tree;

use std::ffi::c_int;
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering::*};
use std::sync::{Mutex, MutexGuard, PoisonError};

use faultfs::disk::Disk;
use faultfs::folder::TIME_SECONDS;
use faultfs::op::{Ino, Op};
use faultfs::reads::Reads;

use crate::door::{DOOR, sys};

pub(crate) use calls::pass;
pub(crate) use filter::trap_all;
pub(crate) use identity::OVERRIDES as ASKS;
pub(crate) use programs::OVERRIDES as SPAWNS;
pub(crate) use symbols::OVERRIDES as LOOKS;

use opens::Opens;
use tree::Meta;

/// The first descriptor that is ours.
const FIRST: c_int = 1 << 24;

/// What a call comes to: its result, or the number of its error.
type Outcome = Result<usize, c_int>;

/// In the place of an error number: the call leads out of the root and is the kernel's.
const ESCAPED: c_int = -1;

static MOUNT: Mutex<Option<Mount>> = Mutex::new(None);
/// Where the mount is. Never freed: a path may be compared with it while the mount ends.
static ROOT: AtomicPtr<Root> = AtomicPtr::new(ptr::null_mut());
/// Why the mount does not count.
static UNSERVED: AtomicPtr<&'static str> = AtomicPtr::new(ptr::null_mut());
/// What is above the root may differ from what is known of it.
static ABOVE_CHANGED: AtomicBool = AtomicBool::new(false);
static MOUNTS: AtomicU64 = AtomicU64::new(0);
/// Descriptors that the last mounts left open are not given again.
static LEFT_TO: AtomicI32 = AtomicI32::new(FIRST);

/// The folder in whose place a disk is served, and who we are.
#[derive(Debug)]
struct Root {
    given: PathBuf,
    path: PathBuf,
    dev: u64,
    /// The real folder, which must stay as it is, and when it was last changed.
    folder: c_int,
    changed: (i64, i64),
    /// The folders above it, each with the length of its path.
    above: Vec<(usize, libc::stat)>,
    uid: u32,
    gid: u32,
    umask: u32,
}

/// A disk in the place of a folder, for the calls of this process.
///
/// From [`Mounted::new`] until the value is dropped, file calls of this program below the folder are
/// answered from memory, with the semantics and error numbers of Linux's `tmpfs`. The disk it was made
/// from stays as it is; pages are copied when they are first changed. Times of files begin at
/// [`TIME_SECONDS`] and advance by a microsecond with each change.
///
/// Attributes of the folders above the root are those that they had when the first disk was mounted there,
/// until this process changes a name or a mode outside of it.
///
/// One at a time in a process, and not together with a [`Session`](crate::Session). Descriptors that
/// are still open at the end become bad ones, which can only be closed.
///
/// # Limits
///
/// System calls that do not come through libc's symbols are seen only after [`Mounted::trap`]. What is
/// seen and cannot be served is told by [`Mounted::unserved`]: programs that are started, extended
/// attributes, devices and pipes, names moved into the folder or out of it, `chdir` into it, owners
/// other than this process, another user of this process, `io_uring`. Not seen: `poll` and its kin on such a descriptor, paths that
/// reach the folder through symbolic links outside of it (a file made that way is), children made by
/// `vfork`, `pidfd_spawn` or a system call of their own, which the trap kills. Memory of a shared mapping
/// that the program has ended may still be there: who goes on using it is not stopped.
#[derive(Debug)]
#[must_use = "dropping it ends the mount"]
pub struct Mounted(());

impl Mounted {
    /// Serves `disk` in the place of the folder `root`, which must exist and be empty.
    ///
    /// # Errors
    ///
    /// `Unsupported` where this package's functions are not those that the program calls;
    /// `ResourceBusy` while another mount or a recording is active; else what the kernel says of `root`.
    pub fn new(root: &Path, disk: &Disk) -> io::Result<Self> {
        Self::mount(root, disk, Reads::of(disk))
    }

    /// As [`Mounted::new`], with nothing noted of what is read.
    pub(crate) fn unfollowed(root: &Path, disk: &Disk) -> io::Result<Self> {
        let reads = Reads::of(disk);
        reads.everything();
        Self::mount(root, disk, reads)
    }

    fn mount(root: &Path, disk: &Disk, reads: Reads) -> io::Result<Self> {
        let at = root_at(root)?;
        let generation = MOUNTS.fetch_add(1, Relaxed) + 1;
        let mount = Mount::new(at, disk.clone(), reads, generation);
        let mut held = hold();
        if held.is_some() || !DOOR.mount() {
            let why = "a mount or a recording is active in this process already";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        UNSERVED.store(ptr::null_mut(), Relaxed);
        identity::forget_user();
        *held = Some(mount);
        Ok(Self(()))
    }

    /// Has system calls that bypass libc's symbols served as well, from now on and until the process
    /// ends, which must then start no programs.
    ///
    /// # Errors
    ///
    /// `Unsupported` where this package's functions are not those that the program calls; else what
    /// the kernel says.
    pub fn trap() -> io::Result<()> {
        crate::session::require_linked()?;
        trap_all()
    }

    /// What was read of the disk until now, once; what is read later is not told. `None` where
    /// something was asked that cannot be served.
    pub fn take_reads(&self) -> Option<Reads> {
        if self.unserved().is_some() { None } else { self.take_served() }
    }

    /// As [`Mounted::take_reads`], where it is known that all was served.
    pub(crate) fn take_served(&self) -> Option<Reads> {
        let mut held = hold();
        let mount = held.as_mut()?;
        Some(std::mem::replace(&mut mount.reads, Reads::of(&mount.disk)))
    }

    /// What was asked of this mount, or of its process, that cannot be served from memory: the first
    /// such thing. What was seen on the mount means nothing then.
    pub fn unserved(&self) -> Option<&'static str> {
        let root = ROOT.load(Acquire);
        // SAFETY: set before there was a mount, and never freed.
        let root = unsafe { root.as_ref() }?;
        if calls::change_time(root.folder) != Some(root.changed) {
            unserved(&"a change of the real folder");
        }
        let why = UNSERVED.load(Relaxed);
        // SAFETY: null or a reference that lives for ever.
        unsafe { why.as_ref() }.copied()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mut held = hold();
        if let Some(mut mount) = held.take() {
            LEFT_TO.store(mount.opens.next_first(), Relaxed);
            mount.spare();
        }
        // Where descriptors were left open somebody may still close them.
        if LEFT_TO.load(Relaxed) == FIRST {
            DOOR.unmount();
        }
    }
}

fn hold() -> MutexGuard<'static, Option<Mount>> {
    MOUNT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that something was asked that cannot be served; the first is kept.
fn unserved(what: &'static &'static str) {
    let what = ptr::from_ref(what).cast_mut();
    let _ = UNSERVED.compare_exchange(ptr::null_mut(), what, Relaxed, Relaxed);
}

/// The root of the last mount, if it is at `given`, or one made from what is there.
fn root_at(given: &Path) -> io::Result<&'static Root> {
    // SAFETY: null or never freed.
    if let Some(root) = unsafe { ROOT.load(Acquire).as_ref() }
        && root.given == given
    {
        return Ok(root);
    }
    crate::session::require_linked()?;
    let path = given.canonicalize()?;
    let metadata = path.metadata()?;
    if path.read_dir()?.next().is_some() {
        let why = format!("{} is not empty: what is there would be hidden", given.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let umask = umask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o22);
    // SAFETY: no arguments.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    let dev = metadata.dev();
    let folder = std::fs::File::open(&path)?.into_raw_fd();
    ABOVE_CHANGED.store(false, Relaxed);
    let above = path.ancestors().skip(1);
    let above =
        above.filter_map(|a| Some((a.as_os_str().len(), calls::real_metadata(a)?))).collect();
    let root = Root { given: given.into(), path, dev, folder, changed, above, uid, gid, umask };
    let root = Box::leak(Box::new(root));
    // SAFETY: null or never freed.
    if let Some(last) = unsafe { ROOT.swap(root, AcqRel).as_ref() } {
        // SAFETY: it is ours, and only looked at where its root is the present one.
        unsafe { sys::raw(libc::SYS_close, sys::args([last.folder as usize])) };
    }
    Ok(root)
}

/// A mounted disk.
struct Mount {
    root: &'static Root,
    disk: Disk,
    reads: Reads,
    inodes: Vec<Meta>,
    opens: Opens,
    umask: u32,
    /// In the upper half of each inode number, so that no two mounts share one.
    generation: u64,
    /// Nanoseconds since 1970.
    clock: i64,
}

impl Mount {
    fn new(root: &'static Root, disk: Disk, reads: Reads, generation: u64) -> Self {
        let mut mount = Self {
            root,
            reads,
            disk,
            inodes: Vec::new(),
            opens: Opens::new(LEFT_TO.load(Relaxed)),
            umask: root.umask,
            generation,
            clock: TIME_SECONDS as i64 * 1_000_000_000,
        };
        mount.meta(Ino::ROOT).links = 1;
        mount.count(Ino::ROOT);
        mount
    }

    /// Carries out an op.
    fn apply(&mut self, op: &Op) {
        self.reads.done(op);
        self.disk.apply(op);
    }

    fn now(&mut self) -> i64 {
        self.clock += 1_000;
        self.clock
    }

    fn is_privileged(&self) -> bool {
        self.root.uid == 0
    }

    fn root_path(&self) -> &'static [u8] {
        self.root.path.as_os_str().as_bytes()
    }
}
