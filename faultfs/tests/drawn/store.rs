//! Drawn workloads: an engine whose bug needs its ops in some order, and its exploration.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use faultfs::fs::File;
use faultfs::oracle::KeyValue;
use faultfs::{FaultFs, explore};

/// What is asked of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, arbitrary::Arbitrary)]
pub(crate) enum Op {
    Put(u8, u8),
    Remove(u8),
    /// The log is written anew, with what it comes to.
    Compact,
    /// Nothing is kept open.
    Reopen,
}

/// A store of keys and values: a log of changes with a checksum each.
struct Store {
    fs: FaultFs,
    log: File,
    content: BTreeMap<u8, u8>,
    /// The directory is synced after the log was put in the place of another.
    syncs_names: bool,
}

impl Store {
    fn open(fs: &FaultFs, syncs_names: bool) -> io::Result<Store> {
        let fs = fs.clone();
        if !fs.exists("log")? {
            fs.create("log")?;
            fs.sync_dir(".")?;
        }
        let content = read(&fs)?;
        let log = fs.open_with("log", faultfs::fs::OpenOptions::new().append(true))?;
        Ok(Store { fs, log, content, syncs_names })
    }

    fn apply(mut self, op: Op) -> io::Result<Store> {
        match op {
            Op::Put(key, value) => self.change(key, Some(value))?,
            Op::Remove(key) => self.change(key, None)?,
            // Of nothing there is nothing to compact.
            Op::Compact if self.content.is_empty() => {}
            Op::Compact => {
                let mut new = self.fs.create("new")?;
                for (key, value) in &self.content {
                    new.write_all(&record(*key, Some(*value)))?;
                }
                new.sync_all()?;
                self.fs.rename("new", "log")?;
                if self.syncs_names {
                    self.fs.sync_dir(".")?;
                }
                self.log = new;
            }
            Op::Reopen => return Store::open(&self.fs, self.syncs_names),
        }
        Ok(self)
    }

    fn change(&mut self, key: u8, value: Option<u8>) -> io::Result<()> {
        self.log.write_all(&record(key, value))?;
        self.log.sync_data()?;
        apply(&mut self.content, key, value);
        Ok(())
    }
}

fn apply(content: &mut BTreeMap<u8, u8>, key: u8, value: Option<u8>) {
    match value {
        Some(value) => content.insert(key, value),
        None => content.remove(&key),
    };
}

fn record(key: u8, value: Option<u8>) -> [u8; 4] {
    let (kind, value) = value.map_or((1, 0), |value| (2, value));
    [key, kind, value, !(key ^ kind ^ value)]
}

fn read(fs: &FaultFs) -> io::Result<BTreeMap<u8, u8>> {
    let bytes = if fs.exists("log")? { fs.read("log")? } else { Vec::new() };
    let mut content = BTreeMap::new();
    for &[key, kind, value, sum] in bytes.as_chunks().0 {
        if sum != !(key ^ kind ^ value) {
            break;
        }
        apply(&mut content, key, (kind == 2).then_some(value));
    }
    Ok(content)
}

/// Does the ops one after the other and looks at every disk that a power cut may leave.
pub(crate) fn explored(
    ops: &[Op],
    syncs_names: bool,
    traces: &Path,
    tokens: &[String],
) -> faultfs::Result<()> {
    let changes = |id: u64| match ops[id as usize] {
        Op::Put(key, value) => vec![(key, Some(value))],
        Op::Remove(key) => vec![(key, None)],
        Op::Compact | Op::Reopen => vec![],
    };
    let exploration = explore(|fs| {
        let mut store = Store::open(fs, syncs_names)?;
        for (id, op) in (0..).zip(ops) {
            fs.begin(id);
            store = store.apply(*op)?;
            fs.ack(id);
        }
        Ok(())
    });
    exploration
        .named("store")
        .given(ops)
        .traces(traces)
        .tokens(tokens)
        .budget(150)
        .samples(20)
        .in_process()
        .try_check(|fs, marks| KeyValue::of(changes).check(&read(fs)?, marks))
}
