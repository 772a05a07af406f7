//! What each filesystem promises: one switch a property, one constant a profile, each cell with its
//! source.
//!
//! Sources: *ALICE* is Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014); its table 1
//! holds what the authors' tool BOB measured, its table 3(d) the abstract models they evaluated. Where
//! the two differ we take the weaker side, so that a profile never promises more than was seen; likewise
//! where nobody measured. Kernel files are those of Linux, `zil.c` that of OpenZFS.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::Error;

/// A persistence model: which of the unsynced changes a crash may lose, tear or reorder.
///
/// What holds under every profile: a page of the page cache is written back as a page, so unsynced
/// writes to it are its *versions*; a sector of 512 bytes is never torn; the entries of one slot are
/// its versions. Nobody has measured the switches of a modern kernel in the way of ALICE: what is
/// younger than its tables is a profile of its own beside the one that the tables give.
///
/// ```
/// use faultfs::model::Profile;
/// let profile: Profile = "ext4".parse().unwrap();
/// assert!(profile.safe_rename);
/// assert!(!Profile::EXT4_5_6.safe_rename);
/// assert!("ext5".parse::<Profile>().unwrap_err().to_string().contains("posix"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(into = "&str")]
pub struct Profile {
    /// The word by which the tool, tokens and reports know it.
    pub name: &'static str,
    /// A rename of a file changes both of its slots or neither. Else the new name and the removal of the
    /// old one are two changes: a crash may leave both names, or none. Moves of directories and exchanges
    /// are whole everywhere: what a half of them leaves is repaired by `fsck`, and not modelled.
    pub atomic_rename: bool,
    /// A page that was being written back may mix two of its versions in whole sectors.
    pub torn_pages: bool,
    /// A larger size may be durable before the data in it, which then reads as zeros.
    pub size_before_data: bool,
    /// A larger size that ends in a page which the file has had a part of may be durable before the data in that
    /// page, which then ends in zeros: there is a block already, and no allocation for which data would wait.
    pub size_within_block: bool,
    /// Where a larger size is durable and its data is not, the new range may hold stale bytes of the device:
    /// with [`size_before_data`](Self::size_before_data) at any time, else where
    /// [`size_without_failed_data`](Self::size_without_failed_data) lets the size go alone.
    pub stale_bytes: bool,
    /// Once a sync has failed that was to write the data in a larger size, the size may be durable without it.
    /// Elsewhere a size is not; but a later and larger one takes its place, and leaves a hole where the data
    /// failed: fs/xfs/xfs_aops.c, `xfs_end_ioend`, sets no size where its write has failed, and the next write
    /// that ends sets its own; CuttleFS table 1 has the hole of btrfs, and that XFS shows the block "not at the
    /// end of the file".
    pub size_without_failed_data: bool,
    /// What is written to a new page after a sync has failed on it is covered by no sync: its block stays marked
    /// as one that was never written, and reads as zeros after a crash, whatever is in it.
    pub failed_blocks_stay_unwritten: bool,
    /// The size of a file and the pages that were added to it are durable no later than its rename over an
    /// existing name, with [`intent_log`](Self::intent_log) over any; but what a failed sync has left clean, which
    /// no rename writes. Where not everything is in order, pages that were there before and are written over are
    /// no part of it.
    pub safe_rename: bool,
    /// A sync of a file or directory makes the entry through which it was created durable, and those
    /// of its ancestors.
    pub safe_file_flush: bool,
    /// Which changes become durable in the order in which they were made.
    pub order: Kept,
    /// A sync goes to a log beside the order: it makes its file durable, and nothing that was asked for
    /// before it but the changes of names.
    pub intent_log: bool,
    /// Not the machine dies but the process: what the kernel has taken is kept.
    pub process_only: bool,
}

/// Which changes become durable in the order in which they were made; each keeps what those before it
/// keep. Concurrent ops have no order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kept {
    /// None: every entry, size and page on its own.
    Nothing,
    /// Changes of directory entries.
    Names,
    /// Names, and no size or mode before the names that were changed before it: one log takes them, so
    /// that a sync which has a size or a mode to write forces earlier names out. Sizes and modes wait for
    /// names and are not waited for, since a size is logged when its data is allocated.
    Log,
    /// Names, sizes and modes.
    Metadata,
    /// Everything: every disk is a prefix of what was asked.
    Everything,
}

impl Profile {
    /// The weakest: only what POSIX says of `fsync` holds. ALICE's default model (table 3(d)), with
    /// pages and slots in place of independent micro-operations, and with atomic renames.
    pub const POSIX: Profile = Profile {
        name: "posix",
        atomic_rename: true, // rename(2): "there will be no point at which another process … will find it missing"
        torn_pages: true,    // ALICE table 1: "single-block overwrite" fails on most filesystems
        size_before_data: true, // ALICE table 3(d), default: sub-append atomicity
        size_within_block: true, // as above
        stale_bytes: true,   // ALICE table 3(d), ext3-writeback: no content atomicity
        size_without_failed_data: true, // CuttleFS table 1, ext4: metadata is persisted although data is not
        failed_blocks_stay_unwritten: true, // as ext4-5.6
        safe_rename: false,             // ALICE table 3(d), default: no special patterns
        safe_file_flush: false, // fsync(2): "does not necessarily ensure that the entry … has also reached disk"
        order: Kept::Nothing,   // ALICE table 3(d), default: everything unordered
        intent_log: false,
        process_only: false,
    };

    /// ext2: no journal. The one profile without atomic rename, kept apart from [`Profile::ALL`]: what is
    /// renamed to a fresh name may be gone from both, and no engine that does so can help it.
    pub const EXT2: Profile = Profile {
        name: "ext2",
        atomic_rename: false, // ALICE table 1, ext2: "directory operation" fails
        torn_pages: true,     // table 1, ext2: "single-block overwrite" fails
        size_before_data: true, // table 1, ext2: "single-sector append" fails
        size_within_block: true, // as above
        stale_bytes: true,    // no ordering of data and size: as ext3-writeback, table 3(d)
        size_without_failed_data: true, // as posix: no order of data and size
        failed_blocks_stay_unwritten: false, // fs/ext4/indirect.c: blocks have no such mark
        safe_rename: false,   // table 1, ext2: "[append, rename] → any op" fails
        safe_file_flush: false, // fs/ext2 syncs the inode and its blocks, not the directory
        order: Kept::Nothing, // table 1, ext2: "directory op → any op" fails
        intent_log: false,
        process_only: false,
    };

    /// ext3 with `data=ordered`, its default.
    pub const EXT3: Profile = Profile {
        name: "ext3",
        atomic_rename: true, // ALICE table 1, ext3-ord: "directory operation" holds
        torn_pages: true,    // table 1, ext3-ord: "single-block overwrite" fails
        size_before_data: false, // table 1, ext3-ord: "single-block append" holds
        size_within_block: true, // seen on Linux 6.18, whose ext4 serves ext3; nothing is allocated, as on ext4
        stale_bytes: true, // after a failed sync: seen on Linux 6.18. Else table 3(d): content atomicity
        size_without_failed_data: true, // fs/jbd/commit.c: of an error in ordered data it only warns
        failed_blocks_stay_unwritten: false, // as ext2
        safe_rename: false, // table 3(d): no special pattern; appends come first by the order of sizes
        safe_file_flush: true, // table 3(d): directory operations before sync ops
        order: Kept::Metadata, // table 3(d): "ordered with appends and truncates" (overwrites by table 1 not)
        intent_log: false,
        process_only: false,
    };

    /// ext3 with `data=writeback`.
    pub const EXT3_WRITEBACK: Profile = Profile {
        name: "ext3-writeback",
        atomic_rename: true, // ALICE table 1, ext3-wb: "directory operation" holds
        torn_pages: true,    // table 1, ext3-wb: "single-block overwrite" fails
        size_before_data: true, // table 1, ext3-wb: "single-sector append" fails
        size_within_block: true, // as above
        stale_bytes: true,   // table 3(d), ext3-writeback: no content atomicity
        size_without_failed_data: true, // as ext3: the journal does not wait for data
        failed_blocks_stay_unwritten: false, // as ext2
        safe_rename: false,  // table 1, ext3-wb: "[append, rename] → any op" fails
        safe_file_flush: true, // table 3(d): directory operations before sync ops
        order: Kept::Metadata, // table 3(d): ordered among themselves and with file-size changes
        intent_log: false,
        process_only: false,
    };

    /// ext4 with `data=ordered`, its default, as it was in 2014. For newer kernels see
    /// [`Profile::EXT4_5_6`].
    pub const EXT4: Profile = Profile {
        name: "ext4",
        atomic_rename: true, // ALICE table 1, ext4-ord: "directory operation" holds
        torn_pages: true,    // ALICE table 1, ext4-ord: "single-block overwrite" fails
        // ALICE table 1, ext4-ord: "single-block append" holds; table 3(d): content atomicity. A limit: ext4_setattr
        // in fs/ext4/inode.c sets the size that a file is cut to at once, so that new pages in front of it that were
        // not yet written back read as zeros; seen on 6.18.
        size_before_data: false,
        // fs/ext4/inode.c, ext4_da_should_update_i_disksize: such a size is set when it is written. Its data is in no
        // order with it since Linux 4.7 at the latest, where ext4_map_blocks puts in order what it allocates and
        // nothing else (06bd3c36a733, "ext4: fix data exposure after a crash"); seen on 6.18.
        size_within_block: true,
        // After a failed sync: CuttleFS table 1, seen on 6.18. Else ALICE table 3(d), ext4-ordered: content atomicity
        stale_bytes: true,
        size_without_failed_data: true, // fs/jbd2/commit.c: of "IO errors while flushing file data" it only warns; CuttleFS table 1
        failed_blocks_stay_unwritten: false, // new blocks are not marked before dioread_nolock was the default
        // ALICE table 3(d), ext4-ordered; mount option auto_da_alloc, on by default. Not what is written over:
        // fs/ext4/inode.c, ext4_alloc_da_blocks writes where blocks are yet to be allocated; seen on 6.18.
        safe_rename: true,
        safe_file_flush: true, // ALICE table 3(d), ext4-ordered
        order: Kept::Names, // ALICE table 3(d): ordered among themselves (table 1's stronger "→ any op" not taken)
        intent_log: false,
        process_only: false,
    };

    /// ext4 with `data=writeback`.
    pub const EXT4_WRITEBACK: Profile = Profile {
        name: "ext4-writeback",
        size_before_data: true, // ALICE table 1, ext4-wb: "single-sector append" fails
        stale_bytes: true,      // as ext3-writeback, table 3(d): the journal does not wait for data
        failed_blocks_stay_unwritten: true, // as ext4-5.6: dioread_nolock is the default here, too
        safe_rename: false,     // table 1, ext4-wb: "[append, rename] → any op" fails
        ..Profile::EXT4 // fs/ext4/fsync.c commits the journal in either mode; table 1 has the rest alike
    };

    /// ext4 with `data=ordered` and `noauto_da_alloc`: a rename starts no write-back.
    pub const EXT4_NOAUTO_DA_ALLOC: Profile = Profile {
        name: "ext4-noauto_da_alloc",
        safe_rename: false, // fs/ext4/namei.c, ext4_rename: ext4_alloc_da_blocks only without the option
        ..Profile::EXT4
    };

    /// ext4 since Linux 5.6, with its defaults: `dioread_nolock` maps new blocks as unwritten extents,
    /// for whose data the journal does not wait.
    pub const EXT4_5_6: Profile = Profile {
        name: "ext4-5.6",
        // fs/ext4/inode.c: only written extents are put on the ordered list (ext4_map_blocks), and the size is
        // updated when the data is submitted (mpage_map_and_submit_extent); they read as zeros.
        size_before_data: true,
        stale_bytes: false, // unwritten extents read as zeros
        // fs/ext4/inode.c, mpage_add_bh_to_extent: a buffer that is mapped, neither delayed nor unwritten, is written
        // without the conversion of its extent that the failed write has not come to; seen on 6.18.
        failed_blocks_stay_unwritten: true,
        // "We do not guarantee that the data is securely on disk before rename": J. Kara on linux-ext4,
        // 2022-09-01, "ext4: ensure data forced to disk when rename", where zeros were seen behind one.
        safe_rename: false,
        ..Profile::EXT4
    };

    /// ext4 since Linux 5.10 with the feature `fast_commit`: an fsync logs what became of its file.
    pub const EXT4_FAST_COMMIT: Profile = Profile {
        name: "ext4-fast-commit",
        // "mkdir test; create & write test/a.txt; fsync test/a.txt" loses a.txt: Xin Yin on linux-ext4,
        // 2021, on ext4_fc_commit_dentry_updates.
        safe_file_flush: false,
        // fs/ext4/fast_commit.c, ext4_fc_commit_dentry_updates, before creations had a list of their own
        // (fcd_dilist): entries are logged in their order, but a creation whose inode is not on the list of
        // changed ones is left out, and later entries are not.
        order: Kept::Nothing,
        ..Profile::EXT4_5_6
    };

    /// XFS.
    pub const XFS: Profile = Profile {
        name: "xfs",
        atomic_rename: true, // ALICE table 1, xfs: "directory operation" holds
        torn_pages: true,    // table 1, xfs: "single-block overwrite" fails
        size_before_data: false, // table 1, xfs: "single-block append" holds; the size is logged when the data is written
        size_within_block: false, // as above: xfs_setfilesize, when the data is written
        stale_bytes: false,      // as above
        size_without_failed_data: false, // CuttleFS section 3: not the size of the failed append
        failed_blocks_stay_unwritten: false, // fs/xfs/xfs_aops.c, xfs_map_blocks, looks the extent up for each write-back
        // Table 1 has no counter-example, but fs/xfs/xfs_inode.c, xfs_rename, is a transaction of names alone,
        // which starts no write-back: the weaker side.
        safe_rename: false,
        safe_file_flush: true, // fs/xfs/xfs_file.c, xfs_fsync_flush_log: up to the last change of the inode, its creation at least
        order: Kept::Names, // table 1, xfs: "directory op → any op" holds, of which names among themselves are taken
        intent_log: false,
        process_only: false,
    };

    /// XFS with the whole log in order: a sync that has metadata of its file to log takes all names that
    /// were changed before along.
    pub const XFS_LOG_FORCE: Profile = Profile {
        name: "xfs-log-force",
        order: Kept::Log, // fs/xfs/xfs_file.c: "flush the log up to the latest LSN that touched the inode"; table 1, "directory op → any op"
        ..Profile::XFS
    };

    /// btrfs.
    pub const BTRFS: Profile = Profile {
        name: "btrfs",
        atomic_rename: true, // ALICE table 1, btrfs: "directory operation" holds
        torn_pages: false,   // table 1, btrfs: "single-block overwrite" holds: copy on write
        size_before_data: false, // table 1, btrfs: "single-block append" holds
        size_within_block: false, // copy on write
        stale_bytes: false,  // table 3(d), btrfs: content atomicity
        size_without_failed_data: false, // CuttleFS table 1: metadata is not persisted
        failed_blocks_stay_unwritten: false, // copy on write
        // Since 3.17 a rename only starts to write its file ("btrfs: disable strict file flushes for renames and
        // truncates"; ALICE table 3(d) is older): seen on 6.18, where a sync of the directory leaves it empty.
        safe_rename: false,
        safe_file_flush: true, // table 3(d), btrfs: safe file flush
        order: Kept::Nothing, // table 1, btrfs: "directory op → any op" fails; table 3(d): all unordered (table 1's ordered overwrites not taken)
        intent_log: false,
        process_only: false,
    };

    /// Transaction groups with an intent log, as ZFS has them: a group holds a prefix of everything, the
    /// log what was synced since.
    pub const ZFS: Profile = Profile {
        name: "zfs",
        atomic_rename: true, // a rename is one transaction, and a group holds whole ones
        torn_pages: false,   // copy on write
        size_before_data: false, // data and size are of one transaction
        size_within_block: false, // data and size are of one transaction
        stale_bytes: false,  // copy on write
        size_without_failed_data: false, // data and size are of one transaction
        failed_blocks_stay_unwritten: false, // copy on write
        // zil.c, zil_itx_assign: of any TX_RENAME "the data of a renamed file is committed before the rename";
        // an exchange is another record. Where no log is written it follows from the order.
        safe_rename: true,
        safe_file_flush: true, // zil.c: a creation is logged at once, and each zil_commit writes what was logged
        order: Kept::Everything, // a crash goes back to a whole group; groups end at any time
        intent_log: true, // zil.c, zil_commit(zilog, foid): the records of that file, and the names before them
        process_only: false,
    };

    /// ext3 or ext4 with `data=journal`: every state is a prefix of what was asked.
    pub const DATA_JOURNAL: Profile = Profile {
        name: "data-journal",
        atomic_rename: true, // ALICE table 1, ext3-dj and ext4-dj: "directory operation" holds
        torn_pages: false,   // ALICE table 1, ext3-dj and ext4-dj: "single-block overwrite" holds
        size_before_data: false, // table 1, the same: "single-block append" holds
        size_within_block: false, // as above
        stale_bytes: false,  // as above
        size_without_failed_data: false, // the journal has the data too
        failed_blocks_stay_unwritten: false, // as above
        safe_rename: true,   // follows from the order
        safe_file_flush: true, // follows: a sync commits the journal up to itself
        order: Kept::Everything, // ALICE table 3(d), ext3-journal: total order of everything
        intent_log: false,
        process_only: false,
    };

    /// The process is killed and the machine lives: the page cache keeps every op that ended.
    pub const PROCESS_KILL: Profile = Profile {
        name: "process-kill",
        process_only: true, // POSIX write(2): once it returned, any read sees the data
        ..Profile::DATA_JOURNAL
    };

    /// Every profile with atomic renames, the weakest first: all but [`Profile::EXT2`].
    pub const ALL: [Profile; 14] = [
        Profile::POSIX,
        Profile::EXT3_WRITEBACK,
        Profile::EXT3,
        Profile::EXT4_WRITEBACK,
        Profile::EXT4_NOAUTO_DA_ALLOC,
        Profile::EXT4,
        Profile::EXT4_FAST_COMMIT,
        Profile::EXT4_5_6,
        Profile::XFS,
        Profile::XFS_LOG_FORCE,
        Profile::BTRFS,
        Profile::ZFS,
        Profile::DATA_JOURNAL,
        Profile::PROCESS_KILL,
    ];

    /// Those that differ most on what most data stands on, the weakest first: what the tool runs.
    pub const MAIN: [Profile; 6] = [
        Profile::POSIX,
        Profile::EXT4,
        Profile::XFS,
        Profile::BTRFS,
        Profile::DATA_JOURNAL,
        Profile::PROCESS_KILL,
    ];

    /// Those, and the one that is kept apart.
    pub(crate) fn every() -> impl Iterator<Item = Profile> {
        Profile::ALL.into_iter().chain([Profile::EXT2])
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// Saved by its name.
impl From<Profile> for &'static str {
    fn from(profile: Profile) -> Self {
        profile.name
    }
}

impl FromStr for Profile {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Profile::every().find(|p| p.name == text).ok_or_else(|| {
            let names: Vec<_> = Profile::every().map(|p| p.name).collect();
            Error::new(format!("unknown profile `{text}`; there are {}", names.join(", ")))
        })
    }
}
