//! How to start the running program again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

/// A program, its arguments and environment: how a worker is started.
///
/// The environment and the current folder are inherited, with what [`Launch::env`] adds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Launch {
    program: PathBuf,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
}

impl Launch {
    /// Starts `program`, without arguments.
    pub fn new(program: impl Into<PathBuf>) -> Launch {
        Launch { program: program.into(), args: Vec::new(), env: BTreeMap::new() }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Launch {
        self.args.push(arg.into());
        self
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Launch {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Starts what is running here again: the test that this thread runs, or else this program.
    ///
    /// A test is known by the name of its thread, which libtest gives it whatever the number of threads;
    /// a program by its main thread.
    ///
    /// # Errors
    ///
    /// On a thread that is neither.
    pub fn here() -> Result<Launch> {
        match std::thread::current().name() {
            Some("main") => Launch::program(),
            Some(name) if is_test_binary(&program()?) => Launch::test(name),
            name => Err(Error::new(format!(
                "thread {name:?} is neither a test's nor the main thread, so a worker would not come \
                 back to this place: call from one of them, or say how to start with a Launch"
            ))),
        }
    }

    /// Starts this test binary again for the test `name`, an ignored one too.
    ///
    /// # Errors
    ///
    /// Where the path of the running program is not known.
    pub fn test(name: &str) -> Result<Launch> {
        let args = [name, "--exact", "--nocapture", "--include-ignored"];
        Ok(args.into_iter().fold(Launch::new(program()?), Launch::arg))
    }

    /// Starts this program again with the same arguments.
    ///
    /// # Errors
    ///
    /// Where the path of the running program is not known.
    pub fn program() -> Result<Launch> {
        Ok(std::env::args_os().skip(1).fold(Launch::new(program()?), Launch::arg))
    }

    /// Counts the calls on this thread, from 0. A worker that is started with this launch counts the
    /// same on its way to the call that it is for: see [`Role::call`](super::Role::call).
    pub fn next_call(&self) -> u32 {
        thread_local! {
            static CALLS: RefCell<BTreeMap<Launch, u32>> = const { RefCell::new(BTreeMap::new()) };
        }
        CALLS.with_borrow_mut(|calls| {
            let next = calls.entry(self.clone()).or_default();
            *next += 1;
            *next - 1
        })
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(&self.env);
        command
    }

    /// The command for messages, as a shell would take it where no word needs quotes.
    pub(super) fn line(&self) -> String {
        let words = std::iter::once(self.program.as_os_str()).chain(self.args.iter().map(|a| &**a));
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }
}

/// This program's file. A binary that was replaced while it runs, as by a build, is still reached by the
/// kernel's own name for it.
fn program() -> Result<PathBuf> {
    let exe = std::env::current_exe();
    let exe =
        exe.map_err(|e| Error::new(format!("the running program's path is not known: {e}")))?;
    Ok(if exe.exists() { exe } else { "/proc/self/exe".into() })
}

/// Cargo puts test binaries into `deps`, with a hash of 16 digits at the end of the name.
fn is_test_binary(exe: &Path) -> bool {
    let in_deps = exe.parent().is_some_and(|dir| dir.ends_with("deps"));
    let stem = exe.file_stem().map(|s| s.to_string_lossy());
    let hash = stem.as_deref().and_then(|s| s.rsplit_once('-')).map(|(_, hash)| hash);
    in_deps && hash.is_some_and(|h| h.len() == 16 && h.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_started_again_by_its_name() {
        let name = "worker::launch::tests::a_test_is_started_again_by_its_name";
        let launch = Launch::here().unwrap();
        assert_eq!(launch, Launch::test(name).unwrap());
        assert!(launch.line().ends_with(&format!("{name} --exact --nocapture --include-ignored")));
    }

    #[test]
    fn calls_are_counted_for_each_test_by_itself() {
        let (one, other) = (Launch::new("x").arg("one"), Launch::new("x").arg("other"));
        assert_eq!([one.next_call(), one.next_call(), other.next_call()], [0, 1, 0]);
    }

    #[test]
    fn a_thread_of_ones_own_is_refused_with_the_way_out() {
        let error = std::thread::spawn(Launch::here).join().unwrap().unwrap_err().to_string();
        assert!(error.contains("call from one of them, or say how to start"), "{error}");
    }
}
