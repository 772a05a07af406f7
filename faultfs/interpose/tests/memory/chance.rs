//! Random calls on a disk served from memory and on a real folder: results, error numbers and what is
//! there in the end are equal.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int};
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fastrand::Rng;
use faultfs::disk::Disk;
use faultfs::op::{Bytes, Ino, Kind, Op, Slot};
use faultfs_interpose::{Mounted, snapshot};

use super::{alone, folders};

/// A result as it can be compared: a number, or an error number.
type Told = Result<i64, i32>;

fn told(returned: impl Into<i64>) -> Told {
    match returned.into() {
        -1 => Err(io::Error::last_os_error().raw_os_error().unwrap()),
        value => Ok(value),
    }
}

/// What is done to a root by chance, and what came of it.
struct Run<'a> {
    root: &'a Path,
    rng: Rng,
    fds: Vec<c_int>,
    log: Vec<String>,
}

const NAMES: [&str; 10] = ["a", "b", "d", "d/a", "d/e", "d/e/f", "l", "d/l", "missing/x", "d/../a"];

impl Run<'_> {
    fn path(&mut self) -> CString {
        let name = *self.rng.choice(&NAMES).unwrap();
        let slash = if self.rng.u8(..12) == 0 { "/" } else { "" };
        let dot = if self.rng.u8(..12) == 0 { "./" } else { "" };
        let path = self.root.join(format!("{dot}{name}"));
        let path = [path.as_os_str().as_bytes(), slash.as_bytes()].concat();
        CString::new(path).unwrap()
    }

    fn fd(&mut self) -> c_int {
        match self.fds.is_empty() {
            true => 999_999,
            false => self.fds[self.rng.usize(..self.fds.len())],
        }
    }

    fn short(&self, path: &CStr) -> String {
        path.to_string_lossy().replace(self.root.to_str().unwrap(), "")
    }

    fn note(&mut self, what: String, told: impl std::fmt::Debug) {
        self.log.push(format!("{what} = {told:?}"));
    }

    fn open(&mut self) {
        let path = self.path();
        let mut flags = *self.rng.choice(&[libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR]).unwrap();
        for flag in [
            libc::O_CREAT,
            libc::O_CREAT,
            libc::O_EXCL,
            libc::O_TRUNC,
            libc::O_APPEND,
            libc::O_NOFOLLOW,
            libc::O_DIRECTORY,
            libc::O_PATH,
            libc::O_TMPFILE,
        ] {
            if self.rng.u8(..6) == 0 {
                flags |= flag;
            }
        }
        // SAFETY: a path that ends in zero.
        let fd = told(unsafe { libc::open64(path.as_ptr(), flags, 0o640) });
        if let Ok(fd) = fd {
            self.fds.push(fd as c_int);
        }
        self.note(format!("open {} {flags:o}", self.short(&path)), fd.map(|_| "fd"));
        if let Ok(fd) = fd {
            // SAFETY: no addresses.
            let flags = told(unsafe { libc::fcntl(fd as c_int, libc::F_GETFL) });
            self.note("getfl".into(), flags);
        }
    }

    fn close(&mut self) {
        if self.fds.is_empty() {
            return;
        }
        let fd = self.fds.swap_remove(self.rng.usize(..self.fds.len()));
        // SAFETY: a descriptor of this test.
        let told = told(unsafe { libc::close(fd) });
        self.note("close".into(), told);
    }

    fn data(&mut self) {
        let fd = self.fd();
        let at = self.rng.i64(-1..20_000);
        let len = self.rng.usize(..9_000);
        let bytes = vec![self.rng.u8(..); len];
        let mut into = vec![0; len];
        let which = self.rng.u8(..15);
        // SAFETY: buffers of the lengths that are given; descriptors of this test or bad ones.
        let told = unsafe {
            match which {
                0 => told(libc::write(fd, bytes.as_ptr().cast(), len) as i64),
                1..3 => told(libc::pwrite64(fd, bytes.as_ptr().cast(), len, at) as i64),
                3 => told(libc::read(fd, into.as_mut_ptr().cast(), len) as i64),
                4..6 => told(libc::pread64(fd, into.as_mut_ptr().cast(), len, at) as i64),
                6 => told(libc::lseek64(fd, at, self.rng.i32(0..3))),
                7 => told(libc::ftruncate64(fd, at)),
                8 => {
                    let modes = [0, libc::FALLOC_FL_KEEP_SIZE, 3, 0x10, 0x20];
                    told(libc::fallocate64(fd, *self.rng.choice(&modes).unwrap(), at, len as i64))
                }
                9 => told(libc::fsync(fd)),
                10 => told(libc::fdatasync(fd)),
                11 | 12 => {
                    let (head, tail) = into.split_at_mut(len / 3);
                    let parts = [head, tail].map(|part| libc::iovec {
                        iov_base: part.as_mut_ptr().cast(),
                        iov_len: part.len(),
                    });
                    if which == 11 {
                        told(libc::readv(fd, parts.as_ptr(), 2) as i64)
                    } else {
                        told(libc::pwritev(fd, parts.as_ptr(), 2, at) as i64)
                    }
                }
                13 => {
                    let other = self.fd();
                    let (mut from, mut to) = (at, self.rng.i64(0..9_000));
                    told(libc::copy_file_range(fd, &mut from, other, &mut to, len, 0) as i64)
                }
                _ => {
                    let path = self.path();
                    told(libc::truncate64(path.as_ptr(), at))
                }
            }
        };
        let sum = crc32fast::hash(&into);
        self.note(format!("data {which} {at} {len}"), (told, sum));
    }

    fn names(&mut self) {
        let (from, to) = (self.path(), self.path());
        let which = self.rng.u8(..16);
        let flags = *self.rng.choice(&[0, 0, 1, 2, 3]).unwrap();
        let mode = self.rng.u32(..0o1000) | 0o700;
        let (a, b) = (from.as_ptr(), to.as_ptr());
        let here = libc::AT_FDCWD;
        // SAFETY: paths that end in zero.
        let told = unsafe {
            match which {
                0 | 1 => told(libc::mkdir(a, mode)),
                2 => told(libc::rmdir(a)),
                3 | 4 => told(libc::unlink(a)),
                5..8 => told(libc::rename(a, b)),
                8 => told(libc::renameat2(here, a, here, b, flags)),
                9 => told(libc::link(a, b)),
                10 => told(libc::linkat(here, a, here, b, libc::AT_SYMLINK_FOLLOW)),
                11 => {
                    // Nothing that leads out of the root.
                    let targets = [c"a", c"./a", c"d", c"nowhere", c"d/../b", c"l", c"e/f", c""];
                    let target = *self.rng.choice(&targets).unwrap();
                    told(libc::symlink(target.as_ptr(), b))
                }
                12 => told(libc::chmod(a, mode)),
                13 => told(libc::access(a, (flags * 3 % 8) as c_int)),
                14 => {
                    told(libc::unlinkat(here, a, if flags == 0 { libc::AT_REMOVEDIR } else { 0 }))
                }
                _ => {
                    let mut into = [0u8; 64];
                    let len = told(libc::readlink(a, into.as_mut_ptr().cast(), 64) as i64);
                    self.note("target".into(), String::from_utf8_lossy(&into).into_owned());
                    len
                }
            }
        };
        let (from, to) = (self.short(&from), self.short(&to));
        self.note(format!("names {which} {from} {to} {flags}"), told);
    }

    /// Through std: what a path and a descriptor tell, what is in a folder.
    fn looks(&mut self) {
        let path = self.path();
        let at = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
        let seen = |found: io::Result<fs::Metadata>| {
            let seen = |m: fs::Metadata| {
                let size = if m.is_dir() { 0 } else { m.len() };
                (m.mode(), m.nlink(), size, m.uid())
            };
            found.map(seen).map_err(|error| error.raw_os_error())
        };
        let name = self.short(&path);
        match self.rng.u8(..6) {
            0 => self.note(format!("stat {name}"), seen(fs::metadata(at))),
            1 => self.note(format!("lstat {name}"), seen(fs::symlink_metadata(at))),
            2 => {
                let list = fs::read_dir(at).map_err(|error| error.raw_os_error()).map(|entries| {
                    let entries = entries.map(|entry| {
                        let entry = entry.unwrap();
                        (entry.file_name(), format!("{:?}", entry.file_type().unwrap()))
                    });
                    entries.collect::<BTreeMap<_, _>>()
                });
                self.note(format!("list {name}"), list);
            }
            3 => {
                let real = fs::canonicalize(at).map_err(|error| error.raw_os_error());
                let real = real.map(|real| real.strip_prefix(self.root).map(PathBuf::from).ok());
                self.note(format!("real path {name}"), real);
            }
            4 => {
                let read = fs::read(at).map_err(|error| error.raw_os_error());
                self.note(format!("read {name}"), read.map(|bytes| crc32fast::hash(&bytes)));
            }
            _ => {
                let fd = self.fd();
                // SAFETY: `stat` is plain words.
                let mut stat: libc::stat64 = unsafe { std::mem::zeroed() };
                // SAFETY: the address of a local.
                let told = told(unsafe { libc::fstat64(fd, &mut stat) });
                let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
                let size = if is_dir { 0 } else { stat.st_size };
                self.note("fstat".into(), (told, stat.st_mode, stat.st_nlink, size));
            }
        }
    }

    fn descriptors(&mut self) {
        let (fd, other) = (self.fd(), self.fd());
        let which = self.rng.u8(..5);
        // SAFETY: descriptors of this test or bad ones.
        let told = unsafe {
            match which {
                0 => {
                    let copy = told(libc::dup(fd));
                    self.fds.extend(copy.ok().map(|fd| fd as c_int));
                    copy.map(|_| 0)
                }
                1 if fd != 999_999 && fd != other => told(libc::dup2(fd, other)).map(|_| 0),
                2 => told(libc::fcntl(fd, libc::F_GETFD)),
                3 => told(libc::flock(fd, *self.rng.choice(&[5, 6, 8]).unwrap())),
                _ => {
                    let command = *self
                        .rng
                        .choice(&[
                            libc::F_SETLK,
                            libc::F_OFD_SETLK,
                            libc::F_GETLK,
                            libc::F_OFD_GETLK,
                        ])
                        .unwrap();
                    let mut lock: libc::flock = std::mem::zeroed();
                    // Asking for no lock got a meaning in Linux 6.5.
                    let asks = command == libc::F_GETLK || command == libc::F_OFD_GETLK;
                    lock.l_type = self.rng.i16(0..if asks { 2 } else { 3 });
                    lock.l_start = self.rng.i64(-5..50);
                    lock.l_len = self.rng.i64(-5..20);
                    let given = (lock.l_type, lock.l_start, lock.l_len);
                    let told = told(libc::fcntl(fd, command, &mut lock));
                    self.note(format!("lock {command} {given:?}"), (told, lock.l_type));
                    told
                }
            }
        };
        self.note(format!("descriptors {which}"), told);
    }

    /// A page is stored through a mapping, and seen by the descriptor.
    fn maps(&mut self) {
        let fd = self.fd();
        let share = *self.rng.choice(&[libc::MAP_SHARED, libc::MAP_PRIVATE]).unwrap();
        let protection = libc::PROT_READ | if self.rng.bool() { libc::PROT_WRITE } else { 0 };
        let byte = self.rng.u8(..);
        // SAFETY: a new mapping, of which only what is inside the file is touched.
        unsafe {
            let map = libc::mmap64(std::ptr::null_mut(), 8192, protection, share, fd, 0);
            if map == libc::MAP_FAILED {
                self.note("map".into(), told(-1));
                return;
            }
            let mut stat: libc::stat64 = std::mem::zeroed();
            libc::fstat64(fd, &mut stat);
            if stat.st_size > 0 {
                if protection & libc::PROT_WRITE != 0 {
                    map.cast::<u8>().write_volatile(byte);
                }
                let seen = map.cast::<u8>().read_volatile();
                let mut read = [0u8];
                let told = told(libc::pread64(fd, read.as_mut_ptr().cast(), 1, 0) as i64);
                self.note("map".into(), (seen, told, read));
            }
            libc::munmap(map, 8192);
        }
    }

    fn step(&mut self) {
        match self.rng.u8(..16) {
            0..3 => self.open(),
            3 => self.close(),
            4..7 => self.data(),
            7..11 => self.names(),
            11..13 => self.looks(),
            13 => self.descriptors(),
            14 => self.maps(),
            _ => self.through_std(),
        }
    }

    fn through_std(&mut self) {
        let path = self.path();
        let at = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
        let number = |error: io::Error| error.raw_os_error();
        let name = self.short(&path);
        match self.rng.u8(..6) {
            0 => {
                let told = fs::write(at, [self.rng.u8(..); 5000]).map_err(number);
                self.note(format!("std write {name}"), told);
            }
            1 => {
                let to = self.path();
                let to = Path::new(std::ffi::OsStr::from_bytes(to.to_bytes()));
                let told = fs::copy(at, to).map_err(number);
                self.note(
                    format!("std copy {name} {to:?}").replace(self.root.to_str().unwrap(), ""),
                    told,
                );
            }
            2 => {
                let told = fs::remove_dir_all(at).map_err(number);
                self.note(format!("std remove {name}"), told);
            }
            3 => {
                let told = fs::create_dir_all(at).map_err(number);
                self.note(format!("std make {name}"), told);
            }
            4 => {
                let mode = fs::Permissions::from_mode(0o700);
                let told = fs::set_permissions(at, mode).map_err(number);
                self.note(format!("std mode {name}"), told);
            }
            _ => {
                let appended = File::options().append(true).create(true).mode(0o600).open(at);
                let told = appended.and_then(|mut file| {
                    file.write_all(b"more")?;
                    file.stream_position()
                });
                self.note(format!("std append {name}"), told.map_err(number));
            }
        }
    }
}

fn run(root: &Path, seed: u64, steps: usize) -> Vec<String> {
    let mut run = Run { root, rng: Rng::with_seed(seed), fds: Vec::new(), log: Vec::new() };
    for _ in 0..steps {
        run.step();
    }
    while !run.fds.is_empty() {
        run.close();
    }
    run.log
}

#[track_caller]
fn compare(seed: u64, steps: usize) {
    let _alone = alone();
    Mounted::trap().unwrap();
    // What one run leaves is what the next begins with.
    let mut disk = Disk::new();
    for round in 0..4 {
        let (_folder, root, real) = folders(&disk);
        let mounted = Mounted::new(&root, &disk).unwrap();
        let served = run(&root, seed + round, steps);
        let left = snapshot(&root).unwrap();
        let unserved = mounted.unserved();
        drop(mounted);
        let expected = run(&real, seed + round, steps);
        for (index, (served, wanted)) in served.iter().zip(&expected).enumerate() {
            let before = expected[index.saturating_sub(12)..index].join("\n");
            assert_eq!(served, wanted, "seed {seed}, round {round}, after\n{before}");
        }
        assert_eq!(served.len(), expected.len());
        disk = snapshot(&real).unwrap();
        assert_eq!(left.digest(), disk.digest(), "seed {seed}, round {round}");
        assert_eq!(unserved, None, "seed {seed}, round {round}");
        assert!(root.read_dir().unwrap().next().is_none(), "something reached the real folder");
    }
}

#[test]
fn what_is_served_from_memory_is_what_a_real_folder_does() {
    for seed in 0..100 {
        compare(seed * 1000, 150);
    }
}

/// One change of a disk by chance: of a file's bytes or size, a mode, a name.
fn changed(disk: &Disk, rng: &mut Rng) -> Disk {
    let mut disk = disk.clone();
    let named = disk.walk();
    let (path, ino) = named[rng.usize(..named.len())].clone();
    let name = &path[path.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1)..];
    let dirs: Vec<Ino> =
        named.iter().map(|(_, ino)| *ino).filter(|ino| disk.entries(*ino).is_some()).collect();
    let parent = dirs
        .iter()
        .copied()
        .chain([Ino::ROOT])
        .find(|dir| disk.entries(*dir).is_some_and(|entries| entries.get(name) == Some(&ino)));
    let slot = Slot::new(parent.expect("a name is in a folder"), name);
    let other = Slot::new(slot.dir, NAMES[rng.usize(..3)]);
    let len = disk.content(ino).map(|content| content.len());
    let op = match (rng.u8(..6), len) {
        (0, Some(_)) => Op::SetLen { ino, len: rng.u64(..20_000) },
        (1..4, Some(len)) if len > 0 => {
            let (offset, data) = (rng.u64(..len), Bytes::new(&[rng.u8(..)]));
            Op::Write { ino, offset, data, direct: false, sync: None }
        }
        (4, _) => Op::SetMode { ino, mode: rng.u32(..0o1000) | 0o700 },
        (5, Some(_)) if disk.lookup(&other).is_none() => Op::Link { ino, slot: other },
        _ if disk.lookup(&other).is_none() => {
            let ino = disk.fresh_ino();
            Op::Create { slot: other, ino, kind: Kind::File, mode: 0o644 }
        }
        _ if disk.entries(ino).is_none_or(|entries| entries.is_empty()) => Op::Unlink { slot },
        _ => return disk,
    };
    disk.apply(&op);
    disk
}

/// The record of reads is whole: where two disks differ in nothing of it, calls cannot tell them apart.
#[test]
fn disks_that_agree_in_what_was_read_are_told_apart_by_no_call() {
    let _alone = alone();
    Mounted::trap().unwrap();
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = folder.path().canonicalize().unwrap();
    let served = |disk: &Disk, seed: u64, steps: usize| {
        let mounted = Mounted::new(&root, disk).unwrap();
        let log = run(&root, seed, steps);
        let reads = mounted.take_reads().expect("all is served");
        let left = snapshot(&root).unwrap();
        (log, reads, left)
    };
    let (mut agreed, mut differed) = (0, 0);
    for seed in 0..150 {
        let (_, _, disk) = served(&Disk::new(), seed, 120);
        if disk.walk().is_empty() {
            continue;
        }
        let (log, reads, _) = served(&disk, seed + 1000, 25);
        let mut rng = Rng::with_seed(seed);
        for _ in 0..20 {
            let other = changed(&disk, &mut rng);
            let (again, ..) = served(&other, seed + 1000, 25);
            if reads.agree(&disk, &other) {
                agreed += u32::from(other.digest() != disk.digest());
                assert_eq!(log, again, "seed {seed}");
            } else {
                differed += u32::from(log != again);
            }
        }
    }
    // Neither everything nor nothing counts as read.
    assert!(agreed > 200 && differed > 50, "{agreed} agreed, {differed} were told apart");
}
