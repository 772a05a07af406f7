//! What goes wrong, and when: rules as plain data, as a typed builder, and as text.
//!
//! ```
//! use faultfs::errno::{EIO, ENOSPC};
//! use faultfs::plan::{Plan, on};
//!
//! let plan = Plan::from([
//!     on::sync().path("*.wal").skip(2).take(1).fail(EIO),
//!     on::write().path("*.sst").skip(10).fail(ENOSPC),
//!     on::write().take(1).short(512).optional(),
//! ]);
//! let text = "sync *.wal skip 2 take 1 -> fail EIO; \
//!             write *.sst skip 10 -> fail ENOSPC; \
//!             write * take 1 optional -> short 512";
//! assert_eq!(plan.to_string(), text);
//! assert_eq!(text.parse(), Ok(plan));
//! ```
//!
//! # When a rule fires
//!
//! Each rule counts the ops that it matches: its kind, its path, and large enough for the fault to
//! make a difference (`short 512` does not see a write of 100 bytes). Of those it lets `skip` pass,
//! faults the next `take` (all, where that is not given), and lets the rest pass. Every rule counts
//! for itself, a rule that is `per_file` for each path; where several are due at one op, the first in the plan decides, and the op is not
//! counted as fired for the others.
//!
//! Beyond the path a rule can be about a thread, a place in the source and the number of an op over all: see
//! [`When`]. A pattern may have choices (`*.wal|*-wal`), to which the text of a plan can give a name, the
//! role of those files: `role wal = *.wal|*-wal; sync @wal -> fail EIO`.
//!
//! With `sometimes` each op after the skipped ones is faulted at that ratio, drawn from a seed that is part
//! of the rule, and `take` limits the faults: the same ops in the same order meet the same faults.
//!
//! A rule that never fired fails the run, unless it is optional: see [`Injector::finish`].
//!
//! [`Injector::finish`]: crate::Injector::finish

mod builder;
mod pattern;
mod possible;
mod rule;
mod text;

use std::env::VarError;

use serde::{Deserialize, Serialize};

use crate::error::Error;

pub use builder::{When, on};
pub use pattern::Pattern;
pub use rule::{OpKind, Rule};

/// Rules, in the order in which they are asked. Serialised it is its text.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Plan {
    rules: Vec<Rule>,
}

impl Plan {
    /// A plan in which nothing goes wrong.
    pub const fn new() -> Plan {
        Plan { rules: Vec::new() }
    }

    /// The plan in the environment variable [`Plan::VARIABLE`], empty where that is not set: for runs
    /// whose faults are chosen from outside.
    ///
    /// # Errors
    ///
    /// Where the variable holds no plan.
    pub fn from_env() -> Result<Plan, Error> {
        Plan::from_variable(std::env::var(Plan::VARIABLE))
    }

    fn from_variable(value: Result<String, VarError>) -> Result<Plan, Error> {
        let parsed = match value {
            Ok(text) => text.parse(),
            Err(VarError::NotPresent) => Ok(Plan::new()),
            Err(e) => Err(Error::new(e.to_string())),
        };
        parsed.map_err(|e: Error| Error::new(format!("{}: {e}", Plan::VARIABLE)))
    }

    /// `FAULTFS_PLAN`.
    pub const VARIABLE: &str = "FAULTFS_PLAN";

    /// The rules in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

impl From<Plan> for String {
    fn from(plan: Plan) -> String {
        plan.to_string()
    }
}

impl TryFrom<String> for Plan {
    type Error = Error;

    fn try_from(text: String) -> Result<Plan, Error> {
        text.parse()
    }
}

impl From<Rule> for Plan {
    fn from(rule: Rule) -> Plan {
        Plan { rules: vec![rule] }
    }
}

impl From<Vec<Rule>> for Plan {
    fn from(rules: Vec<Rule>) -> Plan {
        Plan { rules }
    }
}

impl<const N: usize> From<[Rule; N]> for Plan {
    fn from(rules: [Rule; N]) -> Plan {
        Plan { rules: rules.into() }
    }
}

impl FromIterator<Rule> for Plan {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Plan {
        Plan { rules: rules.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::EIO;

    #[test]
    fn a_variable_is_no_plan_a_plan_or_an_error_that_names_it() {
        assert_eq!(Plan::from_variable(Err(VarError::NotPresent)), Ok(Plan::new()));
        let plan = Plan::from_variable(Ok("sync * -> fail EIO".into()));
        assert_eq!(plan, Ok(Plan::from(on::sync().fail(EIO))));
        let error = Plan::from_variable(Ok("snyc * -> fail EIO".into())).unwrap_err();
        assert!(error.to_string().starts_with("FAULTFS_PLAN: plan, column 1: unknown op `snyc`"));
    }
}
