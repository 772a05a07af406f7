//! Real engines, unmodified, through every power cut, each with the verdicts that were written down for it.
//!
//! Three packages build this one program, since two releases of a crate cannot be linked together where they
//! are compatible by number, each with a lock file of its own: `affected`, releases with a known bug; `fixed`,
//! those that mended it; `survey`, what was current when it was looked at, known bug or not. Words after the
//! command choose the engines whose names have one of them.

#[cfg(not(feature = "survey"))]
mod atomic_writes;
#[cfg(not(feature = "survey"))]
mod lsm_tree;
#[cfg(not(feature = "survey"))]
mod redb;
#[cfg(feature = "affected")]
mod sled;

#[cfg(feature = "affected")]
#[path = "affected.rs"]
mod list;
#[cfg(feature = "fixed")]
#[path = "fixed.rs"]
mod list;
#[cfg(feature = "survey")]
#[path = "survey/mod.rs"]
mod list;

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
    /// Under each, words of what the first counter-example lost; empty where nothing has to be lost, or is.
    lost: [&'static str; 4],
}

#[cfg(not(feature = "affected"))]
impl Engine {
    /// One that holds under every profile.
    const fn holds(
        name: &'static str,
        run: fn(&Path) -> Result<(), Broken>,
        check: fn(&Path, &Marks) -> Result<(), Broken>,
    ) -> Engine {
        Engine { name, run, check, expected: [Verdict::Held; 4], lost: [""; 4] }
    }
}

/// Those for which the verdicts were written down.
const PROFILES: [Profile; 4] =
    [Profile::POSIX, Profile::EXT4, Profile::DATA_JOURNAL, Profile::PROCESS_KILL];

fn main() -> ExitCode {
    let mut surprises = 0;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |engine: &&Engine| {
        words.is_empty() || words.iter().any(|word| engine.name.contains(word.as_str()))
    };
    for engine in list::ENGINES.iter().filter(chosen) {
        let reports = faultfs_interpose::explore(engine.run)
            .named(engine.name)
            .profiles(PROFILES)
            .reports(engine.check)
            .unwrap_or_else(|error| panic!("{}: {error}", engine.name));
        for ((report, expected), lost) in reports.iter().zip(engine.expected).zip(engine.lost) {
            let first = report.failures.iter().find(|failure| failure.verdict == expected);
            let losses = first.iter().flat_map(|failure| &failure.losses);
            let omitted: Vec<String> = losses.map(Loss::to_string).collect();
            println!(
                "{:<23} {:<12} {:<10} {:>6} states  {}",
                engine.name,
                report.profile,
                report.verdict,
                report.distinct,
                omitted.join("; ")
            );
            if !as_expected(report, expected, lost, &omitted) {
                println!("NOT EXPECTED ({expected}):\n{report}");
                surprises += 1;
            }
        }
    }
    ExitCode::from(u8::from(surprises > 0))
}

fn as_expected(report: &Report, expected: Verdict, lost: &str, omitted: &[String]) -> bool {
    let shown = match lost {
        "" => omitted.is_empty(),
        _ => (1..=2).contains(&omitted.len()) && omitted[0].contains(lost),
    };
    report.verdict == expected && (expected == Verdict::Held || shown)
}

/// Every acknowledged id is there.
#[cfg(not(feature = "survey"))]
fn all_there(found: &[u64], marks: &Marks) -> Result<(), Broken> {
    match marks.acked.iter().find(|id| !found.contains(id)) {
        Some(id) => Err(Broken::lost(format!("{id} was acknowledged, there are {found:?}"))),
        None => Ok(()),
    }
}
