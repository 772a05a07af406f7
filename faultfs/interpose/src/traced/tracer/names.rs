//! The calls that make names, and take and move them.

use std::ffi::c_int;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::calls::{TMPFILE_BIT, Then, done};
use super::recording::Recording;
use super::tracee::Call;
use crate::record::Kind;

impl Recording {
    pub(super) fn open(
        &mut self,
        call: Call,
        dir: c_int,
        at: u64,
        flags: c_int,
        mode: u64,
    ) -> Then {
        let Some(path) = call.path(dir, at).filter(|_| flags & libc::O_PATH == 0) else {
            return Then::Go;
        };
        let flag_word = flags as u64;
        if flags & TMPFILE_BIT != 0 {
            let Some(folder) = self.below(&path, true) else { return Then::Go };
            let start = self.start(&call, Kind::TempFile, &[folder.ino(), mode], &[], &[]);
            return Then::Hold(Box::new(move |recording, returned| {
                let made = opened_as(&call, returned);
                recording.end(&call, start, returned, made.as_ref());
                made.iter().for_each(|made| recording.lost_name(made));
            }));
        }
        let creates = flags & libc::O_CREAT != 0;
        match fs::metadata(&path) {
            Ok(file) => {
                let empties = flags & libc::O_TRUNC != 0
                    && file.is_file()
                    && !(creates && flags & libc::O_EXCL != 0);
                if !empties || !self.is_below(&file) {
                    return Then::Go;
                }
                let ino = file.ino();
                self.simple(call, Kind::Open, &[0, ino, flag_word, mode], &[], move |recording| {
                    recording.mapped.resized(ino, 0);
                })
            }
            Err(_) if creates => {
                let Some(place) = self.place(&path) else { return Then::Go };
                let dangling = fs::symlink_metadata(&path).is_ok();
                let words = [place.parent, 0, flag_word, mode];
                let start = self.start(&call, Kind::Open, &words, &place.name, &[]);
                Then::Hold(Box::new(move |recording, returned| {
                    let made = opened_as(&call, returned);
                    recording.end(&call, start, returned, made.as_ref());
                    let Some(made) = made else { return };
                    recording.got_name(&made);
                    if dangling {
                        recording.unmodelled("a file was created through a dangling symbolic link");
                    }
                }))
            }
            Err(_) => Then::Go,
        }
    }

    pub(super) fn make_node(&mut self, call: Call, dir: c_int, at: u64, mode: u64) -> Then {
        let path = call.path(dir, at);
        if matches!(mode as u32 & libc::S_IFMT, 0 | libc::S_IFREG) {
            return self.make(call, path, Kind::Open, Some(mode), &[]);
        }
        match path.and_then(|path| self.place(&path)) {
            Some(_) => done(0, "a device, a pipe or a socket was made"),
            None => Then::Go,
        }
    }

    pub(super) fn symlink(&mut self, call: Call, target: u64, dir: c_int, at: u64) -> Then {
        match call.text(target) {
            Some(target) => self.make(call, call.path(dir, at), Kind::Symlink, None, &target),
            None => Then::Go,
        }
    }

    /// A call that makes a new inode at a path.
    pub(super) fn make(
        &mut self,
        call: Call,
        path: Option<PathBuf>,
        kind: Kind,
        mode: Option<u64>,
        data: &[u8],
    ) -> Then {
        let Some(path) = path else { return Then::Go };
        let Some(place) = self.place(&path) else { return Then::Go };
        let flags = (libc::O_CREAT | libc::O_EXCL) as u64;
        let words = match (kind, mode) {
            (Kind::Open, Some(mode)) => vec![place.parent, 0, flags, mode],
            (_, Some(mode)) => vec![place.parent, mode],
            (_, None) => vec![place.parent],
        };
        let start = self.start(&call, kind, &words, &place.name, data);
        Then::Hold(Box::new(move |recording, returned| {
            let made = fs::symlink_metadata(trimmed(&path)).ok().filter(|_| returned == 0);
            recording.end(&call, start, returned, made.as_ref());
            made.iter().for_each(|made| recording.got_name(made));
        }))
    }

    pub(super) fn unlink(&mut self, call: Call, dir: c_int, at: u64, kind: Kind) -> Then {
        let Some(path) = call.path(dir, at) else { return Then::Go };
        let Some(place) = self.place(&path) else { return Then::Go };
        let Ok(gone) = fs::symlink_metadata(trimmed(&path)) else { return Then::Go };
        self.simple(call, kind, &[place.parent, gone.ino()], &place.name, move |recording| {
            recording.lost_name(&gone);
        })
    }

    pub(super) fn link(
        &mut self,
        call: Call,
        from: (c_int, u64),
        to: (c_int, u64),
        flags: c_int,
    ) -> Then {
        let source = match call.path(from.0, from.1) {
            Some(path) if flags & libc::AT_SYMLINK_FOLLOW != 0 => fs::metadata(path).ok(),
            Some(path) => fs::symlink_metadata(path).ok(),
            None if flags & libc::AT_EMPTY_PATH != 0 => call.file(from.0),
            None => None,
        };
        let Some(to) = call.path(to.0, to.1) else { return Then::Go };
        let below = source.filter(|source| self.is_below(source));
        match (below, self.place(&to)) {
            (Some(source), Some(place)) => {
                let words = [source.ino(), place.parent];
                self.simple(call, Kind::Link, &words, &place.name, move |recording| {
                    recording.got_name(&source);
                })
            }
            (None, None) => Then::Go,
            _ => across(),
        }
    }

    pub(super) fn rename(
        &mut self,
        call: Call,
        from: (c_int, u64),
        to: (c_int, u64),
        flags: u32,
    ) -> Then {
        let (Some(from), Some(to)) = (call.path(from.0, from.1), call.path(to.0, to.1)) else {
            return Then::Go;
        };
        let (source, target) = match (self.place(&from), self.place(&to)) {
            (Some(source), Some(target)) => (source, target),
            (None, None) => return Then::Go,
            _ => return across(),
        };
        let Ok(moved) = fs::symlink_metadata(trimmed(&from)) else { return Then::Go };
        let replaced = fs::symlink_metadata(trimmed(&to)).ok();
        let words = [
            source.parent,
            moved.ino(),
            target.parent,
            replaced.as_ref().map_or(0, Metadata::ino),
            u64::from(flags),
        ];
        let start = self.start(&call, Kind::Rename, &words, &source.name, &target.name);
        Then::Hold(Box::new(move |recording, returned| {
            recording.end(&call, start, returned, None);
            if returned != 0 {
                return;
            }
            // Two names of one inode both stay.
            let gone = replaced.filter(|replaced| replaced.ino() != moved.ino());
            gone.iter()
                .filter(|_| flags & libc::RENAME_EXCHANGE == 0)
                .for_each(|gone| recording.lost_name(gone));
            if flags & libc::RENAME_WHITEOUT != 0 {
                recording.unmodelled("a rename left a whiteout");
            }
        }))
    }
}

/// One end below the root and one outside: what comes in has an unknown past, what goes out an unknown future.
fn across() -> Then {
    done(0, "a file was renamed or linked into the root or out of it")
}

/// A path without slashes at its end, behind which a symbolic link would be followed.
fn trimmed(path: &Path) -> &Path {
    path.components().as_path()
}

/// What a descriptor that was just returned stands for.
fn opened_as(call: &Call, returned: i64) -> Option<Metadata> {
    let fd = c_int::try_from(returned).ok().filter(|fd| *fd >= 0)?;
    call.file(fd)
}
