//! The table of the faults that every door and backend passes (`faultfs/tests/conformance/faults.txt`), asked by
//! a program that knows nothing of us: through std, through libc's vectors, and at the position of its files.
//!
//! What a crash would leave is looked at as recoveries look at it: served from memory, and written to a folder.

#![allow(unsafe_code, reason = "calls of libc")]

#[allow(dead_code, reason = "nothing is mapped here")]
#[path = "../../tests/conformance/ask.rs"]
mod ask;
#[path = "../../tests/conformance/bare.rs"]
mod bare;
#[allow(dead_code, reason = "this test does not look at the words")]
mod common;
#[path = "../../tests/conformance/script.rs"]
mod script;
#[path = "../../tests/conformance/words.rs"]
mod words;

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ask::HANDLES;
use bare::Bare;
use common::Recording;
use faultfs::crash::{CrashImage, Loss};
use faultfs::disk::Disk;
use faultfs::folder::Folder;
use faultfs::fs::{Capacity, Rot};
use faultfs::trace::Trace;
use faultfs::{FaultFs, Injector, Profile};
use faultfs_interpose::{Mounted, Options, Session};
use memmap2::MmapMut;
use script::{World, run, scripts};
use words::ask_of;

/// One test, as there is one session at a time in a process.
#[test]
fn each_fault_does_through_this_door_what_the_table_says() {
    let mut count = 0;
    for (title, body) in scripts() {
        for by in [By::Std, By::Vectors, By::Position] {
            run(title, body, &mut Program::new(by));
        }
        count += 1;
    }
    assert!(count > 20, "the scripts were not found");
}

/// How the program reads and writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// `pread64` and `pwrite64`, through std.
    Std,
    /// `preadv` and `pwritev`, of three parts.
    Vectors,
    /// `read` and `write`, where the file is.
    Position,
}

/// A program on a folder that is recorded.
struct Program {
    by: By,
    bare: Bare,
    maps: [Option<MmapMut>; HANDLES],
    injector: Injector,
    session: Option<Session>,
    recording: Recording,
    /// Disks that were seen, to be looked at once the recording is over.
    disks: std::cell::RefCell<Vec<Disk>>,
}

impl Program {
    fn new(by: By) -> Self {
        let recording = Recording::new();
        let injector = Injector::default();
        let options = Options { injector: Some(&injector), ..recording.options(true) };
        let session = Some(Session::start(&options).unwrap());
        let bare = Bare::new(&recording.root);
        let (maps, disks) = Default::default();
        Self { by, bare, maps, injector, session, recording, disks }
    }

    fn mapping(&mut self, slot: usize) -> &mut MmapMut {
        self.maps[slot].as_mut().expect("a mapped file")
    }

    fn trace(&self) -> Trace {
        faultfs_interpose::decode(&self.recording.log, Disk::new(), "").unwrap()
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.recording.root.join(path)
    }

    /// Moves where the file is, or finds that it is where the last call has left it.
    fn seek(file: &mut File, at: u64) -> io::Result<()> {
        file.seek(SeekFrom::Start(at)).map(drop)
    }

    fn moved(file: &mut File, from: u64, moved: io::Result<usize>) -> io::Result<usize> {
        let by = moved.as_ref().map_or(0, |count| *count as u64);
        if moved.is_ok() && !is_append(file) {
            assert_eq!(file.stream_position()?, from + by, "where the call has left the file");
        }
        moved
    }
}

fn is_append(file: &File) -> bool {
    // SAFETY: no addresses.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) & libc::O_APPEND != 0 }
}

/// What a call of libc returned.
fn told(returned: isize) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

/// The parts of memory in which so many bytes are: a first one, an empty one, the rest.
fn parts(base: *mut u8, len: usize) -> [libc::iovec; 3] {
    let first = len.min(3);
    let part =
        |from: usize, len| libc::iovec { iov_base: base.wrapping_add(from).cast(), iov_len: len };
    [part(0, first), part(first, 0), part(first, len - first)]
}

impl World for Program {
    fn injector(&self) -> Injector {
        self.injector.clone()
    }

    fn open(&mut self, slot: usize, path: &str, flags: &[&str]) -> io::Result<()> {
        self.ask(&[&["open", &slot.to_string(), path], flags].concat()).map(drop)
    }

    fn write_at(&mut self, slot: usize, data: &[u8], at: u64) -> io::Result<usize> {
        let by = self.by;
        let file = self.bare.handle(slot)?;
        match by {
            By::Std => file.write_at(data, at),
            By::Vectors => {
                let parts = parts(data.as_ptr().cast_mut(), data.len());
                // SAFETY: the parts lie in `data`.
                told(unsafe { libc::pwritev(file.as_raw_fd(), parts.as_ptr(), 3, at as i64) })
            }
            By::Position => {
                Self::seek(file, at)?;
                let wrote = io::Write::write(file, data);
                Self::moved(file, at, wrote)
            }
        }
    }

    fn read_at(&mut self, slot: usize, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let by = self.by;
        let file = self.bare.handle(slot)?;
        match by {
            By::Std => file.read_at(buf, at),
            By::Vectors => {
                let parts = parts(buf.as_mut_ptr(), buf.len());
                // SAFETY: the parts lie in `buf`.
                told(unsafe { libc::preadv(file.as_raw_fd(), parts.as_ptr(), 3, at as i64) })
            }
            By::Position => {
                Self::seek(file, at)?;
                let read = io::Read::read(file, buf);
                Self::moved(file, at, read)
            }
        }
    }

    fn set_len(&mut self, slot: usize, len: u64) -> io::Result<()> {
        self.bare.handle(slot)?.set_len(len)
    }

    fn map(&mut self, slot: usize) -> io::Result<()> {
        // SAFETY: no script shortens the file below what it looks at.
        self.maps[slot] = Some(unsafe { MmapMut::map_mut(&*self.bare.handle(slot)?)? });
        Ok(())
    }

    fn store(&mut self, slot: usize, data: &[u8], at: usize) -> io::Result<()> {
        self.mapping(slot)[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn load(&mut self, slot: usize, buf: &mut [u8], at: usize) -> io::Result<()> {
        buf.copy_from_slice(&self.mapping(slot)[at..at + buf.len()]);
        Ok(())
    }

    fn msync(&mut self, slot: usize, at: usize, len: usize) -> io::Result<()> {
        self.mapping(slot).flush_range(at, len)
    }

    /// Past std, which asks again where it was interrupted.
    fn sync(&mut self, slot: usize, all: bool) -> io::Result<()> {
        let fd = self.bare.handle(slot)?.as_raw_fd();
        // SAFETY: no addresses.
        told(unsafe { if all { libc::fsync(fd) } else { libc::fdatasync(fd) } } as isize).map(drop)
    }

    fn content(&self, path: &str) -> Vec<u8> {
        FaultFs::from_disk(self.trace().replay()).read(path).unwrap()
    }

    fn crashed(&self, path: &str, loss: Loss) -> Vec<u8> {
        let disk = CrashImage::of(self.trace(), Profile::POSIX, loss).disk;
        let found = FaultFs::from_disk(disk.clone()).read(path).unwrap();
        self.disks.borrow_mut().push(disk);
        found
    }

    fn evict(&mut self, path: &str) -> io::Result<()> {
        faultfs_interpose::evict(self.at(path))
    }

    fn rot(&mut self, path: &str, rot: Rot) -> io::Result<()> {
        faultfs_interpose::rot(self.at(path), rot)
    }

    fn set_capacity(&mut self, capacity: Capacity) {
        faultfs_interpose::set_capacity(capacity).unwrap();
    }

    fn ask(&mut self, words: &[&str]) -> io::Result<String> {
        self.bare.try_run(&ask_of(words).unwrap_or_else(|| panic!("what is `{words:?}`?")))
    }

    fn compare(&mut self, title: &str) {
        drop(self.session.take());
        let trace = self.trace();
        assert_eq!(trace.unmodelled, [""; 0], "{title}");
        if trace.cut.is_none() {
            let root = &self.recording.root;
            assert_eq!(faultfs_interpose::verify(&trace, root).unwrap(), None, "{title}");
            self.disks.borrow_mut().push(trace.replay());
        }
        for disk in self.disks.take() {
            read_both_ways(title, &disk);
        }
    }
}

/// What is on a disk is found by std, whichever way the disk is served.
fn read_both_ways(title: &str, disk: &Disk) {
    let folder = tempfile::tempdir().unwrap();
    let (real, served) = (folder.path().join("real"), folder.path().join("served"));
    fs::create_dir(&real).unwrap();
    fs::create_dir(&served).unwrap();
    Folder::new(&real).write(disk).unwrap();
    let expected = tree(&real);
    let mounted = Mounted::new(&served, disk).unwrap();
    let found = tree(&served);
    assert_eq!(mounted.unserved(), None, "{title}");
    drop(mounted);
    assert_eq!(found, expected, "{title}");
}

/// Names and contents of all files below a folder.
fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let below = path.file_name().unwrap().display().to_string();
        match fs::symlink_metadata(&path).unwrap() {
            metadata if metadata.is_dir() => {
                files.push((below.clone(), Vec::new()));
                let inner = tree(&path).into_iter();
                files.extend(inner.map(|(name, content)| (format!("{below}/{name}"), content)));
            }
            metadata if metadata.is_file() => files.push((below, fs::read(&path).unwrap())),
            _ => files.push((
                below,
                fs::read_link(&path).unwrap().as_os_str().as_encoded_bytes().to_vec(),
            )),
        }
    }
    files
}
