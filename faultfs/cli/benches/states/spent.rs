//! Processor time, as the kernel counts it.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// Processor time of this thread, and of the children that were waited for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) total: Duration,
    /// Its parts outside and inside of the kernel, in hundredths of a second: for a sum of many
    /// differences, as each of them may be wrong by one.
    user: i64,
    system: i64,
}

impl Spent {
    pub(crate) fn now() -> Spent {
        let [user, system, ..] = hundredths("thread-self");
        let [.., children_user, children_system] = hundredths("self");
        let children = children_time("self");
        let total = processor_time("thread-self") + children;
        Spent { total, user: user + children_user, system: system + children_system }
    }

    /// The share outside of the kernel.
    pub(crate) fn own(&self) -> f64 {
        self.user as f64 / (self.user + self.system) as f64
    }
}

impl Sub for Spent {
    type Output = Spent;
    fn sub(self, since: Spent) -> Spent {
        let (user, system) = (self.user - since.user, self.system - since.system);
        Spent { total: self.total - since.total, user, system }
    }
}

impl Add for Spent {
    type Output = Spent;
    fn add(self, more: Spent) -> Spent {
        let (user, system) = (self.user + more.user, self.system + more.system);
        Spent { total: self.total + more.total, user, system }
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, more: Spent) {
        *self = *self + more;
    }
}

/// Processor time of all children there are, and of those that they have waited for.
pub(crate) fn workers_time() -> Duration {
    let children = threads().map(|thread| {
        std::fs::read_to_string(format!("/proc/self/task/{thread}/children")).unwrap_or_default()
    });
    let children: Vec<String> = children.collect();
    let children = children.iter().flat_map(|children| children.split_whitespace());
    children.map(|child| processor_time(child) + children_time(child)).sum()
}

/// Processor time of the threads that this process has now.
pub(crate) fn pool_time() -> Duration {
    threads().map(|thread| processor_time(&format!("self/task/{thread}"))).sum()
}

fn threads() -> impl Iterator<Item = String> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.map(|thread| thread.file_name().to_string_lossy().into_owned())
}

/// Processor time of a thread, or of the first one of a process, until now
/// (`Documentation/scheduler/sched-stats.rst`).
fn processor_time(of: &str) -> Duration {
    let counts = std::fs::read_to_string(format!("/proc/{of}/schedstat")).unwrap_or_default();
    let nanoseconds = counts.split_whitespace().next().and_then(|count| count.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// Processor time of the children that a process has waited for.
fn children_time(of: &str) -> Duration {
    let [.., user, system] = hundredths(of);
    Duration::from_millis(10) * u32::try_from(user + system).unwrap_or(0)
}

/// Time outside and inside of the kernel, and the same of the children that were waited for: fields 14 to 17
/// of `proc_pid_stat(5)`.
fn hundredths(of: &str) -> [i64; 4] {
    let stat = std::fs::read_to_string(format!("/proc/{of}/stat")).unwrap_or_default();
    // The second field, a name, may hold anything but this.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut fields = fields.split(' ').skip(11).map(|field| field.parse().unwrap_or(0));
    std::array::from_fn(|_| fields.next().unwrap_or(0))
}
