//! In the place of the door where there is none.

use std::io;
use std::panic::Location;
use std::path::Path;

use faultfs::fs::{Capacity, Rot};

use crate::Options;

pub(crate) fn start(_: &Options<'_>) -> io::Result<()> {
    let message = "the interposed door needs Linux on x86-64 with glibc: use `faultfs::fs` here";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

pub(crate) fn finish() {}

pub(crate) fn mark(_: u64, _: u64, _: Option<&Location<'_>>) {}

pub(crate) fn passed(_: &str, _: &str, _: u32) {}

pub(crate) fn cut() {}

pub(crate) fn evict(_: &Path) -> io::Result<()> {
    Err(io::ErrorKind::NotFound.into())
}

pub(crate) fn rot(_: &Path, _: Rot) -> io::Result<()> {
    Err(io::ErrorKind::NotFound.into())
}

pub(crate) fn set_capacity(_: Capacity) -> io::Result<()> {
    Err(io::ErrorKind::NotFound.into())
}

pub(crate) fn is_linked() -> bool {
    false
}
