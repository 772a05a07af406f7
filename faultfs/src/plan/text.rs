//! Plans as text.
//!
//! ```text
//! plan  = line { (";" | newline) line }
//! line  = rule | "role" name "=" pattern
//! rule  = op pattern { when } "->" fault
//! when  = "thread" pattern | "from" file [ ":" line ] | "op" number
//!       | "after" "point" name | "at" first ".." end | "per-file" | "skip" count | "take" count
//!       | "sometimes" count "/" count [ "seed" number ] | "optional"
//! fault = "fail" errno | "fail-after" errno | "short" bytes
//!       | "fail-sync" errno ( "as" profile | "pages" word "told" word "size" word "then" word )
//!         [ "in" first ".." end ]
//!       | "torn" keep [ "leaving" ( "zeros" | "garbage" seed ) ] ( errno | "silently" ) | "lose"
//!       | "grow" part errno | "both-names" errno | "misdirect" "to" offset [ "of" file ]
//!       | "lie" | "flip" bit | "garbage" first ".." end "seed" number | "stale" ( "write" | "sync" )
//!       | "latent" first ".." end errno
//!       | "delay" milliseconds "ms" | "stall" | "vanish" errno | "crash"
//! keep  = [ "last" ] part | "hole" part "after" count
//! part  = count ( "bytes" | "sectors" | "pages" | "units" "of" bytes )
//! ```
//!
//! A role is a name for a pattern: after `role wal = *.wal|*-wal` a rule says `@wal` for it. A plan prints the
//! patterns. `op` is a word of [`OpKind`] or `any`. A pattern or name with blanks, quotes or `;` is put in quotes as
//! a Rust string. `#` starts a comment up to the end of the line.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::Plan;
use super::pattern::{CallSite, Pattern};
use super::rule::{OpKind, Ratio, Rule};
use super::words::{Word, WordKind, Words, is_plain};
use crate::errno::Errno;
use crate::error::{Error, closest};
use crate::fault::{Fault, Keep, Leaves, Part, Place, Since, SyncFailure, Torn};

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
        write_word(f, self.path.as_str())?;
        if let Some(thread) = &self.thread {
            f.write_str(" thread")?;
            write_word(f, thread.as_str())?;
        }
        if let Some(site) = &self.site {
            f.write_str(" from")?;
            write_word(f, site.as_str())?;
        }
        if let Some(number) = self.op_number {
            write!(f, " op {number}")?;
        }
        if let Some(point) = &self.after {
            f.write_str(" after point")?;
            write_word(f, point)?;
        }
        if let Some((first, end)) = self.at {
            write!(f, " at {first}..{end}")?;
        }
        if self.per_file {
            f.write_str(" per-file")?;
        }
        if self.skip > 0 {
            write!(f, " skip {}", self.skip)?;
        }
        if let Some(take) = self.take {
            write!(f, " take {take}")?;
        }
        if let Some(Ratio { numerator, denominator, seed }) = self.sometimes {
            write!(f, " sometimes {numerator}/{denominator} seed {seed}")?;
        }
        if self.optional {
            f.write_str(" optional")?;
        }
        write!(f, " -> {}", self.fault)
    }
}

/// A blank, and the word, in quotes where it needs them.
fn write_word(f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
    match is_plain(word) {
        true => write!(f, " {word}"),
        false => write!(f, " {word:?}"),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Fail(errno) => write!(f, "fail {errno}"),
            Fault::FailAfter(errno) => write!(f, "fail-after {errno}"),
            Fault::FailSync { how, errno } => write!(f, "fail-sync {errno} {how}"),
            Fault::Short(bytes) => write!(f, "short {bytes}"),
            Fault::Torn(torn) => write!(f, "{torn}"),
            Fault::Grow { by, errno } => write!(f, "grow {by} {errno}"),
            Fault::BothNames(errno) => write!(f, "both-names {errno}"),
            Fault::Misdirect(Place { file: None, offset }) => write!(f, "misdirect to {offset}"),
            Fault::Misdirect(Place { file: Some(file), offset }) => {
                write!(f, "misdirect to {offset} of")?;
                write_word(f, file)
            }
            Fault::Lie => f.write_str("lie"),
            Fault::Flip(bit) => write!(f, "flip {bit}"),
            Fault::Garbage { first, end, seed } => write!(f, "garbage {first}..{end} seed {seed}"),
            Fault::Stale(Since::Write) => f.write_str("stale write"),
            Fault::Stale(Since::Sync) => f.write_str("stale sync"),
            Fault::Latent { first, end, errno } => write!(f, "latent {first}..{end} {errno}"),
            Fault::Delay(milliseconds) => write!(f, "delay {milliseconds} ms"),
            Fault::Stall => f.write_str("stall"),
            Fault::Vanish(errno) => write!(f, "vanish {errno}"),
            Fault::Crash => f.write_str("crash"),
        }
    }
}

impl FromStr for Plan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Plan, Error> {
        let mut words = Words::new(text);
        let (mut rules, mut roles) = (Vec::new(), Roles::new());
        loop {
            match words.peek()? {
                Word { kind: WordKind::End, .. } => return Ok(Plan { rules }),
                Word { kind: WordKind::Separator, .. } => drop(words.next()?),
                _ if accept(&mut words, "role")? => role(&mut words, &mut roles)?,
                _ => rules.push(rule(&mut words, &roles)?),
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
fn menu(op: Option<OpKind>) -> Vec<&'static str> {
    let own: &[&str] = match op {
        Some(OpKind::Read) => &["short", "flip", "garbage", "stale", "latent", "misdirect"],
        Some(OpKind::Write) => &["short", "torn", "lose", "misdirect"],
        Some(OpKind::Load) => &["flip", "garbage", "stale", "latent", "misdirect"],
        Some(OpKind::Sync | OpKind::SyncMap) => &["fail-sync", "lie"],
        Some(OpKind::SyncDir | OpKind::SyncAll) => &["lie"],
        Some(OpKind::SetLen) => &["grow"],
        Some(OpKind::Rename) => &["both-names"],
        _ => &[],
    };
    let after: &[&str] = if op.is_some_and(OpKind::can_fail_after) { &["fail-after"] } else { &[] };
    [&["fail"], after, own, &["delay", "stall", "vanish", "crash"]].concat()
}

/// The patterns that have a name.
type Roles = BTreeMap<String, Pattern>;

/// `wal = *.wal|*-wal`.
fn role(words: &mut Words<'_>, roles: &mut Roles) -> Result<(), Error> {
    let name = words.next()?;
    if name.kind != WordKind::Plain || name.text.starts_with('@') {
        let mend = "write the name of the role, such as `wal`";
        return words.fail(&name, format!("{}; {mend}", name.unexpected()));
    }
    expect(words, "=")?;
    let pattern = pattern(words, roles)?;
    if roles.insert(name.text.clone(), pattern).is_some() {
        return words.fail(&name, format!("the role `{}` is said twice; leave one out", name.text));
    }
    end(words)
}

fn rule(words: &mut Words<'_>, roles: &Roles) -> Result<Rule, Error> {
    let op = op(words)?;
    let mut rule = Rule::new(op, pattern(words, roles)?);
    let mut given = Vec::new();
    loop {
        let word = words.next()?;
        match word.kind {
            WordKind::Arrow => break,
            WordKind::Plain if given.contains(&word.text) => {
                return words.fail(&word, format!("`{}` is said twice; leave one out", word.text));
            }
            _ => when(words, &word, &mut rule)?,
        }
        given.push(word.text);
    }
    rule.fault = fault(words, op)?;
    end(words)?;
    Ok(rule)
}

/// A rule or a role ends here.
fn end(words: &mut Words<'_>) -> Result<(), Error> {
    let end = words.peek()?;
    match end.kind {
        WordKind::Separator | WordKind::End => Ok(()),
        _ => words.fail(&end, format!("{}; separate rules with `;`", end.unexpected())),
    }
}

/// One condition, of which `word` is the first word.
fn when(words: &mut Words<'_>, word: &Word, rule: &mut Rule) -> Result<(), Error> {
    match (word.kind, &*word.text) {
        (WordKind::Plain, "after") => rule.after = Some(point(words)?),
        (WordKind::Plain, "thread") => rule.thread = Some(name_pattern(words)?),
        (WordKind::Plain, "from") => rule.site = Some(call_site(words)?),
        (WordKind::Plain, "op") => rule.op_number = Some(number(words, 0)?),
        (WordKind::Plain, "skip") => rule.skip = number(words, 0)?,
        (WordKind::Plain, "take") => rule.take = Some(number(words, 1)?),
        (WordKind::Plain, "per-file") => rule.per_file = true,
        (WordKind::Plain, "optional") => rule.optional = true,
        (WordKind::Plain, "sometimes") => rule.sometimes = Some(ratio(words)?),
        (WordKind::Plain, "at") => match rule.op {
            Some(OpKind::Read | OpKind::Write | OpKind::Load | OpKind::Store | OpKind::SyncMap) => {
                rule.at = Some(range(words)?);
            }
            _ => {
                let message = "only `read`, `write`, `load`, `store` and `msync` have an offset; leave `at` out";
                return words.fail(word, message.into());
            }
        },
        _ => {
            let mend = "write `skip N`, `take N`, `at N..M`, `op N`, `thread NAME`, `from FILE:LINE`, \
                        `after point NAME`, `per-file`, `sometimes N/M`, `optional`, or `->` and the \
                        fault";
            return words.fail(word, format!("{}; {mend}", word.unexpected()));
        }
    }
    Ok(())
}

/// `point log_written`.
fn point(words: &mut Words<'_>) -> Result<Box<str>, Error> {
    let word = words.next()?;
    if word.kind != WordKind::Plain || word.text != "point" {
        let mend = "write `after point` and the name of a fail point";
        return words.fail(&word, format!("{}; {mend}", word.unexpected()));
    }
    let name = words.next()?;
    match name.kind {
        WordKind::Plain | WordKind::Quoted if !name.text.is_empty() => Ok(name.text.into()),
        _ => {
            let mend = "write the name of a fail point after `point`";
            words.fail(&name, format!("{}; {mend}", name.unexpected()))
        }
    }
}

/// `4096..8192`.
fn range(words: &mut Words<'_>) -> Result<(u64, u64), Error> {
    let word = words.next()?;
    let parsed = word
        .text
        .split_once("..")
        .and_then(|(first, end)| Some((first.parse::<u64>().ok()?, end.parse::<u64>().ok()?)));
    match parsed {
        Some((first, end)) if first < end => Ok((first, end)),
        _ => {
            let mend = "write the first byte and the one after the last, such as `0..4096`";
            words.fail(&word, format!("{}; {mend}", word.unexpected()))
        }
    }
}

/// `1/64 seed 7`; the seed is 0 where it is not said.
fn ratio(words: &mut Words<'_>) -> Result<Ratio, Error> {
    let word = words.next()?;
    let parsed = word.text.split_once('/').and_then(|(numerator, denominator)| {
        Some((numerator.parse::<u32>().ok()?, denominator.parse::<u32>().ok()?))
    });
    let (numerator, denominator) = match parsed {
        Some((numerator, denominator)) if 0 < numerator && numerator <= denominator => {
            (numerator, denominator)
        }
        _ => {
            let mend = "write a ratio up to 1, such as `1/64`";
            return words.fail(&word, format!("{}; {mend}", word.unexpected()));
        }
    };
    let mut seed = 0;
    if words.peek()?.text == "seed" {
        words.next()?;
        seed = number(words, 0)?;
    }
    Ok(Ratio { numerator, denominator, seed })
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

fn pattern(words: &mut Words<'_>, roles: &Roles) -> Result<Pattern, Error> {
    let word = words.next()?;
    if let (WordKind::Plain, Some(role)) = (word.kind, word.text.strip_prefix('@')) {
        return match (roles.get(role), closest(role, roles.keys().map(String::as_str))) {
            (Some(pattern), _) => Ok(pattern.clone()),
            (None, Some(near)) => {
                words.fail(&word, format!("unknown role `@{role}`; did you mean `@{near}`?"))
            }
            (None, None) => {
                let mend = format!("write `role {role} = PATTERN` before");
                words.fail(&word, format!("unknown role `@{role}`; {mend}"))
            }
        };
    }
    parsed(words, &word, Pattern::new, "write which paths after the op, `*` for all")
}

fn name_pattern(words: &mut Words<'_>) -> Result<Pattern, Error> {
    let word = words.next()?;
    parsed(words, &word, Pattern::new, "write the name of the thread, such as `flush-*`")
}

fn call_site(words: &mut Words<'_>) -> Result<CallSite, Error> {
    let word = words.next()?;
    parsed(words, &word, CallSite::new, "write the place in the source, such as `src/wal.rs:120`")
}

/// What a word stands for that may be in quotes.
fn parsed<T>(
    words: &mut Words<'_>,
    word: &Word,
    parse: impl FnOnce(&str) -> Result<T, Error>,
    mend: &str,
) -> Result<T, Error> {
    match word.kind {
        WordKind::Plain | WordKind::Quoted => {
            parse(&word.text).or_else(|error| words.fail(word, error.to_string()))
        }
        _ => words.fail(word, format!("{}; {mend}", word.unexpected())),
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
        "fail-sync" => Fault::FailSync { errno: errno(words)?, how: sync_failure(words)? },
        "short" => Fault::Short(number(words, 1)?),
        "lie" => Fault::Lie,
        "flip" => Fault::Flip(number(words, 0)?),
        "grow" => Fault::Grow { by: part(words)?, errno: errno(words)? },
        "both-names" => Fault::BothNames(errno(words)?),
        "lose" => Fault::Torn(Torn::LOST),
        "misdirect" => Fault::Misdirect(place(words)?),
        "garbage" => {
            let (first, end) = range(words)?;
            expect(words, "seed")?;
            Fault::Garbage { first, end, seed: number(words, 0)? }
        }
        "stale" => Fault::Stale(choice(words, &[("write", Since::Write), ("sync", Since::Sync)])?),
        "latent" => {
            let (first, end) = range(words)?;
            Fault::Latent { first, end, errno: errno(words)? }
        }
        "delay" => {
            let milliseconds = number(words, 0)?;
            expect(words, "ms")?;
            Fault::Delay(milliseconds)
        }
        "stall" => Fault::Stall,
        "vanish" => Fault::Vanish(errno(words)?),
        "crash" => Fault::Crash,
        _ => Fault::Torn(torn(words)?),
    })
}

fn sync_failure(words: &mut Words<'_>) -> Result<SyncFailure, Error> {
    let how = match choice(words, &[("as", true), ("pages", false)])? {
        true => choice(words, SyncFailure::PROFILES)?,
        false => {
            let pages = choice(words, SyncFailure::PAGES)?;
            expect(words, "told")?;
            let told = choice(words, SyncFailure::TOLD)?;
            expect(words, "size")?;
            let size = choice(words, SyncFailure::SIZE)?;
            expect(words, "then")?;
            SyncFailure { pages, told, size, then: choice(words, SyncFailure::THEN)?, only: None }
        }
    };
    let only = if accept(words, "in")? { Some(range(words)?) } else { None };
    Ok(SyncFailure { only, ..how })
}

fn torn(words: &mut Words<'_>) -> Result<Torn, Error> {
    let keep = match &*words.peek()?.text {
        "last" => {
            words.next()?;
            Keep::Last(part(words)?)
        }
        "hole" => {
            words.next()?;
            let missing = part(words)?;
            expect(words, "after")?;
            Keep::Hole { missing, after: number(words, 0)? }
        }
        _ => Keep::First(part(words)?),
    };
    let leaves = match accept(words, "leaving")? {
        false => Leaves::Old,
        true => {
            match choice(words, &[("zeros", Leaves::Zeros), ("garbage", Leaves::Garbage(0))])? {
                Leaves::Garbage(_) => Leaves::Garbage(number(words, 0)?),
                zeros => zeros,
            }
        }
    };
    let errno = if accept(words, "silently")? { None } else { Some(errno(words)?) };
    Ok(Torn { keep, leaves, errno })
}

fn place(words: &mut Words<'_>) -> Result<Place, Error> {
    expect(words, "to")?;
    let offset = number(words, 0)?;
    if !accept(words, "of")? {
        return Ok(Place::at(offset));
    }
    let file = words.next()?;
    match file.kind {
        WordKind::Plain | WordKind::Quoted => Ok(Place::in_file(file.text, offset)),
        _ => words.fail(&file, format!("{}; write the path of the file", file.unexpected())),
    }
}

/// Takes the next word if it is `expected`.
fn accept(words: &mut Words<'_>, expected: &str) -> Result<bool, Error> {
    let word = words.peek()?;
    let found = word.kind == WordKind::Plain && word.text == expected;
    if found {
        words.next()?;
    }
    Ok(found)
}

fn expect(words: &mut Words<'_>, expected: &str) -> Result<(), Error> {
    choice(words, &[(expected, ())])
}

/// One of a few words, and what it stands for.
fn choice<T: Copy>(words: &mut Words<'_>, choices: &[(&str, T)]) -> Result<T, Error> {
    let word = words.next()?;
    let found = choices.iter().find(|(text, _)| *text == word.text);
    match found {
        Some((_, value)) if word.kind == WordKind::Plain => Ok(*value),
        _ => {
            let known: Vec<String> = choices.iter().map(|(text, _)| format!("`{text}`")).collect();
            words.fail(&word, format!("{}; write {}", word.unexpected(), known.join(" or ")))
        }
    }
}

fn part(words: &mut Words<'_>) -> Result<Part, Error> {
    let count = number(words, 0)?;
    let unit = words.next()?;
    match &*unit.text {
        "bytes" => Ok(Part::Bytes(count)),
        "sectors" => Ok(Part::Sectors(count)),
        "pages" => Ok(Part::Pages(count)),
        "units" => {
            expect(words, "of")?;
            Ok(Part::Units { count, size: number(words, 1)? })
        }
        _ => {
            let mend = "write `bytes`, `sectors`, `pages` or `units of N`";
            words.fail(&unit, format!("{}; {mend}", unit.unexpected()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::{EIO, ENOSPC};
    use crate::fault::Told;
    use crate::plan::on;
    use std::time::Duration;

    #[test]
    fn builder_and_text_are_two_forms_of_one_rule() {
        for (rule, text) in [
            (on::sync().fail(EIO), "sync * -> fail EIO"),
            (
                on::sync().path("*.wal").skip(2).take(1).fail(EIO),
                "sync *.wal skip 2 take 1 -> fail EIO",
            ),
            (on::any().skip(9).fail(EIO), "any * skip 9 -> fail EIO"),
            (on::rename().fail_after(EIO), "rename * -> fail-after EIO"),
            (on::rename().both_names(EIO), "rename * -> both-names EIO"),
            (on::set_len().grow(Part::Pages(2), ENOSPC), "set-len * -> grow 2 pages ENOSPC"),
            (on::write().lose(), "write * -> lose"),
            (on::write().misdirect(Place::at(512)), "write * -> misdirect to 512"),
            (
                on::read().misdirect(Place::in_file("a b", 0)),
                r#"read * -> misdirect to 0 of "a b""#,
            ),
            (
                on::write().torn(Keep::Last(Part::Units { count: 1, size: 16384 }), EIO),
                "write * -> torn last 1 units of 16384 EIO",
            ),
            (
                on::write().torn_silently(
                    Keep::Hole { missing: Part::Sectors(2), after: 1 },
                    Leaves::Garbage(7),
                ),
                "write * -> torn hole 2 sectors after 1 leaving garbage 7 silently",
            ),
            (
                on::write().torn_leaving(Part::Bytes(1), Leaves::Zeros, EIO),
                "write * -> torn 1 bytes leaving zeros EIO",
            ),
            (on::read().garbage(0..9, 3), "read * -> garbage 0..9 seed 3"),
            (on::read().stale(Since::Sync), "read * -> stale sync"),
            (on::read().stale(Since::Write), "read * -> stale write"),
            (on::read().latent(512..1024, EIO), "read * -> latent 512..1024 EIO"),
            (on::any().delay(Duration::from_millis(20)), "any * -> delay 20 ms"),
            (on::sync().stall(), "sync * -> stall"),
            (on::write().take(1).vanish(EIO), "write * take 1 -> vanish EIO"),
            (on::sync().skip(3).crash(), "sync * skip 3 -> crash"),
            (on::read().short(1), "read * -> short 1"),
            (on::read().path("db").flip(803), "read db -> flip 803"),
            (on::sync().take(1).lie(), "sync * take 1 -> lie"),
            (on::sync().fail_sync(SyncFailure::FREEBSD, EIO), "sync * -> fail-sync EIO as freebsd"),
            (
                on::sync().fail_sync(SyncFailure::XFS.of_bytes(0..4096), ENOSPC),
                "sync * -> fail-sync ENOSPC as xfs in 0..4096",
            ),
            (
                on::sync()
                    .fail_sync(SyncFailure { told: Told::Nobody, ..SyncFailure::BTRFS_TREE }, EIO),
                "sync * -> fail-sync EIO pages clean told nobody size reverted then read-only",
            ),
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
            (
                on::write().path("db").at(4096..8192).per_file().skip(1).fail(EIO),
                "write db at 4096..8192 per-file skip 1 -> fail EIO",
            ),
            (
                on::read().take(2).sometimes(1, 64, 7).short(1),
                "read * take 2 sometimes 1/64 seed 7 -> short 1",
            ),
            (
                on::sync().path("*.wal").after_point("log_written").take(1).fail(EIO),
                "sync *.wal after point log_written take 1 -> fail EIO",
            ),
            (
                on::write().after_point("a;b c").at(0..9).fail(EIO),
                r#"write * after point "a;b c" at 0..9 -> fail EIO"#,
            ),
            (on::sync().after_point("->").fail(EIO), r#"sync * after point "->" -> fail EIO"#),
            (
                on::sync().path("*.wal|*-wal").thread("flush-*").from("src/wal.rs:7").fail(EIO),
                "sync *.wal|*-wal thread flush-* from src/wal.rs:7 -> fail EIO",
            ),
            (on::write().op(41).fail(EIO), "write * op 41 -> fail EIO"),
            (on::open().path("@wal").fail(EIO), r#"open "@wal" -> fail EIO"#),
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
            assert_eq!(flips, matches!(kind, OpKind::Read | OpKind::Load));
            let lies = format!("{kind} * -> lie").parse::<Rule>().is_ok();
            let syncs = [OpKind::Sync, OpKind::SyncDir, OpKind::SyncAll, OpKind::SyncMap];
            assert_eq!(lies, syncs.contains(kind));
            let after = format!("{kind} * -> fail-after EIO").parse::<Rule>().is_ok();
            assert_eq!(after, kind.is_change() && *kind != OpKind::Store);
            for word in ["delay 1 ms", "stall", "vanish EIO", "crash"] {
                assert!(format!("{kind} * -> {word}").parse::<Rule>().is_ok(), "{kind} {word}");
            }
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
        let text = "role wal = *.wal|*-wal; role log = @wal; sync @log -> fail EIO";
        let plan: Plan = text.parse().unwrap();
        assert_eq!(plan, Plan::from([on::sync().path("*.wal|*-wal").fail(EIO)]));
        assert_eq!(plan.to_string(), "sync *.wal|*-wal -> fail EIO");
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
            (
                "sync * nth 3 -> fail EIO",
                "column 8: unexpected `nth`; write `skip N`, `take N`, `at N..M`, ",
            ),
            (
                "sync * after log_written -> fail EIO",
                "column 14: unexpected `log_written`; write `after point` and the name",
            ),
            (
                "sync * after point -> fail EIO",
                "column 20: unexpected `->`; write the name of a fail point after `point`",
            ),
            ("sync * after point", "column 19: the plan ends here; write the name of a fail"),
            (
                "sync * after point a after point b -> fail EIO",
                "column 22: `after` is said twice; leave one out",
            ),
            ("sync * fail EIO", "column 8: unexpected `fail`; write `skip N`, `take N`, `at N..M`"),
            (
                "sync * -> short 5",
                "column 11: `short` is no fault of `sync`; `sync` can: fail, fail-after, fail-sync, ",
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
            ("write * -> torn hole 1 pages EIO", "column 30: unexpected `EIO`; write `after`"),
            ("read * -> stale", "column 16: the plan ends here; write `write` or `sync`"),
            ("sync * -> fail-sync EIO", "column 24: the plan ends here; write `as` or `pages`"),
            (
                "sync * -> fail-sync EIO as zfs",
                "column 28: unexpected `zfs`; write `ext4-ordered` or `ext4-data-journal` or `xfs`",
            ),
            (
                "role wal = *.wal; sync @wla -> fail EIO",
                "column 24: unknown role `@wla`; did you mean `@wal`?",
            ),
            ("sync @wal -> fail EIO", "column 6: unknown role `@wal`; write `role wal = PATTERN`"),
            ("role wal *.wal", "column 10: unexpected `*.wal`; write `=`"),
            ("role a = b; role a = c", "column 18: the role `a` is said twice; leave one out"),
            (
                "sync * from wal.rs:x -> fail EIO",
                "column 13: `wal.rs:x` is no place in the source; ",
            ),
            (
                "sync * thread -> fail EIO",
                "column 15: unexpected `->`; write the name of the thread",
            ),
            ("any * -> delay 5", "column 17: the plan ends here; write `ms`"),
            ("read * -> fail-after EIO", "column 11: `fail-after` is no fault of `read`; "),
            ("write * -> misdirect 5", "column 22: unexpected `5`; write `to`"),
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
