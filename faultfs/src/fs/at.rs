//! A file at an offset, and what a door can do with it.

use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use super::shared::Caller;
use crate::errno::EINVAL;
use crate::fault::{Place, Since};
use crate::injector::Reach;

/// Where else than at the place of a call data can be read and written.
pub(super) trait Anywhere {
    /// Which of the following it can do: what it cannot it is never asked for.
    fn reach(&self) -> Reach;

    /// Reads what is at a place; how much there was.
    fn peek(&self, place: &Place, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes at a place; of no data it only says whether the handle may write.
    fn poke(&self, place: &Place, data: &[u8], caller: Caller) -> io::Result<()>;

    /// Reads what the file held earlier; how much there was.
    fn stale(&self, since: Since, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}

/// A stream: nowhere else.
pub(super) struct Stream;

impl Anywhere for Stream {
    fn reach(&self) -> Reach {
        Reach::Call
    }

    fn peek(&self, _: &Place, _: &mut [u8]) -> io::Result<usize> {
        Err(EINVAL.into())
    }

    fn poke(&self, _: &Place, _: &[u8], _: Caller) -> io::Result<()> {
        Err(EINVAL.into())
    }

    fn stale(&self, _: Since, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Err(EINVAL.into())
    }
}

/// A file at an offset, as a stream.
pub(super) struct At<'a, F> {
    pub(super) file: &'a F,
    pub(super) offset: u64,
}

impl<F: FileExt> Anywhere for At<'_, F> {
    fn reach(&self) -> Reach {
        Reach::File
    }

    fn peek(&self, place: &Place, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], place.offset + done as u64)? {
                0 => break,
                count => done += count,
            }
        }
        Ok(done)
    }

    fn poke(&self, place: &Place, data: &[u8], _: Caller) -> io::Result<()> {
        self.file.write_all_at(data, place.offset)
    }

    fn stale(&self, _: Since, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Err(EINVAL.into())
    }
}

impl<F: FileExt> Read for At<'_, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buf, self.offset)
    }
}

impl<F: FileExt> Write for At<'_, F> {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write_at(buf, self.offset)
    }

    #[track_caller]
    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        self.file.write_all_at(buf, self.offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
