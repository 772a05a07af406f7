//! What a person asks to see again, by a token in the environment.

use super::Token;
use super::builder::Place;
use crate::file::Saver;
use crate::{Error, Result, file};

/// The environment variable that makes one exploration of a test recover from one state only: the token
/// of a report.
pub const REPLAY: &str = "FAULTFS_REPLAY";

/// The token of the environment, where this call is to replay one: of an exploration, or of a sweep.
///
/// # Errors
///
/// For a text that is no token, and for the token of another test.
pub(crate) fn asked_to_replay(place: &Place) -> Result<Option<AnyToken>> {
    let Ok(text) = std::env::var(REPLAY) else { return Ok(None) };
    let token = match text.parse().map(AnyToken::OfState) {
        Ok(token) => token,
        Err(error) => match text.parse().map(AnyToken::OfSweep) {
            Ok(token) => token,
            // What has a colon in it was meant for one of a sweep.
            Err(of_sweep) => {
                let error = if text.contains(':') { of_sweep } else { error };
                return Err(Error::new(format!("{REPLAY}: {error}")));
            }
        },
    };
    let (trace, saver) = file::load_saved(&file::find(&place.traces, token.trace())?)?;
    let here = Saver::here();
    match trace.subject == place.name {
        true => Ok(Some(token)),
        // Another call of the same test, which comes to its own. This one is done whole: left out, a test in which
        // no call is that one any more would pass.
        false if saver == here => {
            let (name, of) = (&place.name, &trace.subject);
            eprintln!("{REPLAY} is of {of}: nothing is replayed of {name}, which runs whole");
            Ok(None)
        }
        false => Err(Error::new(format!(
            "{REPLAY}: the token is of {} in {saver}, and this is {} in {here}: run that one alone, by \
             its whole name, or unset {REPLAY}",
            trace.subject, place.name
        ))),
    }
}

/// A token of either verb.
pub(crate) enum AnyToken {
    OfState(Token),
    OfSweep(crate::sweep::Token),
}

impl AnyToken {
    fn trace(&self) -> &str {
        match self {
            AnyToken::OfState(token) => &token.state.trace,
            AnyToken::OfSweep(token) => &token.trace,
        }
    }
}
