//! Faults as text: what goes wrong.

use std::fmt;

use super::words::{WordKind, Words};
use super::{ANY, write_word};
use crate::errno::Errno;
use crate::error::{Error, closest};
use crate::fault::{Fault, Keep, Leaves, Part, Place, Since, SyncFailure, Torn};
use crate::plan::rule::OpKind;

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

/// The fault of a rule about `op`.
pub(super) fn parse(words: &mut Words<'_>, op: Option<OpKind>) -> Result<Fault, Error> {
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
        "short" => Fault::Short(words.number(1)?),
        "lie" => Fault::Lie,
        "flip" => Fault::Flip(words.number(0)?),
        "grow" => Fault::Grow { by: part(words)?, errno: errno(words)? },
        "both-names" => Fault::BothNames(errno(words)?),
        "lose" => Fault::Torn(Torn::LOST),
        "misdirect" => Fault::Misdirect(place(words)?),
        "garbage" => {
            let (first, end) = words.range()?;
            words.expect("seed")?;
            Fault::Garbage { first, end, seed: words.number(0)? }
        }
        "stale" => Fault::Stale(words.choice(&[("write", Since::Write), ("sync", Since::Sync)])?),
        "latent" => {
            let (first, end) = words.range()?;
            Fault::Latent { first, end, errno: errno(words)? }
        }
        "delay" => {
            let milliseconds = words.number(0)?;
            words.expect("ms")?;
            Fault::Delay(milliseconds)
        }
        "stall" => Fault::Stall,
        "vanish" => Fault::Vanish(errno(words)?),
        "crash" => Fault::Crash,
        _ => Fault::Torn(torn(words)?),
    })
}

fn sync_failure(words: &mut Words<'_>) -> Result<SyncFailure, Error> {
    let how = match words.choice(&[("as", true), ("pages", false)])? {
        true => words.choice(SyncFailure::PROFILES)?,
        false => {
            let pages = words.choice(SyncFailure::PAGES)?;
            words.expect("told")?;
            let told = words.choice(SyncFailure::TOLD)?;
            words.expect("size")?;
            let size = words.choice(SyncFailure::SIZE)?;
            words.expect("then")?;
            SyncFailure { pages, told, size, then: words.choice(SyncFailure::THEN)?, only: None }
        }
    };
    let only = if words.accept("in")? { Some(words.range()?) } else { None };
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
            words.expect("after")?;
            Keep::Hole { missing, after: words.number(0)? }
        }
        _ => Keep::First(part(words)?),
    };
    let leaves = match words.accept("leaving")? {
        false => Leaves::Old,
        true => {
            match words.choice(&[("zeros", Leaves::Zeros), ("garbage", Leaves::Garbage(0))])? {
                Leaves::Garbage(_) => Leaves::Garbage(words.number(0)?),
                zeros => zeros,
            }
        }
    };
    let errno = if words.accept("silently")? { None } else { Some(errno(words)?) };
    Ok(Torn { keep, leaves, errno })
}

fn place(words: &mut Words<'_>) -> Result<Place, Error> {
    words.expect("to")?;
    let offset = words.number(0)?;
    if !words.accept("of")? {
        return Ok(Place::at(offset));
    }
    let file = words.next()?;
    match file.kind {
        WordKind::Plain | WordKind::Quoted => Ok(Place::in_file(file.text, offset)),
        _ => words.fail(&file, format!("{}; write the path of the file", file.unexpected())),
    }
}

fn part(words: &mut Words<'_>) -> Result<Part, Error> {
    let count = words.number(0)?;
    let unit = words.next()?;
    match &*unit.text {
        "bytes" => Ok(Part::Bytes(count)),
        "sectors" => Ok(Part::Sectors(count)),
        "pages" => Ok(Part::Pages(count)),
        "units" => {
            words.expect("of")?;
            Ok(Part::Units { count, size: words.number(1)? })
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
