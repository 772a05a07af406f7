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
mod persy;
mod rusty_leveldb;

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
];
