//! What the sweep itself promises: reports that do not depend on who did the work, tokens that make a run
//! again, deaths told apart, and nothing passed over in silence.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use faultfs::FaultFs;
use faultfs::report::Failure;
use faultfs::sweep;
use faultfs::sweep::{Group, Token};
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
use faultfs::worker;

/// A record in a file, whose sync is looked at, or is not.
fn save(fs: &FaultFs, looks: bool) -> Result<(), Broken> {
    fs.begin(1);
    let mut file = fs.create("record")?;
    file.write_all(b"record")?;
    match file.sync_all() {
        Err(error) if looks => return Err(error.into()),
        _ => {}
    }
    fs.sync_dir(".")?;
    fs.ack(1);
    Ok(())
}

fn check(fs: &FaultFs, marks: &Marks) -> Result<(), Broken> {
    match fs.read("record") {
        Ok(found) if found == b"record" => Ok(()),
        _ if marks.acked.is_empty() => Ok(()),
        _ => Err(Broken::lost("the record is gone")),
    }
}

#[test]
fn the_report_does_not_depend_on_the_number_of_workers() {
    let run = |workers| {
        let run = sweep(|fs| save(fs, false)).named("save").workers(workers);
        run.faults([Group::Crash, Group::Fsync]).reports(check).unwrap().pop()
    };
    let (one, three) = (run(1), run(3));
    if let (Some(one), Some(three)) = (one, three) {
        assert_eq!(one, three);
        assert_eq!(one.verdict, Verdict::Lost, "{one}");
        assert_eq!(one.failures.len(), 1, "one bug, met by many faults: {one}");
        assert!(one.failures[0].count > 1, "{one}");
    }
}

/// The test that fails: it runs in a process of its own only, which says what is wrong with the engine.
#[test]
fn a_saved_record_survives() {
    let (Ok(bug), Ok(traces)) = (std::env::var("PLANTED_BUG"), std::env::var("PLANTED_TRACES"))
    else {
        return;
    };
    let run = sweep(move |fs| save(fs, bug == "none")).faults([Group::Crash, Group::Fsync]);
    run.traces(traces).check(check);
}

fn run(bug: &str, traces: &Path, token: Option<&str>) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["a_saved_record_survives", "--exact", "--nocapture"]);
    command.env("PLANTED_BUG", bug).env("PLANTED_TRACES", traces).env("RUST_BACKTRACE", "0");
    command.envs(token.map(|token| ("FAULTFS_REPLAY", token)));
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_failing_sweep_ends_in_a_line_that_makes_the_run_again() {
    let traces = tempfile::tempdir().unwrap();
    let (passed, said) = run("ignored", traces.path(), None);
    assert!(!passed, "{said}");
    let line = said.lines().find_map(|line| line.trim().strip_prefix("replay: ")).expect(&said);
    let (token, rest) = line.strip_prefix("FAULTFS_REPLAY='").unwrap().split_once("' ").unwrap();
    assert_eq!(rest, "cargo test a_saved_record_survives");
    let parsed: Token = token.parse().unwrap();
    assert_eq!(parsed.to_string(), token);
    assert!(token.contains(": sync record take 1 -> fail"), "{token}");

    let (passed, said) = run("ignored", traces.path(), Some(token));
    assert!(!passed, "{said}");
    assert!(said.contains("lost: the record is gone"), "{said}");
    assert!(!said.contains("has changed"), "{said}");

    // The disk is that of the engine as it was.
    let (passed, said) = run("none", traces.path(), Some(token));
    assert!(!passed, "{said}");
    assert!(said.contains("the run with the fault has changed since"), "{said}");
    let (passed, said) = run("none", traces.path(), None);
    assert!(passed, "{said}");
}

#[test]
fn a_panic_an_abort_and_a_hang_under_a_fault_are_verdicts() {
    let run = |then: fn() -> !| {
        sweep(move |fs| match fs.write("file", "x") {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => then(),
            Err(error) => Err(error.into()),
        })
        .faults([Group::NoSpace])
        .time_limit(Duration::from_millis(200))
        .reports(|_, _| Ok(()))
        .unwrap()
        .pop()
    };
    let found = [
        (run(|| panic!("no space")), Verdict::Panicked),
        (run(|| std::process::abort()), Verdict::Aborted),
        (
            run(|| {
                loop {
                    std::thread::sleep(Duration::from_secs(1))
                }
            }),
            Verdict::Hung,
        ),
    ];
    for (report, verdict) in found {
        let Some(report) = report else { continue };
        assert_eq!(report.verdict, verdict, "{report}");
        assert!(report.to_string().contains("crash did not come: the run itself"), "{report}");
    }
}

#[test]
fn a_wrong_read_is_found_where_the_workload_says_so() {
    let run = sweep(|fs| {
        fs.write("file", "right")?;
        match fs.read("file")? {
            found if found == b"right" => Ok(()),
            found => Err(Broken::corrupt(format!("read {found:?}"))),
        }
    });
    let report = run.faults([Group::BitRot]).reports(|_, _| Ok(())).unwrap().pop();
    if let Some(report) = report {
        assert_eq!(report.verdict, Verdict::Corrupt, "{report}");
        assert!(report.failures[0].fault.as_ref().unwrap().starts_with("read file"), "{report}");
    }
}

#[test]
fn a_call_that_does_not_come_again_is_not_measured() {
    // Each process has another number, and so another file.
    let run = sweep(|fs| Ok(fs.write(format!("file-{}", std::process::id()), "long")?));
    let report = run.faults([Group::Short]).reports(|_, _| Ok(())).unwrap().pop();
    if let Some(report) = report {
        assert_eq!(report.verdict, Verdict::NotMeasured, "{report}");
        assert!(report.not_measured[0].contains("never came to this call in 3 runs"), "{report}");
    }
}

#[test]
fn calls_that_were_not_observed_are_not_measured() {
    // Every process runs this test anew: what tells the first run of the workload is outside of them all.
    let observed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("observed");
    if worker::current().is_none() {
        let _ = std::fs::remove_file(&observed);
    }
    let run = sweep(|fs| {
        fs.write("file", "long")?;
        match observed.exists() {
            true => fs.write("more", "long")?,
            false => std::fs::write(&observed, "")?,
        }
        Ok(())
    });
    let report = run.faults([Group::Short]).reports(|_, _| Ok(())).unwrap().pop();
    if let Some(report) = report {
        assert_eq!(report.verdict, Verdict::NotMeasured, "{report}");
        assert!(report.not_measured[0].contains("and more in another run"), "{report}");
    }
}

#[test]
fn a_sweep_that_found_nothing_to_fail_is_no_pass() {
    let run = sweep(|fs| Ok(fs.create_dir("empty")?)).faults([Group::Short]);
    if let Some(report) = run.reports(|_, _| Ok(())).unwrap().pop() {
        assert_eq!(report.verdict, Verdict::NotMeasured, "{report}");
        assert!(report.not_measured[0].contains("fits any call"), "{report}");
    }
}

#[test]
fn a_run_that_fails_without_a_fault_is_not_swept() {
    let report = sweep(|fs| {
        fs.write("record", "record")?;
        fs.ack(1);
        Ok(())
    });
    if let Some(report) = report.reports(check).unwrap().pop() {
        assert_eq!(report.verdict, Verdict::Lost, "{report}");
        assert!(report.not_measured[0].starts_with("not swept"), "{report}");
        assert_eq!(report.swept.unwrap().runs, 0);
    }
}

/// Two bugs: at each of two places an engine does not look at what a sync says. The first one is met in a
/// loop.
#[test]
fn failures_are_told_apart_by_the_place_of_the_call_and_a_loop_is_one() {
    const LOOP: u32 = line!() + 6;
    let run = sweep(|fs| {
        let file = fs.create("file")?;
        fs.sync_dir(".")?;
        for id in 0..2 {
            file.write_all_at(&[7], id)?;
            let _ = file.sync_all();
            fs.ack(id);
        }
        file.write_all_at(&[7], 2)?;
        let _ = file.sync_all();
        fs.ack(2);
        Ok(())
    });
    let run = run.faults([Group::Crash, Group::Fsync]);
    let check = |fs: &FaultFs, marks: &Marks| {
        let found = fs.read("file").unwrap_or_default();
        match marks.acked.iter().find(|id| found.get(**id as usize) != Some(&7)) {
            Some(id) => Err(Broken::lost(format!("record {id}"))),
            None => Ok(()),
        }
    };
    let Some(report) = run.reports(check).unwrap().pop() else { return };
    let site = |failure: &Failure| failure.fault_site.as_ref().expect("the door knows it").line;
    let mut found: Vec<u32> = report.failures.iter().map(site).collect();
    found.sort_unstable();
    assert_eq!(found, [LOOP, LOOP + 4], "{report}");
    assert!(report.to_string().contains("met at: faultfs/tests/sweep_verb.rs:"), "{report}");
    assert!(report.failures.iter().all(|failure| failure.count > 1), "{report}");
}
