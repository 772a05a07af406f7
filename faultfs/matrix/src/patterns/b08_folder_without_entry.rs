//! B08: a folder is made, the file in it and the folder are synced, the folder above is not
//! (CockroachDB issue 114411).

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, durable, frame, payload, promise, read, unframe};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B08",
    name: "a folder whose entry is not durable",
    run,
    check,
    dies: |profile| !profile.safe_file_flush,
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    fs.create_dir("dbs")?;
    fs.sync_dir(".")?;
    for id in 1..=2 {
        promise(fs, id, || {
            fs.create_dir(format!("dbs/{id}"))?;
            durable(fs, &format!("dbs/{id}/data"), &frame(&payload(id, 600)))?;
            if twin.planted() { Ok(()) } else { fs.sync_dir("dbs") }
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let names = (1..=2).map(|id| format!("dbs/{id}/data"));
    let found = names.map_while(|name| unframe(&read(fs, &name)).map(|(data, _)| data.to_vec()));
    Log::of(|id| payload(id, 600)).check(&found.collect::<Vec<_>>(), marks)
}
