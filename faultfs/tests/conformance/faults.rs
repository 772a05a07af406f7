//! The faults line by line: what each does to later reads, to sizes, names and what is durable, and what
//! the caller hears. One table for memory, for a folder, and for a `FaultFile` around a file of std; the
//! interposed door passes it in its own package.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use faultfs::crash::Loss;
use faultfs::fs::{Capacity, FsMapMut, Rot};
use faultfs::{FaultFile, FaultFs, FaultMap, Injector, Profile};

use crate::ask::HANDLES;
use crate::script::{World, run, scripts};
use crate::words::{ask_of, flags_of};
use crate::world::Faulty;

#[test]
fn each_fault_does_in_every_backend_what_the_table_says() {
    let mut count = 0;
    for (title, body) in scripts() {
        let folder = tempfile::tempdir().unwrap();
        let real = FaultFs::real(folder.path()).unwrap();
        run(title, body, &mut Filesystem::new(FaultFs::mem()));
        run(title, body, &mut Filesystem::new(real));
        if !title.starts_with("fs:") {
            let folder = tempfile::tempdir().unwrap();
            run(title, body, &mut Files::new(folder.path().into()));
        }
        count += 1;
    }
    assert!(count > 20, "the scripts were not found");
}

struct Filesystem(Faulty, [Option<FaultMap<FsMapMut>>; HANDLES]);

impl Filesystem {
    fn new(fs: FaultFs) -> Filesystem {
        Filesystem(Faulty::new(fs), Default::default())
    }

    fn mapping(&mut self, slot: usize) -> &mut FaultMap<FsMapMut> {
        self.1[slot].as_mut().expect("a mapped file")
    }
}

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

    fn map(&mut self, slot: usize) -> io::Result<()> {
        self.1[slot] = Some(self.0.handle(slot)?.map_mut()?);
        Ok(())
    }

    fn store(&mut self, slot: usize, data: &[u8], at: usize) -> io::Result<()> {
        self.mapping(slot).write_all_at(data, at)
    }

    fn load(&mut self, slot: usize, buf: &mut [u8], at: usize) -> io::Result<()> {
        self.mapping(slot).read_exact_at(buf, at)
    }

    fn msync(&mut self, slot: usize, at: usize, len: usize) -> io::Result<()> {
        self.mapping(slot).flush_range(at, len)
    }

    fn sync(&mut self, slot: usize, all: bool) -> io::Result<()> {
        let file = self.0.handle(slot)?;
        if all { file.sync_all() } else { file.sync_data() }
    }

    fn content(&self, path: &str) -> Vec<u8> {
        FaultFs::from_disk(self.0.fs.disk()).read(path).unwrap()
    }

    fn crashed(&self, path: &str, loss: Loss) -> Vec<u8> {
        let image = self.0.fs.crash_clone(Profile::POSIX, loss);
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

    fn compare(&mut self, title: &str) {
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

    fn map(&mut self, _: usize) -> io::Result<()> {
        unreachable!("a mapping has a wrapper of its own")
    }

    fn store(&mut self, _: usize, _: &[u8], _: usize) -> io::Result<()> {
        unreachable!("a mapping has a wrapper of its own")
    }

    fn load(&mut self, _: usize, _: &mut [u8], _: usize) -> io::Result<()> {
        unreachable!("a mapping has a wrapper of its own")
    }

    fn msync(&mut self, _: usize, _: usize, _: usize) -> io::Result<()> {
        unreachable!("a mapping has a wrapper of its own")
    }

    fn sync(&mut self, slot: usize, all: bool) -> io::Result<()> {
        if all { self.handle(slot).sync_all() } else { self.handle(slot).sync_data() }
    }

    fn content(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root.join(path)).unwrap()
    }

    fn crashed(&self, _: &str, _: Loss) -> Vec<u8> {
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

    fn compare(&mut self, _: &str) {}
}
