//! What is written down of the traced calls: the log of an interposed session, for the same decoder.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use libc::pid_t;

use super::super::Recorded;
use super::faults::Armed;
use super::mapped::Mapped;
use super::stacks::Stacks;
use super::tracee::Call;
use crate::LOG_BYTES_MAX;
use crate::record::{By, Kind, Writer, header};

/// A recording of what a command and all that it starts do below a folder.
pub(super) struct Recording {
    pub(super) log: Writer,
    pub(super) mapped: Mapped,
    stacks: Stacks,
    pub(super) armed: Option<Armed>,
    /// Without links and dots.
    pub(super) root: PathBuf,
    dev: u64,
    /// Inodes that have a name below the root, and those that had one and may be open still.
    named: HashSet<u64>,
    nameless: HashSet<u64>,
    output: Output,
}

/// Where standard output goes.
struct Output {
    file: File,
    dev: u64,
    ino: u64,
    len: u64,
    /// What was added by each write.
    said: Vec<Vec<u8>>,
    /// Of what was said before this recording.
    before: u64,
}

/// A name in a folder below the root.
pub(super) struct Place {
    pub(super) parent: u64,
    pub(super) name: Vec<u8>,
}

impl Recording {
    /// Standard output goes to `output`; `said` was said before.
    pub(super) fn new(
        root: &Path,
        output: &Path,
        said: u64,
        armed: Option<Armed>,
    ) -> io::Result<Self> {
        let file = File::open(output)?;
        let (dev, ino) = (file.metadata()?.dev(), file.metadata()?.ino());
        let mut recording = Recording {
            log: Writer::new(),
            mapped: Mapped::default(),
            stacks: Stacks::default(),
            armed,
            root: fs::canonicalize(root)?,
            dev: fs::metadata(root)?.dev(),
            named: HashSet::new(),
            nameless: HashSet::new(),
            output: Output { file, dev, ino, len: 0, said: Vec::new(), before: said },
        };
        if recording.armed.as_ref().is_some_and(|armed| armed.observe) {
            recording.log.header(header::OBSERVED, 1);
        }
        recording.known(root, root)?;
        for id in 1..=said {
            recording.log.add(By::default(), Kind::Mark, &[1, id], &[], &[]);
        }
        Ok(recording)
    }

    fn known(&mut self, root: &Path, at: &Path) -> io::Result<()> {
        let metadata = fs::symlink_metadata(at)?;
        let path = at.strip_prefix(root).expect("below it").as_os_str().as_bytes();
        self.named.insert(metadata.ino());
        self.log.add(By::default(), Kind::Known, &[metadata.ino()], path, &[]);
        if metadata.is_dir() {
            let entries = fs::read_dir(at)?.map(|entry| Ok(entry?.path()));
            let mut entries: Vec<PathBuf> = entries.collect::<io::Result<_>>()?;
            entries.sort();
            entries.iter().try_for_each(|entry| self.known(root, entry))?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<Recorded> {
        self.stores(0)?;
        self.log.header(header::FINISHED, 1);
        Ok(Recorded { log: self.log.finish(), said: self.output.said })
    }

    /// Writes the start of an operation; its position.
    pub(super) fn start(
        &mut self,
        call: &Call,
        kind: Kind,
        words: &[u64],
        name: &[u8],
        data: &[u8],
    ) -> u64 {
        self.note_stores(call.thread);
        let stack = self.stacks.walk(call, &mut self.log);
        let by = By { stack, ..by(call) };
        if self.log.len() + data.len() as u64 > LOG_BYTES_MAX {
            self.log.header(header::FULL, 1);
            return self.log.add(by, kind, words, name, &[]);
        }
        self.log.add(by, kind, words, name, data)
    }

    /// Writes the end of an operation, with the inode that came of it.
    pub(super) fn end(&mut self, call: &Call, start: u64, returned: i64, made: Option<&Metadata>) {
        // A call that is to be made again once a signal was handled has done nothing yet.
        let returned =
            if (-516..=-512).contains(&returned) { -i64::from(libc::EINTR) } else { returned };
        let (ino, mode) = made.map_or((0, 0), |made| (made.ino(), made.mode().into()));
        self.log.add(by(call), Kind::End, &[start, returned as u64, ino, mode], &[], &[]);
    }

    pub(super) fn unmodelled(&mut self, why: &str) {
        self.log.add(By::default(), Kind::Unmodelled, &[], &[], why.as_bytes());
    }

    fn note_stores(&mut self, thread: pid_t) {
        if let Err(error) = self.stores(thread) {
            self.unmodelled(&format!("a file that is mapped cannot be read: {error}"));
        }
    }

    fn stores(&mut self, thread: pid_t) -> io::Result<()> {
        let by = By { thread: thread as u32, ..By::default() };
        for (nth, stored) in self.mapped.stored()?.into_iter().enumerate() {
            let words = [stored.ino, stored.offset, u64::from(nth > 0)];
            self.log.add(by, Kind::MapStore, &words, &[], &stored.data);
        }
        Ok(())
    }

    pub(super) fn is_output(&self, file: &Metadata) -> bool {
        (file.dev(), file.ino()) == (self.output.dev, self.output.ino)
    }

    /// Something may have been written to standard output.
    pub(super) fn listen(&mut self, call: &Call) {
        let len = self.output.file.metadata().map_or(0, |metadata| metadata.len());
        let output = &mut self.output;
        if len < output.len {
            output.len = len;
            return self.unmodelled("what was written to standard output was taken back");
        }
        if len == output.len {
            return;
        }
        let mut said = vec![0; (len - output.len) as usize];
        if let Err(error) = output.file.read_exact_at(&mut said, output.len) {
            return self.unmodelled(&format!("standard output cannot be read: {error}"));
        }
        output.len = len;
        output.said.push(said);
        let id = output.before + output.said.len() as u64;
        self.note_stores(call.thread);
        self.log.add(by(call), Kind::Mark, &[1, id], &[], &[]);
    }

    /// Whether it is below the root, or was and has lost its last name.
    pub(super) fn is_below(&self, file: &Metadata) -> bool {
        let ino = &file.ino();
        file.dev() == self.dev
            && (self.named.contains(ino) || (self.nameless.contains(ino) && file.nlink() == 0))
    }

    /// The same of a device and an inode that somebody has mapped, and so keeps.
    pub(super) fn is_ours(&self, dev: u64, ino: u64) -> bool {
        dev == self.dev && (self.named.contains(&ino) || self.nameless.contains(&ino))
    }

    pub(super) fn is_on_device(&self, file: &Metadata) -> bool {
        file.dev() == self.dev
    }

    /// Where a name is, or would be; none where that is not below the root.
    pub(super) fn place(&self, path: &Path) -> Option<Place> {
        let bytes = path.as_os_str().as_bytes();
        let last = bytes.iter().rposition(|&byte| byte != b'/')?;
        let slash = bytes[..=last].iter().rposition(|&byte| byte == b'/')?;
        let name = &bytes[slash + 1..=last];
        if name == b"." || name == b".." {
            return None;
        }
        let parent = fs::metadata(OsStr::from_bytes(&bytes[..=slash])).ok()?;
        self.is_below(&parent).then(|| Place { parent: parent.ino(), name: name.to_vec() })
    }

    /// An inode has got a name below the root.
    pub(super) fn got_name(&mut self, made: &Metadata) {
        if made.dev() != self.dev {
            self.unmodelled("files below the root have another device number than the root");
        }
        self.named.insert(made.ino());
        self.nameless.remove(&made.ino());
    }

    /// An inode has been made without a name, or has lost one: its last, where it says so.
    pub(super) fn lost_name(&mut self, gone: &Metadata) {
        if gone.is_dir() || gone.nlink() <= 1 {
            self.named.remove(&gone.ino());
            self.nameless.insert(gone.ino());
        }
    }
}

fn by(call: &Call) -> By {
    By { thread: call.thread as u32, number: call.number as u16, stack: 0 }
}
