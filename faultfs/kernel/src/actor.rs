//! The process that uses the filesystem: it mounts, does ops, looks, and unmounts, as it is told line by line.
//!
//! It is not the one that serves the device: a thread that waits for the device may not hold up the device.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use faultfs::folder::{Folder, snapshot};
use faultfs::trace::Trace;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::look::Sectors;
use crate::ops::{Files, write_back};
use crate::programs;
use crate::schedule::Force;
use crate::systems::{self, System};

/// The program's folder on the filesystem.
const FOLDER: &str = "r";
/// The file that the program does not know.
const OTHER: &str = "other";

struct Actor {
    system: &'static System,
    device: PathBuf,
    at: PathBuf,
    trace: Arc<Trace>,
    sectors: Arc<Sectors>,
    known: BTreeMap<String, (Arc<Trace>, Arc<Sectors>)>,
    files: Option<Files>,
    is_mounted: bool,
}

/// Serves until its input ends.
pub(crate) fn run(system: &str, device: &Path, at: &Path) -> Result<(), String> {
    let system = systems::ALL.iter().find(|s| s.name == system).ok_or("no such system")?;
    let trace = Arc::new(faultfs::recorder::Recorder::new(Default::default()).finish("nothing"));
    // Modes are the trace's.
    rustix::process::umask(rustix::fs::Mode::empty());
    let mut actor = Actor {
        system,
        device: device.into(),
        at: at.into(),
        sectors: Arc::new(Sectors::of(&trace)),
        trace,
        known: BTreeMap::new(),
        files: None,
        is_mounted: false,
    };
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let answer = match actor.obey(&line) {
            Ok(text) => format!("ok {text}"),
            Err(error) => format!("failed {}", error.replace('\n', " ")),
        };
        let mut out = io::stdout().lock();
        if writeln!(out, "{answer}").and_then(|()| out.flush()).is_err() {
            // Nobody is there to be told: who has started this has ended.
            break;
        }
    }
    actor.unmount().map_err(|error| error.to_string())
}

impl Actor {
    fn obey(&mut self, line: &str) -> Result<String, String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let said = |error: io::Error| error.to_string();
        match word {
            "program" => {
                if !self.known.contains_key(rest) {
                    let trace = programs::find(rest).ok_or("no such program")?;
                    let sectors = Arc::new(Sectors::of(&trace));
                    self.known.insert(rest.into(), (Arc::new(trace), sectors));
                }
                (self.trace, self.sectors) = self.known[rest].clone();
            }
            "make" => self.make()?,
            "fill" => self.fill().map_err(said)?,
            "mount" => {
                self.mount().map_err(said)?;
                let files = Files::open(&self.at.join(FOLDER), &self.trace.base);
                self.files = Some(files.map_err(said)?);
            }
            "do" => {
                let op = rest.parse::<usize>().ok().and_then(|op| self.trace.ops.get(op));
                let op = op.ok_or("no such op")?.op.clone();
                self.files.as_mut().ok_or("not mounted")?.carry_out(&op).map_err(said)?;
            }
            "force" => self.force(rest.parse()?).map_err(said)?,
            "unmount" => self.unmount().map_err(said)?,
            "look" => return self.look(),
            _ => return Err(format!("`{word}` is not known")),
        }
        Ok(String::new())
    }

    fn make(&self) -> Result<(), String> {
        command(self.system.make, &self.device, 0).map(drop)
    }

    /// Mounts and writes what the program starts with.
    fn fill(&mut self) -> io::Result<()> {
        self.mount()?;
        Folder::new(self.at.join(FOLDER)).write(&self.trace.base)?;
        fs::write(self.at.join(OTHER), [b'x'; 4096])?;
        rustix::fs::syncfs(File::open(&self.at)?)?;
        self.unmount()
    }

    fn mount(&mut self) -> io::Result<()> {
        let options = std::ffi::CString::new(self.system.options)?;
        let (kind, flags) = (self.system.kind, MountFlags::NOATIME);
        rustix::mount::mount(&self.device, &self.at, kind, flags, options.as_c_str())?;
        self.is_mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> io::Result<()> {
        self.files = None;
        if std::mem::take(&mut self.is_mounted) {
            rustix::mount::unmount(&self.at, UnmountFlags::empty())?;
        }
        Ok(())
    }

    fn force(&self, force: Force) -> io::Result<()> {
        let files = self.files.as_ref().ok_or_else(|| io::Error::other("not mounted"))?;
        match force {
            Force::Data(ino) => {
                // A file that is not there yet has no pages.
                let file = files.regular().find(|(i, _)| *i == ino);
                file.map_or(Ok(()), |(_, file)| write_back(file, true))
            }
            Force::Start(ino) => {
                let file = files.regular().find(|(i, _)| *i == ino);
                file.map_or(Ok(()), |(_, file)| write_back(file, false))
            }
            // That is the device's part.
            Force::Slow => Ok(()),
            Force::Commit => {
                let other = File::options().write(true).open(self.at.join(OTHER))?;
                std::os::unix::fs::FileExt::write_all_at(&other, b"y", 0)?;
                other.sync_all()
            }
            Force::Blocks => write_back(&File::open(&self.device)?, true),
            Force::Sync => Ok(rustix::fs::syncfs(File::open(&self.at)?)?),
            Force::Wait => {
                std::thread::sleep(Duration::from_millis(1200));
                Ok(())
            }
        }
    }

    /// Mounts what a crash has left, tells what is there, and unmounts.
    fn look(&mut self) -> Result<String, String> {
        if !self.system.repair.is_empty() {
            command(self.system.repair, &self.device, 1)?;
        }
        self.mount().map_err(|error| format!("mount: {error}"))?;
        let found = snapshot(&self.at.join(FOLDER)).map_err(|error| format!("read: {error}"));
        let text = found.map(|disk| self.sectors.text(&disk));
        self.unmount().map_err(|error| format!("unmount: {error}"))?;
        text
    }
}

/// Runs a program on the device; its exit code may be up to `code_max`.
fn command(words: &[&str], device: &Path, code_max: i32) -> Result<(), String> {
    let (program, arguments) = words.split_first().expect("a command has words");
    let path = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin";
    let output = Command::new(program).args(arguments).arg(device).env("PATH", path).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.code() {
        Some(code) if code <= code_max => Ok(()),
        _ => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).trim().to_string();
            Err(format!("{program}: {}: {said}", output.status))
        }
    }
}
