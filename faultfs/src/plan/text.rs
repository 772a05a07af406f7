//! Plans as text.
//!
//! ```text
//! plan  = rule { (";" | newline) rule }
//! rule  = op pattern { "skip" count | "take" count | "optional" } "->" fault
//! fault = "fail" errno | "fail-after" errno | "short" bytes
//!       | "torn" count ("bytes" | "sectors" | "pages") errno | "lie" | "flip" bit
//! ```
//!
//! `op` is a word of [`OpKind`] or `any`. A pattern with blanks, quotes or `;` is put in quotes as a
//! Rust string. `#` starts a comment up to the end of the line.

use std::fmt;
use std::str::FromStr;

use super::Plan;
use super::rule::{OpKind, Pattern, Rule};
use crate::errno::Errno;
use crate::error::{Error, closest};
use crate::fault::{Fault, Part};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rule) in self.rules.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{rule}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.map_or(ANY, OpKind::word))?;
        let pattern = self.path.as_str();
        match is_plain(pattern) {
            true => write!(f, " {pattern}")?,
            false => write!(f, " {pattern:?}")?,
        }
        if self.skip > 0 {
            write!(f, " skip {}", self.skip)?;
        }
        if let Some(take) = self.take {
            write!(f, " take {take}")?;
        }
        if self.optional {
            f.write_str(" optional")?;
        }
        write!(f, " -> {}", self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Fail(errno) => write!(f, "fail {errno}"),
            Fault::FailAfter(errno) => write!(f, "fail-after {errno}"),
            Fault::Short(bytes) => write!(f, "short {bytes}"),
            Fault::Torn { keep, errno } => write!(f, "torn {keep} {errno}"),
            Fault::Lie => f.write_str("lie"),
            Fault::Flip(bit) => write!(f, "flip {bit}"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Bytes(count) => write!(f, "{count} bytes"),
            Part::Sectors(count) => write!(f, "{count} sectors"),
            Part::Pages(count) => write!(f, "{count} pages"),
        }
    }
}

impl FromStr for Plan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Plan, Error> {
        let mut words = Words::new(text);
        let mut rules = Vec::new();
        loop {
            match words.peek()? {
                Word { kind: WordKind::End, .. } => return Ok(Plan { rules }),
                Word { kind: WordKind::Separator, .. } => drop(words.next()?),
                _ => rules.push(rule(&mut words)?),
            }
        }
    }
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rule, Error> {
        let plan: Plan = text.parse()?;
        match <[Rule; 1]>::try_from(plan.rules) {
            Ok([rule]) => Ok(rule),
            Err(rules) => {
                Err(Error::new(format!("expected one rule, found {} in `{text}`", rules.len())))
            }
        }
    }
}

const ANY: &str = "any";

/// The faults that a kind of op can suffer, as words.
fn menu(op: Option<OpKind>) -> &'static [&'static str] {
    match op {
        Some(OpKind::Read) => &["fail", "fail-after", "short", "flip"],
        Some(OpKind::Write) => &["fail", "fail-after", "short", "torn"],
        Some(OpKind::Sync | OpKind::SyncDir | OpKind::SyncAll) => &["fail", "fail-after", "lie"],
        _ => &["fail", "fail-after"],
    }
}

fn rule(words: &mut Words<'_>) -> Result<Rule, Error> {
    let op = op(words)?;
    let path = pattern(words)?;
    let mut rule = Rule { op, path, skip: 0, take: None, optional: false, fault: Fault::Short(1) };
    let mut given = Vec::new();
    loop {
        let word = words.next()?;
        if word.kind == WordKind::Arrow {
            break;
        }
        if word.kind == WordKind::Plain && given.contains(&word.text) {
            return words.fail(&word, format!("`{}` is said twice; leave one out", word.text));
        }
        match (word.kind, &*word.text) {
            (WordKind::Plain, "skip") => rule.skip = number(words, 0)?,
            (WordKind::Plain, "take") => rule.take = Some(number(words, 1)?),
            (WordKind::Plain, "optional") => rule.optional = true,
            _ => {
                let mend = "write `skip N`, `take N`, `optional`, or `->` and the fault";
                return words.fail(&word, format!("{}; {mend}", word.unexpected()));
            }
        }
        given.push(word.text);
    }
    rule.fault = fault(words, op)?;
    let end = words.peek()?;
    match end.kind {
        WordKind::Separator | WordKind::End => Ok(rule),
        _ => words.fail(&end, format!("{}; separate rules with `;`", end.unexpected())),
    }
}

fn op(words: &mut Words<'_>) -> Result<Option<OpKind>, Error> {
    let word = words.next()?;
    if word.kind == WordKind::Plain {
        if word.text == ANY {
            return Ok(None);
        }
        if let Some(kind) = OpKind::ALL.iter().find(|kind| kind.word() == word.text) {
            return Ok(Some(*kind));
        }
    }
    let known = || OpKind::ALL.iter().map(|kind| kind.word()).chain([ANY]);
    let mend = match closest(&word.text, known()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of: {}", known().collect::<Vec<_>>().join(", ")),
    };
    words.fail(&word, format!("unknown op `{}`; {mend}", word.text))
}

fn pattern(words: &mut Words<'_>) -> Result<Pattern, Error> {
    let word = words.next()?;
    match word.kind {
        WordKind::Plain | WordKind::Quoted => match Pattern::new(&word.text) {
            Ok(pattern) => Ok(pattern),
            Err(error) => words.fail(&word, error.to_string()),
        },
        _ => {
            let mend = "write which paths after the op, `*` for all";
            words.fail(&word, format!("{}; {mend}", word.unexpected()))
        }
    }
}

fn fault(words: &mut Words<'_>, op: Option<OpKind>) -> Result<Fault, Error> {
    let word = words.next()?;
    let menu = menu(op);
    if word.kind != WordKind::Plain || !menu.contains(&&*word.text) {
        let op = op.map_or(ANY, OpKind::word);
        if word.kind != WordKind::Plain {
            let mend = format!("write what goes wrong; `{op}` can: {}", menu.join(", "));
            return words.fail(&word, format!("{}; {mend}", word.unexpected()));
        }
        let mend = match closest(&word.text, menu.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("`{op}` can: {}", menu.join(", ")),
        };
        return words.fail(&word, format!("`{}` is no fault of `{op}`; {mend}", word.text));
    }
    Ok(match &*word.text {
        "fail" => Fault::Fail(errno(words)?),
        "fail-after" => Fault::FailAfter(errno(words)?),
        "short" => Fault::Short(number(words, 1)?),
        "lie" => Fault::Lie,
        "flip" => Fault::Flip(number(words, 0)?),
        _ => Fault::Torn { keep: part(words)?, errno: errno(words)? },
    })
}

fn part(words: &mut Words<'_>) -> Result<Part, Error> {
    let count = number(words, 0)?;
    let unit = words.next()?;
    match &*unit.text {
        "bytes" => Ok(Part::Bytes(count)),
        "sectors" => Ok(Part::Sectors(count)),
        "pages" => Ok(Part::Pages(count)),
        _ => {
            words.fail(&unit, format!("{}; write `bytes`, `sectors` or `pages`", unit.unexpected()))
        }
    }
}

fn errno(words: &mut Words<'_>) -> Result<Errno, Error> {
    let word = words.next()?;
    if word.kind != WordKind::Plain {
        let mend = "write the error, such as `EIO`";
        return words.fail(&word, format!("{}; {mend}", word.unexpected()));
    }
    word.text.parse().or_else(|error: Error| words.fail(&word, error.to_string()))
}

fn number(words: &mut Words<'_>, min: u64) -> Result<u64, Error> {
    let word = words.next()?;
    match word.text.parse() {
        Ok(number) if number >= min && word.kind == WordKind::Plain => Ok(number),
        _ => {
            words.fail(&word, format!("{}; write a whole number from {min} on", word.unexpected()))
        }
    }
}

/// True where a pattern can stand without quotes.
fn is_plain(pattern: &str) -> bool {
    pattern != "->" && !pattern.contains(|c: char| c.is_whitespace() || "\";#".contains(c))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WordKind {
    Plain,
    Quoted,
    Arrow,
    Separator,
    End,
}

/// A word of a plan and where it starts, in bytes.
#[derive(Clone, Debug)]
struct Word {
    kind: WordKind,
    text: String,
    start: usize,
}

impl Word {
    fn unexpected(&self) -> String {
        match self.kind {
            WordKind::End => "the plan ends here".into(),
            WordKind::Separator => "the rule ends here".into(),
            _ => format!("unexpected `{}`", self.text),
        }
    }
}

/// The words of a plan, one after the other.
struct Words<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        Words { text, position: 0 }
    }

    fn peek(&self) -> Result<Word, Error> {
        Words { ..*self }.next()
    }

    fn next(&mut self) -> Result<Word, Error> {
        self.skip_blanks();
        let start = self.position;
        let rest = &self.text[start..];
        let (kind, len) = match rest.chars().next() {
            None => (WordKind::End, 0),
            Some(';' | '\n') => (WordKind::Separator, 1),
            Some('"') => return self.quoted(),
            Some(_) => {
                let end = |c: char| c.is_whitespace() || "\";#".contains(c);
                let len = rest.find(end).unwrap_or(rest.len());
                (if &rest[..len] == "->" { WordKind::Arrow } else { WordKind::Plain }, len)
            }
        };
        self.position += len;
        Ok(Word { kind, text: rest[..len].to_owned(), start })
    }

    /// Blanks and comments; the end of a line separates rules, so it stays.
    fn skip_blanks(&mut self) {
        let mut rest = self.text[self.position..].trim_start_matches(is_blank);
        if rest.starts_with('#') {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        }
        self.position = self.text.len() - rest.len();
    }

    /// A string in quotes, with the escapes that `{:?}` writes.
    fn quoted(&mut self) -> Result<Word, Error> {
        let start = self.position;
        let mut text = String::new();
        let mut chars = self.text[start + 1..].char_indices();
        while let Some((at, c)) = chars.next() {
            let escaped = match c {
                '"' => {
                    self.position = start + 1 + at + 1;
                    return Ok(Word { kind: WordKind::Quoted, text, start });
                }
                '\\' => unescape(&mut chars),
                _ => Some(c),
            };
            match escaped {
                Some(c) => text.push(c),
                None => {
                    let here = Word { kind: WordKind::Plain, text, start: start + 1 + at };
                    return self.fail(&here, "unknown escape; write `\\\\` for a backslash".into());
                }
            }
        }
        let here = Word { kind: WordKind::Plain, text, start };
        self.fail(&here, "a quote that does not end; close it with `\"`".into())
    }

    fn fail<T>(&self, word: &Word, message: String) -> Result<T, Error> {
        let before = &self.text[..word.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before[line_start..].chars().count() + 1;
        let place = match before.matches('\n').count() {
            0 if !self.text.trim_end().contains('\n') => format!("column {column}"),
            line => format!("line {}, column {column}", line + 1),
        };
        Err(Error::new(format!("plan, {place}: {message}")))
    }
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() && c != '\n'
}

/// What follows a backslash.
fn unescape(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    Some(match chars.next()?.1 {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '0' => '\0',
        c @ ('"' | '\\' | '\'') => c,
        'u' => {
            let hex: String = chars.map(|(_, c)| c).take_while(|c| *c != '}').collect();
            char::from_u32(u32::from_str_radix(hex.strip_prefix('{')?, 16).ok()?)?
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::{EIO, ENOSPC};
    use crate::plan::on;

    #[test]
    fn builder_and_text_are_two_forms_of_one_rule() {
        for (rule, text) in [
            (on::sync().fail(EIO), "sync * -> fail EIO"),
            (
                on::sync().path("*.wal").skip(2).take(1).fail(EIO),
                "sync *.wal skip 2 take 1 -> fail EIO",
            ),
            (on::any().skip(9).fail_after(EIO), "any * skip 9 -> fail-after EIO"),
            (on::read().short(1), "read * -> short 1"),
            (on::read().path("db").flip(803), "read db -> flip 803"),
            (on::sync().take(1).lie(), "sync * take 1 -> lie"),
            (on::sync_dir().lie(), "sync-dir * -> lie"),
            (on::sync_all().lie(), "sync-all * -> lie"),
            (on::write().take(3).short(512).optional(), "write * take 3 optional -> short 512"),
            (on::write().torn(Part::Bytes(0), EIO), "write * -> torn 0 bytes EIO"),
            (on::write().torn(Part::Sectors(3), ENOSPC), "write * -> torn 3 sectors ENOSPC"),
            (on::write().torn(Part::Pages(1), EIO), "write * -> torn 1 pages EIO"),
            (on::rename().path("db/CURRENT").fail(EIO), "rename db/CURRENT -> fail EIO"),
            (on::sync_dir().path(".").fail(EIO), "sync-dir . -> fail EIO"),
            (
                on::open().path("a b\"\\\n\u{1}é;#").fail(EIO),
                r#"open "a b\"\\\n\u{1}é;#" -> fail EIO"#,
            ),
            (on::open().path("->").fail(EIO), r#"open "->" -> fail EIO"#),
            (on::open().path("skip").fail(EIO), "open skip -> fail EIO"),
            (on::open().fail(Errno::from_raw(133)), "open * -> fail 133"),
        ] {
            assert_eq!(rule.to_string(), text);
            assert_eq!(text.parse::<Rule>(), Ok(rule));
        }
    }

    #[test]
    fn every_kind_of_op_has_a_word_that_parses_and_offers_its_menu() {
        for kind in OpKind::ALL {
            let rule: Rule = format!("{kind} * -> fail EIO").parse().unwrap();
            assert_eq!(rule.op(), Some(*kind));
            let moves_bytes = matches!(kind, OpKind::Read | OpKind::Write);
            assert_eq!(format!("{kind} * -> short 1").parse::<Rule>().is_ok(), moves_bytes);
            let flips = format!("{kind} * -> flip 1").parse::<Rule>().is_ok();
            assert_eq!(flips, *kind == OpKind::Read);
            let lies = format!("{kind} * -> lie").parse::<Rule>().is_ok();
            assert_eq!(lies, matches!(kind, OpKind::Sync | OpKind::SyncDir | OpKind::SyncAll));
            let torn = format!("{kind} * -> torn 1 bytes EIO").parse::<Rule>().is_ok();
            assert_eq!(torn, *kind == OpKind::Write);
        }
    }

    #[test]
    fn rules_are_separated_by_semicolons_or_lines_and_comments_are_left_out() {
        let text = "# a plan\n; sync *.wal -> fail EIO ;; # the log\n\n  write * -> short 7\n";
        let plan: Plan = text.parse().unwrap();
        assert_eq!(plan, Plan::from([on::sync().path("*.wal").fail(EIO), on::write().short(7)]));
        assert_eq!(plan.to_string().parse(), Ok(plan));
        assert_eq!(" \n".parse(), Ok(Plan::new()));
    }

    #[test]
    fn a_bad_plan_names_the_column_and_the_mend() {
        for (text, expected) in [
            ("snyc * -> fail EIO", "column 1: unknown op `snyc`; did you mean `sync`?"),
            (
                "sync -> fail EIO",
                "column 6: unexpected `->`; write which paths after the op, `*` for all",
            ),
            ("sync", "column 5: the plan ends here; write which paths after the op, `*` for all"),
            ("sync a[ -> fail EIO", "column 6: `a[` is not a path pattern: "),
            (
                "sync * skip -> fail EIO",
                "column 13: unexpected `->`; write a whole number from 0 on",
            ),
            (
                "sync * skip -1 -> fail EIO",
                "column 13: unexpected `-1`; write a whole number from 0 on",
            ),
            (
                "sync * take 0 -> fail EIO",
                "column 13: unexpected `0`; write a whole number from 1 on",
            ),
            ("sync * skip 1 skip 2 -> fail EIO", "column 15: `skip` is said twice; leave one out"),
            ("sync * nth 3 -> fail EIO", "column 8: unexpected `nth`; write `skip N`, `take N`, "),
            (
                "sync * fail EIO",
                "column 8: unexpected `fail`; write `skip N`, `take N`, `optional`, or `->`",
            ),
            (
                "sync * -> short 5",
                "column 11: `short` is no fault of `sync`; `sync` can: fail, fail-after, lie",
            ),
            (
                "write * -> trn 1 bytes EIO",
                "column 12: `trn` is no fault of `write`; did you mean `torn`?",
            ),
            ("write * -> short 0", "column 18: unexpected `0`; write a whole number from 1 on"),
            (
                "write * -> torn 3 blocks EIO",
                "column 19: unexpected `blocks`; write `bytes`, `sectors`",
            ),
            (
                "sync * -> fail ENOSPACE",
                "column 16: `ENOSPACE` is not an error number; did you mean `ENOSPC`?",
            ),
            ("sync * -> fail", "column 15: the plan ends here; write the error, such as `EIO`"),
            ("sync * -> fail EIO take 1", "column 20: unexpected `take`; separate rules with `;`"),
            ("sync \"a -> fail EIO", "column 6: a quote that does not end; close it with `\"`"),
            (r#"sync "a\d" -> fail EIO"#, "column 8: unknown escape"),
            ("é; sync * -> fail EIO", "column 1: unknown op `é`; write one of: open, create, "),
            ("sync * -> fail EIO\nsync é wrong", "line 2, column 8: unexpected `wrong`"),
            ("sync * ->\n", "column 10: the rule ends here"),
        ] {
            let error = text.parse::<Plan>().unwrap_err().to_string();
            let message = error.strip_prefix("plan, ").unwrap_or(&error);
            assert!(message.starts_with(expected), "{text:?}\n  said {message}\n  not  {expected}");
        }
        let two = "sync * -> fail EIO; sync * -> fail EIO".parse::<Rule>().unwrap_err();
        assert!(two.to_string().starts_with("expected one rule, found 2"), "{two}");
    }
}
