//! Starting and ending a recording.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::panic::Location;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use faultfs::folder::snapshot;
use faultfs::fs::{Capacity, Rot};

use crate::Options;
use crate::door::faults::{Armed, Space};
use crate::door::stack::{Module, Walker};
use crate::door::{DOOR, Known, Opening, faults, sys};
use crate::memory;
use crate::record::{Kind, RECORDS_AT};
use crate::sites::Modules;
use crate::symbols::OVERRIDES;

/// Starts to record; the errors are those of [`crate::Session::start`].
pub(crate) fn start(options: &Options<'_>) -> io::Result<()> {
    require_linked()?;
    // Before the log is touched, which may be that of the active one.
    if DOOR.is_active() {
        return Err(busy());
    }
    let root = fs::canonicalize(options.root)?;
    let dev = fs::metadata(&root)?.dev();
    refuse_open_files(&root)?;
    let mut known = Vec::new();
    list(&root, b"", &mut known)?;
    let log_len = usize::try_from(options.log_bytes_max).unwrap_or(usize::MAX);
    if log_len < MIN_LOG {
        return Err(invalid(format!("log_bytes_max is {log_len}: give it at least {MIN_LOG}")));
    }
    let walker = Walker::new();
    let opening = Opening {
        log: map_log(options.log, log_len)?,
        log_len,
        unforked: map_unforked()?,
        dev,
        in_ram: is_in_ram(&root)?,
        seed: options.seed,
        armed: armed(options, &root, &walker)?,
        walker,
    };
    if options.trap {
        crate::trap::install_for_recording()?;
        if opening.armed.is_some() {
            crate::trap::install_for_faults()?;
        }
    }
    // SAFETY: both are fresh mappings of at least that length; the first is the log's from here on, the
    // second is never unmapped.
    if unsafe { DOOR.open(opening, &known) } { Ok(()) } else { Err(busy()) }
}

/// What may go wrong, where something may, or is to be told of.
fn armed(options: &Options<'_>, root: &Path, walker: &Walker) -> io::Result<Option<Box<Armed>>> {
    let Options { injector, observe, .. } = *options;
    if injector.is_none() && !observe {
        return Ok(None);
    }
    // A fault may bring back what was there.
    let base = injector.map(|_| snapshot(root)).transpose()?;
    let root = root.as_os_str().as_bytes().to_vec();
    let injector = injector.cloned().unwrap_or_default();
    let mut modules = Modules::default();
    for Module { bias, addresses, path, stamp } in &walker.modules {
        modules.add(*bias, addresses.clone(), path, *stamp);
    }
    let (modules, space) = (Arc::new(modules), Space::unlimited());
    Ok(Some(Box::new(Armed { injector, observe, root, base, space, modules })))
}

fn busy() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "a session is active in this process already")
}

/// The header, and room for a few records.
const MIN_LOG: usize = RECORDS_AT * 4;

/// Ends the recording.
pub(crate) fn finish() {
    DOOR.close();
}

/// Writes a mark and where it was made, if a session is active.
pub(crate) fn mark(which: u64, id: u64, site: Option<&Location<'_>>) {
    let (line, file) = site.map_or((0, ""), |site| (site.line(), site.file()));
    DOOR.note(Kind::Mark, &[which, id, line.into()], file.as_bytes(), &[]);
}

/// Writes that a fail point was passed, if a session is active.
pub(crate) fn passed(name: &str, file: &str, line: u32) {
    DOOR.note(Kind::Passed, &[line.into()], name.as_bytes(), file.as_bytes());
}

/// Writes that the power was cut, if a session is active.
pub(crate) fn cut() {
    DOOR.note(Kind::Cut, &[], &[], &[]);
}

/// Drops the clean pages of a file from memory; the errors are those of [`crate::evict`].
pub(crate) fn evict(path: &Path) -> io::Result<()> {
    faults::evict(unseen(path)?.as_raw_fd())
}

/// Changes stored bytes of a file; the errors are those of [`crate::rot`].
pub(crate) fn rot(path: &Path, rot: Rot) -> io::Result<()> {
    faults::rot(unseen(path)?.as_raw_fd(), rot)
}

/// Limits the disk; the errors are those of [`crate::set_capacity`].
pub(crate) fn set_capacity(capacity: Capacity) -> io::Result<()> {
    faults::set_capacity(capacity)
}

/// Opens a file past the door: the engine did not ask for it.
fn unseen(path: &Path) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    let given = [libc::AT_FDCWD as usize, path.as_ptr().expose_provenance(), flags];
    // SAFETY: a null-terminated path.
    let fd = unsafe { sys::raw(libc::SYS_openat, sys::args(given)) };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd as i32));
    }
    // SAFETY: the descriptor was opened here.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}

/// Whether libc's users in this program reach our functions.
pub(crate) fn is_linked() -> bool {
    first_unlinked().is_none()
}

fn first_unlinked() -> Option<&'static str> {
    // Checked: those through which the file calls of std and of C code come.
    let needed: [&CStr; 8] =
        [c"open64", c"write", c"pwrite64", c"fsync", c"rename", c"fstat64", c"fork", c"getpid"];
    let ours = || OVERRIDES.iter().chain(memory::LOOKS).chain(memory::SPAWNS).chain(memory::ASKS);
    needed.into_iter().map(|name| name.to_str().expect("ASCII")).find(|name| {
        let ours = ours().find(|(ours, _)| ours == name).map(|(_, at)| at.0);
        let name = CString::new(*name).expect("no zero in it");
        // SAFETY: a null-terminated name.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        ours != Some(found.cast_const().cast())
    })
}

pub(crate) fn require_linked() -> io::Result<()> {
    match first_unlinked() {
        None => Ok(()),
        Some(name) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "`{name}` of this program is not the one of faultfs-interpose: link the package \
                 into the program itself (not into a dynamic library), and no other package that \
                 replaces libc's file functions"
            ),
        )),
    }
}

/// A descriptor that was there before the session would be written to unseen.
fn refuse_open_files(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let target = fs::read_link(entry?.path());
        if let Ok(target) = target
            && target.starts_with(root)
        {
            let file = target.display();
            return Err(invalid(format!(
                "{file} is open already: start the session before the files below its root are opened"
            )));
        }
    }
    Ok(())
}

/// Every inode below the root with its path, in the order of the names; each once.
fn list(dir: &Path, path: &[u8], known: &mut Vec<Known>) -> io::Result<()> {
    known.push(Known { ino: fs::symlink_metadata(dir)?.ino(), path: path.to_vec() });
    let names: BTreeSet<_> =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    for name in names {
        let mut path = path.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let at = dir.join(&name);
        let metadata = fs::symlink_metadata(&at)?;
        if metadata.is_dir() {
            list(&at, &path, known)?;
        } else {
            known.push(Known { ino: metadata.ino(), path });
        }
    }
    Ok(())
}

/// Whether a folder is on tmpfs.
fn is_in_ram(folder: &Path) -> io::Result<bool> {
    let folder = CString::new(folder.as_os_str().as_bytes())?;
    let mut found = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: a null-terminated path, and the address of a local.
    if unsafe { libc::statfs(folder.as_ptr(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: filled in, as the call succeeded.
    Ok(unsafe { found.assume_init() }.f_type == libc::TMPFS_MAGIC)
}

fn map_log(path: &Path, len: usize) -> io::Result<*mut u8> {
    let log: File =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    log.set_len(len as u64)?;
    map(len, libc::MAP_SHARED | libc::MAP_NORESERVE, log.as_raw_fd())
}

/// A page that every forked child finds empty.
pub(crate) fn map_unforked() -> io::Result<*mut u8> {
    let page = map(RECORDS_AT, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
    // SAFETY: the page is ours.
    match unsafe { libc::madvise(page.cast(), RECORDS_AT, libc::MADV_WIPEONFORK) } {
        0 => Ok(page),
        _ => Err(io::Error::last_os_error()),
    }
}

fn map(len: usize, flags: i32, fd: i32) -> io::Result<*mut u8> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let at = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd, 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast()) }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
