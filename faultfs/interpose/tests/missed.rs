//! What the door does not see or cannot record must be said, never passed over.

#![allow(unsafe_code, reason = "calls of C")]

#[allow(dead_code, reason = "this test does not look at the words")]
mod common;

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use common::Recording;
use faultfs::trace::Trace;
use faultfs_interpose::{Options, Session, decode, snapshot, verify};
use rustix::fs::{Mode, OFlags};

#[test]
fn what_is_not_recorded_is_reported() {
    unseen_calls_are_found_by_comparing();
    unmodelled_calls_are_named();
    forked_children_are_watched();
    a_full_log_is_reported();
    refusals_say_what_to_do();
}

fn difference(workload: impl FnOnce(&Path)) -> String {
    let recording = Recording::new();
    fs::write(recording.root.join("file"), "0123456789").unwrap();
    let trace = recording.record(false, workload);
    assert_eq!(trace.unmodelled, [""; 0]);
    verify(&trace, &recording.root).unwrap().expect("a difference")
}

/// Without the trap, what rustix does is not seen.
fn unseen_calls_are_found_by_comparing() {
    let raw = |root: &Path| {
        let flags = OFlags::WRONLY;
        rustix::fs::open(root.join("file"), flags, Mode::empty()).unwrap()
    };
    let made = difference(|root| {
        rustix::fs::mkdir(root.join("new"), Mode::from_raw_mode(0o755)).unwrap();
    });
    let differences = [
        difference(|root| _ = rustix::io::pwrite(raw(root), b"x", 3).unwrap()),
        difference(|root| rustix::fs::ftruncate(raw(root), 4).unwrap()),
        difference(|root| rustix::fs::fchmod(raw(root), Mode::from_raw_mode(0o600)).unwrap()),
        difference(|root| rustix::fs::unlink(root.join("file")).unwrap()),
        difference(|root| {
            let shell = format!("echo >{:?}", root.join("file"));
            assert!(Command::new("sh").arg("-c").arg(shell).status().unwrap().success());
        }),
    ];
    assert!(made.starts_with("new "), "{made}");
    assert!(differences.iter().all(|words| words.starts_with("file")), "{differences:?}");

    // Here the records contradict each other already.
    let recording = Recording::new();
    let trace = recording.record(false, |root| {
        fs::write(root.join("a"), "a").unwrap();
        rustix::fs::rename(root.join("a"), root.join("b")).unwrap();
        fs::rename(root.join("b"), root.join("c")).unwrap();
    });
    assert_eq!(trace.unmodelled.len(), 1);
    assert!(trace.unmodelled[0].starts_with("a file call was not seen by the door"));
}

fn unmodelled(workload: impl FnOnce(&Path)) -> Vec<String> {
    let recording = Recording::new();
    fs::write(recording.root.join("file"), "0123456789").unwrap();
    recording.record(false, workload).unmodelled
}

fn unmodelled_calls_are_named() {
    let c = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
    let across = "a file was renamed or linked into the root or out of it";
    assert_eq!(
        unmodelled(|root| fs::rename(root.join("file"), root.with_file_name("out")).unwrap()),
        [across]
    );
    assert_eq!(
        unmodelled(|root| {
            fs::write(root.with_file_name("out"), "x").unwrap();
            fs::hard_link(root.with_file_name("out"), root.join("in")).unwrap();
        }),
        [across]
    );
    let attribute = unmodelled(|root| {
        let (path, name) = (c(&root.join("file")), c"user.test");
        // SAFETY: null-terminated strings, and one byte.
        let set =
            unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), path.as_ptr().cast(), 1, 0) };
        assert_eq!(set, 0);
    });
    assert_eq!(attribute, ["an extended attribute was changed"]);
    let pipe = unmodelled(|root| {
        // SAFETY: a null-terminated path.
        assert_eq!(unsafe { libc::mkfifo(c(&root.join("pipe")).as_ptr(), 0o600) }, 0);
    });
    assert_eq!(pipe, ["a device, a pipe or a socket was made"]);
    let soft = unmodelled(|root| {
        std::os::unix::fs::symlink("nothing", root.join("soft")).unwrap();
        fs::write(root.join("soft"), "x").unwrap();
    });
    assert!(soft.iter().any(|why| why == "a file was created through a dangling symbolic link"));
}

fn forked_children_are_watched() {
    let forked = |child: fn(&File, &File)| {
        unmodelled(|root| {
            let file = File::options().read(true).write(true).open(root.join("file")).unwrap();
            let other = File::create(root.with_file_name("other")).unwrap();
            // SAFETY: the child makes file calls only.
            unsafe {
                let id = libc::fork();
                if id == 0 {
                    child(&file, &other);
                    libc::_exit(0);
                }
                assert_eq!(libc::waitpid(id, std::ptr::null_mut(), 0), id);
            }
        })
    };
    let writes = forked(|file, _| _ = file.write_at(b"child", 0));
    assert_eq!(writes, ["a forked child changed files below the root"]);
    // One that only reads, or writes elsewhere, is no one's business.
    let reads = forked(|file, other| {
        _ = file.read_at(&mut [0], 0);
        _ = other.write_at(b"child", 0);
    });
    assert_eq!(reads, [""; 0]);
}

fn a_full_log_is_reported() {
    let recording = Recording::new();
    let base = snapshot(&recording.root).unwrap();
    let options = Options { log_bytes_max: 1 << 16, ..recording.options(false) };
    let session = Session::start(&options).unwrap();
    let mut file = File::create(recording.root.join("file")).unwrap();
    for _ in 0..100 {
        file.write_all(&[7; 1000]).unwrap();
    }
    session.finish();
    assert_eq!(file.metadata().unwrap().len(), 100_000);
    let trace: Trace = decode(&recording.log, base, "full").unwrap();
    assert!(trace.ops.len() > 50);
    assert_eq!(
        trace.unmodelled,
        [
            "the log of the session was full: give it a larger `log_bytes_max`, or more room on its disk"
        ]
    );
}

fn refusals_say_what_to_do() {
    let recording = Recording::new();
    let refused = |options: &Options<'_>| Session::start(options).unwrap_err().to_string();
    let open = File::create(recording.root.join("file")).unwrap();
    let message = refused(&recording.options(false));
    assert!(message.ends_with("start the session before the files below its root are opened"));
    drop(open);
    let short = Options { log_bytes_max: 100, ..recording.options(false) };
    assert_eq!(refused(&short), "log_bytes_max is 100: give it at least 16384");
    let base = snapshot(&recording.root).unwrap();
    let session = Session::start(&recording.options(false)).unwrap();
    let second = Recording::new();
    assert_eq!(refused(&second.options(false)), "a session is active in this process already");
    // Nor does the refusal harm the log of the active one.
    assert_eq!(refused(&recording.options(false)), "a session is active in this process already");
    fs::write(recording.root.join("late"), "x").unwrap();
    session.finish();
    let trace = decode(&recording.log, base, "").unwrap();
    assert_eq!((trace.ops.len(), trace.unmodelled.len()), (2, 0));
    Session::start(&second.options(false)).unwrap().finish();
    assert!(faultfs_interpose::is_linked());
    fs::write(&second.log, vec![7; 10_000]).unwrap();
    let message = decode(&second.log, snapshot(&second.root).unwrap(), "").unwrap_err().to_string();
    assert!(message.contains("cannot be used"), "{message}");
}
