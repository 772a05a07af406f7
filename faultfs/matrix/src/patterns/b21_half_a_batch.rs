//! B21: the changes of a batch are records of their own, and nothing tells where the batch ends
//! (what raft-engine's atomic groups are for).

use std::collections::BTreeMap;
use std::io::Write;

use faultfs::FaultFs;
use faultfs::oracle::KeyValue;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, durable, frame, number, promise, read, records};

pub(crate) const PATTERN: Pattern =
    Pattern { id: "B21", name: "half a batch", run, check, dies: |_| true };

fn run(fs: &FaultFs, twin: Twin) -> Done {
    let mut log = durable(fs, "log", b"")?;
    for id in 1..=3 {
        promise(fs, id, || {
            let changes = batch(id).into_iter().map(|(key, _)| key.to_le_bytes().to_vec());
            let records: Vec<Vec<u8>> = match twin {
                Twin::Planted => changes.collect(),
                Twin::Fixed => vec![changes.flatten().collect()],
            };
            records.iter().try_for_each(|record| log.write_all(&frame(record)))?;
            log.sync_data()
        })?;
    }
    Ok(())
}

/// Each batch sets two keys to its number.
fn batch(id: u64) -> Vec<(u64, Option<u64>)> {
    vec![(id, Some(id)), (id + 100, Some(id))]
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let records = records(&read(fs, "log"));
    let keys = records.iter().flat_map(|record| record.chunks_exact(8));
    let keys = keys.map(|key| u64::from(number(&key[..4])));
    let found: BTreeMap<u64, u64> = keys.map(|key| (key, key % 100)).collect();
    KeyValue::of(batch).check(&found, marks)
}
