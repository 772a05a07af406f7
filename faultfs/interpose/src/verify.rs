//! Whether a trace tells the truth: what it leads to must be what is there.

use std::io;
use std::path::Path;

use faultfs::folder::{difference, snapshot};
use faultfs::trace::Trace;

/// Compares the end of a trace, with nothing lost, with the folder that it was recorded on, byte
/// for byte. None when they agree; else the first difference in words, which belongs into
/// [`Trace::unmodelled`]: something happened that the door did not see.
///
/// Where the recorded process died, what was in flight may have happened or not.
///
/// # Errors
/// As [`snapshot`].
pub fn verify(trace: &Trace, root: &Path) -> io::Result<Option<String>> {
    let found = snapshot(root)?;
    let mut expected = trace.replay();
    let Some(words) = difference(&expected, &found) else { return Ok(None) };
    for record in trace.ops.iter().filter(|record| record.end.is_none()) {
        expected.apply(&record.op);
        if difference(&expected, &found).is_none() {
            return Ok(None);
        }
    }
    Ok(Some(words))
}
