//! Rules as text: which ops they are about, and when.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::words::{Word, WordKind, Words};
use super::{ANY, fault, write_word};
use crate::error::{Error, closest};
use crate::plan::Plan;
use crate::plan::pattern::{CallSite, Pattern};
use crate::plan::rule::{OpKind, Ratio, Rule};

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

impl FromStr for Plan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Plan, Error> {
        let mut words = Words::new(text);
        let (mut rules, mut roles) = (Vec::new(), Roles::new());
        loop {
            match words.peek()? {
                Word { kind: WordKind::End, .. } => return Ok(Plan { rules }),
                Word { kind: WordKind::Separator, .. } => drop(words.next()?),
                _ if words.accept("role")? => role(&mut words, &mut roles)?,
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

/// The patterns that have a name.
type Roles = BTreeMap<String, Pattern>;

/// `wal = *.wal|*-wal`.
fn role(words: &mut Words<'_>, roles: &mut Roles) -> Result<(), Error> {
    let name = words.next()?;
    if name.kind != WordKind::Plain || name.text.starts_with('@') {
        let mend = "write the name of the role, such as `wal`";
        return words.fail(&name, format!("{}; {mend}", name.unexpected()));
    }
    words.expect("=")?;
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
    rule.fault = fault::parse(words, op)?;
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
        (WordKind::Plain, "op") => rule.op_number = Some(words.number(0)?),
        (WordKind::Plain, "skip") => rule.skip = words.number(0)?,
        (WordKind::Plain, "take") => rule.take = Some(words.number(1)?),
        (WordKind::Plain, "per-file") => rule.per_file = true,
        (WordKind::Plain, "optional") => rule.optional = true,
        (WordKind::Plain, "sometimes") => rule.sometimes = Some(ratio(words)?),
        (WordKind::Plain, "at") => match rule.op {
            Some(OpKind::Read | OpKind::Write | OpKind::Load | OpKind::Store | OpKind::SyncMap) => {
                rule.at = Some(words.range()?);
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
        seed = words.number(0)?;
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
