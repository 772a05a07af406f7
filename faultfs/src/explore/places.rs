//! Where in a run the power may go.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::closest;
use crate::trace::{Stamp, Trace};
use crate::{Error, Result};

/// Which moments of a run are crash points.
///
/// A run whose power was [cut](crate::FaultFs::cut_power) has one: that of the cut.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Crashes {
    /// Every start and end of an op, and every mark.
    #[default]
    Everywhere,
    /// Each moment at which a thread came by the fail point of this name, before what was armed there
    /// happened.
    AtPoint(String),
}

impl Crashes {
    /// The stamps of the crash points; `None` for all.
    ///
    /// # Errors
    ///
    /// Where the run never came by the point.
    pub(super) fn stamps(&self, trace: &Trace) -> Result<Option<BTreeSet<Stamp>>> {
        let moments = moments(trace);
        let Crashes::AtPoint(name) = self else {
            return Ok(trace.cut.map(|cut| BTreeSet::from([last(&moments, cut)])));
        };
        let passes = trace.passed.iter().filter(|pass| *pass.point == **name);
        let stamps: BTreeSet<Stamp> = passes.map(|pass| last(&moments, pass.at)).collect();
        match stamps.is_empty() {
            true => Err(Error::new(unreached(name, trace))),
            false => Ok(Some(stamps)),
        }
    }

    /// What the bound of a report says of it.
    pub(super) fn bound(&self, trace: &Trace) -> String {
        match self {
            Crashes::AtPoint(name) => format!("; crashes at fail point `{name}` only"),
            Crashes::Everywhere if trace.cut.is_some() => {
                "; crashes where the power was cut only".into()
            }
            Crashes::Everywhere => String::new(),
        }
    }
}

/// The fail points that were passed at the crash point `stamp`, in order.
pub(super) fn passed_at(trace: &Trace, stamp: Stamp) -> Vec<Arc<str>> {
    let first = trace.passed.partition_point(|pass| pass.at < stamp);
    let moments = match trace.passed.get(first) {
        Some(_) => moments(trace),
        None => return Vec::new(),
    };
    let here = trace.passed[first..].iter().take_while(|pass| last(&moments, pass.at) == stamp);
    here.map(|pass| Arc::clone(&pass.point)).collect()
}

/// The stamps at which a disk can differ from the one before, and the start.
fn moments(trace: &Trace) -> BTreeSet<Stamp> {
    let ops = trace.ops.iter().flat_map(|op| std::iter::once(op.start).chain(op.end));
    ops.chain(trace.marks.iter().map(|(at, _)| *at)).chain([0]).collect()
}

fn last(moments: &BTreeSet<Stamp>, stamp: Stamp) -> Stamp {
    moments.range(..=stamp).next_back().copied().unwrap_or(0)
}

fn unreached(name: &str, trace: &Trace) -> String {
    let never =
        format!("no crash at fail point `{name}`: the run of {} never passed it", trace.subject);
    if !faultpoint::has_failpoints() {
        let mend = "turn on the feature `failpoints` of `faultpoint`";
        return format!("{never}; fail points are compiled out of this program, {mend}");
    }
    let passed: BTreeSet<&str> = trace.passed.iter().map(|pass| &*pass.point).collect();
    if let Some(near) = closest(name, passed.iter().copied()) {
        return format!("{never}; did you mean `{near}`?");
    }
    if passed.is_empty() {
        return format!("{never}, nor any other");
    }
    let passed = passed.into_iter().collect::<Vec<_>>().join("`, `");
    format!("{never}; it passed `{passed}`")
}
