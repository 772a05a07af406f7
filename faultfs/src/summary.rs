//! The verdicts of one recorded run under several profiles, in a line.

use crate::report::Report;
use crate::verdict::Verdict;

/// Says on which filesystems a run held and on which it did not: what held first, then the worst.
///
/// The order of profiles is that of the reports. Empty where there are no reports.
///
/// ```
/// use faultfs::Profile;
///
/// let reports = faultfs::explore(|fs| {
///     fs.create("file")?;
///     fs.open("file")?.sync_all()?;
///     fs.ack(1);
///     Ok(())
/// })
/// .named("a new file")
/// .in_process()
/// .profiles([Profile::POSIX, Profile::EXT4, Profile::XFS])
/// .reports(|fs, marks| match marks.acked.is_empty() || fs.exists("file")? {
///     true => Ok(()),
///     false => Err(faultfs::verdict::Broken::lost("the file")),
/// })
/// .unwrap();
/// assert_eq!(faultfs::summary::one_line(&reports), "held on ext4 and xfs, lost on posix");
/// ```
pub fn one_line<'a>(reports: impl IntoIterator<Item = &'a Report>) -> String {
    let reports: Vec<&Report> = reports.into_iter().collect();
    let mut verdicts: Vec<Verdict> = reports.iter().map(|report| report.verdict).collect();
    verdicts.sort_by_key(|verdict| (*verdict != Verdict::Held, *verdict));
    verdicts.dedup();
    let on = |verdict: &Verdict| {
        let having = reports.iter().filter(|report| report.verdict == *verdict);
        let names: Vec<&str> = having.map(|report| report.profile.name).collect();
        format!("{verdict} on {}", listed(&names))
    };
    verdicts.iter().map(on).collect::<Vec<_>>().join(", ")
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => one.to_string(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
