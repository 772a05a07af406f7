//! The side that controls.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::LINE_MAX;
use super::request::Request;
use crate::error::Error;

/// How much longer than its own limit a request may take.
const GRACE: Duration = Duration::from_secs(10);

/// A connection to a process that [serves](super::serve).
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the process that listens at `socket`.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or it is another user's.
    pub fn connect(socket: impl AsRef<Path>) -> Result<Client, Error> {
        let socket = socket.as_ref();
        let stream = UnixStream::connect(socket).map_err(|error| {
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
    /// What the process found wrong with the request; that it does not answer.
    pub fn request(&mut self, request: &Request) -> Result<Vec<String>, Error> {
        let limit = match request {
            Request::Wait { limit, .. } => *limit,
            _ => Duration::ZERO,
        };
        let sent = self
            .stream
            .get_ref()
            .set_read_timeout(Some(limit + GRACE))
            .and_then(|()| self.stream.get_ref().write_all(format!("{request}\n").as_bytes()));
        // A process that hangs up says why first.
        let head = self.line()?;
        if let Some(error) = head.strip_prefix("error ") {
            return Err(Error::new(error));
        }
        sent.map_err(|error| Error::new(format!("the request was not taken: {error}")))?;
        let count = head.strip_prefix("ok ").and_then(|count| count.parse().ok());
        let count: usize = count.ok_or_else(|| {
            Error::new(format!("`{head}` is no answer; is it a `faultpoint` socket?"))
        })?;
        (0..count).map(|_| self.line()).collect()
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        let read = self.stream.by_ref().take(LINE_MAX).read_line(&mut line);
        match read {
            Ok(_) if line.ends_with('\n') => {
                line.pop();
                Ok(line)
            }
            Ok(_) => Err(Error::new("the process hung up; is it still running?")),
            Err(error) => Err(Error::new(format!("the process does not answer: {error}"))),
        }
    }
}
