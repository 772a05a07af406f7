//! Error numbers of the operating system, by name.

use std::io;

use crate::suggest::closest;

/// The error number that `text` names (`ENOSPC`) or is (`28`).
pub(crate) fn parse(text: &str) -> Result<i32, String> {
    let text = text.trim();
    if let Ok(number) = text.parse::<u16>()
        && number > 0
    {
        return Ok(i32::from(number));
    }
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == text) {
        return Ok(*number);
    }
    let mend = match closest(text, NAMES.iter().map(|(name, _)| *name)) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "write a name such as `EIO` or `ENOSPC`, or the number".to_owned(),
    };
    Err(format!("`{text}` is not an error number of this system; {mend}"))
}

/// The error of a device that failed, for a `return` that names none.
pub(crate) fn default_error() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

/// The same number on every Unix.
const EIO: i32 = 5;

/// What a file or a socket may answer; others by number.
#[cfg(all(feature = "failpoints", unix))]
const NAMES: &[(&str, i32)] = &[
    ("EACCES", libc::EACCES),
    ("EAGAIN", libc::EAGAIN),
    ("EBADF", libc::EBADF),
    ("EBUSY", libc::EBUSY),
    ("ECONNABORTED", libc::ECONNABORTED),
    ("ECONNREFUSED", libc::ECONNREFUSED),
    ("ECONNRESET", libc::ECONNRESET),
    ("EDQUOT", libc::EDQUOT),
    ("EEXIST", libc::EEXIST),
    ("EFAULT", libc::EFAULT),
    ("EFBIG", libc::EFBIG),
    ("EHOSTUNREACH", libc::EHOSTUNREACH),
    ("EINTR", libc::EINTR),
    ("EINVAL", libc::EINVAL),
    ("EIO", libc::EIO),
    ("EISDIR", libc::EISDIR),
    ("ELOOP", libc::ELOOP),
    ("EMFILE", libc::EMFILE),
    ("EMLINK", libc::EMLINK),
    ("ENAMETOOLONG", libc::ENAMETOOLONG),
    ("ENETUNREACH", libc::ENETUNREACH),
    ("ENFILE", libc::ENFILE),
    ("ENODEV", libc::ENODEV),
    ("ENOENT", libc::ENOENT),
    ("ENOLCK", libc::ENOLCK),
    ("ENOMEM", libc::ENOMEM),
    ("ENOSPC", libc::ENOSPC),
    ("ENOSYS", libc::ENOSYS),
    ("ENOTCONN", libc::ENOTCONN),
    ("ENOTDIR", libc::ENOTDIR),
    ("ENOTEMPTY", libc::ENOTEMPTY),
    ("ENXIO", libc::ENXIO),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("EOVERFLOW", libc::EOVERFLOW),
    ("EPERM", libc::EPERM),
    ("EPIPE", libc::EPIPE),
    ("EROFS", libc::EROFS),
    ("ESPIPE", libc::ESPIPE),
    ("ESTALE", libc::ESTALE),
    ("ETIMEDOUT", libc::ETIMEDOUT),
    ("ETXTBSY", libc::ETXTBSY),
    ("EXDEV", libc::EXDEV),
];

#[cfg(not(all(feature = "failpoints", unix)))]
const NAMES: &[(&str, i32)] = &[("EIO", EIO)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(feature = "failpoints", unix))]
    fn names_and_numbers_are_known_and_slips_are_mended() {
        assert_eq!(parse("ENOSPC"), Ok(libc::ENOSPC));
        assert_eq!(parse(" 28 "), Ok(28));
        assert!(parse("ENOSPACE").unwrap_err().contains("did you mean `ENOSPC`?"));
        assert!(parse("disk full").unwrap_err().contains("write a name such as `EIO`"));
        for wrong in ["", "0", "-5", "70000"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(default_error().raw_os_error(), Some(libc::EIO));
    }

    #[test]
    fn names_are_sorted_so_that_one_is_found_at_a_glance() {
        assert!(NAMES.is_sorted());
    }
}
