//! A sync that fails, as kernels fail it: what becomes of the pages, who is told, what a retry is worth.
//!
//! The rows are those of Rebello et al., "Can Applications Recover from fsync Failures?", table 1.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use faultfs::errno::EIO;
use faultfs::fault::SyncFailure;
use faultfs::fs::File;
use faultfs::plan::{Rule, on};
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
use faultfs::{FaultFs, Profile, explore};

/// A file with a synced page of `o`, and `new` written over its start and past its end; the rule is armed
/// after that.
fn dirty(fs: &FaultFs, rule: Rule) -> File {
    let file = fs.create_new("f").unwrap();
    file.write_all_at(&[b'o'; 4096], 0).unwrap();
    file.sync_all().unwrap();
    fs.sync_dir(".").unwrap();
    file.write_all_at(b"new", 0).unwrap();
    file.write_all_at(b"new", 4096).unwrap();
    fs.arm(rule);
    file
}

/// In memory, and on a folder that lives as long as the value beside it.
fn both() -> [(FaultFs, Option<tempfile::TempDir>); 2] {
    let folder = tempfile::tempdir().unwrap();
    let real = FaultFs::real(folder.path()).unwrap();
    [(FaultFs::mem(), None), (real, Some(folder))]
}

/// The first three bytes of the first page, and of the second.
fn seen(fs: &FaultFs) -> (String, String) {
    let all = fs.read("f").unwrap();
    let at = |from: usize| {
        let end = all.len().min(from + 3);
        String::from_utf8_lossy(all.get(from..end).unwrap_or_default()).replace('\0', "0")
    };
    (at(0), at(4096))
}

#[track_caller]
fn sees(fs: &FaultFs, first: &str, second: &str) {
    assert_eq!(seen(fs), (first.to_owned(), second.to_owned()));
}

#[track_caller]
fn fails(result: io::Result<()>) {
    assert_eq!(result.unwrap_err().raw_os_error(), Some(EIO.raw()));
}

#[track_caller]
fn is_true(fs: &FaultFs) {
    let trace = fs.take_trace();
    assert_eq!(trace.unmodelled, [""; 0]);
    assert_eq!(trace.replay().digest(), fs.disk().digest());
}

#[test]
fn ext4_ordered_and_xfs_leave_the_pages_clean_with_the_new_data_until_they_are_evicted() {
    for (fs, _folder) in both() {
        let file = dirty(&fs, on::sync().take(1).fail(EIO));
        fails(file.sync_all());
        sees(&fs, "new", "new");
        file.sync_all().unwrap();
        sees(&fs, "new", "new");
        fs.evict("f").unwrap();
        sees(&fs, "ooo", "000");
        is_true(&fs);
    }
}

#[test]
fn a_page_that_is_written_again_is_written_back_by_the_next_sync() {
    for (fs, _folder) in both() {
        let file = dirty(&fs, on::sync().take(1).fail(EIO));
        fails(file.sync_data());
        file.write_all_at(b"NEW", 0).unwrap();
        file.sync_data().unwrap();
        fs.evict("f").unwrap();
        sees(&fs, "NEW", "000");
        is_true(&fs);
    }
}

#[test]
fn btrfs_reverts_data_and_size() {
    for (fs, _folder) in both() {
        let file = dirty(&fs, on::sync().take(1).fail_sync(SyncFailure::BTRFS, EIO));
        fails(file.sync_all());
        sees(&fs, "ooo", "");
        assert_eq!(fs.metadata("f").unwrap().len(), 4096);
        file.sync_all().unwrap();
        fs.evict("f").unwrap();
        sees(&fs, "ooo", "");
        is_true(&fs);
    }
}

#[test]
fn ext4_data_journal_reports_at_the_next_sync_and_neither_writes() {
    for (fs, _folder) in both() {
        let file = dirty(&fs, on::sync().take(1).fail_sync(SyncFailure::EXT4_DATA_JOURNAL, EIO));
        file.sync_all().unwrap();
        sees(&fs, "new", "new");
        fails(file.sync_all());
        file.sync_all().unwrap();
        fs.evict("f").unwrap();
        sees(&fs, "ooo", "000");
        is_true(&fs);
    }
}

#[test]
fn freebsd_keeps_the_pages_dirty_and_a_retry_writes_them() {
    for (fs, _folder) in both() {
        let file = dirty(&fs, on::sync().take(1).fail_sync(SyncFailure::FREEBSD, EIO));
        fails(file.sync_all());
        sees(&fs, "new", "new");
        file.sync_all().unwrap();
        fs.evict("f").unwrap();
        sees(&fs, "new", "new");
        is_true(&fs);
    }
}

#[test]
fn every_handle_that_was_open_is_told_once_and_later_ones_are_not() {
    for (fs, _folder) in both() {
        let file = dirty(&fs, on::sync().take(1).fail(EIO));
        let (other, clone) = (fs.open("f").unwrap(), file.try_clone().unwrap());
        fails(file.sync_all());
        let later = fs.open("f").unwrap();
        fails(other.sync_all());
        other.sync_all().unwrap();
        clone.sync_all().unwrap();
        file.sync_all().unwrap();
        later.sync_all().unwrap();
    }
}

#[test]
fn an_error_that_nobody_has_seen_waits_for_the_first_opener() {
    for (fs, _folder) in both() {
        let file = dirty(&fs, on::sync().take(1).fail_sync(SyncFailure::EXT4_DATA_JOURNAL, EIO));
        file.sync_all().unwrap();
        drop(file);
        let first = fs.open("f").unwrap();
        let second = fs.open("f").unwrap();
        second.sync_all().unwrap();
        fails(first.sync_all());
        first.sync_all().unwrap();
    }
}

#[test]
fn eviction_without_a_failed_sync_changes_nothing() {
    for (fs, _folder) in both() {
        let file = dirty(&fs, on::sync().fail(EIO).optional());
        let before = fs.trace().ops.len();
        fs.evict("f").unwrap();
        sees(&fs, "new", "new");
        assert_eq!(fs.trace().ops.len(), before);
        assert!(fs.evict(".").is_err());
        drop(file);
    }
}

#[test]
fn what_an_o_dsync_write_wrote_is_on_the_device() {
    for (fs, _folder) in both() {
        let file = dirty(&fs, on::sync().take(1).fail(EIO));
        let mut options = faultfs::fs::OpenOptions::new();
        let synced = fs.open_with("f", options.write(true).sync(faultfs::op::SyncKind::Data));
        synced.unwrap().write_all_at(b"SYN", 4096).unwrap();
        fails(file.sync_all());
        fs.evict("f").unwrap();
        sees(&fs, "ooo", "SYN");
    }
}

/// What a log does when its sync fails.
#[derive(Clone, Copy, PartialEq, Debug)]
enum OnFailure {
    /// Writes a new copy under another name and reports it: correct.
    Rewrite,
    /// Says so, and promises nothing: correct.
    Report,
    /// Syncs again and takes the success for one.
    Retry,
    /// Does not look.
    Ignore,
}

fn put(fs: &FaultFs, on_failure: OnFailure) -> io::Result<()> {
    let mut log = fs.create("log")?;
    fs.sync_dir(".")?;
    log.write_all(b"record")?;
    match (log.sync_data(), on_failure) {
        (Ok(()), _) | (Err(_), OnFailure::Ignore) => Ok(()),
        (Err(_), OnFailure::Retry) => log.sync_data(),
        (Err(error), OnFailure::Report) => Err(error),
        (Err(_), OnFailure::Rewrite) => {
            let mut copy = fs.create("log.new")?;
            copy.write_all(b"record")?;
            copy.sync_data()?;
            fs.rename("log.new", "log")?;
            fs.sync_dir(".")
        }
    }
}

/// Explores; nothing to compare in the worker process of another exploration.
#[track_caller]
fn expect(on_failure: OnFailure, rule: fn() -> Rule, profile: Profile, expected: Verdict) {
    let workload = move |fs: &FaultFs| -> Result<(), Broken> {
        fs.arm(rule());
        fs.begin(1);
        match put(fs, on_failure) {
            Ok(()) => fs.ack(1),
            Err(_) => fs.failed(1),
        }
        fs.injector().finish().map_err(|e| Broken::lost(e.to_string()))
    };
    let check = |fs: &FaultFs, marks: &Marks| -> Result<(), Broken> {
        let acked = marks.acked.contains(&1);
        match fs.read("log") {
            Ok(content) if content == b"record" || !acked => Ok(()),
            Ok(content) => Err(Broken::lost(format!("record 1: the log holds {content:?}"))),
            Err(_) if !acked => Ok(()),
            Err(e) => Err(Broken::lost(format!("record 1: {e}"))),
        }
    };
    let reports = explore(workload).profiles([profile]).reports(check).unwrap();
    if let Some(report) = reports.first() {
        assert_eq!(report.verdict, expected, "{on_failure:?} under {}: {report}", rule());
    }
}

#[test]
fn a_sync_that_is_retried_or_ignored_loses_the_record_and_the_fixed_twins_do_not() {
    const LINUX: [fn() -> Rule; 2] =
        [|| on::sync().take(1).fail(EIO), || on::sync().take(1).fail_sync(SyncFailure::BTRFS, EIO)];
    for profile in [Profile::POSIX, Profile::EXT4, Profile::DATA_JOURNAL] {
        for rule in LINUX {
            expect(OnFailure::Rewrite, rule, profile, Verdict::Held);
            expect(OnFailure::Report, rule, profile, Verdict::Held);
            expect(OnFailure::Retry, rule, profile, Verdict::Lost);
            expect(OnFailure::Ignore, rule, profile, Verdict::Lost);
        }
        let freebsd = || on::sync().take(1).fail_sync(SyncFailure::FREEBSD, EIO);
        expect(OnFailure::Retry, freebsd, profile, Verdict::Held);
        expect(OnFailure::Ignore, freebsd, profile, Verdict::Lost);
    }
    // The page cache outlives the process.
    let retry = || on::sync().take(1).fail(EIO);
    expect(OnFailure::Retry, retry, Profile::PROCESS_KILL, Verdict::Held);
}

#[test]
fn a_lying_disk_loses_what_it_promised() {
    let lies = || on::sync().lie();
    expect(OnFailure::Rewrite, lies, Profile::POSIX, Verdict::Lost);
}

/// The verdict of a workload and its check; `None` in the worker process of another exploration.
fn verdict(
    workload: impl Fn(&FaultFs) -> Result<(), Broken>,
    check: fn(&FaultFs, &Marks) -> Result<(), Broken>,
) -> Option<Verdict> {
    let reports = explore(workload).profiles([Profile::POSIX]).reports(check).unwrap();
    reports.first().map(|report| report.verdict)
}

/// A log whose sync fails, and which says so; what it leaves of the record decides whether the failure is
/// one (CuttleFS, section 4: a *false failure*). `cuts`: the record is taken out of the log again.
fn put_or_say_no(fs: &FaultFs, cuts: bool) -> Result<(), Broken> {
    let mut log = fs.create("log")?;
    log.write_all(b"one.")?;
    log.sync_data()?;
    fs.sync_dir(".")?;
    fs.arm(on::sync().path("log").take(1).fail(EIO));
    fs.begin(2);
    log.write_all(b"two.")?;
    if log.sync_data().is_err() {
        if cuts {
            log.set_len(4)?;
            log.sync_data()?;
        }
        fs.failed(2);
    } else {
        fs.ack(2);
    }
    fs.injector().finish().map_err(|e| Broken::lost(e.to_string()))
}

fn what_failed_is_not_there(fs: &FaultFs, marks: &Marks) -> Result<(), Broken> {
    match fs.read("log") {
        Ok(log) if marks.failed.contains(&2) && log.ends_with(b"two.") => {
            Err(Broken::corrupt("record 2 has failed, and is there"))
        }
        _ => Ok(()),
    }
}

#[test]
fn a_record_that_was_said_to_have_failed_comes_back_unless_it_is_taken_out() {
    let found = verdict(|fs| put_or_say_no(fs, false), what_failed_is_not_there);
    assert!(found.is_none_or(|found| found == Verdict::Corrupt), "{found:?}");
    let found = verdict(|fs| put_or_say_no(fs, true), what_failed_is_not_there);
    assert!(found.is_none_or(|found| found == Verdict::Held), "{found:?}");
}

/// Two pages that must always hold the same. Their first update fails to sync; the page cache has it all the
/// same, and the second update reads it. `rereads`: what the failed one has left is written anew first.
fn update_twice(fs: &FaultFs, rereads: bool) -> io::Result<()> {
    const PAGE: u64 = 4096;
    let file = fs.create_new("db")?;
    file.write_all_at(b"0", 0)?;
    file.write_all_at(b"0", PAGE)?;
    file.sync_all()?;
    fs.sync_dir(".")?;
    fs.arm(on::sync().path("db").take(1).fail_sync(SyncFailure::EXT4_ORDERED, EIO));
    file.write_all_at(b"1", 0)?;
    if file.sync_data().is_ok() {
        return Ok(());
    }
    let mut first = [0; 1];
    file.read_exact_at(&mut first, 0)?;
    if rereads {
        file.write_all_at(&first, 0)?;
    }
    // The other page follows the first.
    file.write_all_at(&first, PAGE)?;
    file.sync_data()?;
    fs.ack(1);
    Ok(())
}

fn pages_agree(fs: &FaultFs) -> Result<(), Broken> {
    let db = fs.read("db")?;
    match db[0] == db[4096] {
        true => Ok(()),
        false => Err(Broken::corrupt(format!("{} and {}", db[0] as char, db[4096] as char))),
    }
}

#[test]
fn a_page_that_a_failed_sync_has_left_clean_is_old_again_when_it_is_evicted_or_the_power_goes() {
    for (rereads, expected) in [(false, Verdict::Corrupt), (true, Verdict::Held)] {
        for (fs, _folder) in both() {
            update_twice(&fs, rereads).unwrap();
            pages_agree(&fs).unwrap();
            fs.evict("db").unwrap();
            assert_eq!(pages_agree(&fs).is_ok(), rereads);
        }
        let check = |fs: &FaultFs, marks: &Marks| match marks.acked.contains(&1) {
            true => pages_agree(fs),
            false => Ok(()),
        };
        let found = verdict(move |fs| Ok(update_twice(fs, rereads)?), check);
        assert!(found.is_none_or(|found| found == expected), "{rereads}: {found:?}");
    }
}

/// A file that is replaced: the sync of its new content fails. `retries`: it is synced again as it is, where it
/// would have to be written again.
fn replace(fs: &FaultFs, retries: bool) -> Result<(), Broken> {
    fs.write("file", "old")?;
    fs.sync()?;
    fs.arm(on::sync().path("new").take(1).fail(EIO));
    fs.write("new", "value")?;
    if fs.open("new")?.sync_all().is_err() {
        if !retries {
            fs.write("new", "value")?;
        }
        fs.open("new")?.sync_all()?;
    }
    fs.rename("new", "file")?;
    fs.sync_dir(".")?;
    fs.ack(1);
    fs.injector().finish().map_err(|e| Broken::lost(e.to_string()))
}

fn is_replaced(fs: &FaultFs, marks: &Marks) -> Result<(), Broken> {
    match fs.read("file").unwrap_or_default() {
        found if found == b"value" || !marks.acked.contains(&1) => Ok(()),
        found => Err(Broken::lost(format!("{found:?}"))),
    }
}

#[test]
fn a_rename_does_not_write_what_a_failed_sync_has_left_clean() {
    for retries in [true, false] {
        let run = explore(move |fs| replace(fs, retries)).profiles(Profile::MAIN);
        for report in run.reports(is_replaced).unwrap() {
            // A journal of everything has the content before the rename, and memory has it anyhow.
            let has_all = [Profile::DATA_JOURNAL, Profile::PROCESS_KILL].contains(&report.profile);
            let expected = if retries && !has_all { Verdict::Lost } else { Verdict::Held };
            assert_eq!(report.verdict, expected, "{report}");
        }
    }
}

/// A log of pages, of which the first cannot be synced and the second is acknowledged. `rewrites`: the first is
/// written again before.
fn go_on(fs: &FaultFs, rewrites: bool) -> Result<(), Broken> {
    let log = fs.create("log")?;
    log.sync_all()?;
    fs.sync_dir(".")?;
    fs.arm(on::sync().path("log").take(1).fail(EIO));
    log.write_all_at(&[1; 4096], 0)?;
    if log.sync_data().is_err() && rewrites {
        log.write_all_at(&[1; 4096], 0)?;
    }
    log.write_all_at(&[2; 4096], 4096)?;
    log.sync_data()?;
    fs.ack(2);
    fs.injector().finish().map_err(|e| Broken::lost(e.to_string()))
}

/// The log ends where a page is not one that was written.
fn second_page_is_reached(fs: &FaultFs, marks: &Marks) -> Result<(), Broken> {
    let log = fs.read("log").unwrap_or_default();
    let pages = log.chunks(4096).zip(1..).take_while(|(page, byte)| **page == [*byte; 4096]);
    match pages.count() {
        count if count < 2 && marks.acked.contains(&2) => {
            Err(Broken::lost(format!("page 2, the log ends after {count}")))
        }
        _ => Ok(()),
    }
}

#[test]
fn a_later_size_comes_without_the_data_that_a_failed_sync_has_left_clean() {
    for (rewrites, expected) in [(false, Verdict::Lost), (true, Verdict::Held)] {
        let run = explore(move |fs| go_on(fs, rewrites));
        let run = run.profiles([Profile::EXT4, Profile::EXT3, Profile::XFS, Profile::BTRFS]);
        for report in run.reports(second_page_is_reached).unwrap() {
            assert_eq!(report.verdict, expected, "{report}");
        }
    }
}
