//! The one decision point that every door asks before an op.

mod armed;
mod call;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use faultpoint::Listening;

use crate::errno::{EIO, EROFS, Errno};
use crate::error::Error;
use crate::fault::{Fault, Then};
use crate::plan::{Plan, Rule};
use crate::points;

use armed::Armed;
pub use call::{Call, Reach, Seen};

/// How long a call that stalls waits before it fails: as long as Linux waits for a SCSI device by default
/// (`/sys/block/*/device/timeout`).
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A fault to inject now, and the rule that says so.
#[derive(Clone, Debug)]
pub struct Injection {
    /// What to do to the call.
    pub fault: Fault,
    /// The text of the rule.
    pub rule: Arc<str>,
    /// The fail points that this thread has passed last, the last one last, up to eight: see
    /// [`points`](crate::points).
    pub points: Vec<Arc<str>>,
}

/// Decides what goes wrong. A cheap value: clones share one plan and one set of counts.
///
/// ```
/// use faultfs::errno::EIO;
/// use faultfs::plan::on;
/// use faultfs::{FaultFile, Injector};
/// use std::io::Write;
///
/// let injector = Injector::new(on::write().skip(1).take(1).fail(EIO));
/// let mut log = FaultFile::armed(Vec::new(), &injector, "log");
/// log.write_all(b"first")?;
/// assert_eq!(log.write(b"second").unwrap_err().raw_os_error(), Some(EIO.raw()));
/// log.write_all(b"third")?;
/// assert_eq!(log.into_inner(), b"firstthird");
/// injector.finish().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Injector(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// A rule may fire, or calls are noted.
    armed: AtomicBool,
    rules: Mutex<Vec<Armed>>,
    /// A rule asks where calls are written.
    asks_for_sites: AtomicBool,
    observes: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    /// Set once a rule has made more of the disk fail than one call.
    fate: Mutex<Option<Fate>>,
    /// Tells calls that stall that they may go on: how often the injector was disarmed.
    disarmed: (Mutex<u64>, Condvar),
    /// Hears of the fail points that the engine passes, from the first arming on.
    listening: OnceLock<Listening>,
}

/// What has become of the disk as a whole.
struct Fate {
    errno: Errno,
    /// The rule that has brought it about.
    rule: Arc<str>,
    reach: FateReach,
}

/// What of the disk fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FateReach {
    /// What would change something.
    Changes,
    /// Everything.
    All,
    /// Everything, for good.
    AllForGood,
}

impl Fate {
    /// What an injected fault makes of the disk as a whole.
    fn of(injection: &Injection) -> Option<Fate> {
        let (errno, reach) = match injection.fault {
            Fault::Vanish(errno) => (errno, FateReach::All),
            Fault::Crash => (EIO, FateReach::AllForGood),
            Fault::FailSync { how, .. } => match how.then {
                Then::GoOn => return None,
                Then::ReadOnly => (EROFS, FateReach::Changes),
                Then::ShutDown => (EIO, FateReach::All),
            },
            _ => return None,
        };
        Some(Fate { errno, rule: injection.rule.clone(), reach })
    }
}

impl Injector {
    /// An injector that follows `plan`.
    pub fn new(plan: impl Into<Plan>) -> Injector {
        let injector = Injector::default();
        injector.arm(plan);
        injector
    }

    /// Adds the rules of `plan` behind those that are there; their counts start now.
    ///
    /// # Panics
    ///
    /// Where a rule begins [after a fail point](crate::plan::When::after_point) that the program has not.
    #[track_caller]
    pub fn arm(&self, plan: impl Into<Plan>) {
        let plan = plan.into();
        points::check(&plan);
        self.0.listening.get_or_init(|| {
            let shared = Arc::downgrade(&self.0);
            points::listen(move |pass| {
                let Some(shared) = shared.upgrade() else { return };
                shared.rules().iter_mut().for_each(|rule| rule.hear(pass.name()));
            })
        });
        let asks = plan.rules().iter().any(Rule::names_site);
        self.0.asks_for_sites.fetch_or(asks, Ordering::Relaxed);
        let mut rules = self.rules();
        rules.extend(plan.rules().iter().map(Armed::new));
        self.0.armed.store(self.observes() || rules.iter().any(|r| r.on), Ordering::Relaxed);
    }

    /// Whether a rule asks where calls are written: a door that has to look that up does so only then.
    pub fn asks_for_sites(&self) -> bool {
        self.0.asks_for_sites.load(Ordering::Relaxed)
    }

    /// From now on every call is noted, reads and opens too: see [`Injector::seen`].
    pub fn observe(&self) {
        let _rules = self.rules();
        self.0.observes.store(true, Ordering::Relaxed);
        self.0.armed.store(true, Ordering::Relaxed);
    }

    /// The calls since [`Injector::observe`], in order.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.0.seen).clone()
    }

    fn observes(&self) -> bool {
        self.0.observes.load(Ordering::Relaxed)
    }

    /// From now on nothing goes wrong: the disk is healed, a device that was gone is back, what stalls goes
    /// on. What the rules have done is still known. Power that was cut stays cut.
    pub fn disarm(&self) {
        let mut rules = self.rules();
        rules.iter_mut().for_each(|r| r.on = false);
        let mut fate = lock(&self.0.fate);
        if fate.as_ref().is_some_and(|fate| fate.reach != FateReach::AllForGood) {
            *fate = None;
        }
        self.0.armed.store(self.observes() || fate.is_some(), Ordering::Relaxed);
        *lock(&self.0.disarmed.0) += 1;
        self.0.disarmed.1.notify_all();
    }

    /// True where a rule may still fire, or calls are noted. One relaxed load, so that doors can ask before every call.
    #[inline]
    pub fn is_armed(&self) -> bool {
        self.0.armed.load(Ordering::Relaxed)
    }

    /// What goes wrong with `call`. Counts the call.
    pub fn decide(&self, call: &Call<'_>) -> Option<Injection> {
        self.decide_at_once(call).map(|injection| self.wait(injection))
    }

    /// As [`Injector::decide`], without the time that a delay or a stall takes: for a door that decides with a
    /// lock held. What it is told it takes to [`Injector::wait`], without the lock.
    pub fn decide_at_once(&self, call: &Call<'_>) -> Option<Injection> {
        if !self.is_armed() {
            return None;
        }
        if self.observes() {
            lock(&self.0.seen).push(call.into());
        }
        self.fated(call).or_else(|| self.judge(call))
    }

    /// Lets the time of a delay or a stall pass; a stall that takes too long becomes an error.
    pub fn wait(&self, injection: Injection) -> Injection {
        self.wait_for(injection, PATIENCE)
    }

    fn wait_for(&self, injection: Injection, patience: Duration) -> Injection {
        match injection.fault {
            Fault::Delay(milliseconds) => thread::sleep(Duration::from_millis(milliseconds)),
            Fault::Stall if !self.0.wait_for_disarm(patience) => {
                return Injection { fault: Fault::Fail(EIO), ..injection };
            }
            _ => {}
        }
        injection
    }

    /// What goes wrong because of what has become of the disk as a whole.
    fn fated(&self, call: &Call<'_>) -> Option<Injection> {
        let fate = lock(&self.0.fate);
        let Fate { errno, rule, reach } = fate.as_ref()?;
        if *reach == FateReach::Changes && !call.kind.is_change() && !call.writes {
            return None;
        }
        let (fault, rule) = (Fault::Fail(*errno), rule.clone());
        Some(Injection { fault, rule, points: points::last() })
    }

    /// What the rules say of a call. Each counts it.
    fn judge(&self, call: &Call<'_>) -> Option<Injection> {
        let mut rules = self.rules();
        let mut decided = None;
        for armed in rules.iter_mut() {
            if armed.is_due(call) && decided.is_none() {
                armed.fired += 1;
                let (fault, rule) = (armed.rule.fault(), armed.text.clone());
                decided = Some(Injection { fault, rule, points: points::last() });
            }
        }
        match &decided {
            None => rules.iter_mut().for_each(|rule| rule.heal(call)),
            Some(injection) => {
                let fate = Fate::of(injection);
                if fate.is_some() {
                    *lock(&self.0.fate) = fate;
                }
            }
        }
        decided
    }

    /// How many faults have been injected.
    pub fn fired(&self) -> u64 {
        self.rules().iter().map(|r| r.fired).sum()
    }

    /// The rules that are not optional and have never fired.
    pub fn unfired(&self) -> Vec<Rule> {
        self.rules()
            .iter()
            .filter(|r| r.fired == 0 && !r.rule.is_optional())
            .map(|r| r.rule.clone())
            .collect()
    }

    /// The end of a run: every rule that is not optional must have fired.
    ///
    /// # Errors
    ///
    /// Names the rules that never fired, and how many calls they matched: a test that injected nothing
    /// has shown nothing.
    pub fn finish(&self) -> Result<(), Error> {
        let rules = self.rules();
        let unfired: Vec<String> = rules
            .iter()
            .filter(|r| r.fired == 0 && !r.rule.is_optional())
            .map(Armed::shortcoming)
            .collect();
        if unfired.is_empty() {
            return Ok(());
        }
        let mend = "mend its op, path or skip, or make it optional";
        Err(Error::new(format!("{}; {mend}", unfired.join("; "))))
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.0.rules()
    }
}

impl Shared {
    /// Waits until the injector is disarmed; false where that takes too long.
    fn wait_for_disarm(&self, patience: Duration) -> bool {
        let (count, disarmed) = &self.disarmed;
        let count = lock(count);
        let before = *count;
        let waited = disarmed.wait_timeout_while(count, patience, |now| *now == before);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// A thread that panicked while it held the lock left whole rules behind: counts are single
    /// stores.
    fn rules(&self) -> MutexGuard<'_, Vec<Armed>> {
        lock(&self.rules)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The plan that it follows.
impl fmt::Debug for Injector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rules().iter().map(|r| &r.text)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::errno::{EIO, ENOSPC};
    use crate::plan::{OpKind, on};

    fn errno(injector: &Injector, kind: OpKind, path: &str) -> Option<i32> {
        let call = Call::new(kind, Path::new(path));
        injector.decide(&call).map(|injection| match injection.fault {
            Fault::Fail(errno) => errno.raw(),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn skip_and_take_are_a_window_on_the_matching_ops() {
        let injector = Injector::new(on::sync().path("*.wal").skip(2).take(2).fail(EIO));
        let mut failed = Vec::new();
        for index in 0..6 {
            assert_eq!(errno(&injector, OpKind::Sync, "a.sst"), None);
            assert_eq!(errno(&injector, OpKind::Write, "a.wal"), None);
            failed.extend(errno(&injector, OpKind::Sync, "db/a.wal").map(|_| index));
        }
        assert_eq!(failed, [2, 3]);
        assert_eq!(injector.fired(), 2);
        injector.finish().unwrap();
    }

    #[test]
    fn the_first_due_rule_decides_and_every_rule_counts_for_itself() {
        let injector = Injector::new([
            on::sync().take(1).fail(EIO),
            on::sync().skip(1).take(1).fail(ENOSPC),
            on::any().take(1).fail(EIO),
        ]);
        let seen: Vec<_> = (0..3).map(|_| errno(&injector, OpKind::Sync, "a")).collect();
        assert_eq!(seen, [Some(EIO.raw()), Some(ENOSPC.raw()), None]);
        let never = injector.unfired();
        assert_eq!(never.len(), 1, "the third rule was due at an op that the first one took");
        assert_eq!(never[0].to_string(), "any * take 1 -> fail EIO");
    }

    #[test]
    fn a_rule_that_never_fired_fails_the_run_unless_it_is_optional() {
        let injector =
            Injector::new([on::sync().skip(1).fail(EIO), on::write().fail(EIO).optional()]);
        errno(&injector, OpKind::Sync, "a");
        let error = injector.finish().unwrap_err().to_string();
        assert_eq!(
            error,
            "`sync * skip 1 -> fail EIO` was armed but never reached (it matched 1 calls); \
             mend its op, path or skip, or make it optional"
        );
    }

    #[test]
    fn short_does_not_count_calls_that_it_cannot_change() {
        let injector = Injector::new(on::write().skip(1).short(10));
        let write = |len| {
            let call = Call { len, ..Call::new(OpKind::Write, Path::new("a")) };
            injector.decide(&call).is_some()
        };
        assert_eq!([write(11), write(10), write(3), write(11)], [false, false, false, true]);
    }

    #[test]
    fn a_rule_per_file_counts_each_path_by_itself() {
        let injector = Injector::new(on::sync().per_file().skip(1).take(1).fail(EIO));
        let paths = ["a", "b", "a", "a", "b", "a"];
        let failed = paths.map(|path| errno(&injector, OpKind::Sync, path).is_some());
        assert_eq!(failed, [false, false, true, false, true, false]);
        let never = Injector::new(on::sync().per_file().skip(9).fail(EIO));
        assert!(paths.iter().all(|path| errno(&never, OpKind::Sync, path).is_none()));
        assert!(never.finish().unwrap_err().to_string().contains("it matched 6 calls"));
    }

    #[test]
    fn a_range_is_met_by_the_calls_that_touch_it() {
        let injector = Injector::new(on::write().at(4096..8192).fail(EIO));
        let write = |offset, len| {
            let call = Call { offset, len, ..Call::new(OpKind::Write, Path::new("a")) };
            injector.decide(&call).is_some()
        };
        assert!(!write(Some(0), 4096));
        assert!(write(Some(0), 4097));
        assert!(write(Some(8191), 1));
        assert!(!write(Some(8192), 9));
        assert!(write(Some(0), u64::MAX));
        assert!(!write(None, 9000), "where the offset is not known, nothing is said of it");
    }

    #[test]
    fn sometimes_is_the_same_every_time_and_near_its_ratio() {
        let run = |seed| -> Vec<u32> {
            let injector = Injector::new(on::sync().sometimes(1, 8, seed).fail(EIO));
            (0..8000).filter(|_| errno(&injector, OpKind::Sync, "a").is_some()).collect()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!((900..1100).contains(&run(1).len()), "{}", run(1).len());

        let injector = Injector::new(on::sync().skip(10).take(2).sometimes(1, 8, 1).fail(EIO));
        let failed: Vec<u32> =
            (0..8000).filter(|_| errno(&injector, OpKind::Sync, "a").is_some()).collect();
        assert_eq!(failed.len(), 2, "take limits the faults, not the draws");
        assert!(failed[0] >= 10);
    }

    #[test]
    fn either_name_of_a_rename_matches() {
        let injector = Injector::new(on::rename().path("CURRENT").fail(EIO));
        let tmp = Path::new("tmp");
        let rename = |to| Call { other: Some(to), ..Call::new(OpKind::Rename, tmp) };
        assert!(injector.decide(&rename(Path::new("OTHER"))).is_none());
        assert!(injector.decide(&rename(Path::new("CURRENT"))).is_some());
    }

    #[test]
    fn disarming_heals_and_arming_adds() {
        let injector = Injector::default();
        assert!(!injector.is_armed());
        injector.arm(on::sync().fail(EIO));
        assert!(errno(&injector, OpKind::Sync, "a").is_some());
        injector.disarm();
        assert!(!injector.is_armed());
        assert!(errno(&injector, OpKind::Sync, "a").is_none());
        injector.arm(on::write().fail(EIO));
        assert!(errno(&injector, OpKind::Sync, "a").is_none(), "a disarmed rule stays off");
        assert!(errno(&injector, OpKind::Write, "a").is_some());
        assert_eq!(injector.fired(), 2);
    }

    #[test]
    fn power_that_was_cut_stays_cut_and_a_device_that_vanished_comes_back() {
        for (rule, after) in [(on::any().crash(), Some(EIO.raw())), (on::any().vanish(EIO), None)] {
            let injector = Injector::new(rule);
            injector.decide(&Call::new(OpKind::Sync, Path::new("a")));
            assert_eq!(errno(&injector, OpKind::Open, "b"), Some(EIO.raw()));
            injector.disarm();
            assert_eq!(errno(&injector, OpKind::Open, "b"), after);
        }
    }

    #[test]
    fn a_stall_that_nobody_ends_is_an_error_and_one_that_ends_is_none() {
        let stalled = |injector: &Injector| {
            let call = Call::new(OpKind::Sync, Path::new("a"));
            injector.decide_at_once(&call).expect("a stall")
        };
        let injector = Injector::new(on::sync().stall());
        let ended = injector.wait_for(stalled(&injector), Duration::from_millis(1));
        assert_eq!((ended.fault, &*ended.rule), (Fault::Fail(EIO), "sync * -> stall"));

        let injection = stalled(&injector);
        let healer = injector.clone();
        let ended = thread::scope(|scope| {
            let waiting = scope.spawn(|| injector.wait_for(injection, Duration::MAX));
            // It may not wait yet: then it is healed again.
            while !waiting.is_finished() {
                healer.disarm();
                thread::yield_now();
            }
            waiting.join().unwrap()
        });
        assert_eq!(ended.fault, Fault::Stall, "the call goes on");
    }

    #[test]
    fn a_bad_sector_is_read_again_when_all_of_it_has_been_written() {
        let injector = Injector::new(on::read().latent(0..512, EIO));
        let call = |kind, offset, len| {
            let call = Call { offset: Some(offset), len, ..Call::new(kind, Path::new("a")) };
            injector.decide(&call).is_some()
        };
        for (offset, len, is_bad) in [(1, 511, true), (0, 511, true), (0, 512, false)] {
            assert!(!call(OpKind::Write, offset, len));
            assert_eq!(call(OpKind::Read, 0, 1), is_bad, "{len} bytes from {offset}");
        }
    }

    #[test]
    fn an_observer_notes_every_call_also_where_nothing_is_armed_or_no_longer() {
        let injector = Injector::default();
        injector.observe();
        errno(&injector, OpKind::Open, "a");
        injector.arm(on::sync().take(1).fail(EIO));
        errno(&injector, OpKind::Sync, "a");
        injector.disarm();
        assert!(injector.is_armed());
        let write = Call { offset: Some(4), len: 6, ..Call::new(OpKind::Write, Path::new("a")) };
        assert!(injector.decide(&write).is_none());
        let seen: Vec<String> =
            injector.seen().iter().map(|seen| seen.call().to_string()).collect();
        assert_eq!(seen, ["open a", "sync a", "write a 4..10"]);
    }

    #[test]
    fn a_panic_elsewhere_does_not_poison_the_injector() {
        let injector = Injector::new(on::sync().fail(EIO));
        let other = injector.clone();
        let panicked = std::thread::spawn(move || {
            let _rules = other.rules();
            panic!("while the lock is held");
        });
        assert!(panicked.join().is_err());
        assert!(errno(&injector, OpKind::Sync, "a").is_some());
    }
}
