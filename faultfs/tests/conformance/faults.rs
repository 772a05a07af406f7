//! The faults line by line: what each does to later reads, to sizes, names and what is durable, and what
//! the caller hears. One table for memory, for a folder, and for a `FaultFile` around a file of std.
//!
//! `=>` stands before the answer: text, in which a NUL is `0` and what cannot be printed `?`, or the name
//! of an error with its [`io::ErrorKind`]. Scripts whose title starts with `fs:` need more than one file.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use faultfs::crash::Loss;
use faultfs::errno::Errno;
use faultfs::fs::{Capacity, Rot};
use faultfs::{FaultFile, FaultFs, Injector, Profile};

use crate::table::{ask_of, flags_of};
use crate::world::{Faulty, HANDLES};

#[test]
fn each_fault_does_in_every_backend_what_the_table_says() {
    let mut scripts = 0;
    for script in include_str!("faults.txt").split("\n# ").filter(|s| !s.trim().is_empty()) {
        let (title, body) = script.split_once('\n').expect("a title, then lines");
        let folder = tempfile::tempdir().unwrap();
        let real = FaultFs::real(folder.path()).unwrap();
        run(title, body, &mut Filesystem(Faulty::new(FaultFs::mem())));
        run(title, body, &mut Filesystem(Faulty::new(real)));
        if !title.starts_with("fs:") {
            let folder = tempfile::tempdir().unwrap();
            run(title, body, &mut Files::new(folder.path().into()));
        }
        scripts += 1;
    }
    assert!(scripts > 20, "the scripts were not found");
}

fn run(title: &str, body: &str, world: &mut dyn World) {
    for line in body.lines().filter(|line| !line.trim().is_empty()) {
        let (ask, expected) = match line.split_once("=>") {
            Some((ask, expected)) => (ask, Some(expected.trim())),
            None => (line, None),
        };
        let found = match answer(world, ask.trim()) {
            Ok(found) => found,
            Err(e) => told(&e),
        };
        match expected {
            Some(expected) => assert_eq!(found, expected, "{title}: {line}"),
            None => assert!(!found.starts_with('E'), "{title}: {line}: {found}"),
        }
    }
    world.compare(title);
}

/// An error by its name and kind.
fn told(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(raw) => format!("{} {:?}", Errno::from_raw(raw), error.kind()),
        None => format!("E? {:?} {error}", error.kind()),
    }
}

fn answer(world: &mut dyn World, line: &str) -> io::Result<String> {
    let done = |()| "done".to_owned();
    if let Some(plan) = line.strip_prefix("arm ") {
        world.injector().arm(plan.parse::<faultfs::plan::Plan>().unwrap());
        return Ok("armed".into());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |word: &str| word.parse::<u64>().expect("a number");
    let slot = |word: &str| word.parse::<usize>().expect("a slot");
    match words[..] {
        ["disarm"] => {
            world.injector().disarm();
            Ok("done".into())
        }
        ["finish"] => {
            world.injector().finish().unwrap();
            Ok("done".into())
        }
        ["fill", file, byte, count, "at", at] => {
            let data = vec![byte.as_bytes()[0]; usize::try_from(number(count)).unwrap()];
            Ok(world.write_at(slot(file), &data, number(at))?.to_string())
        }
        ["see", file, count, "at", at] => {
            let mut buf = vec![b'-'; usize::try_from(number(count)).unwrap()];
            let found = world.read_at(slot(file), &mut buf, number(at))?;
            Ok(shown(&buf[..found]))
        }
        ["set-len", file, len] => world.set_len(slot(file), number(len)).map(done),
        ["fsync", file] => world.sync(slot(file), true).map(done),
        ["fdatasync", file] => world.sync(slot(file), false).map(done),
        ["open", file, path, ref flags @ ..] => world.open(slot(file), path, flags).map(done),
        ["size", path] => Ok(world.content(path).len().to_string()),
        ["same", one, other] => {
            assert_eq!(world.content(one), world.content(other));
            Ok("same".into())
        }
        ["durable-at", path, count, "at", at] => {
            let (at, count) = (number(at) as usize, number(count) as usize);
            Ok(shown(&world.durable(path)[at..at + count]))
        }
        ["durable", path] => Ok(shown(&world.durable(path))),
        ["evict", path] => world.evict(path).map(done),
        ["capacity", bytes, inodes] => {
            world.set_capacity(Capacity { bytes: number(bytes), inodes: number(inodes) });
            Ok("set".into())
        }
        ["rot", path, "flip", bit] => world.rot(path, Rot::Flip(number(bit))).map(done),
        ["rot", path, "garbage", first, end, seed] => {
            let (bytes, seed) = (number(first)..number(end), number(seed));
            world.rot(path, Rot::Garbage { bytes, seed }).map(done)
        }
        _ => world.ask(&words),
    }
}

fn shown(bytes: &[u8]) -> String {
    let character = |&byte: &u8| match byte {
        0 => '0',
        b' '..=b'~' => char::from(byte),
        _ => '?',
    };
    bytes.iter().map(character).collect()
}

/// A backend.
trait World {
    fn injector(&self) -> Injector;
    fn open(&mut self, slot: usize, path: &str, flags: &[&str]) -> io::Result<()>;
    fn write_at(&mut self, slot: usize, data: &[u8], at: u64) -> io::Result<usize>;
    fn read_at(&mut self, slot: usize, buf: &mut [u8], at: u64) -> io::Result<usize>;
    fn set_len(&mut self, slot: usize, len: u64) -> io::Result<()>;
    fn sync(&mut self, slot: usize, all: bool) -> io::Result<()>;
    /// What a file holds, past all faults.
    fn content(&self, path: &str) -> Vec<u8>;
    /// What a file holds after a crash that loses all that it can.
    fn durable(&self, path: &str) -> Vec<u8>;
    fn evict(&mut self, path: &str) -> io::Result<()>;
    fn rot(&mut self, path: &str, rot: Rot) -> io::Result<()>;
    fn set_capacity(&mut self, capacity: Capacity);
    fn ask(&mut self, words: &[&str]) -> io::Result<String>;
    /// What the record says must be what is there.
    fn compare(&self, title: &str);
}

struct Filesystem(Faulty);

impl World for Filesystem {
    fn injector(&self) -> Injector {
        self.0.fs.injector().clone()
    }

    fn open(&mut self, slot: usize, path: &str, flags: &[&str]) -> io::Result<()> {
        self.ask(&[&["open", &slot.to_string(), path], flags].concat()).map(drop)
    }

    fn write_at(&mut self, slot: usize, data: &[u8], at: u64) -> io::Result<usize> {
        self.0.handle(slot)?.write_at(data, at)
    }

    fn read_at(&mut self, slot: usize, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.handle(slot)?.read_at(buf, at)
    }

    fn set_len(&mut self, slot: usize, len: u64) -> io::Result<()> {
        self.0.handle(slot)?.set_len(len)
    }

    fn sync(&mut self, slot: usize, all: bool) -> io::Result<()> {
        let file = self.0.handle(slot)?;
        if all { file.sync_all() } else { file.sync_data() }
    }

    fn content(&self, path: &str) -> Vec<u8> {
        FaultFs::from_disk(self.0.fs.disk()).read(path).unwrap()
    }

    fn durable(&self, path: &str) -> Vec<u8> {
        let image = self.0.fs.crash_clone(Profile::POSIX, Loss::Everything);
        image.fs().read(path).unwrap()
    }

    fn evict(&mut self, path: &str) -> io::Result<()> {
        self.0.fs.evict(path)
    }

    fn rot(&mut self, path: &str, rot: Rot) -> io::Result<()> {
        self.0.fs.rot(path, rot)
    }

    fn set_capacity(&mut self, capacity: Capacity) {
        self.0.fs.set_capacity(capacity);
    }

    fn ask(&mut self, words: &[&str]) -> io::Result<String> {
        self.0.try_run(&ask_of(words).unwrap_or_else(|| panic!("what is `{words:?}`?")))
    }

    fn compare(&self, title: &str) {
        let trace = self.0.fs.take_trace();
        assert_eq!(trace.unmodelled, [""; 0], "{title}");
        assert_eq!(trace.replay().digest(), self.0.fs.disk().digest(), "{title}");
    }
}

/// Files of std in a folder, each in a `FaultFile`.
struct Files {
    root: PathBuf,
    injector: Injector,
    handles: [Option<FaultFile>; HANDLES],
}

impl Files {
    fn new(root: PathBuf) -> Files {
        Files { root, injector: Injector::default(), handles: Default::default() }
    }

    fn handle(&self, slot: usize) -> &FaultFile {
        self.handles[slot].as_ref().expect("an open file")
    }
}

impl World for Files {
    fn injector(&self) -> Injector {
        self.injector.clone()
    }

    fn open(&mut self, slot: usize, path: &str, flags: &[&str]) -> io::Result<()> {
        let flags = flags_of(flags).expect("flags");
        let mut options = std::fs::OpenOptions::new();
        options.read(flags.read).write(flags.write).create(flags.create);
        let file = options.open(self.root.join(path))?;
        self.handles[slot] = Some(FaultFile::armed(file, &self.injector, path));
        Ok(())
    }

    fn write_at(&mut self, slot: usize, data: &[u8], at: u64) -> io::Result<usize> {
        self.handle(slot).write_at(data, at)
    }

    fn read_at(&mut self, slot: usize, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.handle(slot).read_at(buf, at)
    }

    fn set_len(&mut self, slot: usize, len: u64) -> io::Result<()> {
        self.handle(slot).set_len(len)
    }

    fn sync(&mut self, slot: usize, all: bool) -> io::Result<()> {
        if all { self.handle(slot).sync_all() } else { self.handle(slot).sync_data() }
    }

    fn content(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root.join(path)).unwrap()
    }

    fn durable(&self, _: &str) -> Vec<u8> {
        unreachable!("a file of one's own knows nothing of crashes")
    }

    fn evict(&mut self, _: &str) -> io::Result<()> {
        unreachable!("a file of one's own knows nothing of page caches")
    }

    fn rot(&mut self, _: &str, _: Rot) -> io::Result<()> {
        unreachable!("a file of one's own knows nothing of its device")
    }

    fn set_capacity(&mut self, _: Capacity) {
        unreachable!("a file of one's own knows nothing of its disk")
    }

    fn ask(&mut self, words: &[&str]) -> io::Result<String> {
        panic!("what is `{words:?}`?")
    }

    fn compare(&self, _: &str) {}
}
