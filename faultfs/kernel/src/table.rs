//! What was seen, in rows: a program on a filesystem under a profile.

use std::collections::BTreeSet;

use crate::legal::Legal;
use crate::measure::{Seen, Unmeasured};

/// Prints a row for each program and the first profile of the filesystem, and what was not measured.
pub(crate) fn print(system: &str, seen: &[Seen], verbose: bool) {
    for one in seen {
        let Some(legal) = one.legal.first() else { continue };
        let row = Row::of(one, legal);
        println!(
            "{system:<20} {:<50.50} {:<20} {:>5} {:>8} {:>11}  {:>4} schedules, {:>5} disks",
            one.program,
            legal.profile,
            row.legal,
            row.seen,
            row.unexplained,
            one.schedules,
            one.states
        );
        match &one.unmeasured {
            None => {}
            Some(Unmeasured::Limit(why)) => println!("    not measured: {why}"),
            Some(Unmeasured::Failed(why)) => println!("    not measured to its end: {why}"),
        }
        if verbose && !row.never.is_empty() {
            println!("    never seen: {}", row.never.join(", "));
        }
    }
}

/// The head of the columns.
pub(crate) fn head() {
    println!(
        "{:<20} {:<50} {:<20} {:>5} {:>8} {:>11}",
        "filesystem", "program", "profile", "legal", "observed", "unexplained"
    );
}

/// After the last op, with all mixes of two versions of a page as one.
pub(crate) struct Row {
    /// What is legal; `too many` where it was not listed.
    pub(crate) legal: String,
    pub(crate) seen: usize,
    pub(crate) unexplained: usize,
    pub(crate) never: Vec<String>,
}

impl Row {
    pub(crate) fn of(seen: &Seen, legal: &Legal) -> Row {
        let found: BTreeSet<String> = seen
            .found
            .iter()
            .filter(|(_, stamps)| stamps.contains(&legal.end()))
            .map(|(text, _)| brief(text))
            .collect();
        let allowed = legal.last().map(|texts| texts.iter().map(|text| brief(text)).collect());
        let allowed: Option<BTreeSet<String>> = allowed;
        let is_allowed = |text: &&String| allowed.as_ref().is_none_or(|all| all.contains(*text));
        let profile = legal.profile.name;
        Row {
            legal: allowed.as_ref().map_or("many".into(), |all| all.len().to_string()),
            seen: found.iter().filter(is_allowed).count(),
            unexplained: seen.findings.iter().filter(|f| f.profile == profile).count(),
            never: allowed
                .iter()
                .flatten()
                .filter(|text| !found.contains(*text))
                .cloned()
                .collect(),
        }
    }
}

/// A text of a disk with each torn page as the letters that are in it.
fn brief(text: &str) -> String {
    let file = |entry: &str| match entry.split_once('=') {
        None => entry.to_string(),
        Some((name, pages)) => {
            let pages: Vec<String> = pages.split('.').map(letters).collect();
            format!("{name}={}", pages.join("."))
        }
    };
    text.split(' ').map(file).collect::<Vec<_>>().join(" ")
}

fn letters(page: &str) -> String {
    let (sectors, len) = page.split_once(':').unwrap_or((page, ""));
    if !sectors.chars().all(|letter| letter.is_ascii_uppercase()) {
        return page.into();
    }
    let found: BTreeSet<char> = sectors.chars().collect();
    // Older before newer, as the litmus programs have it.
    let (known, more): (Vec<char>, Vec<char>) = found.iter().partition(|c| "ZGOMN".contains(**c));
    let known = "ZGOMN".chars().filter(|letter| known.contains(letter));
    let found: String = known.chain(more).collect();
    if len.is_empty() { found } else { format!("{found}:{len}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_of_the_same_versions_are_one() {
        assert_eq!(brief("a=NNOOOOOO.Z b->a"), "a=ON.Z b->a");
        assert_eq!(brief("a(600)=OZ:1024 d/"), "a(600)=ZO:1024 d/");
        assert_eq!(brief("broken: mount: error"), "broken: mount: error");
    }
}
