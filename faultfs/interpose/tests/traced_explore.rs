//! Commands explored from a Rust test.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

use faultfs::Profile;
use faultfs::explore::Explore;
use faultfs_interpose::{Commands, Restored, Traced};

fn exploration(workload: &str) -> Explore<Traced> {
    let check = r#"[ ! -s "$FAULTFS_OUTPUT" ] || [ "$(cat file)" = value ] || { echo "lost: file" >&2; exit 1; }"#;
    let commands = Commands { setup: None, workload: workload.into(), check: check.into() };
    Explore::new(Traced::new(commands)).profiles([Profile::POSIX, Profile::EXT4])
}

#[test]
fn what_a_shell_has_saved_and_synced_survives() {
    exploration("echo value > new; sync new; mv new file; sync .; echo saved")
        .check(Restored::check);
}

#[test]
#[should_panic(expected = "Lost only the rename to file")]
fn what_it_has_not_synced_does_not() {
    exploration("echo value > new; sync new; mv new file; echo saved").check(Restored::check);
}
