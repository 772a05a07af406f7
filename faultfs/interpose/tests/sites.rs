//! Each op knows the line of the engine that asked for it, and who had called that.

#![allow(unsafe_code, reason = "calls of C")]

mod common;

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::panic::Location;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use common::{Recording, words};
use faultfs::Injector;
use faultfs::disk::Disk;
use faultfs::plan::Plan;
use faultfs::trace::{Site, Trace};
use faultfs_interpose::{Options, Session, decode};
use rustix::fs::{Mode, OFlags};

/// Ops in words, and the lines that they must know.
#[derive(Default)]
struct Lines(Vec<(&'static str, u32)>);

impl Lines {
    /// The line behind this one asks for `op`.
    #[track_caller]
    fn next(&mut self, op: &'static str) {
        self.0.push((op, Location::caller().line() + 1));
    }
}

/// One session at a time.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_rule_is_about_the_calls_that_are_written_in_one_place() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let recording = Recording::new();
    let write = |file: &File, at| file.write_all_at(b"x", at).map_err(|error| error.raw_os_error());
    let line = line!() - 1;
    let rule = format!("write * from sites.rs:{line} skip 1 take 1 -> fail EIO");
    let injector = Injector::new(rule.parse::<Plan>().unwrap());
    let options = Options { injector: Some(&injector), ..recording.options(true) };
    let session = Session::start(&options).unwrap();
    let file = File::create(recording.root.join("a")).unwrap();
    file.write_all_at(b"elsewhere", 0).unwrap();
    let written = [write(&file, 0), write(&file, 1), write(&file, 2)];
    file.write_all_at(b"elsewhere", 0).unwrap();
    session.finish();
    assert_eq!(written, [Ok(()), Err(Some(5)), Ok(())]);
    injector.finish().unwrap();
    let trace = decode(&recording.log, Disk::new(), "test").unwrap();
    let met: Vec<_> = trace.injected.iter().map(|i| (i.call.as_str(), i.site.clone())).collect();
    assert_eq!(met, [("write a 1..2", Some(Site { file: file!().into(), line }))]);
}

#[test]
fn each_op_knows_its_line_and_who_called() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let recording = Recording::new();
    let mut lines = Lines::default();
    let mut calls = Vec::new();
    let trace = recording.record_whole(true, |root| {
        let engines = [standard_library, in_closures, in_threads, c_library, no_library];
        for engine in engines {
            let from = lines.0.len();
            engine(root, &mut lines);
            calls.push((from..lines.0.len(), line!() - 1));
        }
    });
    let ops = words(&trace);
    for (index, (op, line)) in lines.0.iter().enumerate() {
        let at =
            ops.iter().position(|found| found == op).unwrap_or_else(|| panic!("{op}: {ops:?}"));
        let site = trace.ops[at].site.as_ref().unwrap_or_else(|| panic!("{op} has no site"));
        assert_eq!((&*site.file, site.line), (file!(), *line), "{op}");
        let (_, call) = calls.iter().find(|(of, _)| of.contains(&index)).unwrap();
        let called =
            |line| trace.callers_of(at).iter().any(|c| &*c.file == file!() && c.line == line);
        // A thread of its own has no callers.
        assert_eq!(called(*call), *op != "write threaded 0+8", "{op}: {:?}", trace.callers_of(at));
    }
    assert_eq!(without_site(&trace), [""; 0]);
}

fn without_site(trace: &Trace) -> Vec<String> {
    let ops = words(trace).into_iter().zip(&trace.ops);
    ops.filter(|(_, record)| record.site.is_none()).map(|(op, _)| op).collect()
}

fn standard_library(root: &Path, lines: &mut Lines) {
    lines.next("create a");
    let mut a = File::create(root.join("a")).unwrap();
    lines.next("write a 0+3");
    a.write_all(b"abc").unwrap();
    lines.next("write a 9+1");
    a.write_all_at(b"d", 9).unwrap();
    lines.next("set length a 5");
    a.set_len(5).unwrap();
    lines.next("fdatasync a");
    a.sync_data().unwrap();
    let mut buffered = BufWriter::new(a);
    buffered.write_all(b"buffered").unwrap();
    lines.next("write a 3+8");
    buffered.flush().unwrap();
    lines.next("rename a b");
    fs::rename(root.join("a"), root.join("b")).unwrap();
    lines.next("mkdir dir/below");
    fs::create_dir_all(root.join("dir/below")).unwrap();
    lines.next("unlink b");
    fs::remove_file(root.join("b")).unwrap();
}

fn in_closures(root: &Path, lines: &mut Lines) {
    let names = ["closed"; 1];
    names.iter().for_each(|name| {
        lines.next("create closed");
        let file = File::create(root.join(name)).unwrap();
        let sync: Box<dyn Fn(&mut Lines)> = Box::new(move |lines| {
            lines.next("fsync closed");
            file.sync_all().unwrap();
        });
        sync(lines);
    });
}

fn in_threads(root: &Path, lines: &mut Lines) {
    lines.next("create threaded");
    let file = File::create(root.join("threaded")).unwrap();
    let write = move |mut lines: Lines| {
        lines.next("write threaded 0+8");
        (&file).write_all(b"threaded").unwrap();
        lines
    };
    let lines_there = thread::spawn(move || write(Lines::default())).join().unwrap();
    lines.0.extend(lines_there.0);
}

fn c_library(root: &Path, lines: &mut Lines) {
    let path = |name: &str| CString::new(root.join(name).as_os_str().as_bytes()).unwrap();
    let (c, stdio, mode) = (path("c"), path("stdio"), c"w".as_ptr());
    // SAFETY: paths and data are terminated and live long enough.
    unsafe {
        lines.next("create c");
        let fd = libc::open(c.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600);
        lines.next("write c 7+2");
        libc::pwrite(fd, c"cc".as_ptr().cast(), 2, 7);
        lines.next("fsync c");
        libc::fsync(fd);
        libc::close(fd);
        // Inside libc, which asks the kernel itself.
        lines.next("create stdio");
        let file = libc::fopen(stdio.as_ptr(), mode);
        libc::fputs(c"stdio".as_ptr(), file);
        lines.next("write stdio 0+5");
        libc::fflush(file);
        libc::fclose(file);
    }
}

/// System calls of their own, which are trapped.
fn no_library(root: &Path, lines: &mut Lines) {
    let (flags, mode) = (OFlags::CREATE | OFlags::RDWR, Mode::from_raw_mode(0o600));
    lines.next("create raw");
    let raw = rustix::fs::open(root.join("raw"), flags, mode).unwrap();
    lines.next("write raw 0+3");
    rustix::io::write(&raw, b"raw").unwrap();
    lines.next("fdatasync raw");
    rustix::fs::fdatasync(&raw).unwrap();
    let temporary = tempfile::Builder::new().prefix("t").rand_bytes(0).tempfile_in(root).unwrap();
    assert!(temporary.as_file().as_raw_fd() > 0);
    // `persist` renames through rustix.
    lines.next("rename t final");
    temporary.persist(root.join("final")).unwrap();
}
