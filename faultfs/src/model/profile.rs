//! What each filesystem promises: one switch a property, one constant a profile, each cell with its
//! source.
//!
//! Sources: *ALICE* is Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014); its table 1
//! holds what the authors' tool BOB measured, its table 3(d) the abstract models they evaluated. Where
//! the two differ we take the weaker side, so that a profile never promises more than was seen.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::Error;

/// A persistence model: which of the unsynced changes a crash may lose, tear or reorder.
///
/// What holds under every profile: a page of the page cache is written back as a page, so unsynced
/// writes to it are its *versions*; a sector of 512 bytes is never torn; the entries of one slot are
/// its versions, and a rename changes both of its slots or neither.
///
/// ```
/// use faultfs::model::Profile;
/// let profile: Profile = "ext4".parse().unwrap();
/// assert!(profile.safe_rename);
/// assert!("ext5".parse::<Profile>().unwrap_err().to_string().contains("posix"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(into = "&str")]
pub struct Profile {
    /// The word by which the tool, tokens and reports know it.
    pub name: &'static str,
    /// A page that was being written back may mix two of its versions in whole sectors.
    pub torn_pages: bool,
    /// A larger size may be durable before the data in it, which then reads as zeros.
    pub size_before_data: bool,
    /// As [`size_before_data`](Self::size_before_data), and the new range may hold stale bytes of the
    /// device.
    pub stale_bytes: bool,
    /// Data and size of a file are durable no later than its rename over an existing name.
    pub safe_rename: bool,
    /// A sync of a file or directory makes the entry through which it was created durable, and those
    /// of its ancestors.
    pub safe_file_flush: bool,
    /// Changes of directory entries become durable in the order in which they were made.
    pub ordered_entries: bool,
    /// Everything becomes durable in the order in which it was made.
    pub total_order: bool,
    /// Not the machine dies but the process: what the kernel has taken is kept.
    pub process_only: bool,
}

impl Profile {
    /// The weakest: only what POSIX says of `fsync` holds. ALICE's default model (table 3(d)), with
    /// pages and slots in place of independent micro-operations.
    pub const POSIX: Profile = Profile {
        name: "posix",
        torn_pages: true, // ALICE table 1: "single-block overwrite" fails on most filesystems
        size_before_data: true, // ALICE table 3(d), default: sub-append atomicity
        stale_bytes: true, // ALICE table 3(d), ext3-writeback: no content atomicity
        safe_rename: false, // ALICE table 3(d), default: no special patterns
        safe_file_flush: false, // fsync(2): "does not necessarily ensure that the entry … has also reached disk"
        ordered_entries: false, // ALICE table 3(d), default: directory operations unordered
        total_order: false,
        process_only: false,
    };

    /// ext4 with `data=ordered`, its default.
    pub const EXT4: Profile = Profile {
        name: "ext4",
        torn_pages: true, // ALICE table 1, ext4-ord: "single-block overwrite" fails
        size_before_data: false, // ALICE table 1, ext4-ord: "single-block append" holds; table 3(d): content atomicity
        stale_bytes: false,      // ALICE table 3(d), ext4-ordered: content atomicity
        safe_rename: true, // ALICE table 3(d), ext4-ordered; mount option auto_da_alloc, on by default
        safe_file_flush: true, // ALICE table 3(d), ext4-ordered
        ordered_entries: true, // ALICE table 3(d): ordered among themselves (table 1's stronger "→ any op" not taken)
        total_order: false, // ALICE table 1, ext4-ord: "overwrite → any op" and "append → any op" fail
        process_only: false,
    };

    /// ext3 or ext4 with `data=journal`: every state is a prefix of what was asked.
    pub const DATA_JOURNAL: Profile = Profile {
        name: "data-journal",
        torn_pages: false, // ALICE table 1, ext4-dj: "single-block overwrite" holds
        size_before_data: false, // ALICE table 1, ext4-dj: "single-block append" holds
        stale_bytes: false, // as above
        safe_rename: true, // follows from the total order
        safe_file_flush: true, // follows: a sync commits the journal up to itself
        ordered_entries: true, // follows from the total order
        total_order: true, // ALICE table 3(d), ext3-journal: total order of everything
        process_only: false,
    };

    /// The process is killed and the machine lives: the page cache keeps every op that ended.
    pub const PROCESS_KILL: Profile = Profile {
        name: "process-kill",
        torn_pages: false,
        size_before_data: false,
        stale_bytes: false,
        safe_rename: true,
        safe_file_flush: true,
        ordered_entries: true,
        total_order: true,
        process_only: true, // POSIX write(2): once it returned, any read sees the data
    };

    /// Every profile, weakest first.
    pub const ALL: [Profile; 4] =
        [Profile::POSIX, Profile::EXT4, Profile::DATA_JOURNAL, Profile::PROCESS_KILL];
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
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
        Profile::ALL.into_iter().find(|p| p.name == text).ok_or_else(|| {
            let names = Profile::ALL.map(|p| p.name).join(", ");
            Error::new(format!("unknown profile `{text}`; there are {names}"))
        })
    }
}
