//! Random calls on a disk served from memory and on a real folder: results, error numbers and what is
//! there in the end are equal.

#![allow(unsafe_code, reason = "calls of C")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int};
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, MutexGuard};

use fastrand::Rng;
use faultfs::disk::Disk;
use faultfs::folder::Folder;
use faultfs::op::{Bytes, Ino, Kind, Op, Slot};
use faultfs_interpose::{Mounted, snapshot};

/// One mount at a time in a process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

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

/// An empty folder, and one that is real, made equal to a disk.
fn folders(disk: &Disk) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().canonicalize().unwrap();
    let (mounted, real) = (path.join("memory"), path.join("folder"));
    fs::create_dir(&mounted).unwrap();
    Folder::new(&real).write(disk).unwrap();
    (folder, mounted, real)
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

/// A mount of an empty disk, with the folder that it stands in for.
fn mounted() -> (tempfile::TempDir, PathBuf, Mounted) {
    Mounted::trap().unwrap();
    let (folder, root, _) = folders(&Disk::new());
    let mounted = Mounted::new(&root, &Disk::new()).unwrap();
    (folder, root, mounted)
}

#[test]
fn calls_that_bypass_libc_or_come_from_inside_of_it_are_served() {
    use rustix::fs::{Mode, OFlags};
    let _alone = alone();
    let (_folder, root, mounted) = mounted();

    let flags = OFlags::CREATE | OFlags::RDWR;
    let raw = rustix::fs::open(root.join("raw"), flags, Mode::from_raw_mode(0o600)).unwrap();
    rustix::io::write(&raw, b"0123456789").unwrap();
    rustix::fs::rename(root.join("raw"), root.join("moved")).unwrap();
    assert_eq!(rustix::fs::fstat(&raw).unwrap().st_size, 10);

    let path = CString::new(root.join("stdio").as_os_str().as_bytes()).unwrap();
    // SAFETY: texts that end in zero, and a stream that is open.
    unsafe {
        let stream = libc::fopen(path.as_ptr(), c"w+".as_ptr());
        assert!(!stream.is_null());
        assert!(libc::fputs(c"from inside".as_ptr(), stream) >= 0);
        assert_eq!(libc::fclose(stream), 0);
    }
    assert_eq!(fs::read(root.join("stdio")).unwrap(), b"from inside");

    let mut named = tempfile::NamedTempFile::new_in(&root).unwrap();
    named.write_all(b"published").unwrap();
    named.persist(root.join("final")).unwrap();
    let mut unnamed = tempfile::tempfile_in(&root).unwrap();
    unnamed.write_all(b"nowhere").unwrap();
    let names: Vec<_> = fs::read_dir(&root).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["final", "moved", "stdio"]);
    assert_eq!(mounted.unserved(), None);
    drop(mounted);
    assert!(root.read_dir().unwrap().next().is_none(), "something reached the real folder");
}

#[test]
fn threads_share_a_mount_and_its_locks() {
    let _alone = alone();
    let (_folder, root, mounted) = mounted();
    let path = root.join("log");
    std::thread::scope(|scope| {
        for id in 0..4u8 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..50 {
                    let mut file = File::options().append(true).create(true).open(path).unwrap();
                    file.lock().unwrap();
                    file.write_all(&[id; 10]).unwrap();
                    file.write_all(&[id; 10]).unwrap();
                }
            });
        }
    });
    let log = fs::read(&path).unwrap();
    assert_eq!(log.len(), 4 * 50 * 20);
    for entry in log.chunks(20) {
        assert!(entry.iter().all(|byte| *byte == entry[0]), "a lock was held by two");
    }
    assert_eq!(mounted.unserved(), None);
}

#[test]
fn what_is_stored_through_a_mapping_is_in_the_file_and_in_other_mappings() {
    let _alone = alone();
    let (_folder, root, mounted) = mounted();
    fs::write(root.join("map"), [1; 8192]).unwrap();
    let file = File::options().read(true).write(true).open(root.join("map")).unwrap();
    // SAFETY: nobody outside of this test changes the file.
    let (mut one, other) =
        unsafe { (memmap2::MmapMut::map_mut(&file).unwrap(), memmap2::Mmap::map(&file).unwrap()) };
    one[5000] = 7;
    file.write_all_at(&[9], 6000).unwrap();
    assert_eq!((other[5000], one[6000], fs::read(root.join("map")).unwrap()[5000]), (7, 9, 7));
    // A read-only descriptor gives no way to store.
    let reader = File::open(root.join("map")).unwrap();
    // SAFETY: as above.
    assert!(unsafe { memmap2::MmapMut::map_mut(&reader) }.is_err());
    drop(mounted);
    // A mapping outlives the mount, as it outlives its descriptor.
    assert_eq!(other[5000], 7);
}

/// What a mapping took is used again where it has ended, and only there.
#[test]
fn what_was_stored_through_a_mapping_is_in_no_later_mount() {
    let _alone = alone();
    let mut left = None;
    for (byte, leaves) in [(1, false), (2, true), (3, false), (4, false)] {
        let (_folder, root, mounted) = mounted();
        let file = File::options().read(true).write(true).create_new(true).open(root.join("map"));
        let file = file.unwrap();
        // Longer than the one before, shorter, longer.
        file.set_len(12_000 + 4_000 * u64::from(byte % 2) * u64::from(byte)).unwrap();
        file.write_all_at(&[byte], 7).unwrap();
        // SAFETY: nobody outside of this test changes the file.
        let mut map = unsafe { memmap2::MmapMut::map_mut(&file).unwrap() };
        assert_eq!((map[7], map.len() as u64), (byte, file.metadata().unwrap().len()));
        assert_eq!(map.iter().filter(|stored| **stored != 0).count(), 1, "in mount {byte}");
        map.fill(byte);
        assert!(fs::read(root.join("map")).unwrap().iter().all(|read| *read == byte));
        if leaves {
            left = Some(map);
        }
        assert_eq!(mounted.unserved(), None);
    }
    assert!(left.unwrap().iter().all(|&byte| byte == 2));
}

/// A mapping that has ended is kept, and given to the next who asks for the same, unless its place or its
/// protection have become another's.
#[test]
fn a_mapping_that_is_kept_is_in_nobodys_way() {
    const LEN: usize = 8192;
    let usual = |file: &File| {
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        // SAFETY: a file of that length, mapped anywhere.
        let map = unsafe { libc::mmap(ptr::null_mut(), LEN, protection, libc::MAP_SHARED, fd, 0) };
        assert_ne!(map, libc::MAP_FAILED);
        map.cast::<u8>()
    };
    // SAFETY: what is ended was mapped here, and is not used any more.
    let end = |map: *mut u8| assert_eq!(unsafe { libc::munmap(map.cast(), LEN) }, 0);
    let _alone = alone();
    let (_folder, root, mounted) = mounted();
    let file = File::options().read(true).write(true).create_new(true).open(root.join("map"));
    let file = file.unwrap();
    file.write_all_at(&[1; LEN], 0).unwrap();

    let first = usual(&file);
    end(first);
    file.write_all_at(&[2], 0).unwrap();
    let again = usual(&file);
    // SAFETY: mapped just now.
    assert_eq!((again, unsafe { again.read() }), (first, 2));

    // One that is read-only when it ends.
    // SAFETY: mapped, and not read in between.
    assert_eq!(unsafe { libc::mprotect(again.cast(), LEN, libc::PROT_READ) }, 0);
    end(again);
    let writable = usual(&file);
    // SAFETY: mapped just now.
    unsafe { writable.write(3) };
    end(writable);

    // What the program believes to be free it may take.
    let (private, anywhere) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_WRITE);
    let fixed = private | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: nothing of the program's is there.
    let taken = unsafe { libc::mmap(writable.cast(), LEN, anywhere, fixed, -1, 0) };
    assert_eq!(taken.cast(), writable);
    // SAFETY: mapped just now.
    unsafe { taken.cast::<u8>().write(9) };
    let elsewhere = usual(&file);
    // SAFETY: as above.
    assert_eq!(unsafe { elsewhere.read() }, 3);
    assert_ne!(elsewhere, writable);
    end(elsewhere);
    end(writable);
    // In another state, and shorter: behind the end there is nothing of the last one.
    file.set_len(0).unwrap();
    file.set_len(LEN as u64).unwrap();
    let emptied = usual(&file);
    // SAFETY: as above.
    assert!(unsafe { std::slice::from_raw_parts(emptied, LEN) }.iter().all(|byte| *byte == 0));
    assert_eq!(mounted.unserved(), None);
}

/// Folders above the root are as they were until this process changes something outside.
#[test]
fn folders_above_the_root_are_what_the_kernel_tells() {
    let _alone = alone();
    let look = |at: &Path| {
        let at = CString::new(at.as_os_str().as_bytes()).unwrap();
        // SAFETY: all zeros are valid for it.
        let (mut served, mut real) = unsafe { std::mem::zeroed::<(libc::stat, libc::stat)>() };
        // SAFETY: a path that ends in zero, and the addresses of locals.
        unsafe {
            assert_eq!(libc::lstat(at.as_ptr(), &raw mut served), 0);
            let flags = libc::AT_SYMLINK_NOFOLLOW;
            assert_eq!(libc::fstatat(libc::AT_FDCWD, at.as_ptr(), &raw mut real, flags), 0);
        }
        let of = |s: libc::stat| (s.st_dev, s.st_ino, s.st_mode, s.st_nlink);
        (of(served), of(real))
    };
    let changes: [&dyn Fn(&Path); 3] = [
        &|above| fs::create_dir(above.join("made")).unwrap(),
        &|above| fs::set_permissions(above, fs::Permissions::from_mode(0o750)).unwrap(),
        &|above| {
            let above = File::open(above).unwrap();
            above.set_permissions(fs::Permissions::from_mode(0o705)).unwrap();
        },
    ];
    for change in changes {
        let (_folder, root, mounted) = mounted();
        let root = root.canonicalize().unwrap();
        let above: Vec<&Path> = root.ancestors().skip(1).collect();
        assert!(above.len() > 1);
        for at in &above {
            let (served, real) = look(at);
            assert_eq!(served, real, "{}", at.display());
        }
        let (before, _) = look(above[0]);
        change(above[0]);
        let (served, real) = look(above[0]);
        assert_eq!(served, real);
        assert_ne!(served, before);
        assert_eq!(mounted.unserved(), None);
    }
}

#[test]
fn a_descriptor_that_was_left_open_is_bad_in_the_next_mount() {
    let _alone = alone();
    let (_folder, root, mounted) = mounted();
    let left = File::create(root.join("left")).unwrap();
    drop(mounted);
    let mounted = Mounted::new(&root, &Disk::new()).unwrap();
    let next = File::create(root.join("next")).unwrap();
    assert_ne!(next.as_raw_fd(), left.as_raw_fd());
    let error = left.metadata().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    assert_eq!(mounted.unserved(), None);
    drop((left, mounted));
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_served_is_told() {
    let _alone = alone();
    let told = |ask: &dyn Fn(&Path)| {
        let (_folder, root, mounted) = mounted();
        ask(&root);
        mounted.unserved()
    };
    assert_eq!(told(&|root| fs::write(root.join("a"), "b").unwrap()), None);
    let started = told(&|_| assert!(std::process::Command::new("true").status().is_err()));
    assert!(started.unwrap().contains("program"));
    let left = told(&|root| {
        fs::write(root.join("a"), "b").unwrap();
        let out = root.with_file_name("out");
        assert_eq!(
            fs::rename(root.join("a"), out).unwrap_err().kind(),
            io::ErrorKind::CrossesDevices
        );
    });
    assert!(left.unwrap().contains("moved"));
    let above = told(&|root| assert!(root.join("..").join("folder").exists()));
    assert_eq!(above, Some("a path that leads out of the root"));
    let changed = told(&|root| {
        // A way to the real folder that cannot be told from the path.
        std::os::unix::fs::symlink(root, root.with_file_name("way")).unwrap();
        fs::write(root.with_file_name("way").join("stray"), "").unwrap();
        fs::remove_file(root.with_file_name("way").join("stray")).unwrap();
    });
    assert_eq!(changed, Some("a change of the real folder"));
}

#[test]
fn a_folder_that_is_not_empty_is_refused() {
    let _alone = alone();
    let (_folder, _, real) = folders(&Disk::new());
    fs::write(real.join("hidden"), "").unwrap();
    let error = Mounted::new(&real, &Disk::new()).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
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
