//! System calls that do not come through libc's symbols.

#![allow(unsafe_code, reason = "calls of C")]

mod common;

use std::ffi::CString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc;
use std::thread;

use common::{Recording, words};
use rustix::fs::{Mode, OFlags};

#[test]
fn raw_system_calls_and_those_of_libc_itself_are_recorded() {
    let recording = Recording::new();
    // A thread from before the trap is covered as well.
    let (send, receive) = mpsc::channel::<std::path::PathBuf>();
    let older = thread::spawn(move || {
        let path = receive.recv().unwrap();
        rustix::fs::mkdir(path.join("older"), Mode::from_raw_mode(0o755)).unwrap();
    });
    let trace = recording.record_whole(true, |root| {
        send.send(root.to_path_buf()).unwrap();
        older.join().unwrap();

        // `persist` renames through rustix, which asks the kernel itself.
        let mut file =
            tempfile::Builder::new().prefix("t").rand_bytes(0).tempfile_in(root).unwrap();
        file.write_all(b"published").unwrap();
        file.as_file().sync_all().unwrap();
        file.persist(root.join("final")).unwrap();

        let flags = OFlags::CREATE | OFlags::RDWR;
        let raw = rustix::fs::open(root.join("raw"), flags, Mode::from_raw_mode(0o600)).unwrap();
        rustix::io::write(&raw, b"0123456789").unwrap();
        rustix::io::pwrite(&raw, b"ab", 4).unwrap();
        let copy = rustix::io::dup(&raw).unwrap();
        rustix::fs::ftruncate(&copy, 8).unwrap();
        rustix::fs::fdatasync(&copy).unwrap();
        assert_eq!(
            rustix::fs::mkdir(root.join("older"), Mode::from_raw_mode(0o755)),
            Err(rustix::io::Errno::EXIST)
        );

        // With every signal blocked a trap would be death.
        // SAFETY: the set is a local.
        unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut all), 0);
            stdio(&root.join("stdio"));
            assert_eq!(libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut all), 0);
            assert_eq!(libc::sigismember(&raw const all, libc::SIGTERM), 1);
        }
    });
    let expected = [
        "mkdir older",
        "create t",
        "write t 0+9",
        "fsync t",
        "rename t final",
        "create raw",
        "write raw 0+10",
        "write raw 4+2",
        "set length raw 8",
        "fdatasync raw",
        "mkdir older",
        "create stdio",
        "write stdio 0+5",
    ];
    assert_eq!(words(&trace), expected);
    assert_eq!(trace.ops.last().unwrap().errno, None);
    assert_eq!(trace.ops[10].errno, Some(libc::EEXIST));
    let threads: Vec<u32> = trace.ops.iter().map(|op| op.thread).collect();
    assert_eq!(threads[..2], [0, 1]);
}

fn stdio(path: &std::path::Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: null-terminated strings, and a stream that was just opened.
    unsafe {
        let stream = libc::fopen(path.as_ptr(), c"w".as_ptr());
        assert!(!stream.is_null());
        assert!(libc::fputs(c"hello".as_ptr(), stream) >= 0);
        assert_eq!(libc::fclose(stream), 0);
    }
}
