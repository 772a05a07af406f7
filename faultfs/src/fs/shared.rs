//! What the clones of a `FaultFs` and its open files share, and the one way in which an op happens.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::panic::Location;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};

use super::capacity::Capacity;
use super::folder::Folder;
use super::fs_map::check_not_editing;
use super::names::Names;
use super::path::Roots;
use super::power::{Freezer, Wants};
use crate::disk::Disk;
use crate::errno::{EIO, ENOSPC, Errno};
use crate::fault::{Effect, SyncFailure};
use crate::injector::{Call, Injection, Injector, Reach};
use crate::op::{Ino, Op};
use crate::points::{self, Listening};
use crate::reads::Reads;
use crate::recorder::{OpId, Recorder};
use crate::trace::{Outcome, Site, Stamp, Trace};

/// Where a call was written.
pub(super) type Caller = &'static Location<'static>;

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// A freeze has ended, or the power was cut.
    pub(super) thawed: Condvar,
    pub(super) injector: Injector,
    pub(super) roots: Roots,
    /// `None`: in memory only.
    pub(super) folder: Option<Folder>,
    /// Hears of the fail points that the engine passes.
    _listening: Listening,
}

/// Behind the lock: the record, whose live disk is the filesystem in memory and the picture of a folder.
#[derive(Debug)]
pub(super) struct State {
    pub(super) recorder: Recorder,
    /// What is read of the disk at the start, where somebody wants to know.
    pub(super) reads: Option<Reads>,
    /// Files that were made without a name and have had none yet: only these may get a first one.
    pub(super) unnamed: BTreeSet<Ino>,
    pub(super) capacity: Capacity,
    pub(super) freezer: Freezer,
    /// The open file descriptions of each inode that has any.
    pub(super) open: BTreeMap<Ino, BTreeSet<OpenId>>,
    /// Failed syncs that these have not been told of yet.
    pub(super) owed: BTreeMap<OpenId, Errno>,
    /// Failed syncs that nobody has been told of yet.
    pub(super) unseen: BTreeMap<Ino, Errno>,
    /// The syncs of the trace that have failed, by their starts.
    pub(super) failures: BTreeMap<Stamp, SyncFailure>,
    next_open: OpenId,
    /// How many traces were taken: an op that started before one does not end after it.
    traces_taken: u64,
    threads: HashMap<ThreadId, u32>,
    sites: BTreeSet<Arc<str>>,
}

/// The number of an open file description.
pub(super) type OpenId = u64;

/// A started op, and the recording that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    id: OpId,
    traces_taken: u64,
}

impl Shared {
    pub(super) fn new(base: Disk, roots: Roots, folder: Option<Folder>) -> Arc<Shared> {
        let state = State {
            recorder: Recorder::new(base),
            reads: None,
            unnamed: BTreeSet::new(),
            capacity: Capacity::UNLIMITED,
            freezer: Freezer::default(),
            open: BTreeMap::new(),
            owed: BTreeMap::new(),
            unseen: BTreeMap::new(),
            failures: BTreeMap::new(),
            next_open: 0,
            traces_taken: 0,
            threads: HashMap::new(),
            sites: BTreeSet::new(),
        };
        Arc::new_cyclic(|shared: &Weak<Shared>| {
            let shared = shared.clone();
            let _listening = points::listen(move |pass| {
                let Some(shared) = shared.upgrade() else { return };
                let state = &mut *shared.lock();
                let thread = state.thread();
                state.recorder.passed(thread, pass.name(), points::site(pass));
            });
            let (state, thawed) = (Mutex::new(state), Condvar::new());
            Shared { state, thawed, injector: Injector::default(), roots, folder, _listening }
        })
    }

    /// Ops are serialised by this lock, across the call on the folder too, so that the order of the
    /// stamps is the order of the effects. Syncs let go of it while the folder syncs.
    ///
    /// A workload that panics is a finding, not the end: nothing here is left half done by one.
    ///
    /// # Panics
    ///
    /// Within a `FaultMap::edit`, whose stores come after this.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        check_not_editing(self);
        self.lock_anyway()
    }

    /// As [`Shared::lock`], for what is no op.
    pub(super) fn lock_anyway(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call: judged by the injector, carried out, recorded.
    ///
    /// `asked` is what the picture says of it: the op it becomes, nothing to record, or the error.
    /// `real` does it on the folder, and what the folder says is what the caller hears; its value is
    /// `None` in memory.
    pub(super) fn step<T>(
        &self,
        state: &mut State,
        call: &Call<'_>,
        caller: Caller,
        asked: io::Result<Option<Op>>,
        real: impl FnOnce(&Folder) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let asked = match asked {
            // Not a kernel's error, but misuse: the path leads out of the filesystem.
            Err(e) if e.raw_os_error().is_none() => return Err(e),
            asked => asked,
        };
        // Half a rename is one of a regular file.
        let halves = match &asked {
            Ok(Some(Op::Rename { from, .. })) => {
                state.disk().lookup(from).is_some_and(|ino| state.disk().content(ino).is_some())
            }
            _ => false,
        };
        let reach = if halves { Reach::Filesystem } else { Reach::File };
        let call = &Call { reach, site: site_of(caller), ..*call };
        let then = match self.judge(state, call, caller, || asked.as_ref().ok()?.clone()) {
            Effect::Nothing(Some(errno)) => return Err(errno.into()),
            Effect::Crash => {
                state.crash(asked.ok().flatten(), caller);
                self.thawed.notify_all();
                return Err(EIO.into());
            }
            Effect::BothNames(errno) => {
                self.leave_both_names(state, call, caller, asked?)?;
                return Err(errno.into());
            }
            Effect::Part { errno, .. } => errno,
            _ => None,
        };
        if let Ok(Some(op)) = &asked
            && state.is_out_of_inodes(op)
        {
            state.note_failed(caller, op.clone(), ENOSPC);
            return Err(ENOSPC.into());
        }
        let done = match &self.folder {
            None => asked.map(|op| {
                if let Some(op) = op {
                    let started = state.start(caller, op);
                    state.end(started, Outcome::Done);
                }
                None
            }),
            Some(folder) => state.carry_out(call, caller, asked, || real(folder)).map(Some),
        };
        match then {
            Some(errno) => done.and(Err(errno.into())),
            None => done,
        }
    }

    /// Half of a rename: the new name stands for the file too, in place of what it stood for.
    fn leave_both_names(
        &self,
        state: &mut State,
        call: &Call<'_>,
        caller: Caller,
        asked: Option<Op>,
    ) -> io::Result<()> {
        let Some(Op::Rename { from, to, .. }) = asked else { return Ok(()) };
        state.reading(Reads::everything);
        let ino = state.disk().lookup(&from).expect("a rename has a source");
        let started = state.start(caller, Op::Link { ino, slot: to });
        let done = match (&self.folder, call.other) {
            (Some(folder), Some(other)) => folder.leave_both_names(call.path, other),
            _ => Ok(()),
        };
        state.end(started, outcome(&done));
        done
    }

    /// Asks the injector what becomes of a call. `op` is what the call would be, for the record.
    pub(super) fn judge(
        &self,
        state: &mut State,
        call: &Call<'_>,
        caller: Caller,
        op: impl FnOnce() -> Option<Op>,
    ) -> Effect {
        let Some(injection) = self.injector.decide(call) else { return Effect::WHOLE };
        state.note(call, &injection);
        let effect = injection.fault.effect(None, 1);
        if let Effect::Nothing(Some(errno)) = effect {
            op().into_iter().for_each(|op| state.note_failed(caller, op, errno));
        }
        effect
    }

    /// A sync: started under the lock, carried out without it, ended under it.
    pub(super) fn sync(
        &self,
        op: Op,
        caller: Caller,
        real: impl FnOnce(&Folder) -> io::Result<()>,
    ) -> io::Result<()> {
        let started = self.enter(Wants::Change)?.start(caller, op);
        let done = self.folder.as_ref().map_or(Ok(()), real);
        self.lock().end(started, outcome(&done));
        done
    }

    /// Names and inodes as they are.
    pub(super) fn names<'a>(&'a self, state: &'a State) -> Names<'a> {
        Names { disk: state.recorder.live(), roots: &self.roots, reads: state.reads.as_ref() }
    }
}

impl State {
    pub(super) fn disk(&self) -> &Disk {
        self.recorder.live()
    }

    /// Tells the record of reads, where there is one.
    pub(super) fn reading(&self, read: impl FnOnce(&Reads)) {
        if let Some(reads) = &self.reads {
            read(reads);
        }
    }

    /// A new open file description of `ino`. Where a sync has failed and nobody knows, it will be told
    /// (Linux from 4.16 on).
    pub(super) fn open(&mut self, ino: Ino) -> OpenId {
        let id = self.next_open;
        self.next_open += 1;
        self.open.entry(ino).or_default().insert(id);
        self.owed.extend(self.unseen.remove(&ino).map(|errno| (id, errno)));
        id
    }

    pub(super) fn close(&mut self, ino: Ino, id: OpenId) {
        self.owed.remove(&id);
        if let Some(ids) = self.open.get_mut(&ino) {
            ids.remove(&id);
            if ids.is_empty() {
                self.open.remove(&ino);
            }
        }
    }

    pub(super) fn start(&mut self, caller: Caller, op: Op) -> Started {
        let thread = self.thread();
        let site = self.site(caller);
        let id = self.recorder.start(thread, site, op);
        Started { id, traces_taken: self.traces_taken }
    }

    pub(super) fn end(&mut self, started: Started, outcome: Outcome) {
        if started.traces_taken == self.traces_taken {
            self.recorder.end(started.id, outcome);
            let record = &self.recorder.trace().ops[started.id.index()];
            if record.errno.is_none() {
                self.reading(|reads| reads.done(&record.op));
            }
        }
    }

    /// The trace so far; a new recording starts, for which all that is there is durable.
    pub(super) fn take_trace(&mut self) -> Trace {
        self.traces_taken += 1;
        self.failures.clear();
        self.recorder.take()
    }

    /// A fault that is injected, for the record.
    pub(super) fn note(&mut self, call: &Call<'_>, injection: &Injection) {
        let site = call.site.map(|place| self.named(place));
        let points = injection.points.clone();
        self.recorder.injected(call.to_string(), &*injection.rule, site, points);
    }

    /// The power goes while `op` is under way.
    pub(super) fn crash(&mut self, op: Option<Op>, caller: Caller) {
        if !self.recorder.is_cut() {
            if let Some(op) = op {
                self.start(caller, op);
            }
            self.recorder.cut();
        }
    }

    /// An op that failed and changed nothing, for the record.
    pub(super) fn note_failed(&mut self, caller: Caller, op: Op, errno: Errno) {
        if self.recorder.is_cut() {
            return;
        }
        let started = self.start(caller, op);
        self.end(started, Outcome::Failed(errno.raw()));
    }

    /// The folder does what the picture says; where it does not, the record is not to be trusted.
    fn carry_out<T>(
        &mut self,
        call: &Call<'_>,
        caller: Caller,
        asked: io::Result<Option<Op>>,
        real: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let started = match asked {
            Ok(op) => op.map(|op| self.start(caller, op)),
            Err(expected) => {
                let done = real();
                if done.is_ok() {
                    self.recorder.unmodelled(format!(
                        "{call} was done, and was to fail with \"{expected}\": \
                         did something else change the folder?"
                    ));
                }
                return done;
            }
        };
        let done = real();
        if let Some(started) = started {
            self.end(started, outcome(&done));
        }
        done
    }

    /// Threads are numbered as they appear: their own ids differ from run to run.
    fn thread(&mut self) -> u32 {
        let next = u32::try_from(self.threads.len()).expect("fewer than 2^32 threads");
        *self.threads.entry(thread::current().id()).or_insert(next)
    }

    /// The call site, unless it lies in std: `BufWriter` says nothing of the engine.
    fn site(&mut self, caller: Caller) -> Option<Site> {
        site_of(caller).map(|place| self.named(place))
    }

    /// A place in the source, whose name is kept once.
    fn named(&mut self, (name, line): (&str, u32)) -> Site {
        if let Some(file) = self.sites.get(name) {
            return Site { file: file.clone(), line };
        }
        let file: Arc<str> = name.into();
        self.sites.insert(file.clone());
        Site { file, line }
    }
}

/// The file and line of a call, unless it lies in std: `BufWriter` says nothing of the engine.
pub(super) fn site_of(caller: Caller) -> Option<(&'static str, u32)> {
    let name = caller.file();
    // Its sources as the compiler remembers them, and as `rust-src` installs them.
    let is_std = name.starts_with("/rustc/") || name.contains("/rustlib/src/rust/library/");
    (!is_std).then(|| (name, caller.line()))
}

/// How an op ended whose result is `done`.
pub(super) fn outcome<T>(done: &io::Result<T>) -> Outcome {
    match done {
        Ok(_) => Outcome::Done,
        Err(e) => Outcome::Failed(e.raw_os_error().unwrap_or(libc::EIO)),
    }
}
