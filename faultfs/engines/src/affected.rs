//! Releases with a known bug, which must be found, and shown by one or two lost changes.

use faultfs::verdict::Verdict::{Held, Lost, Panicked};

use crate::{Engine, atomic_writes, lsm_tree, redb, sled};

pub(crate) const ENGINES: &[Engine] = &[
    // Renamed before it was synced: untitaker/rust-atomicwrites pull request 37.
    Engine {
        name: "atomicwrites 0.2.4",
        run: atomic_writes::run,
        check: atomic_writes::check,
        expected: [Lost, Lost, Held, Held],
        lost: ["tmpfile.tmp"; 4],
    },
    // The file's growth is not ordered before the header: cberner/redb pull request 1276.
    Engine {
        name: "redb 4.1.0",
        run: redb::run,
        check: redb::check,
        expected: [Panicked, Panicked, Held, Held],
        lost: ["size of db set"; 4],
    },
    // The manifest's temporary file is not synced, nor is the directory: fixed in lsm-tree 2.9.0.
    Engine {
        name: "lsm-tree 2.8.0",
        run: lsm_tree::run,
        check: lsm_tree::check,
        expected: [Lost, Lost, Lost, Held],
        lost: ["db/levels"; 4],
    },
    // `flush` calls `sync_file_range`, which makes nothing durable: spacejam/sled issue 1452.
    Engine {
        name: "sled 0.34.7",
        run: sled::run,
        check: sled::check,
        expected: [Lost, Lost, Lost, Held],
        lost: ["db/db"; 4],
    },
];
