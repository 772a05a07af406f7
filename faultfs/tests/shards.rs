//! Explorations of tests, split by the environment: this binary is started again for its ignored test.

#[path = "planted/log.rs"]
#[allow(dead_code, reason = "the tests of its bugs use the rest")]
mod log;

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output};

use faultfs::explore::{MERGE, PARTITION, SHARDS};
use faultfs::fs::File;
use faultfs::verdict::Broken;
use faultfs::{FaultFs, Profile, explore};
use log::{Bug, Files, Log};

impl Files for FaultFs {
    type File = File;
    fn create(&self, name: &str) -> io::Result<File> {
        FaultFs::create(self, name)
    }
    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }
    fn start_writeback(&self, file: &File) -> io::Result<()> {
        file.start_writeback()
    }
    fn sync_dir(&self) -> io::Result<()> {
        FaultFs::sync_dir(self, ".")
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        FaultFs::rename(self, from, to)
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        FaultFs::read(self, name)
    }
}

/// Where the test below leaves its traces; which bug it has: `none`, or that of a forgotten sync, which is
/// `sought` with so little effort that the search ends early.
const TRACES: &str = "FAULTFS_TEST_TRACES";
const BUG: &str = "FAULTFS_TEST_BUG";

fn workload(fs: &FaultFs, bug: Bug) -> Result<(), Broken> {
    let mut log = Log::create(fs.clone(), bug)?;
    for id in 0..3 {
        fs.begin(id);
        log.put(id)?;
        fs.ack(id);
    }
    log.compact()?;
    Ok(())
}

#[test]
#[ignore = "the other half of the tests below"]
fn split() {
    let Ok(traces) = std::env::var(TRACES) else { return };
    let bug = match std::env::var(BUG).as_deref() {
        Ok("none") => Bug::None,
        _ => Bug::RenameBeforeSync,
    };
    let effort = if std::env::var(BUG).as_deref() == Ok("sought") { 1 } else { 20_000 };
    explore(|fs| workload(fs, bug))
        .effort(effort)
        .profiles(Profile::MAIN)
        .traces(traces)
        .workers(2)
        .check(log::check);
}

/// Runs the ignored test with some environment.
fn run(traces: &Path, bug: &str, more: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["split", "--exact", "--ignored"])
        .env(TRACES, traces)
        .env(BUG, bug)
        .env("RUST_BACKTRACE", "0")
        .envs(more.iter().copied())
        .output()
        .unwrap()
}

/// What a failing exploration panics with.
fn report(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let from = text.find("split under ").unwrap_or_else(|| panic!("no report: {text}"));
    let to = text[from..].find("note: ").map_or(text.len(), |end| from + end);
    text[from..to].to_string()
}

#[test]
fn shares_of_a_test_merged_fail_as_the_whole_does() {
    let dir = tempfile::tempdir().unwrap();
    let whole = run(dir.path(), "planted", &[]);
    assert!(!whole.status.success());
    let shards = dir.path().join("shards");
    let shards = shards.to_str().unwrap();
    let mut red = 0;
    for share in ["2/3", "1/3", "3/3"] {
        let part = run(dir.path(), "planted", &[(PARTITION, share), (SHARDS, shards)]);
        red += u32::from(!part.status.success());
    }
    assert!(red > 0, "the bug is in some share, and that share says so");
    let merged = run(dir.path(), "planted", &[(MERGE, shards)]);
    assert_eq!(report(&merged), report(&whole));
}

#[test]
fn shares_of_a_search_that_ended_early_merged_are_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let whole = report(&run(dir.path(), "sought", &[]));
    assert!(whole.contains("not covered: the search ended after 1,300 steps"), "{whole}");
    let shards = dir.path().join("shards");
    let shards = shards.to_str().unwrap();
    for share in ["2/2", "1/2"] {
        run(dir.path(), "sought", &[(PARTITION, share), (SHARDS, shards)]);
    }
    assert_eq!(report(&run(dir.path(), "sought", &[(MERGE, shards)])), whole);
    // The states are the same, so are their tokens.
    let token = whole.split("FAULTFS_REPLAY=").nth(1).and_then(|line| line.split(' ').next());
    let replayed = run(dir.path(), "sought", &[("FAULTFS_REPLAY", token.expect("a failure"))]);
    assert!(!replayed.status.success(), "{replayed:?}");
}

#[test]
fn shares_in_which_all_held_pass_and_so_does_the_merged_run() {
    let dir = tempfile::tempdir().unwrap();
    let shards = dir.path().join("shards");
    let shards = shards.to_str().unwrap();
    for share in ["1/2", "2/2"] {
        let part = run(dir.path(), "none", &[(PARTITION, share), (SHARDS, shards)]);
        assert!(part.status.success(), "{part:?}");
    }
    assert!(run(dir.path(), "none", &[(MERGE, shards)]).status.success());
}

#[test]
fn what_does_not_belong_together_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let shards = dir.path().join("shards");
    let shards = shards.to_str().unwrap();
    let refused = |more: &[(&str, &str)], why: &str| {
        let output = run(dir.path(), "none", more);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success() && text.contains(why), "{why:?}: {text}");
    };
    refused(&[(MERGE, shards)], "there is no share of split");
    refused(&[(PARTITION, "9/8"), (SHARDS, shards)], "`9/8` is not a share");
    refused(&[(PARTITION, "1/2"), (MERGE, shards)], "are both set");
    run(dir.path(), "none", &[(PARTITION, "1/2"), (SHARDS, shards)]);
    refused(&[(MERGE, shards)], "share 2/2 is missing");
    // The engine has changed in between.
    run(dir.path(), "planted", &[(PARTITION, "2/2"), (SHARDS, shards)]);
    refused(&[(MERGE, shards)], "the run has changed in between");
}
