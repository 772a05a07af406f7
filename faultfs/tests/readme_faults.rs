//! The fault test that README shows, as it stands there.

use faultfs::errno::EIO;
use faultfs::plan::on;
use std::io::Write;

#[test]
fn a_failed_sync_is_not_acknowledged() {
    faultfs::explore(|fs| {
        let mut log = fs.create("log")?;
        fs.sync_dir(".")?;
        fs.arm(on::sync().path("log").take(1).fail(EIO));
        fs.begin(1);
        log.write_all(b"record")?;
        match log.sync_data() {
            Ok(()) => fs.ack(1),
            Err(_) => fs.failed(1),
        }
        fs.injector().finish().unwrap();
        Ok(())
    })
    .check(|fs, marks| {
        assert!(!marks.acked.contains(&1) || fs.read("log")? == b"record");
        Ok(())
    });
}

#[test]
fn readme_shows_the_test_above() {
    let readme = include_str!("../../README.md");
    let (_, shown) = include_str!("readme_faults.rs").split_once("\n\n").expect("a first line");
    let (shown, _) = shown.split_once("#[test]\nfn readme").expect("this test");
    assert!(readme.contains(shown.trim_end()), "README and this file differ:\n{shown}");
}
