//! A test of this file in a process of its own, as its author meets it.

use std::path::Path;
use std::process::Command;

/// Runs the test called `name`, which is told by `PLANTED_BUG` what is wrong with its engine and by
/// `PLANTED_TRACES` where its traces go; whether it passed, and what it said.
pub(crate) fn run(name: &str, bug: &str, traces: &Path, token: Option<&str>) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]);
    command.env("PLANTED_BUG", bug).env("PLANTED_TRACES", traces).env("RUST_BACKTRACE", "0");
    command.envs(token.map(|token| ("FAULTFS_REPLAY", token)));
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// The token of the line to paste with which a failing test ends, which must name that test.
pub(crate) fn pasted(said: &str, name: &str) -> String {
    let line = said.lines().find_map(|line| line.trim().strip_prefix("replay: ")).expect(said);
    let rest = line.strip_prefix("FAULTFS_REPLAY=").expect(said);
    let token = rest.strip_suffix(&format!(" cargo test {name}")).expect(said);
    token.trim_matches('\'').to_string()
}
