//! The releases that mended what is found in those of `affected`: they hold.

use crate::{Engine, atomic_writes, lsm_tree, redb};

pub(crate) const ENGINES: &[Engine] = &[
    Engine::holds("atomicwrites 0.4.4", atomic_writes::run, atomic_writes::check),
    Engine::holds("redb 4.6.0", redb::run, redb::check),
    Engine::holds("lsm-tree 2.10.4", lsm_tree::run, lsm_tree::check),
];
