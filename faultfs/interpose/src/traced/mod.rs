//! The door for programs that nobody links us into: a workload and a check that are commands.
//!
//! As ALICE does it (Pillai and others, OSDI 2014): the workload is recorded from outside while it runs on a real
//! folder, what it prints are its acknowledgements, and a checker looks at the folders that a power cut could have
//! left, with what had been printed by then.
//!
//! # Limits
//!
//! What is printed counts once it is written: a program whose standard output is no terminal keeps it back, and what
//! it has not yet written promises nothing. Let it flush after each line, or run it under `stdbuf -oL`.
//!
//! Every disk is checked on real files, and every state is run: what a check reads is not followed. A program that
//! keeps the path of its folder in its files finds another one there. Owners, times and extended attributes are not
//! modelled; so a server that must not run as root cannot be tortured by root.
//!
//! Stores through shared mappings are found by comparing, at each recorded call, as behind the interposed door; a file
//! of more than 64 MiB that is mapped so makes the run `not-measured`.
//!
//! Whatever is started by the command is seen, shells, threads and static programs included. Not seen are others:
//! a server that runs already and is asked to write below the folder, and programs of another architecture (32-bit
//! ones). What they do makes the run `not-measured`: after the recording, the trace must lead to what the folder
//! holds. `setuid` programs run without their privileges. `io_uring` and `libaio` are refused as by a kernel without
//! them.
//!
//! What can go wrong besides the power are calls that change something or make it durable: they fail, before their
//! effect or after it. A sync that fails does what it does on ext4: what it was about is clean in memory, and no later
//! sync writes it. What a command reads cannot go wrong, nor what it has mapped; no call is done in part, and no disk
//! is too small.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use faultfs::disk::Disk;
use faultfs::explore::{Door, Faults, Recovered};
use faultfs::fault::Fault;
use faultfs::folder::{Folder, snapshot};
use faultfs::plan::Rule;
use faultfs::trace::{Marks, Trace};
use faultfs::verdict::{Broken, Verdict};
use faultfs::{Error, Injector, Result, Seen, file, worker};

use crate::decode::{calls, calls_of, decode_log};
use crate::record::Log;
use crate::verify;

mod commands;
mod start;

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod tracer;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
#[path = "untraceable.rs"]
mod tracer;

pub use commands::Commands;
use start::Start;

/// What the tracer has seen: the log, and what was said in each acknowledgement.
struct Recorded {
    log: Log,
    said: Vec<Vec<u8>>,
}

/// The folder that a command gets, and what else is in its room.
const ROOT: &str = "root";
const TMP: &str = "tmp";
const OUTPUT: &str = "output";
const ERRORS: &str = "errors";
const SAID: &str = "said";
const TRACE: &str = "trace";
/// The log of a run whose calls are asked for.
const LOG: &str = "log";

/// The traced door, with commands behind it.
///
/// The oracle of an exploration is [`Restored::check`]. For the processes that do the work, which do nothing else: the
/// tracer waits for every child of its process, and takes in the orphans of those that it traces.
///
/// ```no_run
/// use faultfs::explore::Explore;
/// use faultfs_interpose::{Commands, Restored, Traced};
///
/// // In a test: `#[test] fn the_program_keeps_what_it_printed() { … }`
/// let commands = Commands {
///     setup: Some("app.db create".into()),
///     workload: "app.db put 1 && echo 1".into(),
///     check: r#"for key in $(cat "$FAULTFS_OUTPUT"); do app.db get $key || exit 1; done"#.into(),
/// };
/// Explore::new(Traced::new(commands)).check(Restored::check);
/// ```
#[derive(Debug)]
pub struct Traced {
    commands: Commands,
    said: Arc<[Vec<u8>]>,
    /// A worker has several rooms.
    states: BTreeMap<PathBuf, Folder>,
    /// What the kernel had killed for want of memory before the first check, or since it last did.
    oom_kills: Option<u64>,
}

impl Traced {
    /// Nothing runs yet.
    pub fn new(commands: Commands) -> Traced {
        Traced { commands, said: Arc::default(), states: BTreeMap::new(), oom_kills: None }
    }

    fn restored(&mut self, room: &Path, records: Option<&Faults>) -> Restored {
        Restored {
            command: self.commands.check.clone(),
            room: room.into(),
            said: self.said.clone(),
            oom_kills: *self.oom_kills.get_or_insert_with(worker::oom_kills),
            records: records.cloned(),
            recorded: RefCell::default(),
        }
    }
}

/// A disk after a power cut, in a folder.
#[derive(Debug)]
pub struct Restored {
    command: String,
    room: PathBuf,
    said: Arc<[Vec<u8>]>,
    oom_kills: u64,
    /// What is done is recorded, while this goes wrong.
    records: Option<Faults>,
    recorded: RefCell<Option<Log>>,
}

impl Restored {
    /// Runs the check command. What the workload had written to its standard output before the power went is in
    /// the file that `FAULTFS_OUTPUT` names.
    ///
    /// # Errors
    ///
    /// Where it does not end with exit code 0. What it says on its standard error is the reason; where that begins
    /// with `lost:`, `corrupt:` or `unopenable:` this is the verdict, else it is `corrupt`. An `unopenable` is
    /// forgiven as long as nothing was acknowledged. Where a signal ends it the verdict is the one of the
    /// [table of deaths](faultfs::worker), also where a shell tells of the signal by a code above 128.
    pub fn check(&self, marks: &Marks) -> Result<(), Broken> {
        let said: Vec<u8> = self.said_by(marks).concat();
        let file = self.room.join(SAID);
        fs::write(&file, said).map_err(unchecked)?;
        let place = Place { room: &self.room };
        let mut command = place.command(&self.command).map_err(unchecked)?;
        command.env("FAULTFS_OUTPUT", &file);
        let status = if let Some(faults) = &self.records {
            let output = self.room.join(OUTPUT);
            let said = self.said_by(marks).len() as u64;
            let (status, recorded) =
                tracer::record(&command, &place.root(), &output, said, armed(faults))
                    .map_err(untraced)?;
            self.recorded.replace(Some(recorded.log));
            status
        } else {
            tracer::watch(&command).map_err(untraced)?
        };
        let errors = place.errors();
        match died_of(status) {
            _ if status.success() => Ok(()),
            Some(death) => Err(worker::cause_of_death(death, errors.as_bytes(), self.oom_kills)),
            None => Err(broken(&errors, status)),
        }
    }

    fn said_by(&self, marks: &Marks) -> &[Vec<u8>] {
        let count = marks.acked.last().map_or(0, |last| *last as usize);
        &self.said[..count.min(self.said.len())]
    }
}

/// The death that a status tells of, by itself or as shells do for their children.
fn died_of(status: ExitStatus) -> Option<ExitStatus> {
    match (status.signal(), status.code()) {
        (Some(_), _) => Some(status),
        (_, Some(code @ 129..=159)) => Some(ExitStatus::from_raw(code - 128)),
        _ => None,
    }
}

/// What a check means by what it wrote to its standard error.
fn broken(errors: &str, status: ExitStatus) -> Broken {
    const REASON_MAX: usize = 500;
    let lines: Vec<&str> = errors.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut reason = lines.join("; ");
    if let Some((cut, _)) = reason.char_indices().nth(REASON_MAX) {
        reason.truncate(cut);
        reason.push('…');
    }
    let after = |word: &str| reason.strip_prefix(word).map(|rest| rest.trim_start().to_string());
    match () {
        () if reason.is_empty() => Broken::corrupt(format!("the check ended with {status}")),
        () => after("lost:")
            .map(Broken::lost)
            .or_else(|| after("unopenable:").map(Broken::unopenable))
            .or_else(|| after("corrupt:").map(Broken::corrupt))
            .unwrap_or_else(|| Broken::corrupt(reason.clone())),
    }
}

/// Where a command runs.
struct Place<'a> {
    room: &'a Path,
}

impl Place<'_> {
    fn root(&self) -> PathBuf {
        self.room.join(ROOT)
    }

    /// An empty folder, as an empty disk has it, whatever the mask of the process.
    fn make_root(&self) -> io::Result<()> {
        fs::create_dir(self.root())?;
        fs::set_permissions(self.root(), Permissions::from_mode(0o755))
    }

    /// A shell that is about to run a command, with its output in files.
    fn command(&self, text: &str) -> io::Result<Start> {
        let (root, tmp) = (self.root(), self.room.join(TMP));
        match fs::remove_dir_all(&tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&tmp)?,
        }
        let here = std::env::current_dir()?;
        let files = [File::open("/dev/null")?, self.file(OUTPUT)?, self.file(ERRORS)?];
        let mut command = Start::shell(&found(text, &here), &root, files)?;
        command.env("FAULTFS_ROOT", &root).env("FAULTFS_HERE", &here).env("TMPDIR", &tmp);
        Ok(command)
    }

    /// To append to, as to a pipe: whoever opens it again writes behind what is there.
    fn file(&self, name: &str) -> io::Result<File> {
        let path = self.room.join(name);
        File::create(&path)?;
        OpenOptions::new().append(true).open(path)
    }

    fn errors(&self) -> String {
        let bytes = fs::read(self.room.join(ERRORS)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim_end().to_string()
    }

    /// A command that has to succeed did not.
    fn require(&self, what: &str, status: ExitStatus) -> Result<(), Broken> {
        match status.success() {
            true => Ok(()),
            false => {
                let errors = self.errors();
                Err(Broken::unopenable(format!("the {what} ended with {status}: {errors}")))
            }
        }
    }
}

/// A command that begins with a path from here, for a shell that is elsewhere.
fn found(text: &str, here: &Path) -> std::ffi::OsString {
    let mut found = std::ffi::OsString::new();
    if text.starts_with("./") || text.starts_with("../") {
        let here = here.to_string_lossy().replace('\'', r"'\''");
        found.push(OsStr::new(&format!("'{here}'/")));
    }
    found.push(text);
    found
}

impl Door for Traced {
    type Root = Restored;

    fn record(&mut self, room: &Path, faults: &Faults) -> Result<(), Broken> {
        refuse(faults)?;
        let place = Place { room };
        place.make_root()?;
        if let Some(setup) = &self.commands.setup {
            let status = tracer::watch(&place.command(setup)?).map_err(untraced)?;
            place.require("setup", status)?;
        }
        let base = snapshot(&place.root())?;
        let command = place.command(&self.commands.workload)?;
        let (root, output) = (place.root(), room.join(OUTPUT));
        let recorded = tracer::record(&command, &root, &output, 0, armed(faults));
        let (status, Recorded { log, said }) = recorded.map_err(untraced)?;
        let mut trace = read(&log, base, &place.root())?;
        trace.output = said;
        fs::write(room.join(TRACE), file::encode(&trace))?;
        if faults.observe {
            fs::write(room.join(LOG), log.bytes())?;
        }
        place.require("workload", status)
    }

    fn trace(&mut self, room: &Path) -> Result<Trace> {
        let path = room.join(TRACE);
        let bytes = fs::read(&path)
            .map_err(|error| Error::new(format!("cannot read {}: {error}", path.display())))?;
        file::decode(&bytes)
    }

    fn calls(&mut self, room: &Path) -> Result<Vec<Seen>> {
        let path = room.join(LOG);
        if !path.exists() {
            return Ok(Vec::new());
        }
        calls(&path).map_err(|error| Error::new(format!("cannot read {}: {error}", path.display())))
    }

    fn checks(&mut self, trace: &Trace) {
        self.said = trace.output.clone().into();
    }

    fn check(
        &mut self,
        room: &Path,
        disk: &Disk,
        check: &mut dyn FnMut(&Restored) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let folder = || Folder::new(room.join(ROOT));
        let state = self.states.entry(room.into()).or_insert_with(folder);
        state.write(disk).map_err(unchecked)?;
        let outcome = check(&self.restored(room, None));
        if matches!(&outcome, Err(broken) if broken.verdict() == Verdict::OutOfMemory) {
            self.oom_kills = None;
        }
        outcome
    }

    fn recover(
        &mut self,
        room: &Path,
        disk: &Disk,
        marks: &Marks,
        faults: &Faults,
        check: &mut dyn FnMut(&Restored) -> Result<(), Broken>,
    ) -> Result<Recovered, Broken> {
        refuse(faults)?;
        let place = Place { room };
        self.states.remove(room);
        Folder::new(place.root()).write(disk).map_err(unchecked)?;
        let base = snapshot(&place.root()).map_err(unchecked)?;
        let restored = self.restored(room, Some(faults));
        check(&restored)?;
        let log = restored.recorded.take().expect("the check was recorded");
        let mut trace = read(&log, base, &place.root())?;
        trace.output = restored.said_by(marks).to_vec();
        Ok(Recovered { trace, calls: calls_of(&log)? })
    }
}

/// What a traced command cannot be done to is no fault of the program.
fn refuse(faults: &Faults) -> Result<(), Broken> {
    let can = |rule: &&Rule| matches!(rule.fault(), Fault::Fail(_) | Fault::FailAfter(_));
    let other = faults.plan.rules().iter().find(|rule| !can(rule)).map(Rule::to_string);
    match other.or_else(|| faults.capacity.map(|_| faults.to_string())) {
        None => Ok(()),
        Some(other) => Err(Broken::not_measured(format!(
            "`{other}`: a call of a command can `fail`, or `fail-after` its effect, and nothing else; name such a \
             fault, as in `sync * take 1 -> fail EIO`"
        ))),
    }
}

fn armed(faults: &Faults) -> Option<tracer::Armed> {
    let is_watched = faults.observe || !faults.plan.rules().is_empty();
    let injector = || Injector::new(faults.plan.clone());
    is_watched.then(|| tracer::Armed { injector: injector(), observe: faults.observe })
}

/// What was recorded, compared with the folder. Where something is known to be missing, that is the reason.
fn read(log: &Log, base: Disk, root: &Path) -> io::Result<Trace> {
    let mut trace = decode_log(log, base, "")?;
    if !trace.unmodelled.is_empty() {
        return Ok(trace);
    }
    trace.unmodelled.extend(match verify(&trace, root) {
        Ok(difference) => difference.map(|difference| {
            format!(
                "the folder was changed by somebody whom the command had not started (a server that runs \
                 already), or by a 32-bit program: {difference}"
            )
        }),
        Err(error) => Some(format!("the folder cannot be compared with the trace: {error}")),
    });
    Ok(trace)
}

/// No fault of the program, and never forgiven as one.
fn unchecked(error: io::Error) -> Broken {
    Broken::not_measured(format!("the disk cannot be put before the check: {error}"))
}

fn untraced(error: io::Error) -> Broken {
    Broken::not_measured(format!(
        "the command cannot be traced: {error}; where a container forbids it, allow ptrace (`--cap-add SYS_PTRACE`)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_check_says_is_the_reason_and_may_name_the_verdict() {
        let one = ExitStatus::from_raw(1 << 8);
        for (errors, expected) in [
            ("lost: key 3\n", "lost: key 3"),
            ("unopenable:x", "unopenable: x"),
            ("\n corrupt: a\nb", "corrupt: a; b"),
            ("page 3 is damaged", "corrupt: page 3 is damaged"),
            ("", "corrupt: the check ended with exit status: 1"),
        ] {
            assert_eq!(broken(errors, one).to_string(), expected);
        }
        assert_eq!(broken(&"é".repeat(501), one).message().chars().count(), 501);
    }

    #[test]
    fn each_room_of_a_worker_has_the_disk_that_it_was_given() {
        let rooms = tempfile::tempdir().unwrap();
        let commands = Commands { setup: None, workload: "".into(), check: "".into() };
        let mut door = Traced::new(commands);
        let names = |root: PathBuf| fs::read_dir(root).unwrap().count();
        for (round, room) in ["0", "1", "0", "2", "1"].into_iter().enumerate() {
            let folder = rooms.path().join(format!("disk-{round}"));
            fs::create_dir(&folder).unwrap();
            (0..round).for_each(|name| fs::write(folder.join(name.to_string()), "").unwrap());
            let (disk, room) = (snapshot(&folder).unwrap(), rooms.path().join(room));
            let mut check = |restored: &Restored| match names(restored.room.join(ROOT)) {
                found if found == round => Ok(()),
                found => Err(Broken::corrupt(format!("{found} files in round {round}"))),
            };
            door.check(&room, &disk, &mut check).unwrap();
        }
    }

    #[test]
    fn a_shell_tells_of_the_signals_of_its_children() {
        assert_eq!(died_of(ExitStatus::from_raw(139 << 8)).unwrap().signal(), Some(11));
        assert_eq!(died_of(ExitStatus::from_raw(6)).unwrap().signal(), Some(6));
        assert_eq!(died_of(ExitStatus::from_raw(1 << 8)), None);
        assert_eq!(died_of(ExitStatus::from_raw(255 << 8)), None);
    }

    #[test]
    fn a_command_is_found_from_where_the_tool_was_started() {
        let here = Path::new("/it's");
        assert_eq!(found("./a b", here), r"'/it'\''s'/./a b");
        assert_eq!(found("a ./b", here), "a ./b");
    }
}
