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
//! for itself; where several are due at one op, the first in the plan decides, and the op is not
//! counted as fired for the others.
//!
//! A rule that never fired fails the run, unless it is optional: see [`Injector::finish`].
//!
//! [`Injector::finish`]: crate::Injector::finish

mod builder;
mod rule;
mod text;

pub use builder::{When, on};
pub use rule::{OpKind, Pattern, Rule};

/// Rules, in the order in which they are asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    rules: Vec<Rule>,
}

impl Plan {
    /// A plan in which nothing goes wrong.
    pub const fn new() -> Plan {
        Plan { rules: Vec::new() }
    }

    /// The rules in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
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
