//! Ways to fail that are no surprise.

use faultfs::report::Failure;
use faultfs::verdict::Verdict;

/// How an engine fails, and why. The functions named were read in the release that is run, beside the trace
/// of a failure.
pub(crate) struct Known {
    /// How the text of the fault begins.
    pub(crate) fault: &'static str,
    /// The first of them comes out in any case.
    pub(crate) verdicts: &'static [Verdict],
    /// Part of the message.
    pub(crate) words: &'static str,
    pub(crate) because: &'static str,
}

impl Known {
    /// Takes the failures that it explains; the others come back. False where it did not come out.
    pub(crate) fn explain<'a>(&self, failures: Vec<&'a Failure>) -> (bool, Vec<&'a Failure>) {
        let (explained, others): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|failure| self.explains(failure));
        let mut verdicts: Vec<Verdict> = explained.iter().map(|failure| failure.verdict).collect();
        verdicts.sort();
        verdicts.dedup();
        let words: Vec<&str> = verdicts.iter().map(|verdict| verdict.word()).collect();
        let count: u64 = explained.iter().map(|failure| failure.count).sum();
        println!("  {} in {count} cases: {}", words.join(", "), self.because);
        (verdicts.contains(&self.verdicts[0]), others)
    }

    fn explains(&self, failure: &Failure) -> bool {
        failure.fault.as_ref().is_some_and(|fault| fault.starts_with(self.fault))
            && self.verdicts.contains(&failure.verdict)
            && failure.message.contains(self.words)
    }
}
