//! What the package promises about itself.

use std::fs;
use std::path::{Path, PathBuf};

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn without_fail_points_there_are_no_dependencies() {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let dependencies = rest.split("\n[").next().unwrap();
    let lines: Vec<&str> =
        dependencies.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(!lines.is_empty());
    for line in lines {
        assert!(line.contains("optional = true"), "{line}");
    }
    assert!(manifest.contains("\ndefault = []\n"));
}

#[test]
fn no_float_and_no_hash_map_decides_anything() {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 20, "{found:?}");
    for path in found {
        let text = read(&path);
        for word in ["f32", "f64", "HashMap", "HashSet", "RandomState"] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
        let lines = text.split("\n#[cfg(test)]\nmod tests").next().unwrap().lines().count();
        assert!(lines <= 500, "{} has {lines} lines", path.display());
    }
}
