//! Which of the program's fail points a run came by.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::catalogue::{self, catalogue};
use crate::point::Point;

/// Which points were passed and which fired, by name. Prints as a summary with the names that
/// were never passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    points: BTreeMap<String, PointCoverage>,
}

/// What happened at the sites of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PointCoverage {
    /// How many sites have the name; none for a name that is computed.
    pub sites: usize,
    /// Whether anybody was looking. If not, the counts say nothing.
    pub is_measured: bool,
    /// Whether it was passed at all.
    pub is_passed: bool,
    /// Passes while armed or watched.
    pub hits: u64,
    /// Passes at which something other than `off` was done.
    pub fires: u64,
}

/// What the process has come by since it began, in any scope. Whether a point was passed is
/// always known; hits and fires are counted while it is armed.
pub fn coverage() -> Coverage {
    let mut points: BTreeMap<String, PointCoverage> = BTreeMap::new();
    for site in catalogue() {
        let point = points.entry(site.name().unwrap_or("(computed)").to_owned()).or_default();
        point.sites += 1;
        point.is_measured = true;
        point.is_passed |= site.was_passed();
        point.hits += site.hits();
        point.fires += site.fires();
    }
    Coverage { points }
}

impl Coverage {
    /// Of armed points, and of all names in the program beside them.
    pub(crate) fn of_points(armed: &[Arc<Point>]) -> Coverage {
        let mut points: BTreeMap<String, PointCoverage> = BTreeMap::new();
        for name in catalogue::names() {
            let sites = catalogue::sites_of(name).len();
            points.insert(name.to_owned(), PointCoverage { sites, ..PointCoverage::default() });
        }
        for point in armed {
            let status = point.status();
            let entry = points.entry(point.name().to_owned()).or_default();
            entry.is_measured = true;
            entry.is_passed |= status.hits > 0;
            entry.hits += status.hits;
            entry.fires += status.fires;
        }
        Coverage { points }
    }

    /// Every name with what is known of it, in order.
    pub fn points(&self) -> impl Iterator<Item = (&str, PointCoverage)> {
        self.points.iter().map(|(name, point)| (name.as_str(), *point))
    }

    /// What is known of one name.
    pub fn get(&self, name: &str) -> Option<PointCoverage> {
        self.points.get(name).copied()
    }
}

/// `37 of 41 points passed, 12 fired`, then the names never passed.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = || self.points().filter(|(_, point)| point.is_measured);
        let passed = measured().filter(|(_, point)| point.is_passed).count();
        let fired = measured().filter(|(_, point)| point.fires > 0).count();
        write!(f, "{passed} of {} points passed, {fired} fired", measured().count())?;
        let unmeasured = self.points.len() - measured().count();
        if unmeasured > 0 {
            write!(f, ", {unmeasured} not watched")?;
        }
        let missed: Vec<_> =
            measured().filter(|(_, point)| !point.is_passed).map(|(name, _)| name).collect();
        if !missed.is_empty() {
            write!(f, "; never passed: {}", missed.join(", "))?;
        }
        Ok(())
    }
}
