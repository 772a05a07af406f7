//! B07: a folder is built aside and renamed into place; the folder itself is synced, not the one
//! that holds its name (CrashMonkey, Pathfinder).

use faultfs::FaultFs;
use faultfs::oracle::Log;
use faultfs::trace::Marks;

use crate::Pattern;
use crate::kit::{Done, Twin, durable, frame, payload, promise, read, unframe};

pub(crate) const PATTERN: Pattern = Pattern {
    id: "B07",
    name: "the wrong directory is synced",
    run,
    check,
    dies: |profile| !profile.process_only && !profile.intent_log,
};

fn run(fs: &FaultFs, twin: Twin) -> Done {
    fs.create_dir("dbs")?;
    fs.sync_dir(".")?;
    for id in 1..=2 {
        promise(fs, id, || {
            let (aside, name) = (format!("dbs/{id}.new"), format!("dbs/{id}"));
            fs.create_dir(&aside)?;
            durable(fs, &format!("{aside}/data"), &frame(&payload(id, 600)))?;
            fs.sync_dir("dbs")?;
            fs.rename(&aside, &name)?;
            fs.sync_dir(if twin.planted() { &name } else { "dbs" })
        })?;
    }
    Ok(())
}

fn check(fs: &FaultFs, _: Twin, marks: &Marks) -> Done {
    let names = (1..=2).map(|id| format!("dbs/{id}/data"));
    let found = names.map_while(|name| unframe(&read(fs, &name)).map(|(data, _)| data.to_vec()));
    Log::of(|id| payload(id, 600)).check(&found.collect::<Vec<_>>(), marks)
}
