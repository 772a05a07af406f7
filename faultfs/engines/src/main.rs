//! Real engines, unmodified, through every power cut: releases with a known bug, in which it must be found
//! and shown by one or two lost changes, and the releases that mended it, which must hold.
//!
//! Two packages build this one program, since two releases of a crate cannot be linked together where they
//! are compatible by number: `affected` and `fixed`, each with a lock file of its own.

mod atomic_writes;
mod lsm_tree;
mod redb;
#[cfg(feature = "affected")]
mod sled;

use std::path::Path;
use std::process::ExitCode;

use faultfs::Profile;
use faultfs::report::{Loss, Report};
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};

/// An engine with its workload and its oracle, and what must come out.
struct Engine {
    name: &'static str,
    run: fn(&Path) -> Result<(), Broken>,
    check: fn(&Path, &Marks) -> Result<(), Broken>,
    /// Under `posix`, `ext4`, `data-journal` and `process-kill`.
    expected: [Verdict; 4],
    /// Words of what the first counter-example lost.
    lost: &'static str,
}

#[cfg(feature = "affected")]
const ENGINES: [Engine; 4] = {
    use Verdict::{Held, Lost, Panicked};
    [
        // Renamed before it was synced: untitaker/rust-atomicwrites pull request 37.
        Engine {
            name: "atomicwrites 0.2.4",
            run: atomic_writes::run,
            check: atomic_writes::check,
            expected: [Lost, Lost, Held, Held],
            lost: "tmpfile.tmp",
        },
        // The file's growth is not ordered before the header: cberner/redb pull request 1276.
        Engine {
            name: "redb 4.1.0",
            run: redb::run,
            check: redb::check,
            expected: [Panicked, Panicked, Held, Held],
            lost: "size of db set",
        },
        // The manifest's temporary file is not synced, nor is the directory: fixed in lsm-tree 2.9.0.
        Engine {
            name: "lsm-tree 2.8.0",
            run: lsm_tree::run,
            check: lsm_tree::check,
            expected: [Lost, Lost, Lost, Held],
            lost: "db/",
        },
        // `flush` calls `sync_file_range`, which makes nothing durable: spacejam/sled issue 1452.
        Engine {
            name: "sled 0.34.7",
            run: sled::run,
            check: sled::check,
            expected: [Lost, Lost, Lost, Held],
            lost: "db/",
        },
    ]
};

#[cfg(not(feature = "affected"))]
const ENGINES: [Engine; 3] = {
    use Verdict::Held;
    [
        Engine {
            name: "atomicwrites 0.4.4",
            run: atomic_writes::run,
            check: atomic_writes::check,
            expected: [Held; 4],
            lost: "",
        },
        Engine {
            name: "redb 4.6.0",
            run: redb::run,
            check: redb::check,
            expected: [Held; 4],
            lost: "",
        },
        Engine {
            name: "lsm-tree 2.10.4",
            run: lsm_tree::run,
            check: lsm_tree::check,
            expected: [Held; 4],
            lost: "",
        },
    ]
};

/// Those for which the verdicts were written down.
const PROFILES: [Profile; 4] =
    [Profile::POSIX, Profile::EXT4, Profile::DATA_JOURNAL, Profile::PROCESS_KILL];

fn main() -> ExitCode {
    let mut surprises = 0;
    for engine in ENGINES {
        let reports = faultfs_interpose::explore(engine.run)
            .named(engine.name)
            .profiles(PROFILES)
            .reports(engine.check)
            .unwrap_or_else(|error| panic!("{}: {error}", engine.name));
        for (report, expected) in reports.iter().zip(engine.expected) {
            let first = report.failures.iter().find(|failure| failure.verdict == expected);
            let losses = first.iter().flat_map(|failure| &failure.losses);
            let omitted: Vec<String> = losses.map(Loss::to_string).collect();
            println!(
                "{:<18} {:<12} {:<9} {:>6} states  {}",
                engine.name,
                report.profile,
                report.verdict,
                report.distinct,
                omitted.join("; ")
            );
            if !as_expected(&engine, report, expected, &omitted) {
                println!("NOT EXPECTED ({expected}):\n{report}");
                surprises += 1;
            }
        }
    }
    ExitCode::from(u8::from(surprises > 0))
}

fn as_expected(engine: &Engine, report: &Report, expected: Verdict, omitted: &[String]) -> bool {
    let shown = (1..=2).contains(&omitted.len()) && omitted[0].contains(engine.lost);
    report.verdict == expected && (expected == Verdict::Held || shown)
}

/// Every acknowledged id is there.
fn all_there(found: &[u64], marks: &Marks) -> Result<(), Broken> {
    match marks.acked.iter().find(|id| !found.contains(id)) {
        Some(id) => Err(Broken::lost(format!("{id} was acknowledged, there are {found:?}"))),
        None => Ok(()),
    }
}
