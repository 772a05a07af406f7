//! What a worker of an exploration does: builds the disk of each token that it is given, and has it checked.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Faults;
use super::door::{Door, Oracle};
use super::judge::{Checked, Recovered, Recovery, check_built, no_such_state};
use super::known::{How, Known};
use crate::crash::{Builder, Token};
use crate::disk::Disk;
use crate::file;
use crate::model::{Model, Profile};
use crate::trace::{Marks, Said, Trace};
use crate::verdict::{Broken, Verdict};
use crate::worker::{self, Reply, Role, Task};

/// What a checking worker is told.
#[derive(Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) trace: PathBuf,
    pub(super) rooms: PathBuf,
    pub(super) real_files: bool,
    pub(super) prune: bool,
    pub(super) record: bool,
    /// The calls of a recovery that is recorded are noted.
    pub(super) observe: bool,
}

/// What a checking worker answers where no promise was broken, or where it cannot tell.
#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    /// It was run, and held.
    Held,
    /// It is known to hold.
    Known,
    /// It is known to hold, and broke a promise when it was run.
    Doubted(Broken),
    /// It asked for what only real files have.
    Unserved(String),
    /// What was done to its disk.
    Recorded(Box<Recovered>),
    /// Nothing: others like it hung.
    LeftOut,
}

/// An oracle behind a door, in one place.
pub(crate) struct Checks<'a, 'b, R: ?Sized> {
    pub(crate) door: &'a mut dyn Door<Root = R>,
    pub(crate) oracle: &'a mut Oracle<'b, R>,
    pub(crate) room: PathBuf,
}

impl<R: ?Sized> Recovery for Checks<'_, '_, R> {
    fn check(&mut self, disk: &Disk, marks: &Marks) -> Checked {
        let Checks { door, oracle, room } = self;
        let outcome = door.check(room, disk, &mut |root| oracle(root, marks));
        (outcome.map_err(|broken| broken.without_folder(room)), door.take_reads())
    }

    fn record(&mut self, disk: &Disk, marks: &Marks, faults: &Faults) -> Result<Recovered, Broken> {
        let Checks { door, oracle, room } = self;
        let is_faulty = !faults.plan.rules().is_empty();
        let may_refuse = marks.acked.is_empty();
        let recorded = door.recover(room, disk, marks, faults, &mut |root| {
            match oracle(root, marks) {
                // An error is an answer to a fault.
                Err(_) if is_faulty => Ok(()),
                Err(broken) if broken.verdict() == Verdict::Unopenable && may_refuse => Ok(()),
                outcome => outcome,
            }
        });
        recorded.map_err(|broken| broken.without_folder(room))
    }
}

/// The models of the tokens that a worker was given last.
struct Models {
    session: PathBuf,
    trace: Arc<Trace>,
    id: String,
    /// They live as long as the process, which serves until it is told to end.
    builders: BTreeMap<&'static str, Builder<'static>>,
    /// Of the recovery that the last token was of.
    recovery: Option<(String, Profile, Model)>,
}

impl Models {
    fn build(&mut self, token: &Token) -> Option<(Disk, Said)> {
        let (profile, state) = (token.profile(), token.state());
        if token.trace == self.id {
            let builder = self.builders.entry(profile.name).or_insert_with(|| {
                let model = Model::new(self.trace.clone(), profile);
                Builder::new(Box::leak(Box::new(model)))
            });
            return builder.build(&state);
        }
        let known = |(id, of, _): &(String, Profile, Model)| *id == token.trace && *of == profile;
        if !self.recovery.as_ref().is_some_and(known) {
            let path = file::find(&self.session, &token.trace).expect("the pool saved the trace");
            let trace = Arc::new(file::load(&path).expect("the session's trace is whole"));
            self.recovery = Some((token.trace.clone(), profile, Model::new(trace, profile)));
        }
        let (_, _, model) = self.recovery.as_ref().expect("it was just made");
        Builder::new(model).build(&state)
    }
}

/// The worker's side; ends with the process.
pub(crate) fn work<R: ?Sized>(
    door: &mut dyn Door<Root = R>,
    oracle: &mut Oracle<'_, R>,
    role: &Role,
) -> ! {
    match role.task {
        Task::Sweep => unreachable!("an exploration starts no such worker"),
        Task::Record => {
            let room = PathBuf::from(String::from_utf8_lossy(&role.setup).into_owned());
            worker::serve(|_| door.record(&room, &Faults::default()).map(|()| Vec::new()))
        }
        Task::Check => {
            let setup: Setup = postcard::from_bytes(&role.setup).expect("the pool sent a setup");
            let mut checking = Checking::new(door, oracle, setup, role.slot);
            worker::serve_ahead(move |job, behind| {
                if checking.ready.is_empty() {
                    checking.make_ready(&mut std::iter::once(job).chain(behind));
                }
                checking.answer(job)
            })
        }
    }
}

/// What a worker that checks has in its hands.
struct Checking<'a, 'b, R: ?Sized> {
    door: &'a mut dyn Door<Root = R>,
    oracle: &'a mut Oracle<'b, R>,
    setup: Setup,
    rooms: Vec<PathBuf>,
    models: Models,
    known: Known,
    /// The next states, each with its room.
    ready: VecDeque<(Option<(Disk, Said)>, PathBuf)>,
}

impl<'a, 'b, R: ?Sized> Checking<'a, 'b, R> {
    fn new(
        door: &'a mut dyn Door<Root = R>,
        oracle: &'a mut Oracle<'b, R>,
        setup: Setup,
        slot: u32,
    ) -> Self {
        let trace = Arc::new(file::load(&setup.trace).expect("the session's trace is whole"));
        // Where disks come from memory nothing of a real one may lie around; they are there at once, and
        // need but one place.
        let (kind, places) = match setup.real_files {
            true if !setup.record => ("worker", AT_ONCE),
            true => ("worker", 1),
            false => ("memory", 1),
        };
        let room = |n| setup.rooms.join(format!("{kind}-{slot}-{n}"));
        let rooms: Vec<PathBuf> = (0..places).map(room).collect();
        let made = rooms.iter().try_for_each(std::fs::create_dir_all);
        made.expect("the session's folder can be written");
        if !setup.real_files {
            door.use_memory(setup.prune);
        }
        door.checks(&trace);
        let (id, session) = (super::trace_id(&trace), setup.rooms.clone());
        let models = Models { session, trace, id, builders: BTreeMap::new(), recovery: None };
        let known = Known::new(setup.prune);
        Checking { door, oracle, setup, rooms, models, known, ready: VecDeque::new() }
    }

    /// Builds the disks of the next jobs, and has them prepared where each has a room of its own: as many as
    /// are small, and at least one.
    fn make_ready(&mut self, jobs: &mut dyn Iterator<Item = &[u8]>) {
        for (n, job) in jobs.take(AT_ONCE).enumerate() {
            // Of a state that is left out there is no token.
            let token = (!job.is_empty()).then(|| split(job).0.parse());
            let token = token.transpose().expect("the pool sends tokens");
            let built = token.and_then(|token| self.models.build(&token));
            let is_small = built.as_ref().is_none_or(|(disk, _)| is_small(disk));
            let room = self.rooms.get(n).unwrap_or(&self.rooms[0]);
            if let (true, true, Some((disk, _))) = (self.rooms.len() > 1, is_small, &built) {
                // An error is found again by the check.
                let _ = self.door.prepare(room, disk);
            }
            self.ready.push_back((built, room.clone()));
            if !is_small || self.setup.record {
                break;
            }
        }
    }

    /// Checks the first of the states that are ready.
    fn answer(&mut self, job: &[u8]) -> Reply {
        let (built, room) = self.ready.pop_front().expect("as many are ready as jobs were seen");
        let (token, faults) = split(job);
        let mut checks = Checks { door: &mut *self.door, oracle: &mut *self.oracle, room };
        let answer = if job.is_empty() {
            Answer::LeftOut
        } else if self.setup.record {
            let (disk, marks) = built.ok_or_else(no_such_state)?;
            let faults = Faults {
                observe: self.setup.observe,
                ..faults.parse().expect("the pool sends the text of faults")
            };
            Answer::Recorded(Box::new(checks.record(&disk, &marks, &faults)?))
        } else {
            if crc32fast::hash(job).is_multiple_of(COMPARED) {
                checks.door.compare_next();
            }
            let checked = check_built(token, built, &mut self.known, &mut checks);
            match (self.door.unserved(), checked) {
                (Some(why), _) => Answer::Unserved(why),
                (None, (Ok(()), How::Known)) => Answer::Known,
                (None, (Ok(()), _)) => Answer::Held,
                (None, (Err(broken), How::Doubted)) => Answer::Doubted(broken),
                (None, (Err(broken), _)) => return Err(broken),
            }
        };
        Ok(postcard::to_stdvec(&answer).expect("texts serialise"))
    }
}

/// The text of a job's token, and that of the faults behind it.
fn split(job: &[u8]) -> (&str, &str) {
    let text = std::str::from_utf8(job).expect("a token is text");
    text.split_once('\n').unwrap_or((text, ""))
}

fn is_small(disk: &Disk) -> bool {
    let lens = disk.walk().into_iter().filter_map(|(_, ino)| Some(disk.content(ino)?.len()));
    lens.sum::<u64>() <= SMALL
}

/// So many small states are made ready at once, each in a room of its own, and then checked: our code, and
/// then the engine's, is found where the processor has it at hand. With more the data of the states is not, and
/// each folder is made from one that differs by more.
const AT_ONCE: usize = 4;
/// Bytes in all files of a disk, at most.
const SMALL: u64 = 1 << 20;

/// One in so many states is compared with the real files made of it.
const COMPARED: u32 = 64;
