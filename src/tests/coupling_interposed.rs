//! An engine on `std::fs` with fail points, through the interposed door: crashes at its points, on real
//! files, with nothing changed in it.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::path::Path;

use faultfs::report::Report;
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
use faultfs_interpose::{ack, begin, explore};
use faultpoint::{Scenario, Scope, fail_point};

/// Replaces the manifest and removes what the old one needed; `in_order` syncs in between.
fn swap_manifest(root: &Path, in_order: bool) -> io::Result<()> {
    fs::write(root.join("manifest.new"), "2")?;
    File::open(root.join("manifest.new"))?.sync_all()?;
    fs::rename(root.join("manifest.new"), root.join("manifest"))?;
    if in_order {
        File::open(root)?.sync_all()?;
    }
    fail_point!("interposed_manifest_swapped");
    fs::remove_file(root.join("table-1"))?;
    fail_point!("interposed_table_removed");
    File::open(root)?.sync_all()
}

fn begin_with_version_1(root: &Path) -> io::Result<()> {
    for (name, content) in [("manifest", "1"), ("table-1", "a"), ("table-2", "b")] {
        fs::write(root.join(name), content)?;
        File::open(root.join(name))?.sync_all()?;
    }
    File::open(root)?.sync_all()?;
    begin(1);
    ack(1);
    Ok(())
}

fn opens(root: &Path, marks: &Marks) -> Result<(), Broken> {
    if marks.acked.contains(&2) {
        return Err(Broken::lost("what was said after the power had gone was heard"));
    }
    let version = fs::read_to_string(root.join("manifest"))?;
    match root.join(format!("table-{version}")).exists() {
        true => Ok(()),
        false => Err(Broken::corrupt(format!("manifest {version} names a table that is gone"))),
    }
}

/// One report, in the process of the test; none in its workers.
fn at_point(in_order: bool, point: &str) -> Option<Report> {
    let reports = explore(move |root| {
        begin_with_version_1(root)?;
        // A point of a thread of the engine counts like any other.
        let root = root.to_path_buf();
        Scope::current().spawn(move || swap_manifest(&root, in_order)).join().unwrap()?;
        Ok(())
    })
    .named(format!("{point} in_order={in_order}"))
    .at_point(point)
    .reports(opens);
    reports.unwrap().pop()
}

#[test]
fn a_bug_is_found_at_the_point_where_it_shows() {
    let Some(caught) = at_point(false, "interposed_table_removed") else { return };
    assert_eq!((caught.verdict, caught.crash_points), (Verdict::Corrupt, 1), "{caught}");
    let crash = caught.failures[0].crash.to_string();
    assert!(crash.ends_with(", at fail point `interposed_table_removed`"), "{crash}");
}

#[test]
fn at_the_point_before_it_there_is_nothing_wrong_yet() {
    let Some(report) = at_point(false, "interposed_manifest_swapped") else { return };
    assert!(report.held() && report.crash_points == 1 && report.distinct > 1, "{report}");
}

#[test]
fn the_mended_twin_holds_at_the_same_point() {
    let Some(report) = at_point(true, "interposed_table_removed") else { return };
    assert!(report.held() && report.crash_points == 1, "{report}");
}

fn where_the_power_is_cut(in_order: bool) -> Option<Report> {
    let reports = explore(move |root| {
        let faults = Scenario::new();
        faults.on("interposed_table_removed", |_| faultfs_interpose::cut_power());
        begin_with_version_1(root)?;
        swap_manifest(root, in_order)?;
        ack(2);
        faults.finish();
        Ok(())
    })
    .named(format!("cut in_order={in_order}"))
    .reports(opens);
    reports.unwrap().pop()
}

#[test]
fn a_power_cut_at_a_point_finds_the_bug() {
    let Some(caught) = where_the_power_is_cut(false) else { return };
    assert_eq!((caught.verdict, caught.crash_points), (Verdict::Corrupt, 1), "{caught}");
    assert_eq!(caught.not_measured, [""; 0], "what came after the cut was seen, too");
}

#[test]
fn a_power_cut_at_a_point_passes_the_mended_twin() {
    let Some(report) = where_the_power_is_cut(true) else { return };
    assert!(report.held() && report.crash_points == 1 && report.distinct > 1, "{report}");
}
