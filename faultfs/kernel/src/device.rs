//! A block device in memory whose writes and flushes are recorded, served as one file through FUSE, on
//! which the kernel's loop driver puts a block device.
//!
//! The loop driver answers a request when the file's server has answered it (drivers/block/loop.c,
//! `lo_complete_rq`), and says that it has a volatile cache, since the file can be synced: it hands a flush
//! on as `fsync`, and the block layer turns a write with FUA into a write and a flush. One thread serves, so
//! that the log has one order, and it touches no filesystem.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};

/// Bytes of the unit in which the device is kept, that of the filesystems' blocks and of the page cache.
pub(crate) const BLOCK: usize = 4096;
/// What a device holds where nobody has written: neither zeros nor anything that a program writes.
pub(crate) const STALE: u8 = 0xE5;
/// The name of the one file.
pub(crate) const FILE: &str = "device";

/// The content of one block.
pub(crate) type Block = Arc<[u8; BLOCK]>;
/// The blocks that were written, by number.
pub(crate) type Blocks = BTreeMap<u64, Block>;

/// Something that reached the device.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Bytes of one block.
    Write { block: u64, at: usize, data: Arc<[u8]> },
    /// All that was answered before is durable.
    Flush,
    /// The stamp of the trace that the program has come to.
    Mark(u64),
}

/// What the device holds: a base that is shared, what was written over it, and the log of that.
#[derive(Default)]
struct Image {
    base: Arc<Blocks>,
    over: Blocks,
    log: Option<Vec<Event>>,
    /// Writes that hold one of these sectors fail.
    failing: Vec<Arc<[u8]>>,
    /// Writes that hold one of these sectors are not answered yet.
    slow: Vec<Arc<[u8]>>,
    held: Vec<(ReplyWrite, u64, Vec<u8>)>,
}

/// A handle on the device; clones are the same device.
#[derive(Clone, Default)]
pub(crate) struct Device {
    image: Arc<Mutex<Image>>,
}

impl Device {
    fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Makes the device hold `base` with `over` in front of it. No filesystem may be mounted from it.
    pub(crate) fn hold(&self, base: Arc<Blocks>, over: Blocks) {
        *self.image() = Image { base, over, ..Image::default() };
    }

    /// All that it holds.
    pub(crate) fn blocks(&self) -> Arc<Blocks> {
        let image = self.image();
        let mut blocks = (*image.base).clone();
        blocks.extend(image.over.iter().map(|(number, block)| (*number, block.clone())));
        Arc::new(blocks)
    }

    /// Starts a log.
    pub(crate) fn record(&self) {
        self.image().log = Some(Vec::new());
    }

    /// Ends the log.
    pub(crate) fn recorded(&self) -> Vec<Event> {
        self.image().log.take().unwrap_or_default()
    }

    /// Puts the program's place into the log.
    pub(crate) fn mark(&self, stamp: u64) {
        self.image().push(Event::Mark(stamp));
    }

    /// From now on writes fail that hold one of these sectors; none if there are none.
    pub(crate) fn fail(&self, sectors: Vec<Arc<[u8]>>) {
        self.image().failing = sectors;
    }

    /// From now on writes that hold one of these sectors wait, and all others pass them by.
    pub(crate) fn slow_down(&self, sectors: Vec<Arc<[u8]>>) {
        self.image().slow = sectors;
    }

    /// Takes the writes that waited, and makes no further ones wait.
    pub(crate) fn catch_up(&self) {
        let mut image = self.image();
        image.slow = Vec::new();
        for (reply, offset, data) in std::mem::take(&mut image.held) {
            answer(reply, image.write(offset, &data), data.len());
        }
    }
}

impl Image {
    fn push(&mut self, event: Event) {
        self.log.iter_mut().for_each(|log| log.push(event.clone()));
    }

    fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(size);
        for (number, at, len) in pieces(offset, size) {
            match self.over.get(&number).or_else(|| self.base.get(&number)) {
                Some(block) => out.extend_from_slice(&block[at..at + len]),
                None => out.resize(out.len() + len, STALE),
            }
        }
        out
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> bool {
        if holds_any(data, &self.failing) {
            return false;
        }
        let mut from = 0;
        for (number, at, len) in pieces(offset, data.len()) {
            let data: Arc<[u8]> = Arc::from(&data[from..from + len]);
            let before = self.over.get(&number).or_else(|| self.base.get(&number));
            self.over.insert(number, patched(before, at, &data));
            self.push(Event::Write { block: number, at, data });
            from += len;
        }
        true
    }
}

fn holds_any(data: &[u8], sectors: &[Arc<[u8]>]) -> bool {
    let is_one = |sector: &[u8]| sectors.iter().any(|one| **one == *sector);
    !sectors.is_empty() && data.chunks(512).any(is_one)
}

fn answer(reply: ReplyWrite, is_written: bool, len: usize) {
    match is_written {
        true => reply.written(len as u32),
        false => reply.error(Errno::EIO),
    }
}

/// `before` with `data` at `at`.
pub(crate) fn patched(before: Option<&Block>, at: usize, data: &[u8]) -> Block {
    let mut bytes = before.map_or([STALE; BLOCK], |block| **block);
    bytes[at..at + data.len()].copy_from_slice(data);
    Arc::new(bytes)
}

/// A range of bytes cut at the blocks: number of the block, first byte in it, length.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (mut at, end) = (offset, offset + len as u64);
    std::iter::from_fn(move || {
        let within = (at % BLOCK as u64) as usize;
        let len = (BLOCK - within).min((end - at) as usize);
        let piece = (at / BLOCK as u64, within, len);
        at += len as u64;
        (len > 0).then_some(piece)
    })
}

/// The folder with the one file.
pub(crate) struct Served {
    pub(crate) device: Device,
    /// Bytes.
    pub(crate) size: u64,
}

const TTL: Duration = Duration::from_secs(1 << 20);
const FILE_INO: u64 = 2;

impl Served {
    fn attributes(&self, ino: u64) -> FileAttr {
        let (kind, perm, size) = match ino {
            FILE_INO => (FileType::RegularFile, 0o600, self.size),
            _ => (FileType::Directory, 0o700, 0),
        };
        FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: BLOCK as u32,
        }
    }
}

impl Filesystem for Served {
    /// A write that waits for its answer must not hold up the others, as it would with the file's lock: fs/fuse/file.c,
    /// `fuse_direct_write_iter`, keeps that until a synchronous one is answered.
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let needed = InitFlags::FUSE_ASYNC_DIO;
        config.add_capabilities(needed).map_err(|_| std::io::ErrorKind::Unsupported.into())
    }

    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == FILE {
            true => reply.entry(&TTL, &self.attributes(FILE_INO), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(u64::from(ino)));
    }

    /// Past the page cache: what the loop driver writes must be here before the request is answered.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = u64::from(size).min(self.size.saturating_sub(offset));
        reply.data(&self.device.image().read(offset, size as usize));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut image = self.device.image();
        if holds_any(data, &image.slow) {
            image.held.push((reply, offset, data.to_vec()));
        } else {
            answer(reply, image.write(offset, data), data.len());
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.device.image().push(Event::Flush);
        reply.ok();
    }
}
