//! Messages between a pool and its workers: a length in four little-endian bytes, then the message.
//!
//! Jobs go through a socket. Answers go to a file in memory, the outbox, of which the pool takes what is
//! there when it comes by: nobody is woken for a single answer, and what a worker said before it died
//! stays said. The worker calls the pool, by a byte through the socket, only after the jobs for which the
//! pool has asked for that.

use std::io;

use serde::{Deserialize, Serialize};

use super::{Reply, Role};
use crate::verdict::Broken;

/// Names the worker's parent by its process number, so that a program which the worker starts, and which
/// inherits the variable, does not take itself for a worker.
pub(super) const VARIABLE: &str = "FAULTFS_WORKER";

/// A longer message is a bug, or not from a pool.
const LEN_MAX: usize = 1 << 30;

/// The first message, to the worker.
#[derive(Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) role: Role,
    /// Bytes of private memory that the worker may use on top of what it has when it begins to serve.
    pub(super) memory_limit: Option<u64>,
}

/// The byte before a job: whether the worker calls the pool when it has answered it.
const QUIETLY: u8 = 0;
const CALL: u8 = 1;

/// Appends a job to `out`; the place of the byte before it, for [`call_after`].
pub(super) fn frame_job(out: &mut Vec<u8>, job: &[u8]) -> usize {
    frame(out, &[&[QUIETLY], job]);
    out.len() - job.len() - 1
}

/// Has the worker call after the job at `place`.
pub(super) fn call_after(framed: &mut [u8], place: usize) {
    framed[place] = CALL;
}

/// A job, and whether to call after it.
pub(super) fn parse_job(message: &[u8]) -> io::Result<(&[u8], bool)> {
    match message {
        [before @ (QUIETLY | CALL), job @ ..] => Ok((job, *before == CALL)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Appends a message to `out`.
pub(super) fn frame(out: &mut Vec<u8>, message: &[&[u8]]) {
    let len: usize = message.iter().map(|part| part.len()).sum();
    assert!(len <= LEN_MAX, "a message has at most 1 GiB, this one {len} bytes");
    out.extend_from_slice(&(len as u32).to_le_bytes());
    message.iter().for_each(|part| out.extend_from_slice(part));
}

/// Takes the first whole message from the front of `bytes`, and says how long it was with its length.
pub(super) fn split(bytes: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let Some((len, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let len = u32::from_le_bytes(*len) as usize;
    if len > LEN_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(rest.get(..len).map(|message| (message, len + 4)))
}

const READY: u8 = 0;
const OK: u8 = 1;
const BROKEN: u8 = 2;

/// What a worker says.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// It will take jobs from now on.
    Ready,
    /// The next job in order is done.
    Done(Reply),
}

impl Said {
    pub(super) fn frame(&self, out: &mut Vec<u8>) {
        match self {
            Said::Ready => frame(out, &[&[READY]]),
            Said::Done(Ok(bytes)) => frame(out, &[&[OK], bytes]),
            Said::Done(Err(broken)) => frame(out, &[&[BROKEN], &encode(broken)]),
        }
    }

    /// The reply, where it is one.
    pub(super) fn reply(self) -> Option<Reply> {
        match self {
            Said::Ready => None,
            Said::Done(reply) => Some(reply),
        }
    }

    pub(super) fn parse(message: &[u8]) -> io::Result<Said> {
        match message {
            [READY] => Ok(Said::Ready),
            [OK, bytes @ ..] => Ok(Said::Done(Ok(bytes.to_vec()))),
            [BROKEN, bytes @ ..] => Ok(Said::Done(Err(decode::<Broken>(bytes)?))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("messages have no part that cannot be encoded")
}

pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_from_a_stream_one_by_one() {
        let said = [
            Said::Ready,
            Said::Done(Ok(vec![7; 300])),
            Said::Done(Err(Broken::lost("one is gone"))),
        ];
        let mut stream = Vec::new();
        said.iter().for_each(|s| s.frame(&mut stream));
        let mut rest = &stream[..];
        for expected in &said {
            let (message, len) = split(rest).unwrap().unwrap();
            assert_eq!(Said::parse(message).unwrap(), *expected);
            rest = &rest[len..];
        }
        assert_eq!(rest, b"");
        assert!((0..5).all(|len| split(&stream[..len.min(4)]).unwrap().is_none()));
    }

    #[test]
    fn a_job_says_whether_to_call_after_it() {
        let mut framed = Vec::new();
        let places = ["one", "", "three"].map(|job| frame_job(&mut framed, job.as_bytes()));
        call_after(&mut framed, places[1]);
        let mut rest = &framed[..];
        for expected in [(&b"one"[..], false), (b"", true), (b"three", false)] {
            let (message, len) = split(rest).unwrap().unwrap();
            assert_eq!(parse_job(message).unwrap(), expected);
            rest = &rest[len..];
        }
        assert!(parse_job(b"").is_err() && parse_job(b"\x07").is_err());
    }

    #[test]
    fn nonsense_on_the_stream_is_an_error_and_not_an_allocation() {
        assert!(split(b"\xff\xff\xff\xff").is_err());
        assert!(Said::parse(b"").is_err());
        assert!(Said::parse(b"\x07").is_err());
        assert!(Said::parse(&[BROKEN, 0xff]).is_err());
    }
}
