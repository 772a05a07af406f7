//! From the words of a script to what is asked.

use faultfs::op::SyncKind;

use crate::ask::{Ask, Flags};

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
