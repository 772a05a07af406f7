//! The programs that are run: the litmus programs, by name.

use faultfs::crash::litmus;
use faultfs::trace::Trace;

/// The program of this name.
pub(crate) fn find(name: &str) -> Option<Trace> {
    litmus::programs().find(|(known, _)| *known == name).map(|(_, trace)| trace)
}

/// The names of all programs, or of those that have one of these parts in their name.
pub(crate) fn names(parts: &[String]) -> Vec<String> {
    let names = litmus::programs().map(|(name, _)| name.to_string());
    names.filter(|name| parts.is_empty() || parts.iter().any(|part| name.contains(part))).collect()
}
