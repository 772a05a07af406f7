//! The commands of an operator, as one line that a shell would take.

use std::fmt;
use std::str::FromStr;

use faultfs::Error;

/// What is tortured: commands for `sh -c`.
///
/// Each runs in the folder that it is about (also in the variable `FAULTFS_ROOT`), with nothing on its standard
/// input and a `TMPDIR` of its own. A command that begins with `./` or `../` is looked for in the folder where the
/// tool was started, which stands in `FAULTFS_HERE`.
///
/// Its text is what the command line says, and parses back:
///
/// ```
/// use faultfs_interpose::Commands;
///
/// let commands = Commands {
///     setup: None,
///     workload: "echo it's > file".into(),
///     check: "./check.sh".into(),
/// };
/// let text = commands.to_string();
/// assert_eq!(text, r"command --workload 'echo it'\''s > file' --check ./check.sh");
/// assert_eq!(text.parse::<Commands>().unwrap(), commands);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commands {
    /// Makes what is there at the start, all of it durable. It must end with exit code 0.
    pub setup: Option<String>,
    /// What is recorded. What it writes to its standard output is an acknowledgement: what it did before is
    /// promised. It must end with exit code 0.
    pub workload: String,
    /// Looks at the folder after a power cut: see [`Restored::check`](super::Restored::check).
    pub check: String,
}

const WORD: &str = "command";

impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WORD)?;
        let setup = self.setup.as_ref().map(|setup| ("setup", setup));
        let others = [("workload", &self.workload), ("check", &self.check)];
        setup
            .into_iter()
            .chain(others)
            .try_for_each(|(name, command)| write!(f, " --{name} {}", quoted(command)))
    }
}

fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-+./_:,@%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_string(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

impl FromStr for Commands {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let none = || Error::new(format!("{text:?} is no torture of a command"));
        let words = words(text).ok_or_else(none)?;
        let (first, options) = words.split_first().ok_or_else(none)?;
        let (mut setup, mut workload, mut check) = (None, None, None);
        for option in options.chunks(2) {
            let [name, value] = option else { return Err(none()) };
            let slot = match name.as_str() {
                "--setup" => &mut setup,
                "--workload" => &mut workload,
                "--check" => &mut check,
                _ => return Err(none()),
            };
            *slot = Some(value.clone());
        }
        match (first.as_str(), workload, check) {
            (WORD, Some(workload), Some(check)) => Ok(Commands { setup, workload, check }),
            _ => Err(none()),
        }
    }
}

/// The words of a line as [`quoted`] writes them; none where a quote does not end.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_with(String::new);
            }
            ' ' if !quoted => words.extend(word.take()),
            '\\' if !quoted => word.get_or_insert_with(String::new).push(chars.next()?),
            c => word.get_or_insert_with(String::new).push(c),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_commands_come_back() {
        for command in ["", " ", "'", "a'b\\'c", "\\", "x\n\ty", "--check", "é → 'ü'"] {
            for setup in [None, Some(command.to_string())] {
                let commands =
                    Commands { setup, workload: command.into(), check: format!("{command}x") };
                assert_eq!(commands.to_string().parse::<Commands>().unwrap(), commands);
            }
        }
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for text in
            ["", "sqlite/wal-full", "command --workload x", "command --check 'x", "command x"]
        {
            let error = text.parse::<Commands>().unwrap_err().to_string();
            assert!(error.ends_with("is no torture of a command"), "{error}");
        }
    }
}
