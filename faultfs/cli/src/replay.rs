//! `replay`, `materialize` and `show`: one recorded state, one trace.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use faultfs::explore;
use faultfs::folder::Folder;
use faultfs::session::Session;
use faultfs::trace::{Mark, Trace};
use faultfs::verdict::Verdict;
use faultfs::{Error, file};

use crate::args::{AnyToken, From, Materialize, Replay};
use crate::exit::{self, Trouble};
use crate::faults;
use crate::target::Target;

/// The trace that a token names: the file that was given, or from the folder of traces.
pub(crate) fn load(token: &str, from: &From) -> Result<Arc<Trace>, Trouble> {
    let path = match &from.trace {
        Some(path) => path.clone(),
        None => file::find(&from.traces.dir(), token).map_err(Trouble::usage)?,
    };
    file::load(&path).map(Arc::new).map_err(Trouble::usage)
}

/// Recovers from the state once more, in this process, so that a debugger sees it.
pub(crate) fn replay(args: &Replay) -> Result<u8, Trouble> {
    let token = match &args.token {
        AnyToken::Recovery(token) => token,
        AnyToken::Sweep(token) => return faults::replay(token, &args.from),
    };
    let trace = load(&token.state.trace, &args.from)?;
    let target = Target::of_subject(&trace.subject).map_err(Trouble::usage)?;
    let (disk, marks) = explore::state(&trace, &token.state).map_err(Trouble::usage)?;
    let session = Session::new().map_err(|e| Error::new(format!("no session folder: {e}")))?;
    let room = session.path();
    let outcome = match token.faults.plan.rules().is_empty() {
        true => {
            let mut check = |disk: &_, marks: &_| target.check(&trace, room, disk, marks);
            explore::check_state(&mut check, &disk, &marks)
        }
        false => target.recover(room, &disk, &marks, &token.faults),
    };
    match outcome {
        Ok(()) => {
            exit::print(&format!("{}: {}\n", token, Verdict::Held))?;
            Ok(exit::OK)
        }
        Err(broken) => {
            let words = explore::in_words(&trace, &token.state)?.join("\n  ");
            exit::print(&format!("{}: {broken}\n  {words}\n", token))?;
            Ok(exit::FAILURE)
        }
    }
}

/// Writes the state to a folder.
pub(crate) fn materialize(args: &Materialize) -> Result<u8, Trouble> {
    let token = &args.token.state;
    let trace = load(&token.trace, &args.from)?;
    let (disk, marks) = explore::state(&trace, token).map_err(Trouble::usage)?;
    let wrong = |what: &str| Trouble::usage(format!("{}: {what}", args.dir.display()));
    std::fs::create_dir_all(&args.dir).map_err(|e| wrong(&e.to_string()))?;
    let empty = std::fs::read_dir(&args.dir).map_err(|e| wrong(&e.to_string()))?.next().is_none();
    if !empty {
        return Err(wrong("is not empty; name a folder that is, or that does not exist"));
    }
    Folder::new(&args.dir).write(&disk).map_err(|e| wrong(&e.to_string()))?;
    println!("{token} of {}", trace.subject);
    println!(
        "issued {:?}, acknowledged {:?}, failed {:?}",
        marks.issued, marks.acked, marks.failed
    );
    Ok(exit::OK)
}

/// Prints a saved trace, a line for each op, mark, fault and pass of a fail point.
pub(crate) fn show(trace: &str) -> Result<u8, Trouble> {
    let path = match Path::new(trace) {
        path if path.exists() => PathBuf::from(path),
        _ => file::find(&file::default_folder(), trace).map_err(Trouble::usage)?,
    };
    let trace = file::load(&path).map_err(Trouble::usage)?;
    let mut lines: Vec<(u64, String)> = Vec::new();
    for (index, record) in trace.ops.iter().enumerate() {
        let end = record.end.map_or("in flight".to_string(), |end| format!("ends at {end}"));
        let failed = record.errno.map_or(String::new(), |errno| format!(", errno {errno}"));
        let by = match &record.site {
            Some(site) => site.to_string(),
            None => format!("thread {}", record.thread),
        };
        let what = trace.describe(index);
        lines.push((record.start, format!("op {index}: {what} ({end}{failed}, {by})")));
    }
    lines.extend(trace.marks.iter().map(|(stamp, mark)| match mark {
        Mark::Begin(id) => (*stamp, format!("begin {id}")),
        Mark::Ack(id) => match trace.said(*id) {
            Some(said) => (*stamp, format!("acknowledged {id}: stdout `{said}`")),
            None => (*stamp, format!("acknowledged {id}")),
        },
        Mark::Failed(id) => (*stamp, format!("failed {id}")),
    }));
    lines.extend(trace.injected.iter().map(|injected| {
        let points = match &injected.points[..] {
            [] => String::new(),
            points => format!(", after fail points {}", points.join(", ")),
        };
        (injected.at, format!("fault in {}: {}{points}", injected.call, injected.rule))
    }));
    // Behind what stands at the same stamp.
    lines.sort();
    lines.extend(trace.passed.iter().map(|pass| {
        (pass.at, format!("passed {} (thread {}, {})", pass.point, pass.thread, pass.site))
    }));
    lines.extend(trace.cut.map(|at| (at, "the power was cut".to_string())));
    lines.sort_by_key(|(stamp, _)| *stamp);
    let mut text = format!("trace {:032x} of {}\n", trace.hash(), trace.subject);
    text.extend(trace.unmodelled.iter().map(|reason| format!("not measured: {reason}\n")));
    text.extend(lines.iter().map(|(stamp, line)| format!("{stamp:>6}  {line}\n")));
    exit::print(&text)?;
    Ok(exit::OK)
}
