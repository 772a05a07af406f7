//! Prints who finds which planted bug, with how many disks or faults and in which time; how large the
//! counter-example is; and under which filesystems the bug breaks a promise.

use std::panic;
use std::process::ExitCode;

use faultfs::Profile;
use faultfs::report::Report;
use faultfs_matrix::kit::{Kill, Twin};
use faultfs_matrix::{Pattern, faults, patterns, strategies};

fn main() -> ExitCode {
    let of_crash = strategies::ALL.map(|(name, _)| name);
    let crashes = table("planted bug", of_crash, "lost", &patterns::ALL, row_of_crash);
    println!();
    // Some engines panic, which is what they are here for.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let of_fault = faults::strategies::ALL.map(|(name, _)| name);
    let faults =
        table("planted bug, shown by a fault", of_fault, "and lost", &faults::ALL, row_of_fault);
    panic::set_hook(hook);
    println!(
        "\ncells: disks recovered from, or faults tried / milliseconds until the bug was found"
    );
    ExitCode::from(u8::from(!(crashes && faults)))
}

/// What there is to tell of a pattern.
struct Row {
    id: &'static str,
    name: &'static str,
    kills: [Option<Kill>; 4],
    /// How many changes the smallest counter-example loses or tears; 0: the power cut, or the fault, alone.
    lost: usize,
    dies: Vec<&'static str>,
    /// The fixed twin held everywhere.
    holds: bool,
}

/// True where every bug was found by the last strategy and every fixed twin held.
fn table<P>(
    title: &str,
    strategies: [&str; 4],
    lost: &str,
    patterns: &[P],
    row: impl Fn(&P) -> Row,
) -> bool {
    print!("{:<4} {title:<44}", "");
    strategies.iter().for_each(|name| print!(" {name:>16}"));
    println!(" {lost:>8}  dies under");
    let (mut missed, mut fine) = ([0; 4], true);
    for row in patterns.iter().map(row) {
        print!("{:<4} {:<44}", row.id, row.name);
        for (kill, missed) in row.kills.iter().zip(&mut missed) {
            *missed += u32::from(kill.is_none());
            print!(" {:>16}", cell(kill));
        }
        println!(" {:>8}  {}", row.lost, listed(&row.dies));
        fine &= row.holds && !row.dies.is_empty();
    }
    print!("{:<49}", "missed");
    missed.iter().for_each(|count| print!(" {count:>16}"));
    println!();
    fine && missed.last() == Some(&0)
}

fn row_of_crash(pattern: &Pattern) -> Row {
    let reports = strategies::reports(pattern, Twin::Planted, &Profile::ALL);
    let failures = reports.iter().flat_map(|report| &report.failures);
    Row {
        id: pattern.id,
        name: pattern.name,
        kills: strategies::ALL.map(|(_, strategy)| strategy(pattern)),
        lost: failures.map(|failure| failure.losses.len()).min().unwrap_or(0),
        dies: dying(&reports),
        holds: holds(&strategies::reports(pattern, Twin::Fixed, &Profile::ALL)),
    }
}

fn row_of_fault(pattern: &faults::Pattern) -> Row {
    let reports = faults::strategies::planted(pattern, &Profile::ALL);
    let fixed = pattern.of(Twin::Fixed);
    let fixed = faults::strategies::reports(fixed, &fixed.withstands(), &Profile::ALL);
    Row {
        id: pattern.id,
        name: pattern.name,
        kills: faults::strategies::ALL.map(|(_, strategy)| strategy(pattern)),
        lost: faults::strategies::smallest(&reports, pattern.verdict),
        dies: dying(&reports),
        holds: holds(&fixed),
    }
}

fn dying(reports: &[Report]) -> Vec<&'static str> {
    reports.iter().filter(|report| !report.held()).map(|report| report.profile.name).collect()
}

/// True where every report is of a promise that was kept; the others are printed.
fn holds(reports: &[Report]) -> bool {
    let bad: Vec<&Report> = reports.iter().filter(|report| !report.held()).collect();
    bad.iter().for_each(|report| println!("THE FIXED TWIN DIES:\n{report}"));
    bad.is_empty()
}

fn cell(kill: &Option<Kill>) -> String {
    match kill {
        None => "missed".into(),
        Some(Kill { tried, took }) => format!("{tried} / {:.1}", took.as_secs_f64() * 1e3),
    }
}

fn listed(dies: &[&str]) -> String {
    let missing: Vec<&str> =
        Profile::ALL.iter().map(|p| p.name).filter(|name| !dies.contains(name)).collect();
    match missing.len() {
        0 => "all".into(),
        count if count < dies.len() => format!("all but {}", missing.join(", ")),
        _ => dies.join(", "),
    }
}
