//! A disk served from memory.

#![allow(unsafe_code, reason = "calls of C")]

mod chance;
mod mounts;

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use faultfs::disk::Disk;
use faultfs::folder::Folder;

/// One mount at a time in a process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// An empty folder, and one that is real, made equal to a disk.
fn folders(disk: &Disk) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().canonicalize().unwrap();
    let (mounted, real) = (path.join("memory"), path.join("folder"));
    fs::create_dir(&mounted).unwrap();
    Folder::new(&real).write(disk).unwrap();
    (folder, mounted, real)
}
