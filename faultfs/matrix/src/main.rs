//! Prints who finds which planted bug, with how many disks and in which time; how large the counter-example
//! is; and under which filesystems the bug breaks a promise.

use std::process::ExitCode;

use faultfs::Profile;
use faultfs_matrix::kit::Twin;
use faultfs_matrix::strategies::{self, Kill};
use faultfs_matrix::{Pattern, patterns};

fn main() -> ExitCode {
    print!("{:<4} {:<44}", "", "planted bug");
    strategies::ALL.iter().for_each(|(name, _)| print!(" {name:>16}"));
    println!(" {:>5}  dies under", "lost");
    let (mut missed, mut alive) = ([0; strategies::ALL.len()], 0);
    for pattern in patterns::ALL {
        print!("{:<4} {:<44}", pattern.id, pattern.name);
        for ((_, strategy), missed) in strategies::ALL.iter().zip(&mut missed) {
            let kill = strategy(&pattern);
            *missed += u32::from(kill.is_none());
            print!(" {:>16}", cell(kill));
        }
        let reports = strategies::reports(&pattern, Twin::Planted, &Profile::ALL);
        let dies: Vec<&str> =
            reports.iter().filter(|report| !report.held()).map(|r| r.profile.name).collect();
        println!(" {:>5}  {}", smallest(&reports), listed(&dies));
        alive += u32::from(dies.is_empty()) + fixed_that_die(&pattern);
    }
    print!("{:<49}", "missed");
    missed.iter().for_each(|count| print!(" {count:>16}"));
    println!("\n\ncells: disks recovered from / milliseconds until the bug was found");
    ExitCode::from(u8::from(alive > 0 || missed.last() != Some(&0)))
}

fn cell(kill: Option<Kill>) -> String {
    match kill {
        None => "missed".into(),
        Some(Kill { states, took }) => format!("{states} / {:.1}", took.as_secs_f64() * 1e3),
    }
}

/// How many changes the smallest counter-example loses or tears; 0: the power cut alone is enough.
fn smallest(reports: &[faultfs::report::Report]) -> usize {
    let failures = reports.iter().flat_map(|report| &report.failures);
    failures.map(|failure| failure.losses.len()).min().unwrap_or(0)
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

fn fixed_that_die(pattern: &Pattern) -> u32 {
    let reports = strategies::reports(pattern, Twin::Fixed, &Profile::ALL);
    for report in reports.iter().filter(|report| !report.held()) {
        println!("THE FIXED TWIN DIES:\n{report}");
    }
    u32::from(reports.iter().any(|report| !report.held()))
}
