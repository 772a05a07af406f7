//! The semantics line by line: scripts with the answer that each line must get, from memory, from a
//! folder and from std alike. `=>` stands before an error's name or the answer; without it the line must
//! succeed.

use faultfs::errno::Errno;

use crate::ask::Ask;
use crate::words::ask_of;
use crate::world::{Answer, Worlds};

#[test]
fn names_links_and_directories() {
    run(include_str!("names.txt"));
}

#[test]
fn files_and_cursors() {
    run(include_str!("files.txt"));
}

/// Runs a file of scripts. `# title` starts one, on empty disks.
fn run(text: &str) {
    let mut scripts = 0;
    for script in text.split("\n# ").filter(|script| !script.trim().is_empty()) {
        let (title, body) = script.split_once('\n').expect("a title, then lines");
        let mut worlds = Worlds::new();
        for line in body.lines().filter(|line| !line.trim().is_empty()) {
            let (ask, expected) = parse(line);
            let found = worlds.ask(&ask).unwrap_or_else(|e| panic!("{title}: {line}\n{e}"));
            if let Some(expected) = expected {
                assert_eq!(found, expected, "{title}: {line}");
            } else {
                assert!(found.is_ok(), "{title}: {line}: {found:?}");
            }
        }
        worlds.compare().unwrap_or_else(|e| panic!("{title}: at the end: {e}"));
        scripts += 1;
    }
    assert!(scripts > 5, "the scripts were not found");
}

/// `None`: any answer but an error.
fn parse(line: &str) -> (Ask, Option<Answer>) {
    let (ask, expected) = match line.split_once("=>") {
        Some((ask, expected)) => (ask, Some(answer(expected.trim()))),
        None => (line, None),
    };
    let words: Vec<&str> = ask.split_whitespace().collect();
    (ask_of(&words).unwrap_or_else(|| panic!("what is `{line}`?")), expected)
}

fn answer(expected: &str) -> Answer {
    match expected.parse::<Errno>() {
        Ok(errno) if expected == "EINVAL" => {
            assert_eq!(errno.raw(), 22);
            Err("InvalidInput".into())
        }
        Ok(errno) if expected.starts_with('E') => Err(format!("errno {}", errno.raw())),
        _ if expected == "leads out" => Err(expected.into()),
        _ => Ok(expected.into()),
    }
}
