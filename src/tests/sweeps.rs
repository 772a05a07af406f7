//! The sweep finds what is planted, passes its mended twin, and repeats what it found.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::run_child;
use faultpoint::{Sweep, Task, fault_point};

/// Counts what it was given, in a log that may fail.
#[derive(Default)]
struct Log {
    written: Vec<u64>,
    synced: usize,
    /// The planted bug: after a failed sync the next one reports success for what was lost.
    forgets_failed_syncs: bool,
    has_failed: bool,
}

impl Log {
    fn append(&mut self, record: u64) -> io::Result<()> {
        if self.has_failed && !self.forgets_failed_syncs {
            return Err(io::Error::other("an earlier sync failed"));
        }
        fault_point!("sweeps_written")?;
        self.written.push(record);
        if let Err(error) = fault_point!("sweeps_synced") {
            self.has_failed = true;
            self.written.pop();
            self.written.push(0);
            return Err(error);
        }
        self.synced = self.written.len();
        Ok(())
    }
}

fn acknowledged_records_are_kept(forgets_failed_syncs: bool) {
    let mut log = Log { forgets_failed_syncs, ..Log::default() };
    let acknowledged = (1..=3).take_while(|record| log.append(*record).is_ok()).count();
    let retried = acknowledged + 1;
    let _ = log.append(retried as u64);
    let kept = &log.written[..log.synced];
    assert!(kept.iter().zip(1..).all(|(kept, record)| *kept == record), "kept {kept:?}");
}

fn failure_of(sweep: Sweep, check: impl Fn(&faultpoint::Run)) -> String {
    let result = catch_unwind(AssertUnwindSafe(|| sweep.check(check)));
    *result.unwrap_err().downcast::<String>().unwrap()
}

fn points() -> Sweep {
    Sweep::of(["sweeps_written", "sweeps_synced"]).injecting(Task::errno("EIO"))
}

#[test]
fn a_sweep_finds_a_planted_bug_and_passes_the_mended_twin() {
    let message = failure_of(points(), |_| acknowledged_records_are_kept(true));
    let expected =
        "the check failed with `return(EIO)` injected at sweeps_synced@1:\n  kept [0, 1]";
    assert!(message.starts_with(expected), "{message}");
    assert!(message.ends_with("\nreplay with FAULTPOINT_REPLAY=sweeps_synced@1"), "{message}");
    let report = points().check(|_| acknowledged_records_are_kept(false));
    assert!(report.unreached.is_empty() && report.cut_short.is_empty());
    assert!(report.injected >= 12, "{report}");
}

#[test]
fn a_sweep_injects_each_pass_once_and_for_good_until_none_is_left() {
    let seen = std::sync::Mutex::new(Vec::new());
    let report = Sweep::of(["sweeps_written"]).check(|run| {
        let failed = (0..3).map(|_| fault_point!("sweeps_written").is_err()).collect::<Vec<_>>();
        seen.lock().unwrap().push((run.pass(), run.is_lasting(), run.has_fired(), failed));
    });
    let expected = [
        (1, false, true, vec![true, false, false]),
        (1, true, true, vec![true, true, true]),
        (2, false, true, vec![false, true, false]),
        (2, true, true, vec![false, true, true]),
        (3, false, true, vec![false, false, true]),
        (3, true, true, vec![false, false, true]),
        (4, false, false, vec![false, false, false]),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(report.to_string(), "7 runs, 6 injected");
}

#[test]
fn a_sweep_says_what_it_left_out() {
    let report = Sweep::of(["sweeps_written"]).passes_max(2).check(|_| {
        for _ in 0..3 {
            let _ = fault_point!("sweeps_written");
        }
    });
    assert_eq!(report.to_string(), "4 runs, 4 injected; cut short: sweeps_written");
    let message = failure_of(points(), |_| {});
    assert_eq!(message, "the sweep never reached sweeps_written, sweeps_synced");
    let report = Sweep::of_all().check(|_| {
        let _ = fault_point!("sweeps_written");
    });
    assert!(report.unreached.iter().any(|name| name == "sweeps_synced"), "{report}");
    assert_eq!(report.injected, 2);
}

#[test]
fn a_sweep_over_an_unknown_point_does_not_begin() {
    let message = failure_of(Sweep::of(["sweeps_wirtten"]), |_| panic!("it began"));
    assert_eq!(message, "there is no fail point `sweeps_wirtten`; did you mean `sweeps_written`?");
    let message = failure_of(Sweep::of(["points_form_1"]), |_| panic!("it began"));
    assert!(message.contains("cannot take `return`: it cannot return early"), "{message}");
}

#[test]
fn the_printed_line_repeats_the_run() {
    let run = |token| {
        let output = run_child("sweeps::in_child_replay", "FAULTPOINT_REPLAY", token);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (succeeded, stderr) = run("sweeps_synced@1");
    assert!(!succeeded && stderr.contains("kept [0, 1]"), "{stderr}");
    assert!(run("sweeps_written@1").0);
    let (succeeded, stderr) = run("sweeps_synced@9");
    assert!(
        !succeeded && stderr.contains("injected nothing: the point was hit 4 times"),
        "{stderr}"
    );
    let (succeeded, stderr) = run("sweeps_synced");
    assert!(!succeeded && stderr.contains("names no run; write the point"), "{stderr}");
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn in_child_replay() {
    points().check(|_| acknowledged_records_are_kept(true));
}
