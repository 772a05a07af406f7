//! How a file is opened.

use std::io;

use crate::op::SyncKind;

/// How a file is opened. This corresponds to [`std::fs::OpenOptions`].
///
/// Beyond std's words: [`sync`] and [`direct`].
///
/// ```
/// use faultfs::FaultFs;
/// use faultfs::fs::OpenOptions;
/// use std::io::Write;
///
/// let fs = FaultFs::mem();
/// let mut log = fs.open_with("log", OpenOptions::new().append(true).create(true))?;
/// log.write_all(b"record")?;
/// assert_eq!(fs.read("log")?, b"record");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// [`sync`]: OpenOptions::sync
/// [`direct`]: OpenOptions::direct
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) append: bool,
    pub(super) truncate: bool,
    pub(super) create: bool,
    pub(super) create_new: bool,
    pub(super) sync: Option<SyncKind>,
    pub(super) direct: bool,
    pub(super) mode: u32,
}

impl OpenOptions {
    /// Nothing is set. This corresponds to [`std::fs::OpenOptions::new`].
    #[allow(clippy::new_without_default, reason = "as in std: no default is a good one")]
    pub fn new() -> OpenOptions {
        OpenOptions {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            sync: None,
            direct: false,
            mode: 0o666,
        }
    }

    /// For reading. This corresponds to [`std::fs::OpenOptions::read`].
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.read = read;
        self
    }

    /// For writing. This corresponds to [`std::fs::OpenOptions::write`].
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// Every write goes to the end, a positional one too, as on Linux (pwrite(2), "Bugs"). This
    /// corresponds to [`std::fs::OpenOptions::append`].
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// The file is emptied. This corresponds to [`std::fs::OpenOptions::truncate`].
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// The file is made where there is none. This corresponds to [`std::fs::OpenOptions::create`].
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// The file is made, and it is an error if there is one. This corresponds to
    /// [`std::fs::OpenOptions::create_new`].
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    /// Every write is a sync of itself: `O_SYNC` for [`SyncKind::All`], `O_DSYNC` for
    /// [`SyncKind::Data`].
    pub fn sync(&mut self, kind: SyncKind) -> &mut Self {
        self.sync = Some(kind);
        self
    }

    /// Past the page cache, as with `O_DIRECT`: offset and length of a read or write must be multiples of
    /// 512 (else `EINVAL`; the address of the buffer is not looked at). The end of a write promises
    /// neither that its data is durable nor the size of the file.
    pub fn direct(&mut self, direct: bool) -> &mut Self {
        self.direct = direct;
        self
    }

    /// Permission bits of a new file, from which a umask of `022` is taken; `0o666` unless set. This
    /// corresponds to [`std::os::unix::fs::OpenOptionsExt::mode`].
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    /// True where the file can be written.
    pub(super) fn writes(&self) -> bool {
        self.write || self.append
    }

    /// std refuses what makes no sense before it asks the kernel.
    pub(super) fn check(&self) -> io::Result<()> {
        let invalid = |message| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        if !self.read && !self.writes() {
            return invalid("open for at least one of reading, writing and appending");
        }
        if !self.writes() && (self.truncate || self.create || self.create_new) {
            return invalid("creating or truncating a file needs write or append access");
        }
        if self.append && self.truncate && !self.create_new {
            return invalid("a file is either appended to or truncated");
        }
        Ok(())
    }
}
