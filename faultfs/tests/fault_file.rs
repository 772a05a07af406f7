//! What each fault of a `FaultFile` does to the file, to the cursor and to the caller.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use faultfs::errno::{EINTR, EIO, ENOSPC};
use faultfs::fault::Part;
use faultfs::fs::Storage;
use faultfs::plan::{Plan, Rule, on};
use faultfs::{FaultFile, Injector};

/// A file that holds `content`, its cursor at the start, and the rules it runs under.
fn armed(content: &[u8], plan: impl Into<Plan>) -> (FaultFile, Injector) {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(content, 0).unwrap();
    let injector = Injector::new(plan);
    (FaultFile::armed(file, &injector, "db/1.wal"), injector)
}

fn content(file: &FaultFile) -> Vec<u8> {
    let mut all = vec![0; file.get_ref().metadata().unwrap().len() as usize];
    file.get_ref().read_exact_at(&mut all, 0).unwrap();
    all
}

#[track_caller]
fn fails_with<T: std::fmt::Debug>(result: io::Result<T>, errno: faultfs::errno::Errno) {
    assert_eq!(result.unwrap_err().raw_os_error(), Some(errno.raw()));
}

#[test]
fn an_injected_error_is_the_operating_system_s_own() {
    let (file, _) = armed(b"", on::sync().fail(ENOSPC));
    let error = file.sync_all().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(28));
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

#[test]
fn fail_comes_before_the_effect_and_leaves_the_cursor() {
    for rule in [on::write().skip(1).take(1).fail(EIO), on::any().skip(1).take(1).fail(EIO)] {
        let (mut file, injector) = armed(b"", rule);
        file.write_all(b"one.").unwrap();
        fails_with(file.write(b"two."), EIO);
        file.write_all(b"three").unwrap();
        assert_eq!(content(&file), b"one.three");
        injector.finish().unwrap();
    }
}

#[test]
fn fail_after_tells_of_an_error_when_all_is_done() {
    let (mut file, _) =
        armed(b"", [on::write().take(1).fail_after(EIO), on::set_len().take(1).fail_after(ENOSPC)]);
    fails_with(file.write(b"all of it"), EIO);
    assert_eq!(content(&file), b"all of it");
    fails_with(file.set_len(3), ENOSPC);
    assert_eq!(content(&file), b"all");
    file.write_all(b"!").unwrap();
    assert_eq!(content(&file), b"all\0\0\0\0\0\0!", "the cursor stands after the first write");
}

#[test]
fn a_short_write_takes_the_first_bytes_and_write_all_goes_on_from_there() {
    let (mut file, injector) = armed(b"", on::write().take(1).short(3));
    assert_eq!(file.write(b"abcdef").unwrap(), 3);
    assert_eq!(content(&file), b"abc");
    file.write_all(b"def").unwrap();
    assert_eq!(content(&file), b"abcdef");
    injector.finish().unwrap();

    let (mut file, _) = armed(b"", on::write().short(3));
    file.write_all(b"in steps of three").unwrap();
    assert_eq!(content(&file), b"in steps of three");
}

#[test]
fn a_short_read_is_not_the_end_of_the_file() {
    let (mut file, _) = armed(b"abcdef", on::read().take(1).short(2));
    let mut buf = [0; 6];
    assert_eq!(file.read(&mut buf).unwrap(), 2);
    assert_eq!(&buf, b"ab\0\0\0\0");
    assert_eq!(file.read(&mut buf).unwrap(), 4);
    assert_eq!(file.read(&mut buf).unwrap(), 0);

    let (mut file, _) = armed(b"abcdef", on::read().short(1));
    let mut all = String::new();
    file.read_to_string(&mut all).unwrap();
    assert_eq!(all, "abcdef");
}

#[test]
fn a_failed_read_leaves_buffer_and_cursor() {
    let (mut file, _) = armed(b"abcdef", on::read().skip(1).take(1).fail(EIO));
    let mut buf = [b'-'; 2];
    file.read_exact(&mut buf).unwrap();
    fails_with(file.read(&mut buf), EIO);
    assert_eq!(&buf, b"ab");
    file.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"cd");
}

#[test]
fn a_torn_write_leaves_its_first_bytes_and_fails() {
    let (mut file, _) = armed(b"old old old", on::write().take(1).torn(Part::Bytes(4), EIO));
    fails_with(file.write(b"new new new"), EIO);
    assert_eq!(content(&file), b"new old old");
    assert_eq!(file.stream_position().unwrap(), 4);
}

#[test]
fn a_torn_positional_write_keeps_whole_sectors_of_the_file() {
    let (file, _) = armed(&[b'-'; 2048], on::write().take(1).torn(Part::Sectors(2), EIO));
    fails_with(file.write_at(&[b'+'; 1500], 500), EIO);
    let found = content(&file);
    assert!(found[..500].iter().all(|&b| b == b'-'));
    assert!(found[500..1024].iter().all(|&b| b == b'+'));
    assert!(found[1024..].iter().all(|&b| b == b'-'));
}

#[test]
fn a_vectored_call_is_one_op() {
    let rules =
        [on::write().skip(1).take(1).torn(Part::Bytes(3), EIO), on::read().skip(1).short(3)];
    let (mut file, injector) = armed(b"", rules);
    let bufs = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
    assert_eq!(file.write_vectored(&bufs).unwrap(), 4);
    fails_with(file.write_vectored(&bufs), EIO);
    assert_eq!(content(&file), b"abcdabc");

    file.seek(SeekFrom::Start(0)).unwrap();
    let (mut a, mut b) = ([0; 2], [0; 2]);
    let mut bufs = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
    assert_eq!(file.read_vectored(&mut bufs).unwrap(), 4);
    assert_eq!(file.read_vectored(&mut bufs).unwrap(), 3);
    assert_eq!((&a, &b), (b"ab", b"cd"));
    injector.finish().unwrap();
}

#[test]
fn syncs_sizes_and_attributes_fail_by_their_own_rules() {
    let rules: [Rule; 3] = [
        on::sync().take(2).fail(EIO),
        on::set_len().take(1).fail(ENOSPC),
        on::metadata().fail(EIO),
    ];
    let (file, injector) = armed(b"abc", rules);
    fails_with(file.sync_data(), EIO);
    fails_with(file.sync_all(), EIO);
    file.sync_all().unwrap();
    fails_with(file.set_len(1), ENOSPC);
    assert_eq!(content(&file), b"abc");
    fails_with(file.metadata(), EIO);
    fails_with(file.size(), EIO);
    injector.finish().unwrap();
}

#[test]
fn an_interruption_is_tried_again_by_write_all_as_by_std() {
    let (mut file, injector) = armed(b"", on::write().skip(1).take(2).fail(EINTR));
    file.write_all(b"one.").unwrap();
    file.write_all(b"two.").unwrap();
    file.write_all_at(b"O", 0).unwrap();
    assert_eq!(content(&file), b"One.two.");
    assert_eq!(injector.fired(), 2);
}

#[test]
fn shared_references_and_clones_are_the_same_file_under_the_same_rules() {
    let (file, injector) = armed(b"", on::write().skip(1).take(1).fail(EIO));
    let clone = file.try_clone().unwrap();
    (&file).write_all(b"one").unwrap();
    fails_with((&clone).write(b"two"), EIO);
    (&clone).write_all(b"three").unwrap();
    assert_eq!(content(&file), b"onethree");
    injector.finish().unwrap();
}

#[test]
fn arming_and_disarming_reach_files_that_are_open() {
    let injector = Injector::default();
    let mut file = FaultFile::armed(Cursor::new(Vec::new()), &injector, "a");
    file.write_all(b"1").unwrap();
    injector.arm(on::write().fail(EIO));
    fails_with(file.write(b"2"), EIO);
    injector.disarm();
    file.write_all(b"3").unwrap();
    assert_eq!(file.into_inner().into_inner(), b"13");
}

#[test]
fn anything_can_be_wrapped() {
    /// A backend of an engine's own.
    struct Backend(std::sync::Mutex<Vec<u8>>);

    impl Storage for Backend {
        fn size(&self) -> io::Result<u64> {
            Ok(self.0.lock().unwrap().len() as u64)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.lock().unwrap().resize(len as usize, 0);
            Ok(())
        }
        fn sync_all(&self) -> io::Result<()> {
            Ok(())
        }
        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }
    }

    let injector = Injector::new(on::set_len().path("pages").take(1).fail(ENOSPC));
    let backend = FaultFile::armed(Backend(Default::default()), &injector, "pages");
    fails_with(backend.set_len(8), ENOSPC);
    backend.set_len(8).unwrap();
    assert_eq!(backend.size().unwrap(), 8);

    let mut temp = FaultFile::new(tempfile::NamedTempFile::new().unwrap());
    temp.write_all(b"x").unwrap();
    temp.sync_all().unwrap();
    assert_eq!(temp.size().unwrap(), 1);
}

#[test]
fn an_unarmed_file_is_no_larger_than_the_bare_one_and_a_pointer() {
    let pointer = size_of::<usize>();
    assert!(size_of::<FaultFile<File>>() <= size_of::<File>().next_multiple_of(pointer) + pointer);
}
