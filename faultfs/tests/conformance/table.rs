//! The semantics line by line: scripts with the answer that each line must get, from memory, from a
//! folder and from std alike. `=>` stands before an error's name or the answer; without it the line must
//! succeed.

use faultfs::errno::Errno;
use faultfs::op::SyncKind;

use crate::world::{Answer, Ask, Flags, Worlds};

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

pub(crate) fn ask_of(words: &[&str]) -> Option<Ask> {
    // `""` is the empty path; `a*300` is three hundred times a.
    let path = |word: &str| match word.split_once('*') {
        Some((unit, times)) => unit.repeat(times.parse().expect("a count")),
        None => word.replace("\"\"", ""),
    };
    let number = |word: &str| word.parse::<u64>().ok();
    let len = |word: &str| word.parse::<usize>().ok();
    Some(match words {
        ["open", slot, at, flags @ ..] => Ask::Open(len(slot)?, path(at), flags_of(flags)?),
        ["unnamed", slot, dir] => Ask::Unnamed(len(slot)?, path(dir)),
        ["name", slot, at] => Ask::LinkUnnamed(len(slot)?, path(at)),
        ["clone", from, to] => Ask::Clone(len(from)?, len(to)?),
        ["close", slot] => Ask::Close(len(slot)?),
        ["read", slot, count] => Ask::Read(len(slot)?, len(count)?),
        ["read-at", slot, count, at] => Ask::ReadAt(len(slot)?, len(count)?, number(at)?),
        ["write", slot, count] => Ask::Write(len(slot)?, len(count)?),
        ["write-at", slot, count, at] => Ask::WriteAt(len(slot)?, len(count)?, number(at)?),
        ["seek", slot, to] => Ask::SeekStart(len(slot)?, number(to)?),
        ["seek-end", slot, by] => Ask::SeekEnd(len(slot)?, by.parse().ok()?),
        ["seek-by", slot, by] => Ask::SeekCurrent(len(slot)?, by.parse().ok()?),
        ["set-len", slot, to] => Ask::SetLen(len(slot)?, number(to)?),
        ["fsync", slot] => Ask::Sync(len(slot)?, SyncKind::All),
        ["fdatasync", slot] => Ask::Sync(len(slot)?, SyncKind::Data),
        ["fstat", slot] => Ask::Stat(len(slot)?),
        ["fchmod", slot, mode] => Ask::Chmod(len(slot)?, u32::from_str_radix(mode, 8).ok()?),
        ["stat", at] => Ask::PathStat(path(at)),
        ["lstat", at] => Ask::PathLstat(path(at)),
        ["chmod", at, mode] => Ask::PathChmod(path(at), u32::from_str_radix(mode, 8).ok()?),
        ["exists", at] => Ask::Exists(path(at)),
        ["cat", at] => Ask::ReadFile(path(at)),
        ["put", at, count] => Ask::WriteFile(path(at), len(count)?),
        ["mkdir", at] => Ask::CreateDir(path(at)),
        ["mkdir-all", at] => Ask::CreateDirAll(path(at)),
        ["rmdir", at] => Ask::RemoveDir(path(at)),
        ["rm-all", at] => Ask::RemoveDirAll(path(at)),
        ["ls", at] => Ask::ReadDir(path(at)),
        ["rm", at] => Ask::Remove(path(at)),
        ["mv", from, to] => Ask::Rename(path(from), path(to)),
        ["exchange", one, other] => Ask::Exchange(path(one), path(other)),
        ["link", from, to] => Ask::HardLink(path(from), path(to)),
        ["symlink", target, at] => Ask::Symlink(path(target), path(at)),
        ["readlink", at] => Ask::ReadLink(path(at)),
        ["sync-dir", at] => Ask::SyncDir(path(at)),
        ["sync"] => Ask::SyncAll,
        _ => return None,
    })
}

pub(crate) fn flags_of(words: &[&str]) -> Option<Flags> {
    let mut flags = Flags { mode: 0o666, ..Flags::default() };
    for word in words {
        match *word {
            "read" => flags.read = true,
            "write" => flags.write = true,
            "append" => flags.append = true,
            "truncate" => flags.truncate = true,
            "create" => flags.create = true,
            "create-new" => flags.create_new = true,
            "sync" => flags.sync = Some(SyncKind::All),
            "dsync" => flags.sync = Some(SyncKind::Data),
            _ => return None,
        }
    }
    Some(flags)
}
