//! The short form: for each main filesystem what gives its wrong profiles away, and little else.

/// The filesystems, by name.
pub(crate) const SYSTEMS: [&str; 6] =
    ["ext4", "ext4-dioread_lock", "ext4-journal", "ext2", "xfs", "btrfs"];

/// The programs, by the beginnings of their names.
pub(crate) const PROGRAMS: [&str; 8] =
    ["p01_", "p04_", "p07_", "p08_", "p45_", "p50_", "p68_", "p70_"];

/// Schedules of each program: nothing forced, and one thing after one of the last ops.
pub(crate) const SCHEDULES: usize = 8;

/// Disks of each schedule, at most.
pub(crate) const STATES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_filesystem_and_program_is_there_and_is_one() {
        for name in SYSTEMS {
            let found = crate::systems::ALL.iter().filter(|system| system.name == name);
            assert_eq!(found.map(|system| system.turned.len().min(1)).sum::<usize>(), 1, "{name}");
        }
        for part in PROGRAMS {
            assert_eq!(crate::programs::names(&[part.into()]).len(), 1, "{part}");
        }
    }
}
