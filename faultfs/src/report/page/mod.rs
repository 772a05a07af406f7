//! A report as one HTML page: no script, no network, no other file.
//!
//! Everything that colour says is also said by a sign and a word; everything that is folded opens with the
//! keyboard; the chart stands beside the list that says the same.

mod disks;
mod run;
mod source;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{CREATION_NOT_DURABLE, Failure, Fate, Loss, Part, Report};
use crate::crash::{Builder, State};
use crate::disk::Disk;
use crate::explore::{Token, trace_id};
use crate::model::Model;
use crate::trace::Trace;
use crate::verdict::Verdict;

/// Writes the page of a run into `folder`, which is created where it is missing, as the name of its trace
/// and `.html`; returns the path. The name appears only once the whole page is written.
///
/// # Errors
///
/// Where the folder cannot be written; nothing is left in it then.
pub fn save(trace: &Arc<Trace>, reports: &[Report], folder: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(trace_id(trace)).with_extension("html");
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(page(trace, reports).as_bytes())?;
    file.persist(&path)?;
    Ok(path)
}

/// The page of one recorded run: its verdict under each profile, and every counter-example with the ops
/// around it, and with the disk without loss beside the disk after the crash.
///
/// Lines of source are quoted where the files of the call sites are found from the current folder or one
/// above it. The same trace, reports and sources give the same page.
pub fn page(trace: &Arc<Trace>, reports: &[Report]) -> String {
    let worst = Verdict::worst(reports.iter().map(|report| report.verdict));
    let title = format!("{worst}: {}", trace.subject);
    let mut open = true;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – faultfs" }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                a.skip href="#counter-examples" { "Skip to the counter-examples" }
                header {
                    p.eyebrow { "faultfs · power cuts of one recorded run" }
                    h1 { (trace.subject) }
                    p { (verdict(worst)) " " span.muted {
                        (trace.ops.len()) " ops, trace " code { (trace_id(trace)) }
                    } }
                }
                main {
                    (verdicts(reports))
                    section #counter-examples aria-labelledby="h-counter-examples" {
                        h2 #h-counter-examples { "Counter-examples" }
                        @if reports.iter().all(|report| report.failures.is_empty()) {
                            p { "None was found." }
                        }
                        @for report in reports {
                            (of_profile(trace, report, &mut open))
                        }
                    }
                    (run::whole(trace))
                }
                footer { p.muted {
                    "Made by faultfs " (env!("CARGO_PKG_VERSION"))
                    ". What a profile lets a crash do is stated with every loss; a state that no rule allows is a bug of faultfs."
                } }
            }
        }
    }
    .into_string()
}

/// A verdict as a sign and a word.
fn verdict(verdict: Verdict) -> Markup {
    let (class, sign) = match verdict {
        Verdict::Held => ("held", "✓"),
        Verdict::NotMeasured => ("unmeasured", "?"),
        _ => ("broken", "✕"),
    };
    html! { span.verdict .(class) { span aria-hidden="true" { (sign) " " } (verdict) } }
}

fn verdicts(reports: &[Report]) -> Markup {
    html! {
        section aria-labelledby="h-verdicts" {
            h2 #h-verdicts { "Verdict under each profile" }
            div.scroll tabindex="0" role="region" aria-labelledby="h-verdicts" {
                table.verdicts {
                    thead { tr {
                        th scope="col" { "Profile" } th scope="col" { "Verdict" }
                        th.number scope="col" { "Crash points" } th.number scope="col" { "States" }
                        th.number scope="col" { "Distinct" } th scope="col" { "What broke" }
                    } }
                    tbody { @for report in reports { tr {
                        th scope="row" { (report.profile.name) }
                        td { (verdict(report.verdict)) }
                        td.number { (report.crash_points) }
                        td.number { (report.states) }
                        td.number { (report.distinct) }
                        td { @match report.failures.first() {
                            Some(failure) => a href={ "#" (id(report, 0)) } { (brief(&failure.message)) },
                            None => span.muted { "nothing" },
                        } }
                    } } }
                }
            }
            @for report in reports {
                p.muted { "Bound under " (report.profile.name) ": " (report.bound) }
            }
            @for report in reports {
                @for reason in &report.not_measured {
                    p { strong { "Not measured under " (report.profile.name) ": " } (reason) }
                }
            }
        }
    }
}

/// As much of a message as a line takes; all of it stands in the counter-example.
fn brief(message: &str) -> String {
    const CHARACTERS: usize = 160;
    match message.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.into(),
    }
}

/// The anchor of a counter-example.
fn id(report: &Report, index: usize) -> String {
    format!("{}-{}", report.profile.name, index + 1)
}

fn of_profile(trace: &Arc<Trace>, report: &Report, open: &mut bool) -> Markup {
    if report.failures.is_empty() {
        return Markup::default();
    }
    let model = Model::new(trace.clone(), report.profile);
    html! {
        @for (index, failure) in report.failures.iter().enumerate() {
            details.failure #(id(report, index)) open[std::mem::take(open)] {
                summary {
                    (verdict(failure.verdict)) " "
                    span.profile { "under " (report.profile.name) } " "
                    span.what { (brief(&failure.message)) } " "
                    span.brief { (failure.sentence()) }
                }
                (counter_example(&model, failure))
            }
        }
    }
}

/// A state of the model with all that the page shows of it.
struct Shown<'a> {
    model: &'a Model,
    failure: &'a Failure,
    state: State,
    /// Micro-ops that no sync had covered.
    open: std::collections::BTreeSet<u32>,
    /// Those of them that the crash took, the ones that went for the sake of others included.
    lost: std::collections::BTreeSet<u32>,
    /// The disk with nothing lost.
    kept: Disk,
    /// The disk after the crash.
    left: Disk,
}

impl<'a> Shown<'a> {
    /// `None` where the power went in another run, or in a recovery.
    fn of(model: &'a Model, failure: &'a Failure) -> Option<Self> {
        let token = failure.token.parse::<Token>().ok()?.state;
        if !failure.before.is_empty() || token.trace != trace_id(&model.trace) {
            return None;
        }
        let state = State { stamp: token.stamp, tape: token.tape };
        let mut builder = Builder::new(model);
        let (open, lost) = builder.open(&state)?;
        let whole = State { stamp: state.stamp, tape: Default::default() };
        let (kept, _) = builder.build(&whole)?;
        let (left, _) = builder.build(&state)?;
        Some(Shown { model, failure, state, open, lost, kept, left })
    }
}

fn counter_example(model: &Model, failure: &Failure) -> Markup {
    let shown = Shown::of(model, failure);
    html! {
        p.sentence { (failure.sentence()) }
        (facts(failure))
        h3 { "What did not arrive, and why that is allowed" }
        ol.losses { @for loss in &failure.losses { li { (one_loss(shown.as_ref(), loss)) } } }
        @if let Some(shown) = &shown {
            (run::around(shown))
            (disks::side_by_side(shown))
        } @else {
            p.muted { "The power went in another run than the one below: its disks are not shown here." }
        }
    }
}

fn facts(failure: &Failure) -> Markup {
    html! {
        dl.facts {
            dt { "Recovery said" } dd { strong { (failure.verdict) } ": " (failure.message) }
            @for crash in &failure.before { dt { "Before" } dd { (crash) } }
            @if let Some(fault) = &failure.fault {
                dt { "Besides" } dd {
                    "a fault was injected: " (fault)
                    @if let Some(site) = &failure.fault_site { ", met at " (site) }
                }
            }
            dt { "The power went" } dd {
                @if !failure.before.is_empty() { "during the recovery " } (failure.crash)
            }
            dt { "Promised by then" } dd { (promised(failure)) }
            @if failure.class == CREATION_NOT_DURABLE {
                dt { "Of a class" } dd { (CREATION_NOT_DURABLE) ": the caller's to make durable; it does not decide the verdict" }
            }
            dt { "Seen in" } dd { (failure.count) @if failure.count == 1 { " state" } @else { " states, of which this one says most" } }
            @if let Some(shrunk) = &failure.shrunk { dt { "Shrunk" } dd { (shrunk) } }
            dt { "Replay" } dd { pre.replay tabindex="0" { code { (failure.replay) } } }
        }
    }
}

fn promised(failure: &Failure) -> String {
    let list = |ids: &std::collections::BTreeSet<u64>| {
        let last: Vec<String> = ids.iter().rev().take(IDS_MAX).map(u64::to_string).collect();
        let more = if ids.len() > IDS_MAX { "… " } else { "" };
        format!("{more}{}", last.into_iter().rev().collect::<Vec<_>>().join(" "))
    };
    let marks = &failure.marks;
    let unanswered: std::collections::BTreeSet<u64> = marks
        .issued
        .difference(&marks.acked)
        .copied()
        .filter(|id| !marks.failed.contains(id))
        .collect();
    let mut words = match marks.acked.len() {
        0 => "nothing was acknowledged".to_string(),
        count => format!("{count} acknowledged: {}", list(&marks.acked)),
    };
    for (ids, what) in
        [(&unanswered, "asked for and not answered"), (&marks.failed, "reported as failed")]
    {
        if !ids.is_empty() {
            words += &format!("; {what}: {}", list(ids));
        }
    }
    words
}

/// Acknowledged ids that are listed: the last ones.
const IDS_MAX: usize = 12;

fn one_loss(shown: Option<&Shown<'_>>, loss: &Loss) -> Markup {
    html! {
        p { (run::sign(run::Fate::of_loss(loss.fate))) " " (loss.what) }
        p.rule { span.muted { "Allowed by " } (loss.rule) }
        @if let Some(shown) = shown {
            p.rule { span.muted { "What was missing: " } (missing(shown, loss)) }
        }
        @if let Some(site) = &loss.site { (source::excerpt(site)) }
        @if let Some(caller) = loss.callers.first() {
            p.rule { span.muted { "Called from" } @for site in &loss.callers { " " code { (site) } } }
            (source::excerpt(caller))
        }
    }
}

/// What would have made the change durable before the crash.
fn missing(shown: &Shown<'_>, loss: &Loss) -> String {
    let record = &shown.model.trace.ops[loss.op as usize];
    let (op, path) = (loss.op, &loss.path);
    if record.end.is_none_or(|end| end > shown.state.stamp) {
        return format!("nothing yet: op {op} was under way when the power went");
    }
    let sync = match loss.part {
        _ if loss.fate == Fate::Torn => {
            return "no page is whole while it is written back: what it held must be kept elsewhere \
                    until then, or the tear be found by a checksum"
                .into();
        }
        Part::Data | Part::Size => format!("an fsync or fdatasync of {path}"),
        Part::Mode => format!("an fsync of {path}"),
        Part::Entry => {
            let dir = path.rsplit_once('/').map_or(".", |(dir, _)| dir);
            let dir = if dir == "." { "the root (.)" } else { dir };
            match shown.model.profile().safe_file_flush {
                true if loss.call == "create" => {
                    format!("an fsync of {path} or of its directory, {dir},")
                }
                _ => format!("an fsync of its directory, {dir},"),
            }
        }
    };
    format!("{sync} begun after op {op} and ended before the power went")
}
