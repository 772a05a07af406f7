//! One run of a sweep again, from its token.

use std::sync::Arc;

use super::attempt::{Tester, rotten};
use super::case::{Case, Token};
use super::runner::{Outcome, Runs};
use crate::crash::Token as StateToken;
use crate::explore::{self, Settings, trace_id};
use crate::trace::Trace;
use crate::verdict::{Broken, Verdict};
use crate::{Error, Result};

/// Makes the run again and looks at the disk that the token names, in this process. `base` is the run
/// without faults as it is now.
///
/// # Errors
///
/// Says what failed again, or why it could not be made.
pub(super) fn replay<R: ?Sized>(
    runs: &mut Runs<'_, '_, R>,
    base: &Arc<Trace>,
    token: &Token,
    settings: &Settings<'_>,
) -> Result<()> {
    let failed = |broken: Broken| Error::new(format!("{token}: {broken}\n{}", broken.output()));
    if let Case::Rot(rot) = &token.case {
        let base = explore::trace_of(&rot.state, base, &settings.traces)?;
        let (disk, marks) = rotten(&base, rot)
            .ok_or_else(|| Error::new(format!("{token}: there is no such data on this disk")))?;
        runs.tester.looks_at(&base);
        return match runs.recover(&disk, &marks) {
            Err(broken) if broken.verdict() != Verdict::Unopenable => Err(failed(broken)),
            _ => Ok(()),
        };
    }
    let Outcome { reply, .. } = runs.afresh(&token.case.to_string(), true)?;
    let attempt = reply.map_err(failed)?;
    if attempt.fired == 0 {
        return Err(Error::new(format!(
            "{token}: the workload does not come to this call any more; sweep it again"
        )));
    }
    match (attempt.failures.into_iter().next(), &token.state) {
        (_, Some(state)) => on_disk(runs, base, state, token, settings),
        (Some((_, broken)), None) => Err(failed(broken)),
        (None, None) => Ok(()),
    }
}

/// The disk of a crash after the fault: of the run as it is now, or as it was saved.
fn on_disk<R: ?Sized>(
    runs: &mut Runs<'_, '_, R>,
    base: &Arc<Trace>,
    state: &StateToken,
    token: &Token,
    settings: &Settings<'_>,
) -> Result<()> {
    let room = runs.room();
    let Tester { door, oracle, .. } = &mut runs.tester;
    let mut present = door.trace(&room)?;
    present.subject = base.subject.clone();
    let present = Arc::new(present);
    let trace = explore::trace_of(state, &present, &settings.traces)?;
    let changed = match trace_id(&present) == state.trace {
        true => "",
        false => "\nthis is a disk of the saved run; the run with the fault has changed since",
    };
    explore::replay(&mut **door, &mut **oracle, &trace, &state.clone().into())
        .map_err(|error| Error::new(format!("{token}: {error}{changed}")))
}
