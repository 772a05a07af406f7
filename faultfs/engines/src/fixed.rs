//! The releases that mended what is found in those of `affected`: they hold.

use faultfs::verdict::Verdict::Held;

use crate::{Engine, atomic_writes, lsm_tree, redb};

pub(crate) const ENGINES: &[Engine] = &[
    Engine {
        name: "atomicwrites 0.4.4",
        run: atomic_writes::run,
        check: atomic_writes::check,
        expected: [Held; 4],
        lost: [""; 4],
    },
    Engine {
        name: "redb 4.6.0",
        run: redb::run,
        check: redb::check,
        expected: [Held; 4],
        lost: [""; 4],
    },
    Engine {
        name: "lsm-tree 2.10.4",
        run: lsm_tree::run,
        check: lsm_tree::check,
        expected: [Held; 4],
        lost: [""; 4],
    },
];
