//! `cargo faultfs`: torture a database, replay a failure, write its disk to a folder, look at a trace, and
//! control the fail points of a running process.
//!
//! Arguments, progress and exit codes; what it does is done by the `faultfs` library.

mod args;
mod baseline;
mod exit;
mod faults;
mod junit;
mod merge;
mod output;
mod points;
mod replay;
mod sqlite;
mod target;
mod torture;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Installed, Cargo calls `cargo-faultfs faultfs …`.
    let mut words: Vec<_> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == "faultfs") {
        words.remove(1);
    }
    let args = args::Args::parse_from(words);
    let outcome = match &args.command {
        args::Command::Torture(torture) => torture::run(torture),
        args::Command::Merge(merge) => merge::run(merge),
        args::Command::Replay(replay) => replay::replay(replay),
        args::Command::Materialize(materialize) => replay::materialize(materialize),
        args::Command::Show { trace } => replay::show(trace),
        args::Command::Points(asked) => points::run(asked),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(trouble) => {
            eprintln!("error: {trouble}");
            ExitCode::from(trouble.code)
        }
    }
}
