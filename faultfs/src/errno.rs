//! Error numbers of the operating system, by name.

use std::fmt;
use std::io;
use std::str::FromStr;

use crate::error::{Error, closest};

/// An error number of the operating system: what an injected error is made of.
///
/// ```
/// use faultfs::errno::{Errno, ENOSPC};
///
/// let full = std::io::Error::from(ENOSPC);
/// assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
/// assert_eq!(ENOSPC.to_string(), "ENOSPC");
/// assert_eq!("ENOSPC".parse::<Errno>(), Ok(ENOSPC));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(i32);

impl Errno {
    /// The error with this number.
    ///
    /// # Panics
    ///
    /// Where `raw` is not in `1..=4095`, the numbers that a Linux call can return.
    #[track_caller]
    pub const fn from_raw(raw: i32) -> Errno {
        assert!(raw >= 1 && raw <= 4095, "an error number is in 1..=4095");
        Errno(raw)
    }

    /// The number, as in [`io::Error::raw_os_error`].
    pub const fn raw(self) -> i32 {
        self.0
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.0)
    }
}

/// The name where there is one, else the number.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, errno)| errno == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Errno {
    type Err = Error;

    fn from_str(text: &str) -> Result<Errno, Error> {
        if let Some((_, errno)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*errno);
        }
        if let Ok(raw @ 1..=4095) = text.parse() {
            return Ok(Errno(raw));
        }
        let mend = match closest(text, NAMES.iter().map(|(name, _)| *name)) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "write a name such as `EIO` or `ENOSPC`, or a number from 1 to 4095".into(),
        };
        Err(Error::new(format!("`{text}` is not an error number; {mend}")))
    }
}

macro_rules! errnos {
    ($($name:ident $what:literal)*) => {
        $(#[doc = $what] pub const $name: Errno = Errno(libc::$name);)*
        const NAMES: &[(&str, Errno)] = &[$((stringify!($name), $name)),*];
    };
}

errnos! {
    EACCES "Permission denied."
    EAGAIN "Resource temporarily unavailable."
    EBADF "The descriptor is not open for this."
    EBADMSG "A checksum is wrong: `EFSBADCRC` of ext4 and XFS."
    EBUSY "Device or resource busy."
    EDQUOT "Disk quota exceeded."
    EEXIST "File exists."
    EFAULT "Bad address."
    EFBIG "File too large."
    EILSEQ "The data does not fit its protection information."
    EINTR "Interrupted system call."
    EINVAL "Invalid argument."
    EIO "Input/output error."
    EISDIR "Is a directory."
    ELOOP "Too many levels of symbolic links."
    EMFILE "Too many open files of this process."
    EMLINK "Too many links."
    ENAMETOOLONG "File name too long."
    ENFILE "Too many open files of this system."
    ENODATA "No data: the medium cannot be read."
    ENODEV "No such device."
    ENOENT "No such file or directory."
    ENOLCK "No locks available."
    ENOLINK "The link to the device is severed."
    ENOMEM "Out of memory."
    ENOSPC "No space left on device."
    ENOSYS "Function not implemented."
    ENOTDIR "Not a directory."
    ENOTEMPTY "Directory not empty."
    ENXIO "No such device or address."
    EOPNOTSUPP "Operation not supported."
    EOVERFLOW "Value too large for its type."
    EPERM "Operation not permitted."
    EPIPE "Broken pipe."
    EREMOTEIO "The target of a device has failed."
    EROFS "Read-only filesystem."
    ESPIPE "Illegal seek."
    ESTALE "Stale file handle."
    ETIMEDOUT "Timed out."
    ETXTBSY "Text file busy."
    EUCLEAN "Structure needs cleaning: `EFSCORRUPTED` of ext4 and XFS."
    EXDEV "A link across devices."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back_and_a_slip_is_mended() {
        for (name, errno) in NAMES {
            assert_eq!(errno.to_string(), *name);
            assert_eq!(name.parse(), Ok(*errno));
        }
        assert_eq!("28".parse(), Ok(ENOSPC));
        assert_eq!("133".parse::<Errno>().unwrap().to_string(), "133");
        let slip = "ENOSPACE".parse::<Errno>().unwrap_err();
        assert_eq!(slip.to_string(), "`ENOSPACE` is not an error number; did you mean `ENOSPC`?");
        for wrong in ["", "0", "-5", "4096", "eio"] {
            assert!(wrong.parse::<Errno>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_sorted_so_that_one_is_found_at_a_glance() {
        assert!(NAMES.is_sorted_by_key(|(name, _)| name));
    }
}
