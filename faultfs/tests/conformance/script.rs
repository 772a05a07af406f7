//! The scripts of the faults: what they ask of a backend, and how they look at what it answers.
//!
//! `=>` stands before the answer: text, in which a NUL is `0` and what cannot be printed `?`, or the name
//! of an error with its [`io::ErrorKind`]. Scripts whose title starts with `fs:` need more than one file.

use std::io;

use faultfs::Injector;
use faultfs::crash::Loss;
use faultfs::errno::Errno;
use faultfs::fs::{Capacity, Rot};

/// Title and lines of each script.
pub(crate) fn scripts() -> impl Iterator<Item = (&'static str, &'static str)> {
    let scripts = include_str!("faults.txt").split("\n# ").filter(|s| !s.trim().is_empty());
    scripts.map(|script| script.split_once('\n').expect("a title, then lines"))
}

/// Runs one script; each line must get its answer.
pub(crate) fn run(title: &str, body: &str, world: &mut dyn World) {
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
        ["map", file] => world.map(slot(file)).map(done),
        ["store", file, byte, count, "at", at] => {
            let data = vec![byte.as_bytes()[0]; slot(count)];
            world.store(slot(file), &data, slot(at)).map(done)
        }
        ["load", file, count, "at", at] => {
            let mut buf = vec![b'-'; slot(count)];
            world.load(slot(file), &mut buf, slot(at))?;
            Ok(shown(&buf))
        }
        ["msync", file, count, "at", at] => {
            world.msync(slot(file), slot(at), slot(count)).map(done)
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
            Ok(shown(&world.crashed(path, Loss::Everything)[at..at + count]))
        }
        ["durable", path] => Ok(shown(&world.crashed(path, Loss::Everything))),
        ["arrived", path] => Ok(shown(&world.crashed(path, Loss::Nothing))),
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

pub(crate) fn shown(bytes: &[u8]) -> String {
    let character = |&byte: &u8| match byte {
        0 => '0',
        b' '..=b'~' => char::from(byte),
        _ => '?',
    };
    bytes.iter().map(character).collect()
}

/// A backend.
pub(crate) trait World {
    fn injector(&self) -> Injector;
    fn open(&mut self, slot: usize, path: &str, flags: &[&str]) -> io::Result<()>;
    fn write_at(&mut self, slot: usize, data: &[u8], at: u64) -> io::Result<usize>;
    fn read_at(&mut self, slot: usize, buf: &mut [u8], at: u64) -> io::Result<usize>;
    fn set_len(&mut self, slot: usize, len: u64) -> io::Result<()>;
    /// Maps the file in the slot, shared and for writing.
    fn map(&mut self, slot: usize) -> io::Result<()>;
    fn store(&mut self, slot: usize, data: &[u8], at: usize) -> io::Result<()>;
    fn load(&mut self, slot: usize, buf: &mut [u8], at: usize) -> io::Result<()>;
    fn msync(&mut self, slot: usize, at: usize, len: usize) -> io::Result<()>;
    fn sync(&mut self, slot: usize, all: bool) -> io::Result<()>;
    /// What a file holds, past all faults.
    fn content(&self, path: &str) -> Vec<u8>;
    /// What a file holds after a crash that loses all that it can, or nothing.
    fn crashed(&self, path: &str, loss: Loss) -> Vec<u8>;
    fn evict(&mut self, path: &str) -> io::Result<()>;
    fn rot(&mut self, path: &str, rot: Rot) -> io::Result<()>;
    fn set_capacity(&mut self, capacity: Capacity);
    fn ask(&mut self, words: &[&str]) -> io::Result<String>;
    /// What the record says must be what is there.
    fn compare(&mut self, title: &str);
}
