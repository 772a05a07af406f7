//! A recorded process that dies leaves a log up to that moment.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;

#[allow(dead_code, reason = "not all of it is needed here")]
mod common;

use common::{Recording, words};
use faultfs::trace::Mark;
use faultfs_interpose::{Options, Session, ack, begin, decode, snapshot, verify};

const ROOT: &str = "DOOR_TEST_ROOT";

#[test]
fn the_log_outlives_a_process_that_dies() {
    if let Some(root) = std::env::var_os(ROOT) {
        die_recording(Path::new(&root));
    }
    let recording = Recording::new();
    let base = snapshot(&recording.root).unwrap();
    let itself = std::env::current_exe().unwrap();
    let name = "the_log_outlives_a_process_that_dies";
    let output = Command::new(itself)
        .args([name, "--exact", "--nocapture"])
        .env(ROOT, &recording.root)
        .output()
        .unwrap();
    assert!(!output.status.success());

    let trace = decode(&recording.root.with_file_name("log"), base, "death").unwrap();
    assert_eq!(trace.unmodelled, [""; 0]);
    assert_eq!(verify(&trace, &recording.root).unwrap(), None);
    let words = words(&trace);
    assert_eq!(words[..4], ["create log", "write log 0+5", "fsync log", "write log 5+6"]);
    assert_eq!(trace.marks[0].1, Mark::Begin(1));
    assert_eq!(trace.marks[1].1, Mark::Ack(1));
    // The other thread was writing when the process died: at most one of its calls is in flight.
    let in_flight = trace.ops.iter().filter(|op| op.end.is_none()).count();
    assert!(in_flight <= 1, "{in_flight}");
    assert!(words.len() > 4, "{words:?}");
}

fn die_recording(root: &Path) -> ! {
    let log = root.with_file_name("log");
    let options = Options { trap: true, ..Options::new(root, &log) };
    let session = Session::start(&options).unwrap();
    begin(1);
    let mut file = File::create(root.join("log")).unwrap();
    file.write_all(b"hello").unwrap();
    file.sync_all().unwrap();
    ack(1);
    file.write_all(b" world").unwrap();
    let other = root.join("other");
    thread::spawn(move || {
        for step in 0.. {
            fs::write(&other, format!("step {step}")).unwrap();
        }
    });
    while fs::metadata(root.join("other")).is_err() {}
    std::mem::forget(session);
    std::process::abort()
}
