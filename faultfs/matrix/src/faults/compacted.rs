//! A store with a table for each record, whose compaction removes those that newer ones have replaced; with
//! one planted mistake in how it answers what the compaction meets, or none.
//!
//! Compaction runs beside the work that was asked for: nobody waits for it, and nobody is told of its errors.

use std::collections::BTreeMap;
use std::io;

use faultfs::trace::{Mark, Marks};
use faultfs::verdict::Broken;

use super::files::{self, Files};

/// What the engine does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Nothing: the fixed twin.
    None,
    /// B55: where a replaced table cannot be read, the store takes no more.
    StopsAll,
}

const TABLES: u64 = 8;
const KEYS: u64 = 2;
const RECORDS: u64 = 4;

struct Store<'a, F: Files> {
    fs: &'a F,
    /// The key and value of each table.
    tables: BTreeMap<u64, (u64, u64)>,
    /// What an attempt may have left under a number is in nobody's way: each has its own.
    next: u64,
    stopped: bool,
    bug: Bug,
}

fn name(table: u64) -> String {
    format!("table-{table}")
}

impl<F: Files> Store<'_, F> {
    fn open(fs: &F, bug: Bug) -> io::Result<Store<'_, F>> {
        // A removal may be in memory only.
        fs.sync_dir()?;
        let (mut tables, mut next) = (BTreeMap::new(), 0);
        for table in 0..TABLES {
            if fs.exists(&name(table))? {
                next = table + 1;
                // One that is not whole was promised to nobody.
                tables.extend(read(fs, table)?.map(|record| (table, record)));
            }
        }
        Ok(Store { fs, tables, next, stopped: false, bug })
    }

    fn put(&mut self, key: u64, value: u64) -> io::Result<()> {
        if self.stopped {
            return Err(io::Error::other("a compaction failed"));
        }
        let table = self.next;
        self.next += 1;
        let body = [key.to_le_bytes(), value.to_le_bytes()].concat();
        let sum = u64::from(crc32fast::hash(&body)).to_le_bytes();
        files::write_new(self.fs, &name(table), &[&sum, &body[..]].concat())?;
        self.fs.sync_dir()?;
        self.tables.insert(table, (key, value));
        Ok(())
    }

    fn get(&self, key: u64) -> Option<u64> {
        let newest = self.tables.values().rev().find(|(of, _)| *of == key);
        newest.map(|(_, value)| *value)
    }

    /// Removes the first table whose key has a newer one.
    fn compact(&mut self) {
        let of = |table: &u64| self.tables[table].0;
        let replaced =
            |table: &&u64| self.tables.range(*table + 1..).any(|(_, t)| t.0 == of(table));
        let Some(&table) = self.tables.keys().find(replaced) else { return };
        let done = read(self.fs, table).and_then(|_| self.fs.remove(&name(table)));
        match done {
            Ok(()) => drop(self.tables.remove(&table)),
            // It stays where it is, and a later compaction may have more luck.
            Err(_) => self.stopped = self.bug == Bug::StopsAll,
        }
    }
}

/// The key and value of a table; none where it is not whole.
fn read(fs: &impl Files, table: u64) -> io::Result<Option<(u64, u64)>> {
    let bytes = files::read_all(&fs.open(&name(table))?)?;
    let ([sum, key, value], []) = bytes.as_chunks().0.split_at(3.min(bytes.len() / 8)) else {
        return Ok(None);
    };
    let sound = u64::from_le_bytes(*sum) == u64::from(crc32fast::hash(&bytes[8..]));
    Ok(sound.then(|| (u64::from_le_bytes(*key), u64::from_le_bytes(*value))))
}

/// Two values for each of two keys, with a compaction before the last.
pub(crate) fn workload(fs: &impl Files, bug: Bug) -> Result<(), Broken> {
    let mut store = Store::open(fs, bug)?;
    for id in 0..RECORDS {
        if id == RECORDS - 1 {
            store.compact();
        }
        fs.mark(Mark::Begin(id));
        if let Err(error) = put_again(&mut store, id) {
            // What a new start takes at once, the store could have taken all the time.
            let restarted = Store::open(fs, bug).and_then(|mut new| new.put(id % KEYS, id));
            return Err(match restarted {
                Ok(()) => {
                    Broken::lost(format!("it took no more until it was started anew: {error}"))
                }
                Err(_) => error.into(),
            });
        }
        fs.mark(Mark::Ack(id));
    }
    Ok(())
}

/// An error is no reason not to ask once more.
fn put_again(store: &mut Store<'_, impl Files>, id: u64) -> io::Result<()> {
    store.put(id % KEYS, id).or_else(|_| store.put(id % KEYS, id))
}

/// Each key has the last value that was acknowledged for it, or one that was asked for later.
pub(crate) fn check(fs: &impl Files, marks: &Marks, bug: Bug) -> Result<(), Broken> {
    let store = Store::open(fs, bug)?;
    for key in 0..KEYS {
        let found = store.get(key);
        let of_key = |ids: &std::collections::BTreeSet<u64>| -> Vec<u64> {
            ids.iter().copied().filter(|id| id % KEYS == key).collect()
        };
        let acked = of_key(&marks.acked).into_iter().max();
        let words = format!("key {key} has {found:?}, acknowledged was {acked:?}");
        match (found, acked) {
            (Some(found), _) if !of_key(&marks.issued).contains(&found) => {
                return Err(Broken::corrupt(words));
            }
            (found, Some(acked)) if found.is_none_or(|found| found < acked) => {
                return Err(Broken::lost(words));
            }
            _ => {}
        }
    }
    Ok(())
}
