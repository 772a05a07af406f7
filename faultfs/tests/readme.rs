//! The first test that README shows, as it stands there.

use faultfs::verdict::Broken;
use std::io::Write;

#[test]
fn acknowledged_records_survive_any_power_cut() {
    faultfs::explore(|fs| {
        for id in 0..3 {
            fs.begin(id);
            let mut file = fs.create(format!("record-{id}"))?;
            file.write_all(&[7; 100])?;
            file.sync_all()?;
            fs.sync_dir(".")?;
            fs.ack(id);
        }
        Ok(())
    })
    .check(|fs, marks| {
        for id in &marks.acked {
            let record = fs.read(format!("record-{id}"))?;
            if record != [7; 100] {
                return Err(Broken::lost(format!("record {id} holds {record:?}")));
            }
        }
        Ok(())
    });
}

#[test]
fn readme_shows_the_test_above() {
    let readme = include_str!("../../README.md");
    let (_, shown) = include_str!("readme.rs").split_once("\n\n").expect("a first line");
    let (shown, _) = shown.split_once("#[test]\nfn readme").expect("this test");
    assert!(readme.contains(shown.trim_end()), "README and this file differ:\n{shown}");
}
