//! Whatever ends the tool, it leaves no mount, no loop device, no folder and no process.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// As long as a machine under load may take.
const LIMIT: Duration = Duration::from_secs(120);

fn tool(folder: &Path) -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_faultfs-kernel"));
    tool.env("TMPDIR", folder).args(["--jobs", "2", "--program", "p0", "--system", "ext4"]);
    tool
}

/// The processes that have this folder for their temporary files, with their arguments.
fn processes(folder: &Path) -> Vec<(i32, Vec<String>)> {
    let variable = format!("TMPDIR={}", folder.display());
    let has = |bytes: Vec<u8>| bytes.split(|&byte| byte == 0).any(|v| v == variable.as_bytes());
    let all = fs::read_dir("/proc").unwrap().flatten();
    let found = all.filter(|process| fs::read(process.path().join("environ")).is_ok_and(has));
    let with_arguments = found.filter_map(|process| {
        let words = fs::read_to_string(process.path().join("cmdline")).ok()?;
        let id = process.file_name().to_str()?.parse().ok()?;
        Some((id, words.split('\0').map(String::from).collect()))
    });
    with_arguments.collect()
}

/// The processes that mount, with their loop devices.
fn actors(folder: &Path) -> Vec<(i32, String)> {
    let all = processes(folder).into_iter();
    let device =
        |words: &[String]| words.iter().find(|word| word.starts_with("/dev/loop")).cloned();
    all.filter(|(_, words)| words.get(1).is_some_and(|word| word == "act"))
        .filter_map(|(id, words)| Some((id, device(&words)?)))
        .collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "{what}: not in {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts the tool and waits until its filesystems are in use. `None` where it cannot run.
fn under_way(folder: &TempDir) -> Option<(Child, BTreeSet<String>)> {
    let mut child = tool(folder.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    if let Some(why) = line.strip_prefix("not measured: ") {
        println!("not tested: {why}");
        child.wait().unwrap();
        return None;
    }
    let mut devices = BTreeSet::new();
    wait_until("two devices are in use", || {
        devices = actors(folder.path()).into_iter().map(|(_, device)| device).collect();
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "the tool has ended before it was to");
        devices.len() == 2
    });
    // Somewhere in the middle of its work.
    std::thread::sleep(Duration::from_millis(300));
    Some((child, devices))
}

fn assert_nothing_is_left(folder: &TempDir, devices: &BTreeSet<String>) {
    let is_free = |device: &String| {
        let name = device.trim_start_matches("/dev/");
        !Path::new("/sys/block").join(name).join("loop/backing_file").exists()
    };
    wait_until("loop devices are detached", || devices.iter().all(is_free));
    wait_until("processes end", || processes(folder.path()).is_empty());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(folder.path().to_str().unwrap()), "{mounts}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn nothing_is_left_after_a_signal() {
    for signal in ["INT", "TERM", "HUP", "KILL"] {
        let folder = TempDir::new().unwrap();
        let Some((mut child, devices)) = under_way(&folder) else { return };
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        assert!(!child.wait().unwrap().success(), "{signal}");
        assert_nothing_is_left(&folder, &devices);
    }
}

#[test]
fn nothing_is_left_after_an_error() {
    let folder = TempDir::new().unwrap();
    let Some((mut child, devices)) = under_way(&folder) else { return };
    for (actor, _) in actors(folder.path()) {
        let killed = Command::new("kill").args(["-s", "KILL", &actor.to_string()]).status();
        assert!(killed.unwrap().success());
    }
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert_nothing_is_left(&folder, &devices);
}

#[test]
fn who_lacks_what_it_needs_is_told_so() {
    let folder = TempDir::new().unwrap();
    // No command is found here.
    let output = tool(folder.path()).env("PATH", folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("not measured: "), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
