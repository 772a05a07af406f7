//! What can be asked, as text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::action::Actions;
use crate::error::Error;
use crate::suggest::closest;

/// What a client asks. Prints as the line that is sent, and parses back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// `list`: a line for each site and for each armed name without one: name, place, package,
    /// whether it was passed, hits, fires, what the process has armed there.
    List,
    /// `arm`, name, actions.
    Arm {
        /// The point.
        name: String,
        /// What it is to do.
        actions: Actions,
    },
    /// `disarm`, name.
    Disarm {
        /// The point.
        name: String,
    },
    /// `release`, name: lets go who pauses there.
    Release {
        /// The point.
        name: String,
    },
    /// `count`, name: hits, fires and paused of an armed point, since it was armed.
    Count {
        /// The point.
        name: String,
    },
    /// `wait`, name, `hits` or `paused`, how many, how many seconds at most.
    Wait {
        /// The point.
        name: String,
        /// For what.
        what: What,
        /// For how many.
        count: u64,
        /// At most so long, in whole seconds, up to an hour.
        limit: Duration,
    },
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Passes since the point was armed.
    Hits,
    /// Threads and tasks that pause there.
    Paused,
}

const WORDS: [&str; 6] = ["list", "arm", "disarm", "release", "count", "wait"];
const LIMIT_MAX_SECONDS: u64 = 3600;

impl FromStr for Request {
    type Err = Error;

    /// # Errors
    ///
    /// Says which field is wrong and how to write it.
    fn from_str(line: &str) -> Result<Request, Error> {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["list"] => Ok(Request::List),
            ["arm", name, actions] => {
                Ok(Request::Arm { name: name_of(name)?, actions: actions.parse()? })
            }
            ["disarm", name] => Ok(Request::Disarm { name: name_of(name)? }),
            ["release", name] => Ok(Request::Release { name: name_of(name)? }),
            ["count", name] => Ok(Request::Count { name: name_of(name)? }),
            ["wait", name, what, count, limit] => Ok(Request::Wait {
                name: name_of(name)?,
                what: what_of(what)?,
                count: number(count, "how many", u64::MAX)?,
                limit: Duration::from_secs(number(limit, "how many seconds", LIMIT_MAX_SECONDS)?),
            }),
            [word, ..] if WORDS.contains(&word) => Err(Error::new(format!(
                "`{word}` does not take {} fields; write {}",
                fields.len() - 1,
                usage(word)
            ))),
            _ => {
                let word = fields.first().copied().unwrap_or_default();
                let mend = match closest(word, WORDS.into_iter()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the requests are {}", WORDS.join(", ")),
                };
                Err(Error::new(format!("there is no request `{word}`; {mend}")))
            }
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::List => f.write_str("list"),
            Request::Arm { name, actions } => write!(f, "arm\t{name}\t{actions}"),
            Request::Disarm { name } => write!(f, "disarm\t{name}"),
            Request::Release { name } => write!(f, "release\t{name}"),
            Request::Count { name } => write!(f, "count\t{name}"),
            Request::Wait { name, what, count, limit } => {
                let what = match what {
                    What::Hits => "hits",
                    What::Paused => "paused",
                };
                write!(f, "wait\t{name}\t{what}\t{count}\t{}", limit.as_secs())
            }
        }
    }
}

fn usage(word: &str) -> &'static str {
    match word {
        "list" => "`list` alone",
        "arm" => "`arm`, a name and actions, parted by tabs",
        "wait" => "`wait`, a name, `hits` or `paused`, how many, and for how many seconds at most",
        _ => "it with a name, parted by a tab",
    }
}

fn name_of(field: &str) -> Result<String, Error> {
    if field.is_empty() {
        return Err(Error::new("the name of a point is missing; write it after the first tab"));
    }
    Ok(field.to_owned())
}

fn what_of(field: &str) -> Result<What, Error> {
    match field {
        "hits" => Ok(What::Hits),
        "paused" => Ok(What::Paused),
        _ => Err(Error::new(format!("cannot wait for `{field}`; write `hits` or `paused`"))),
    }
}

fn number(field: &str, what: &str, max: u64) -> Result<u64, Error> {
    match field.parse() {
        Ok(number) if number <= max => Ok(number),
        _ => Err(Error::new(format!(
            "`{field}` does not say {what}; write a whole number up to {max}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_parses_to_what_printed_it() {
        for line in [
            "list",
            "arm\ta b\t2*off->return(x;y)",
            "disarm\ta",
            "release\ta",
            "count\ta",
            "wait\ta\thits\t3\t10",
            "wait\ta\tpaused\t1\t3600",
        ] {
            assert_eq!(line.parse::<Request>().unwrap().to_string(), line);
        }
    }

    #[test]
    fn a_malformed_request_says_which_field_and_how_to_write_it() {
        for (line, part) in [
            ("", "the requests are list, arm"),
            ("lst", "did you mean `list`?"),
            ("list\ta", "does not take 1 fields; write `list` alone"),
            ("arm\ta", "write `arm`, a name and actions"),
            ("arm\ta\t25return", "there is no task `25return`"),
            ("count\t", "the name of a point is missing"),
            ("count a", "there is no request `count a`"),
            ("wait\ta\tfires\t1\t1", "write `hits` or `paused`"),
            ("wait\ta\thits\t-1\t1", "does not say how many"),
            ("wait\ta\thits\t1\t3601", "a whole number up to 3600"),
        ] {
            let message = line.parse::<Request>().unwrap_err().to_string();
            assert!(message.contains(part), "{line:?}: {message}");
        }
    }
}
