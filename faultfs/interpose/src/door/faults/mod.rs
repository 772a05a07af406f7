//! What goes wrong: each call below the root is put to the injector before it is carried out.
//!
//! The injector is asked with the door's lock held, so that its counts are in the order of the log, and
//! a signal handler that interrupted the door passes unjudged, as it passes unrecorded. Deciding does not
//! allocate: paths are told on the stack, by the kernel, and what was decided goes into the log as it
//! is; words are made of it when the log is read. The injector itself allocates in three cases: for a rule
//! that counts for each file and meets a new one, for a latent error that a write heals, and for a fault
//! on a thread that has passed fail points. While a rule asks where calls are written, each is looked up
//! in the debug info before, without the lock. Carrying out allocates where the fault needs more than the call:
//! [`elsewhere`], [`past`], [`space`]. Such a plan is not for an engine whose signal handlers write files.
//!
//! A call is carried out in its own time, without the lock that it was judged under.

mod act;
mod ask;
mod elsewhere;
mod halves;
mod past;
mod space;
mod syncs;
mod text;

use std::ffi::{OsStr, c_int};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering::*};

use faultfs::Call as Subject;
use faultfs::disk::Disk;
use faultfs::fs::{Capacity, Rot};
use faultfs::plan::OpKind;
use faultfs::trace::Site;
use faultfs::{Injection, Injector};

use crate::record::{Kind, REACHES};
use crate::sites::Modules;

use super::log::Entry;
use super::sys::{Returned, Stat};
use super::{Call, DOOR, Held};

use ask::Asked;
pub(crate) use space::Space;
use text::Text;

/// What a session with faults starts from.
pub(crate) struct Armed {
    pub(crate) injector: Injector,
    /// Whether to write down every call, for who wants to know what could be faulted.
    pub(crate) observe: bool,
    /// The path of the root, without links and dots.
    pub(crate) root: Vec<u8>,
    /// What was there at the start, where somebody may want it back.
    pub(crate) base: Option<Disk>,
    /// How much the disk holds.
    pub(crate) space: Space,
    /// For rules that ask where calls are written.
    pub(crate) modules: Arc<Modules>,
}

/// The faults of the session that is active, if it has any.
pub(crate) struct Faults(AtomicPtr<Armed>);

impl Faults {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    #[inline]
    pub(super) fn are_on(&self) -> bool {
        !self.0.load(Relaxed).is_null()
    }

    pub(super) fn start(&self, armed: Box<Armed>) {
        syncs::clear();
        self.0.store(Box::into_raw(armed), Release);
    }

    /// Ends them; to be called with the lock held, and dropped without it.
    pub(super) fn end(&self) -> Option<Box<Armed>> {
        let armed = self.0.swap(ptr::null_mut(), AcqRel);
        // SAFETY: made by `start` and taken by nobody else; whoever looked at it held the lock, as the
        // caller does now.
        (!armed.is_null()).then(|| unsafe { Box::from_raw(armed) })
    }

    fn of<'a>(held: &'a Held<'_>) -> Option<&'a Armed> {
        // SAFETY: null, or set by `start` and not freed while the lock is held.
        unsafe { held.door.faults.0.load(Acquire).as_ref() }
    }
}

/// Passes the door in a session with faults.
pub(super) fn pass(call: Call) -> Returned {
    let returned = match ask::of(&call) {
        None if call.number == libc::SYS_sync_file_range => syncs::sync_range(call),
        None => call.record(),
        Some(asked) => match decide(&call, &asked) {
            // A delay passes without the lock.
            Some((injector, injection)) => {
                act::carry_out(call, &asked, injector.wait(injection).fault)
            }
            None => act::do_all(call, &asked),
        },
    };
    match call.number {
        libc::SYS_open | libc::SYS_creat | libc::SYS_openat | libc::SYS_openat2 => {
            syncs::opened(returned);
        }
        libc::SYS_mmap if returned >= 0 && DOOR.fds.get(call.fd(4)) != 0 => {
            syncs::mapped(call.fd(4), returned as usize);
        }
        libc::SYS_dup | libc::SYS_dup2 | libc::SYS_dup3 => syncs::copied(call.fd(0), returned),
        libc::SYS_fcntl if matches!(call.fd(1), libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) => {
            syncs::copied(call.fd(0), returned);
        }
        _ => {}
    }
    returned
}

/// Drops the clean pages of a file from memory: see [`crate::evict`].
pub(crate) fn evict(fd: c_int) -> io::Result<()> {
    let held = injecting()?;
    let stat = regular(fd)?;
    past::evict(&held, fd, &stat).ok_or(io::Error::from_raw_os_error(libc::EIO))
}

/// Changes stored bytes of a file: see [`crate::rot`].
pub(crate) fn rot(fd: c_int, rot: Rot) -> io::Result<()> {
    let held = injecting()?;
    past::rot(&held, fd, &regular(fd)?, rot)
}

/// Limits the disk: see [`crate::set_capacity`].
pub(crate) fn set_capacity(capacity: Capacity) -> io::Result<()> {
    let held = injecting()?;
    Faults::of(&held).into_iter().for_each(|armed| armed.space.set(capacity));
    Ok(())
}

/// The lock, of a session with an injector.
fn injecting() -> io::Result<Held<'static>> {
    let held = DOOR.hold();
    let injects = |held: &Held<'_>| Faults::of(held).is_some_and(|armed| armed.base.is_some());
    held.filter(injects).ok_or(io::ErrorKind::NotFound.into())
}

/// A regular file below the root.
fn regular(fd: c_int) -> io::Result<Stat> {
    let refuse = |errno| Err(io::Error::from_raw_os_error(errno));
    match DOOR.behind(fd) {
        Some(stat) if stat.is(libc::S_IFREG) => Ok(stat),
        Some(_) => refuse(libc::EISDIR),
        None => refuse(libc::EINVAL),
    }
}

/// What goes wrong with a call, if anything does, and who says so. Written to the log, as is every call of a
/// session that observes.
fn decide(call: &Call, asked: &Asked) -> Option<(Injector, Injection)> {
    let mut held = DOOR.hold()?;
    let armed = Faults::of(&held)?;
    if !armed.observe && !armed.injector.is_armed() {
        return None;
    }
    let (mut path, mut other) = (Text::new(), Text::new());
    asked.what.tell(&armed.root, &mut path)?;
    if let Some(what) = &asked.other {
        what.tell(&armed.root, &mut other)?;
    }
    let mut site = None;
    if armed.injector.asks_for_sites() {
        let (modules, stack) = (armed.modules.clone(), held.addresses());
        drop(held);
        site = modules.chain(stack.into_iter()).site;
        held = DOOR.hold()?;
    }
    let armed = Faults::of(&held)?;
    let subject = Subject {
        site: site.as_ref().and_then(Site::place),
        other: asked.other.as_ref().map(|_| as_path(other.bytes())),
        offset: asked.offset,
        len: asked.len,
        writes: asked.writes,
        reach: asked.reach,
        ..Subject::new(asked.kind, as_path(path.bytes()))
    };
    let injection = armed.injector.decide_at_once(&subject);
    if armed.observe || injection.is_some() {
        write(&held, call, asked, (path.bytes(), other.bytes()), injection.as_ref());
    }
    Some((armed.injector.clone(), injection?))
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn write(
    held: &Held<'_>,
    call: &Call,
    asked: &Asked,
    (path, other): (&[u8], &[u8]),
    injection: Option<&Injection>,
) {
    let kind = OpKind::ALL.iter().position(|kind| *kind == asked.kind).unwrap_or(usize::MAX);
    let reach = REACHES.iter().position(|reach| *reach == asked.reach).unwrap_or(0);
    let (has_offset, offset) = (asked.offset.is_some().into(), asked.offset.unwrap_or(0));
    let words = [kind as u64, has_offset, offset, asked.len, reach as u64, asked.writes.into()];
    let rule = injection.map_or("", |injection| &injection.rule);
    let points = injection.map_or(&[][..], |injection| &injection.points);
    let behind = || [rule].into_iter().chain(points.iter().map(|point| &**point));
    let len = other.len() + behind().map(|text| 1 + text.len()).sum::<usize>();
    let stack = if injection.is_some() { held.stack() } else { 0 };
    let entry = Entry { kind: Kind::Called, number: call.number, stack, words, name: path };
    let Some(slot) = held.door.log.reserve(&entry, held.thread, len, 1) else { return };
    let mut into = slot.data;
    let mut put = |bytes: &[u8]| {
        // SAFETY: the slot has room for all that is put, and is the log's own.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), into, bytes.len());
            into = into.add(bytes.len());
        }
    };
    put(other);
    for text in behind() {
        put(b"\0");
        put(text.as_bytes());
    }
    held.commit(call.number, slot, len);
}
