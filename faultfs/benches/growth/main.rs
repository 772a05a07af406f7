//! How an exploration grows with the length of the workload and with how much is unsynced at a time: states,
//! time, memory, and what pruning saves. A key-value store over `FaultFs`, checked in process; each run is a
//! process of its own, so that the peak of its memory is its own.
//!
//! - *whole*: no cap. What lists more than [`WHOLE_MAX`] states is cut off there, shown as such, and left out
//!   of the plot; longer workloads that would, by the states for each put so far, are not run.
//! - *usual*: the bound that tests have, 1,500 states.
//! - *memory*: the peak with the usual bound against what was written, and what each further byte takes.
//!
//! Each is run with pruning and without; the two reports must be equal, and hold.
//!
//! - *search*: an undo log that is cut at each commit and never synced, as long as all of its tiny writes: the
//!   steps that looking for states takes, and where the bound ends it.
//!
//! `cargo bench -p faultfs --bench growth` prints the table and draws `benches/growth.svg`.

mod plot;
mod store;
mod undo;

use std::cell::Cell;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use faultfs::{Profile, explore};

const OPS: [u64; 5] = [100, 300, 1_000, 3_000, 10_000];
const WINDOWS: [u64; 6] = [1, 2, 4, 8, 16, 32];
const PROFILES: [Profile; 2] = [Profile::POSIX, Profile::EXT4];
const REACHES: [Reach; 3] = [Reach::Whole(1), Reach::Whole(2), Reach::Usual];

/// States beyond which a run without a cap is too long for a bench.
const WHOLE_MAX: u64 = 30_000;

/// How far a run goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    /// All states with so many omissions or torn pages.
    Whole(u32),
    /// The usual bound.
    Usual,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reach::Whole(omissions) => write!(f, "k = {omissions}"),
            Reach::Usual => f.write_str("usual bound"),
        }
    }
}

/// What is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    profile: Profile,
    reach: Reach,
    /// Puts.
    ops: u64,
    /// Puts that wait for a sync at most.
    window: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
struct Measured {
    run: Run,
    /// Whether all states within the bound were checked.
    complete: bool,
    /// States as listed, and distinct ones, all of which have a verdict.
    listed: u64,
    distinct: u64,
    /// Times that recovery was run for them, with and without pruning.
    recoveries: u64,
    all_recoveries: u64,
    /// Wall time, and processor time with pruning and without.
    wall_s: f64,
    cpu_s: f64,
    all_cpu_s: f64,
    /// Peak of resident memory, with pruning.
    peak_bytes: u64,
    /// What the workload wrote.
    written_bytes: u64,
}

impl Measured {
    /// States for each recovery that pruning had run.
    fn saved(&self) -> f64 {
        self.all_recoveries as f64 / self.recoveries as f64
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [profile, reach, ops, window, prune] = &args[..] {
        let run = Run {
            profile: profile.parse().expect("a profile"),
            reach: reach.parse().map_or(Reach::Usual, Reach::Whole),
            ops: ops.parse().expect("a count"),
            window: window.parse().expect("a count"),
        };
        return explored(run, prune == "true");
    }
    if let [profile, writes] = &args[..] {
        return searched(profile.parse().expect("a profile"), writes.parse().expect("a count"));
    }
    println!(
        "{:<6} {:>6} {:>6} {:>6} {:>8} {:>8} {:>7} {:>6} {:>8} {:>8} {:>8} {:>7} {:>8} {:>8}",
        "",
        "bound",
        "puts",
        "window",
        "listed",
        "distinct",
        "recov.",
        "saved",
        "unpruned",
        "wall s",
        "cpu s",
        "µs each",
        "peak MiB",
        "written"
    );
    let mut all = Vec::new();
    for profile in PROFILES {
        for reach in REACHES {
            for window in WINDOWS {
                let mut each = 0;
                for ops in OPS {
                    if reach != Reach::Usual && each * ops > WHOLE_MAX {
                        break;
                    }
                    let measured = measured(Run { profile, reach, ops, window });
                    println!("{}", row(&measured));
                    each = measured.distinct / ops;
                    all.push(measured);
                }
            }
        }
    }
    memory();
    search();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/growth.svg");
    std::fs::write(&path, plot::svg(&all)).expect("the plot is written");
    println!("drawn: {}", path.display());
}

/// The peak of memory against what was written: the usual bound, a sync for each put. It is linear where
/// each further byte that is written takes as much as those before it.
fn memory() {
    println!("{:>8} {:>12} {:>10} {:>14}", "puts", "written MiB", "peak MiB", "further bytes");
    let mut before: Option<(u64, u64)> = None;
    for ops in [1_000, 3_000, 10_000, 30_000] {
        let run = Run { profile: Profile::POSIX, reach: Reach::Usual, ops, window: 1 };
        let [.., peak, written] = child(run, true);
        let further = before.map(|(peak_before, written_before)| {
            format!("{:.1}", (peak - peak_before) as f64 / (written - written_before) as f64)
        });
        let (written_mib, peak_mib) = (mebibytes(written), mebibytes(peak));
        let further = further.unwrap_or_default();
        println!("{ops:>8} {written_mib:>12.1} {peak_mib:>10.1} {further:>14}");
        before = Some((peak, written));
    }
}

/// The search for states where all of a run is unsynced at its end.
fn search() {
    println!(
        "{:<12} {:>7} {:>8} {:>12} {:>8} {:>8}   ends early",
        "", "writes", "distinct", "steps", "cpu s", "peak MiB"
    );
    for profile in [Profile::POSIX, Profile::EXT4, Profile::BTRFS, Profile::DATA_JOURNAL] {
        for writes in [1_000, 3_000, 10_000] {
            let output = Command::new(std::env::current_exe().expect("this program"))
                .args([profile.name, &writes.to_string()])
                .output()
                .expect("this program starts");
            let told = || String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{profile}, {writes}: {}", told());
            print!("{}", String::from_utf8(output.stdout).expect("a row"));
        }
    }
}

/// The child's side of it.
fn searched(profile: Profile, writes: u64) {
    let exploration = explore(|fs| undo::run(fs, writes).map(drop)).named("search").in_process();
    let reports = exploration.profiles([profile]).reports(|fs, _| undo::check(fs));
    let report = reports.expect("the workload runs").remove(0);
    assert!(report.held(), "{report}");
    let ended = report.coverage.iter().filter(|covered| covered.search_ended);
    println!(
        "{:<12} {writes:>7} {:>8} {:>12} {:>8.3} {:>8.1}   {}",
        profile.name,
        report.distinct,
        report.coverage.iter().map(|covered| covered.steps).sum::<u64>(),
        processor_ns() as f64 / 1e9,
        mebibytes(peak_bytes()),
        ended.map(|covered| &covered.states[..]).collect::<Vec<_>>().join(", "),
    );
}

fn row(m: &Measured) -> String {
    let bound = match m.run.reach {
        Reach::Whole(omissions) => format!("{omissions}{}", if m.complete { "" } else { " cut" }),
        Reach::Usual => "usual".into(),
    };
    format!(
        "{:<6} {bound:>6} {:>6} {:>6} {:>8} {:>8} {:>7} {:>6.1} {:>8.3} {:>8.3} {:>8.3} {:>7.1} {:>8.1} \
         {:>8.1}",
        m.run.profile.name,
        m.run.ops,
        m.run.window,
        m.listed,
        m.distinct,
        m.recoveries,
        m.saved(),
        m.all_cpu_s,
        m.wall_s,
        m.cpu_s,
        m.cpu_s * 1e6 / m.distinct as f64,
        mebibytes(m.peak_bytes),
        mebibytes(m.written_bytes),
    )
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// One run with pruning and one without, each in a process of its own.
fn measured(run: Run) -> Measured {
    let (pruned, all) = (child(run, true), child(run, false));
    let [report, complete, listed, distinct, recoveries, wall, cpu, peak, written] = pruned;
    assert_eq!(report, all[0], "{run:?}: pruning has changed the report");
    Measured {
        run,
        complete: complete == 1,
        listed,
        distinct,
        recoveries,
        all_recoveries: all[4],
        wall_s: wall as f64 / 1e9,
        cpu_s: cpu as f64 / 1e9,
        all_cpu_s: all[6] as f64 / 1e9,
        peak_bytes: peak,
        written_bytes: written,
    }
}

fn child(run: Run, prune: bool) -> [u64; 9] {
    let reach = match run.reach {
        Reach::Whole(omissions) => omissions.to_string(),
        Reach::Usual => "usual".into(),
    };
    let numbers = [run.ops, run.window].map(|number| number.to_string());
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([run.profile.name, &reach, &numbers[0], &numbers[1], &prune.to_string()])
        .output()
        .expect("this program starts");
    assert!(output.status.success(), "{run:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    let numbers: Vec<u64> = text.split_whitespace().map(|n| n.parse().expect(n)).collect();
    numbers.try_into().expect("nine numbers")
}

/// The child's side: prints a hash of the report, then what was measured.
fn explored(run: Run, prune: bool) {
    let (written, mut recoveries) = (Cell::new(0), 0u64);
    let since = Instant::now();
    let mut exploration = explore(|fs| {
        written.set(store::run(fs, run.ops, run.window)?);
        Ok(())
    })
    .named("growth")
    .in_process()
    .profiles([run.profile]);
    if let Reach::Whole(omissions) = run.reach {
        exploration = exploration.omissions(omissions).samples(0).budget(WHOLE_MAX);
    }
    if !prune {
        exploration = exploration.without_pruning();
    }
    let reports = exploration.reports(|fs, marks| {
        recoveries += 1;
        store::check(fs, marks)
    });
    let (wall, report) = (since.elapsed(), reports.expect("the workload runs").remove(0));
    assert!(report.held(), "{report}");
    let text = format!("{report:?}");
    let mut levels = report.coverage.iter().filter(|covered| covered.states != "sampled");
    println!(
        "{} {} {} {} {recoveries} {} {} {} {}",
        crc32fast::hash(text.as_bytes()),
        u8::from(levels.all(|covered| covered.is_complete())),
        report.states,
        report.distinct,
        wall.as_nanos(),
        processor_ns(),
        peak_bytes(),
        written.get()
    );
}

/// Processor time of this process, which has one thread that works.
fn processor_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").expect("Linux");
    text.split_whitespace().next().and_then(|ns| ns.parse().ok()).expect("proc(5)")
}

/// The most memory that was resident at a time.
fn peak_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("proc(5)");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("proc(5)") * 1024
}
