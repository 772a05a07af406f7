//! The page of a failing exploration: what it says, that it needs nothing else, and that it stays usable.

#![cfg(feature = "html")]

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use faultfs::report::page_of;
use faultfs::verdict::Broken;
use faultfs::{FaultFs, Profile, explore};

/// A file is made and synced, and its name is not.
fn unsynced_name(fs: &FaultFs, name: &str, ops_before: u32) -> Result<(), Broken> {
    let mut other = fs.create("other")?;
    for _ in 0..ops_before / 2 {
        other.write_all(b"x")?;
        other.sync_all()?;
    }
    fs.sync_dir(".")?;
    fs.begin(1);
    let mut file = fs.create(name)?;
    file.write_all(&[7; 5000])?;
    file.sync_all()?;
    fs.ack(1);
    if ops_before > 0 {
        // One crash point is enough where there are thousands.
        fs.cut_power();
    }
    Ok(())
}

/// The page that an exploration leaves in `traces`.
fn page(name: &'static str, ops_before: u32, traces: &Path) -> String {
    let reports = explore(move |fs| unsynced_name(fs, name, ops_before))
        .named("unsynced")
        .in_process()
        .profiles([Profile::POSIX, Profile::PROCESS_KILL])
        .traces(traces)
        .reports(move |fs, marks| match fs.read(name) {
            Ok(found) if found == [7; 5000] => Ok(()),
            _ if marks.acked.is_empty() => Ok(()),
            _ => Err(Broken::lost("<acknowledged> & gone")),
        })
        .unwrap();
    let path = page_of(&reports[0], traces).expect("a page beside the trace");
    assert!(path.with_extension("trace").exists());
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn it_names_the_loss_its_line_and_both_disks_and_needs_no_other_file() {
    let traces = tempfile::tempdir().unwrap();
    let page = page("current", 0, traces.path());
    let source = include_str!("page.rs").lines();
    let line = 1 + source.take_while(|line| !line.contains("fs.create(name)?;")).count();
    for said in [
        "Lost only the directory entry of current, created at ",
        &format!("tests/page.rs:{line}"),
        "fs.create(name)?",
        "an fsync of its directory, the root (.), begun after op 2 and ended before the power went",
        "1 acknowledged: 1",
        "posix: an entry is durable once its directory was synced",
        "5000 bytes",
        "not there",
        "FAULTFS_REPLAY=",
    ] {
        assert!(page.contains(said), "{said:?} is missing");
    }
    // The profile that lost nothing has its row.
    assert!(page.contains("process-kill") && page.contains("held"));
    for needs_more in ["<script", "http:", "https:", " src=", "@import", "url("] {
        assert!(!page.contains(needs_more), "{needs_more}");
    }
}

#[test]
fn names_and_messages_are_text_and_never_markup() {
    let traces = tempfile::tempdir().unwrap();
    let page = page("<b>\"&", 0, traces.path());
    assert!(page.contains("&lt;b&gt;&quot;&amp;"));
    assert!(page.contains("&lt;acknowledged&gt; &amp; gone"));
    assert!(!page.contains("<b>"));
}

#[test]
fn a_run_of_ten_thousand_ops_is_folded_and_says_so() {
    let traces = tempfile::tempdir().unwrap();
    let page = page("current", 10_000, traces.path());
    assert!(
        page.contains("ops and marks are not shown here; the whole run is at the end of the page")
    );
    // Each op stands in the list at the end, once, and few of them anywhere else.
    assert!(page.matches("fsync other").count() < 5_100);
    assert!(page.len() < 4 << 20, "{} bytes", page.len());
}

#[test]
fn the_output_of_a_failing_test_names_the_page() {
    let traces = tempfile::tempdir().unwrap();
    let failing = || {
        explore(|fs| unsynced_name(fs, "current", 0)).in_process().traces(traces.path()).check(
            |fs, marks| match fs.exists("current")? {
                false if !marks.acked.is_empty() => Err(Broken::lost("gone")),
                _ => Ok(()),
            },
        )
    };
    let panic = catch_unwind(AssertUnwindSafe(failing)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    let page = text.lines().find_map(|line| line.strip_prefix("page: ")).expect(text);
    assert!(Path::new(page).is_file(), "{text}");
    assert!(text.trim_end().lines().last().unwrap().contains("replay: FAULTFS_REPLAY="), "{text}");
}
