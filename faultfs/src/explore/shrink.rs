//! From a failing state to a minimal one: losses are given back as long as recovery still fails in the same
//! way, many at once at first and then one by one.
//!
//! The crash point stays. A state that was checked before is not checked again, so that a failure with few
//! losses mostly costs nothing. Each re-run asks for the verdict that was found: not for the same words,
//! which name ids and offsets and differ where less is lost. Nothing but the trace, the state and the
//! outcomes decides which states are tried, so that the result is the same with any number of workers; of a
//! run in shares each share shrinks what it found, and merging shrinks once more what all have found.
//!
//! An engine need not fail the more the more it loses. The result is minimal all the same, in that no state
//! one step below it fails; there may be another one that is smaller.

use std::collections::HashMap;

use super::Settings;
use super::findings::{class, token};
use super::judge::{Judge, Outcome};
use crate::Result;
use crate::crash::{Builder, State};
use crate::model::Model;
use crate::report::Shrunk;
use crate::verdict::{Broken, Verdict};

/// States that are checked for one failure, and for all of one run under one profile.
const RERUNS_MAX: u64 = 200;
const RERUNS_IN_ALL: u64 = 1_000;
/// The same where each takes as long as a hang is waited for.
const RERUNS_OF_A_HANG: u64 = 10;

/// Has states of one model checked; none for those that an interruption left out.
pub(super) type Rerun<'a> = dyn FnMut(&[State]) -> Result<Vec<Option<Outcome>>> + 'a;

/// Has states of a model checked by `judge`: all of them, also where only a share of a run is done.
pub(super) fn rerun<'a>(
    model: &'a Model,
    trace_id: &'a str,
    judge: &'a mut dyn Judge,
    settings: &'a Settings<'_>,
) -> Box<Rerun<'a>> {
    Box::new(move |states| {
        let tokens: Vec<String> =
            states.iter().map(|state| token(model, trace_id, state)).collect();
        let mut silent = |_| {};
        let mut quiet = settings.quiet(&mut silent);
        // Re-runs have a bound of their own.
        quiet.bound.hangs = u32::MAX;
        let found = judge.judge_all(&[(model, &tokens)], &mut quiet)?;
        Ok(found.into_iter().flatten().collect())
    })
}

/// Shrinks the failures of one run.
pub(super) struct Shrinker<'a, 'm> {
    builder: Builder<'m>,
    rerun: &'a mut Rerun<'a>,
    /// What is known of disks under their marks.
    known: HashMap<(u128, u128), Outcome>,
    reruns: u64,
}

/// A failing state and what the check says of it.
#[derive(Clone, Debug)]
pub(super) struct Failing {
    pub(super) state: State,
    pub(super) broken: Broken,
}

/// Why shrinking ends before its end.
enum Stop {
    Rerun(crate::Error),
    Open(String),
}

impl<'a, 'm> Shrinker<'a, 'm> {
    /// What has been checked already need not be again.
    pub(super) fn new(
        model: &'m Model,
        states: &[State],
        outcomes: &[Option<Outcome>],
        rerun: &'a mut Rerun<'a>,
    ) -> Self {
        let mut builder = Builder::new(model);
        let checked = states.iter().zip(outcomes).filter_map(|(state, outcome)| {
            let (disk, marks) = builder.build(state)?;
            Some(((disk.digest(), marks.hash()), outcome.clone()?))
        });
        let known = checked.collect();
        Shrinker { builder, rerun, known, reruns: 0 }
    }

    /// A state that fails as this one does, of which no part can be given back, and what it took. Where one on
    /// the way fails with the same verdict and in another class, it is the third.
    ///
    /// # Errors
    ///
    /// Where no worker can be started.
    pub(super) fn shrink(&mut self, found: Failing) -> Result<(Failing, Shrunk, Option<Failing>)> {
        let of_one = match found.broken.verdict() {
            Verdict::NotMeasured => 0,
            Verdict::Hung => RERUNS_OF_A_HANG,
            _ => RERUNS_MAX,
        };
        let from = self.builder.omitted(&found.state).len() as u64;
        let mut descent = Descent {
            end: self.reruns + of_one.min(RERUNS_IN_ALL.saturating_sub(self.reruns)),
            of_one,
            since: self.reruns,
            class: class(&mut self.builder, &found.state),
            at: found,
            beside: None,
            below: Verdict::Held,
            shrinker: self,
        };
        let open = match descent.halve().and_then(|()| descent.step()) {
            Ok(()) => None,
            Err(Stop::Open(why)) => Some(why),
            Err(Stop::Rerun(error)) => return Err(error),
        };
        let Descent { at, below, since, beside, .. } = descent;
        let to = self.builder.omitted(&at.state).len() as u64;
        let reruns = self.reruns - since;
        Ok((at, Shrunk { from, to, reruns, reruns_max: of_one, open, below }, beside))
    }
}

/// The way down from one state.
struct Descent<'s, 'a, 'm> {
    shrinker: &'s mut Shrinker<'a, 'm>,
    class: &'static str,
    at: Failing,
    /// The first state that failed with the same verdict in another class.
    beside: Option<Failing>,
    /// The worst verdict among the states that were last found not to fail as this one does.
    below: Verdict,
    since: u64,
    /// Re-runs of all failures at which this one must be done.
    end: u64,
    of_one: u64,
}

impl Descent<'_, '_, '_> {
    /// Gives back stretches of what is lost, all of it at first, then halves, and so on.
    fn halve(&mut self) -> Result<(), Stop> {
        let mut lost = self.shrinker.builder.lost(&self.at.state);
        let mut length = lost.len();
        while length > 1 {
            let mut from = 0;
            while from < lost.len() {
                let stretch = &lost[from..lost.len().min(from + length)];
                let fewer = self.shrinker.builder.given_back(&self.at.state, stretch);
                match self.first_that_fails(fewer.into_iter().collect())? {
                    Some(failing) => {
                        self.at = failing;
                        lost = self.shrinker.builder.lost(&self.at.state);
                    }
                    None => from += length,
                }
            }
            length /= 2;
        }
        Ok(())
    }

    /// Goes down step by step, until no state below fails.
    fn step(&mut self) -> Result<(), Stop> {
        loop {
            let simpler = self.shrinker.builder.simpler(&self.at.state);
            match self.first_that_fails(simpler)? {
                Some(failing) => self.at = failing,
                None => return Ok(()),
            }
        }
    }

    /// The first of the states that fails as the present one does.
    fn first_that_fails(&mut self, states: Vec<State>) -> Result<Option<Failing>, Stop> {
        self.below = Verdict::Held;
        let (mut open, mut keys) = (Vec::new(), Vec::new());
        let mut first = None;
        for state in states {
            // What the model does not allow is no state.
            let Some((disk, marks)) = self.shrinker.builder.build(&state) else { continue };
            let key = (disk.digest(), marks.hash());
            match self.shrinker.known.get(&key).cloned() {
                Some(outcome) => first = self.like_the_present(&state, outcome)?,
                None => {
                    keys.push(key);
                    open.push(state);
                }
            }
            if first.is_some() {
                break;
            }
        }
        let left = usize::try_from(self.end - self.shrinker.reruns).unwrap_or(usize::MAX);
        let run = &open[..open.len().min(left)];
        let found = self.rerun(run, keys)?;
        match found.or(first) {
            None if run.len() < open.len() => Err(Stop::Open(format!(
                "the bound of {} re-runs, or of {RERUNS_IN_ALL} for all failures, was reached",
                self.of_one
            ))),
            found => Ok(found),
        }
    }

    /// Checks states and keeps what came of them; the first that fails as the present one does.
    fn rerun(
        &mut self,
        states: &[State],
        keys: Vec<(u128, u128)>,
    ) -> Result<Option<Failing>, Stop> {
        if states.is_empty() {
            return Ok(None);
        }
        let outcomes = (self.shrinker.rerun)(states).map_err(Stop::Rerun)?;
        let mut first = None;
        for ((state, key), outcome) in states.iter().zip(keys).zip(outcomes) {
            let outcome = outcome.ok_or_else(|| Stop::Open("interrupted".into()))?;
            self.shrinker.reruns += 1;
            self.shrinker.known.insert(key, outcome.clone());
            first = first.or(self.like_the_present(state, outcome)?);
        }
        Ok(first)
    }

    /// The state, where it fails as the present one does; what else it does is kept in mind.
    fn like_the_present(
        &mut self,
        state: &State,
        outcome: Outcome,
    ) -> Result<Option<Failing>, Stop> {
        let Err(broken) = outcome else { return Ok(None) };
        if broken.verdict() != self.at.broken.verdict() {
            if broken.verdict() == Verdict::NotMeasured {
                return Err(Stop::Open(format!("a disk below it could not be checked: {broken}")));
            }
            self.below = self.below.min(broken.verdict());
            return Ok(None);
        }
        let failing = Failing { state: state.clone(), broken };
        if class(&mut self.shrinker.builder, state) == self.class {
            return Ok(Some(failing));
        }
        self.below = self.below.min(failing.broken.verdict());
        self.beside.get_or_insert(failing);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::FaultFs;
    use crate::crash::{Choice, Tape};
    use crate::disk::Disk;
    use crate::model::Profile;
    use crate::op::{Ino, Slot};

    /// So many files, each with its own page, none of them synced.
    fn files(count: usize, profile: Profile) -> Model {
        let fs = FaultFs::mem();
        (0..count).for_each(|i| fs.write(format!("file{i}"), [(i % 200) as u8 + 1; 100]).unwrap());
        Model::new(Arc::new(fs.trace()), profile)
    }

    /// Everything that the run had asked for is lost.
    fn all(model: &Model) -> State {
        let last = model.trace.ops.iter().filter_map(|op| op.end).max().expect("it has ended");
        State { stamp: last, tape: Tape(vec![Choice::LoseAll]) }
    }

    /// How many of the files are not there.
    fn missing(disk: &Disk, count: usize) -> usize {
        let slot = |i: &usize| Slot::new(Ino::ROOT, format!("file{i}"));
        (0..count).filter(|i| disk.lookup(&slot(i)).is_none()).count()
    }

    fn lost(message: &str) -> Outcome {
        Err(Broken::lost(message))
    }

    /// Shrinks `state`, which fails, by what `check` says of disks.
    fn shrunk(model: &Model, state: State, check: &dyn Fn(&Disk) -> Outcome) -> (Failing, Shrunk) {
        let mut builder = Builder::new(model);
        let mut rerun = |states: &[State]| {
            let mut check = |state| check(&builder.build(state).expect("legal").0);
            Ok(states.iter().map(|state| Some(check(state))).collect::<Vec<_>>())
        };
        let broken = rerun(std::slice::from_ref(&state)).unwrap().remove(0).unwrap().unwrap_err();
        let mut shrinker = Shrinker::new(model, &[], &[], &mut rerun);
        let (smaller, shrunk, _) = shrinker.shrink(Failing { state, broken }).unwrap();
        (smaller, shrunk)
    }

    #[test]
    fn of_many_losses_the_one_that_matters_is_left() {
        for profile in [Profile::POSIX, Profile::EXT4, Profile::DATA_JOURNAL] {
            let model = files(40, profile);
            let check = |disk: &Disk| match disk.lookup(&Slot::new(Ino::ROOT, "file17")) {
                None => lost("file17"),
                Some(_) => Ok(()),
            };
            let (failing, shrunk) = shrunk(&model, all(&model), &check);
            assert!(shrunk.is_minimal() && shrunk.below == Verdict::Held, "{profile}: {shrunk}");
            let omitted = Builder::new(&model).omitted(&failing.state);
            let ops: Vec<String> = omitted.iter().map(|id| model.describe(*id)).collect();
            assert!(ops.len() == 1 && ops[0].starts_with("create file17"), "{profile}: {ops:?}");
            assert!(shrunk.reruns < 40, "{profile}: {shrunk}");
        }
    }

    /// Two are enough, whichever they are, and so are all forty; what lies between holds.
    #[test]
    fn an_engine_that_fails_less_the_more_it_loses_is_shrunk_to_a_minimum() {
        let model = files(40, Profile::POSIX);
        let fails =
            |count: usize| count == 40 || count.is_multiple_of(7) && count > 0 || count == 2;
        let check = |disk: &Disk| match missing(disk, 40) {
            count if fails(count) => lost("some"),
            _ => Ok(()),
        };
        let (failing, shrunk) = shrunk(&model, all(&model), &check);
        assert!(shrunk.is_minimal(), "{shrunk}");
        let mut builder = Builder::new(&model);
        assert!(fails(missing(&builder.build(&failing.state).unwrap().0, 40)));
        for below in builder.simpler(&failing.state) {
            assert!(check(&builder.build(&below).unwrap().0).is_ok(), "{}", below.tape);
        }
    }

    #[test]
    fn another_verdict_is_another_failure_and_is_told() {
        let model = files(4, Profile::POSIX);
        let check = |disk: &Disk| match missing(disk, 4) {
            0 => Ok(()),
            1 => Err(Broken::corrupt("one")),
            _ => lost("several"),
        };
        let (failing, shrunk) = shrunk(&model, all(&model), &check);
        assert_eq!(failing.broken.verdict(), Verdict::Lost);
        assert_eq!((shrunk.to, shrunk.below), (2, Verdict::Corrupt), "{shrunk}");
    }

    #[test]
    fn what_the_bound_or_an_interruption_ends_is_not_called_minimal() {
        let model = files(300, Profile::POSIX);
        let many = |disk: &Disk| match missing(disk, 300) {
            count if count > 150 => lost("more than half"),
            _ => Ok(()),
        };
        let (failing, shrunk_to_bound) = shrunk(&model, all(&model), &many);
        assert_eq!(shrunk_to_bound.reruns, RERUNS_MAX);
        let open = shrunk_to_bound.open.expect("151 losses are left to be tried one by one");
        assert!(open.starts_with("the bound of 200 re-runs"), "{open}");
        assert!(missing(&Builder::new(&model).build(&failing.state).unwrap().0, 300) > 150);

        let mut interrupted = |states: &[State]| Ok(vec![None; states.len()]);
        let mut shrinker = Shrinker::new(&model, &[], &[], &mut interrupted);
        let found = Failing { state: all(&model), broken: Broken::lost("x") };
        let (same, shrunk, _) = shrinker.shrink(found.clone()).unwrap();
        assert_eq!((same.state, shrunk.open.as_deref()), (found.state, Some("interrupted")));
    }

    /// What was checked before costs nothing.
    #[test]
    fn known_disks_are_not_checked_again() {
        let model = files(2, Profile::POSIX);
        let at = |tape| State { tape, ..all(&model) };
        let mut builder = Builder::new(&model);
        let one = at(Tape(vec![Choice::Lose(0)]));
        let below = builder.simpler(&one);
        let outcomes = vec![Some(Ok(())); below.len()];
        let mut never = |_: &[State]| unreachable!("all of them are known");
        let mut shrinker = Shrinker::new(&model, &below, &outcomes, &mut never);
        let found = Failing { state: one.clone(), broken: Broken::lost("x") };
        let (same, shrunk, _) = shrinker.shrink(found).unwrap();
        assert_eq!((same.state, shrunk.reruns), (one, 0));
        assert!(shrunk.is_minimal());
    }
}
