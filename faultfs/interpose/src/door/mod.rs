//! The door: every file call of the process passes here, those below the root are recorded.
//!
//! Entered from the overridden libc symbols and from the handler of trapped system calls, hence
//! async-signal-safe throughout: no allocation, no libc call, no lock but [`lock::Lock`]. The
//! real bytes go to the real files; the door only writes down what was asked and what came of it.
//!
//! A mutating call holds the lock from before its start is written until its end is, so that
//! calls that could conflict happen in the order of the log. A sync or a wait holds it for each
//! record only.

mod copies;
pub(crate) mod faults;
mod files;
mod inodes;
mod lock;
mod log;
mod maps;
mod names;
mod opens;
pub(crate) mod seeds;
pub(crate) mod stack;
mod syncs;
pub(crate) mod sys;

use std::ffi::c_int;
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering::*};

use crate::record::{Kind, header};
use crate::{memory, removals};

use faults::{Armed, Faults};
pub(crate) use files::flags_of;
use inodes::{Fds, Inodes, RANDOM};
use lock::Lock;
use log::{Entry, Log, Slot};
use maps::Maps;
use seeds::Seeds;
use stack::Walker;
use sys::{Args, Returned, Stat};

/// A system call as the program asked for it.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) number: i64,
    pub(crate) args: Args,
}

impl Call {
    /// # Safety
    /// The program answers for the arguments: those that the call takes for addresses must be
    /// valid for it, or be addresses that the kernel refuses.
    #[inline]
    pub(crate) unsafe fn new(number: i64, args: Args) -> Self {
        Self { number, args }
    }

    /// Lets the kernel do it.
    #[inline]
    pub(crate) fn perform(&self) -> Returned {
        // SAFETY: the program answers for the arguments, see `new`.
        unsafe { sys::raw(self.number, self.args) }
    }

    fn fd(&self, index: usize) -> c_int {
        self.args[index] as c_int
    }

    /// Passes the door.
    #[inline]
    pub(crate) fn pass(self) -> Returned {
        match DOOR.doing.load(Relaxed) {
            NOTHING => self.perform(),
            RECORDING => self.judge(),
            KEEPING if removals::concern(self.number) => removals::pass(&self),
            KEEPING => self.perform(),
            _ => memory::pass(&self),
        }
    }

    #[inline(never)]
    fn judge(self) -> Returned {
        if DOOR.faults.are_on() { faults::pass(self) } else { self.record() }
    }

    /// Does what is asked, and writes down what the log is for.
    #[inline]
    fn record(self) -> Returned {
        const CWD: c_int = libc::AT_FDCWD;
        let [a, b, c, d, ..] = self.args;
        match self.number {
            libc::SYS_read => seeds::read(self),
            libc::SYS_write
            | libc::SYS_pwrite64
            | libc::SYS_writev
            | libc::SYS_pwritev
            | libc::SYS_pwritev2 => files::write(self),
            libc::SYS_open => opens::open(self, CWD, a, b as c_int, c),
            libc::SYS_creat => {
                opens::open(self, CWD, a, libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY, b)
            }
            libc::SYS_openat => opens::open(self, a as c_int, b, c as c_int, d),
            libc::SYS_openat2 => opens::open_how(self),
            libc::SYS_mknod => opens::make_node(self, CWD, a, b),
            libc::SYS_mknodat => opens::make_node(self, a as c_int, b, c),
            libc::SYS_close => opens::close(self),
            libc::SYS_close_range => opens::close_range(self),
            libc::SYS_dup | libc::SYS_dup2 | libc::SYS_dup3 => opens::duplicate(self),
            libc::SYS_fcntl => opens::control(self),
            libc::SYS_ftruncate => files::set_len(self),
            libc::SYS_truncate => files::set_len_at(self),
            libc::SYS_fallocate => files::allocate(self),
            libc::SYS_fchmod => files::set_mode(self),
            libc::SYS_chmod => files::set_mode_at(self, CWD, a, b, 0),
            libc::SYS_fchmodat => files::set_mode_at(self, a as c_int, b, c, 0),
            libc::SYS_fchmodat2 => files::set_mode_at(self, a as c_int, b, c, d as c_int),
            libc::SYS_ioctl => files::control(self),
            libc::SYS_fsetxattr | libc::SYS_fremovexattr => files::attributes(self),
            libc::SYS_setxattr
            | libc::SYS_lsetxattr
            | libc::SYS_removexattr
            | libc::SYS_lremovexattr => files::attributes_at(self),
            libc::SYS_copy_file_range => copies::copy_file_range(self),
            libc::SYS_sendfile => copies::send_file(self),
            libc::SYS_splice => copies::splice(self),
            libc::SYS_fsync | libc::SYS_fdatasync => syncs::sync(self),
            libc::SYS_sync_file_range => syncs::sync_range(self),
            libc::SYS_sync | libc::SYS_syncfs => syncs::sync_all(self),
            libc::SYS_msync => syncs::sync_mapping(self),
            libc::SYS_mmap => maps::map(self),
            libc::SYS_munmap => maps::unmap(self),
            libc::SYS_mremap => maps::remap(self),
            libc::SYS_mprotect => maps::protect(self),
            libc::SYS_rename => names::rename(self, (CWD, a), (CWD, b), 0),
            libc::SYS_renameat => names::rename(self, (a as c_int, b), (c as c_int, d), 0),
            libc::SYS_renameat2 => {
                names::rename(self, (a as c_int, b), (c as c_int, d), self.args[4] as u32)
            }
            libc::SYS_link => names::link(self, (CWD, a), (CWD, b), 0),
            libc::SYS_linkat => {
                names::link(self, (a as c_int, b), (c as c_int, d), self.args[4] as c_int)
            }
            libc::SYS_unlink => names::unlink(self, CWD, a, 0),
            libc::SYS_rmdir => names::unlink(self, CWD, a, libc::AT_REMOVEDIR),
            libc::SYS_unlinkat => names::unlink(self, a as c_int, b, c as c_int),
            libc::SYS_mkdir => names::make_dir(self, CWD, a, b),
            libc::SYS_mkdirat => names::make_dir(self, a as c_int, b, c),
            libc::SYS_symlink => names::symlink(self, a, CWD, b),
            libc::SYS_symlinkat => names::symlink(self, a, b as c_int, c),
            libc::SYS_getrandom => seeds::random(self),
            libc::SYS_clock_gettime => seeds::clock(self),
            // Refused as on a kernel without them: what falls back to plain calls is then seen.
            libc::SYS_io_uring_setup | libc::SYS_io_setup => -(libc::ENOSYS as Returned),
            _ => self.perform(),
        }
    }
}

/// The door of this process.
pub(crate) static DOOR: Door = Door {
    doing: AtomicU8::new(NOTHING),
    lock: Lock::new(),
    session: AtomicU64::new(0),
    faults: Faults::new(),
    walker: AtomicPtr::new(ptr::null_mut()),
    unforked: AtomicPtr::new(ptr::null_mut()),
    dev: AtomicU64::new(0),
    in_ram: AtomicBool::new(false),
    log: Log::new(),
    inodes: Inodes::new(),
    fds: Fds::new(),
    maps: Maps::new(),
    seeds: Seeds::new(),
};

/// What the door does with a call.
const NOTHING: u8 = 0;
const RECORDING: u8 = 1;
const MOUNTED: u8 = 2;
const KEEPING: u8 = 3;

pub(crate) struct Door {
    doing: AtomicU8,
    lock: Lock,
    /// Counts sessions, so that a sync that outlives its session is not ended in the next.
    session: AtomicU64,
    faults: Faults,
    /// Of the session that is active.
    walker: AtomicPtr<Walker>,
    /// A byte that is 1 here and 0 in every forked child.
    unforked: AtomicPtr<u8>,
    dev: AtomicU64,
    /// Whether the root is on a file system that is nowhere but in memory.
    in_ram: AtomicBool,
    log: Log,
    inodes: Inodes,
    fds: Fds,
    maps: Maps,
    seeds: Seeds,
}

/// What a session starts from.
pub(crate) struct Opening {
    pub(crate) log: *mut u8,
    pub(crate) log_len: usize,
    /// A byte of memory that a fork wipes.
    pub(crate) unforked: *mut u8,
    pub(crate) dev: u64,
    /// Whether the root is on a file system that is nowhere but in memory.
    pub(crate) in_ram: bool,
    pub(crate) seed: u64,
    pub(crate) armed: Option<Box<Armed>>,
    pub(crate) walker: Box<Walker>,
}

/// What is below the root when a session starts.
pub(crate) struct Known {
    pub(crate) ino: u64,
    /// From the root; empty for the root itself.
    pub(crate) path: Vec<u8>,
}

impl Door {
    /// Starts to record; false when a session is active already.
    ///
    /// # Safety
    /// The log as for [`Log::open`]; `unforked` must be valid until the process ends.
    pub(crate) unsafe fn open(&self, opening: Opening, known: &[Known]) -> bool {
        assert!(self.lock.acquire(sys::thread()));
        let vacant = matches!(self.doing.load(Relaxed), NOTHING | KEEPING);
        if vacant {
            // SAFETY: the caller answers for it.
            unsafe { self.log.open(opening.log, opening.log_len) };
            // SAFETY: the caller gives valid memory.
            unsafe { opening.unforked.write_volatile(1) };
            self.unforked.store(opening.unforked, Relaxed);
            self.dev.store(opening.dev, Relaxed);
            self.in_ram.store(opening.in_ram, Relaxed);
            self.fds.clear(0, u32::MAX);
            self.inodes.clear();
            self.seeds.start(opening.seed);
            let held = Held { door: self, thread: sys::thread() };
            known.iter().for_each(|known| held.known(known));
            opening.walker.modules.iter().for_each(|module| held.module(module));
            self.walker.store(Box::into_raw(opening.walker), Release);
            self.session.fetch_add(1, Relaxed);
            if let Some(armed) = opening.armed {
                self.log.set(header::OBSERVED, armed.observe.into());
                self.faults.start(armed);
            }
            self.doing.store(RECORDING, SeqCst);
            return true; // `held` has released the lock
        }
        self.lock.release();
        false
    }

    /// Whether a session is active.
    pub(crate) fn is_active(&self) -> bool {
        self.doing.load(Relaxed) == RECORDING
    }

    /// Whether calls are served from memory.
    pub(crate) fn is_mounted(&self) -> bool {
        self.doing.load(Relaxed) == MOUNTED
    }

    /// Has calls served from memory; false when the door does something else already.
    pub(crate) fn mount(&self) -> bool {
        let mount = |doing| (doing != RECORDING).then_some(MOUNTED);
        self.doing.fetch_update(SeqCst, Relaxed, mount).is_ok()
    }

    /// Has removals told to a stash; false when the door does something else already.
    pub(crate) fn keep(&self) -> bool {
        self.doing.compare_exchange(NOTHING, KEEPING, SeqCst, Relaxed).is_ok()
    }

    pub(crate) fn keep_no_more(&self) {
        let _ = self.doing.compare_exchange(KEEPING, NOTHING, SeqCst, Relaxed);
    }

    pub(crate) fn unmount(&self) {
        self.doing.store(NOTHING, SeqCst);
    }

    /// Ends the recording. What was stored through mappings until now is still written down.
    pub(crate) fn close(&self) {
        if let Some(held) = self.hold() {
            maps::compare(&held);
            maps::forget(&held);
            self.doing.store(NOTHING, SeqCst);
            self.log.set(header::FINISHED, 1);
            self.log.close();
            let armed = self.faults.end();
            let walker = self.walker.swap(ptr::null_mut(), AcqRel);
            drop(held);
            drop(armed);
            // SAFETY: made by `open`, and taken by nobody else; whoever used it held the lock.
            drop(unsafe { Box::from_raw(walker) });
        }
    }

    /// Writes what stands by itself in the log, if a session is active.
    pub(crate) fn note(&self, kind: Kind, words: &[u64], name: &[u8], data: &[u8]) {
        if self.is_active()
            && let Some(held) = self.hold()
        {
            maps::compare(&held);
            held.append(0, kind, words, name, data);
        }
    }

    /// The lock, if a session is active and this is neither its forked child nor a signal that
    /// interrupted the door.
    fn hold(&self) -> Option<Held<'_>> {
        let unforked = self.unforked.load(Relaxed);
        // SAFETY: set before `active` was, and valid until the process ends.
        if unforked.is_null() || unsafe { unforked.read_volatile() } == 0 {
            // The lock may be held for ever here, by a thread that the fork left behind.
            self.log.set(header::FORKED, 1);
            return None;
        }
        let thread = sys::thread();
        if !self.lock.acquire(thread) {
            self.log.set(header::REENTERED, 1);
            return None;
        }
        let held = Held { door: self, thread };
        self.is_active().then_some(held)
    }

    /// The inode behind `fd`, if it is below the root. Descriptors are closed and reused behind
    /// the door's back inside libc, so the kernel is asked each time.
    fn behind(&self, fd: c_int) -> Option<Stat> {
        let stat = sys::fstat(fd).ok()?;
        let below = self.is_on_device(&stat)
            && (self.inodes.contains(stat.ino) || self.fds.get(fd) == stat.ino);
        if !below && self.fds.get(fd) != RANDOM {
            self.fds.set(fd, 0);
        }
        below.then_some(stat)
    }

    /// The inode that a path leads to.
    fn at(&self, dir: c_int, path: usize, flags: c_int) -> Whereabouts<Stat> {
        match sys::fstatat(dir, path, flags) {
            Ok(stat) if self.is_below(&stat) => Whereabouts::Below(stat),
            Ok(stat) if !self.is_on_device(&stat) => Whereabouts::Outside,
            _ => Whereabouts::Unsure,
        }
    }

    fn is_below(&self, stat: &Stat) -> bool {
        self.is_on_device(stat) && self.inodes.contains(stat.ino)
    }

    fn in_ram(&self) -> bool {
        self.in_ram.load(Relaxed)
    }

    fn is_on_device(&self, stat: &Stat) -> bool {
        stat.dev == self.dev.load(Relaxed)
    }
}

/// Where something is that a call names.
#[derive(Clone, Copy)]
enum Whereabouts<T> {
    Below(T),
    /// On another device, or a name that no call can make or take.
    Outside,
    /// Not there, or on the root's device and not known to be below. With the lock held that means
    /// outside; without it another thread may just be making it.
    Unsure,
}

impl<T> Whereabouts<T> {
    fn is_outside(&self) -> bool {
        matches!(self, Self::Outside)
    }
}

/// The door with its lock held.
struct Held<'a> {
    door: &'a Door,
    thread: u32,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.door.lock.release();
    }
}

/// An operation whose end is to be written.
#[derive(Clone, Copy)]
struct Started {
    position: u64,
    number: i64,
    session: u64,
}

impl Held<'_> {
    /// Writes the start of an operation without data; none when the log is full.
    fn start(
        &self,
        call: &Call,
        kind: Kind,
        words: &[u64],
        name: &[u8],
        data: &[u8],
    ) -> Option<Started> {
        maps::compare(self);
        self.append(call.number, kind, words, name, data)
    }

    /// Performs a call between its start and its end.
    fn perform(&self, call: &Call, kind: Kind, words: &[u64], name: &[u8]) -> Returned {
        let started = self.start(call, kind, words, name, &[]);
        let returned = call.perform();
        self.end(started, returned, None);
        returned
    }

    /// Writes the end of an operation, with the inode that came of it where that is news.
    fn end(&self, started: Option<Started>, returned: Returned, made: Option<&Stat>) {
        let Some(started) = started else { return };
        if started.session == self.door.session.load(Relaxed) {
            let (ino, mode) = made.map_or((0, 0), |stat| (stat.ino, stat.mode.into()));
            let words = [started.position, returned as u64, ino, mode];
            self.append(started.number, Kind::End, &words, &[], &[]);
        }
    }

    /// Says why the recording does not tell the whole story.
    fn unmodelled(&self, call: &Call, why: &str) {
        self.append(call.number, Kind::Unmodelled, &[], &[], why.as_bytes());
    }

    /// Makes an inode count as below the root.
    fn insert(&self, call: &Call, ino: u64) {
        if !self.door.inodes.insert(ino) {
            self.unmodelled(call, "more files below the root than the door can follow (98,304)");
        }
    }

    fn known(&self, known: &Known) {
        let nothing = Call { number: 0, args: [0; 6] };
        self.insert(&nothing, known.ino);
        self.append(0, Kind::Known, &[known.ino], &known.path, &[]);
    }

    fn module(&self, module: &stack::Module) {
        let (at, [len, seconds, nanos]) = (&module.addresses, module.stamp);
        let words = [module.bias, at.start, at.end, len, seconds, nanos];
        self.append(0, Kind::Module, &words, module.path.as_os_str().as_bytes(), &[]);
    }

    /// From where this thread has come to the door.
    fn addresses(&self) -> Vec<u64> {
        // SAFETY: as in `stack`.
        let walker = unsafe { self.door.walker.load(Acquire).as_mut() };
        walker.map(|walker| walker.addresses().to_vec()).unwrap_or_default()
    }

    /// Writes down from where this thread has come to the door, if that is news; where it stands, or 0.
    #[inline(never)]
    fn stack(&self) -> u64 {
        // SAFETY: null, or set by `open` and not freed while the lock is held, under which nobody else is here.
        let Some(walker) = (unsafe { self.door.walker.load(Acquire).as_mut() }) else { return 0 };
        walker.walk();
        if let Some(position) = walker.known(&self.door.log) {
            return position;
        }
        let written = self.append(0, Kind::Stack, &[], &[], walker.bytes());
        let position = written.map_or(0, |written| written.position);
        walker.remember(position);
        position
    }

    fn append(
        &self,
        number: i64,
        kind: Kind,
        words: &[u64],
        name: &[u8],
        data: &[u8],
    ) -> Option<Started> {
        let slot = self.reserve(number, kind, words, name, data.len(), 1)?;
        // SAFETY: the slot has room for as many bytes as were asked for, and is the log's own.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), slot.data, data.len()) };
        Some(self.commit(number, slot, data.len()))
    }

    fn reserve(
        &self,
        number: i64,
        kind: Kind,
        words: &[u64],
        name: &[u8],
        data_len: usize,
        data_align: usize,
    ) -> Option<Slot> {
        let stack = if kind.is_start() { self.stack() } else { 0 };
        let mut all = [0; 6];
        all[..words.len()].copy_from_slice(words);
        let entry = Entry { kind, number, stack, words: all, name };
        self.door.log.reserve(&entry, self.thread, data_len, data_align)
    }

    fn commit(&self, number: i64, slot: Slot, data_len: usize) -> Started {
        let position = self.door.log.commit(slot, data_len);
        Started { position, number, session: self.door.session.load(Relaxed) }
    }
}
