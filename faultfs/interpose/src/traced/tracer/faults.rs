//! What goes wrong with traced calls: each that changes something below the root, or makes it durable, is put to the
//! injector when it is about to be made.
//!
//! A stopped thread can be told that its call has failed: the kernel is asked for no call at all, or its answer is
//! replaced. Nothing else is done here: what a program reads is not stopped at, and no part of a call is.

use std::ffi::c_int;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use faultfs::errno::Errno;
use faultfs::fault::Fault;
use faultfs::plan::OpKind;
use faultfs::{Call as Subject, Injector, Reach};

use super::recording::Recording;
use super::tracee::Call;
use crate::record::{By, Kind, REACHES};

/// What a recording with faults starts from.
pub(in super::super) struct Armed {
    pub(in super::super) injector: Injector,
    /// Every call is written down, for who wants to know what could be faulted.
    pub(in super::super) observe: bool,
}

/// How a call is to fail.
#[derive(Clone, Copy)]
pub(super) enum Failure {
    /// It is not made.
    Before(Errno),
    /// It is made, and then the answer is another.
    After(Errno),
}

/// What a call is about, in the words of rules.
struct About {
    kind: OpKind,
    path: PathBuf,
    other: Option<PathBuf>,
    offset: Option<u64>,
    len: u64,
}

impl About {
    fn new(kind: OpKind, path: PathBuf) -> About {
        About { kind, path, other: None, offset: None, len: 0 }
    }
}

impl Recording {
    /// How a call that is about to be made is to fail, where something goes wrong with it.
    pub(super) fn failure(&mut self, call: &Call) -> Option<Failure> {
        let armed = self.armed.as_ref()?;
        let about = self.about(call)?;
        let subject = Subject {
            other: about.other.as_deref(),
            offset: about.offset,
            len: about.len,
            reach: Reach::Answer,
            ..Subject::new(about.kind, &about.path)
        };
        let injection = armed.injector.decide_at_once(&subject);
        if armed.observe || injection.is_some() {
            let rule = injection.as_ref().map_or("", |injection| &injection.rule);
            self.called(call, &about, rule);
        }
        match injection?.fault {
            Fault::Fail(errno) => Some(Failure::Before(errno)),
            Fault::FailAfter(errno) => Some(Failure::After(errno)),
            other => unreachable!("{other} needs more than the call's reach"),
        }
    }

    fn called(&mut self, call: &Call, about: &About, rule: &str) {
        let kind = OpKind::ALL.iter().position(|kind| *kind == about.kind).expect("one of all");
        let reach = REACHES.iter().position(|reach| *reach == Reach::Answer).expect("one of all");
        let (has_offset, offset) = (about.offset.is_some().into(), about.offset.unwrap_or(0));
        let words = [kind as u64, has_offset, offset, about.len, reach as u64, 0];
        let other = about.other.as_ref().map_or(&b""[..], |other| other.as_os_str().as_bytes());
        let data = [other, rule.as_bytes()].join(&0);
        let by = By { thread: call.thread as u32, number: call.number as u16, stack: 0 };
        self.log.add(by, Kind::Called, &words, about.path.as_os_str().as_bytes(), &data);
    }

    /// None for what is not below the root, and for calls that no rule is about.
    fn about(&self, call: &Call) -> Option<About> {
        const CWD: c_int = libc::AT_FDCWD;
        let [a, b, c, d, e, _] = call.args;
        let (fd_a, fd_c) = (a as c_int, c as c_int);
        let named = |kind, dir, at| Some(About::new(kind, self.named(call, dir, at)?));
        let two = |kind, (dir, at), (to_dir, to)| {
            let other = Some(self.named(call, to_dir, to)?);
            Some(About { other, ..About::new(kind, self.named(call, dir, at)?) })
        };
        match call.number {
            libc::SYS_write | libc::SYS_pwrite64 => self.about_write(call, fd_a, b, Some(c)),
            libc::SYS_writev | libc::SYS_pwritev | libc::SYS_pwritev2 => {
                self.about_write(call, fd_a, b, None)
            }
            libc::SYS_sendfile => self.about_write(call, fd_a, b, Some(d)),
            libc::SYS_splice | libc::SYS_copy_file_range => {
                self.about_write(call, fd_c, d, Some(e))
            }
            libc::SYS_fsync | libc::SYS_fdatasync => self.about_sync(call, fd_a),
            libc::SYS_sync => Some(About::new(OpKind::SyncAll, ".".into())),
            libc::SYS_syncfs => {
                let file = call.file(fd_a)?;
                self.is_on_device(&file).then(|| About::new(OpKind::SyncAll, ".".into()))
            }
            libc::SYS_ftruncate => self.about_len(call.name_of(fd_a), b),
            libc::SYS_truncate => self.about_len(call.path(CWD, a)?, b),
            libc::SYS_fallocate => self.about_len(call.name_of(fd_a), c.saturating_add(d)),
            libc::SYS_open if b as c_int & libc::O_CREAT != 0 => self.about_new(call, CWD, a),
            libc::SYS_openat if c as c_int & libc::O_CREAT != 0 => self.about_new(call, fd_a, b),
            libc::SYS_creat => self.about_new(call, CWD, a),
            libc::SYS_fchmod => {
                let file = call.file(fd_a).filter(|file| self.is_below(file))?;
                self.open_path(call, fd_a, &file).map(|path| About::new(OpKind::SetMode, path))
            }
            libc::SYS_chmod => named(OpKind::SetMode, CWD, a),
            libc::SYS_fchmodat | libc::SYS_fchmodat2 => named(OpKind::SetMode, fd_a, b),
            libc::SYS_rename => two(OpKind::Rename, (CWD, a), (CWD, b)),
            libc::SYS_renameat => two(OpKind::Rename, (fd_a, b), (fd_c, d)),
            libc::SYS_renameat2 => {
                let exchanges = e as u32 & libc::RENAME_EXCHANGE != 0;
                let kind = if exchanges { OpKind::Exchange } else { OpKind::Rename };
                two(kind, (fd_a, b), (fd_c, d))
            }
            libc::SYS_link => two(OpKind::Link, (CWD, a), (CWD, b)),
            libc::SYS_linkat => two(OpKind::Link, (fd_a, b), (fd_c, d)),
            libc::SYS_unlink => named(OpKind::Remove, CWD, a),
            libc::SYS_rmdir => named(OpKind::RemoveDir, CWD, a),
            libc::SYS_unlinkat if c as c_int & libc::AT_REMOVEDIR != 0 => {
                named(OpKind::RemoveDir, fd_a, b)
            }
            libc::SYS_unlinkat => named(OpKind::Remove, fd_a, b),
            libc::SYS_mkdir => named(OpKind::CreateDir, CWD, a),
            libc::SYS_mkdirat => named(OpKind::CreateDir, fd_a, b),
            libc::SYS_symlink => named(OpKind::Symlink, CWD, b),
            libc::SYS_symlinkat => named(OpKind::Symlink, b as c_int, c),
            _ => None,
        }
    }

    fn about_write(&self, call: &Call, fd: c_int, at: u64, len: Option<u64>) -> Option<About> {
        let file = call.file(fd).filter(|file| file.is_file() && self.is_below(file))?;
        let opened = call.opened(fd)?;
        let given = match call.number {
            libc::SYS_pwrite64 | libc::SYS_pwritev | libc::SYS_pwritev2 => Some(call.args[3]),
            libc::SYS_splice | libc::SYS_copy_file_range if at != 0 => Some(call.words(at, 1)?[0]),
            _ => None,
        };
        let appends = opened.flags & libc::O_APPEND != 0;
        let offset = if appends { file.size() } else { given.unwrap_or(opened.position) };
        let len = match len {
            Some(len) => len,
            None => {
                let parts = call.words(at, (call.args[2] as usize).min(1024) * 2)?;
                parts.iter().skip(1).step_by(2).sum()
            }
        };
        let path = self.open_path(call, fd, &file)?;
        Some(About { offset: Some(offset), len, ..About::new(OpKind::Write, path) })
    }

    fn about_sync(&self, call: &Call, fd: c_int) -> Option<About> {
        let file = call.file(fd).filter(|file| self.is_below(file))?;
        let kind = if file.is_dir() { OpKind::SyncDir } else { OpKind::Sync };
        Some(About::new(kind, self.open_path(call, fd, &file)?))
    }

    fn about_len(&self, path: PathBuf, len: u64) -> Option<About> {
        let file = self.below(&path, true)?;
        let path = self.relative(&fs::canonicalize(path).ok()?)?;
        Some(About { offset: Some(file.len()), len, ..About::new(OpKind::SetLen, path) })
    }

    fn about_new(&self, call: &Call, dir: c_int, at: u64) -> Option<About> {
        let path = call.path(dir, at)?;
        fs::metadata(&path).is_err().then_some(())?;
        self.named(call, dir, at).map(|path| About::new(OpKind::Create, path))
    }

    /// The path of what is open; one without a name has the path that it had.
    fn open_path(&self, call: &Call, fd: c_int, file: &Metadata) -> Option<PathBuf> {
        let path = fs::read_link(call.name_of(fd)).ok()?;
        let gone = (file.nlink() == 0).then(|| path.to_str()?.strip_suffix(" (deleted)"));
        self.relative(gone.flatten().map(Path::new).unwrap_or(&path))
    }

    /// A name in a folder below the root, there or not.
    fn named(&self, call: &Call, dir: c_int, at: u64) -> Option<PathBuf> {
        let path = call.path(dir, at)?;
        self.place(&path)?;
        let folder = fs::canonicalize(path.parent()?).ok()?;
        self.relative(&folder.join(path.file_name()?))
    }

    fn relative(&self, path: &Path) -> Option<PathBuf> {
        let path = path.strip_prefix(&self.root).ok()?;
        Some(if path.as_os_str().is_empty() { ".".into() } else { path.into() })
    }
}
