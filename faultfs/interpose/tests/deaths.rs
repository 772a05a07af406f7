//! Checks that abort, hang, eat memory, touch a page past the end of a mapping, or panic: each is a verdict
//! of its own, and the run completes.

#![allow(unsafe_code, reason = "a mapping whose file shrinks is what is tested")]

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use faultfs::report::Report;
use faultfs::verdict::Verdict;
use faultfs_interpose::{ack, explore};

/// Three appends with a sync each; the recovery does `harm` to itself where it finds two.
fn reports(hang: Duration, harm: fn(&Path)) -> Report {
    let mut reports = explore(|root| {
        let path = root.join("file");
        for id in 0..3 {
            let mut file = File::options().append(true).create(true).open(&path)?;
            std::io::Write::write_all(&mut file, &[1; 100])?;
            file.sync_all()?;
            ack(id);
        }
        Ok(())
    })
    .time_limit(hang)
    .memory_limit(64 << 20)
    .reports(move |root, _| {
        let path = root.join("file");
        if fs::metadata(&path).is_ok_and(|file| file.len() == 200) {
            harm(&path);
        }
        Ok(())
    })
    .unwrap();
    // Empty in the worker processes, which do not come here.
    reports.pop().expect("one profile, one report")
}

/// Long enough for a machine with other things to do: only what never ends may be called a hang.
const NO_HANG: Duration = Duration::from_secs(30);

#[track_caller]
fn expect(verdict: Verdict, harm: fn(&Path)) {
    let hang = if verdict == Verdict::Hung { Duration::from_millis(300) } else { NO_HANG };
    let report = reports(hang, harm);
    assert_eq!(report.verdict, verdict, "{report}");
    assert!(report.not_measured.is_empty(), "{report}");
    let harmed: u64 = report.failures.iter().map(|failure| failure.count).sum();
    assert!(harmed > 0 && harmed < report.distinct, "{report}");
}

#[test]
fn a_check_that_aborts() {
    expect(Verdict::Aborted, |_| std::process::abort());
}

#[test]
fn a_check_that_loops() {
    expect(Verdict::Hung, |_| {
        loop {
            std::hint::spin_loop();
        }
    });
}

#[test]
fn a_check_that_eats_memory() {
    expect(Verdict::OutOfMemory, |_| {
        let mut eaten: Vec<Vec<u8>> = Vec::new();
        loop {
            eaten.push(vec![1; 1 << 20]);
        }
    });
}

#[test]
fn a_check_that_touches_a_mapped_page_past_the_end() {
    expect(Verdict::Faulted, |path| {
        let file = File::options().read(true).write(true).open(path).expect("it is there");
        file.set_len(8192).expect("it can grow");
        // SAFETY: the fault is what is tested.
        let map = unsafe { memmap2::Mmap::map(&file) }.expect("it can be mapped");
        file.set_len(0).expect("it can shrink");
        std::hint::black_box(map[4096]);
    });
}

#[test]
fn a_check_that_panics() {
    expect(Verdict::Panicked, |path| panic!("{} is cursed", path.exists()));
}

#[test]
fn a_check_that_does_no_harm_holds() {
    let held = reports(NO_HANG, |_| {});
    assert!(held.held(), "{held}");
}

/// A program has no files that are served from memory: such checks are done on real ones.
#[test]
fn a_check_that_starts_a_program_holds() {
    let held = reports(NO_HANG, |path| {
        let list = std::process::Command::new("cat").arg(path).output().expect("it can be run");
        assert_eq!(list.stdout.len(), 200, "{list:?}");
    });
    assert!(held.held(), "{held}");
}
