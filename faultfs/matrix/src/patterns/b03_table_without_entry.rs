//! B03: a table is written and synced, its directory is not, and a manifest elsewhere refers to it
//! (LevelDB's .ldb files, ZooKeeper's logs: ALICE).

use std::io::Write;

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, durable, frame, number, payload, promise, read, records};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B03",
    name: "a table whose entry is not durable",
    run,
    check,
    dies: |profile| !profile.safe_file_flush,
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    fs.create_dir("tables")?;
    fs.sync_dir(".")?;
    let mut manifest = durable(fs, "manifest", b"")?;
    for id in 1..=3 {
        promise(fs, id, || {
            let mut table = fs.create(format!("tables/{id}"))?;
            table.write_all(&payload(id, 600))?;
            table.sync_all()?;
            if !twin.planted() {
                fs.sync_dir("tables")?;
            }
            manifest.write_all(&frame(&payload(id, 8)))?;
            manifest.sync_all()
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let named = records(&read(fs, "manifest"));
    let numbers = named.iter().map(|record| number(&record[..4]));
    let tables: Vec<Vec<u8>> = numbers.map(|id| read(fs, &format!("tables/{id}"))).collect();
    Log::of(|id| payload(id, 600)).check(&tables, marks)
}
