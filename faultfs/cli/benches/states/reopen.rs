//! Reopening without us.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultfs::Profile;
use faultfs::disk::Disk;
use faultfs::explore::{Checked, Faults, InProcess, Recovered, Recovery, explore_trace};
use faultfs::folder::Folder;
use faultfs::session::Session;
use faultfs::trace::{Mark, Marks, Trace};
use faultfs::verdict::Broken;

use super::explored::settings;
use super::spent::Spent;
use super::{median, sqlite};

/// Reopening, round by round.
#[derive(Default)]
pub(crate) struct Reopened {
    /// Reopens for each second.
    rates: Vec<f64>,
    spent: Spent,
}

impl Reopened {
    pub(crate) fn push(&mut self, (reopens, spent): (u32, Spent)) {
        self.rates.push(f64::from(reopens) / spent.total.as_secs_f64());
        self.spent += spent;
    }

    /// Reopens for each second, and the share outside of the kernel.
    pub(crate) fn result(self) -> (f64, f64) {
        (median(self.rates), self.spent.own())
    }
}

/// A database that the workload has left and closed.
pub(crate) struct Clean {
    session: Session,
    marks: Marks,
}

impl Clean {
    pub(crate) fn new(config: &sqlite::Config) -> Clean {
        let session = Session::new().expect("a session");
        let mut marks = Marks::default();
        config.run(session.path()).expect("the workload runs");
        (0..=6).for_each(|id| marks.add(Mark::Ack(id)));
        Clean { session, marks }
    }

    pub(crate) fn reopen(&self, reopens: u32) -> (u32, Spent) {
        let since = Spent::now();
        for _ in 0..reopens {
            sqlite::check(self.session.path(), &self.marks).expect("nothing was lost");
        }
        (reopens, Spent::now() - since)
    }
}

/// Reopens each disk of an exploration once, with `check`.
pub(crate) fn reopen_states(
    trace: &Arc<Trace>,
    budget: u64,
    check: &mut dyn FnMut(&Path, &Marks),
) -> (u32, Spent) {
    let (session, traces) = (Session::new().expect("a session"), Session::new().expect("one more"));
    let (waiting, spent) = (Vec::new(), Spent::default());
    let mut reopen = Reopen { session, waiting, count: 0, spent, check };
    let mut silent = |_| {};
    let mut settings = settings(traces.path().to_path_buf(), budget, &mut silent);
    let mut judge = InProcess::new(&mut reopen, false);
    let report = explore_trace(trace, Profile::POSIX, &mut judge, &mut settings);
    report.expect("the run is explored");
    reopen.work_off();
    (reopen.count, reopen.spent)
}

/// Collects disks; writes some to folders, and then reopens these.
struct Reopen<'a> {
    session: Session,
    waiting: Vec<(Disk, Marks)>,
    count: u32,
    spent: Spent,
    /// Whether it holds is the exploration's matter.
    check: &'a mut dyn FnMut(&Path, &Marks),
}

impl Reopen<'_> {
    /// So few that what the engine opens is not always new to the processor's caches.
    const AT_ONCE: usize = 64;

    fn work_off(&mut self) {
        let disks = std::mem::take(&mut self.waiting);
        let root = |place: usize| self.session.path().join(place.to_string());
        for (place, (disk, _)) in disks.iter().enumerate() {
            // Then dropped: nobody holds a file that the recovery removes, whose memory it gives back.
            Folder::new(root(place)).write(disk).expect("there is room");
        }
        let since = Spent::now();
        for (place, (_, marks)) in disks.iter().enumerate() {
            (self.check)(&root(place), marks);
        }
        self.spent += Spent::now() - since;
        self.count += disks.len() as u32;
    }
}

impl Recovery for Reopen<'_> {
    /// All hold at first; the few that are looked at again do not matter.
    fn check(&mut self, disk: &Disk, marks: &Marks) -> Checked {
        self.waiting.push((disk.clone(), marks.clone()));
        if self.waiting.len() == Reopen::AT_ONCE {
            self.work_off();
        }
        (Ok(()), None)
    }

    fn record(&mut self, _: &Disk, _: &Marks, _: &Faults) -> Result<Recovered, Broken> {
        unreachable!("no crashes during recovery are asked for")
    }
}

/// The argument that makes this program do nothing but [`reopen_when_told`].
pub(crate) const REOPENER: &str = "--reopener";

const REOPENS_OF_EACH: u32 = 4_000;

/// Says that it is ready, waits to be told, reopens, and says so.
pub(crate) fn reopen_when_told(config: &sqlite::Config) -> io::Result<()> {
    let clean = Clean::new(config);
    clean.reopen(REOPENS_OF_EACH / 10);
    io::stdout().write_all(b"\n")?;
    io::stdout().flush()?;
    io::stdin().read_exact(&mut [0])?;
    clean.reopen(REOPENS_OF_EACH);
    io::stdout().write_all(b"\n")?;
    io::stdout().flush()
}

/// Processes that reopen a database of their own, and have nothing to do with each other.
pub(crate) struct Reopeners(Vec<Child>);

impl Reopeners {
    fn start(config: &sqlite::Config, count: usize) -> io::Result<Reopeners> {
        let program = std::env::current_exe()?;
        let mut children = Reopeners(Vec::new());
        for _ in 0..count {
            let mut command = Command::new(&program);
            command.args([REOPENER, config.name]).stdin(Stdio::piped()).stdout(Stdio::piped());
            children.0.push(command.spawn()?);
        }
        children.hear_all()?;
        Ok(children)
    }

    fn hear_all(&mut self) -> io::Result<()> {
        let mut outputs = self.0.iter_mut().filter_map(|child| child.stdout.as_mut());
        outputs.try_for_each(|output| output.read_exact(&mut [0]))
    }

    /// Reopens for each second by the clock, of so many processes at once.
    pub(crate) fn rate(config: &sqlite::Config, count: usize) -> io::Result<f64> {
        let mut children = Reopeners::start(config, count)?;
        let since = Instant::now();
        for input in children.0.iter_mut().filter_map(|child| child.stdin.as_mut()) {
            input.write_all(b"\n")?;
        }
        children.hear_all()?;
        let took: Duration = since.elapsed();
        Ok(f64::from(REOPENS_OF_EACH) * count as f64 / took.as_secs_f64())
    }
}

impl Drop for Reopeners {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It ends by itself, or cannot be told.
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}
