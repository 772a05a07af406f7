//! What was covered of the space of states, for the report.

use std::time::Duration;

use super::judge::Outcome;
use crate::crash::{Bound, Covered, Level, Listing};
use crate::model::Model;
use crate::op::{Found, Op};
use crate::report::Coverage;

/// What was listed and checked of each level.
pub(super) fn coverage(listing: &Listing, outcomes: &[Option<Outcome>]) -> Vec<Coverage> {
    let of = |covered: &Covered| Coverage {
        states: covered.level.to_string(),
        checked: outcomes[covered.states.clone()].iter().flatten().count() as u64,
        listed: covered.states.len() as u64,
        points: covered.points,
        of_points: covered.of_points,
        not_covered: match covered.level {
            Level::Sampled => 0,
            _ => covered.of_points - covered.points,
        },
        steps: covered.steps,
        search_ended: covered.is_spent,
    };
    listing.levels.iter().map(of).collect()
}

/// The same in words: the largest bound that is complete, then what is not.
pub(super) fn words(listing: &Listing, coverage: &[Coverage], bound: &Bound) -> String {
    let levels: Vec<(Level, &Coverage)> =
        listing.levels.iter().map(|covered| covered.level).zip(coverage).collect();
    let bounds = |level: Level| matches!(level, Level::Kept | Level::Omitted(_) | Level::Torn(_));
    let complete = levels.iter().filter(|(level, _)| bounds(*level));
    let complete: Vec<_> = complete.take_while(|(_, covered)| covered.is_complete()).collect();
    let mut parts = Vec::new();
    if let Some((level, _)) = complete.last() {
        let sum = |count: fn(&Coverage) -> u64| complete.iter().map(|(_, c)| count(c)).sum();
        let (checked, listed) = (sum(|c| c.checked), sum(|c| c.listed));
        let what = match level {
            Level::Kept => "nothing lost".into(),
            level => format!("at most {level}"),
        };
        parts.push(format!("all states with {what}: {}", of(checked, listed)));
    }
    let rest = levels.iter().filter(|level| !complete.contains(level));
    parts.extend(rest.filter_map(|(level, covered)| match level {
        Level::Sampled => sampled(covered, bound),
        // A part of the level behind it.
        Level::TornNow if complete.iter().any(|(l, _)| *l == Level::Torn(1)) => None,
        _ if covered.is_complete() && covered.listed == 0 => None,
        _ if covered.is_complete() => {
            Some(format!("{level}: {}", of(covered.checked, covered.listed)))
        }
        _ => Some(format!("{level}: {}", incomplete(covered, bound))),
    }));
    parts.push("schedules: 1".into());
    parts.join("; ")
}

/// What is not covered where the process alone dies: times between stores of which only the sum was seen.
pub(super) fn stores_taken_together(model: &Model) -> String {
    let seen = |is_one: fn(Found) -> bool| {
        let stores = model.trace().ops.iter().filter_map(|record| match record.op {
            Op::MapStore { found, .. } => Some(found),
            _ => None,
        });
        stores.filter(|seen| is_one(*seen)).count() as u64
    };
    let comparisons = seen(|seen| seen == Found::Compared);
    if !model.profile().process_only || comparisons == 0 {
        return String::new();
    }
    format!(
        "; of stores through mappings what changed between two calls was seen (comparisons: {}, pages: {}): \
         states with a part of that not covered",
        number(comparisons),
        number(seen(|seen| seen != Found::Stored))
    )
}

fn incomplete(covered: &Coverage, bound: &Bound) -> String {
    let at = format!(
        "not complete, {} at {} of {} crash points",
        of(covered.checked, covered.listed),
        number(covered.points),
        number(covered.of_points)
    );
    match covered.search_ended {
        false => at,
        true => format!(
            "{at}, {} not covered: the search ended after {} steps (`effort`)",
            number(covered.not_covered),
            number(bound.steps())
        ),
    }
}

fn sampled(covered: &Coverage, bound: &Bound) -> Option<String> {
    let seed = bound.seed;
    match (bound.samples.min(bound.budget), covered.listed) {
        (0, _) => None,
        (_, 0) => Some(format!("sampled for more, none found, seed {seed}")),
        _ => Some(format!("sampled {} of more, seed {seed}", of(covered.checked, covered.listed))),
    }
}

/// Why a report cannot be compared.
pub(super) fn timed(limit: Duration, checked: usize, listed: usize) -> String {
    format!(
        "the time budget of {limit:?} was used up after {} states; what was left out depends on the \
         machine",
        of(checked as u64, listed as u64)
    )
}

fn of(checked: u64, listed: u64) -> String {
    format!("{} of {}", number(checked), number(listed))
}

/// With a comma before every three digits.
fn number(n: u64) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn level(level: Level, points: u64, states: Range<usize>) -> Covered {
        Covered { level, points, of_points: 3, states, steps: 0, is_spent: false }
    }

    /// What is said of levels, of whose states all but those at `open` were checked.
    fn said(levels: Vec<Covered>, open: &[usize]) -> (String, Vec<Coverage>) {
        let count = levels.iter().map(|covered| covered.states.end).max().unwrap_or(0);
        let outcomes: Vec<_> =
            (0..count).map(|index| (!open.contains(&index)).then_some(Ok(()))).collect();
        let listing = Listing { crash_points: 3, states: 0, distinct: Vec::new(), levels };
        let coverage = coverage(&listing, &outcomes);
        (words(&listing, &coverage, &Bound::default()), coverage)
    }

    #[test]
    fn a_bound_behind_a_gap_is_not_claimed() {
        let levels = vec![
            level(Level::Kept, 3, 0..2),
            level(Level::Omitted(1), 1, 2..4),
            level(Level::Omitted(2), 3, 4..6),
        ];
        let (words, coverage) = said(levels, &[]);
        assert_eq!(
            words,
            "all states with nothing lost: 2 of 2; 1 omission: not complete, 2 of 2 at 1 of 3 crash points; \
             2 omissions: 2 of 2; schedules: 1"
        );
        assert_eq!(coverage.iter().map(|c| c.not_covered).collect::<Vec<_>>(), [0, 2, 0]);
    }

    #[test]
    fn a_level_with_a_state_that_was_not_checked_is_not_complete() {
        let levels = vec![level(Level::Kept, 3, 0..2), level(Level::Omitted(1), 3, 2..5)];
        let (words, coverage) = said(levels, &[3]);
        assert_eq!(
            words,
            "all states with nothing lost: 2 of 2; 1 omission: not complete, 2 of 3 at 3 of 3 crash points; \
             schedules: 1"
        );
        assert_eq!(
            coverage.iter().map(|c| (c.checked, c.listed)).collect::<Vec<_>>(),
            [(2, 2), (2, 3)]
        );
    }

    #[test]
    fn only_what_was_complete_and_empty_goes_without_saying() {
        let levels = vec![
            level(Level::Kept, 3, 0..1),
            level(Level::Lost, 3, 1..1),
            level(Level::Wide, 2, 1..1),
            level(Level::TornNow, 3, 1..2),
            Covered { steps: 7, is_spent: true, ..level(Level::Torn(1), 0, 2..2) },
        ];
        let (words, _) = said(levels, &[]);
        assert!(!words.contains(&Level::Lost.to_string()), "{words}");
        for shown in [Level::Wide, Level::TornNow] {
            assert!(words.contains(&shown.to_string()), "{shown} in {words}");
        }
        assert!(words.contains("3 not covered: the search ended after"), "{words}");
    }

    #[test]
    fn numbers_are_grouped() {
        let shown = [0, 999, 1_000, 41_233, 1_000_000].map(number);
        assert_eq!(shown, ["0", "999", "1,000", "41,233", "1,000,000"]);
    }
}
