//! The words of a plan's text, where they stand, and the simplest that they stand for.

use crate::error::Error;

/// True where a pattern can stand without quotes.
pub(super) fn is_plain(pattern: &str) -> bool {
    pattern != "->"
        && !pattern.starts_with('@')
        && !pattern.contains(|c: char| c.is_whitespace() || "\";#".contains(c))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WordKind {
    Plain,
    Quoted,
    Arrow,
    Separator,
    End,
}

/// A word of a plan and where it starts, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) kind: WordKind,
    pub(super) text: String,
    start: usize,
}

impl Word {
    pub(super) fn unexpected(&self) -> String {
        match self.kind {
            WordKind::End => "the plan ends here".into(),
            WordKind::Separator => "the rule ends here".into(),
            _ => format!("unexpected `{}`", self.text),
        }
    }
}

/// The words of a plan, one after the other.
pub(super) struct Words<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Words { text, position: 0 }
    }

    pub(super) fn peek(&self) -> Result<Word, Error> {
        Words { ..*self }.next()
    }

    pub(super) fn next(&mut self) -> Result<Word, Error> {
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

    /// `4096..8192`.
    pub(super) fn range(&mut self) -> Result<(u64, u64), Error> {
        let word = self.next()?;
        let parsed = word
            .text
            .split_once("..")
            .and_then(|(first, end)| Some((first.parse::<u64>().ok()?, end.parse::<u64>().ok()?)));
        match parsed {
            Some((first, end)) if first < end => Ok((first, end)),
            _ => {
                let mend = "write the first byte and the one after the last, such as `0..4096`";
                self.fail(&word, format!("{}; {mend}", word.unexpected()))
            }
        }
    }

    /// Takes the next word if it is `expected`.
    pub(super) fn accept(&mut self, expected: &str) -> Result<bool, Error> {
        let word = self.peek()?;
        let found = word.kind == WordKind::Plain && word.text == expected;
        if found {
            self.next()?;
        }
        Ok(found)
    }

    pub(super) fn expect(&mut self, expected: &str) -> Result<(), Error> {
        self.choice(&[(expected, ())])
    }

    /// One of a few words, and what it stands for.
    pub(super) fn choice<T: Copy>(&mut self, choices: &[(&str, T)]) -> Result<T, Error> {
        let word = self.next()?;
        let found = choices.iter().find(|(text, _)| *text == word.text);
        match found {
            Some((_, value)) if word.kind == WordKind::Plain => Ok(*value),
            _ => {
                let known: Vec<String> =
                    choices.iter().map(|(text, _)| format!("`{text}`")).collect();
                self.fail(&word, format!("{}; write {}", word.unexpected(), known.join(" or ")))
            }
        }
    }

    pub(super) fn number(&mut self, min: u64) -> Result<u64, Error> {
        let word = self.next()?;
        match word.text.parse() {
            Ok(number) if number >= min && word.kind == WordKind::Plain => Ok(number),
            _ => self
                .fail(&word, format!("{}; write a whole number from {min} on", word.unexpected())),
        }
    }

    /// An error at a word: where it is, what is wrong, how to mend it.
    pub(super) fn fail<T>(&self, word: &Word, message: String) -> Result<T, Error> {
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
