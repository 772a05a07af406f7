//! The handle to a point that a test has armed: its counts, and waiting for threads there.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::family::{Family, times};
use crate::point::Point;

/// A point that was armed, to ask and to steer. Dropping it disarms nothing.
///
/// ```
/// use faultpoint::{Scenario, fail_point};
///
/// # if !faultpoint::has_failpoints() { return }
/// let faults = Scenario::new();
/// let flush = faults.arm("store_flush", "pause");
/// let flusher = faults.scope().spawn(|| fail_point!("store_flush"));
/// flush.wait_paused(1);
/// // What a reader sees in the middle of a flush is tested here.
/// flush.release();
/// flusher.join().unwrap();
/// assert_eq!(flush.hits(), 1);
/// faults.finish();
/// ```
#[derive(Clone)]
pub struct Armed {
    point: Arc<Point>,
    family: Arc<Family>,
}

impl Armed {
    pub(crate) fn new(point: Arc<Point>, family: Arc<Family>) -> Armed {
        Armed { point, family }
    }

    pub(crate) fn into_point(self) -> Arc<Point> {
        self.point
    }

    /// The point's name.
    pub fn name(&self) -> &str {
        self.point.name()
    }

    /// How many threads and tasks have come by in this scope since the point was first armed.
    pub fn hits(&self) -> u64 {
        self.point.status().hits
    }

    /// At how many of the hits something other than `off` was done.
    pub fn fires(&self) -> u64 {
        self.point.status().fires
    }

    /// How many threads and tasks pause here right now.
    pub fn paused(&self) -> usize {
        self.point.status().paused.len()
    }

    /// The scenario may end without the point having been reached, or having fired.
    pub fn optional(self) -> Armed {
        self.point.set_optional();
        self
    }

    /// Waits until the point has been hit `count` times in all. Not while holding a lock that the
    /// threads under test need.
    ///
    /// # Panics
    ///
    /// After the scenario's [patience](crate::Instance::set_patience), with a report of who waits
    /// at which point.
    #[track_caller]
    pub fn wait_hits(&self, count: u64) {
        self.family.limits.hold_again();
        if !self.point.wait_hits(count, self.family.limits.patience()) {
            panic!("{}", self.overdue(&format!("be hit {}", times(count))));
        }
    }

    /// Waits until `count` threads and tasks pause here.
    ///
    /// # Panics
    ///
    /// As [`wait_hits`](Armed::wait_hits).
    #[track_caller]
    pub fn wait_paused(&self, count: usize) {
        self.family.limits.hold_again();
        if !self.point.wait_paused(count, self.family.limits.patience()) {
            panic!("{}", self.overdue(&format!("have {count} paused")));
        }
    }

    /// Lets all go on that pause here. The point stays armed: the next to come pauses.
    pub fn release(&self) {
        self.point.release(usize::MAX);
    }

    /// Lets the one go on that has paused longest.
    pub fn release_one(&self) {
        self.point.release(1);
    }

    /// What a wait that came to nothing says: the state of every point of the scenario.
    fn overdue(&self, what: &str) -> String {
        let patience = self.family.limits.patience();
        let mut report =
            format!("waited {patience:?} in vain for fail point `{}` to {what}:", self.name());
        for point in self.family.points() {
            let status = point.status();
            let _ = write!(
                report,
                "\n  `{}` [{}]: hit {}, fired {}",
                point.name(),
                status.script,
                times(status.hits),
                times(status.fires)
            );
            for who in &status.paused {
                let _ = write!(report, "\n    pauses: {who}");
            }
            for who in &status.held {
                let _ = write!(report, "\n    waits for an earlier point: {who}");
            }
        }
        report
    }
}

impl fmt::Debug for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.point.status();
        f.debug_struct("Armed")
            .field("name", &self.name())
            .field("script", &status.script)
            .field("hits", &status.hits)
            .field("fires", &status.fires)
            .field("paused", &status.paused)
            .finish_non_exhaustive()
    }
}
