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

use crate::device::{Device, FILE, Served};
use crate::systems::System;

/// Seconds after which a filesystem hangs.
const HANG: Timespec = Timespec { tv_sec: 120, tv_nsec: 0 };
/// How long a device that was slowed down stays slow while somebody waits for it.
const SLOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 60_000_000 };

/// Makes the folder and says where, then waits for its input to end, which is this process's end at the latest.
/// What it finds is told by the folder, so that there is no moment at which something is left that it does not
/// know of.
const JANITOR: &str = r#"trap '' INT TERM HUP
at=$(mktemp -d -t faultfs-kernel-XXXXXX) && mkdir "$at/fuse" "$at/mount" && echo "$at"
cat > /dev/null
exec 2> /dev/null
umount "$at/mount" || umount -l "$at/mount"
for file in /sys/block/loop*/loop/backing_file; do
    [ "$(cat "$file")" = "$at/fuse/device" ] || continue
    name=${file#/sys/block/}
    losetup -d "/dev/${name%%/*}"
done
umount -l "$at/fuse"
rmdir "$at/mount" "$at/fuse" "$at""#;

/// One device with all that stands on it.
pub(crate) struct Rig {
    pub(crate) device: Device,
    actor: Actor,
    session: Option<BackgroundSession>,
    loop_device: PathBuf,
    /// The last to go.
    _janitor: Janitor,
}

/// Once it is dropped, nothing is left of a rig.
struct Janitor {
    child: Child,
    folder: PathBuf,
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
        let janitor = Janitor::start().map_err(|error| said("a temporary folder", error))?;
        let (fuse, mount) = (janitor.folder.join("fuse"), janitor.folder.join("mount"));
        let device = Device::default();
        let served = Served { device: device.clone(), size: system.size() };
        let session = Session::new(served, &fuse, &Config::default());
        let session = session.and_then(Session::spawn).map_err(|error| said("FUSE", error))?;
        let loop_device = attach(&fuse.join(FILE))?;
        let actor = Actor::start(system, &loop_device, &mount);
        let actor = actor.map_err(|error| {
            detach(&loop_device);
            said("the process that mounts", error)
        })?;
        Ok(Rig { device, actor, session: Some(session), loop_device, _janitor: janitor })
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
        self.device.catch_up();
        self.actor.end();
        detach(&self.loop_device);
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
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

    /// Ends its input, at which it unmounts and goes; if it hangs, it is made to.
    fn end(&mut self) {
        self.input = None;
        if !self.is_readable(&HANG).unwrap_or(false) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
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

/// Before the folder that is served is unmounted: by its place there the janitor knows the device.
fn detach(loop_device: &Path) {
    let _ = Command::new("losetup").arg("-d").arg(loop_device).status();
}

impl Janitor {
    fn start() -> io::Result<Janitor> {
        let mut child = Command::new("sh")
            .args(["-c", JANITOR])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line)?;
        let janitor = Janitor { child, folder: line.trim_end_matches('\n').into() };
        match line.is_empty() {
            true => Err(io::Error::other("mktemp and mkdir have made none")),
            false => Ok(janitor),
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
