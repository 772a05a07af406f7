//! `FaultFile` behind the traits of engines and runtimes: `cargo test -p faultfs --features
//! redb,tokio,raft-engine --test adapters`.
#![cfg(all(feature = "redb", feature = "tokio", feature = "raft-engine"))]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use faultfs::errno::{EIO, ENOSPC};
use faultfs::fault::Part;
use faultfs::fs::{FaultFileSystem, FaultFs, OpenOptions, RedbBackend};
use faultfs::plan::on;
use faultfs::{FaultFile, Injector};

mod redb_storage {
    use super::*;
    use faultfs::verdict::Broken;
    use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition};

    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("table");

    fn commit(db: &Database, id: u64) -> Result<(), Broken> {
        let transaction = db.begin_write()?;
        transaction.open_table(TABLE)?.insert(id, &[id as u8; 100][..])?;
        transaction.commit()?;
        Ok(())
    }

    fn rows(db: &Database) -> Vec<u64> {
        let transaction = db.begin_read().unwrap();
        let Ok(table) = transaction.open_table(TABLE) else { return Vec::new() };
        (0..10).filter(|id| table.get(id).unwrap().is_some()).collect()
    }

    #[test]
    fn a_failed_write_is_not_acknowledged_and_the_rows_before_it_stay() {
        let injector = Injector::default();
        let memory = Shared::default();
        let file = || FaultFile::armed(RedbBackend(memory.clone()), &injector, "db");
        let db = Database::builder().create_with_backend(file()).unwrap();
        commit(&db, 1).unwrap();
        injector.arm(on::write().path("db").take(1).fail(ENOSPC));
        commit(&db, 2).unwrap_err();
        injector.finish().unwrap();
        drop(db);
        injector.disarm();
        let db = Database::builder().create_with_backend(file()).unwrap();
        assert_eq!(rows(&db), [1]);
    }

    #[test]
    fn a_commit_syncs_the_backend_and_fails_where_that_fails() {
        let (injector, memory) = (Injector::default(), Shared::default());
        let file = FaultFile::armed(RedbBackend(memory.clone()), &injector, "db");
        let db = Database::builder().create_with_backend(file).unwrap();
        let before = memory.syncs.load(Relaxed);
        commit(&db, 1).unwrap();
        assert!(memory.syncs.load(Relaxed) > before);
        injector.arm(on::sync().path("db").take(1).fail(EIO));
        commit(&db, 2).unwrap_err();
        injector.finish().unwrap();
    }

    /// Whoever implements `read` and `write` of this trait does all of it, or fails.
    #[test]
    fn a_short_read_or_write_of_the_file_is_none_of_the_backend() {
        let injector = Injector::new([on::write().take(1).short(3), on::read().take(1).short(2)]);
        let file = FaultFile::armed(tempfile::tempfile().unwrap(), &injector, "db");
        StorageBackend::write(&file, 0, b"abcdef").unwrap();
        let mut read = [0; 6];
        StorageBackend::read(&file, 0, &mut read).unwrap();
        assert_eq!(read, *b"abcdef");
        injector.finish().unwrap();
    }

    /// redb closes a backend for good; this one outlives its databases, and counts what it is asked to sync.
    #[derive(Clone, Debug, Default)]
    struct Shared {
        memory: Arc<redb::backends::InMemoryBackend>,
        syncs: Arc<AtomicU64>,
    }

    impl StorageBackend for Shared {
        fn len(&self) -> io::Result<u64> {
            self.memory.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.memory.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.memory.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.syncs.fetch_add(1, Relaxed);
            self.memory.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.memory.write(offset, data)
        }
    }

    /// The file of a `FaultFs` is a backend too, and so the explorer sees what redb asks for.
    fn open(fs: &FaultFs) -> Result<Database, Broken> {
        let options = OpenOptions::new().read(true).write(true).create(true).clone();
        Ok(Database::builder().create_with_backend(fs.open_with("app.redb", &options)?)?)
    }

    #[test]
    fn committed_rows_survive_any_power_cut() {
        faultfs::explore(|fs| {
            let db = open(fs)?;
            fs.sync_dir(".")?;
            for id in 0..3 {
                fs.begin(id);
                commit(&db, id)?;
                fs.ack(id);
            }
            Ok(())
        })
        .check(|fs, marks| {
            let found = rows(&open(fs)?);
            match marks.acked.iter().find(|id| !found.contains(id)) {
                Some(id) => Err(Broken::lost(format!("{id} of {found:?}"))),
                None => Ok(()),
            }
        });
    }
}

mod asynchronous {
    use super::*;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt, ReadBuf};

    fn armed(injector: &Injector) -> FaultFile<tokio::fs::File> {
        let file = tokio::fs::File::from_std(tempfile::tempfile().unwrap());
        FaultFile::armed(file, injector, "db/1.wal")
    }

    #[tokio::test]
    async fn faults_are_those_of_a_synchronous_file() {
        let injector = Injector::new([
            on::write().path("*.wal").take(1).short(3),
            on::write().skip(2).take(1).torn(Part::Bytes(2), EIO),
            on::sync().take(1).fail(EIO),
            on::set_len().take(1).fail_after(ENOSPC),
            on::read().take(1).short(2),
            on::read().skip(1).take(1).fail(EIO),
        ]);
        let mut file = armed(&injector);
        file.write_all(b"abcdef").await.unwrap();
        file.flush().await.unwrap();
        assert_eq!(file.write_all(b"ghi").await.unwrap_err().raw_os_error(), Some(EIO.raw()));
        file.flush().await.unwrap();
        assert_eq!(file.sync_all().await.unwrap_err().raw_os_error(), Some(EIO.raw()));
        file.sync_data().await.unwrap();
        assert_eq!(file.set_len(7).await.unwrap_err().raw_os_error(), Some(ENOSPC.raw()));
        file.rewind().await.unwrap();
        let mut buf = [0; 16];
        assert_eq!(file.read(&mut buf).await.unwrap(), 2);
        assert_eq!(file.read(&mut buf).await.unwrap_err().raw_os_error(), Some(EIO.raw()));
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"cdefg");
        injector.finish().unwrap();
    }

    /// Ready at every third poll.
    #[derive(Default)]
    struct Slow {
        polls: u32,
        data: Vec<u8>,
        /// So many bytes at once.
        at_once: Option<usize>,
        is_flushed: bool,
        is_shut: bool,
    }

    impl Slow {
        fn is_ready(&mut self, context: &Context<'_>) -> bool {
            self.polls += 1;
            context.waker().wake_by_ref();
            self.polls.is_multiple_of(3)
        }
    }

    impl AsyncRead for Slow {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if !self.is_ready(context) {
                return Poll::Pending;
            }
            let len = buf.remaining().min(self.data.len());
            buf.put_slice(&self.data.drain(..len).collect::<Vec<_>>());
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            if !self.is_ready(context) {
                return Poll::Pending;
            }
            let count = self.at_once.unwrap_or(buf.len()).min(buf.len());
            self.data.extend_from_slice(&buf[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.is_flushed = true;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.is_shut = true;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_no_op_is_passed_on_and_a_vectored_write_is_one_of_all_its_buffers() {
        let injector = Injector::new(on::write().skip(1).take(1).short(1));
        let mut file = FaultFile::armed(Slow::default(), &injector, "slow");
        let buffers = [io::IoSlice::new(b"ab"), io::IoSlice::new(b"cd")];
        assert_eq!(file.write_vectored(&buffers).await.unwrap(), 4);
        assert_eq!(file.write_vectored(&buffers).await.unwrap(), 1);
        assert_eq!(file.get_ref().data, b"abcda");
        file.flush().await.unwrap();
        file.shutdown().await.unwrap();
        assert!(file.get_ref().is_flushed && file.get_ref().is_shut);
        injector.finish().unwrap();
    }

    /// A poll that is not ready is made again from its start: what was handed on before would be twice there.
    #[tokio::test]
    async fn the_part_of_a_torn_write_is_handed_on_once() {
        let injector = Injector::new(on::write().take(1).torn(Part::Bytes(4), EIO));
        let slow = Slow { at_once: Some(1), ..Slow::default() };
        let mut file = FaultFile::armed(slow, &injector, "slow");
        assert_eq!(file.write(b"abcdef").await.unwrap_err().raw_os_error(), Some(EIO.raw()));
        assert_eq!(file.get_ref().data, b"a");
    }

    #[tokio::test]
    async fn a_call_that_fails_before_its_effect_has_none() {
        let injector = Injector::new(on::set_len().take(1).fail(ENOSPC));
        let file = armed(&injector);
        assert_eq!(file.set_len(7).await.unwrap_err().raw_os_error(), Some(ENOSPC.raw()));
        assert_eq!(file.get_ref().metadata().await.unwrap().len(), 0);
        file.set_len(7).await.unwrap();
        assert_eq!(file.get_ref().metadata().await.unwrap().len(), 7);
    }

    #[tokio::test]
    async fn an_op_is_judged_once_however_often_it_is_polled() {
        let injector = Injector::new([
            on::write().skip(1).take(1).short(1),
            on::read().skip(1).take(1).short(2),
        ]);
        let mut file = FaultFile::armed(Slow::default(), &injector, "slow");
        assert_eq!(file.write(b"abc").await.unwrap(), 3);
        assert_eq!(file.write(b"def").await.unwrap(), 1);
        assert_eq!(file.write(b"ef").await.unwrap(), 2);
        assert_eq!(file.get_ref().data, b"abcdef");
        let mut buf = [0; 3];
        assert_eq!(file.read(&mut buf).await.unwrap(), 3);
        assert_eq!(file.read(&mut buf).await.unwrap(), 2);
        assert_eq!(file.read(&mut buf).await.unwrap(), 1);
        injector.finish().unwrap();
    }
}

mod raft {
    use super::*;
    use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission, WriteExt};
    use raft_engine::{Config, Engine, LogBatch};
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::path::Path;
    use std::sync::Mutex;

    type Faulty = FaultFileSystem<DefaultFileSystem>;

    fn open(folder: &std::path::Path, injector: &Injector) -> raft_engine::Result<Engine<Faulty>> {
        let dir = folder.to_str().unwrap().into();
        let config = Config { dir, ..Config::default() };
        let files = FaultFileSystem::new(DefaultFileSystem, injector);
        Engine::open_with_file_system(config, Arc::new(files))
    }

    fn put(engine: &Engine<Faulty>, key: u8) -> raft_engine::Result<usize> {
        let mut batch = LogBatch::default();
        batch.put(1, vec![key], vec![key; 50])?;
        engine.write(&mut batch, true)
    }

    #[test]
    fn what_was_written_beside_faults_is_there_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let injector = Injector::default();
        let engine = open(folder.path(), &injector).unwrap();
        put(&engine, 1).unwrap();
        // The part that was written must be overwritten by the next record, or it ends the log.
        injector.arm(on::write().path("*.raftlog").take(1).torn(Part::Bytes(9), ENOSPC));
        put(&engine, 2).unwrap_err();
        injector.finish().unwrap();
        put(&engine, 3).unwrap();
        drop(engine);
        let engine = open(folder.path(), &Injector::default()).unwrap();
        let found: Vec<u8> = (1..=3).filter(|key| engine.get(1, &[*key]).is_some()).collect();
        assert_eq!(found, [1, 3]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error_of_the_engine() {
        let folder = tempfile::tempdir().unwrap();
        let injector = Injector::new(on::create().path("*.raftlog").take(1).fail(ENOSPC));
        assert!(open(folder.path(), &injector).is_err());
        injector.finish().unwrap();
        drop(open(folder.path(), &Injector::default()).unwrap());
        let injector = Injector::new(on::open().path("*.raftlog").take(1).fail(EIO));
        assert!(open(folder.path(), &injector).is_err());
        injector.finish().unwrap();
    }

    /// Every call that can fail, once so and once as it should: what fails does not reach the filesystem below, and
    /// the other does.
    #[test]
    fn each_call_fails_once_and_then_reaches_what_is_below() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name| folder.path().join(name);
        let injector = Injector::new([
            on::create().take(1).fail(ENOSPC),
            on::open().take(1).fail(EIO),
            on::read().path("log").take(1).fail(EIO),
            on::write().path("log").take(1).fail(EIO),
            on::sync().path("log").take(1).fail(EIO),
            on::set_len().path("log").take(1).fail(ENOSPC),
            on::set_len().path("log").skip(2).take(1).fail(ENOSPC),
            on::set_len().path("log").skip(4).take(1).fail(ENOSPC),
            on::rename().path("log").take(1).fail(EIO),
            on::rename().path("old").take(1).fail(EIO),
            on::remove().take(1).fail(EIO),
        ]);
        let noted = Noted::default();
        let files = FaultFileSystem::new(noted.clone(), &injector);
        /// The call fails, then it does not, and only then was anything to be noted.
        fn twice<T>(noted: &Noted, call: &str, mut act: impl FnMut() -> io::Result<T>) -> T {
            noted.take();
            assert!(act().is_err(), "{call}");
            assert_eq!(noted.take(), [""; 0], "{call} failed, and was done");
            let done = act().unwrap();
            assert_eq!(noted.take(), [call]);
            done
        }
        let handle = Arc::new(twice(&noted, "create log", || files.create(at("log"))));
        let mut writer = files.new_writer(handle.clone()).unwrap();
        twice(&noted, "write 6", || writer.write_all(b"record"));
        twice(&noted, "sync", || handle.sync());
        twice(&noted, "truncate to 5", || handle.truncate(5));
        twice(&noted, "writer truncates to 4", || writer.truncate(4));
        twice(&noted, "allocate 0..4096", || writer.allocate(0, 4096));
        writer.seek(SeekFrom::Start(1)).unwrap();
        writer.write_all(b"E").unwrap();
        assert_eq!(noted.take(), ["seek", "write 1"]);
        assert_eq!(handle.file_size().unwrap() as u64, at("log").metadata().unwrap().len());
        let (mut reader, mut read) = (files.new_reader(handle.clone()).unwrap(), [0; 4]);
        reader.read_exact(&mut read).unwrap_err();
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, *b"rEco");
        twice(&noted, "open log", || files.open(at("log"), Permission::ReadWrite));
        twice(&noted, "rename log to old", || files.rename(at("log"), at("old")));
        twice(&noted, "reuse old as new", || files.reuse(at("old"), at("new")));
        assert!(files.exists_metadata(at("new")), "its name is in the notes below");
        files.delete_metadata(at("new")).unwrap();
        assert_eq!(noted.take(), ["exists new", "forget new"]);
        twice(&noted, "delete new", || files.delete(at("new")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        injector.finish().unwrap();
    }

    /// raft-engine's own filesystem, with notes of what reaches it.
    #[derive(Clone, Default)]
    struct Noted(Arc<Mutex<Vec<String>>>);

    impl Noted {
        fn note(&self, call: impl Into<String>) {
            self.0.lock().unwrap().push(call.into());
        }

        /// What has reached it since.
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    fn name(path: &impl AsRef<Path>) -> String {
        path.as_ref().file_name().unwrap().to_str().unwrap().into()
    }

    /// A file of it.
    struct NotedFile<F>(F, Noted);

    type Inner = <DefaultFileSystem as FileSystem>::Handle;
    type InnerWriter = <DefaultFileSystem as FileSystem>::Writer;

    impl FileSystem for Noted {
        type Handle = NotedFile<Arc<Inner>>;
        type Reader = <DefaultFileSystem as FileSystem>::Reader;
        type Writer = NotedFile<InnerWriter>;

        fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<Self::Handle> {
            self.note(format!("create {}", name(&path)));
            Ok(NotedFile(Arc::new(DefaultFileSystem.create(path)?), self.clone()))
        }

        fn open<P: AsRef<Path>>(&self, path: P, how: Permission) -> io::Result<Self::Handle> {
            self.note(format!("open {}", name(&path)));
            Ok(NotedFile(Arc::new(DefaultFileSystem.open(path, how)?), self.clone()))
        }

        fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
            self.note(format!("delete {}", name(&path)));
            DefaultFileSystem.delete(path)
        }

        fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
            self.note(format!("rename {} to {}", name(&from), name(&to)));
            DefaultFileSystem.rename(from, to)
        }

        fn reuse<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
            self.note(format!("reuse {} as {}", name(&from), name(&to)));
            DefaultFileSystem.rename(from, to)
        }

        fn delete_metadata<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
            self.note(format!("forget {}", name(&path)));
            Ok(())
        }

        fn exists_metadata<P: AsRef<Path>>(&self, path: P) -> bool {
            self.note(format!("exists {}", name(&path)));
            true
        }

        fn new_reader(&self, handle: Arc<Self::Handle>) -> io::Result<Self::Reader> {
            DefaultFileSystem.new_reader(handle.0.clone())
        }

        fn new_writer(&self, handle: Arc<Self::Handle>) -> io::Result<Self::Writer> {
            Ok(NotedFile(DefaultFileSystem.new_writer(handle.0.clone())?, self.clone()))
        }
    }

    impl Handle for NotedFile<Arc<Inner>> {
        fn truncate(&self, len: usize) -> io::Result<()> {
            self.1.note(format!("truncate to {len}"));
            self.0.truncate(len)
        }

        fn file_size(&self) -> io::Result<usize> {
            self.0.file_size()
        }

        fn sync(&self) -> io::Result<()> {
            self.1.note("sync");
            self.0.sync()
        }
    }

    impl WriteExt for NotedFile<InnerWriter> {
        fn truncate(&mut self, len: usize) -> io::Result<()> {
            self.1.note(format!("writer truncates to {len}"));
            self.0.truncate(len)
        }

        fn allocate(&mut self, offset: usize, size: usize) -> io::Result<()> {
            self.1.note(format!("allocate {offset}..{}", offset + size));
            self.0.allocate(offset, size)
        }
    }

    impl Write for NotedFile<InnerWriter> {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.1.note(format!("write {}", buf.len()));
            self.0.write(buf)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    impl Seek for NotedFile<InnerWriter> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.1.note("seek");
            self.0.seek(to)
        }
    }
}
