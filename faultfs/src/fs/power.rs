//! The power of a `FaultFs`, and its freezer: which calls come through at all.

use std::io;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::faultfs::FaultFs;
use super::shared::{Shared, State};
use crate::errno::EIO;
use crate::injector::PATIENCE;

/// What a call wants of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wants {
    /// To look at what is there.
    Look,
    /// To change it, or to make a change durable.
    Change,
}

/// Which calls come through.
#[derive(Debug, Default)]
pub(super) struct Freezer {
    is_frozen: bool,
    /// Calls that wait for the thaw.
    waiting: usize,
}

impl FaultFs {
    /// The power goes, now. For a crash the run ends here: ops that are under way stay half done, and
    /// nothing that comes later is recorded, marks neither. Every later call on the filesystem fails with
    /// `EIO`, as after the ioctl `FS_IOC_SHUTDOWN` (`XFS_IOC_GOINGDOWN`, `NOLOGFLUSH`), so that the engine
    /// comes to its end.
    ///
    /// [`explore`](crate::explore()) then looks at the disks of exactly this moment and of no other.
    /// Cutting it again changes nothing.
    ///
    /// ```
    /// use faultfs::crash::Loss;
    /// use faultfs::{FaultFs, Profile};
    ///
    /// let fs = FaultFs::mem();
    /// fs.write("log", "synced")?;
    /// fs.sync()?;
    /// fs.cut_power();
    /// assert_eq!(fs.write("log", "later").unwrap_err().raw_os_error(), Some(5));
    /// let found = fs.crash_clone(Profile::POSIX, Loss::Everything).fs().read_to_string("log")?;
    /// assert_eq!(found, "synced");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cut_power(&self) {
        self.shared.lock().recorder.cut();
        self.shared.thawed.notify_all();
    }

    /// Whether the power was cut.
    pub fn is_cut(&self) -> bool {
        self.shared.lock().recorder.is_cut()
    }

    /// The filesystem freezes, as by `fsfreeze(8)` (ioctl `FIFREEZE`): from now on every call that would
    /// change it, or make a change durable, waits until [`FaultFs::thaw`]. Calls that only look go on, and
    /// so do syncs that are under way. Unlike `FIFREEZE` nothing is synced first: it is a disk that stops
    /// answering, not a snapshot that is prepared.
    ///
    /// A call that waits is not in the trace until it goes on. One that has waited for 30 seconds fails
    /// with `EIO`, as Linux fails one on a SCSI device that does not answer, and the run is not measured.
    /// When the power is cut, all that wait fail with `EIO`.
    pub fn freeze(&self) {
        self.shared.lock().freezer.is_frozen = true;
    }

    /// Ends [`FaultFs::freeze`]: whoever waits goes on.
    pub fn thaw(&self) {
        self.shared.lock().freezer.is_frozen = false;
        self.shared.thawed.notify_all();
    }

    /// How many calls wait for the thaw right now.
    pub fn waiting(&self) -> usize {
        self.shared.lock().freezer.waiting
    }
}

impl Shared {
    /// The way in of every call of an engine: held up while the filesystem is frozen, refused when the
    /// power is cut.
    pub(super) fn enter(&self, wants: Wants) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if wants == Wants::Change && state.freezer.is_frozen {
            state = self.wait_for_thaw(state, PATIENCE)?;
        }
        if state.recorder.is_cut() { Err(EIO.into()) } else { Ok(state) }
    }

    fn wait_for_thaw<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        patience: Duration,
    ) -> io::Result<MutexGuard<'a, State>> {
        let deadline = Instant::now() + patience;
        state.freezer.waiting += 1;
        while state.freezer.is_frozen && !state.recorder.is_cut() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.freezer.waiting -= 1;
                state.recorder.unmodelled(format!(
                    "a call waited {patience:?} on a frozen filesystem and then failed; thaw it earlier"
                ));
                return Err(EIO.into());
            }
            let woken = self.thawed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.freezer.waiting -= 1;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_too_long_for_a_thaw_fails_and_the_run_is_not_measured() {
        let fs = FaultFs::mem();
        fs.freeze();
        let waited = fs.shared.wait_for_thaw(fs.shared.lock(), Duration::from_millis(1));
        assert_eq!(waited.err().and_then(|error| error.raw_os_error()), Some(EIO.raw()));
        assert_eq!(fs.waiting(), 0);
        let why = fs.trace().unmodelled;
        assert_eq!(
            why,
            ["a call waited 1ms on a frozen filesystem and then failed; thaw it earlier"]
        );
    }
}
