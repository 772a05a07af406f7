//! What becomes of a session's folder when its process is killed or interrupted. Each test starts this
//! binary again for itself; the process started so is the one that is ended.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use faultfs::session::{Session, interrupted};
use rustix::process::{Pid, Signal, kill_process};

const BASE: &str = "FAULTFS_TEST_SESSION_BASE";

/// In the started process: a session with a file in it, whose path is printed, until it is told to end.
fn live_until_ended(base: &Path) {
    let session = Session::new_in(base).unwrap();
    fs::write(session.path().join("data"), "x").unwrap();
    println!("at {}", session.path().display());
    loop {
        std::thread::sleep(Duration::from_millis(5));
        if interrupted() {
            println!("at interrupted");
            loop {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

struct Started {
    process: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Started {
    fn new(test: &str, base: &Path) -> Started {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(BASE, base)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Started { process, lines }
    }

    /// What the process says next.
    fn said(&mut self) -> String {
        let lines = self.lines.by_ref().map(Result::unwrap);
        // libtest prints the test's name on the same line.
        lines.filter_map(|l| Some(l.split_once("at ")?.1.to_string())).next().expect("it says it")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

fn child_base() -> Option<PathBuf> {
    std::env::var_os(BASE).map(PathBuf::from)
}

#[test]
fn what_kill_9_leaves_is_removed_by_the_next_session() {
    if let Some(base) = child_base() {
        return live_until_ended(&base);
    }
    let base = tempfile::tempdir().unwrap();
    let mut started =
        Started::new("what_kill_9_leaves_is_removed_by_the_next_session", base.path());
    let left = PathBuf::from(started.said());
    let alongside = Session::new_in(base.path()).unwrap();
    assert!(left.join("data").exists(), "the folder of a live session stays");
    started.signal(Signal::KILL);
    started.process.wait().unwrap();
    assert!(left.join("data").exists(), "nobody could remove it yet");
    let next = Session::new_in(base.path()).unwrap();
    assert!(!left.join("data").exists());
    assert!(alongside.path().exists());
    drop((alongside, next));
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
}

#[test]
fn the_second_ctrl_c_removes_the_folder_and_ends_the_process() {
    if let Some(base) = child_base() {
        return live_until_ended(&base);
    }
    for signal in [Signal::INT, Signal::TERM] {
        let base = tempfile::tempdir().unwrap();
        let mut started =
            Started::new("the_second_ctrl_c_removes_the_folder_and_ends_the_process", base.path());
        let path = PathBuf::from(started.said());
        started.signal(signal);
        assert_eq!(started.said(), "interrupted");
        assert!(path.join("data").exists(), "the first one only tells");
        started.signal(signal);
        let status = started.process.wait().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()));
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
