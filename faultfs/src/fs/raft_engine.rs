//! A filesystem of raft-engine's in which calls go wrong.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_engine::env::{FileSystem, Handle, Permission, WriteExt};

use super::door::{Gate, OpKind};
use super::{FaultFile, Storage};
use crate::injector::Injector;

/// Around a [`FileSystem`] of raft-engine's: every call that reaches it may go wrong, and so may those on
/// its files. Rules see the paths as the engine gives them.
///
/// ```
/// use std::sync::Arc;
/// use faultfs::errno::ENOSPC;
/// use faultfs::fs::FaultFileSystem;
/// use faultfs::plan::on;
/// use faultfs::Injector;
/// use raft_engine::env::DefaultFileSystem;
/// use raft_engine::{Config, Engine, LogBatch};
///
/// let folder = tempfile::tempdir()?;
/// let injector = Injector::default();
/// let files = Arc::new(FaultFileSystem::new(DefaultFileSystem, &injector));
/// let config = Config { dir: folder.path().to_str().unwrap().into(), ..Config::default() };
/// let engine = Engine::open_with_file_system(config, files).unwrap();
/// injector.arm(on::write().path("*.raftlog").take(1).fail(ENOSPC));
/// let mut batch = LogBatch::default();
/// batch.put(1, b"key".to_vec(), b"value".to_vec()).unwrap();
/// assert!(engine.write(&mut batch, true).is_err());
/// injector.finish().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Limits
///
/// The engine lists, makes and syncs directories through [`std::fs`], past this trait (0.4.2): those calls
/// are seen by the package `faultfs-interpose` alone.
#[derive(Clone, Debug)]
pub struct FaultFileSystem<F> {
    inner: F,
    injector: Injector,
}

impl<F> FaultFileSystem<F> {
    /// `inner`, whose calls are judged by `injector`.
    pub fn new(inner: F, injector: &Injector) -> Self {
        FaultFileSystem { inner, injector: injector.clone() }
    }

    fn call<T>(
        &self,
        kind: OpKind,
        path: &Path,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match Gate::new(&self.injector, path).armed() {
            None => act(),
            Some(door) => door.call(kind, act),
        }
    }

    fn handle<H>(&self, path: &Path, handle: H) -> RaftHandle<H> {
        let (handle, path) = (Arc::new(handle), path.to_path_buf());
        let file = FaultFile::armed(RaftFile(handle.clone()), &self.injector, &path);
        RaftHandle { handle, path, file }
    }
}

impl<F: FileSystem> FileSystem for FaultFileSystem<F> {
    type Handle = RaftHandle<F::Handle>;
    type Reader = FaultFile<F::Reader>;
    type Writer = RaftWriter<F::Writer>;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<Self::Handle> {
        let path = path.as_ref();
        let made = self.call(OpKind::Create, path, || self.inner.create(path))?;
        Ok(self.handle(path, made))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<Self::Handle> {
        let path = path.as_ref();
        let open = self.call(OpKind::Open, path, || self.inner.open(path, permission))?;
        Ok(self.handle(path, open))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        let path = path.as_ref();
        self.call(OpKind::Remove, path, || self.inner.delete(path))
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.call(OpKind::Rename, from, || self.inner.rename(from, to))
    }

    fn reuse<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.call(OpKind::Rename, from, || self.inner.reuse(from, to))
    }

    fn delete_metadata<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.inner.delete_metadata(path)
    }

    fn exists_metadata<P: AsRef<Path>>(&self, path: P) -> bool {
        self.inner.exists_metadata(path)
    }

    fn new_reader(&self, handle: Arc<Self::Handle>) -> io::Result<Self::Reader> {
        let reader = self.inner.new_reader(handle.handle.clone())?;
        Ok(FaultFile::armed(reader, &self.injector, &handle.path))
    }

    fn new_writer(&self, handle: Arc<Self::Handle>) -> io::Result<Self::Writer> {
        let writer = self.inner.new_writer(handle.handle.clone())?;
        Ok(RaftWriter(FaultFile::armed(writer, &self.injector, &handle.path)))
    }
}

/// An open file of a [`FaultFileSystem`].
#[derive(Debug)]
pub struct RaftHandle<H> {
    handle: Arc<H>,
    path: PathBuf,
    file: FaultFile<RaftFile<H>>,
}

impl<H: Handle> Handle for RaftHandle<H> {
    fn truncate(&self, len: usize) -> io::Result<()> {
        self.file.set_len(len as u64)
    }

    fn file_size(&self) -> io::Result<usize> {
        self.file.size().map(|size| size as usize)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[derive(Debug)]
struct RaftFile<H>(Arc<H>);

impl<H: Handle> Storage for RaftFile<H> {
    fn size(&self) -> io::Result<u64> {
        self.0.file_size().map(|size| size as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.truncate(usize::try_from(len).expect("it came from a usize"))
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// What writes to a file of a [`FaultFileSystem`].
#[derive(Debug)]
pub struct RaftWriter<W>(FaultFile<W>);

impl<W: WriteExt> RaftWriter<W> {
    fn call(&mut self, act: impl FnOnce(&mut W) -> io::Result<()>) -> io::Result<()> {
        let gate = self.0.gate().clone();
        match gate.armed() {
            None => act(self.0.get_mut()),
            Some(door) => door.call(OpKind::SetLen, || act(self.0.get_mut())),
        }
    }
}

impl<W: WriteExt> WriteExt for RaftWriter<W> {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        self.call(|inner| inner.truncate(offset))
    }

    fn allocate(&mut self, offset: usize, size: usize) -> io::Result<()> {
        self.call(|inner| inner.allocate(offset, size))
    }
}

impl<W: Write> Write for RaftWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Seek> Seek for RaftWriter<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}
