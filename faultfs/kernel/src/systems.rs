//! The filesystems of the running kernel, as they are made and mounted, and the profiles that are held
//! against each.

use faultfs::Profile;

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
    turned: &[],
    fails_data: true,
};

/// What can be measured here.
pub(crate) const ALL: &[System] = &[
    EXT4,
    System {
        name: "ext4-dioread_lock",
        options: "dioread_lock",
        profiles: &[Profile::EXT4, Profile::POSIX],
        ..EXT4
    },
    System {
        name: "ext4-noauto_da_alloc",
        options: "dioread_lock,noauto_da_alloc",
        profiles: &[Profile::EXT4_NOAUTO_DA_ALLOC, Profile::POSIX],
        ..EXT4
    },
    System { name: "ext4-nodelalloc", options: "nodelalloc", ..EXT4 },
    System {
        name: "ext4-writeback",
        options: "data=writeback",
        profiles: &[Profile::EXT4_WRITEBACK, Profile::POSIX],
        ..EXT4
    },
    System {
        name: "ext4-journal",
        options: "data=journal",
        profiles: &[Profile::DATA_JOURNAL, Profile::POSIX],
        fails_data: false,
        ..EXT4
    },
    System {
        name: "ext4-fast_commit",
        make: ext!("mkfs.ext4", "-O", "fast_commit"),
        profiles: &[Profile::EXT4_FAST_COMMIT, Profile::POSIX],
        ..EXT4
    },
    System {
        name: "ext3",
        make: ext!("mkfs.ext3"),
        kind: "ext3",
        profiles: &[Profile::EXT3, Profile::POSIX],
        ..EXT4
    },
    System {
        name: "ext3-writeback",
        make: ext!("mkfs.ext3"),
        kind: "ext3",
        options: "data=writeback",
        profiles: &[Profile::EXT3_WRITEBACK, Profile::POSIX],
        ..EXT4
    },
    System {
        name: "ext2",
        make: ext!("mkfs.ext2"),
        kind: "ext2",
        // Exit code 1: errors were corrected.
        repair: &["e2fsck", "-fy"],
        profiles: &[Profile::EXT2],
        ..EXT4
    },
    System {
        name: "xfs",
        make: &["mkfs.xfs", "-q", "-f", "-K"],
        kind: "xfs",
        profiles: &[Profile::XFS_LOG_FORCE, Profile::XFS, Profile::POSIX],
        ..EXT4
    },
    System {
        name: "btrfs",
        make: &["mkfs.btrfs", "-q", "-f", "-K"],
        kind: "btrfs",
        profiles: &[Profile::BTRFS, Profile::POSIX],
        ..EXT4
    },
];

impl System {
    /// Bytes of its device: no less than its `mkfs` takes.
    pub(crate) fn size(&self) -> u64 {
        match self.kind {
            "xfs" => 300 << 20,
            "btrfs" => 128 << 20,
            _ => 24 << 20,
        }
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
