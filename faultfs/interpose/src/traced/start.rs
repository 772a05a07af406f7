//! What is started to be traced.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A shell with a command, where it runs, and what its standard files are.
#[derive(Debug)]
pub(super) struct Start {
    words: Vec<CString>,
    variables: BTreeMap<OsString, OsString>,
    folder: CString,
    files: [File; 3],
}

impl Start {
    /// With the variables of this process.
    pub(super) fn shell(command: &OsStr, folder: &Path, files: [File; 3]) -> io::Result<Start> {
        let words = [OsStr::new("/bin/sh"), OsStr::new("-c"), command].map(text);
        let words = words.into_iter().collect::<io::Result<_>>()?;
        let (variables, folder) = (std::env::vars_os().collect(), text(folder.as_os_str())?);
        Ok(Start { words, variables, folder, files })
    }

    /// Sets a variable.
    pub(super) fn env(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Start {
        self.variables.insert(name.into(), value.as_ref().into());
        self
    }

    /// The program by its whole path, and all its words.
    pub(super) fn words(&self) -> &[CString] {
        &self.words
    }

    /// As `environ(7)` has them.
    pub(super) fn variables(&self) -> io::Result<Vec<CString>> {
        let pair = |(name, value): (&OsString, &OsString)| {
            text(OsStr::from_bytes(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        };
        self.variables.iter().map(pair).collect()
    }

    pub(super) fn folder(&self) -> &CString {
        &self.folder
    }

    /// Standard input, output and error.
    pub(super) fn files(&self) -> &[File; 3] {
        &self.files
    }
}

fn text(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
