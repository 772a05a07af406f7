//! `points`: the fail points of a running process. Arguments and output; the library asks.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use faultpoint::control::{Client, Failure, Request, What};

use crate::exit::{self, Trouble};

#[derive(clap::Args, Debug)]
pub(crate) struct Points {
    /// The process: its control socket, or the folder of it where no other process has one there.
    socket: PathBuf,
    #[command(subcommand)]
    what: Asked,
}

#[derive(Subcommand, Debug)]
enum Asked {
    /// Every point: where it is, whether it was passed, its hits and fires, what is armed.
    List,
    /// Have a point do something from now on, for the whole process.
    Arm {
        /// The point.
        name: String,
        /// `[p%][n*]task[(arg)]`, chained by `->`: off, return, sleep, panic, print, pause, yield, delay.
        actions: String,
    },
    /// Let a point do nothing again; whoever pauses there goes on.
    Disarm {
        /// The point.
        name: String,
    },
    /// Let those go on who pause at a point.
    Release {
        /// The point.
        name: String,
    },
    /// Hits, fires and paused of an armed point, since it was armed.
    Count {
        /// The point.
        name: String,
    },
    /// Wait until an armed point was hit, or has threads paused at it.
    Wait(Wait),
}

#[derive(clap::Args, Debug)]
struct Wait {
    /// The point.
    name: String,
    #[command(flatten)]
    count: Count,
    /// For how many seconds at most, up to an hour.
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    timeout: u64,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Count {
    /// Until so many hits since the point was armed.
    #[arg(long, value_name = "N")]
    hits: Option<u64>,
    /// Until so many threads and tasks pause there.
    #[arg(long, value_name = "N")]
    paused: Option<u64>,
}

/// Asks the process, and prints what it answers.
pub(crate) fn run(args: &Points) -> Result<u8, Trouble> {
    let request = request(&args.what)?;
    let mut client = Client::connect(&args.socket).map_err(Trouble::usage)?;
    let lines = client.request(&request).map_err(trouble)?;
    let text = match request {
        Request::List => table(&lines),
        _ => lines.iter().map(|line| format!("{}\n", line.replace('\t', "  "))).collect(),
    };
    exit::print(&text)?;
    Ok(exit::OK)
}

fn request(asked: &Asked) -> Result<Request, Trouble> {
    Ok(match asked {
        Asked::List => Request::List,
        Asked::Arm { name, actions } => {
            Request::Arm { name: name.clone(), actions: actions.parse().map_err(Trouble::usage)? }
        }
        Asked::Disarm { name } => Request::Disarm { name: name.clone() },
        Asked::Release { name } => Request::Release { name: name.clone() },
        Asked::Count { name } => Request::Count { name: name.clone() },
        Asked::Wait(Wait { name, count, timeout }) => {
            let (what, count) = match (count.hits, count.paused) {
                (Some(hits), _) => (What::Hits, hits),
                (None, paused) => (What::Paused, paused.unwrap_or_default()),
            };
            Request::Wait { name: name.clone(), what, count, limit: Duration::from_secs(*timeout) }
        }
    })
}

fn trouble(failure: Failure) -> Trouble {
    let code = match failure {
        Failure::Late(_) => exit::FAILURE,
        Failure::NoAnswer(_) => exit::NOT_MEASURED,
        _ => exit::USAGE,
    };
    Trouble::new(code, failure)
}

/// The fields of each line below their headings.
fn table(lines: &[String]) -> String {
    const HEADINGS: [&str; 7] = ["POINT", "PLACE", "PACKAGE", "PASSED", "HITS", "FIRES", "ARMED"];
    let rows = lines.iter().map(|line| line.split('\t').collect());
    let rows: Vec<Vec<&str>> = std::iter::once(HEADINGS.to_vec()).chain(rows).collect();
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, field) in widths.iter_mut().zip(row) {
            *width = (*width).max(field.chars().count());
        }
    }
    let line = |row: &Vec<&str>| {
        let fields = row.iter().zip(widths).map(|(field, width)| format!("{field:<width$}"));
        fields.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
