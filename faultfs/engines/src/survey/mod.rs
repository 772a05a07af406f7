//! Engines as they were published when they were looked at. What breaks its promise was compared with its
//! source, as the comments say; nobody had reported it where we looked.

mod atomic_write_file;
mod canopydb;
mod fjall;
mod jammdb;
mod lmdb;
mod nebari;
mod okaywal;
mod pairs;
mod parity_db;
mod persy;
mod rusty_leveldb;
mod surrealkv;
mod tantivy;
mod turso;

use faultfs::verdict::Verdict::{Corrupt, Held, Lost, Panicked, Unopenable};

use crate::Engine;

pub(crate) const ENGINES: &[Engine] = &[
    Engine::holds("atomic-write-file 0.3.1", atomic_write_file::run, atomic_write_file::check),
    Engine::holds("canopydb 0.2.5", canopydb::run, canopydb::check),
    Engine::holds("fjall 3.1.13", fjall::run, fjall::check),
    Engine::holds("LMDB (heed 0.22.1)", lmdb::run, lmdb::check),
    // A commit writes its pages and the meta page that points to them, and then syncs once
    // (`TransactionInner::write_data`): the meta page may be durable without them. Its documentation promises
    // ACID transactions.
    Engine {
        name: "jammdb 0.11.0",
        run: jammdb::run,
        check: jammdb::check,
        expected: [Corrupt, Corrupt, Held, Held],
        lost: ["write db"; 4],
    },
    // `prepare` writes the records and the note in the journal that they are prepared, and then syncs once
    // (`TransactionImpl::prepare`); `open` commits whatever is noted as prepared (`Persy::open`). Without any
    // loss it panics where it died between that sync and the commit's end: an assertion of its own, of debug
    // builds (`Allocator::write_page`). Its documentation promises that data persists in case of a crash.
    Engine {
        name: "persy 1.8.1",
        run: persy::run,
        check: persy::check,
        expected: [Corrupt, Corrupt, Panicked, Panicked],
        lost: ["write db", "write db", "", ""],
    },
    // No folder is ever synced: the log of transactions may have no name. Alpha, by its own words.
    Engine {
        name: "nebari 0.5.5",
        run: nebari::run,
        check: nebari::check,
        expected: [Lost, Held, Held, Held],
        lost: ["entry"; 4],
    },
    // A write that ended half-way is enough: of an entry that is not whole, which nobody was promised, the crate
    // says that recovery is given none of its chunks, and it is given the error of a checksum
    // (`Entry::read_all_chunks`), with which opening fails. Early in its development, by its own words.
    Engine {
        name: "okaywal 0.3.1",
        run: okaywal::run,
        check: okaywal::check,
        expected: [Unopenable; 4],
        lost: ["write log/wal-1"; 4],
    },
    // Nothing is ever synced: the `sync` of a write flushes what stands before the file
    // (`DB::write`, `LogWriter::flush`), which for a file does nothing. Its documentation says that it is on disk.
    Engine {
        name: "rusty-leveldb 4.0.2",
        run: rusty_leveldb::run,
        check: rusty_leveldb::check,
        expected: [Lost, Lost, Lost, Held],
        lost: ["db/000003.log"; 4],
    },
    // The file that says how the tables are made is written and never synced (`Options::write_metadata_file`), nor is
    // any folder: a log that was synced may have no name, and a table that it led to be changed none either. Its
    // documentation promises a consistent state after an interruption at any point.
    Engine {
        name: "parity-db 0.5.7",
        run: parity_db::run,
        check: parity_db::check,
        expected: [Corrupt, Unopenable, Held, Held],
        lost: ["directory entry", "size of db/metadata", "", ""],
    },
    // Of stale bytes behind the end of the log, nothing of which was acknowledged, one is read as the type of a
    // record: what is no type is the error of a wrong argument, not of a damaged tail (`RecordType::from_u8`), and
    // the search for the tail passes it on (`TailCheck::run`). Its documentation says that a torn tail is trimmed.
    Engine {
        name: "surrealkv 1.2.0",
        run: surrealkv::run,
        check: surrealkv::check,
        expected: [Unopenable, Held, Held, Held],
        lost: ["stale bytes for: write db/wal"; 4],
    },
    // The folder is synced, and then `meta.json` is renamed over the one before (`save_metas`): the rename is what
    // commits, and nothing waits for it. Its documentation says that a commit is persisted when it returns.
    Engine {
        name: "tantivy 0.27.0",
        run: tantivy::run,
        check: tantivy::check,
        expected: [Lost, Lost, Lost, Held],
        lost: ["to index/meta.json"; 4],
    },
    // No folder is synced, where SQLite syncs it for a new log: the database and its log may have no names. A caller
    // who syncs the folder after the open has it hold.
    Engine {
        name: "turso 0.8.3",
        run: turso::run,
        check: turso::check,
        expected: [Lost, Held, Held, Held],
        lost: ["directory entry"; 4],
    },
];
