//! From data that rotted to the least of it that fails alike: fewer bytes, down to one bit, on a disk that lost
//! less.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::case::{Case, Rot, Rotten};
use super::findings::is_alike;
use super::runner::Runs;
use crate::Result;
use crate::crash::{Builder, Token as StateToken};
use crate::model::Model;
use crate::report::Shrunk;
use crate::trace::Trace;
use crate::verdict::{Broken, Verdict};

/// Recoveries for one failure, and for one that hangs.
const RERUNS_MAX: u64 = 200;
const RERUNS_OF_A_HANG: u64 = 10;

/// Rotten data of which no part can be spared for it to fail as `broken` does, and what that took; the losses of
/// its disk are counted.
pub(super) fn least<R: ?Sized>(
    rot: &Rot,
    broken: &Broken,
    base: &Arc<Trace>,
    runs: &mut Runs<'_, '_, R>,
) -> Result<(Rot, Shrunk)> {
    let model = Model::new(base.clone(), rot.state.profile());
    let mut builder = Builder::new(&model);
    let mut at = rot.clone();
    let mut shrunk = Shrunk {
        from: builder.omitted(&rot.state.state()).len() as u64,
        to: 0,
        reruns: 0,
        reruns_max: if broken.verdict() == Verdict::Hung { RERUNS_OF_A_HANG } else { RERUNS_MAX },
        open: None,
        below: Verdict::Held,
    };
    loop {
        let simpler = simpler(&at, &mut builder);
        let left = (shrunk.reruns_max - shrunk.reruns) as usize;
        let texts: Vec<String> =
            simpler.iter().take(left).map(|rot| Case::Rot(rot.clone()).to_string()).collect();
        shrunk.reruns += texts.len() as u64;
        shrunk.below = Verdict::Held;
        let outcomes = runs.attempts(&texts, &mut || ControlFlow::Continue(()))?;
        let mut next = None;
        for (rot, outcome) in simpler.iter().zip(outcomes.into_iter().flatten()) {
            for (_, found) in outcome.failures() {
                match is_alike(&found, broken) {
                    true => next = next.or(Some(rot)),
                    false => shrunk.below = shrunk.below.min(found.verdict()),
                }
            }
        }
        match next {
            Some(rot) => at = rot.clone(),
            None if texts.len() < simpler.len() => {
                let max = shrunk.reruns_max;
                shrunk.open = Some(format!("the bound of {max} re-runs was reached"));
                break;
            }
            None => break,
        }
    }
    shrunk.to = builder.omitted(&at.state.state()).len() as u64;
    Ok((at, shrunk))
}

/// What is one step simpler: a half of the bytes, a bit of one, or the same on a disk that lost less.
fn simpler(rot: &Rot, builder: &mut Builder<'_>) -> Vec<Rot> {
    let parts = match &rot.what {
        Rotten::Bit(_) => Vec::new(),
        Rotten::Bytes(bytes) if bytes.end - bytes.start == 1 => {
            (bytes.start * 8..bytes.end * 8).map(Rotten::Bit).collect()
        }
        Rotten::Bytes(bytes) => {
            let middle = bytes.start + (bytes.end - bytes.start) / 2;
            vec![Rotten::Bytes(bytes.start..middle), Rotten::Bytes(middle..bytes.end)]
        }
    };
    let parts = parts.into_iter().map(|what| Rot { what, ..rot.clone() });
    let states = builder.simpler(&rot.state.state()).into_iter();
    let states = states.map(|state| {
        let state = StateToken { stamp: state.stamp, tape: state.tape, ..rot.state.clone() };
        Rot { state, ..rot.clone() }
    });
    // Everything given back first.
    let whole = StateToken { tape: Default::default(), ..rot.state.clone() };
    let whole = (whole != rot.state).then(|| Rot { state: whole, ..rot.clone() });
    whole.into_iter().chain(parts).chain(states).collect()
}
