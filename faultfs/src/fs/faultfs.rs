//! `FaultFs`: a filesystem with faults and a record.

use std::fmt;
use std::io::{self, Read, Write};
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;

use super::File;
use super::capacity::Capacity;
use super::door::Gate;
use super::file::FaultFile;
use super::folder::Folder;
use super::handle::FsFile;
use super::names::Opened;
use super::options::OpenOptions;
use super::path::{Roots, plain};
use super::power::Wants;
use super::shared::{Caller, Shared, State};
use crate::crash::{CrashImage, Loss};
use crate::disk::Disk;
use crate::errno::{EINVAL, ENOENT, EPERM};
use crate::folder::{difference, snapshot};
use crate::injector::{Call, Injector};
use crate::model::Profile;
use crate::op::{Ino, Kind, Op};
use crate::plan::{OpKind, Plan};
use crate::reads::Reads;
use crate::trace::{Mark, Site, Trace};

/// The umask that new files and directories get, whatever that of the process: a run is the same
/// anywhere.
pub(super) const UMASK: u32 = 0o022;

/// A filesystem to run an engine on: in memory, or on a real folder. A cheap value, `Clone + Send +
/// Sync`; clones are the same filesystem.
///
/// It has the words of [`std::fs`] and the errors of a Linux kernel (as root: permission bits are
/// kept, and not checked). Paths are relative to its root. In memory `/` is the root too; on a folder an
/// absolute path must lie below it. A path that leads out, also through a symbolic link, is an error of
/// kind `InvalidInput`.
///
/// Everything that changes the disk or makes a change durable is recorded, with the line it was asked
/// from: see [`FaultFs::trace`].
///
/// ```
/// use faultfs::FaultFs;
/// use faultfs::errno::EIO;
/// use faultfs::plan::on;
/// use std::io::Write;
///
/// let fs = FaultFs::mem();
/// fs.create_dir("db")?;
/// let mut file = fs.create("db/tmp")?;
/// file.write_all(b"hello")?;
/// file.sync_all()?;
/// fs.rename("db/tmp", "db/log")?;
///
/// fs.arm(on::sync_dir().path("db").take(1).fail(EIO));
/// assert_eq!(fs.sync_dir("db").unwrap_err().raw_os_error(), Some(5));
/// fs.sync_dir("db")?;
/// fs.injector().finish().unwrap();
///
/// assert_eq!(fs.read("db/log")?, b"hello");
/// assert_eq!(fs.trace().ops.len(), 7);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Faults
///
/// Every call asks the [`Injector`] first, so a call that would fail anyway counts too. A fault that
/// comes before the effect leaves the disk as it is.
///
/// # After a crash
///
/// What survives is decided by a model of the filesystem and the device, on the trace; a `FaultFs` itself
/// loses nothing. On a real folder the syncs are the kernel's own too.
///
/// # Limits
///
/// No times, owners, extended attributes, locks or special files; files are mapped by
/// [`FaultFile::map_mut`](crate::FaultFile::map_mut) and its kin, not by their descriptors. A new directory
/// does not inherit a set-group-ID bit, and a handle of a directory has no position. On a folder, whatever
/// else changes it makes the trace not measured.
#[derive(Clone)]
pub struct FaultFs {
    pub(super) shared: Arc<Shared>,
}

impl FaultFs {
    /// An empty filesystem in memory.
    pub fn mem() -> FaultFs {
        FaultFs::from_disk(Disk::new())
    }

    /// A filesystem in memory that starts as `disk`, all of it durable.
    pub fn from_disk(disk: Disk) -> FaultFs {
        FaultFs { shared: Shared::new(disk, Roots::default(), None) }
    }

    /// As [`FaultFs::from_disk`], and what is read of `disk` is noted.
    pub(crate) fn watched(disk: Disk) -> FaultFs {
        let reads = Reads::of(&disk);
        let fs = FaultFs::from_disk(disk);
        fs.shared.lock().reads = Some(reads);
        fs
    }

    /// What was read of the disk at the start, where that is noted; it is not from then on.
    pub(crate) fn take_reads(&self) -> Option<Reads> {
        self.shared.lock().reads.take()
    }

    /// The filesystem below a real folder. What the folder holds is the start, all of it durable; it is
    /// read into memory.
    ///
    /// The folder is not removed or cleaned at the end.
    ///
    /// # Errors
    ///
    /// What opening and reading the folder gives; `Unsupported` for sockets, pipes and devices in it.
    pub fn real(path: impl AsRef<Path>) -> io::Result<FaultFs> {
        let given = std::path::absolute(path.as_ref())?;
        let canonical = given.canonicalize()?;
        let base = snapshot(&canonical)?;
        let roots = Roots(vec![given, canonical]);
        let folder = Folder::open(&roots.0[1], roots.clone())?;
        Ok(FaultFs { shared: Shared::new(base, roots, Some(folder)) })
    }

    /// Adds the rules of `plan`; files that are open feel them too. See [`Injector::arm`].
    #[track_caller]
    pub fn arm(&self, plan: impl Into<Plan>) {
        self.shared.injector.arm(plan);
    }

    /// What decides about faults: to disarm it, and to ask at the end whether every rule fired.
    pub fn injector(&self) -> &Injector {
        &self.shared.injector
    }

    /// From now on the disk holds no more than this. What is there stays, also where it is more.
    pub fn set_capacity(&self, capacity: Capacity) {
        let mut state = self.shared.lock();
        // How much room is left depends on all that is there.
        state.reading(Reads::everything);
        state.capacity = capacity;
    }

    /// The workload asks the engine for `id` now.
    #[track_caller]
    pub fn begin(&self, id: u64) {
        self.mark(Mark::Begin(id), Some(Location::caller().into()));
    }

    /// The engine has promised `id`. Marks order the oracle only; they make nothing durable.
    #[track_caller]
    pub fn ack(&self, id: u64) {
        self.mark(Mark::Ack(id), Some(Location::caller().into()));
    }

    /// The engine has said that `id` failed.
    #[track_caller]
    pub fn failed(&self, id: u64) {
        self.mark(Mark::Failed(id), Some(Location::caller().into()));
    }

    /// The workload says something of its progress, there.
    pub(crate) fn mark(&self, mark: Mark, site: Option<Site>) {
        self.shared.lock().recorder.mark(mark, site);
    }

    /// A copy of the trace so far; others may go on meanwhile. The data is shared, not copied.
    pub fn trace(&self) -> Trace {
        let state = self.shared.lock();
        state.reading(Reads::everything);
        state.recorder.trace().clone()
    }

    /// The trace so far. A new recording starts, for which all that is there is durable.
    ///
    /// On a real folder the end of the trace is compared with what the folder holds; where they differ,
    /// the trace says so in `unmodelled`.
    pub fn take_trace(&self) -> Trace {
        let mut state = self.shared.lock();
        state.reading(Reads::everything);
        if let Some(real) = self.shared.roots.0.last() {
            let wrong = match snapshot(real) {
                Ok(found) => difference(state.disk(), &found),
                Err(e) => Some(format!("the folder cannot be read: {e}")),
            };
            wrong.into_iter().for_each(|wrong| state.recorder.unmodelled(wrong));
        }
        state.take_trace()
    }

    /// Cuts the power now, for one copy of the world: the disk that would be found, while this filesystem
    /// and all who use it go on. For stress tests that exist already.
    ///
    /// Under the same trace, profile and loss the disk is the same. Costs time in proportion to the
    /// length of the trace.
    ///
    /// ```
    /// use faultfs::crash::Loss;
    /// use faultfs::{FaultFs, Profile};
    ///
    /// let fs = FaultFs::mem();
    /// fs.write("unsynced", "x")?;
    /// let image = fs.crash_clone(Profile::POSIX, Loss::Everything);
    /// assert!(!image.fs().exists("unsynced")?);
    /// assert!(fs.exists("unsynced")?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn crash_clone(&self, profile: Profile, loss: Loss) -> CrashImage {
        CrashImage::of(self.trace(), profile, loss)
    }

    /// A copy of the disk as it is now; pages are shared until they change.
    pub fn disk(&self) -> Disk {
        let state = self.shared.lock();
        state.reading(Reads::everything);
        state.disk().clone()
    }

    /// One call on a path; see [`Shared::step`].
    pub(super) fn step<T>(
        &self,
        state: &mut State,
        call: (OpKind, &Path),
        caller: Caller,
        asked: io::Result<Option<Op>>,
        real: impl FnOnce(&Folder) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let path = plain(&self.shared.roots, call.1);
        self.shared.step(state, &Call::new(call.0, &path), caller, asked, real)
    }

    /// One call on two paths.
    fn step_between(
        &self,
        state: &mut State,
        (kind, from, to): (OpKind, &Path, &Path),
        caller: Caller,
        asked: io::Result<Option<Op>>,
        real: impl FnOnce(&Folder) -> io::Result<()>,
    ) -> io::Result<()> {
        let (from, to) = (plain(&self.shared.roots, from), plain(&self.shared.roots, to));
        let call = Call { other: Some(&to), ..Call::new(kind, &from) };
        self.shared.step(state, &call, caller, asked, real).map(drop)
    }

    fn file(&self, path: &Path, inner: FsFile) -> File {
        let path = plain(&self.shared.roots, path);
        let gate = Gate::witnessed(inner.witness(), &self.shared.injector, path);
        FaultFile::behind(gate, inner)
    }
}

/// Files.
impl FaultFs {
    /// Opens a file for reading, or a directory to sync it. This corresponds to
    /// [`std::fs::File::open`].
    #[track_caller]
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        self.open_with(path, OpenOptions::new().read(true))
    }

    /// Opens a file for writing, made or emptied. This corresponds to [`std::fs::File::create`].
    #[track_caller]
    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<File> {
        self.open_with(path, OpenOptions::new().write(true).create(true).truncate(true))
    }

    /// Makes a file for reading and writing; it is an error if there is one. This corresponds to
    /// [`std::fs::File::create_new`].
    #[track_caller]
    pub fn create_new(&self, path: impl AsRef<Path>) -> io::Result<File> {
        self.open_with(path, OpenOptions::new().read(true).write(true).create_new(true))
    }

    /// Opens a file. This corresponds to [`std::fs::OpenOptions::open`].
    ///
    /// # After a crash
    ///
    /// The name of a new file is durable once its directory has been synced; emptying a file is durable
    /// once the file has been synced.
    #[track_caller]
    pub fn open_with(&self, path: impl AsRef<Path>, options: &OpenOptions) -> io::Result<File> {
        options.check()?;
        let (path, caller) = (path.as_ref(), Location::caller());
        let wants = if options.writes() { Wants::Change } else { Wants::Look };
        let state = &mut *self.shared.enter(wants)?;
        let OpenOptions { create, create_new, .. } = *options;
        let opened = self.shared.names(state).open(path, options.writes(), create, create_new);
        let truncates = options.truncate && !create_new;
        let mode = options.mode & 0o7777 & !UMASK;
        let (kind, ino, asked) = match opened {
            Ok(Opened::New(slot)) => {
                let ino = state.recorder.fresh_ino();
                let op = Op::Create { slot, ino, kind: Kind::File, mode };
                (OpKind::Create, Some(ino), Ok(Some(op)))
            }
            Ok(Opened::Found(ino)) => {
                let op = truncates.then_some(Op::SetLen { ino, len: 0 });
                (OpKind::Open, Some(ino), Ok(op))
            }
            Err(e) => (OpKind::Open, None, Err(e)),
        };
        let made = (kind == OpKind::Create).then_some(mode);
        let plain = plain(&self.shared.roots, path);
        let call = Call { writes: options.writes(), ..Call::new(kind, &plain) };
        let real = self
            .shared
            .step(state, &call, caller, asked, |folder| folder.open_file(path, options, made))?;
        let ino = ino.ok_or_else(changed_outside)?;
        let inner = FsFile::new(&self.shared, state, ino, options.clone(), real);
        Ok(self.file(path, inner))
    }

    /// Makes a file without a name in the directory `dir`, for reading and writing: `O_TMPFILE`.
    ///
    /// # After a crash
    ///
    /// It is gone, however often it was synced, until [`FaultFs::link_unnamed`] has named it and the
    /// directory of the name has been synced.
    #[track_caller]
    pub fn create_unnamed(&self, dir: impl AsRef<Path>) -> io::Result<File> {
        let (dir, caller) = (dir.as_ref(), Location::caller());
        let state = &mut *self.shared.enter(Wants::Change)?;
        let mode = 0o600;
        let found = self.shared.names(state).dir(dir);
        let ino = state.recorder.fresh_ino();
        let asked = found.map(|_| Some(Op::CreateUnnamed { ino, mode }));
        let call = (OpKind::Create, dir);
        let real =
            self.step(state, call, caller, asked, |folder| folder.create_unnamed(dir, mode))?;
        if state.disk().get(ino).is_none() {
            return Err(changed_outside());
        }
        state.unnamed.insert(ino);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let inner = FsFile::new(&self.shared, state, ino, options, real);
        Ok(self.file(dir, inner))
    }

    /// Gives an open file a name: the first one of a file without, or a further one. This corresponds to
    /// `linkat` on `/proc/self/fd`.
    ///
    /// # Errors
    ///
    /// `EEXIST` where the name is taken; `ENOENT` where the file had names and has none left.
    ///
    /// # Panics
    ///
    /// Where `file` is of another filesystem.
    #[track_caller]
    pub fn link_unnamed(&self, file: &File, path: impl AsRef<Path>) -> io::Result<()> {
        let (path, caller) = (path.as_ref(), Location::caller());
        assert!(
            file.get_ref().belongs_to(&self.shared),
            "the file is of another filesystem: link it on the one that opened it"
        );
        let ino = file.get_ref().ino();
        let state = &mut *self.shared.enter(Wants::Change)?;
        let asked = self.shared.names(state).vacant(path, false).and_then(|slot| {
            if state.disk().entries(ino).is_some() {
                return Err(EPERM.into());
            }
            state.reading(|reads| reads.links(ino));
            match state.unnamed.contains(&ino) || has_name(state, ino) {
                true => Ok(Some(Op::Link { ino, slot })),
                false => Err(ENOENT.into()),
            }
        });
        let linked = self.step(state, (OpKind::Link, path), caller, asked, |folder| {
            folder.link_file(file.get_ref().real().ok_or(EINVAL)?, path)
        });
        // Where it failed after its effect, too.
        if has_name(state, ino) {
            state.unnamed.remove(&ino);
        }
        linked.map(drop)
    }

    /// The whole content of a file. This corresponds to [`std::fs::read`].
    #[track_caller]
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.open(path)?.read_to_end(&mut all)?;
        Ok(all)
    }

    /// The whole content of a file as text. This corresponds to [`std::fs::read_to_string`].
    #[track_caller]
    pub fn read_to_string(&self, path: impl AsRef<Path>) -> io::Result<String> {
        let mut all = String::new();
        self.open(path)?.read_to_string(&mut all)?;
        Ok(all)
    }

    /// Writes a whole file, made or emptied. This corresponds to [`std::fs::write`]; nothing is synced.
    #[track_caller]
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> io::Result<()> {
        self.create(path)?.write_all(content.as_ref())
    }

    /// Removes a name of a file. This corresponds to [`std::fs::remove_file`]. The file lives on under
    /// other names, and in handles.
    #[track_caller]
    pub fn remove_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let (path, caller) = (path.as_ref(), Location::caller());
        let state = &mut *self.shared.enter(Wants::Change)?;
        let asked = self.shared.names(state).remove(path).map(Some);
        self.step(state, (OpKind::Remove, path), caller, asked, |folder| folder.remove(path))?;
        Ok(())
    }

    /// Gives a file a further name. This corresponds to [`std::fs::hard_link`]; a symbolic link is not
    /// followed.
    #[track_caller]
    pub fn hard_link(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        let (from, to, caller) = (from.as_ref(), to.as_ref(), Location::caller());
        let state = &mut *self.shared.enter(Wants::Change)?;
        let asked = self.shared.names(state).link(from, to).map(Some);
        self.step_between(state, (OpKind::Link, from, to), caller, asked, |folder| {
            folder.hard_link(from, to)
        })
    }

    /// Renames a file or directory, replacing a file or an empty directory. This corresponds to
    /// [`std::fs::rename`].
    ///
    /// # After a crash
    ///
    /// Old or new name, in nearly every model not both and not none; the new one for certain once
    /// the directories have been synced.
    #[track_caller]
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        self.rename_as(from.as_ref(), to.as_ref(), false, Location::caller())
    }

    /// Swaps two names. This corresponds to `renameat2` with `RENAME_EXCHANGE`.
    #[track_caller]
    pub fn exchange(&self, one: impl AsRef<Path>, other: impl AsRef<Path>) -> io::Result<()> {
        self.rename_as(one.as_ref(), other.as_ref(), true, Location::caller())
    }

    fn rename_as(&self, from: &Path, to: &Path, exchange: bool, caller: Caller) -> io::Result<()> {
        let state = &mut *self.shared.enter(Wants::Change)?;
        let asked = self.shared.names(state).rename(from, to, exchange);
        let kind = if exchange { OpKind::Exchange } else { OpKind::Rename };
        self.step_between(state, (kind, from, to), caller, asked, |folder| {
            folder.rename(from, to, exchange)
        })
    }
}

impl fmt::Debug for FaultFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("FaultFs");
        if let Some(path) = self.shared.roots.0.first() {
            out.field("folder", path);
        }
        out.field("plan", &self.shared.injector).finish_non_exhaustive()
    }
}

fn has_name(state: &State, ino: Ino) -> bool {
    state.disk().walk().iter().any(|(_, named)| *named == ino)
}

/// The folder had something that the picture has not.
pub(super) fn changed_outside() -> io::Error {
    io::Error::other("the folder was changed from outside while it was being recorded")
}
