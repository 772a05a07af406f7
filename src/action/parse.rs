//! `[p%][n*]task[(argument)]`, chained by `->`; in `FAILPOINTS`, `name=actions` separated by `;`.
//!
//! Recursive descent over one cursor, so that `->` and `;` in an argument are just characters.

use std::str::FromStr;

use super::{Action, Actions, Chance, Task};
use crate::error::Error;
use crate::suggest::closest;

const TASKS: [&str; 8] = ["off", "return", "sleep", "panic", "print", "pause", "yield", "delay"];

/// Parses the value of `FAILPOINTS`: `name=actions` separated by `;`, empty entries allowed.
pub fn settings(text: &str) -> Result<Vec<(String, Actions)>, Error> {
    let mut cursor = Cursor { text, at: 0, what: "FAILPOINTS" };
    let mut settings = Vec::new();
    loop {
        cursor.skip_space();
        if cursor.eat(";") {
            continue;
        }
        if cursor.rest().is_empty() {
            return Ok(settings);
        }
        let name = cursor.name()?;
        let actions = cursor.chain()?;
        if !cursor.rest().is_empty() && !cursor.eat(";") {
            return Err(cursor.unexpected());
        }
        settings.push((name, actions));
    }
}

impl FromStr for Actions {
    type Err = Error;

    /// # Errors
    ///
    /// Names the place and the mend: an unknown task, a chance that is not from 0 to 100, a count
    /// that is not a whole number, an argument that is missing, not allowed or not closed.
    fn from_str(text: &str) -> Result<Actions, Error> {
        let mut cursor = Cursor { text, at: 0, what: "action" };
        let actions = cursor.chain()?;
        if !cursor.rest().is_empty() {
            return Err(cursor.unexpected());
        }
        Ok(actions)
    }
}

struct Cursor<'a> {
    text: &'a str,
    /// In bytes, on a character boundary.
    at: usize,
    what: &'static str,
}

impl<'a> Cursor<'a> {
    fn name(&mut self) -> Result<String, Error> {
        let start = self.at;
        let rest = self.rest();
        let end = rest.find(['=', ';']).unwrap_or(rest.len());
        let name = rest[..end].trim();
        if !rest[end..].starts_with('=') {
            return Err(
                self.error(start, format!("`{name}` is not set to anything; write `{name}=panic`"))
            );
        }
        if name.is_empty() {
            return Err(self.error(start, "a name is missing before `=`; write `name=panic`"));
        }
        self.at += end + 1;
        Ok(name.to_owned())
    }

    fn chain(&mut self) -> Result<Actions, Error> {
        let mut chain = vec![self.action()?];
        while self.eat("->") {
            chain.push(self.action()?);
        }
        Ok(Actions { chain })
    }

    fn action(&mut self) -> Result<Action, Error> {
        let (mut start, mut word) = self.word();
        let mut chance = None;
        if self.eat("%") {
            chance = Some(self.chance(start, word)?);
            (start, word) = self.word();
        }
        let mut count = None;
        if self.eat("*") {
            count = Some(self.count(start, word)?);
            (start, word) = self.word();
        }
        if self.rest().starts_with(['%', '*']) {
            return Err(self.error(
                start,
                "the chance comes first, then the count, each at most once, as in `25%3*return`",
            ));
        }
        let argument = self.argument()?;
        self.skip_space();
        let task = self.task(start, word, argument)?;
        Ok(Action { chance, count, task })
    }

    /// The text up to the next delimiter, without the space around it, and where it starts.
    fn word(&mut self) -> (usize, &'a str) {
        self.skip_space();
        let (start, rest) = (self.at, self.rest());
        let end = rest.find(['%', '*', '(', ')', ';']).unwrap_or(rest.len());
        let end = rest[..end].find("->").unwrap_or(end);
        self.at += end;
        (start, rest[..end].trim_end())
    }

    fn chance(&self, start: usize, word: &str) -> Result<Chance, Error> {
        decimal(word).map(|units| Chance { units }).ok_or_else(|| {
            self.error(
                start,
                format!(
                    "a chance cannot be `{word}`%; write a number from 0 to 100 with at most 9 \
                     decimals, as in `25%return`"
                ),
            )
        })
    }

    fn count(&self, start: usize, word: &str) -> Result<u64, Error> {
        whole(word).ok_or_else(|| {
            self.error(
                start,
                format!("a count cannot be `{word}`; write a whole number, as in `3*return`"),
            )
        })
    }

    /// What stands in parentheses, unescaped, if the next character opens them.
    fn argument(&mut self) -> Result<Option<String>, Error> {
        let open = self.at;
        if !self.eat("(") {
            return Ok(None);
        }
        let mut argument = String::new();
        let mut depth = 1;
        let mut chars = self.rest().char_indices().peekable();
        while let Some((offset, c)) = chars.next() {
            match c {
                '\\' if matches!(chars.peek(), Some((_, '(' | ')' | '\\'))) => {
                    argument.extend(chars.next().map(|(_, escaped)| escaped));
                    continue;
                }
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.at += offset + 1;
                return Ok(Some(argument));
            }
            argument.push(c);
        }
        Err(self.error(
            open,
            "this parenthesis is never closed; add `)`, and write `\\(` for one that stands for \
             itself",
        ))
    }

    fn task(&self, start: usize, word: &str, argument: Option<String>) -> Result<Task, Error> {
        let task = match word {
            "return" => return Ok(Task::Return(argument)),
            "panic" => return Ok(Task::Panic(argument)),
            "print" => return Ok(Task::Print(argument)),
            "sleep" => return Ok(Task::Sleep(self.time_ms(start, word, argument)?)),
            "delay" => return Ok(Task::Delay(self.time_ms(start, word, argument)?)),
            "off" => Task::Off,
            "pause" => Task::Pause,
            "yield" => Task::Yield,
            "" => {
                return Err(self.error(start, "an action is missing; write one, as in `return`"));
            }
            _ => return Err(self.unknown_task(start, word)),
        };
        if argument.is_some_and(|text| !text.trim().is_empty()) {
            return Err(self.error(
                start,
                format!("`{word}` takes no argument; write `{word}`, or `sleep(ms)` for a time"),
            ));
        }
        Ok(task)
    }

    fn time_ms(&self, start: usize, word: &str, argument: Option<String>) -> Result<u64, Error> {
        let argument = argument.unwrap_or_default();
        whole(argument.trim()).ok_or_else(|| {
            self.error(
                start,
                format!(
                    "`{word}` needs a time in whole milliseconds, not `{argument}`; write \
                     `{word}(100)`"
                ),
            )
        })
    }

    fn unknown_task(&self, start: usize, word: &str) -> Error {
        let mend = match closest(word, TASKS.into_iter()) {
            Some(task) => format!("did you mean `{task}`?"),
            None => format!("the tasks are {}", TASKS.join(", ")),
        };
        self.error(start, format!("there is no task `{word}`; {mend}"))
    }

    fn unexpected(&self) -> Error {
        let rest = self.rest();
        let mend = if rest.starts_with(')') {
            "write `\\)` inside an argument for one that stands for itself"
        } else if rest.starts_with(';') {
            "`;` separates the settings of the FAILPOINTS variable; chain actions with `->`"
        } else {
            "chain actions with `->`"
        };
        self.error(self.at, format!("`{rest}` is not expected here; {mend}"))
    }

    fn error(&self, at: usize, problem: impl AsRef<str>) -> Error {
        let column = self.text[..at].chars().count() + 1;
        Error::new(format!("{} `{}`, column {column}: {}", self.what, self.text, problem.as_ref()))
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}

/// A percentage in units of 10⁻⁹ percent: digits with at most nine decimals, from 0 to 100.
fn decimal(text: &str) -> Option<u64> {
    let (whole_text, fraction_text) = text.split_once('.').unwrap_or((text, ""));
    if whole_text.is_empty() && fraction_text.is_empty() || fraction_text.len() > 9 {
        return None;
    }
    let whole_part = if whole_text.is_empty() { 0 } else { whole(whole_text)? };
    let fraction = if fraction_text.is_empty() { 0 } else { whole(fraction_text)? };
    let unit = 10_u64.pow(9 - u32::try_from(fraction_text.len()).ok()?);
    let units = whole_part.checked_mul(1_000_000_000)?.checked_add(fraction * unit)?;
    (units <= Chance::UNITS).then_some(units)
}

/// Digits only: no sign, no space.
fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        text.parse::<Actions>().unwrap_err().to_string()
    }

    #[test]
    fn every_form_prints_what_it_parsed() {
        for text in [
            "off",
            "return",
            "return()",
            "return(64)",
            "return(2%5)",
            "return(a->b;c)",
            "return(f(x, g(y)))",
            "return(\\)\\(\\\\)",
            "panic(no space left)",
            "print(still alive!)",
            "sleep(0)",
            "delay(18446744073709551615)",
            "5*return",
            "0*return",
            "25%return",
            "12.5%3*return(x)",
            "0.000000001%pause",
            "100%yield",
            "20%3*print(still alive!)->panic",
            "2*off->1*return(ENOSPC)->off",
        ] {
            let parsed: Actions = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            assert_eq!(parsed.to_string().parse::<Actions>().unwrap(), parsed);
        }
    }

    #[test]
    fn space_and_other_spellings_come_out_in_the_one_form() {
        for (text, printed) in [
            (" 25% 2 * off ", "25%2*off"),
            ("off -> return", "off->return"),
            ("pause()", "pause"),
            (".5%off", "0.5%off"),
            ("050.50%off", "50.5%off"),
            ("sleep( 5 )", "sleep(5)"),
            ("return(C:\\dir)", "return(C:\\\\dir)"),
            ("return(\u{1f4a5})", "return(\u{1f4a5})"),
        ] {
            assert_eq!(text.parse::<Actions>().unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn malformed_actions_name_the_place_and_the_mend() {
        for (text, column, part) in [
            ("", 1, "an action is missing"),
            ("off->", 6, "an action is missing"),
            ("->off", 1, "an action is missing"),
            ("5*", 3, "an action is missing"),
            ("Return", 1, "did you mean `return`?"),
            ("off->retrun", 6, "did you mean `return`?"),
            ("explode", 1, "the tasks are off, return"),
            ("ab%return", 1, "from 0 to 100"),
            ("-1%return", 1, "from 0 to 100"),
            ("NaN%return", 1, "from 0 to 100"),
            ("inf%return", 1, "from 0 to 100"),
            ("1e2%return", 1, "from 0 to 100"),
            ("200%return", 1, "from 0 to 100"),
            ("100.000000001%return", 1, "from 0 to 100"),
            ("0.0000000001%return", 1, "at most 9 decimals"),
            ("%return", 1, "from 0 to 100"),
            (".%return", 1, "from 0 to 100"),
            ("99999999999999999999%return", 1, "from 0 to 100"),
            ("ab*return", 1, "a whole number"),
            ("-1*return", 1, "a whole number"),
            ("*return", 1, "a whole number"),
            ("99999999999999999999*return", 1, "a whole number"),
            ("2*25%return", 3, "the chance comes first"),
            ("2*3*return", 3, "the chance comes first"),
            ("return(msg", 7, "never closed"),
            ("return(()", 7, "never closed"),
            ("return(a))", 10, "write `\\)`"),
            ("return(a)b", 10, "chain actions with `->`"),
            ("return;panic", 7, "separates the settings"),
            ("sleep", 1, "write `sleep(100)`"),
            ("delay(soon)", 1, "write `delay(100)`"),
            ("sleep(-1)", 1, "write `sleep(100)`"),
            ("pause(100)", 1, "takes no argument"),
            ("\u{e9}\u{e9}->retur", 1, "there is no task"),
            ("off->ret\nurn", 6, "there is no task `ret\\nurn`"),
        ] {
            let message = message(text);
            assert!(message.contains(&format!("column {column}:")), "{text:?}: {message}");
            assert!(message.contains(part), "{text:?}: {message}");
            assert!(!message.contains('\n'), "{text:?}: {message}");
        }
    }

    #[test]
    fn settings_split_at_semicolons_outside_arguments() {
        let parsed = settings(" a=panic; b.c = 2*off->return(x;y=z) ;; d::e=off;").unwrap();
        let printed: Vec<_> = parsed.iter().map(|(n, a)| format!("{n}={a}")).collect();
        assert_eq!(printed, ["a=panic", "b.c=2*off->return(x;y=z)", "d::e=off"]);
        assert!(settings("").unwrap().is_empty());
        assert!(settings(" ; ").unwrap().is_empty());
    }

    #[test]
    fn malformed_settings_name_the_place_and_the_mend() {
        for (text, column, part) in [
            ("here", 1, "write `here=panic`"),
            ("a=off;here;b=off", 7, "write `here=panic`"),
            ("=panic", 1, "a name is missing"),
            ("a=", 3, "an action is missing"),
            ("a=;b=off", 3, "an action is missing"),
            ("a=off;b=pnaic", 9, "did you mean `panic`?"),
            ("a=return(;b=off", 9, "never closed"),
            ("a=off)", 6, "write `\\)`"),
        ] {
            let message = settings(text).unwrap_err().to_string();
            assert!(message.starts_with(&format!("FAILPOINTS `{text}`, ")), "{text:?}: {message}");
            assert!(message.contains(&format!("column {column}:")), "{text:?}: {message}");
            assert!(message.contains(part), "{text:?}: {message}");
        }
    }
}
