//! From return addresses to call sites: which line of the engine asked, and who had called it.
//!
//! Of the frames of a stack those count that say something of the engine: not the door's, not those of libc
//! and the standard library, and not those of packages that do no more than pass calls on.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use faultfs::trace::{SOURCE, Site};

use crate::lines::{Code, Frame};
use crate::record::{Kind, Record};

/// Callers that are kept of one stack.
const CALLERS_MAX: usize = 16;

/// Packages whose users want to be told of their own line.
const WRAPPERS: [&str; 7] = ["fs-err", "fs4", "libc", "memmap2", "nix", "rustix", "tempfile"];
/// Crates of the standard library, by the first word of what they name.
const STANDARD: [&str; 4] = ["std", "core", "alloc", "test"];
/// Files of code that belong to the C library.
const LIBC: [&str; 5] = ["libc.", "libc-", "ld-linux", "libpthread", "libgcc_s"];

/// Where the sources of the door and of its core are, as the compiler names them.
fn is_ours(file: &str) -> bool {
    let of = |name: &'static str| name.rsplit_once('/').map_or(name, |(folder, _)| folder);
    let below = |folder: &str| file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    below(of(file!())) || below(of(SOURCE))
}

/// Where a call came from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Chain {
    /// The line of the engine that asked.
    pub(crate) site: Option<Site>,
    /// Who had called it, the nearest first, up to the workload.
    pub(crate) callers: Arc<[Site]>,
}

/// The files of code of a process.
#[derive(Default)]
pub(crate) struct Modules(Vec<Loaded>);

struct Loaded {
    bias: u64,
    addresses: Range<u64>,
    /// None: of no interest, or no longer the file that it was.
    path: Option<PathBuf>,
}

impl Modules {
    /// Takes note of one: what was added to the addresses that it states, where it is, and the length and time
    /// by which it is known.
    pub(crate) fn add(&mut self, bias: u64, addresses: Range<u64>, path: &Path, stamp: [u64; 3]) {
        let path = (!is_libc(path) && stamp_of(path) == Some(stamp)).then(|| path.into());
        self.0.push(Loaded { bias, addresses, path });
    }

    /// What the return addresses on a stack, the innermost first, say of the engine.
    pub(crate) fn chain(&self, stack: impl Iterator<Item = u64>) -> Chain {
        let frames: Vec<Arc<[Frame]>> = stack.map(|address| self.frames(address)).collect();
        chain(frames.iter().flat_map(|some| some.iter()))
    }

    /// The functions that were under way where a return address lies behind the call.
    fn frames(&self, address: u64) -> Arc<[Frame]> {
        let address = address.saturating_sub(1);
        let loaded = self.0.iter().find(|module| module.addresses.contains(&address));
        let Some(Loaded { bias, path: Some(path), .. }) = loaded else { return Arc::default() };
        frames(path, address.wrapping_sub(*bias))
    }
}

/// The stacks of one log.
#[derive(Default)]
pub(crate) struct Stacks {
    modules: Modules,
    /// By their positions.
    chains: HashMap<u64, Chain>,
}

impl Stacks {
    /// Takes note of a file of code, or of a stack.
    pub(crate) fn take(&mut self, record: &Record<'_>) {
        if record.kind == Kind::Module {
            let [bias, start, end, stamp @ ..] = record.words;
            self.modules.add(bias, start..end, Path::new(OsStr::from_bytes(record.name)), stamp);
        } else {
            let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
            let chain = self.modules.chain(record.data.chunks_exact(8).map(word));
            self.chains.insert(record.position, chain);
        }
    }

    /// The chain of a record's stack; an empty one where it has none.
    pub(crate) fn chain(&self, position: u64) -> Chain {
        self.chains.get(&position).cloned().unwrap_or_default()
    }
}

/// The files of code that were asked for, for the life of the process.
fn frames(path: &Path, address: u64) -> Arc<[Frame]> {
    static OPEN: Mutex<BTreeMap<PathBuf, Option<Code>>> = Mutex::new(BTreeMap::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !open.contains_key(path) {
        open.insert(path.into(), Code::open(path));
    }
    let code = open.get_mut(path).expect("put there");
    code.as_mut().map(|code| code.frames(address)).unwrap_or_default()
}

fn stamp_of(path: &Path) -> Option<[u64; 3]> {
    let metadata = fs::metadata(path).ok()?;
    Some([metadata.size(), metadata.mtime() as u64, metadata.mtime_nsec() as u64])
}

fn is_libc(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    LIBC.iter().any(|libc| name.starts_with(libc.as_bytes()))
}

/// Whose a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whose {
    Engine,
    /// The door's, or its core's.
    Ours,
    /// Of what passes calls on.
    Below,
}

/// What frames, the innermost first, say of the engine.
fn chain<'a>(frames: impl Iterator<Item = &'a Frame>) -> Chain {
    let mut before = None;
    let seen = frames.map(|frame| {
        let whose = whose(frame, before);
        before = Some(whose);
        (whose, frame)
    });
    let mut seen = seen.skip_while(|(whose, _)| *whose != Whose::Engine);
    let site = seen.next().and_then(|(_, frame)| named(frame));
    let mut callers: Vec<Site> = Vec::new();
    let above = seen.take_while(|(whose, _)| *whose != Whose::Ours);
    for caller in above.filter(|(whose, _)| *whose == Whose::Engine).filter_map(|(_, f)| named(f)) {
        if callers.len() < CALLERS_MAX && callers.last().or(site.as_ref()) != Some(&caller) {
            callers.push(caller);
        }
    }
    Chain { site, callers: callers.into() }
}

fn whose(frame: &Frame, before: Option<Whose>) -> Whose {
    match &frame.place {
        Some((file, given, _)) => of_file(file, given),
        None => of_name(frame.function.as_deref().unwrap_or_default(), before),
    }
}

fn of_file(file: &str, given: &str) -> Whose {
    // The standard library as the compiler remembers it, and as `rust-src` installs it.
    let is_standard = file.starts_with("/rustc/") || file.contains("/rustlib/src/rust/library/");
    if is_ours(file) || is_ours(given) {
        Whose::Ours
    } else if is_standard || is_wrapper(given) {
        Whose::Below
    } else {
        Whose::Engine
    }
}

/// Whether a file is of a package that passes calls on: `rustix-1.1.2/src/fs.rs`.
fn is_wrapper(file: &str) -> bool {
    let package = file.split_once('/').map_or("", |(package, _)| package);
    let is_version = |rest: &str| {
        rest.strip_prefix('-').is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()))
    };
    WRAPPERS.iter().any(|name| package.strip_prefix(name).is_some_and(is_version))
}

/// Without lines the name decides. The function that stands in libc's place has the name of libc's.
fn of_name(name: &str, before: Option<Whose>) -> Whose {
    // What every program of C begins with.
    if name == "_start" {
        return Whose::Below;
    }
    let Ok(demangled) = rustc_demangle::try_demangle(name) else {
        return if before == Some(Whose::Ours) { Whose::Ours } else { Whose::Engine };
    };
    let demangled = format!("{demangled:#}");
    let path = demangled.trim_start_matches(['<', '&', '*', '(', '[', ' ']);
    let krate = path.split("::").next().unwrap_or_default();
    let krate = krate.strip_prefix("mut ").unwrap_or(krate);
    let wraps = |name: &str| name.replace('-', "_") == krate;
    match krate {
        "faultfs" | "faultfs_interpose" => Whose::Ours,
        _ if STANDARD.contains(&krate) || WRAPPERS.iter().any(|name| wraps(name)) => Whose::Below,
        _ => Whose::Engine,
    }
}

fn named(frame: &Frame) -> Option<Site> {
    match (&frame.place, &frame.function) {
        (Some((_, given, line @ 1..)), _) => {
            Some(Site { file: given.as_str().into(), line: *line })
        }
        (_, Some(name)) => {
            Some(Site { file: format!("{:#}", rustc_demangle::demangle(name)).into(), line: 0 })
        }
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_line(file: &str, line: u32) -> Frame {
        Frame { function: Some("f".into()), place: Some((file.into(), file.into(), line)) }
    }

    fn without_line(name: &str) -> Frame {
        Frame { function: Some(name.into()), place: None }
    }

    fn sites(frames: &[Frame]) -> Vec<String> {
        let Chain { site, callers } = chain(frames.iter());
        site.iter().chain(callers.iter()).map(Site::to_string).collect()
    }

    const STD: &str = "/rustc/0123/library/std/src/fs.rs";

    #[test]
    fn the_site_is_the_innermost_line_of_the_engine_and_the_workload_ends_the_chain() {
        let ours = file!();
        let frames = [
            (ours, 1),
            (STD, 2),
            ("rustix-1.1.2/src/fs/at.rs", 3),
            ("src/log.rs", 4),
            ("src/log.rs", 4),
            (STD, 5),
            ("tests/log.rs", 6),
            (STD, 7),
            (ours, 8),
            ("src/main.rs", 9),
        ];
        let frames = frames.map(|(file, line)| with_line(file, line));
        assert_eq!(sites(&frames), ["src/log.rs:4", "tests/log.rs:6"]);
        assert_eq!(sites(&frames[..3]), [""; 0]);
    }

    #[test]
    fn a_package_is_told_by_its_whole_name() {
        for (file, expected) in [
            ("rustix-1.1.2/src/fs.rs", Whose::Below),
            ("rustix-db/src/fs.rs", Whose::Engine),
            ("src/tempfile.rs", Whose::Engine),
            ("tempfile-3.27.0/src/file/mod.rs", Whose::Below),
        ] {
            assert_eq!(of_file(file, file), expected, "{file}");
        }
    }

    #[test]
    fn without_lines_there_are_names_and_nothing_is_called_a_line() {
        let frames = [
            without_line("_ZN17faultfs_interpose4door4Call5judge17h0123456789abcdefE"),
            without_line("pwrite64"),
            without_line("_ZN3std2fs4File8sync_all17h0123456789abcdefE"),
            // With a number of the crate in its name.
            without_line("_RNvNtCs15kBYyAo9fc_4core3fmt5write"),
            // Code that the compiler has made: a file, and no line.
            with_line(STD, 0),
            without_line("_ZN6engine3log6append17h0123456789abcdefE"),
            without_line("wal_append"),
            without_line(
                "_ZN63_$LT$faultfs_interpose..Interposed$u20$as$u20$faultfs..Door$GT$6record17h0123456789abcdefE",
            ),
            without_line("main"),
        ];
        assert_eq!(
            sites(&frames),
            [
                "`engine::log::append` (no line in the debug info)",
                "`wal_append` (no line in the debug info)",
            ]
        );
    }
}
