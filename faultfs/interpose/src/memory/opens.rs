//! Descriptors and the open files behind them; opening, copying and closing.

use std::ffi::c_int;

use faultfs::op::{Ino, Kind, Name, Op};
use libc::{
    EBADF, EEXIST, EINVAL, EISDIR, ELOOP, EMFILE, ENOENT, ENOTDIR, O_ACCMODE, O_APPEND, O_CLOEXEC,
    O_CREAT, O_DIRECT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_TMPFILE,
    O_TRUNC, O_WRONLY,
};

use super::place::{From, Place, is_ours};
use super::tree::End;
use super::{FIRST, Mount, Outcome, unserved};

/// An open file description.
pub(super) struct Open {
    pub(super) ino: Ino,
    pub(super) flags: c_int,
    pub(super) position: u64,
    /// What a directory held when it was last read from its start.
    pub(super) listing: Vec<(Name, Ino)>,
    /// Told from every other for the locks it owns.
    pub(super) id: u64,
    descriptors: usize,
}

impl Open {
    fn is_path(&self) -> bool {
        self.flags & O_PATH != 0
    }

    pub(super) fn is_readable(&self) -> bool {
        !self.is_path() && self.flags & O_ACCMODE != O_WRONLY
    }

    pub(super) fn is_writable(&self) -> bool {
        !self.is_path() && self.flags & O_ACCMODE != O_RDONLY
    }
}

#[derive(Clone, Copy)]
struct Descriptor {
    open: usize,
    closes_on_exec: bool,
}

/// The descriptors of a mount.
pub(super) struct Opens {
    first: c_int,
    opens: Vec<Option<Open>>,
    descriptors: Vec<Option<Descriptor>>,
    count: u64,
}

/// As many as a process may usually have.
const DESCRIPTORS_MAX: usize = 1 << 16;

impl Opens {
    pub(super) fn new(first: c_int) -> Self {
        Opens { first, opens: Vec::new(), descriptors: Vec::new(), count: 0 }
    }

    /// From where the next mount may give descriptors: a thread that outlives this one may still
    /// hold what it left open.
    pub(super) fn next_first(&self) -> c_int {
        let leaked = self.descriptors.iter().rposition(Option::is_some);
        let used = self.first + leaked.map_or(0, |index| index as c_int + 1);
        if used > c_int::MAX / 2 { FIRST } else { used }
    }

    fn index(&self, fd: c_int) -> Option<usize> {
        usize::try_from(fd.checked_sub(self.first)?).ok()
    }

    fn descriptor(&self, fd: c_int) -> Option<Descriptor> {
        *self.descriptors.get(self.index(fd)?)?
    }

    pub(super) fn get(&self, fd: c_int) -> Option<&Open> {
        self.opens.get(self.descriptor(fd)?.open)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, fd: c_int) -> Option<&mut Open> {
        let open = self.descriptor(fd)?.open;
        self.opens.get_mut(open)?.as_mut()
    }

    fn give(&mut self, open: usize, from: usize, closes_on_exec: bool) -> Outcome {
        let taken = |index: &usize| self.descriptors.get(*index).is_some_and(Option::is_some);
        let index = (from..).find(|index| !taken(index)).filter(|index| *index < DESCRIPTORS_MAX);
        let index = index.ok_or(EMFILE)?;
        if self.descriptors.len() <= index {
            self.descriptors.resize(index + 1, None);
        }
        self.descriptors[index] = Some(Descriptor { open, closes_on_exec });
        self.opens[open].as_mut().ok_or(EBADF)?.descriptors += 1;
        Ok(self.first as usize + index)
    }

    fn open(&mut self, ino: Ino, flags: c_int) -> Outcome {
        self.count += 1;
        let kept = match flags & O_PATH {
            0 => flags & !(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC | libc::O_NOCTTY),
            _ => flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW),
        };
        let open = Open {
            ino,
            // As every open of a 64-bit process has it.
            flags: kept | if flags & O_PATH == 0 { KERNEL_LARGEFILE } else { 0 },
            position: 0,
            listing: Vec::new(),
            id: self.count,
            descriptors: 0,
        };
        let vacant = self.opens.iter().position(Option::is_none).unwrap_or(self.opens.len());
        if vacant == self.opens.len() {
            self.opens.push(None);
        }
        self.opens[vacant] = Some(open);
        self.give(vacant, 0, flags & O_CLOEXEC != 0)
    }
}

const KERNEL_LARGEFILE: c_int = 0o100000;

impl Mount {
    /// `openat`.
    pub(super) fn open_at(&mut self, place: &Place<'_>, flags: c_int, mode: u32) -> Outcome {
        let flags = if flags & O_PATH != 0 {
            flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        } else {
            flags
        };
        if flags & O_TMPFILE == O_TMPFILE {
            return self.open_unnamed(place, flags, mode);
        }
        if flags & (O_CREAT | O_DIRECTORY) == O_CREAT | O_DIRECTORY {
            return Err(EINVAL);
        }
        if let From::Open(_) = place.from {
            let ino = self.start(place)?;
            return self.open_existing(ino, flags);
        }
        let exclusive = flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL;
        let start = self.start(place)?;
        let follow = match flags & O_CREAT != 0 && place.path.ends_with(b"/") {
            true => End::Kept,
            false => End::followed_if(flags & O_NOFOLLOW == 0 && !exclusive),
        };
        let found = self.walk(start, &place.path, follow)?;
        if flags & O_CREAT != 0 && found.slash {
            return Err(EISDIR);
        }
        let Some(ino) = found.ino else {
            if flags & O_CREAT == 0 {
                return Err(ENOENT);
            }
            self.may_change(found.dir)?;
            let slot = found.slot().ok_or(ENOENT)?;
            let (ino, mode) = (self.disk.fresh_ino(), mode & 0o7777 & !self.umask);
            self.touch(slot.dir, true);
            self.apply(&Op::Create { slot, ino, kind: Kind::File, mode });
            self.meta(ino).links = 1;
            self.touch(ino, true);
            return self.opens.open(ino, flags);
        };
        if exclusive {
            return Err(EEXIST);
        }
        if flags & O_CREAT != 0 && self.is_dir(ino) {
            return Err(EISDIR);
        }
        if found.slash && !self.is_dir(ino) {
            return Err(ENOTDIR);
        }
        self.open_existing(ino, flags)
    }

    fn open_existing(&mut self, ino: Ino, flags: c_int) -> Outcome {
        if flags & O_DIRECTORY != 0 && !self.is_dir(ino) {
            return Err(ENOTDIR);
        }
        if flags & O_PATH != 0 {
            return self.opens.open(ino, flags);
        }
        if self.is_symlink(ino) {
            return Err(ELOOP);
        }
        let writes = flags & O_ACCMODE != O_RDONLY || flags & O_TRUNC != 0;
        if self.is_dir(ino) && writes {
            return Err(EISDIR);
        }
        let reads = flags & O_ACCMODE != O_WRONLY;
        self.may(ino, if reads { 4 } else { 0 } | if writes { 2 } else { 0 })?;
        if flags & O_TRUNC != 0 {
            self.set_len(ino, 0)?;
        }
        self.opens.open(ino, flags)
    }

    fn open_unnamed(&mut self, place: &Place<'_>, flags: c_int, mode: u32) -> Outcome {
        if flags & O_ACCMODE == O_RDONLY || flags & O_CREAT != 0 {
            return Err(EINVAL);
        }
        let dir = self.at(place, flags & O_NOFOLLOW == 0)?;
        if !self.is_dir(dir) {
            return Err(ENOTDIR);
        }
        self.may_change(dir)?;
        let (ino, mode) = (self.disk.fresh_ino(), mode & 0o7777 & !self.umask);
        self.apply(&Op::CreateUnnamed { ino, mode });
        self.meta(ino).unlinkable = flags & O_EXCL != 0;
        self.touch(ino, true);
        self.opens.open(ino, flags)
    }

    pub(super) fn close(&mut self, fd: c_int) -> Outcome {
        let index = self.opens.index(fd).ok_or(EBADF)?;
        let slot = self.opens.descriptors.get_mut(index).ok_or(EBADF)?;
        let open = slot.take().ok_or(EBADF)?.open;
        self.release(open);
        Ok(0)
    }

    /// What comes with a descriptor that goes.
    fn release(&mut self, index: usize) {
        let Some(open) = self.opens.opens[index].as_mut() else { return };
        open.descriptors -= 1;
        let (ino, id, last, is_path) = (open.ino, open.id, open.descriptors == 0, open.is_path());
        if last {
            self.opens.opens[index] = None;
        }
        if !is_path {
            self.meta(ino).locks.closed(id, last);
        }
    }

    pub(super) fn duplicate(&mut self, fd: c_int, least: c_int, closes_on_exec: bool) -> Outcome {
        let open = self.opens.descriptor(fd).ok_or(EBADF)?.open;
        if least < 0 {
            return Err(EINVAL);
        }
        let from = self.opens.index(least).unwrap_or(0);
        self.opens.give(open, from, closes_on_exec)
    }

    /// `dup2` and `dup3`. Between our numbers and the kernel's there is no way.
    pub(super) fn duplicate_to(&mut self, fd: c_int, to: c_int, closes_on_exec: bool) -> Outcome {
        if !is_ours(fd) || !is_ours(to) {
            unserved(&"dup2 between the mount and other files");
            return Err(EBADF);
        }
        let open = self.opens.descriptor(fd).ok_or(EBADF)?.open;
        if fd == to {
            return Ok(to as usize);
        }
        let index = self.opens.index(to).filter(|index| *index < DESCRIPTORS_MAX).ok_or(EBADF)?;
        let _ = self.close(to);
        self.opens.give(open, index, closes_on_exec)
    }

    /// `fcntl`, locks excepted.
    pub(super) fn control(&mut self, fd: c_int, command: c_int, argument: usize) -> Outcome {
        let index = self.opens.index(fd).ok_or(EBADF)?;
        let descriptor = self.opens.descriptors.get_mut(index).and_then(Option::as_mut);
        let descriptor = descriptor.ok_or(EBADF)?;
        match command {
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
                self.duplicate(fd, argument as c_int, command == libc::F_DUPFD_CLOEXEC)
            }
            libc::F_GETFD => Ok(descriptor.closes_on_exec.into()),
            libc::F_SETFD => {
                descriptor.closes_on_exec = argument as c_int & libc::FD_CLOEXEC != 0;
                Ok(0)
            }
            libc::F_GETFL => Ok(self.opens.get(fd).ok_or(EBADF)?.flags as usize),
            libc::F_SETFL => {
                const CHANGEABLE: c_int = O_APPEND | O_NONBLOCK | O_DIRECT | libc::O_NOATIME;
                let open = self.opens.get_mut(fd).ok_or(EBADF)?;
                if open.is_path() {
                    return Err(EBADF);
                }
                open.flags = open.flags & !CHANGEABLE | argument as c_int & CHANGEABLE;
                Ok(0)
            }
            // Hints.
            F_SET_RW_HINT | F_SET_FILE_RW_HINT => Ok(0),
            libc::F_GET_SEALS => Err(EINVAL),
            _ => {
                unserved(&"an fcntl that is not known");
                Err(EINVAL)
            }
        }
    }

    /// `ioctl`: a file has nothing to control but what every descriptor has.
    pub(super) fn control_device(&mut self, fd: c_int, request: u32, address: usize) -> Outcome {
        const FICLONE: u32 = 0x4004_9409;
        const FICLONERANGE: u32 = 0x4020_940D;
        match request {
            0x5450 | 0x5451 => self.control(fd, libc::F_SETFD, (request == 0x5451).into()),
            0x5421 => {
                self.opens.get(fd).ok_or(EBADF)?;
                Ok(0)
            }
            0x541B => {
                let open = self.opens.get(fd).ok_or(EBADF)?;
                let (ino, at) = (open.ino, open.position);
                let left = self.len(ino).saturating_sub(at) as c_int;
                // SAFETY: the program answers for the address.
                unsafe { std::ptr::with_exposed_provenance_mut::<c_int>(address).write(left) };
                Ok(0)
            }
            FICLONE | FICLONERANGE => Err(libc::EOPNOTSUPP),
            _ if self.opens.get(fd).is_none_or(Open::is_path) => Err(EBADF),
            _ => Err(libc::ENOTTY),
        }
    }

    /// `access`.
    pub(super) fn access(&mut self, place: &Place<'_>, want: c_int, flags: c_int) -> Outcome {
        if want & !7 != 0 || flags & !(libc::AT_EACCESS | NO_FOLLOW | libc::AT_EMPTY_PATH) != 0 {
            return Err(EINVAL);
        }
        let ino = self.at(place, flags & NO_FOLLOW == 0)?;
        self.may(ino, want as u32).map(|()| 0)
    }
}

const NO_FOLLOW: c_int = libc::AT_SYMLINK_NOFOLLOW;

/// Of `linux/fcntl.h`; the `libc` package does not have them.
const F_SET_RW_HINT: c_int = 1036;
const F_SET_FILE_RW_HINT: c_int = 1038;
