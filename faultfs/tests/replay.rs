//! A failing test as its author meets it: the one line to paste, and what it shows; also after the engine
//! was mended.

mod child;

use std::io::Write;
use std::path::Path;

use faultfs::verdict::Broken;

/// The test that fails: it runs in a process of its own only, which says what is wrong with the engine.
#[test]
fn a_record_survives() {
    let (Ok(bug), Ok(traces)) = (std::env::var("PLANTED_BUG"), std::env::var("PLANTED_TRACES"))
    else {
        return;
    };
    faultfs::explore(move |fs| {
        let mut file = fs.create("record")?;
        file.write_all(b"record")?;
        file.sync_all()?;
        if bug != "no directory sync" {
            fs.sync_dir(".")?;
        }
        fs.ack(1);
        Ok(())
    })
    .traces(traces)
    .check(|fs, marks| match fs.exists("record")? || marks.acked.is_empty() {
        true => Ok(()),
        false => Err(Broken::lost("the record is gone")),
    });
}

fn run(bug: &str, traces: &Path, token: Option<&str>) -> (bool, String) {
    child::run("a_record_survives", bug, traces, token)
}

#[test]
fn a_failing_test_ends_in_a_line_that_replays_it() {
    let traces = tempfile::tempdir().unwrap();
    let (passed, said) = run("no directory sync", traces.path(), None);
    assert!(!passed, "{said}");
    let token = &*child::pasted(&said, "a_record_survives");

    let (passed, said) = run("no directory sync", traces.path(), Some(token));
    assert!(!passed, "{said}");
    assert!(said.contains(&format!("{token}: lost: the record is gone")), "{said}");
    assert!(said.contains("lost: create record (its directory entry)"), "{said}");
    assert!(!said.contains("the run has changed"), "{said}");

    // The disk is still that of the engine as it was; nobody may take that for a verdict on it now.
    let (passed, said) = run("none", traces.path(), Some(token));
    assert!(!passed, "{said}");
    assert!(said.contains("the run has changed"), "{said}");
    let (passed, said) = run("none", traces.path(), None);
    assert!(passed, "{said}");
}
