//! Explorations of engines that know nothing of us: the workload and the check get a folder.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use faultfs::disk::Disk;
use faultfs::explore::{Door, Explore, Faults, Recovered, marks_before};
use faultfs::folder::{Folder, Stash};
use faultfs::reads::Reads;
use faultfs::trace::{Mark, Marks, Trace};
use faultfs::verdict::Broken;
use faultfs::{Error, Injector, Result, Seen};

use crate::decode::decode_whole;
use crate::removals::{self, Removals};
use crate::{Mounted, Options, Session, calls, decode, session, snapshot, verify};

/// The folder that the workload gets, and the log of what it did there.
const ROOT: &str = "root";
const LOG: &str = "log";
/// Where a check's files are kept that it removed.
const ASIDE: &str = "aside";

/// Explores what a workload on real files may leave on the disk when the power goes, with the engine
/// unchanged: every file call of this program below the folder is recorded.
///
/// The workload says through [`begin`](crate::begin), [`ack`](crate::ack) and
/// [`failed`](crate::failed) what it asked for and what it was promised.
///
/// ```no_run
/// use faultfs::verdict::Broken;
///
/// // In a test: `#[test] fn a_renamed_file_survives() { … }`
/// faultfs_interpose::explore(|root| {
///     let file = std::fs::File::create(root.join("new"))?;
///     file.sync_all()?;
///     std::fs::rename(root.join("new"), root.join("name"))?;
///     std::fs::File::open(root)?.sync_all()?;
///     faultfs_interpose::ack(1);
///     Ok(())
/// })
/// .check(|root, marks| match root.join("name").exists() {
///     false if marks.acked.contains(&1) => Err(Broken::lost("the name is gone")),
///     _ => Ok(()),
/// });
/// ```
pub fn explore<W>(workload: W) -> Explore<Interposed<W>>
where
    W: FnMut(&Path) -> Result<(), Broken>,
{
    Explore::new(Interposed::new(workload))
}

/// The interposed door, with a workload behind it.
#[derive(Debug)]
pub struct Interposed<W> {
    workload: W,
    /// What the last check in each room was given.
    states: Vec<State>,
    compares: bool,
    from_memory: bool,
    follows: bool,
    reads: Option<Reads>,
    unserved: Option<String>,
}

impl<W> Interposed<W>
where
    W: FnMut(&Path) -> Result<(), Broken>,
{
    /// `workload` is given an empty folder.
    pub fn new(workload: W) -> Self {
        Interposed {
            workload,
            states: Vec::new(),
            compares: false,
            from_memory: false,
            follows: false,
            reads: None,
            unserved: None,
        }
    }
}

impl<W> Interposed<W> {
    /// From the first state on that cannot be served nothing is: the process may not be what it was.
    fn check_from_memory(
        &mut self,
        root: &Path,
        disk: &Disk,
        check: &mut dyn FnMut(&Path) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        self.reads = None;
        if self.unserved.is_some() {
            return Ok(());
        }
        let mount = if self.follows { Mounted::new } else { Mounted::unfollowed };
        let mounted = match mount(root, disk) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir_all(root)?;
                mount(root, disk)?
            }
            mounted => mounted?,
        };
        let outcome = check(root);
        self.unserved = mounted.unserved().map(String::from);
        self.reads = if self.unserved.is_none() { mounted.take_served() } else { None };
        outcome
    }
}

/// Real files, used for one state after the other.
#[derive(Debug)]
struct State {
    room: PathBuf,
    folder: Folder,
    stash: Arc<Stash>,
    /// It has been made what the next check is to be given.
    is_ready: bool,
}

impl<W> Interposed<W> {
    fn state(&mut self, room: &Path) -> io::Result<&mut State> {
        let known = self.states.iter().position(|state| state.room.as_os_str() == room.as_os_str());
        let index = match known {
            Some(index) => index,
            None => {
                let root = room.join(ROOT);
                let stash = Arc::new(Stash::new(&root, room.join(ASIDE), removals::is_alone)?);
                let folder = Folder::new(root).with_stash(stash.clone());
                self.states.push(State { room: room.into(), folder, stash, is_ready: false });
                self.states.len() - 1
            }
        };
        Ok(&mut self.states[index])
    }
}

impl<W> Door for Interposed<W>
where
    W: FnMut(&Path) -> Result<(), Broken>,
{
    type Root = Path;

    fn record(&mut self, room: &Path, faults: &Faults) -> Result<(), Broken> {
        let root = room.join(ROOT);
        std::fs::create_dir(&root)?;
        // As an empty disk has it, whatever the mask of the process.
        std::fs::set_permissions(&root, Permissions::from_mode(0o755))?;
        let log = room.join(LOG);
        let injector = Injector::new(faults.plan.clone());
        let is_faulty = !faults.plan.rules().is_empty() || faults.capacity.is_some();
        let injector = is_faulty.then_some(&injector);
        let observe = faults.observe;
        let options = Options { trap: true, injector, observe, ..Options::new(&root, &log) };
        let session = Session::start(&options)?;
        faults.capacity.map_or(Ok(()), crate::set_capacity)?;
        let outcome = (self.workload)(&root);
        session.finish();
        outcome
    }

    fn trace(&mut self, room: &Path) -> Result<Trace> {
        let log = room.join(LOG);
        let mut trace = decode(&log, Disk::new(), "").map_err(unreadable(room))?;
        // Whether the door saw all is told by where the program came to, also after the power was cut.
        let end = trace.cut.map(|_| decode_whole(&log, Disk::new())).transpose();
        let end = end.map_err(unreadable(room))?;
        if let Some(end) = &end {
            trace.unmodelled.clone_from(&end.unmodelled);
        }
        trace.unmodelled.extend(match verify(end.as_ref().unwrap_or(&trace), &room.join(ROOT)) {
            Ok(difference) => difference.map(changed_unseen),
            Err(error) => Some(format!("the folder cannot be compared with the trace: {error}")),
        });
        Ok(trace)
    }

    fn calls(&mut self, room: &Path) -> Result<Vec<Seen>> {
        calls(&room.join(LOG)).map_err(unreadable(room))
    }

    fn check(
        &mut self,
        room: &Path,
        disk: &Disk,
        check: &mut dyn FnMut(&Path) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let root = room.join(ROOT);
        if self.from_memory {
            return self.check_from_memory(&root, disk, check);
        }
        let compares = std::mem::take(&mut self.compares);
        let state = self.state(room)?;
        if !std::mem::take(&mut state.is_ready) {
            state.folder.write(disk)?;
        }
        if compares {
            state.folder.verify(disk)?;
        }
        let _removals = Removals::kept_in(&state.stash);
        check(&root)
    }

    fn prepare(&mut self, room: &Path, disk: &Disk) -> Result<(), Broken> {
        if !self.from_memory {
            let state = self.state(room)?;
            state.folder.write(disk)?;
            state.is_ready = true;
        }
        Ok(())
    }

    fn compare_next(&mut self) {
        self.compares = true;
    }

    fn recover(
        &mut self,
        room: &Path,
        disk: &Disk,
        marks: &Marks,
        faults: &Faults,
        check: &mut dyn FnMut(&Path) -> Result<(), Broken>,
    ) -> Result<Recovered, Broken> {
        let (root, log) = (room.join(ROOT), room.join(LOG));
        // Dropped before the recording starts, for which no file may be open.
        self.states.clear();
        Folder::new(&root).write(disk)?;
        let base = snapshot(&root)?;
        let injector = Injector::new(faults.plan.clone());
        let injector = (!faults.plan.rules().is_empty()).then_some(&injector);
        let observe = faults.observe;
        let options = Options { trap: true, injector, observe, ..Options::new(&root, &log) };
        let session = Session::start(&options)?;
        marks_before(marks).for_each(|mark| match mark {
            Mark::Begin(id) => session::mark(0, id, None),
            Mark::Ack(id) => session::mark(1, id, None),
            Mark::Failed(id) => session::mark(2, id, None),
        });
        let outcome = check(&root);
        session.finish();
        outcome?;
        let mut trace = decode(&log, base, "")?;
        trace.unmodelled.extend(verify(&trace, &root)?.map(changed_unseen));
        let calls = if observe { calls(&log)? } else { Vec::new() };
        Ok(Recovered { trace, calls })
    }

    fn has_capacity(&self) -> bool {
        true
    }

    fn take_reads(&mut self) -> Option<Reads> {
        self.reads.take()
    }

    fn has_memory(&self) -> bool {
        crate::is_linked()
    }

    fn use_memory(&mut self, follow: bool) {
        // Where that is refused there are real files.
        self.from_memory = Mounted::trap().is_ok();
        self.follows = follow;
    }

    fn unserved(&mut self) -> Option<String> {
        self.unserved.clone()
    }
}

fn changed_unseen(difference: String) -> String {
    format!("something changed the folder that the door did not see: {difference}")
}

fn unreadable(room: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::new(format!("the recording in {} cannot be read: {error}", room.display()))
}
