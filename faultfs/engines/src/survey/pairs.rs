//! Transactions of two keys each, and what of them may be found.

use std::collections::BTreeMap;
use std::fmt::Display;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;

/// What an engine holds.
pub(super) type Found = BTreeMap<String, Vec<u8>>;

/// The transactions before the database is closed once, and those after.
pub(super) const ROUNDS: [std::ops::RangeInclusive<u64>; 2] = [1..=3, 4..=6];

/// The two keys of a transaction, and their values.
pub(super) fn pair(id: u64) -> [(String, Vec<u8>); 2] {
    [b'a', b'b'].map(|half| {
        let mut value = vec![half; 6000];
        value[..8].copy_from_slice(&id.to_le_bytes());
        (format!("{}{id}", char::from(half)), value)
    })
}

/// Each pair is there whole or not at all, what was acknowledged is there, and nothing else is.
pub(super) fn compare(mut found: Found, marks: &Marks) -> Result<(), Broken> {
    for id in &marks.issued {
        let [a, b] = pair(*id).map(|(key, value)| found.remove(&key).map(|there| there == value));
        match (a, b) {
            (Some(true), Some(true)) => {}
            (None, None) if !marks.acked.contains(id) => {}
            (None, None) => return Err(Broken::lost(format!("pair {id}"))),
            (Some(false), _) | (_, Some(false)) => {
                return Err(Broken::corrupt(format!("pair {id} has other values")));
            }
            _ => return Err(Broken::corrupt(format!("half of pair {id}"))),
        }
    }
    match found.keys().next() {
        Some(key) => Err(Broken::corrupt(format!("nobody put {key}"))),
        None => Ok(()),
    }
}

/// Of engines whose errors are no `std::error::Error` that can be sent.
pub(super) fn unopenable(error: impl Display) -> Broken {
    Broken::unopenable(error.to_string())
}
