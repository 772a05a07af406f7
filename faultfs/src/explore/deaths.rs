//! Recoveries that die of a fault: an error is an answer, a panic, an abort and an endless wait are none.
//!
//! Of one kind are those with the same verdict and message whose faults strike the same kind of call on the same
//! path, as in a sweep. Each is shown by the first fault that kills, of a plan by as few of its rules as it takes, on a
//! disk of which no loss can be given back.

use std::collections::BTreeMap;

use super::findings::{describe, token};
use super::{Faults, Judge, Patience, Recorded, Settings, Token};
use crate::Result;
use crate::crash::{Builder, State};
use crate::model::Model;
use crate::plan::Plan;
use crate::report::{Failure, Shrunk};
use crate::sweep::{is_alike, struck, without_numbers};
use crate::verdict::{Broken, Verdict};

/// Recoveries that are run for one death, and for one that is a hang.
const RERUNS_MAX: u64 = 100;
const RERUNS_OF_A_HANG: u64 = 10;

/// Whether a recovery came to no end of its own.
pub(super) fn is_death(broken: &Broken) -> bool {
    use Verdict::*;
    matches!(broken.verdict(), Faulted | Aborted | Panicked | OutOfMemory | Hung)
}

/// A recovery that died, and of what.
#[derive(Clone)]
struct Death {
    state: State,
    faults: Faults,
    broken: Broken,
    count: u64,
}

/// How recoveries died, each kind by the first that did.
#[derive(Default)]
pub(super) struct Deaths(BTreeMap<Kind, Death>);

/// How it died, the kind of call and the path that the fault strikes, and the message.
type Kind = (Verdict, String, String);

/// What a fault strikes that is at every call.
const ANY: &str = "any *";

impl Deaths {
    /// One more recovery died of these faults.
    pub(super) fn add(&mut self, state: &State, faults: &Faults, broken: Broken) {
        let message = match broken.verdict() {
            Verdict::Hung => String::new(),
            _ => without_numbers(broken.message()),
        };
        let kind = (broken.verdict(), struck(&faults.to_string()), message);
        let first = || Death { state: state.clone(), faults: faults.clone(), broken, count: 0 };
        self.0.entry(kind).or_insert_with(first).count += 1;
    }

    /// A device that goes away kills by one of its calls: where a single call of the kind does so too, that tells more.
    fn told_apart(mut self) -> Vec<Death> {
        let gone: Vec<_> = self.0.keys().filter(|kind| kind.1 == ANY).cloned().collect();
        for kind in gone {
            let of_a_call = |(other, _): &(&Kind, &mut Death)| {
                other.1 != ANY && (other.0, &other.2) == (kind.0, &kind.2)
            };
            let Some(count) = self.0.get(&kind).map(|death| death.count) else { continue };
            if let Some((_, death)) = self.0.iter_mut().find(of_a_call) {
                death.count += count;
                self.0.remove(&kind);
            }
        }
        self.0.into_values().collect()
    }

    /// Each kind at its smallest and confirmed in a fresh process, worst first; what does not die again in the same
    /// way makes the run not measured.
    pub(super) fn failures(
        self,
        model: &Model,
        trace_id: &str,
        judge: &mut dyn Judge,
        settings: &Settings<'_>,
        not_measured: &mut Vec<String>,
    ) -> Result<Vec<Failure>> {
        let mut failures = Vec::new();
        for death in self.told_apart() {
            if (settings.interrupted)() {
                not_measured.push("interrupted among recoveries that died".into());
                break;
            }
            let count = death.count;
            let mut builder = Builder::new(model);
            let (least, mut shrunk) = least(death.clone(), model, trace_id, judge)?;
            let text = |death: &Death| token(model, trace_id, &death.state);
            let mut again =
                |death: &Death| judge.record_afresh(model, &[(text(death), death.faults.clone())]);
            let mut shown = &least;
            if !is_again(&again(shown)?, shown) {
                shown = &death;
                (shrunk.open, shrunk.to) = (
                    Some("a smaller one died once, and not in a fresh process".into()),
                    shrunk.from,
                );
                let second = again(shown)?;
                if !is_again(&second, shown) {
                    not_measured.push(format!(
                        "{} with {}: {} at first, in a fresh process it did not die so",
                        text(shown),
                        shown.faults,
                        shown.broken
                    ));
                    continue;
                }
            }
            let state = text(shown).parse().expect("a token made here parses");
            let token = Token { state, faults: shown.faults.clone() }.to_string();
            let replay = settings.replay.line(&token);
            let failure = describe(model, &mut builder, &shown.state, &shown.broken, token);
            let fault = Some(format!("in the recovery: {}", shown.faults));
            // The folder's own name was there: the recovery came to the fault.
            failures.push(Failure {
                replay,
                fault,
                shrunk: Some(shrunk),
                count,
                class: "",
                ..failure
            });
        }
        Ok(failures)
    }
}

fn is_again(recorded: &[Option<Recorded>], death: &Death) -> bool {
    matches!(recorded, [Some(Err(second))] if is_alike(second, &death.broken))
}

/// A death of which no rule and no loss can be spared, and what that took.
fn least(
    mut at: Death,
    model: &Model,
    trace_id: &str,
    judge: &mut dyn Judge,
) -> Result<(Death, Shrunk)> {
    let mut builder = Builder::new(model);
    let of_a_hang = at.broken.verdict() == Verdict::Hung;
    let mut shrunk = Shrunk {
        from: builder.omitted(&at.state).len() as u64,
        to: 0,
        reruns: 0,
        reruns_max: if of_a_hang { RERUNS_OF_A_HANG } else { RERUNS_MAX },
        open: None,
        below: Verdict::Held,
    };
    loop {
        let simpler = simpler(&at, &mut builder);
        let left = (shrunk.reruns_max - shrunk.reruns) as usize;
        let tried = &simpler[..simpler.len().min(left)];
        shrunk.reruns += tried.len() as u64;
        let jobs: Vec<(String, Faults)> = tried
            .iter()
            .map(|(state, faults)| (token(model, trace_id, state), faults.clone()))
            .collect();
        let recorded = judge.record(model, &jobs, &mut Patience::endless())?;
        let mut next = None;
        shrunk.below = Verdict::Held;
        for ((state, faults), outcome) in tried.iter().zip(recorded) {
            match outcome {
                Some(Err(broken)) if is_alike(&broken, &at.broken) => {
                    let (state, faults) = (state.clone(), faults.clone());
                    next = next.or(Some(Death { state, faults, broken, count: at.count }));
                }
                Some(Err(broken)) => shrunk.below = shrunk.below.min(broken.verdict()),
                Some(Ok(_)) => {}
                None => shrunk.open = Some("interrupted".into()),
            }
        }
        match next {
            _ if shrunk.open.is_some() => break,
            Some(smaller) => at = smaller,
            None if tried.len() < simpler.len() => {
                let max = shrunk.reruns_max;
                shrunk.open = Some(format!("the bound of {max} re-runs was reached"));
                break;
            }
            None => break,
        }
    }
    shrunk.to = builder.omitted(&at.state).len() as u64;
    Ok((at, shrunk))
}

/// What is one step simpler: a rule less, everything given back, or a loss less.
fn simpler(death: &Death, builder: &mut Builder<'_>) -> Vec<(State, Faults)> {
    let rules = death.faults.plan.rules();
    let without = |index: usize| {
        let rest = rules.iter().enumerate().filter(|(other, _)| *other != index);
        Faults::from(rest.map(|(_, rule)| rule.clone()).collect::<Plan>())
    };
    let fewer = (0..rules.len()).filter(|_| rules.len() > 1);
    let fewer = fewer.map(|index| (death.state.clone(), without(index)));
    let whole = State { stamp: death.state.stamp, tape: Default::default() };
    let states = (whole != death.state).then_some(whole).into_iter();
    let states = states.chain(builder.simpler(&death.state));
    let states: Vec<State> = states.filter(|state| builder.build(state).is_some()).collect();
    fewer.chain(states.into_iter().map(|state| (state, death.faults.clone()))).collect()
}
