//! The one decision point that every door asks before an op.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use faultpoint::Listening;
use serde::{Deserialize, Serialize};

use crate::errno::{EIO, EROFS, Errno};
use crate::error::Error;
use crate::fault::{Fault, Then};
use crate::op::SECTOR;
use crate::plan::{OpKind, Plan, Rule};
use crate::points;

/// How long a call that stalls waits before it fails: as long as Linux waits for a SCSI device by default
/// (`/sys/block/*/device/timeout`).
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A call that an engine is about to make, as a door sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What kind of call.
    pub kind: OpKind,
    /// The path, relative to the root of the filesystem; `.` for the root itself.
    pub path: &'a Path,
    /// The other path of a rename or link.
    pub other: Option<&'a Path>,
    /// Where the data goes or comes from, in bytes from the start of the file, where that is known; the
    /// present size for a change of size.
    pub offset: Option<u64>,
    /// How many bytes are to be read or written, or the size that is set; 0 for calls without one.
    pub len: u64,
    /// What the door can do beyond carrying the call out.
    pub reach: Reach,
    /// True for an open that asks for write access.
    pub writes: bool,
    /// Where the call is written, file and line, where the door knows.
    pub site: Option<(&'a str, u32)>,
}

/// What a door can do beyond carrying a call out, or a part of it. A fault that needs more than that is
/// not injected into the call, which the rule then does not count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Reach {
    /// Nothing more.
    Call,
    /// It can read and write the same file anywhere.
    File,
    /// It also knows the file's earlier content, the other files and their names.
    Filesystem,
}

impl<'a> Call<'a> {
    /// A call about one path that moves no data.
    pub fn new(kind: OpKind, path: &'a Path) -> Self {
        let (offset, len, reach) = (None, 0, Reach::Call);
        Call { kind, path, other: None, offset, len, reach, writes: false, site: None }
    }
}

/// A call that an observing [`Injector`] has seen: a [`Call`] that owns its paths.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seen {
    kind: OpKind,
    path: PathBuf,
    other: Option<PathBuf>,
    offset: Option<u64>,
    len: u64,
    reach: Reach,
    writes: bool,
}

impl Seen {
    /// The call.
    pub fn call(&self) -> Call<'_> {
        let other = self.other.as_deref();
        let Seen { kind, offset, len, reach, writes, .. } = *self;
        Call { kind, path: &self.path, other, offset, len, reach, writes, site: None }
    }
}

impl From<&Call<'_>> for Seen {
    fn from(call: &Call<'_>) -> Seen {
        let Call { kind, path, other, offset, len, reach, writes, site: _ } = *call;
        let (path, other) = (path.into(), other.map(Path::to_path_buf));
        Seen { kind, path, other, offset, len, reach, writes }
    }
}

/// `write db/wal 4096..8192`, as reports name a call.
impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.path.display())?;
        if let Some(other) = self.other {
            write!(f, " {}", other.display())?;
        }
        use OpKind::{Load, Read, SetLen, Store, SyncMap, Write};
        match (self.kind, self.offset) {
            (Read | Write | Load | Store | SyncMap, Some(offset)) => {
                write!(f, " {offset}..{}", offset.saturating_add(self.len))
            }
            (Read | Write, None) => write!(f, " {} bytes", self.len),
            (SetLen, _) => write!(f, " {}", self.len),
            _ => Ok(()),
        }
    }
}

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

/// A rule with what it has seen.
struct Armed {
    rule: Rule,
    text: Arc<str>,
    count: Count,
    /// The counts of a rule that counts for each path.
    per_file: BTreeMap<PathBuf, Count>,
    /// Draws for a rule that fires sometimes.
    rng: Rng,
    /// All calls so far.
    calls: u64,
    /// Calls that it has faulted.
    fired: u64,
    /// False once it was disarmed: it no longer counts.
    on: bool,
    /// False until the fail point was passed after which it begins.
    begun: bool,
    /// Sectors of a latent error that have been written since, by path.
    healed: BTreeMap<PathBuf, Healed>,
}

/// Sectors that can be read again.
struct Healed {
    sectors: BTreeSet<u64>,
    /// All from this one on.
    from: u64,
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

#[derive(Clone, Copy, Default)]
struct Count {
    /// Matching calls so far.
    seen: u64,
    /// How many of them were to be faulted, by this rule or one before it.
    due: u64,
}

impl Armed {
    fn new(rule: &Rule) -> Armed {
        Armed {
            text: rule.to_string().into(),
            rule: rule.clone(),
            count: Count::default(),
            per_file: BTreeMap::new(),
            rng: Rng::with_seed(rule.sometimes().map_or(0, |ratio| ratio.seed)),
            calls: 0,
            fired: 0,
            on: true,
            begun: rule.after_point().is_none(),
            healed: BTreeMap::new(),
        }
    }

    /// Counts a call; true where it is one to fault.
    fn is_due(&mut self, call: &Call<'_>) -> bool {
        let calls = self.calls;
        self.calls += 1;
        if !self.on || !self.begun || !self.rule.matches(call, calls) || self.is_healed(call) {
            return false;
        }
        let own = self.rule.is_per_file().then(|| self.per_file.entry(call.path.into()));
        let Count { seen, due } = own.map_or(&mut self.count, |entry| entry.or_default());
        let is_due = self.rule.is_due(*seen, *due)
            && self
                .rule
                .sometimes()
                .is_none_or(|ratio| self.rng.u32(0..ratio.denominator) < ratio.numerator);
        *seen += 1;
        *due += u64::from(is_due);
        is_due
    }

    /// True for a read of sectors that were bad, and have all been written since.
    fn is_healed(&self, call: &Call<'_>) -> bool {
        let Fault::Latent { first, end, .. } = self.rule.fault() else { return false };
        let (Some(healed), Some(offset)) = (self.healed.get(call.path), call.offset) else {
            return false;
        };
        let read = offset.max(first / SECTOR * SECTOR)
            ..offset.saturating_add(call.len).min(end.next_multiple_of(SECTOR));
        let mut sectors = read.start / SECTOR..read.end.div_ceil(SECTOR);
        sectors.all(|sector| sector >= healed.from || healed.sectors.contains(&sector))
    }

    /// A call that nothing goes wrong with: what it writes can be read again.
    fn heal(&mut self, call: &Call<'_>) {
        if !matches!(self.rule.fault(), Fault::Latent { .. }) {
            return;
        }
        let path = if call.kind == OpKind::Rename { call.other } else { Some(call.path) };
        let Some(path) = path else { return };
        let new = || Healed { sectors: BTreeSet::new(), from: u64::MAX };
        let healed = self.healed.entry(path.into()).or_insert_with(new);
        match (call.kind, call.offset) {
            (OpKind::Write, Some(offset)) => {
                let end = offset.saturating_add(call.len) / SECTOR;
                healed.sectors.extend(offset.div_ceil(SECTOR)..end);
            }
            (OpKind::SetLen, _) => healed.from = healed.from.min(call.len.div_ceil(SECTOR)),
            (OpKind::Create | OpKind::Rename, _) => healed.from = 0,
            _ => {}
        }
    }

    /// A fail point was passed.
    fn hear(&mut self, point: &str) {
        self.begun |= self.rule.after_point() == Some(point);
    }

    /// Why it never fired.
    fn shortcoming(&self) -> String {
        let (rule, seen) = (&self.text, self.seen());
        match self.rule.after_point() {
            Some(point) if !self.begun => format!(
                "`{rule}` was armed but never reached (fail point `{point}` was not passed since)"
            ),
            _ => format!("`{rule}` was armed but never reached (it matched {seen} calls)"),
        }
    }

    /// Calls that have matched.
    fn seen(&self) -> u64 {
        self.count.seen + self.per_file.values().map(|count| count.seen).sum::<u64>()
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
    use super::*;
    use crate::errno::{EIO, ENOSPC};
    use crate::plan::on;

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
