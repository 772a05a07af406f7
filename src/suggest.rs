//! "Did you mean": the nearest known name.

/// The candidate nearest to `word` by edit distance, if it is near enough to be a slip of the
/// pen: at most a third of the word wrong. Of equally near ones, the first.
pub(crate) fn closest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, removals, replacements and swaps of neighbours; case does not count.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.to_lowercase().chars().collect();
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut before_last = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let replaced = last[j] + usize::from(l != r);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_mended_and_a_stranger_is_not() {
        let known = ["raftkv_async_write", "raftkv_snapshot_iter", "here"];
        let nearest = |word| closest(word, known.into_iter());
        assert_eq!(nearest("raftkv_async_wirte"), Some("raftkv_async_write"));
        assert_eq!(nearest("raftkv_snapshot"), Some("raftkv_snapshot_iter"));
        assert_eq!(nearest("hre"), Some("here"));
        assert_eq!(nearest("Here"), Some("here"));
        assert_eq!(nearest("there_is_no_such"), None);
        assert_eq!(nearest(""), None);
    }

    #[test]
    fn distance_counts_each_slip_once() {
        assert_eq!(distance("panic", "panic"), 0);
        assert_eq!(distance("pnaic", "panic"), 1);
        assert_eq!(distance("", "off"), 3);
        assert_eq!(distance("yeld", "yield"), 1);
    }
}
