//! The run around a crash, as a chart and as a list that says the same; and the whole run, folded.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::Shown;
use crate::crash::Choice;
use crate::op::Op;
use crate::report;
use crate::trace::{Mark, Stamp, Trace};

/// Events shown before the crash, behind it, and around each loss.
const BEFORE: usize = 10;
const BEHIND: usize = 2;
const NEAR: usize = 2;
/// Lost ops around which the run is shown; syncs of a lost file that are.
const LOST_MAX: usize = 8;
const SYNCS_MAX: usize = 6;
/// Events of the whole run that a page lists.
const WHOLE_MAX: usize = 20_000;
/// Lanes of the chart; files beyond share the last.
const LANES_MAX: usize = 9;

/// An op or a mark of the trace, by its index.
#[derive(Clone, Copy)]
enum Event {
    Op(usize),
    Mark(usize),
}

/// Everything that happened, in order.
fn events(trace: &Trace) -> Vec<(Stamp, Event)> {
    let ops = trace.ops.iter().enumerate().map(|(i, record)| (record.start, Event::Op(i)));
    let marks = trace.marks.iter().enumerate().map(|(i, (at, _))| (*at, Event::Mark(i)));
    let mut events: Vec<_> = ops.chain(marks).collect();
    events.sort_by_key(|(stamp, _)| *stamp);
    events
}

/// What the crash made of an op.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Durable,
    Kept,
    Lost,
    LostWithIt,
    Partly,
    Stale,
    Sync,
    Syncing,
    NoEffect,
    Failed,
    Never,
}

impl Fate {
    pub(super) fn of_loss(fate: report::Fate) -> Fate {
        match fate {
            report::Fate::Lost => Fate::Lost,
            report::Fate::Torn => Fate::Partly,
            report::Fate::Stale => Fate::Stale,
        }
    }

    fn of(shown: &Shown<'_>, op: usize) -> Fate {
        let record = &shown.model.trace.ops[op];
        let micros = shown.model.micros.of_op[op].clone();
        if record.start > shown.state.stamp {
            return Fate::Never;
        }
        if record.errno.is_some() {
            return Fate::Failed;
        }
        let of_choice = |choice: &Choice| match choice {
            Choice::Torn { newer, .. } if micros.contains(newer) => Some(Fate::Partly),
            Choice::Stale(id) if micros.contains(id) => Some(Fate::Stale),
            _ => None,
        };
        if let Some(fate) = shown.state.tape.0.iter().find_map(of_choice) {
            return fate;
        }
        let is_sync = record.op.is_sync();
        let lost = micros.clone().filter(|id| shown.lost.contains(id)).count();
        let open = micros.clone().any(|id| shown.open.contains(&id));
        match (micros.len(), lost) {
            (0, _) if is_sync && record.done_by(shown.state.stamp) => Fate::Sync,
            (0, _) if is_sync => Fate::Syncing,
            (0, _) => Fate::NoEffect,
            (all, lost) if lost == all => {
                let by_itself = shown.failure.losses.iter().any(|loss| loss.op == op as u64);
                if by_itself { Fate::Lost } else { Fate::LostWithIt }
            }
            (_, 1..) => Fate::Partly,
            _ if open => Fate::Kept,
            _ => Fate::Durable,
        }
    }

    /// The class of its colour, its sign, and its words.
    fn look(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Fate::Durable => ("durable", "✓", "durable"),
            Fate::Kept => ("kept", "○", "arrived, though no sync covered it"),
            Fate::Lost => ("lost", "✕", "lost"),
            Fate::LostWithIt => ("with-it", "✕", "lost with what it needs"),
            Fate::Partly => ("torn", "◐", "arrived in part"),
            Fate::Stale => ("torn", "◐", "stale bytes in its place"),
            Fate::Sync => ("sync", "◆", "sync"),
            Fate::Syncing => ("syncing", "◇", "sync that had not ended"),
            Fate::NoEffect => ("never", "–", "changes nothing"),
            Fate::Failed => ("never", "!", "failed"),
            Fate::Never => ("never", "·", "never happened"),
        }
    }
}

/// A fate as a sign and words.
pub(super) fn sign(fate: Fate) -> Markup {
    let (class, sign, words) = fate.look();
    html! { span.fate .(class) { span aria-hidden="true" { (sign) " " } (words) } }
}

/// What the chart and the list have in their rows.
enum Row {
    Event(Event),
    /// So many events that are not shown.
    Gap(usize),
    Crash,
}

pub(super) fn around(shown: &Shown<'_>) -> Markup {
    let rows = rows(shown);
    html! {
        h3 { "The run around the power cut" }
        (chart(shown, &rows))
        div.scroll tabindex="0" role="region" aria-label="The run around the power cut, as a list" {
            table.run {
                thead { tr {
                    th.number scope="col" { "Op" } th scope="col" { "At the crash" }
                    th scope="col" { "What" } th scope="col" { "Asked for at" }
                } }
                tbody { @for row in &rows { (listed(shown, row)) } }
            }
        }
    }
}

/// The events that tell, in order, with the gaps between them and the crash.
fn rows(shown: &Shown<'_>) -> Vec<Row> {
    let events = events(&shown.model.trace);
    let crash = events.partition_point(|(stamp, _)| *stamp <= shown.state.stamp);
    let mut near: BTreeSet<usize> =
        (crash.saturating_sub(BEFORE)..(crash + BEHIND).min(events.len())).collect();
    let position = |op: u64| {
        let start = shown.model.trace.ops[op as usize].start;
        events.partition_point(|(stamp, _)| *stamp < start)
    };
    for loss in shown.failure.losses.iter().take(LOST_MAX) {
        let at = position(loss.op);
        near.extend(at.saturating_sub(NEAR)..(at + NEAR + 1).min(events.len()));
        near.extend(
            syncs_after(shown, &events[at..crash.max(at)], loss).map(|i| at + i).take(SYNCS_MAX),
        );
    }
    // The crash stands between what had happened and what never did.
    let mut rows = stretch(&events, near.range(..crash), 0..crash);
    rows.push(Row::Crash);
    rows.extend(stretch(&events, near.range(crash..), crash..events.len()));
    rows
}

/// A part of the run: the events that are shown, and gaps for the others.
fn stretch<'a>(
    events: &[(Stamp, Event)],
    shown: impl Iterator<Item = &'a usize>,
    range: std::ops::Range<usize>,
) -> Vec<Row> {
    let mut rows = Vec::new();
    let gap = |from: usize, to: usize| (from < to).then(|| Row::Gap(to - from));
    let mut next = range.start;
    for &index in shown {
        rows.extend(gap(next, index));
        rows.push(Row::Event(events[index].1));
        next = index + 1;
    }
    rows.extend(gap(next, range.end));
    rows
}

/// The positions of syncs of what a loss is about, or of the directory that it stands in.
fn syncs_after<'a>(
    shown: &'a Shown<'_>,
    events: &'a [(Stamp, Event)],
    loss: &'a report::Loss,
) -> impl Iterator<Item = usize> + 'a {
    let trace = &shown.model.trace;
    let dir = loss.path.rsplit_once('/').map_or(".", |(dir, _)| dir);
    let concerns = move |path: &str| path == loss.path || path == dir;
    events.iter().enumerate().filter_map(move |(i, (_, event))| match event {
        Event::Op(op) if trace.ops[*op].op.is_sync() && concerns(&lane_of(trace, *op)) => Some(i),
        _ => None,
    })
}

fn listed(shown: &Shown<'_>, row: &Row) -> Markup {
    let trace = &shown.model.trace;
    match row {
        Row::Gap(count) => html! { tr.gap { td colspan="4" {
            "⋯ " (count) @if *count == 1 { " op or mark is" } @else { " ops and marks are" }
            " not shown here; the whole run is at the end of the page"
        } } },
        Row::Crash => html! { tr.crash { td colspan="4" { "⚡ the power goes" } } },
        Row::Event(Event::Mark(index)) => {
            let (at, mark) = trace.marks[*index];
            let (class, sign, words) = marked(trace, mark);
            html! { tr.mark .never[at > shown.state.stamp] {
                td {}
                td { span.fate .(class) { span aria-hidden="true" { (sign) " " } "mark" } }
                td { strong { (words) } }
                td {}
            } }
        }
        Row::Event(Event::Op(op)) => {
            let fate = Fate::of(shown, *op);
            html! { tr .(fate.look().0) { td.number { (op) } td { (sign(fate)) } (what_and_where(trace, *op)) } }
        }
    }
}

fn what_and_where(trace: &Trace, op: usize) -> Markup {
    let record = &trace.ops[op];
    html! {
        td { (trace.describe(op)) @if let Some(errno) = record.errno { ": errno " (errno) } }
        td { @match &record.site {
            Some(site) => code { (site) },
            None => span.muted { "thread " (record.thread) },
        } }
    }
}

/// A mark's colour, sign and words.
fn marked(trace: &Trace, mark: Mark) -> (&'static str, &'static str, String) {
    match mark {
        Mark::Begin(id) => ("begin", "▷", format!("begin {id}")),
        Mark::Ack(id) => {
            let said = trace.said(id).map_or(String::new(), |said| format!(": stdout `{said}`"));
            ("ack", "★", format!("acknowledged {id}{said}"))
        }
        Mark::Failed(id) => ("failed", "!", format!("reported {id} as failed")),
    }
}

/// The file or directory that an op is about.
fn lane_of(trace: &Trace, op: usize) -> String {
    match &trace.ops[op].op {
        Op::Create { slot, .. } | Op::Link { slot, .. } | Op::Unlink { slot } => {
            trace.path_in(slot)
        }
        Op::Rename { to, .. } => trace.path_in(to),
        Op::SyncAll => "everything".into(),
        Op::CreateUnnamed { ino, .. }
        | Op::Write { ino, .. }
        | Op::MapStore { ino, .. }
        | Op::SetLen { ino, .. }
        | Op::Zero { ino, .. }
        | Op::SetMode { ino, .. }
        | Op::Sync { ino, .. }
        | Op::SyncMap { ino, .. }
        | Op::StartWriteback { ino } => trace.path_of(*ino),
    }
}

/// Pixels: the names of the lanes, a column, a lane, a sign.
const GUTTER: usize = 150;
const COLUMN: usize = 34;
const LANE: usize = 34;
const SIGN: usize = 24;
const TOP: usize = 22;

/// One column an event, one lane a file, and the promises above them.
fn chart(shown: &Shown<'_>, rows: &[Row]) -> Markup {
    let trace = &shown.model.trace;
    let mut lanes: Vec<String> = vec!["promises".into()];
    for row in rows {
        if let Row::Event(Event::Op(op)) = row
            && let path = lane_of(trace, *op)
            && !lanes[1..].contains(&path)
        {
            lanes.push(path);
        }
    }
    if lanes.len() > LANES_MAX {
        lanes.truncate(LANES_MAX - 1);
        lanes.push("other files".into());
    }
    let lane =
        |path: &str| 1 + lanes[1..].iter().position(|l| l == path).unwrap_or(lanes.len() - 2);
    let (width, height) = (GUTTER + rows.len() * COLUMN + 10, TOP + lanes.len() * LANE + 24);
    html! {
        figure.chart {
            div.scroll tabindex="0" role="region" aria-label="Chart of the run; the list below says the same" {
                svg width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } role="img"
                    aria-label={ "Ops, syncs and acknowledgements up to the power cut; " (shown.failure.sentence()) } {
                    @for (index, name) in lanes.iter().enumerate() {
                        @let y = TOP + index * LANE + LANE / 2;
                        line.lane x1=(GUTTER) x2=(width) y1=(y) y2=(y) {}
                        text.name x=(GUTTER - 12) y=(y + 4) text-anchor="end" { (shortened(name)) }
                    }
                    @for (index, row) in rows.iter().enumerate() {
                        @let x = GUTTER + index * COLUMN + COLUMN / 2;
                        @match row {
                            Row::Gap(count) => {
                                text.gap x=(x) y=(height - 6) text-anchor="middle" { "+" (count) }
                                line.gap x1=(x) x2=(x) y1=(TOP) y2=(height - 22) {}
                            }
                            Row::Crash => {
                                line.cut x1=(x) x2=(x) y1=(TOP - 2) y2=(height - 20) {}
                                text.cut x=(x) y="14" text-anchor="middle" { "⚡ power cut" }
                            }
                            Row::Event(Event::Mark(mark)) => {
                                @let (at, mark) = trace.marks[*mark];
                                @let (class, sign, words) = marked(trace, mark);
                                @let class = if at > shown.state.stamp { "never" } else { class };
                                (glyph(x, TOP + LANE / 2, class, sign, &words, true))
                            }
                            Row::Event(Event::Op(op)) => {
                                @let (class, sign, words) = Fate::of(shown, *op).look();
                                @let words = format!("op {op}: {}: {words}", trace.describe(*op));
                                @let y = TOP + lane(&lane_of(trace, *op)) * LANE + LANE / 2;
                                (glyph(x, y, class, sign, &words, false))
                                text.op x=(x) y=(height - 6) text-anchor="middle" { (op) }
                            }
                        }
                    }
                }
            }
            figcaption { (legend()) }
        }
    }
}

fn glyph(x: usize, y: usize, class: &str, sign: &str, words: &str, round: bool) -> Markup {
    html! {
        g.glyph .(class) {
            title { (words) }
            rect x=(x - SIGN / 2) y=(y - SIGN / 2) width=(SIGN) height=(SIGN)
                rx=(if round { SIGN / 2 } else { 5 }) {}
            text x=(x) y=(y + 5) text-anchor="middle" { (sign) }
        }
    }
}

fn legend() -> Markup {
    let fates = [Fate::Durable, Fate::Kept, Fate::Lost, Fate::Partly, Fate::Sync, Fate::Never];
    html! {
        ul.legend {
            @for fate in fates { li { (sign(fate)) } }
            li { span.fate.ack { span aria-hidden="true" { "★ " } "acknowledged" } }
        }
    }
}

/// The end of a path tells more than its beginning.
fn shortened(path: &str) -> String {
    const CHARS_MAX: usize = 20;
    let count = path.chars().count();
    if count <= CHARS_MAX {
        return path.into();
    }
    format!("…{}", path.chars().skip(count + 1 - CHARS_MAX).collect::<String>())
}

/// Every op and mark, folded.
pub(super) fn whole(trace: &Trace) -> Markup {
    let events = events(trace);
    html! {
        section aria-labelledby="h-run" {
            h2 #h-run { "The whole run" }
            details {
                summary { (trace.ops.len()) " ops and " (trace.marks.len()) " marks" }
                @if events.len() > WHOLE_MAX {
                    p { "The first " (WHOLE_MAX) " are listed; " code { "cargo faultfs show" } " prints all of them." }
                }
                table.run {
                    thead { tr {
                        th.number scope="col" { "Op" } th scope="col" { "What" } th scope="col" { "Asked for at" }
                    } }
                    tbody { @for (_, event) in events.iter().take(WHOLE_MAX) { @match *event {
                        Event::Op(op) => tr { td.number { (op) } (what_and_where(trace, op)) },
                        Event::Mark(mark) => tr.mark {
                            td { span aria-hidden="true" { (marked(trace, trace.marks[mark].1).1) } }
                            td { strong { (marked(trace, trace.marks[mark].1).2) } }
                            td {}
                        },
                    } } }
                }
            }
        }
    }
}
