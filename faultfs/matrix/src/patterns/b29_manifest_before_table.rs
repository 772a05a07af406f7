//! B29: a table is written, a manifest that names it is synced, the table is not (HoraeDB issue
//! 394, GreptimeDB issue 184).

use std::io::Write;

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{
    Done, Twin, durable, frame, number, orders_appends, payload, promise, read, records,
};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B29",
    name: "a manifest names a table that is not durable",
    run,
    check,
    dies: |profile| !profile.process_only && !orders_appends(profile),
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    let mut manifest = durable(fs, "manifest", b"")?;
    for id in 1..=3 {
        promise(fs, id, || {
            let mut table = fs.create(format!("{id}.table"))?;
            table.write_all(&payload(id, 600))?;
            if !twin.planted() {
                table.sync_all()?;
            }
            fs.sync_dir(".")?;
            manifest.write_all(&frame(&payload(id, 8)))?;
            manifest.sync_data()
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let named = records(&read(fs, "manifest"));
    let numbers = named.iter().map(|record| number(&record[..4]));
    let tables: Vec<Vec<u8>> = numbers.map(|id| read(fs, &format!("{id}.table"))).collect();
    Log::of(|id| payload(id, 600)).check(&tables, marks)
}
