//! The seed of chances: fixed unless asked for, so that a test decides the same every time.

use std::env;

use crate::error::Error;

/// The variable that sets the seed of every scenario that does not set its own.
pub(crate) const VARIABLE: &str = "FAULTPOINT_SEED";

/// The value of `FAULTPOINT_SEED`, or 0.
pub(crate) fn from_env() -> Result<u64, Error> {
    env::var_os(VARIABLE).map_or(Ok(0), |text| parse(&text.to_string_lossy()))
}

/// A decimal or `0x` number, or a commit hash of 40 hexadecimal digits, so that a test farm can
/// vary the seed with each commit.
fn parse(text: &str) -> Result<u64, Error> {
    let trimmed = text.trim();
    let is_hash = trimmed.len() == 40 && trimmed.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parsed = match trimmed.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None if is_hash => u64::from_str_radix(&trimmed[..16], 16),
        None => trimmed.parse(),
    };
    parsed.map_err(|_| {
        Error::new(format!(
            "{VARIABLE} `{text}` is not a seed; write a number, as in `{VARIABLE}=7` or \
             `{VARIABLE}=0x1f`, or a commit hash of 40 digits"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_numbers_or_commit_hashes() {
        assert_eq!(parse("7"), Ok(7));
        assert_eq!(parse(" 0x1f "), Ok(31));
        let hash = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(parse(hash), Ok(0x0123_4567_89ab_cdef));
        for wrong in ["", "seven", "-1", "0x", "1.5", "0123456789abcdef"] {
            let message = parse(wrong).unwrap_err().to_string();
            assert!(message.contains("write a number"), "{message}");
        }
    }
}
