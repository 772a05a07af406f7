//! States whose outcome is known because recovery would read in them what it has read in another.
//!
//! A decision tree: what was read first, by its answer what was read next, and so on, to an outcome that
//! held. It is sound if and only if recovery and oracle are a deterministic function of what they read and
//! of the marks. So outcomes that did not hold are never known, but always found by a run; a share of the
//! states that are known is run all the same; and a recovery that is seen to ask differently after the
//! same answers is never guessed at again.
//!
//! A tree belongs to one process and one recorded run: what it knows saves work and changes no report.

use std::collections::HashMap;

use super::judge::{Checked, Outcome};
use crate::disk::Disk;
use crate::reads::Question;
use crate::trace::{Marks, Said};

/// How the outcome of a state was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum How {
    /// By a run.
    Run,
    /// By what another run had read.
    Known,
    /// Both, and the run did not hold.
    Doubted,
}

/// Of the states that are known one in so many is run.
const SHARE: u32 = 16;

/// The questions of all trees together; beyond them nothing is learnt.
const QUESTIONS_MAX: usize = 1 << 20;

/// The outcomes that are known.
#[derive(Debug)]
pub(super) struct Known {
    /// By the hash of the marks.
    trees: HashMap<u128, Node>,
    questions: usize,
    learns: bool,
}

#[derive(Debug)]
enum Node {
    Held,
    Asks { question: Question, then: Answers },
}

/// What follows each answer, in the order of the answers: most questions have one.
type Answers = Vec<(u128, Node)>;

impl Known {
    /// Nothing is known; with `learns` that changes.
    pub(super) fn new(learns: bool) -> Known {
        Known { trees: HashMap::new(), questions: 0, learns }
    }

    /// The outcome of a state, which `check` runs where it must. Which states are run that are known is
    /// decided by their token.
    pub(super) fn outcome(
        &mut self,
        token: &str,
        disk: &Disk,
        marks: &Said,
        check: &mut dyn FnMut(&Disk, &Marks) -> Checked,
    ) -> (Outcome, How) {
        let known = self.holds(disk, marks);
        if known && !crc32fast::hash(token.as_bytes()).is_multiple_of(SHARE) {
            return (Ok(()), How::Known);
        }
        let (outcome, reads) = check(disk, marks);
        let how = if known && outcome.is_err() { How::Doubted } else { How::Run };
        if let (Ok(()), Some(reads), true) = (&outcome, reads, self.learns)
            && let Some(questions) = reads.into_questions()
        {
            self.learn(disk, marks, questions);
        }
        (outcome, how)
    }

    fn holds(&self, disk: &Disk, marks: &Said) -> bool {
        let mut node = self.trees.get(&marks.hash());
        while let Some(Node::Asks { question, then }) = node {
            let answer = question.answer(disk);
            node =
                then.binary_search_by_key(&answer, |(known, _)| *known).ok().map(|at| &then[at].1);
        }
        node.is_some()
    }

    /// Adds the path of a recovery that held.
    fn learn(&mut self, disk: &Disk, marks: &Said, questions: Vec<Question>) {
        if self.questions + questions.len() > QUESTIONS_MAX {
            return;
        }
        let path: Vec<(Question, u128)> =
            questions.into_iter().map(|q| (q.clone(), q.answer(disk))).collect();
        let added = match self.trees.get_mut(&marks.hash()) {
            Some(tree) => tree.add(path.into_iter()),
            None => {
                let added = path.len();
                self.trees.insert(marks.hash(), Node::path(path.into_iter()));
                Some(added)
            }
        };
        match added {
            Some(added) => self.questions += added,
            None => *self = Known::new(false),
        }
    }
}

impl Node {
    fn path(path: impl DoubleEndedIterator<Item = (Question, u128)>) -> Node {
        path.rev().fold(Node::Held, |next, (question, answer)| Node::Asks {
            question,
            then: vec![(answer, next)],
        })
    }

    /// How many questions are new; `None` where the same answers have led to another question before, or
    /// to none: then the recovery is no function of what it reads.
    fn add(&mut self, mut path: std::vec::IntoIter<(Question, u128)>) -> Option<usize> {
        let mut node = self;
        while let Some((asked, answer)) = path.next() {
            let Node::Asks { question, then } = node else { return None };
            if *question != asked {
                return None;
            }
            match then.binary_search_by_key(&answer, |(known, _)| *known) {
                Ok(at) => node = &mut then[at].1,
                Err(at) => {
                    let added = path.len();
                    then.insert(at, (answer, Node::path(path)));
                    return Some(added);
                }
            }
        }
        matches!(node, Node::Held).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::super::{
        Bound, Faults, InProcess, Progress, Recovered, Recovery, Replay, Settings, explore_trace,
    };
    use super::*;
    use crate::fs::FaultFs;
    use crate::model::Profile;
    use crate::op::{Ino, Slot};
    use crate::reads::Reads;
    use crate::report::Report;
    use crate::trace::Trace;
    use crate::verdict::{Broken, Verdict};

    const SEGMENTS: u64 = 6;

    /// A store of segments and a file that names the newest. A journal announces each change; recovery
    /// looks for one, and reads of the rest only what is named.
    fn store() -> Trace {
        let fs = FaultFs::mem();
        let run = || -> io::Result<()> {
            for id in 0..SEGMENTS {
                fs.begin(id);
                fs.write("journal", vec![id as u8 + 1; 700])?;
                let segment = format!("segment{id}");
                fs.write(&segment, vec![id as u8; 9000])?;
                fs.open(&segment)?.sync_all()?;
                fs.sync_dir(".")?;
                fs.write("new", segment)?;
                fs.open("new")?.sync_all()?;
                fs.rename("new", "current")?;
                fs.sync_dir(".")?;
                fs.ack(id);
                fs.remove_file("journal")?;
            }
            Ok(())
        };
        run().expect("nothing fails");
        fs.trace()
    }

    /// Recovery, and how it treats a journal that is left over: all of it must be zeros or its own.
    fn recover(fs: &FaultFs, marks: &Marks, fixed: bool) -> Result<(), Broken> {
        if fs.exists("journal")? && !fixed {
            return Err(Broken::corrupt("a journal is left over"));
        }
        let newest = match fs.read_to_string("current") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found?),
        };
        let newest = newest.map(|name| -> io::Result<u64> {
            let bytes = fs.read(&name)?;
            let id = bytes.first().copied().unwrap_or(u8::MAX);
            assert_eq!(bytes, vec![id; 9000]);
            Ok(id.into())
        });
        match (newest.transpose()?, marks.acked.last()) {
            (None, Some(id)) => Err(Broken::lost(format!("{id} and all before it"))),
            (Some(found), Some(acked)) if found < *acked => Err(Broken::lost(format!("{acked}"))),
            _ => Ok(()),
        }
    }

    /// The report, and how many states were run and how many were known.
    fn explored(
        trace: &Arc<Trace>,
        fixed: bool,
        prune: bool,
        noted: fn(Reads, &Disk) -> Reads,
    ) -> (Report, u64, u64) {
        let traces = tempfile::tempdir().unwrap();
        struct Store(bool, fn(Reads, &Disk) -> Reads);
        impl Recovery for Store {
            fn check(&mut self, disk: &Disk, marks: &Marks) -> Checked {
                let fs = FaultFs::watched(disk.clone());
                let outcome = recover(&fs, marks, self.0);
                (outcome, fs.take_reads().map(|reads| self.1(reads, disk)))
            }
            fn record(&mut self, _: &Disk, _: &Marks, _: &Faults) -> Result<Recovered, Broken> {
                unreachable!("no crashes during recovery are asked for")
            }
        }
        let mut store = Store(fixed, noted);
        let (mut run, mut known) = (0, 0);
        let mut settings = Settings {
            traces: traces.path().into(),
            replay: Replay::Tool,
            progress: &mut |progress| match progress {
                Progress::Checked => run += 1,
                Progress::Known => known += 1,
                _ => {}
            },
            interrupted: &|| false,
            crashes: Default::default(),
            recovery_depth: 0,
            recovery_faults: Default::default(),
            bound: Bound { omissions: 1, samples: 100, budget: 1_000, ..Bound::default() },
        };
        let mut judge = InProcess::new(&mut store, prune);
        let report = explore_trace(trace, Profile::POSIX, &mut judge, &mut settings).unwrap();
        (report, run, known)
    }

    fn exact(reads: Reads, _: &Disk) -> Reads {
        reads
    }

    #[test]
    fn pruning_saves_runs_and_changes_no_report() {
        let trace = Arc::new(store());
        for fixed in [true, false] {
            let (full, all, none) = explored(&trace, fixed, false, exact);
            let (pruned, run, known) = explored(&trace, fixed, true, exact);
            assert_eq!(full, pruned);
            assert_eq!(full.held(), fixed, "{full}");
            assert_eq!((none, run + known), (0, all));
            // Of the engine with the bug most disks are a failure, and none of these is ever known.
            let least = if fixed { run * 4 } else { 1 };
            assert!(known >= least, "{run} were run, {known} were known");
        }
    }

    /// With a failed look-up left out of the record, disks with a journal look like those without.
    #[test]
    fn a_record_that_misses_a_failed_look_up_is_found_out_by_the_sample() {
        let trace = Arc::new(store());
        let unsound = |reads: Reads, disk: &Disk| reads.without_failed_lookups(disk);
        let (report, _, known) = explored(&trace, false, true, unsound);
        assert!(known > 0);
        let doubted = report.not_measured.iter().find(|text| {
            text.contains("known to hold by what recovery reads, and when it was run corrupt")
        });
        assert!(doubted.is_some_and(|text| text.contains("-posix-")), "{report}");
    }

    /// A recovery that asks differently after the same answers is run on every disk.
    #[test]
    fn a_recovery_that_is_no_function_of_what_it_reads_is_always_run() {
        let (disk, marks) = (Disk::new(), Said::default());
        let asks = |name: &str| vec![Question::Entry(Slot::new(Ino::ROOT, name))];
        for second in [asks("other"), [asks("one"), asks("other")].concat(), Vec::new()] {
            let mut known = Known::new(true);
            known.learn(&disk, &marks, asks("one"));
            known.learn(&disk, &marks, asks("one"));
            assert!(known.holds(&disk, &marks));
            known.learn(&disk, &marks, second);
            assert!(!known.holds(&disk, &marks) && !known.learns);
        }
    }

    /// What does not hold is never known.
    #[test]
    fn a_broken_promise_is_found_by_a_run_every_time() {
        let mut known = Known::new(true);
        let mut check =
            |disk: &Disk, _: &Marks| (Err(Broken::new(Verdict::Lost, "x")), Some(Reads::of(disk)));
        for _ in 0..3 {
            let (outcome, how) = known.outcome("x", &Disk::new(), &Said::default(), &mut check);
            assert!(outcome.is_err());
            assert_eq!(how, How::Run);
        }
    }
}
