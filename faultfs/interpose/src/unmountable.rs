//! Where the door does not exist, nothing can be mounted.

use std::io;
use std::path::Path;

use faultfs::disk::Disk;

/// A disk in the place of a folder, for the calls of this process: Linux on x86-64 with glibc only.
#[derive(Debug)]
#[must_use = "dropping it ends the mount"]
pub struct Mounted(());

impl Mounted {
    /// Refused.
    ///
    /// # Errors
    ///
    /// `Unsupported`.
    pub fn new(_: &Path, _: &Disk) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn unfollowed(root: &Path, disk: &Disk) -> io::Result<Self> {
        Self::new(root, disk)
    }

    /// Refused.
    ///
    /// # Errors
    ///
    /// `Unsupported`.
    pub fn trap() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Nothing.
    pub fn unserved(&self) -> Option<&'static str> {
        None
    }
}
