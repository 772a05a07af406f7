//! A log of what is overwritten, cut at each commit, of which nothing is ever synced: all of the run is unsynced
//! at its end, and it promises nothing.

use std::os::unix::fs::FileExt;

use faultfs::FaultFs;
use faultfs::verdict::Broken;

/// Writes of a commit: position, length and old bytes to the log, the new ones to their place.
pub(crate) const WRITES: u64 = 4;
/// Places that are written in turn, of eight bytes each.
const PLACES: u64 = 64;

/// Makes `writes` tiny writes; returns how many bytes they were.
pub(crate) fn run(fs: &FaultFs, writes: u64) -> Result<u64, Broken> {
    let (db, log) = (fs.create("db")?, fs.create("log")?);
    for commit in 0..writes / WRITES {
        let place = commit % PLACES * 8;
        let old = commit.checked_sub(PLACES).map_or(0, |before| before + 1);
        let record = [place, 8, old].map(u64::to_le_bytes);
        for (at, word) in (0..).step_by(8).zip(record) {
            log.write_all_at(&word, at)?;
        }
        db.write_all_at(&(commit + 1).to_le_bytes(), place)?;
        log.set_len(0)?;
    }
    Ok(writes * 8)
}

/// Both files can be read.
pub(crate) fn check(fs: &FaultFs) -> Result<(), Broken> {
    for name in ["db", "log"] {
        if fs.exists(name)? {
            fs.read(name)?;
        }
    }
    Ok(())
}
