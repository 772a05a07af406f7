//! Which paths, threads and call sites a rule is about.

use std::path::Path;

use crate::error::Error;

/// Which paths: a shell pattern with `*`, `?`, `[a-z]`, `[!a-z]` and `**`.
///
/// A pattern without `/` is compared with the last component of a path, so `*.wal` means every such
/// file in whichever directory, and `*` everything. A pattern with `/` is compared with the whole path
/// relative to the root of the filesystem (or the path that a [`FaultFile`] was given); there `*` stays
/// within one component, and `**` spans several. The root itself is `.`.
///
/// Several patterns with `|` between them fit what one of them fits: the role of a file, as in
/// `*.wal|*-wal` (a `|` in a name is fitted by `?`).
///
/// [`FaultFile`]: crate::FaultFile
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    text: Box<str>,
    choices: Vec<glob::Pattern>,
}

impl Pattern {
    /// The pattern that `text` is.
    ///
    /// # Errors
    ///
    /// Where `text` is empty or not a pattern.
    pub fn new(text: &str) -> Result<Pattern, Error> {
        let mut choices = Vec::new();
        let mut before = 0;
        for choice in text.split('|') {
            if choice.is_empty() {
                let message = "an empty pattern matches nothing; write `*` for every path";
                return Err(Error::new(message));
            }
            choices.push(glob::Pattern::new(choice).map_err(|e| {
                Error::new(format!(
                    "`{text}` is not a path pattern: {} at its character {}",
                    e.msg,
                    before + e.pos + 1
                ))
            })?);
            before += choice.chars().count() + 1;
        }
        Ok(Pattern { text: text.into(), choices })
    }

    /// The pattern that fits `path`, and whatever has its name where it is a name alone.
    pub(super) fn exactly(path: &Path) -> Pattern {
        // A `|` cannot be escaped: any character stands for it.
        let text = glob::Pattern::escape(&path.to_string_lossy()).replace('|', "?");
        Pattern::new(&text).expect("an escaped path is a pattern")
    }

    /// The text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True where the pattern fits `path`.
    pub fn matches(&self, path: &Path) -> bool {
        let options =
            glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
        let whole = path.to_string_lossy();
        let name = path.file_name().map_or(whole.clone(), |name| name.to_string_lossy());
        self.choices.iter().any(|choice| match choice.as_str().contains('/') {
            true => choice.matches_with(&whole, options),
            false => choice.matches_with(&name, options),
        })
    }

    /// True where the pattern fits the name of the calling thread; one without a name fits none.
    pub(super) fn matches_this_thread(&self) -> bool {
        let thread = std::thread::current();
        thread.name().is_some_and(|name| self.choices.iter().any(|choice| choice.matches(name)))
    }
}

impl Default for Pattern {
    /// Every path.
    fn default() -> Self {
        Pattern::new("*").expect("`*` is a pattern")
    }
}

/// A place in the source: a file by the end of its path, and a line of it or any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CallSite {
    text: Box<str>,
    /// Length of the file's part of the text.
    file: usize,
    line: Option<u32>,
}

impl CallSite {
    /// `src/wal.rs`, or `src/wal.rs:120`.
    pub(super) fn new(text: &str) -> Result<CallSite, Error> {
        let (file, line) = match text.rsplit_once(':') {
            Some((file, line)) => (file, Some(line.parse().ok().filter(|line| *line > 0))),
            None => (text, None),
        };
        match line {
            _ if file.is_empty() => {}
            Some(None) => {}
            line => {
                return Ok(CallSite { text: text.into(), file: file.len(), line: line.flatten() });
            }
        }
        let mend = "write the end of the file's path, and a line or none: `src/wal.rs:120`";
        Err(Error::new(format!("`{text}` is no place in the source; {mend}")))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn matches(&self, site: Option<(&str, u32)>) -> bool {
        let Some((file, line)) = site else { return false };
        let rest = file.strip_suffix(&self.text[..self.file]);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
            && self.line.is_none_or(|wanted| wanted == line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_a_slash_is_about_names_and_one_with_a_slash_about_paths() {
        for (pattern, path, expected) in [
            ("*", "a", true),
            ("*", "a/b", true),
            ("*", ".", true),
            (".", ".", true),
            ("*.wal", "db/1.wal", true),
            ("*.wal", "/tmp/db/1.wal", true),
            ("*.wal", "1.wal/x", false),
            ("db/*.wal", "db/1.wal", true),
            ("db/*.wal", "db/old/1.wal", false),
            ("db/*.wal", "old/db/1.wal", false),
            ("db/**/*.wal", "db/old/1.wal", true),
            ("**/*.wal", "1.wal", true),
            ("[ab]?", "b1", true),
            ("[!ab]?", "b1", false),
            ("CURRENT", "db/CURRENT", true),
            ("CURRENT", "db/current", false),
            ("*.wal|db/*-wal", "1.wal", true),
            ("*.wal|db/*-wal", "db/a-wal", true),
            ("*.wal|db/*-wal", "a-wal", false),
        ] {
            let found = Pattern::new(pattern).unwrap().matches(Path::new(path));
            assert_eq!(found, expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_bad_pattern_says_where() {
        let error = Pattern::new("a[").unwrap_err().to_string();
        assert!(error.starts_with("`a[` is not a path pattern: "), "{error}");
        let error = Pattern::new("éé[").unwrap_err().to_string();
        assert!(
            error.ends_with("at its character 3"),
            "characters are counted, not bytes: {error}"
        );
        let error = Pattern::new("*.wal|a[").unwrap_err().to_string();
        assert!(error.ends_with("at its character 8"), "{error}");
        assert!(Pattern::new("a|").is_err());
        assert!(Pattern::new("").unwrap_err().to_string().contains("write `*`"));
    }

    #[test]
    fn a_call_site_is_the_end_of_a_path_and_a_line_or_any() {
        let site =
            |text: &str, file, line| CallSite::new(text).unwrap().matches(Some((file, line)));
        assert!(site("wal.rs", "src/wal.rs", 7));
        assert!(site("src/wal.rs:7", "src/wal.rs", 7));
        assert!(site("src/wal.rs:7", "/home/x/engine/src/wal.rs", 7));
        assert!(!site("src/wal.rs:7", "src/wal.rs", 70));
        assert!(!site("al.rs", "src/wal.rs", 7), "whole components");
        assert!(!CallSite::new("wal.rs").unwrap().matches(None));
        for wrong in ["", ":7", "wal.rs:", "wal.rs:0", "wal.rs:x"] {
            assert!(CallSite::new(wrong).is_err(), "{wrong}");
        }
    }
}
