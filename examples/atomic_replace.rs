//! Replacing a file so that a crash leaves the old content or the new, never less: write aside, sync,
//! rename, sync the directory. One of the four steps left out, and the explorer shows the disk that
//! breaks the promise.
//!
//! `cargo run --example atomic_replace`

use std::io::{self, Write};
use std::process::ExitCode;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs::{FaultFs, Profile, explore};

/// The steps of a replacement that can be forgotten.
#[derive(Clone, Copy, PartialEq)]
enum Forgotten {
    Nothing,
    FileSync,
    DirectorySync,
}

fn replace(fs: &FaultFs, content: &str, forgotten: Forgotten) -> io::Result<()> {
    let mut file = fs.create("config.new")?;
    file.write_all(content.as_bytes())?;
    if forgotten != Forgotten::FileSync {
        file.sync_all()?;
    }
    fs.rename("config.new", "config")?;
    if forgotten != Forgotten::DirectorySync {
        fs.sync_dir(".")?;
    }
    Ok(())
}

/// What every recovery must find: the last acknowledged content, or a later one that was asked for.
fn check(fs: &FaultFs, marks: &Marks) -> Result<(), Broken> {
    let Some(acked) = marks.acked.last() else { return Ok(()) };
    let found = fs.read_to_string("config").unwrap_or_default();
    let allowed = marks.issued.range(acked..).any(|id| found == content(*id));
    if allowed {
        Ok(())
    } else {
        Err(Broken::lost(format!("found {found:?}, acknowledged {acked}")))
    }
}

fn content(id: u64) -> String {
    format!("version = {id}\n")
}

fn main() -> ExitCode {
    let mut surprises = 0;
    for (name, forgotten, losing) in [
        ("all four steps", Forgotten::Nothing, vec![]),
        // ext4 and btrfs protect a rename over an existing file, and the first one here meets none.
        ("no file sync", Forgotten::FileSync, Profile::MAIN[..4].to_vec()),
        ("no directory sync", Forgotten::DirectorySync, Profile::MAIN[..5].to_vec()),
    ] {
        let reports = explore(move |fs| {
            for id in 0..3 {
                fs.begin(id);
                replace(fs, &content(id), forgotten)?;
                fs.ack(id);
            }
            Ok(())
        })
        .named(name)
        .profiles(Profile::MAIN)
        .reports(check)
        .expect("the workload runs");
        for report in reports {
            println!("{report}");
            surprises += u32::from(report.held() == losing.contains(&report.profile));
        }
    }
    ExitCode::from(u8::from(surprises > 0))
}
