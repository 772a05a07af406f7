//! Saved traces: one file each, versioned and checksummed, named by the hash of what it holds.
//!
//! A token refers to its trace by that hash, so a failure can be replayed wherever the file is, whatever
//! the workload does in another run. The layout: 8 bytes of magic, then, all little-endian, the format's
//! version (4 bytes), the CRC-32 of version, length and body (4), the body's length (8), and the body in
//! postcard's form. That of a trace ends in who has saved it, which is no part of the run.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use crate::error::{Error, Result};
use crate::trace::Trace;

/// A kind of saved file: all have the same layout.
pub(crate) struct Form {
    pub(crate) magic: [u8; 8],
    /// Raised with every change of what the body holds.
    pub(crate) version: u32,
    /// What it is called in errors, and the extension of its name.
    pub(crate) what: &'static str,
}

const TRACE: Form = Form { magic: *b"faultfs\x1a", version: 7, what: EXTENSION };
const HEADER_LEN: usize = 24;
const EXTENSION: &str = "trace";
/// Hex digits of the hash that a file's name carries.
const NAME_DIGITS: usize = 16;

impl Trace {
    /// A 128-bit hash of what happened: the same for equal runs, in every process, on every machine and of
    /// every build. Where in the source it was asked for is left out: lines move, and optimised code keeps
    /// fewer callers. Printed as 32 hex digits (`{:032x}`).
    pub fn hash(&self) -> u128 {
        XxHash3_128::oneshot(&encode(&self.without_sites()))
    }
}

/// A trace as bytes, for example to hand it to another process; [`decode`] turns them back.
pub fn encode(trace: &Trace) -> Vec<u8> {
    postcard::to_stdvec(trace).expect("a trace has no part that cannot be encoded")
}

/// The trace that [`encode`] turned into `bytes`.
///
/// # Errors
///
/// Where `bytes` are not exactly one encoded trace.
pub fn decode(bytes: &[u8]) -> Result<Trace> {
    match postcard::take_from_bytes(bytes) {
        Ok((trace, [])) => Ok(trace),
        Ok((_, rest)) => Err(Error::new(format!("{} bytes follow the trace", rest.len()))),
        Err(error) => Err(Error::new(format!("not an encoded trace: {error}"))),
    }
}

/// Writes the trace into `folder`, which is created where it is missing, as the first 16 digits of its
/// hash and `.trace`; returns the path. The name appears only once the whole file is written, so a
/// reader never sees half of one.
///
/// # Errors
///
/// Where the folder cannot be written; nothing is left in it then.
pub fn save(trace: &Trace, folder: &Path) -> io::Result<PathBuf> {
    let mut body = encode(trace);
    body.extend(postcard::to_stdvec(&Saver::here()).expect("texts serialise"));
    let name = format!("{:032x}", trace.hash());
    let path = folder.join(&name[..NAME_DIGITS]).with_extension(EXTENSION);
    TRACE.save(&path, &body)?;
    Ok(path)
}

/// Reads a saved trace.
///
/// # Errors
///
/// A file that is missing, foreign, damaged, cut short or of another version is refused, each with an
/// error that says which, and what to do.
pub fn load(path: &Path) -> Result<Trace> {
    load_saved(path).map(|(trace, _)| trace)
}

/// A saved trace, and who has saved it.
pub(crate) fn load_saved(path: &Path) -> Result<(Trace, Saver)> {
    let body = TRACE.load(path)?;
    let saved = postcard::take_from_bytes(&body)
        .and_then(|(trace, rest)| Ok((trace, postcard::from_bytes(rest)?)));
    saved.map_err(|error| {
        let error = format!("not an encoded trace: {error}; record the run again");
        Error::new(format!("{}: {error}", path.display()))
    })
}

/// The test, or the program, on whose behalf a trace was saved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Saver {
    /// The name of the program's file, without the hash that Cargo gives it.
    pub(crate) program: String,
    /// The name of the test, which is that of its thread.
    pub(crate) test: Option<String>,
}

impl Saver {
    /// This program, and the test that runs on this thread.
    pub(crate) fn here() -> Saver {
        let exe = std::env::current_exe().unwrap_or_default();
        let stem = exe.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let program = match stem.rsplit_once('-') {
            Some((name, hash))
                if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                name.into()
            }
            _ => stem,
        };
        let thread = std::thread::current();
        let test = thread.name().filter(|name| *name != "main").map(String::from);
        Saver { program, test }
    }
}

impl fmt::Display for Saver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.test {
            Some(test) => write!(f, "the test {test} of {}", self.program),
            None => write!(f, "the program {}", self.program),
        }
    }
}

/// The file in `folder` that holds the trace whose hash, as 32 hex digits, starts with `prefix`.
///
/// # Errors
///
/// Where there is none or more than one, or `prefix` is not made of hex digits.
pub fn find(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let prefix = prefix.to_ascii_lowercase();
    if prefix.is_empty() || prefix.len() > 32 || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Error::new(format!(
            "{prefix:?} is not the start of a trace's hash: give 1 to 32 hex digits"
        )));
    }
    let in_name = &prefix[..prefix.len().min(NAME_DIGITS)];
    let mut found: Vec<PathBuf> = saved_in(folder, EXTENSION)
        .into_iter()
        .filter(|path| {
            path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(in_name.as_bytes()))
        })
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(path), true) => Ok(path),
        (Some(_), false) => Err(Error::new(format!(
            "{} traces in {} start with {prefix}: give more digits",
            found.len() + 1,
            folder.display()
        ))),
        (None, _) => Err(Error::new(format!(
            "no trace {prefix} in {}: copy its file there, or name the folder that holds it",
            folder.display()
        ))),
    }
}

/// Where traces of failed runs are kept: `faultfs` in Cargo's target folder. That is
/// `CARGO_TARGET_DIR` where it is set, otherwise the nearest folder above the running program that
/// Cargo has marked as one, or that is called `target`, otherwise `target` in the current folder.
pub fn default_folder() -> PathBuf {
    let marked = |dir: &&Path| dir.ends_with("target") || dir.join("CACHEDIR.TAG").is_file();
    let above = |exe: PathBuf| exe.ancestors().skip(1).find(marked).map(Path::to_path_buf);
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => std::env::current_exe().ok().and_then(above).unwrap_or_else(|| "target".into()),
    };
    target.join("faultfs")
}

impl Form {
    /// Writes `body` to `path`, whose folder is created where it is missing. The name appears only once the
    /// whole file is written, so a reader never sees half of one.
    pub(crate) fn save(&self, path: &Path, body: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&self.header(self.version, body))?;
        file.write_all(body)?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        Ok(())
    }

    /// The body of the file at `path`, or why it is refused.
    pub(crate) fn load(&self, path: &Path) -> Result<Vec<u8>> {
        let what = self.what;
        let refuse = |why: String| Error::new(format!("{}: {why}", path.display()));
        let bytes = fs::read(path).map_err(|e| refuse(format!("cannot read the {what}: {e}")))?;
        self.body(&bytes).map(<[u8]>::to_vec).map_err(refuse)
    }

    fn header(&self, version: u32, body: &[u8]) -> [u8; HEADER_LEN] {
        let len = (body.len() as u64).to_le_bytes();
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&version.to_le_bytes());
        checksum.update(&len);
        checksum.update(body);
        let mut header = [0; HEADER_LEN];
        header[..8].copy_from_slice(&self.magic);
        header[8..12].copy_from_slice(&version.to_le_bytes());
        header[12..16].copy_from_slice(&checksum.finalize().to_le_bytes());
        header[16..].copy_from_slice(&len);
        header
    }

    /// The body of a file that is whole and of this version, or what is wrong with it.
    fn body<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        let what = self.what;
        if !bytes.starts_with(&self.magic) {
            return Err(format!("not a {what} of faultfs: give a file that ends in .{what}"));
        }
        let Some((head, body)) = bytes.split_at_checked(HEADER_LEN) else {
            return Err(format!("the {what} is cut short in its header: copy or record it again"));
        };
        let number = |range: std::ops::Range<usize>| {
            head[range].iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        };
        let (version, len) = (number(8..12), number(16..24));
        if version != u64::from(self.version) {
            return Err(format!(
                "the {what} is of format {version}, this program reads format {}: use the \
                 program that wrote it, or record the run again",
                self.version
            ));
        }
        if (body.len() as u64) < len {
            let held = body.len();
            return Err(format!("the {what} is cut short, {held} of {len} bytes: copy it again"));
        }
        if head != self.header(self.version, body) {
            return Err(format!("the {what} is damaged (checksum): copy or record it again"));
        }
        Ok(body)
    }
}

/// Saved files of one kind by name; none where the folder cannot be read.
pub(crate) fn saved_in(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let mut files: Vec<_> =
        files.filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::op::{Bytes, Ino, Kind, Name, Op, Slot, SyncKind};
    use crate::recorder::Recorder;
    use crate::trace::{Mark, Outcome, Site};

    fn a_trace() -> Trace {
        let mut recorder = Recorder::new(crate::disk::Disk::new());
        let ino = recorder.fresh_ino();
        let slot = Slot::new(Ino::ROOT, "log");
        recorder.record(0, None, Op::Create { slot, ino, kind: Kind::File, mode: 0o644 });
        let site = Site { file: "log.rs".into(), line: 7 };
        recorder.mark(Mark::Begin(1), Some(site.clone()));
        let data = Bytes::new(b"hello");
        recorder.record(1, None, Op::Write { ino, offset: 4094, data, direct: false, sync: None });
        recorder.passed(1, "log_written", site.clone());
        let points = vec!["log_written".into()];
        recorder.injected("sync log", "sync * -> fail EIO", Some(site.clone()), points);
        let id = recorder.start(0, Some(site.clone()), Op::Sync { ino, kind: SyncKind::All });
        recorder.called_by(id, [site].into());
        recorder.end(id, Outcome::Failed(5));
        recorder.cut();
        recorder.finish("a test")
    }

    fn refusal(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.trace");
        fs::write(&path, bytes).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        error
    }

    #[test]
    fn a_saved_trace_is_found_by_its_hash_and_comes_back_equal() {
        let folder = tempfile::tempdir().unwrap();
        let trace = a_trace();
        let path = save(&trace, folder.path()).unwrap();
        let hash = format!("{:032x}", trace.hash());
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), &hash[..16]);
        assert_eq!(find(folder.path(), &hash[..4]).unwrap(), path);
        assert_eq!(find(folder.path(), &hash.to_uppercase()).unwrap(), path);
        let loaded = load(&path).unwrap();
        assert_eq!(loaded, trace);
        assert_eq!(loaded.hash(), trace.hash());
    }

    /// The value pins the encoding: where it changes, saved traces no longer fit, and
    /// `TRACE.version` has to be raised.
    #[test]
    fn the_hash_of_a_trace_is_the_same_on_every_machine() {
        assert_eq!(format!("{:032x}", a_trace().hash()), PINNED);
    }
    const PINNED: &str = "7c6473497ec42631935f2e0e58292ed9";

    #[test]
    fn lines_that_move_leave_the_hash_alone_and_nothing_else_does() {
        let trace = a_trace();
        let moved = trace.without_sites();
        assert_ne!(moved, trace);
        assert_eq!(moved.hash(), trace.hash());
        let mut other = moved.clone();
        other.ops[0].thread += 1;
        assert_ne!(other.hash(), trace.hash());
    }

    #[test]
    fn saving_twice_leaves_one_file_and_no_temporary_one() {
        let folder = tempfile::tempdir().unwrap();
        save(&a_trace(), folder.path()).unwrap();
        save(&a_trace(), folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn damage_of_any_single_byte_is_refused() {
        let body = encode(&a_trace());
        let whole = [&TRACE.header(TRACE.version, &body)[..], &body].concat();
        assert!(TRACE.body(&whole).is_ok());
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                assert!(TRACE.body(&damaged).is_err(), "byte {at} ^ {flip:#x}");
            }
        }
    }

    #[test]
    fn every_truncation_and_every_extension_is_refused() {
        let body = encode(&a_trace());
        let whole = [&TRACE.header(TRACE.version, &body)[..], &body].concat();
        for len in 0..whole.len() {
            assert!(TRACE.body(&whole[..len]).is_err(), "{len} bytes");
        }
        assert!(TRACE.body(&[&whole[..], b"\0"].concat()).is_err());
    }

    #[test]
    fn refusals_say_what_is_wrong_and_what_to_do() {
        let body = encode(&a_trace());
        let whole = [&TRACE.header(TRACE.version, &body)[..], &body].concat();
        assert!(refusal(b"SQLite format 3\0").contains("not a trace of faultfs"));
        assert!(refusal(&whole[..20]).contains("cut short in its header"));
        assert!(refusal(&whole[..whole.len() - 1]).contains("cut short, "));
        let newer = [&TRACE.header(TRACE.version + 1, &body)[..], &body].concat();
        assert!(refusal(&newer).contains("of format 8, this program reads format 7"));
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(refusal(&damaged).contains("damaged (checksum)"));
        let nonsense = [&TRACE.header(TRACE.version, b"\xff\xff")[..], b"\xff\xff"].concat();
        assert!(refusal(&nonsense).contains("not an encoded trace"));
    }

    #[test]
    fn a_prefix_that_fits_no_trace_or_two_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let message = |prefix| find(folder.path(), prefix).unwrap_err().to_string();
        assert!(message("xyz").contains("1 to 32 hex digits"));
        assert!(message("ab").contains("no trace ab in "));
        fs::write(folder.path().join("abcd000000000000.trace"), "").unwrap();
        fs::write(folder.path().join("abcd000000000001.trace"), "").unwrap();
        assert!(message("abcd").contains("2 traces in "));
    }

    fn an_op() -> impl Strategy<Value = Op> {
        let slot = (0..3u32, "[a-z]{1,3}").prop_map(|(dir, name)| Slot::new(Ino(dir), name));
        let bytes = proptest::collection::vec(any::<u8>(), 0..40).prop_map(|b| Bytes::new(&b));
        let kind = prop_oneof![
            Just(Kind::File),
            Just(Kind::Dir),
            "[a-z/]{1,9}".prop_map(|t| Kind::Symlink(Name::new(t)))
        ];
        let sync = prop_oneof![Just(None), Just(Some(SyncKind::All)), Just(Some(SyncKind::Data))];
        let ino = any::<u32>().prop_map(Ino);
        prop_oneof![
            (slot.clone(), ino.clone(), kind, any::<u32>())
                .prop_map(|(slot, ino, kind, mode)| Op::Create { slot, ino, kind, mode }),
            (slot.clone(), slot, any::<bool>()).prop_map(|(from, to, exchange)| Op::Rename {
                from,
                to,
                exchange
            }),
            (ino.clone(), any::<u64>(), bytes, any::<bool>(), sync).prop_map(
                |(ino, offset, data, direct, sync)| Op::Write { ino, offset, data, direct, sync }
            ),
            (ino, any::<u64>()).prop_map(|(ino, len)| Op::SetLen { ino, len }),
            Just(Op::SyncAll),
        ]
    }

    proptest! {
        #[test]
        fn any_trace_survives_encoding(
            subject in ".{0,20}",
            ops in proptest::collection::vec((an_op(), any::<Option<i32>>()), 0..12),
            marks in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..4),
        ) {
            let mut trace = a_trace();
            trace.subject = subject;
            let record = |(op, errno): (Op, Option<i32>)| crate::trace::Record {
                op, start: 1, end: errno.map(|_| 2), errno, thread: 0, site: None,
            };
            trace.ops.extend(ops.into_iter().map(record));
            trace.marks.extend(marks.into_iter().map(|(at, id)| (at, Mark::Ack(id))));
            let back = decode(&encode(&trace)).unwrap();
            prop_assert_eq!(back.hash(), trace.hash());
            prop_assert_eq!(back, trace);
        }
    }
}
