//! Engines on plain `std::fs`, on `tempfile` and on a shared mapping: planted bugs are found through the
//! interposed door, with what was lost named, and their fixed twins hold under every profile.

#![allow(unsafe_code, reason = "sync_file_range and a shared mapping are what is tested")]

#[path = "../../tests/planted/log.rs"]
mod log;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use faultfs::Profile;
use faultfs::report::Report;
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
use faultfs_interpose::{ack, begin, explore};
use log::{Bug, ENTRY_ON_ITS_OWN, Files, Log, RENAME_FIRST, expect, power_cuts};

/// The engine's filesystem: a folder.
struct Folder(PathBuf);

/// Where [`Folder`] creates files: see below.
const CREATES: u32 = line!() + 5;

impl Files for Folder {
    type File = File;
    fn create(&self, name: &str) -> io::Result<File> {
        File::create(self.0.join(name))
    }
    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }
    fn start_writeback(&self, file: &File) -> io::Result<()> {
        let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        // SAFETY: a descriptor that is open, and no addresses.
        match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, all) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.0.join(name))
    }
}

fn workload(root: &Path, bug: Bug) -> Result<(), Broken> {
    let mut log = Log::create(Folder(root.into()), bug)?;
    for id in 0..2 {
        begin(id);
        log.put(id)?;
        ack(id);
    }
    log.compact()?;
    begin(2);
    log.put(2)?;
    ack(2);
    Ok(())
}

/// The reports of the log engine with a bug, one for each profile.
fn reports(bug: Bug) -> Vec<Report> {
    explore(|root| workload(root, bug))
        .profiles(Profile::MAIN)
        .reports(|root, marks| log::check(&Folder(root.into()), marks))
        .unwrap()
}

#[test]
fn the_fixed_twin_holds_under_every_profile() {
    let reports = reports(Bug::None);
    for report in &reports {
        assert!(report.held(), "{report}");
        assert!(report.distinct > 5, "{report}");
    }
}

#[test]
fn a_missing_directory_sync_is_found() {
    let reports = reports(Bug::NoDirSync);
    expect(&reports, &ENTRY_ON_ITS_OWN, "create log (its directory entry)");
    // None in a worker that was started for another exploration.
    if let Some(report) = reports.first() {
        let sentence = report.failures[0].sentence();
        let ack = "acknowledged at faultfs/interpose/tests/planted.rs:";
        assert!(sentence.contains(ack), "{report}");
        let created = format!("created at {}:{CREATES},", file!());
        assert!(sentence.contains(&created), "{report}");
        let callers = &report.failures[0].losses[0].callers;
        assert!(callers[0].file.ends_with("tests/planted/log.rs"), "{report}");
        assert_eq!(&*callers.last().unwrap().file, file!(), "{report}");
    }
}

#[test]
fn a_rename_before_the_sync_is_found() {
    expect(&reports(Bug::RenameBeforeSync), &RENAME_FIRST, "log.new");
}

#[test]
fn sync_file_range_for_fsync_is_found() {
    expect(&reports(Bug::WritebackForSync), &power_cuts(), "write log");
}

/// The flusher syncs on a thread of its own, after `put` has answered.
#[test]
fn an_acknowledgement_before_the_sync_on_another_thread_is_found() {
    let run = |ack_first: bool| {
        explore(move |root| {
            let mut log = Log::create(Folder(root.into()), Bug::None)?;
            begin(0);
            log.put_unsynced(0)?;
            if ack_first {
                ack(0);
            }
            let synced = std::thread::scope(|scope| scope.spawn(|| log.sync()).join());
            synced.expect("the flusher does not panic")?;
            if !ack_first {
                ack(0);
            }
            Ok(())
        })
        .profiles(Profile::MAIN)
        .reports(|root, marks| log::check(&Folder(root.into()), marks))
        .unwrap()
    };
    expect(&run(true), &power_cuts(), "write log");
    expect(&run(false), &[], "");
}

/// Publishes through `tempfile`, which renames with a system call of its own.
#[test]
fn an_unsynced_persist_of_tempfile_is_found() {
    let run = |sync: bool| {
        explore(move |root| {
            fs::write(root.join("value"), "old")?;
            File::open(root.join("value"))?.sync_all()?;
            File::open(root)?.sync_all()?;
            ack(0);
            begin(1);
            let mut new = tempfile::NamedTempFile::new_in(root)?;
            new.write_all(b"new")?;
            if sync {
                new.as_file().sync_all()?;
            }
            new.persist(root.join("value"))?;
            File::open(root)?.sync_all()?;
            ack(1);
            Ok(())
        })
        .profiles(Profile::MAIN)
        .reports(replaced)
        .unwrap()
    };
    // All of the content is in one new page, for which ext4 lets a rename over a file wait.
    expect(&run(false), &[Profile::POSIX, Profile::XFS, Profile::BTRFS], "write");
    expect(&run(true), &[], "");
}

fn replaced(root: &Path, marks: &Marks) -> Result<(), Broken> {
    let found = fs::read_to_string(root.join("value")).unwrap_or_default();
    let allowed: &[&str] = match (marks.acked.contains(&1), marks.acked.contains(&0)) {
        (true, _) => &["new"],
        (_, true) => &["old", "new"],
        _ => return Ok(()),
    };
    match allowed.contains(&found.as_str()) {
        true => Ok(()),
        false => Err(Broken::lost(format!("{found:?}, where {allowed:?} is promised"))),
    }
}

fn the_word_is_there(root: &Path, marks: &Marks) -> Result<(), Broken> {
    let found = fs::read(root.join("map")).unwrap_or_default();
    match marks.acked.contains(&7) && found.get(4096..4100) != Some(&7u32.to_le_bytes()) {
        true => Err(Broken::lost("the stored word is gone")),
        false => Ok(()),
    }
}

/// Stores through a shared mapping; only `msync(MS_SYNC)` makes that durable.
#[test]
fn a_mapped_store_without_msync_is_found() {
    let run = |sync: bool| {
        explore(move |root| {
            let file =
                File::options().read(true).write(true).create_new(true).open(root.join("map"))?;
            file.set_len(8192)?;
            file.sync_all()?;
            File::open(root)?.sync_all()?;
            // SAFETY: nobody else changes the file while it is mapped.
            let mut map = unsafe { memmap2::MmapMut::map_mut(&file)? };
            begin(7);
            map[4096..4100].copy_from_slice(&7u32.to_le_bytes());
            match sync {
                true => map.flush_range(4096, 4)?,
                false => map.flush_async_range(4096, 4)?,
            }
            ack(7);
            Ok(())
        })
        .profiles(Profile::MAIN)
        .reports(the_word_is_there)
        .unwrap()
    };
    expect(&run(false), &power_cuts(), "mapped store map");
    expect(&run(true), &[], "");
}

/// The record is stored before the head that points to it, at a lower offset: where the process dies there is no head
/// without a record, though a look at the mapping meets the head first. A power cut may write back either.
#[test]
fn stores_that_nobody_saw_the_order_of_are_no_alarm_where_the_process_dies() {
    let run = |sync: bool| {
        explore(move |root| {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).open(root.join("map"))?;
            file.set_len(8192)?;
            file.sync_all()?;
            File::open(root)?.sync_all()?;
            // SAFETY: nobody else changes the file while it is mapped.
            let mut map = unsafe { memmap2::MmapMut::map_mut(&file)? };
            map[4096] = 7;
            if sync {
                map.flush_range(4096, 1)?;
            }
            map[0] = 7;
            map.flush()?;
            Ok(())
        })
        .profiles(Profile::ALL)
        .reports(|root, _| match *fs::read(root.join("map")).unwrap_or_default() {
            [7, ref rest @ ..] if rest[4095] != 7 => Err(Broken::lost("what the head points to")),
            _ => Ok(()),
        })
        .unwrap()
    };
    let reports = run(false);
    expect(&reports, &power_cuts(), "mapped store map");
    // None in a worker.
    for killed in reports.iter().filter(|report| report.profile == Profile::PROCESS_KILL) {
        assert!(killed.bound.contains("(comparisons: 1, pages: 2)"), "{}", killed.bound);
    }
    expect(&run(true), &[], "");
}

/// Room to grow is mapped far beyond the end of the file, more than a worker's private memory may be.
#[test]
fn a_mapping_with_room_to_grow_is_watched() {
    let run = |sync: bool| {
        explore(move |root| {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).open(root.join("map"))?;
            file.set_len(4096)?;
            file.sync_all()?;
            File::open(root)?.sync_all()?;
            // SAFETY: nobody else changes the file, and nothing behind its end is touched.
            let mut map = unsafe { memmap2::MmapOptions::new().len(2 << 30).map_mut(&file)? };
            map[..4].copy_from_slice(&6u32.to_le_bytes());
            file.set_len(8192)?;
            // SAFETY: no slice of it is held.
            unsafe { map.remap(4 << 30, memmap2::RemapOptions::new().may_move(true))? };
            file.sync_all()?;
            begin(7);
            map[4096..4100].copy_from_slice(&7u32.to_le_bytes());
            if sync {
                map.flush_range(4096, 4)?;
            }
            ack(7);
            Ok(())
        })
        .profiles(Profile::MAIN)
        .reports(the_word_is_there)
        .unwrap()
    };
    expect(&run(false), &power_cuts(), "mapped store map");
    expect(&run(true), &[], "");
}

/// What the door cannot model makes a run that was not measured: no pass, and no alarm either, though the
/// engine has a bug.
#[test]
fn a_run_that_cannot_be_modelled_is_not_explored() {
    let reports = explore(|root| {
        let pipe = std::ffi::CString::new(root.join("pipe").to_str().expect("text"))?;
        // SAFETY: a path that ends in a zero byte.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        workload(root, Bug::WritebackForSync)
    })
    .reports(|root, marks| log::check(&Folder(root.into()), marks))
    .unwrap();
    for report in reports {
        assert_eq!(report.verdict, Verdict::NotMeasured, "{report}");
        assert!(report.failures.is_empty() && report.distinct == 0, "{report}");
        assert!(report.not_measured[0].contains("pipe"), "{report}");
    }
}

/// Where a worker keeps its files is not part of what went wrong.
#[test]
fn a_message_does_not_depend_on_the_worker() {
    let run = |workers| {
        explore(|root| {
            File::create(root.join("file"))?.sync_all()?;
            ack(0);
            Ok(())
        })
        .named("paths")
        .workers(workers)
        .reports(|root, marks| match root.join("file").exists() || marks.acked.is_empty() {
            true => Ok(()),
            false => Err(Broken::lost(format!("{} is gone", root.join("file").display()))),
        })
        .unwrap()
    };
    let (one, three) = (run(1), run(3));
    assert_eq!(one, three);
    if let Some(report) = one.first() {
        assert_eq!(report.failures[0].message, "…/root/file is gone");
    }
}

/// Adds a journal to a count and removes it. Cut short before the journal is gone, it must not add it
/// again: with `fixed` the count says which journal is in it.
fn recovered_count(root: &Path, fixed: bool) -> io::Result<u64> {
    let sync_dir = || File::open(root)?.sync_all();
    let number =
        |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let counted = match fs::read(root.join("count")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => vec![0; 16],
        counted => counted?,
    };
    let (count, folded) = (number(&counted, 0), number(&counted, 8));
    let journal = root.join(format!("journal{}", if fixed { folded } else { 0 }));
    let added = match fs::read(&journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(count),
        added => added?.len() as u64,
    };
    let new = [count + added, folded + 1].map(u64::to_le_bytes).concat();
    fs::write(root.join("new"), new)?;
    File::open(root.join("new"))?.sync_all()?;
    fs::rename(root.join("new"), root.join("count"))?;
    sync_dir()?;
    fs::remove_file(journal)?;
    sync_dir()?;
    Ok(count + added)
}

/// A recovery that adds twice what it was cut short in adding is found by crashes during recovery alone,
/// and its twin holds to depth two.
#[test]
fn a_recovery_that_is_not_idempotent_is_found_by_a_second_crash() {
    let run = |fixed: bool, depth: u32| {
        explore(|root| {
            let mut journal = File::create(root.join("journal0"))?;
            File::open(root)?.sync_all()?;
            for id in 0..2 {
                begin(id);
                journal.write_all(b"+")?;
                journal.sync_all()?;
                ack(id);
            }
            Ok(())
        })
        .profiles([Profile::POSIX, Profile::EXT4])
        .recovery_crashes(depth)
        .reports(move |root, marks| {
            let (count, least, most) = (
                recovered_count(root, fixed)?,
                marks.acked.len() as u64,
                marks.issued.len() as u64,
            );
            match (least..=most).contains(&count) {
                true => Ok(()),
                false => Err(Broken::corrupt(format!("{count} is not {least} to {most}"))),
            }
        })
        .unwrap()
    };
    for (fixed, depth, expected) in
        [(false, 0, Verdict::Held), (false, 1, Verdict::Corrupt), (true, 2, Verdict::Held)]
    {
        for report in run(fixed, depth) {
            assert_eq!(report.verdict, expected, "{report}");
        }
    }
}
