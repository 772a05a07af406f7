//! The filesystems of the running kernel, as they are made and mounted, and the profiles that are held
//! against each.

use faultfs::Profile;
use faultfs::op::Op;
use faultfs::trace::Trace;

/// A filesystem with its options.
#[derive(Debug)]
pub(crate) struct System {
    /// How the command line and tokens call it.
    pub(crate) name: &'static str,
    /// Makes it; the device comes last.
    pub(crate) make: &'static [&'static str],
    /// What mount(2) calls it.
    pub(crate) kind: &'static str,
    /// Options of mount(2).
    pub(crate) options: &'static str,
    /// Run on the device before it is mounted again; without it a journal is replayed by the mount.
    pub(crate) repair: &'static [&'static str],
    /// Each must allow whatever is seen.
    pub(crate) profiles: &'static [Profile],
    /// Profiles that promise too much, and what is wrong with them: what is seen must give each away.
    pub(crate) turned: &'static [(&'static str, Profile)],
    /// False where a failed write of data is no failed sync: the journal takes the data, and its failure ends
    /// the filesystem.
    pub(crate) fails_data: bool,
}

/// Blocks like pages, nothing left to be made later: what was not written is stale.
const EXT: [&str; 10] = [
    "-q",
    "-F",
    "-b",
    "4096",
    "-N",
    "64",
    "-E",
    "lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0",
    "-m",
    "0",
];

macro_rules! ext {
    ($program:literal $(, $more:literal)*) => {
        &[
            $program, EXT[0], EXT[1], EXT[2], EXT[3], EXT[4], EXT[5], EXT[6], EXT[7], EXT[8], EXT[9],
            $($more),*
        ]
    };
}

const EXT4: System = System {
    name: "ext4",
    make: ext!("mkfs.ext4"),
    kind: "ext4",
    options: "",
    repair: &[],
    profiles: &[Profile::EXT4_5_6, Profile::POSIX],
    turned: &[
        ("sizes wait for their data", Profile { size_before_data: false, ..Profile::EXT4_5_6 }),
        ("pages are never torn", Profile { torn_pages: false, ..Profile::EXT4_5_6 }),
        (
            "new blocks are covered again after a failed sync",
            Profile { failed_blocks_stay_unwritten: false, ..Profile::EXT4_5_6 },
        ),
        ("everything is in order", Profile::DATA_JOURNAL),
    ],
    fails_data: true,
};

/// What can be measured here.
pub(crate) const ALL: &[System] = &[
    EXT4,
    System {
        name: "ext4-dioread_lock",
        options: "dioread_lock",
        profiles: &[Profile::EXT4, Profile::POSIX],
        turned: &[
            (
                "sizes wait for their data within a block",
                Profile { size_within_block: false, ..Profile::EXT4 },
            ),
            ("no stale bytes after a failed sync", Profile { stale_bytes: false, ..Profile::EXT4 }),
        ],
        ..EXT4
    },
    System {
        name: "ext4-noauto_da_alloc",
        options: "dioread_lock,noauto_da_alloc",
        profiles: &[Profile::EXT4_NOAUTO_DA_ALLOC, Profile::POSIX],
        turned: &[("a replacement needs no sync", Profile::EXT4)],
        ..EXT4
    },
    // Which turns dioread_nolock off: fs/ext4/ext4_jbd2.h, ext4_should_dioread_nolock.
    System {
        name: "ext4-nodelalloc",
        options: "nodelalloc",
        profiles: &[Profile::EXT4, Profile::POSIX],
        turned: &[],
        ..EXT4
    },
    System {
        name: "ext4-writeback",
        options: "data=writeback",
        profiles: &[Profile::EXT4_WRITEBACK, Profile::POSIX],
        turned: &[(
            "sizes wait for their data",
            Profile { size_before_data: false, ..Profile::EXT4_WRITEBACK },
        )],
        ..EXT4
    },
    System {
        name: "ext4-journal",
        options: "data=journal",
        profiles: &[Profile::DATA_JOURNAL, Profile::POSIX],
        turned: &[("nothing is lost", Profile::PROCESS_KILL)],
        fails_data: false,
        ..EXT4
    },
    System {
        name: "ext4-fast_commit",
        make: ext!("mkfs.ext4", "-O", "fast_commit"),
        profiles: &[Profile::EXT4_FAST_COMMIT, Profile::POSIX],
        turned: &[],
        ..EXT4
    },
    System {
        name: "ext3",
        make: ext!("mkfs.ext3"),
        kind: "ext3",
        profiles: &[Profile::EXT3, Profile::POSIX],
        turned: &[("everything is in order", Profile::DATA_JOURNAL)],
        ..EXT4
    },
    System {
        name: "ext3-writeback",
        make: ext!("mkfs.ext3"),
        kind: "ext3",
        options: "data=writeback",
        profiles: &[Profile::EXT3_WRITEBACK, Profile::POSIX],
        turned: &[("no stale bytes", Profile { stale_bytes: false, ..Profile::EXT3_WRITEBACK })],
        ..EXT4
    },
    System {
        name: "ext2",
        make: ext!("mkfs.ext2"),
        kind: "ext2",
        // Exit code 1: errors were corrected.
        repair: &["e2fsck", "-fy"],
        profiles: &[Profile::EXT2],
        turned: &[("a rename is whole", Profile { atomic_rename: true, ..Profile::EXT2 })],
        ..EXT4
    },
    System {
        name: "xfs",
        // Smaller than is supported: a mount reads the whole log.
        make: &["mkfs.xfs", "--unsupported", "-q", "-f", "-K", "-d", "agcount=1", "-l", "size=6m"],
        kind: "xfs",
        profiles: &[Profile::XFS_LOG_FORCE, Profile::XFS, Profile::POSIX],
        turned: &[("everything is in order", Profile::DATA_JOURNAL)],
        ..EXT4
    },
    System {
        name: "btrfs",
        make: &["mkfs.btrfs", "-q", "-f", "-K", "-m", "single", "-d", "single"],
        kind: "btrfs",
        profiles: &[Profile::BTRFS, Profile::POSIX],
        turned: &[
            ("everything is in order", Profile::DATA_JOURNAL),
            ("a replacement needs no sync", Profile { safe_rename: true, ..Profile::BTRFS }),
        ],
        ..EXT4
    },
];

impl System {
    /// Bytes of its device: no less than its `mkfs` takes.
    pub(crate) fn size(&self) -> u64 {
        match self.kind {
            "xfs" => 48 << 20,
            "btrfs" => 128 << 20,
            _ => 24 << 20,
        }
    }

    /// Why a program cannot be held against its profiles.
    pub(crate) fn unmeasured(&self, trace: &Trace) -> Option<&'static str> {
        let mut live = trace.base.clone();
        for record in &trace.ops {
            if record.errno.is_some() && !self.fails_data {
                return Some("its journal takes data, and a failed write ends it");
            }
            if let Op::Rename { from, .. } = &record.op
                && live.lookup(from).is_some_and(|moved| live.entries(moved).is_some())
                && self.kind == "ext2"
            {
                return Some(
                    "a limit of the model: half a move of a directory is for fsck to mend",
                );
            }
            live.apply(&record.op);
        }
        None
    }

    /// Why it cannot be measured here.
    pub(crate) fn missing(&self) -> Option<String> {
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !known.lines().any(|line| line.split_whitespace().last() == Some(self.kind)) {
            return Some(format!("the kernel has no {}", self.kind));
        }
        let programs = [self.make.first(), self.repair.first()].into_iter().flatten();
        programs.copied().find_map(|program| {
            let found = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"]
                .iter()
                .any(|dir| std::path::Path::new(dir).join(program).exists());
            (!found).then(|| format!("{program} is not installed"))
        })
    }
}
