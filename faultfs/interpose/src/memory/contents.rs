//! Content: reading, writing, lengths, positions, copies.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::{ptr, slice};

use faultfs::disk::Body;
use faultfs::op::{Ino, Op};
use libc::{EBADF, EFBIG, EINVAL, EISDIR, ENOSYS, ENXIO, EOPNOTSUPP, O_APPEND, O_PATH, iovec};

use super::{Mount, Outcome, unserved};
use crate::door::sys;

/// The most that one call moves, as in the kernel.
const COUNT_MAX: usize = 0x7fff_f000;
const PARTS_MAX: usize = 1024;
const CHUNK: usize = 256 << 10;

/// Memory that a call names: each part within what one call moves in all.
pub(super) fn parts(address: usize, count: usize) -> Result<Vec<(usize, usize)>, c_int> {
    if count > PARTS_MAX {
        return Err(EINVAL);
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the program answers for the vector.
    let given =
        unsafe { slice::from_raw_parts(ptr::with_exposed_provenance::<iovec>(address), count) };
    let mut left = COUNT_MAX;
    let mut parts = Vec::with_capacity(count);
    for part in given {
        if part.iov_len > isize::MAX as usize {
            return Err(EINVAL);
        }
        let len = part.iov_len.min(left);
        left -= len;
        parts.push((part.iov_base.expose_provenance(), len));
    }
    Ok(parts)
}

/// The position that a call gives, which must not be negative.
pub(super) fn position(at: usize) -> Result<u64, c_int> {
    if at as i64 >= 0 { Ok(at as u64) } else { Err(EINVAL) }
}

fn bytes<'a>((address, len): (usize, usize)) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the program answers for what it wants written, until its call returns.
    unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(address), len) }
}

fn bytes_mut<'a>((address, len): (usize, usize)) -> &'a mut [u8] {
    if len == 0 {
        return &mut [];
    }
    // SAFETY: the program answers for where it wants to read to, until its call returns.
    unsafe { slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(address), len) }
}

impl Mount {
    pub(super) fn len(&self, ino: Ino) -> u64 {
        match &self.inode(ino).body {
            _ if self.memfd(ino).is_some() => self.memfd(ino).map_or(0, |memfd| memfd.len()),
            Body::File(content) => {
                self.reads.len(ino);
                content.len()
            }
            Body::Symlink(target) => target.as_bytes().len() as u64,
            Body::Dir(_) => (self.entries(ino).map_or(0, BTreeMap::len) as u64 + 2) * 20,
        }
    }

    fn get_bytes(&self, ino: Ino, into: &mut [u8], at: u64) -> usize {
        match (self.memfd(ino), self.disk.content(ino)) {
            (Some(memfd), _) => memfd.read_at(into, at),
            (None, Some(content)) => {
                let count = content.read_at(into, at);
                self.reads.file(ino, at, count as u64);
                count
            }
            (None, None) => 0,
        }
    }

    fn put_bytes(&mut self, ino: Ino, from: &[u8], at: u64) {
        match self.memfd(ino) {
            Some(memfd) => memfd.write_at(from, at),
            None => {
                self.reads.wrote(ino, at, from.len() as u64);
                self.disk.write_at(ino, from, at);
            }
        }
    }

    pub(super) fn set_len(&mut self, ino: Ino, len: u64) -> Outcome {
        match self.memfd(ino) {
            Some(memfd) => memfd.set_len(len),
            None => self.apply(&Op::SetLen { ino, len }),
        }
        self.touch(ino, true);
        Ok(0)
    }

    /// `read` and its kin.
    pub(super) fn read(&mut self, fd: c_int, parts: &[(usize, usize)], at: Option<u64>) -> Outcome {
        let open = self.opens.get(fd).ok_or(EBADF)?;
        if !open.is_readable() {
            return Err(EBADF);
        }
        let (ino, from) = (open.ino, at.unwrap_or(open.position));
        if self.is_dir(ino) {
            return Err(EISDIR);
        }
        let mut done = 0;
        for &(address, len) in parts {
            let got = self.get_bytes(ino, bytes_mut((address, len)), from + done as u64);
            done += got;
            if got < len {
                break;
            }
        }
        if at.is_none() {
            self.opens.get_mut(fd).ok_or(EBADF)?.position = from + done as u64;
        }
        Ok(done)
    }

    /// `write` and its kin.
    pub(super) fn write(
        &mut self,
        fd: c_int,
        parts: &[(usize, usize)],
        at: Option<u64>,
    ) -> Outcome {
        let open = self.opens.get(fd).ok_or(EBADF)?;
        if !open.is_writable() {
            return Err(EBADF);
        }
        let (ino, appends, position) = (open.ino, open.flags & O_APPEND != 0, open.position);
        let from = if appends { self.len(ino) } else { at.unwrap_or(position) };
        let total: usize = parts.iter().map(|part| part.1).sum();
        if total == 0 {
            return Ok(0);
        }
        if from.checked_add(total as u64).is_none_or(|end| end > i64::MAX as u64) {
            return Err(EFBIG);
        }
        let mut done = 0;
        for &part in parts {
            self.put_bytes(ino, bytes(part), from + done as u64);
            done += part.1;
        }
        self.touch(ino, true);
        if at.is_none() {
            self.opens.get_mut(fd).ok_or(EBADF)?.position = from + done as u64;
        }
        Ok(done)
    }

    pub(super) fn seek(&mut self, fd: c_int, by: usize, whence: c_int) -> Outcome {
        let open = self.opens.get(fd).ok_or(EBADF)?;
        if open.flags & O_PATH != 0 {
            return Err(EBADF);
        }
        let (by, len) = (by as i64, self.len(open.ino) as i64);
        let base = match whence {
            libc::SEEK_SET => 0,
            libc::SEEK_CUR => open.position as i64,
            libc::SEEK_END if !self.is_dir(open.ino) => len,
            // All of a file counts as data, with a hole behind its end.
            libc::SEEK_DATA | libc::SEEK_HOLE if by < 0 || by >= len => return Err(ENXIO),
            libc::SEEK_DATA => 0,
            libc::SEEK_HOLE => len - by,
            _ => return Err(EINVAL),
        };
        let to = base.checked_add(by).filter(|to| *to >= 0).ok_or(EINVAL)?;
        self.opens.get_mut(fd).ok_or(EBADF)?.position = to as u64;
        Ok(to as usize)
    }

    pub(super) fn truncate_open(&mut self, fd: c_int, len: usize) -> Outcome {
        if (len as i64) < 0 {
            return Err(EINVAL);
        }
        let open = self.opens.get(fd).ok_or(EBADF)?;
        if open.flags & O_PATH != 0 {
            return Err(EBADF);
        }
        if !open.is_writable() {
            return Err(EINVAL);
        }
        self.set_len(open.ino, len as u64)
    }

    pub(super) fn truncate(&mut self, ino: Ino, len: usize) -> Outcome {
        if self.is_dir(ino) {
            return Err(EISDIR);
        }
        self.may(ino, 2)?;
        self.set_len(ino, len as u64)
    }

    /// `fallocate`, with the modes that `tmpfs` knows.
    pub(super) fn allocate(&mut self, fd: c_int, mode: c_int, at: usize, len: usize) -> Outcome {
        const PUNCH: c_int = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (at, len) = (at as i64, len as i64);
        let open = self.opens.get(fd).ok_or(EBADF)?;
        if open.flags & O_PATH != 0 {
            return Err(EBADF);
        }
        if at < 0 || len <= 0 {
            return Err(EINVAL);
        }
        // Modes that other file systems have: collapse, zero (with or without the size), insert, unshare.
        const OTHERS: [c_int; 5] = [0x08, 0x10, 0x11, 0x20, 0x40];
        let served = [0, libc::FALLOC_FL_KEEP_SIZE, PUNCH].contains(&mode);
        if !served && !OTHERS.contains(&mode) {
            return Err(EOPNOTSUPP);
        }
        if !open.is_writable() {
            return Err(EBADF);
        }
        if !served {
            return Err(EOPNOTSUPP);
        }
        let (ino, end) = (open.ino, at.checked_add(len).ok_or(EFBIG)? as u64);
        match (mode, self.memfd(ino)) {
            (PUNCH, Some(memfd)) => memfd.punch(at as u64, len as u64),
            (PUNCH, None) => {
                self.apply(&Op::Zero { ino, offset: at as u64, len: len as u64 });
            }
            (0, _) if end > self.len(ino) => return self.set_len(ino, end),
            _ => {}
        }
        self.touch(ino, true);
        Ok(0)
    }

    /// `fsync` and its kin: there is nothing to wait for.
    pub(super) fn sync(&mut self, fd: c_int) -> Outcome {
        let open = self.opens.get(fd).ok_or(EBADF)?;
        if open.flags & O_PATH != 0 { Err(EBADF) } else { Ok(0) }
    }

    /// `copy_file_range` within the mount.
    pub(super) fn copy(
        &mut self,
        (from, from_at): (c_int, usize),
        (to, to_at): (c_int, usize),
        len: usize,
    ) -> Outcome {
        let (source, target) =
            (self.opens.get(from).ok_or(EBADF)?, self.opens.get(to).ok_or(EBADF)?);
        if (source.flags | target.flags) & O_PATH != 0 {
            return Err(EBADF);
        }
        let inos = (source.ino, target.ino);
        if self.is_dir(inos.0) || self.is_dir(inos.1) {
            return Err(EISDIR);
        }
        if !source.is_readable() || !target.is_writable() || target.flags & O_APPEND != 0 {
            return Err(EBADF);
        }
        let start = (
            given_position(from_at)?.unwrap_or(source.position),
            given_position(to_at)?.unwrap_or(target.position),
        );
        let len = len.min(COUNT_MAX).min(self.len(inos.0).saturating_sub(start.0) as usize);
        let apart = start.0 + len as u64 <= start.1 || start.1 + len as u64 <= start.0;
        if inos.0 == inos.1 && !apart {
            return Err(EINVAL);
        }
        let mut buffer = vec![0; CHUNK.min(len)];
        let mut done = 0;
        while done < len {
            let want = buffer.len().min(len - done);
            let got = self.get_bytes(inos.0, &mut buffer[..want], start.0 + done as u64);
            if got == 0 {
                break;
            }
            self.put_bytes(inos.1, &buffer[..got], start.1 + done as u64);
            done += got;
        }
        if done > 0 {
            self.touch(inos.1, true);
        }
        self.advance(from, from_at, start.0 + done as u64)?;
        self.advance(to, to_at, start.1 + done as u64)?;
        Ok(done)
    }

    /// Notes where a copy ended: at the address that was given, or in the open file.
    fn advance(&mut self, fd: c_int, address: usize, to: u64) -> Outcome {
        if address == 0 {
            self.opens.get_mut(fd).ok_or(EBADF)?.position = to;
        } else {
            // SAFETY: the program answers for the address.
            unsafe { ptr::with_exposed_provenance_mut::<u64>(address).write(to) };
        }
        Ok(0)
    }

    /// `sendfile` out of the mount.
    pub(super) fn send(&mut self, from: c_int, to: c_int, at: usize, len: usize) -> Outcome {
        let open = self.opens.get(from).ok_or(EBADF)?;
        if !open.is_readable() {
            return Err(EBADF);
        }
        let (ino, start) = (open.ino, given_position(at)?.unwrap_or(open.position));
        if self.is_dir(ino) {
            return Err(EINVAL);
        }
        let mut buffer = vec![0; CHUNK.min(len)];
        let got = self.get_bytes(ino, &mut buffer, start);
        let given = sys::args([to as usize, buffer.as_ptr().expose_provenance(), got]);
        // SAFETY: the buffer is ours and that long.
        let sent = unsafe { sys::raw(libc::SYS_write, given) };
        let sent = usize::try_from(sent).map_err(|_| -sent as c_int)?;
        self.advance(from, at, start + sent as u64)?;
        Ok(sent)
    }

    /// A copy into the mount by a call that moves data inside the kernel.
    pub(super) fn receive(&mut self, to: c_int) -> Outcome {
        self.opens.get(to).ok_or(EBADF)?;
        unserved(&"a copy from a file outside inside the kernel");
        Err(ENOSYS)
    }
}

fn given_position(address: usize) -> Result<Option<u64>, c_int> {
    if address == 0 {
        return Ok(None);
    }
    // SAFETY: the program answers for the address.
    position(unsafe { ptr::with_exposed_provenance::<usize>(address).read() }).map(Some)
}
