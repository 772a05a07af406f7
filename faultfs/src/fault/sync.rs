//! How the sync of a file fails: four switches, and what each filesystem does, cell by cell.
//!
//! Sources: *CuttleFS* is Rebello et al., "Can Applications Recover from fsync Failures?" (USENIX ATC 2020), of
//! which table 1 says what the authors saw of Linux kernels; fsync(2), ERRORS, and the kernel's
//! Documentation/core-api/errseq.rst say who is told. Where they are silent, the weaker side is taken.

use std::fmt;

/// What a failed sync does.
///
/// ```
/// use faultfs::errno::EIO;
/// use faultfs::fault::{SyncFailure, Told};
/// use faultfs::plan::on;
///
/// let rule = on::sync().fail_sync(SyncFailure::BTRFS, EIO);
/// assert_eq!(rule.to_string(), "sync * -> fail-sync EIO as btrfs");
/// let old = SyncFailure { told: Told::Caller, ..SyncFailure::XFS };
/// let rule = on::sync().fail_sync(old, EIO);
/// assert_eq!(rule.to_string(), "sync * -> fail-sync EIO pages clean told caller size reverted then go-on");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SyncFailure {
    /// What becomes of the dirty pages.
    pub pages: Pages,
    /// Who is told, and when.
    pub told: Told,
    /// What becomes of a new size.
    pub size: Size,
    /// What the filesystem does afterwards.
    pub then: Then,
    /// The bytes whose pages cannot be written, from the first to the one after the last; the others are
    /// written. `None`: none can.
    pub only: Option<(u64, u64)>,
}

/// What becomes of the dirty pages of a failed sync.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pages {
    /// They are clean, and memory has the new data: no later sync writes them until they are written to
    /// again; when they are evicted, the data is gone.
    Clean,
    /// They are as the device has them.
    Reverted,
    /// They stay dirty, and the next sync writes them.
    Dirty,
}

/// Who is told of a failed sync, and when.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Told {
    /// Who has asked for the sync, by this sync.
    Caller,
    /// Who has asked, by this sync, and every other handle that is open now, once, by its next one.
    EveryHandle,
    /// Who has asked, by its next sync.
    CallerLater,
    /// Every handle that is open now, by its next sync; where none of them has been told, the first one
    /// that is opened later.
    EveryHandleLater,
    /// The first handle that is opened later, by its first sync.
    FirstOpener,
    /// Nobody.
    Nobody,
}

impl Told {
    /// True where the sync itself fails.
    pub(crate) fn is_now(self) -> bool {
        matches!(self, Told::Caller | Told::EveryHandle)
    }
}

/// What becomes of the size that a failed sync was to make durable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Size {
    /// The device has it. After a crash it may or may not be there.
    Persisted,
    /// The device has the old one, which comes back when nobody has the file open any more and it is
    /// evicted.
    Reverted,
}

/// What a filesystem does after a failed sync.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Then {
    /// It goes on.
    GoOn,
    /// It is read-only: whatever would change something fails with `EROFS`, until the injector is disarmed.
    ReadOnly,
    /// It is shut down: everything fails with `EIO`, until the injector is disarmed.
    ShutDown,
}

impl SyncFailure {
    /// Linux, ext4 with `data=ordered`: a data block cannot be written. What a plain `fail` of a sync is too.
    pub const EXT4_ORDERED: SyncFailure = SyncFailure {
        pages: Pages::Clean, // CuttleFS table 1: marked clean, memory does not match the disk
        told: Told::EveryHandle, // CuttleFS table 1: by this fsync; errseq.rst: every descriptor, once
        size: Size::Persisted,   // CuttleFS table 1: metadata is persisted although data is not
        then: Then::GoOn, // CuttleFS table 1: `data_err=abort` and `errors=remount-ro` change nothing
        only: None,
    };

    /// Linux, ext4 with `data=journal`: a data block cannot be written when the journal is checkpointed.
    pub const EXT4_DATA_JOURNAL: SyncFailure = SyncFailure {
        pages: Pages::Clean, // CuttleFS table 1: marked clean, memory does not match the disk
        told: Told::EveryHandleLater, // CuttleFS table 1: by the next fsync
        size: Size::Persisted, // CuttleFS, the authors' model of it; silent in table 1
        then: Then::GoOn,    // as for ordered
        only: None,
    };

    /// Linux, XFS: a data block cannot be written.
    pub const XFS: SyncFailure = SyncFailure {
        pages: Pages::Clean, // CuttleFS table 1: marked clean, memory does not match the disk
        told: Told::EveryHandle, // CuttleFS table 1: by this fsync; errseq.rst: every descriptor, once
        size: Size::Reverted, // CuttleFS section 3: persisted, but not the size of the failed append
        then: Then::GoOn,     // CuttleFS table 1: of data blocks
        only: None,
    };

    /// Linux, btrfs: a data block cannot be written.
    pub const BTRFS: SyncFailure = SyncFailure {
        pages: Pages::Reverted, // CuttleFS table 1: the content in memory matches the disk
        told: Told::EveryHandle, // CuttleFS table 1: by this fsync; errseq.rst: every descriptor, once
        size: Size::Reverted,    // CuttleFS table 1: metadata is not persisted
        then: Then::GoOn,        // CuttleFS table 1: of data blocks
        only: None,
    };

    /// FreeBSD and illumos.
    pub const FREEBSD: SyncFailure = SyncFailure {
        pages: Pages::Dirty, // PostgreSQL wiki, "Fsync Errors": the buffer stays dirty and is tried again
        told: Told::Caller,  // as above: every fsync that tries fails by itself
        size: Size::Persisted, // nothing is given up
        then: Then::GoOn,    // as above
        only: None,
    };

    /// Linux, ext4: a block of the journal cannot be written, in either mode.
    pub const EXT4_JOURNAL: SyncFailure = SyncFailure {
        pages: Pages::Clean,  // the data may be there; the weaker side
        told: Told::Caller,   // fs/jbd2/journal.c, jbd2_log_wait_commit: -EIO of an aborted journal
        size: Size::Reverted, // it was in the transaction that is lost
        then: Then::ReadOnly, // CuttleFS table 1: remount read-only
        only: None,
    };

    /// Linux, XFS: a block of the log cannot be written.
    pub const XFS_LOG: SyncFailure = SyncFailure {
        pages: Pages::Clean,  // the data may be there; the weaker side
        told: Told::Caller, // fs/xfs/xfs_log.c, xfs_log_force_seq: -EIO of a log that is shut down
        size: Size::Reverted, // it was in the log
        then: Then::ShutDown, // CuttleFS table 1: retried, then shut down
        only: None,
    };

    /// Linux, btrfs: a block of a tree cannot be written.
    pub const BTRFS_TREE: SyncFailure = SyncFailure {
        pages: Pages::Clean, // the transaction is aborted, memory keeps its pages; the weaker side
        told: Told::Caller,  // fs/btrfs/transaction.c, btrfs_commit_transaction
        size: Size::Reverted, // it was in the transaction that is lost
        then: Then::ReadOnly, // CuttleFS table 1: remount read-only
        only: None,
    };

    /// Every ready profile, by the word that plans have for it.
    pub const PROFILES: &[(&str, SyncFailure)] = &[
        ("ext4-ordered", SyncFailure::EXT4_ORDERED),
        ("ext4-data-journal", SyncFailure::EXT4_DATA_JOURNAL),
        ("xfs", SyncFailure::XFS),
        ("btrfs", SyncFailure::BTRFS),
        ("freebsd", SyncFailure::FREEBSD),
        ("ext4-journal-block", SyncFailure::EXT4_JOURNAL),
        ("xfs-log-block", SyncFailure::XFS_LOG),
        ("btrfs-tree-block", SyncFailure::BTRFS_TREE),
    ];

    pub(crate) const PAGES: &[(&str, Pages)] =
        &[("clean", Pages::Clean), ("reverted", Pages::Reverted), ("dirty", Pages::Dirty)];
    pub(crate) const TOLD: &[(&str, Told)] = &[
        ("caller", Told::Caller),
        ("every-handle", Told::EveryHandle),
        ("caller-later", Told::CallerLater),
        ("every-handle-later", Told::EveryHandleLater),
        ("first-opener", Told::FirstOpener),
        ("nobody", Told::Nobody),
    ];
    pub(crate) const SIZE: &[(&str, Size)] =
        &[("persisted", Size::Persisted), ("reverted", Size::Reverted)];
    pub(crate) const THEN: &[(&str, Then)] =
        &[("go-on", Then::GoOn), ("read-only", Then::ReadOnly), ("shut-down", Then::ShutDown)];

    /// The same failure, of the pages alone that these bytes touch: what is to be written elsewhere is
    /// written. Files of a [`FaultFs`](crate::FaultFs), and of the interposed door, only.
    ///
    /// # Panics
    ///
    /// Where the range is empty.
    #[track_caller]
    pub fn of_bytes(self, bytes: std::ops::Range<u64>) -> SyncFailure {
        assert!(bytes.start < bytes.end, "the range {bytes:?} is empty");
        SyncFailure { only: Some((bytes.start, bytes.end)), ..self }
    }
}

/// `as btrfs`, or the switches one by one.
impl fmt::Display for SyncFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = SyncFailure { only: None, ..*self };
        match SyncFailure::PROFILES.iter().find(|(_, profile)| *profile == whole) {
            Some((name, _)) => write!(f, "as {name}")?,
            None => write!(
                f,
                "pages {} told {} size {} then {}",
                word(SyncFailure::PAGES, self.pages),
                word(SyncFailure::TOLD, self.told),
                word(SyncFailure::SIZE, self.size),
                word(SyncFailure::THEN, self.then)
            )?,
        }
        match self.only {
            Some((first, end)) => write!(f, " in {first}..{end}"),
            None => Ok(()),
        }
    }
}

fn word<T: PartialEq>(words: &'static [(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}
