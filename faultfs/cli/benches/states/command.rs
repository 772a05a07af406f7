//! An engine that needs real files: programs that nobody links us into.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use faultfs::session::Session;
use faultfs::trace::{Marks, Trace};
use faultfs_interpose::{Commands, Restored, Traced};

use super::explored::{How, explore, record};
use super::median;
use super::reopen::{Reopened, reopen_states};
use super::spent::Spent;

/// A script of `faultfs/engines/commands`, in one of its modes.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    engine: &'static str,
    mode: &'static str,
    /// What must be installed.
    needs: &'static str,
}

pub(crate) const SCRIPTS: [Script; 2] = [
    script("sqlite3", "sqlite", "extra", "sqlite3"),
    script("lmdb-utils", "lmdb", "there", "mdb_load"),
];

const fn script(
    name: &'static str,
    engine: &'static str,
    mode: &'static str,
    needs: &'static str,
) -> Script {
    Script { name, engine, mode, needs }
}

const STATES: u64 = 300;
const REOPENS: u32 = 200;

impl Script {
    fn is_there(&self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(self.needs).exists())
    }

    fn part(&self, part: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engines/commands");
        format!("'{}' {part} {}", folder.join(self.engine).display(), self.mode)
    }

    fn door(&self) -> Traced {
        Traced::new(Commands {
            setup: Some(self.part("setup")),
            workload: self.part("put"),
            check: self.part("check"),
        })
    }

    /// Measures it and prints its line.
    pub(crate) fn measure(&self, rounds: usize) {
        if !self.is_there() {
            println!("{:<13} not measured: there is no {} here", self.name, self.needs);
            return;
        }
        let (mut bare, mut same, mut files) =
            (Reopened::default(), Reopened::default(), Vec::new());
        let trace = record(&mut self.door());
        for _ in 0..rounds {
            if let Some(trace) = &trace {
                bare.push(self.reopen_clean());
                same.push(self.reopen_states(trace));
            }
            let how = How { real_files: true, prune: false, workers: 1, budget: STATES };
            let rates = explore(self.name, &mut self.door(), &mut Restored::check, how);
            files.extend(rates.map(|rates| rates.processor));
        }
        let ((bare, bare_own), (same, same_own)) = (bare.result(), same.result());
        let files = median(files);
        println!(
            "{:<13} {bare:>6.0} {bare_own:>4.2} {same:>6.0} {same_own:>4.2} {:>8} {:>5} {:>5} {files:>7.0} \
             {:>5.2} {:>5.2}",
            self.name,
            "-",
            "-",
            "-",
            files / bare,
            files / same,
        );
    }

    /// Checks the folder that the workload leaves.
    fn reopen_clean(&self) -> (u32, Spent) {
        let session = Session::new().expect("a session");
        let place = Place::new(&session);
        let said = File::create(&place.said).expect("there is room");
        let made = place.spawn(&self.part("setup"), &place.root, Stdio::null())
            && place.spawn(&self.part("put"), &place.root, said.into());
        assert!(made, "{} makes its files", self.name);
        let check = self.part("check");
        let since = Spent::now();
        for _ in 0..REOPENS {
            assert!(place.spawn(&check, &place.root, Stdio::null()), "nothing was lost");
        }
        (REOPENS, Spent::now() - since)
    }

    /// Checks each disk of the exploration once.
    fn reopen_states(&self, trace: &Arc<Trace>) -> (u32, Spent) {
        let session = Session::new().expect("a session");
        let place = Place::new(&session);
        let check = self.part("check");
        reopen_states(trace, STATES, &mut |root, marks: &Marks| {
            let said = marks.acked.last().map_or(0, |last| *last as usize);
            fs::write(&place.said, trace.output[..said].concat()).expect("there is room");
            place.spawn(&check, root, Stdio::null());
        })
    }
}

/// Where commands run as one would run them by oneself.
struct Place {
    root: PathBuf,
    tmp: PathBuf,
    said: PathBuf,
}

impl Place {
    fn new(session: &Session) -> Place {
        let [root, tmp, said] = ["root", "tmp", "said"].map(|name| session.path().join(name));
        for folder in [&root, &tmp] {
            fs::create_dir(folder).expect("there is room");
        }
        Place { root, tmp, said }
    }

    /// Whether it succeeded.
    fn spawn(&self, text: &str, root: &Path, output: Stdio) -> bool {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]).current_dir(root);
        command.env("TMPDIR", &self.tmp).env("FAULTFS_OUTPUT", &self.said);
        command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
        command.status().expect("a shell starts").success()
    }
}
