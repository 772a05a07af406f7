//! Without the feature `faults` a `FaultFile` is the file in it, and the package has no dependencies:
//! `cargo test -p faultfs --no-default-features --test off`.
#![cfg(not(feature = "faults"))]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use faultfs::fs::Storage;
use faultfs::{FaultFile, Injector};

/// An engine's own log, as production code has it.
struct Log<F> {
    file: FaultFile<F>,
}

impl<F: Storage + FileExt> Log<F> {
    fn append(&self, record: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(record, self.file.size()?)?;
        self.file.sync_data()
    }
}

#[test]
fn the_file_is_all_there_is() {
    assert_eq!(size_of::<FaultFile<File>>(), size_of::<File>());
    assert_eq!(align_of::<FaultFile<File>>(), align_of::<File>());
    assert_eq!(size_of::<Option<FaultFile<File>>>(), size_of::<File>(), "its niche too");
    assert_eq!(size_of::<Injector>(), 0);
}

#[test]
fn every_call_reaches_the_file() {
    let path = std::env::temp_dir().join(format!("faultfs-off-{}", std::process::id()));
    let options = || File::options().read(true).write(true).create(true).truncate(true).open(&path);
    let injector = Injector::default();
    let log = Log { file: FaultFile::armed(options().unwrap(), &injector, "log") };
    log.append(b"one.").unwrap();
    log.append(b"two.").unwrap();
    let mut file = log.file;
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one.two.");
    file.set_len(4).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(b"three").unwrap();
    file.sync_all().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"one.three");
    assert_eq!(file.metadata().unwrap().len(), 9);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn there_are_no_dependencies() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let dependencies = rest.split("\n[").next().unwrap();
    let lines = dependencies.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<&str> = lines.collect();
    assert!(!lines.is_empty());
    for line in lines {
        assert!(line.contains("optional = true"), "{line}");
    }
}
