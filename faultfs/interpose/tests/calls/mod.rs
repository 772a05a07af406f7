//! Calls that C code makes and the standard library does not, and what a door has to make of them.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::ptr;

use faultfs::op::Op;
use faultfs::trace::Trace;

use crate::common::words;

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// What is there before, below the root.
pub(crate) fn set_up(root: &Path) {
    fs::write(root.join("existing"), "0123456789").unwrap();
}

/// All of the calls; `outside` is a folder beside the root.
pub(crate) fn make(root: &Path, outside: &Path) {
    let route = outside.join("route");
    symlink(root, &route).unwrap();
    let copied = outside.join("outside");
    fs::write(&copied, "from outside").unwrap();
    symlink(root.join("existing"), outside.join("soft")).unwrap();
    routes(root, &route);
    writes(root);
    copies(root, &copied);
    lengths(root);
    links(root);
    syncs(root);
}

/// They are what the trace holds.
pub(crate) fn compare(trace: &Trace) {
    let expected = [
        // Routes
        "set length existing 4",
        "write existing 0+4",
        "create by-route",
        "write by-route 0+1",
        "create relative",
        "create by-cwd",
        // Writes
        "create w",
        "write w 0+6",
        "write w 100+3",
        "write w 103+2",
        "write w 105+1",
        "write w 106+3",
        // Copies
        "create target",
        "write target 0+12",
        "write target 12+7",
        "write target 19+3",
        // Lengths
        "create len",
        "set length len 8192",
        "write len 0+8192",
        "zero range len 4096+1024",
        "zero range len 0+10",
        "set length len 8292",
        "zero range len 8192+100",
        "set length len 100",
        // Links
        "create unnamed -",
        "write linked 0+4",
        "link linked",
        "rename linked w",
        "exchange existing target",
        "create node",
        "unlink node",
        // Syncs
        "fsync .",
        "sync -",
        "sync -",
        "start write-back len",
    ];
    assert_eq!(words(trace), expected);
    let flags = |index: usize| match trace.ops[index].op {
        Op::Write { direct, sync, .. } => (direct, sync.is_some()),
        _ => panic!("not a write"),
    };
    assert_eq!(flags(7), (false, false));
    assert_eq!(flags(8), (false, true));
}

/// A relative path, one from a directory's descriptor, one through a symbolic link outside.
fn routes(root: &Path, route: &Path) {
    // SAFETY: null-terminated paths.
    unsafe {
        assert_eq!(libc::truncate(c(&route.join("existing")).as_ptr(), 4), 0);
    }
    open(&route.with_file_name("soft")).write_all(b"soft").unwrap();
    fs::write(route.join("./by-route"), "r").unwrap();
    let dir = File::open(route).unwrap();
    // SAFETY: null-terminated paths, and descriptors that are used once.
    unsafe {
        let flags = libc::O_CREAT | libc::O_WRONLY;
        let fd = libc::openat(dir.as_raw_fd(), c"relative".as_ptr(), flags, 0o644);
        drop(File::from_raw_fd(fd));
        let before = std::env::current_dir().unwrap();
        std::env::set_current_dir(root).unwrap();
        drop(File::from_raw_fd(libc::open(c"by-cwd".as_ptr(), flags, 0o644)));
        std::env::set_current_dir(before).unwrap();
    }
}

fn writes(root: &Path) {
    let file = open(&root.join("w"));
    let fd = file.as_raw_fd();
    let part = |bytes: &'static [u8]| libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: the parts are static; descriptors are open.
    unsafe {
        let parts = [part(b"abc"), part(b""), part(b"def")];
        assert_eq!(libc::pwritev(fd, parts.as_ptr(), 3, 0), 6);
        let one = [part(b"xyz")];
        assert_eq!(libc::pwritev2(fd, one.as_ptr(), 1, 100, libc::RWF_DSYNC), 3);
        // An append ignores the offset, and a flag set later counts.
        let second = libc::dup(fd);
        assert_eq!(libc::fcntl(second, libc::F_SETFL, libc::O_APPEND), 0);
        assert_eq!(libc::pwrite(fd, b"++".as_ptr().cast(), 2, 5), 2);
        assert_eq!(libc::close(second), 0);
        let third = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0);
        assert_eq!(libc::write(third, b"!".as_ptr().cast(), 1), 1);
        assert_eq!(libc::syscall(libc::SYS_write, third, b"raw".as_ptr(), 3usize), 3);
        assert_eq!(libc::close(third), 0);
        assert_eq!(libc::write(third, b"!".as_ptr().cast(), 1), -1);
    }
}

fn copies(root: &Path, outside: &Path) {
    let source = File::open(outside).unwrap();
    let target = open(&root.join("target"));
    // SAFETY: open descriptors, and the address of a local.
    unsafe {
        let copied = libc::copy_file_range(
            source.as_raw_fd(),
            ptr::null_mut(),
            target.as_raw_fd(),
            ptr::null_mut(),
            100,
            0,
        );
        assert_eq!(copied, 12);
        let mut at = 5;
        let sent = libc::sendfile(target.as_raw_fd(), source.as_raw_fd(), &raw mut at, 100);
        assert_eq!((sent, at), (7, 12));
        let (mut read, mut write) = std::io::pipe().unwrap();
        write.write_all(b"pip").unwrap();
        drop(write);
        let (none, all) = (ptr::null_mut(), 100);
        let spliced =
            libc::splice(read.as_raw_fd(), none, target.as_raw_fd(), ptr::null_mut(), all, 0);
        // Refused by the door in the program, as by a file system without it; seen from outside it is let in.
        assert!(spliced == 3 || (spliced, *libc::__errno_location()) == (-1, libc::EINVAL));
        let mut rest = Vec::new();
        read.read_to_end(&mut rest).unwrap();
        if !rest.is_empty() {
            (&target).write_all(&rest).unwrap();
        }
    }
}

fn lengths(root: &Path) {
    let file = open(&root.join("len"));
    let fd = file.as_raw_fd();
    let keep = libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: no addresses but that of a local.
    unsafe {
        assert_eq!(libc::posix_fallocate(fd, 0, 8192), 0);
        assert_eq!(libc::pwrite(fd, [7u8; 8192].as_ptr().cast(), 8192, 0), 8192);
        assert_eq!(libc::fallocate(fd, libc::FALLOC_FL_PUNCH_HOLE | keep, 4096, 1024), 0);
        assert_eq!(libc::fallocate(fd, keep, 0, 1 << 20), 0);
        assert_eq!(libc::posix_fallocate(-1, 0, 1), libc::EBADF);
    }
    // Not every file system knows this one; where it is refused the trace holds the refusal.
    // SAFETY: no addresses.
    unsafe {
        libc::fallocate(fd, libc::FALLOC_FL_PUNCH_HOLE | keep, 0, 10);
        assert_eq!(libc::ftruncate(fd, 8292), 0);
        assert_eq!(libc::fallocate(fd, libc::FALLOC_FL_PUNCH_HOLE | keep, 8192, 100), 0);
        assert_eq!(libc::ftruncate(fd, 100), 0);
    }
}

fn links(root: &Path) {
    let mut unnamed = OpenOptions::new();
    unnamed.write(true).custom_flags(libc::O_TMPFILE);
    let mut unnamed = unnamed.open(root).unwrap();
    unnamed.write_all(b"tmp!").unwrap();
    let by_fd = CString::new(format!("/proc/self/fd/{}", unnamed.as_raw_fd())).unwrap();
    // SAFETY: null-terminated paths.
    unsafe {
        let cwd = libc::AT_FDCWD;
        let linked = c(&root.join("linked"));
        let follow = libc::AT_SYMLINK_FOLLOW;
        assert_eq!(libc::linkat(cwd, by_fd.as_ptr(), cwd, linked.as_ptr(), follow), 0);
        assert_eq!(libc::rename(linked.as_ptr(), c(&root.join("w")).as_ptr()), 0);
        let (a, b) = (c(&root.join("existing")), c(&root.join("target")));
        let exchange = libc::RENAME_EXCHANGE;
        assert_eq!(libc::renameat2(cwd, a.as_ptr(), cwd, b.as_ptr(), exchange), 0);
        let node = c(&root.join("node"));
        assert_eq!(libc::mknod(node.as_ptr(), libc::S_IFREG | 0o600, 0), 0);
        assert_eq!(libc::remove(node.as_ptr()), 0);
    }
}

fn syncs(root: &Path) {
    // SAFETY: a stream that was just opened, and open descriptors.
    unsafe {
        // The descriptor was made inside libc, unseen.
        let stream = libc::opendir(c(root).as_ptr());
        assert_eq!(libc::fsync(libc::dirfd(stream)), 0);
        libc::closedir(stream);
        libc::sync();
        let file = File::open(root.join("len")).unwrap();
        assert_eq!(libc::syncfs(file.as_raw_fd()), 0);
        let range = libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE);
        assert_eq!(range, 0);
    }
}
