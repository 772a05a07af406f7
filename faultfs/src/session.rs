//! A folder in RAM for the length of one run, gone again on every way out.
//!
//! Folders are numbered slots, `faultfs-UID-0000` and so on, below one base folder. Beside each stands a
//! lock file, and whoever holds its lock owns the slot. The kernel drops the lock with the process, so a
//! slot that can be locked and still has a folder was left behind by a process that was killed: every new
//! session removes such folders. Slots are taken from the lowest, so that a lone run meets the same paths
//! each time.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Below this many free bytes `/dev/shm` is not used: containers often have one of 64 MiB, and an
/// engine that meets a full disk there would be blamed for it.
const RAM_BYTES_MIN: u64 = 256 << 20;
/// More slots than processes that can be meant to run at once.
const SLOTS_MAX: u32 = 10_000;

/// A folder that lives as long as this value.
///
/// Removed when it is dropped, by an unwinding panic too, and on the second Ctrl-C (see
/// [`interrupted`]). What `kill -9` leaves behind is removed by the next session of the same user, in
/// whichever process; the folder of a session that is alive is never touched.
///
/// ```
/// let session = faultfs::session::Session::new()?;
/// std::fs::write(session.path().join("log"), "hello")?;
/// let path = session.path().to_path_buf();
/// drop(session);
/// assert!(!path.exists());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    slot: Slot,
    /// Held for its lock, which ends when the file is closed.
    _lock: File,
}

impl Session {
    /// Makes a folder below [`base`].
    ///
    /// # Errors
    ///
    /// Where nothing can be created there.
    pub fn new() -> io::Result<Session> {
        Session::new_in(&base())
    }

    /// Makes a folder below `base`. Sessions find what a killed one left only below the same base.
    ///
    /// # Errors
    ///
    /// Where nothing can be created there.
    pub fn new_in(base: &Path) -> io::Result<Session> {
        watch_signals();
        remove_abandoned(base);
        for number in 0..SLOTS_MAX {
            let slot = Slot::new(base, number);
            let Some(lock) = slot.lock()? else { continue };
            if slot.remove_folder().is_err() {
                // Not ours to remove: somebody else made something of this name.
                fs::remove_file(&slot.lock)?;
                continue;
            }
            // Registered before it exists: a signal in between removes nothing, or all.
            live().insert(slot.folder.clone(), slot.clone());
            let session = Session { slot, _lock: lock };
            DirBuilder::new().mode(0o700).create(session.path())?;
            return Ok(session);
        }
        let (base, prefix) = (base.display(), prefix());
        Err(io::Error::other(format!(
            "no free name {prefix}* in {base}: remove what is not in use"
        )))
    }

    /// The folder. Empty at first, and for its owner alone (mode 0700).
    pub fn path(&self) -> &Path {
        &self.slot.folder
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Locked throughout: once the lock file has gone, a new session may register the same slot.
        let mut live = live();
        // Nothing can be done about an error here; the next session tries again.
        let _ = self.slot.remove();
        live.remove(&self.slot.folder);
    }
}

/// Where sessions live unless told otherwise: `/dev/shm` where it can be written and has at least
/// 256 MiB free, else the folder for temporary files.
pub fn base() -> PathBuf {
    let ram = Path::new("/dev/shm");
    let writable = rustix::fs::access(ram, rustix::fs::Access::WRITE_OK).is_ok();
    let free = rustix::fs::statvfs(ram).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    if writable && free >= RAM_BYTES_MIN { ram.to_path_buf() } else { std::env::temp_dir() }
}

/// True once this process was asked to end (SIGINT or SIGTERM) while a session was alive.
///
/// The first such signal only sets this: a run that looks at it can end cleanly, with what it knows so
/// far. The second removes the folders of all live sessions and ends the process as the signal would
/// have done by itself. With no session alive a signal does what it always does.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The slots of this process, by their folders.
static LIVE: LazyLock<Mutex<BTreeMap<PathBuf, Slot>>> = LazyLock::new(Mutex::default);

fn live() -> MutexGuard<'static, BTreeMap<PathBuf, Slot>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread that waits for signals, once per process.
fn watch_signals() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else {
            return;
        };
        let watch = move || {
            for signal in signals.forever() {
                let sessions = live();
                if sessions.is_empty() || INTERRUPTED.swap(true, Ordering::Relaxed) {
                    sessions.values().for_each(|slot| drop(slot.remove()));
                    // Ends the process, with the lock held so that no further session appears.
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            }
        };
        let _ = std::thread::Builder::new().name("faultfs signals".into()).spawn(watch);
    });
}

/// Removes the folders below `base` whose owner is gone. Best effort: what cannot be removed now does
/// not keep a session from starting.
fn remove_abandoned(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let Some(slot) = Slot::of_lock_name(base, &entry.file_name()) else { continue };
        if let Ok(Some(_lock)) = slot.lock() {
            let _ = slot.remove();
        }
    }
}

/// A place for a session: the folder, and the lock file beside it.
#[derive(Clone, Debug)]
struct Slot {
    folder: PathBuf,
    lock: PathBuf,
}

impl Slot {
    fn new(base: &Path, number: u32) -> Slot {
        let name = format!("{}{number:04}", prefix());
        Slot { folder: base.join(&name), lock: base.join(name + ".lock") }
    }

    /// The slot whose lock file is called `name`, if it is one of this user.
    fn of_lock_name(base: &Path, name: &OsStr) -> Option<Slot> {
        let number = name.to_str()?.strip_prefix(&prefix())?.strip_suffix(".lock")?;
        Some(Slot::new(base, number.parse().ok()?))
    }

    /// Takes the slot, if nobody has it. `None` too where a file of another user is in the way.
    fn lock(&self) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits();
        options.custom_flags(i32::try_from(no_follow).expect("a flag fits"));
        loop {
            let file = match options.open(&self.lock) {
                Ok(file) => file,
                Err(_) if self.lock.symlink_metadata().is_ok() => return Ok(None),
                Err(error) => return Err(error),
            };
            match file.try_lock() {
                Ok(()) if is_ours(&file.metadata()?) => {}
                Ok(()) | Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The last owner removes the file while it holds the lock; a lock on a file without its
            // name keeps nobody out.
            let named = fs::symlink_metadata(&self.lock).is_ok_and(|m| same(&m, &file));
            if named {
                return Ok(Some(file));
            }
        }
    }

    /// Removes folder and lock file. Only for whoever holds the lock.
    fn remove(&self) -> io::Result<()> {
        self.remove_folder()?;
        fs::remove_file(&self.lock)
    }

    fn remove_folder(&self) -> io::Result<()> {
        match self.folder.symlink_metadata() {
            Ok(found) if found.is_dir() && is_ours(&found) => remove_tree(&self.folder),
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => Ok(()),
        }
    }
}

fn prefix() -> String {
    format!("faultfs-{}-", rustix::process::geteuid().as_raw())
}

fn is_ours(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

fn same(named: &fs::Metadata, file: &File) -> bool {
    file.metadata().is_ok_and(|m| (m.dev(), m.ino()) == (named.dev(), named.ino()))
}

/// Removes a tree, also where an engine took its own permissions away, or is still writing.
pub(crate) fn remove_tree(folder: &Path) -> io::Result<()> {
    const TRIES: u32 = 5;
    let mut result = fs::remove_dir_all(folder);
    for _ in 1..TRIES {
        match &result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                open_up(folder);
                result = fs::remove_dir_all(folder);
            }
            _ => break,
        }
    }
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives the owner back all rights on every directory of a tree.
fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(base: &Path) -> Vec<String> {
        let entries = fs::read_dir(base).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_session_leaves_nothing_behind() {
        let base = tempfile::tempdir().unwrap();
        let session = Session::new_in(base.path()).unwrap();
        fs::create_dir_all(session.path().join("a/b")).unwrap();
        fs::write(session.path().join("a/b/c"), "x").unwrap();
        drop(session);
        assert_eq!(names(base.path()), [""; 0]);
    }

    #[test]
    fn a_panic_leaves_nothing_behind() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().to_path_buf();
        let result = std::thread::spawn(move || {
            let session = Session::new_in(&path).unwrap();
            fs::write(session.path().join("x"), "x").unwrap();
            std::panic::resume_unwind(Box::new("planted"));
        })
        .join();
        assert!(result.is_err());
        assert_eq!(names(base.path()), [""; 0]);
    }

    #[test]
    fn a_folder_without_an_owner_is_removed_and_a_live_one_is_not() {
        let base = tempfile::tempdir().unwrap();
        let alive = Session::new_in(base.path()).unwrap();
        fs::write(alive.path().join("kept"), "x").unwrap();
        // What a killed process leaves: both names, no lock.
        let left = Slot::new(base.path(), 7);
        fs::create_dir_all(left.folder.join("deep/er")).unwrap();
        fs::set_permissions(left.folder.join("deep"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::write(&left.lock, "").unwrap();
        let next = Session::new_in(base.path()).unwrap();
        assert!(!left.folder.exists() && !left.lock.exists());
        assert!(alive.path().join("kept").exists());
        assert_ne!(alive.path(), next.path());
    }

    #[test]
    fn the_same_path_is_met_again_by_a_lone_run() {
        let base = tempfile::tempdir().unwrap();
        let first = Session::new_in(base.path()).unwrap().path().to_path_buf();
        let second = Session::new_in(base.path()).unwrap().path().to_path_buf();
        assert_eq!(first, second);
    }

    #[test]
    fn a_symbolic_link_in_the_way_is_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("precious"), "x").unwrap();
        let slot = Slot::new(base.path(), 0);
        std::os::unix::fs::symlink(other.path().join("precious"), &slot.lock).unwrap();
        let session = Session::new_in(base.path()).unwrap();
        assert_eq!(session.path(), Slot::new(base.path(), 1).folder);
        drop(session);
        fs::remove_file(&slot.lock).unwrap();
        std::os::unix::fs::symlink(other.path(), &slot.folder).unwrap();
        let session = Session::new_in(base.path()).unwrap();
        assert_eq!(session.path(), Slot::new(base.path(), 1).folder);
        assert!(!slot.lock.exists());
        assert!(other.path().join("precious").exists());
    }

    /// Threads that make and drop sessions at once: no two ever own one folder, and nothing stays.
    #[test]
    fn sessions_started_at_once_never_share_a_folder() {
        let base = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let base = base.path();
                scope.spawn(move || {
                    for round in 0..100 {
                        let session = Session::new_in(base).unwrap();
                        let mine = session.path().join("owner");
                        assert!(!mine.exists(), "the folder is new");
                        let text = format!("{thread} {round}");
                        fs::write(&mine, &text).unwrap();
                        std::thread::yield_now();
                        assert_eq!(fs::read_to_string(&mine).unwrap(), text);
                    }
                });
            }
        });
        assert_eq!(names(base.path()), [""; 0]);
    }
}
