//! The traced door sees what the interposed one does: the same calls, made by another process.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#![allow(unsafe_code, reason = "calls of C")]

mod calls;
#[allow(dead_code, reason = "nothing is recorded in this process")]
mod common;

use std::env;
use std::path::Path;

use faultfs::disk::Disk;
use faultfs::explore::{Door, Faults};
use faultfs::trace::{Marks, Trace};
use faultfs_interpose::{Commands, Restored, Traced};

/// Set in the process that is traced, to what it is to do.
const DOING: &str = "TRACED_DOES";

/// What this program leaves in the trace when it does `what` as a command.
fn traced(what: &str) -> Trace {
    let itself = env::current_exe().unwrap();
    let again = format!("'{}' every_call --exact --nocapture", itself.display());
    let commands = Commands {
        setup: Some(format!("{DOING}=setup {again}")),
        workload: format!("{DOING}={what} {again} > /dev/null"),
        check: "true".into(),
    };
    let room = tempfile::tempdir().unwrap();
    let mut door = Traced::new(commands);
    door.record(room.path(), &Faults::default()).unwrap_or_else(|broken| panic!("{broken}"));
    door.trace(room.path()).unwrap()
}

/// The one test of this file: the tracer waits for all children of its process.
#[test]
fn every_call() {
    let of = |name: &str| env::var_os(name).unwrap();
    if let Ok(doing) = env::var(DOING) {
        let (root, outside) = (of("FAULTFS_ROOT"), of("TMPDIR"));
        let (root, outside) = (Path::new(&root), Path::new(&outside));
        return match doing.as_str() {
            "setup" => calls::set_up(root),
            "calls" => calls::make(root, outside),
            "refused" => refused(),
            other => panic!("{other}"),
        };
    }
    let trace = traced("calls");
    assert_eq!(trace.unmodelled, [""; 0]);
    calls::compare(&trace);
    // The line that asked, in another process.
    let site = trace.ops[0].site.as_ref().expect("debug info").to_string();
    assert!(site.contains("tests/calls/mod.rs:"), "{site}");

    let trace = traced("refused");
    assert_eq!(trace.unmodelled, ["an extended attribute was changed"]);
    assert!(trace.ops.is_empty());

    starts_as_from_a_shell();
}

/// Nothing of this process's ways: it ignores SIGPIPE, and blocks signals while it starts a program.
fn starts_as_from_a_shell() {
    let check = r#"
        signals() { sed -n "s/^$1:.//p" /proc/self/status; }
        [ $(($(printf %d "0x$(signals SigBlk)"))) = 0 ] || { echo blocks >&2; exit 1; }
        [ $(($(printf %d "0x$(signals SigIgn)") & 4096)) = 0 ] || { echo ignores >&2; exit 1; }
        [ "$(readlink /proc/$$/fd/0)" = /dev/null ] || { echo reads >&2; exit 1; }
        [ "$PWD" = "$FAULTFS_ROOT" ] || { echo elsewhere >&2; exit 1; }
        [ "$(ls -l /proc/$$/fd | grep -c /output)" = 1 ] || { echo has more files >&2; exit 1; }"#;
    let commands = Commands { setup: None, workload: "true".into(), check: check.into() };
    let room = tempfile::tempdir().unwrap();
    let mut door = Traced::new(commands);
    let mut check = |restored: &Restored| restored.check(&Marks::default());
    door.check(room.path(), &Disk::new(), &mut check).unwrap_or_else(|broken| panic!("{broken}"));
}

/// What would bypass the door is refused, and what it cannot tell is told.
fn refused() {
    // SAFETY: the kernel refuses them before it looks at the addresses; null-terminated names.
    unsafe {
        for number in [libc::SYS_io_uring_setup, libc::SYS_io_setup] {
            assert_eq!(libc::syscall(number, 1, 0), -1);
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS));
        }
        let value = c"x";
        let (path, name) = (c"existing".as_ptr(), c"user.x".as_ptr());
        assert_eq!(libc::setxattr(path, name, value.as_ptr().cast(), 1, 0), 0);
    }
}
