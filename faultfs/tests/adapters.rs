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
    struct Slow {
        polls: u32,
        data: Vec<u8>,
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
            self.data.extend_from_slice(buf);
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn an_op_is_judged_once_however_often_it_is_polled() {
        let injector = Injector::new([
            on::write().skip(1).take(1).short(1),
            on::read().skip(1).take(1).short(2),
        ]);
        let mut file = FaultFile::armed(Slow { polls: 0, data: Vec::new() }, &injector, "slow");
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
    use raft_engine::env::{DefaultFileSystem, FileSystem, Handle};
    use raft_engine::{Config, Engine, LogBatch};
    use std::io::{Read, Write};

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

    #[test]
    fn each_call_fails_once_and_then_does_its_work() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let injector = Injector::new([
            on::sync().take(1).fail(EIO),
            on::read().take(1).fail(EIO),
            on::set_len().take(1).fail(ENOSPC),
            on::remove().take(1).fail(EIO),
        ]);
        let files = FaultFileSystem::new(DefaultFileSystem, &injector);
        let handle = Arc::new(files.create(&path).unwrap());
        files.new_writer(handle.clone()).unwrap().write_all(b"record").unwrap();
        handle.sync().unwrap_err();
        handle.sync().unwrap();
        let (mut reader, mut read) = (files.new_reader(handle.clone()).unwrap(), [0; 6]);
        reader.read_exact(&mut read).unwrap_err();
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, *b"record");
        handle.truncate(3).unwrap_err();
        handle.truncate(3).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"rec");
        files.delete(&path).unwrap_err();
        assert!(path.exists());
        files.delete(&path).unwrap();
        assert!(!path.exists());
        injector.finish().unwrap();
    }
}
