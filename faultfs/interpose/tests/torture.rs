//! The door against random calls: what it recorded must always lead to what is there.

#![allow(unsafe_code, reason = "calls of C")]

#[allow(dead_code, reason = "this test does not look at the words")]
mod common;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use common::Recording;
use fastrand::Rng;
use faultfs_interpose::{ack, begin};
use memmap2::MmapMut;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};

const THREADS: u64 = 3;
const STEPS: usize = 400;
const MAP_LEN: usize = 4 * 4096;

#[test]
fn random_calls_from_several_threads_are_all_recorded() {
    let rounds = std::env::var("DOOR_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        // In memory, and once in a while on what the temporary folder is on.
        let memory = Path::new("/dev/shm");
        let disk = std::env::temp_dir();
        let in_memory = round % 4 != 0 && memory.is_dir();
        let recording = Recording::new_in(if in_memory { memory } else { &disk });
        fs::create_dir(recording.root.join("d0")).unwrap();
        fs::write(recording.root.join("d0/f0"), "at the start").unwrap();
        fs::hard_link(recording.root.join("d0/f0"), recording.root.join("f1")).unwrap();
        let trace = recording.record_whole(true, |root| {
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    scope.spawn(move || Walker::new(root, round * THREADS + thread).walk());
                }
            });
        });
        assert!(trace.ops.len() > STEPS, "{}", trace.ops.len());
        let failed = trace.ops.iter().filter(|op| op.errno.is_some()).count();
        assert!(failed * 2 < trace.ops.len(), "{failed} of {} failed", trace.ops.len());
    }
}

/// One thread's calls. Most results do not matter: a call that fails is a call too.
struct Walker<'a> {
    root: &'a Path,
    rng: Rng,
    files: Vec<File>,
    /// Of a file of this thread alone, as it must not be shortened.
    map: MmapMut,
    map_file: File,
    id: u64,
}

impl<'a> Walker<'a> {
    fn new(root: &'a Path, id: u64) -> Self {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let map_file = options.open(root.join(format!("map{id}"))).unwrap();
        map_file.set_len(MAP_LEN as u64).unwrap();
        // SAFETY: nobody shortens the file.
        let map = unsafe { MmapMut::map_mut(&map_file).unwrap() };
        Self { root, rng: Rng::with_seed(id), files: Vec::new(), map, map_file, id }
    }

    fn walk(&mut self) {
        for step in 0..STEPS {
            match self.rng.u8(..8) {
                0 => self.open(),
                1 | 2 => self.write(),
                3 => self.name(),
                4 => self.directory(),
                5 => self.length(),
                6 => self.map(),
                _ => self.sync(step as u64),
            }
        }
    }

    fn path(&mut self) -> PathBuf {
        let dir = ["", "d0", "d1", "d0/e"][self.rng.usize(..4)];
        self.root.join(dir).join(["f0", "f1", "f2", "f3"][self.rng.usize(..4)])
    }

    fn dir(&mut self) -> PathBuf {
        self.root.join(["d0", "d1", "d0/e", "d1/e", "d2"][self.rng.usize(..5)])
    }

    /// Only ever opened, never created through.
    fn soft(&mut self) -> PathBuf {
        self.root.join(["s0", "s1"][self.rng.usize(..2)])
    }

    fn open(&mut self) {
        let (path, kind) = (self.path(), self.rng.u8(..8));
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let opened = match kind {
            0 => options.create(true).truncate(true).open(path).ok(),
            1 => OpenOptions::new().create(true).append(true).open(path).ok(),
            2 => options.create_new(true).mode(0o600).open(path).ok(),
            3 => options.open(self.soft()).ok(),
            4 => {
                let flags = OFlags::CREATE | OFlags::RDWR | OFlags::DSYNC;
                rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)).ok().map(File::from)
            }
            5 => options.custom_flags(libc::O_TMPFILE).open(self.root).ok(),
            6 => {
                let file = tempfile::NamedTempFile::new_in(self.root).unwrap();
                file.as_file().write_all_at(b"temp", 0).unwrap();
                file.persist(path).ok()
            }
            _ => options.create(true).truncate(false).open(path).ok(),
        };
        self.files.extend(opened);
        if self.files.len() > 6 {
            let closed = self.rng.usize(..self.files.len());
            self.files.swap_remove(closed);
        }
    }

    fn file(&mut self) -> Option<File> {
        let index = self.rng.usize(..self.files.len().max(1));
        self.files.get(index)?.try_clone().ok()
    }

    fn write(&mut self) {
        let Some(mut file) = self.file() else { return };
        let (len, at) = (self.rng.usize(..6000), self.rng.u64(..20_000));
        let data: Vec<u8> = std::iter::repeat_with(|| self.rng.u8(..)).take(len).collect();
        let fd = file.as_raw_fd();
        _ = match self.rng.u8(..6) {
            0 => file.write_all(&data).is_ok(),
            1 => file.write_all_at(&data, at).is_ok(),
            2 => rustix::io::pwrite(&file, &data, at).is_ok(),
            3 => {
                let part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: len };
                let parts = [part, part];
                // SAFETY: the parts are alive.
                unsafe { libc::pwritev2(fd, parts.as_ptr(), 2, -1, libc::RWF_SYNC) > 0 }
            }
            4 => {
                let from = self.path();
                let to = self.path();
                fs::copy(from, to).is_ok()
            }
            _ => {
                let Some(to) = self.file() else { return };
                let (mut from_at, mut to_at) = (at as i64, 7);
                let to = to.as_raw_fd();
                // SAFETY: the offsets are alive.
                unsafe {
                    libc::copy_file_range(fd, &raw mut from_at, to, &raw mut to_at, len, 0) > 0
                }
            }
        };
    }

    fn name(&mut self) {
        let (from, to) = (self.path(), self.path());
        match self.rng.u8(..8) {
            0 => _ = fs::rename(from, to),
            1 => _ = rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE),
            2 => _ = rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::EXCHANGE),
            3 => _ = fs::hard_link(from, to),
            4 => _ = fs::remove_file(from),
            5 => _ = fs::set_permissions(from, Permissions::from_mode(0o600 | self.rng.u32(..64))),
            6 => {
                let soft = self.soft();
                _ = fs::remove_file(&soft);
                _ = symlink(from.strip_prefix(self.root).unwrap(), soft);
            }
            _ => {
                let Some(file) = self.file() else { return };
                let by_fd = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
                let to = CString::new(to.as_os_str().as_bytes()).unwrap();
                let (cwd, follow) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
                // SAFETY: null-terminated paths.
                unsafe { libc::linkat(cwd, by_fd.as_ptr(), cwd, to.as_ptr(), follow) };
            }
        }
    }

    fn directory(&mut self) {
        let (dir, other) = (self.dir(), self.dir());
        match self.rng.u8(..6) {
            0 | 1 => _ = fs::create_dir(dir),
            2 => _ = rustix::fs::mkdir(dir, Mode::from_raw_mode(0o700)),
            3 => _ = fs::remove_dir(dir),
            4 => _ = fs::rename(dir, other),
            _ if self.rng.u8(..4) == 0 => _ = fs::remove_dir_all(dir),
            _ => _ = File::open(dir).and_then(|dir| dir.sync_all()),
        }
    }

    fn length(&mut self) {
        let Some(file) = self.file() else { return };
        let (at, len) = (self.rng.i64(0..15_000), self.rng.i64(1..9_000));
        let keep = libc::FALLOC_FL_KEEP_SIZE;
        let modes = [0, keep, keep | libc::FALLOC_FL_PUNCH_HOLE, libc::FALLOC_FL_ZERO_RANGE];
        match self.rng.u8(..4) {
            0 => _ = file.set_len(at as u64),
            1 => _ = rustix::fs::ftruncate(&file, len as u64),
            // SAFETY: no addresses.
            2 => _ = unsafe { libc::posix_fallocate(file.as_raw_fd(), at, len) },
            _ => {
                let mode = modes[self.rng.usize(..4)];
                // SAFETY: no addresses.
                unsafe { libc::fallocate(file.as_raw_fd(), mode, at, len) };
            }
        }
    }

    fn map(&mut self) {
        for _ in 0..3 {
            let at = self.rng.usize(..MAP_LEN);
            self.map[at] = self.rng.u8(..);
        }
        match self.rng.u8(..6) {
            0 => self.map.flush().unwrap(),
            1 => self.map.flush_async_range(100, 5000).unwrap(),
            2 => {
                let data = [self.rng.u8(..); 100];
                self.map_file.write_all_at(&data, self.rng.u64(..MAP_LEN as u64 - 100)).unwrap();
            }
            3 => self.direct(),
            4 => {
                // SAFETY: nobody shortens the file.
                self.map = unsafe { MmapMut::map_mut(&self.map_file).unwrap() };
            }
            _ => {
                let (fd, keep) = (self.map_file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE);
                // SAFETY: no addresses.
                unsafe { libc::fallocate(fd, libc::FALLOC_FL_PUNCH_HOLE | keep, 4000, 200) };
            }
        }
    }

    /// Aligned, as a failed direct write is not modelled.
    fn direct(&mut self) {
        let path = self.path();
        let Ok(file) = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path)
        else {
            return;
        };
        let mut page = MmapMut::map_anon(8192).unwrap();
        page.fill(self.rng.u8(..));
        file.write_all_at(&page, 4096 * self.rng.u64(..4)).unwrap();
    }

    fn sync(&mut self, step: u64) {
        begin(self.id << 32 | step);
        if let Some(file) = self.file() {
            _ = match self.rng.u8(..4) {
                0 => file.sync_all().is_ok(),
                1 => file.sync_data().is_ok(),
                2 => rustix::fs::fsync(&file).is_ok(),
                // SAFETY: no addresses.
                _ => unsafe { libc::syscall(libc::SYS_syncfs, file.as_raw_fd()) == 0 },
            };
        }
        ack(self.id << 32 | step);
    }
}
