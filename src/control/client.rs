//! The side that controls.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::LINE_MAX;
use super::failure::Failure;
use super::request::Request;
use crate::error::Error;

/// How much longer than its own limit a request may take.
const GRACE: Duration = Duration::from_secs(10);

/// A connection to a process that is controlled.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the process that listens at `socket`, or to the only one whose socket is in that
    /// folder.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or it is another user's; of a folder, when several do.
    pub fn connect(socket: impl AsRef<Path>) -> Result<Client, Error> {
        let socket = socket_at(socket.as_ref())?;
        let stream = UnixStream::connect(&socket).map_err(|error| {
            Error::new(format!(
                "no process answers at `{}`: {error}; is it running, with the feature `control`?",
                socket.display()
            ))
        })?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Asks, and gives the lines of the answer.
    ///
    /// # Errors
    ///
    /// What the process found wrong with the request; that what was waited for did not come; that it
    /// does not answer.
    pub fn request(&mut self, request: &Request) -> Result<Vec<String>, Failure> {
        let line = line_of(request)?;
        let limit = match request {
            Request::Wait { limit, .. } => *limit,
            _ => Duration::ZERO,
        };
        let sent = self
            .stream
            .get_ref()
            .set_read_timeout(Some(limit + GRACE))
            .and_then(|()| self.stream.get_ref().write_all(line.as_bytes()));
        // A process that hangs up says why first.
        let head = self.line()?;
        if let Some(error) = head.strip_prefix("error ") {
            return Err(Failure::Refused(Error::new(error)));
        }
        if let Some(error) = head.strip_prefix("late ") {
            return Err(Failure::Late(Error::new(error)));
        }
        sent.map_err(|error| no_answer(format!("the request was not taken: {error}")))?;
        let count = head.strip_prefix("ok ").and_then(|count| count.parse().ok());
        let count: usize = count.ok_or_else(|| {
            no_answer(format!("`{head}` is no answer; is it a `faultpoint` socket?"))
        })?;
        (0..count).map(|_| self.line()).collect()
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        let read = self.stream.by_ref().take(LINE_MAX).read_line(&mut line);
        match read {
            Ok(_) if line.ends_with('\n') => {
                line.pop();
                Ok(line)
            }
            Ok(_) => Err(no_answer("the process hung up; is it still running?".to_owned())),
            Err(error) => Err(no_answer(format!("the process does not answer: {error}"))),
        }
    }
}

fn no_answer(message: String) -> Failure {
    Failure::NoAnswer(Error::new(message))
}

/// The line that is sent. Names and arguments may be any text; a line may not.
fn line_of(request: &Request) -> Result<String, Error> {
    let line = request.to_string();
    let is_same = line.parse::<Request>().is_ok_and(|parsed| parsed == *request);
    if !is_same || line.contains('\n') {
        return Err(Error::new(format!(
            "`{line}` cannot be asked for: a name or an argument has a tab or the end of a line in it"
        )));
    }
    if line.len() as u64 >= LINE_MAX {
        return Err(Error::new(format!(
            "a request has at most {LINE_MAX} bytes; this one has more"
        )));
    }
    Ok(line + "\n")
}

/// The socket at `path`, or the only one in the folder that it is.
fn socket_at(path: &Path) -> Result<PathBuf, Error> {
    let Ok(entries) = path.read_dir() else { return Ok(path.to_owned()) };
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let is_socket = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "sock");
    // Processes that were killed have left theirs.
    let is_alive = |path: &PathBuf| UnixStream::connect(path).is_ok();
    let mut sockets: Vec<PathBuf> = paths.filter(is_socket).filter(is_alive).collect();
    sockets.sort();
    match &sockets[..] {
        [socket] => Ok(socket.clone()),
        [] => Err(Error::new(format!(
            "no process is controlled over `{}`; is it running, with the feature `control`?",
            path.display()
        ))),
        several => {
            let several: Vec<_> = several.iter().map(|path| path.display().to_string()).collect();
            Err(Error::new(format!("name one of several processes: {}", several.join(", "))))
        }
    }
}
