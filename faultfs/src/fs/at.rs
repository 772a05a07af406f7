//! A file at an offset.

use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

/// A file at an offset, as a stream.
pub(super) struct At<'a, F> {
    pub(super) file: &'a F,
    pub(super) offset: u64,
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
