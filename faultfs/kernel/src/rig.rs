//! A device, the loop device on it, and the process that mounts it.
//!
//! Nothing is left behind on any way out. Mounts are in a mount namespace of their own, which `main` has made,
//! and a small shell, a process group of its own, waits for this process to end, whatever ends it: it unmounts
//! and detaches the loop device.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use fuser::{BackgroundSession, Config, Session};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use crate::device::{Device, FILE, Served};
use crate::systems::System;

/// Seconds after which a filesystem hangs.
const HANG: Timespec = Timespec { tv_sec: 120, tv_nsec: 0 };
/// How long a device that was slowed down stays slow while somebody waits for it.
const SLOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 60_000_000 };

/// Waits for its input to end, which is this process's end. Arguments: folder, loop device.
const JANITOR: &str = "trap '' INT TERM HUP; cat > /dev/null
umount \"$1/mount\" 2> /dev/null || umount -l \"$1/mount\" 2> /dev/null
losetup -d \"$2\" 2> /dev/null
umount -l \"$1/fuse\" 2> /dev/null
rmdir \"$1/mount\" \"$1/fuse\" \"$1\" 2> /dev/null";

/// One device with all that stands on it.
pub(crate) struct Rig {
    pub(crate) device: Device,
    actor: Actor,
    janitor: Child,
    session: Option<BackgroundSession>,
    loop_device: PathBuf,
    folder: TempDir,
}

struct Actor {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Rig {
    /// Makes a device and a loop device on it, and starts the process that will mount it.
    pub(crate) fn new(system: &System) -> Result<Rig, String> {
        let said = |what: &str, error: io::Error| format!("{what}: {error}");
        let folder = tempfile::Builder::new().prefix("faultfs-kernel-").tempdir();
        let folder = folder.map_err(|error| said("a temporary folder", error))?;
        let (fuse, mount) = (folder.path().join("fuse"), folder.path().join("mount"));
        for dir in [&fuse, &mount] {
            std::fs::create_dir(dir).map_err(|error| said("a mount point", error))?;
        }
        let device = Device::default();
        let served = Served { device: device.clone(), size: system.size() };
        let session = Session::new(served, &fuse, &Config::default());
        let session = session.and_then(Session::spawn).map_err(|error| said("FUSE", error))?;
        let loop_device = attach(&fuse.join(FILE))?;
        let janitor = janitor(folder.path(), &loop_device);
        let janitor = janitor.map_err(|error| said("the janitor", error))?;
        let actor = Actor::start(system, &loop_device, &mount);
        let actor = actor.map_err(|error| said("the process that mounts", error))?;
        Ok(Rig { device, actor, janitor, session: Some(session), loop_device, folder })
    }

    /// Tells the process that mounts to do something, and waits for its answer.
    pub(crate) fn tell(&mut self, line: &str) -> Result<String, String> {
        let answer = self.actor.ask(line, &self.device);
        let answer = answer.map_err(|error| format!("`{line}`: {error}"))?;
        match answer.split_once(' ').unwrap_or((&answer, "")) {
            ("ok", text) => Ok(text.into()),
            (_, text) => Err(text.into()),
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Its input ends, it unmounts and goes; if it hangs, it is made to.
        self.device.catch_up();
        self.actor.input = None;
        if !self.actor.ends() {
            let _ = self.actor.child.kill();
        }
        let _ = self.actor.child.wait();
        let _ = Command::new("losetup").arg("-d").arg(&self.loop_device).status();
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
        for dir in ["mount", "fuse"] {
            let _ = std::fs::remove_dir(self.folder.path().join(dir));
        }
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

impl Actor {
    fn start(system: &System, device: &Path, mount: &Path) -> io::Result<Actor> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["act", system.name])
            .args([device, mount])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Ok(Actor { child, input, output })
    }

    fn ask(&mut self, line: &str, device: &Device) -> io::Result<String> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(input, "{line}")?;
        if !self.is_readable(&SLOW)? {
            device.catch_up();
            if !self.is_readable(&HANG)? {
                let seconds = HANG.tv_sec;
                return Err(io::Error::other(format!("no answer in {seconds} seconds: it hangs")));
            }
        }
        let mut answer = String::new();
        match self.output.read_line(&mut answer)? {
            0 => Err(io::Error::other("the process that mounts has ended")),
            _ => Ok(answer.trim_end_matches('\n').into()),
        }
    }

    fn is_readable(&self, limit: &Timespec) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.output.get_ref(), PollFlags::IN)];
        Ok(poll(&mut fds, Some(limit))? > 0)
    }

    /// True where its output ends in time.
    fn ends(&mut self) -> bool {
        self.is_readable(&HANG).unwrap_or(false)
    }
}

fn attach(file: &Path) -> Result<PathBuf, String> {
    let output =
        Command::new("losetup").args(["--direct-io=on", "--find", "--show"]).arg(file).output();
    let output = output.map_err(|error| format!("losetup: {error}"))?;
    if !output.status.success() {
        return Err(format!("losetup: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

fn janitor(folder: &Path, loop_device: &Path) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", JANITOR, "janitor"])
        .args([folder, loop_device])
        .process_group(0)
        .stdin(Stdio::piped())
        .spawn()
}
