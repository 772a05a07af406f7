//! The disk without loss beside the disk after the crash.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::Shown;
use crate::disk::{Body, Content, Disk};
use crate::op::PAGE;

/// Bytes in a line of a dump.
const LINE: usize = 16;
/// Lines of a dump that are shown of one file.
const LINES_MAX: usize = 24;
/// Files that are shown.
const FILES_MAX: usize = 200;

type Files<'a> = BTreeMap<Vec<u8>, &'a Body>;

fn files(disk: &Disk) -> Files<'_> {
    let named = disk.walk().into_iter();
    named.filter_map(|(path, ino)| Some((path, &disk.get(ino)?.body))).collect()
}

pub(super) fn side_by_side(shown: &Shown<'_>) -> Markup {
    let (kept, left) = (files(&shown.kept), files(&shown.left));
    let paths: std::collections::BTreeSet<&Vec<u8>> = kept.keys().chain(left.keys()).collect();
    let (equal, differ): (Vec<&Vec<u8>>, Vec<_>) =
        paths.into_iter().partition(|path| kept.get(*path) == left.get(*path));
    html! {
        h3 { "The two disks" }
        p.muted {
            "Without loss: all that the engine had asked for by then. After the crash: what recovery was given."
        }
        @if differ.is_empty() {
            p { "The disks differ in nothing but permission bits or in which names are one file." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Files that differ" {
                table.disks {
                    thead { tr {
                        th scope="col" { "Name" } th scope="col" { "Without loss" }
                        th scope="col" { "After the crash" } th scope="col" { "Difference" }
                    } }
                    tbody { @for path in differ.iter().take(FILES_MAX) { tr {
                        th scope="row" { code { (String::from_utf8_lossy(path)) } }
                        td { (held(kept.get(*path))) }
                        td { (held(left.get(*path))) }
                        td { (difference(kept.get(*path), left.get(*path))) }
                    } } }
                }
            }
            @if differ.len() > FILES_MAX { p { (differ.len() - FILES_MAX) " more names differ and are not shown." } }
            @for path in differ.iter().take(FILES_MAX) {
                @if let (Some(Body::File(kept)), Some(Body::File(left))) = (kept.get(*path), left.get(*path)) {
                    (dump(&String::from_utf8_lossy(path), kept, left))
                }
            }
        }
        @if !equal.is_empty() {
            details {
                summary { (equal.len()) @if equal.len() == 1 { " name is" } @else { " names are" } " the same on both disks" }
                ul.names { @for path in equal.iter().take(FILES_MAX) {
                    li { code { (String::from_utf8_lossy(path)) } ": " (held(kept.get(*path))) }
                } }
                @if equal.len() > FILES_MAX { p { (equal.len() - FILES_MAX) " more are not shown." } }
            }
        }
    }
}

fn held(body: Option<&&Body>) -> String {
    match body {
        None => "not there".into(),
        Some(Body::File(content)) => format!("{} bytes", content.len()),
        Some(Body::Dir(entries)) => format!("directory of {}", entries.len()),
        Some(Body::Symlink(target)) => format!("symbolic link to {target}"),
    }
}

fn difference(kept: Option<&&Body>, left: Option<&&Body>) -> Markup {
    let (class, sign, words) = match (kept, left) {
        (Some(_), None) => ("lost", "✕", "gone"),
        (None, Some(_)) => ("torn", "◐", "still there"),
        (Some(Body::File(a)), Some(Body::File(b))) if a.len() != b.len() => {
            ("torn", "◐", "another size")
        }
        (Some(Body::Dir(_)), Some(Body::Dir(_))) => ("torn", "◐", "other entries"),
        _ => ("torn", "◐", "other content"),
    };
    html! { span .(class) { span aria-hidden="true" { (sign) " " } (words) } }
}

/// The lines of two contents that differ, as offsets.
fn lines_that_differ(kept: &Content, left: &Content) -> Vec<u64> {
    let pages: std::collections::BTreeSet<u64> = kept
        .page_numbers()
        .chain(left.page_numbers())
        .chain([kept.len() / PAGE, left.len() / PAGE])
        .collect();
    let end = kept.len().max(left.len());
    let mut out = Vec::new();
    for page in pages {
        let lines = (page * PAGE..((page + 1) * PAGE).min(end)).step_by(LINE);
        out.extend(lines.filter(|&at| line(kept, at) != line(left, at)));
    }
    out
}

/// The bytes of a line, none past the end.
fn line(content: &Content, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; LINE];
    let count = content.read_at(&mut bytes, at);
    bytes.truncate(count);
    bytes
}

fn dump(path: &str, kept: &Content, left: &Content) -> Markup {
    let offsets = lines_that_differ(kept, left);
    let caption = format!("{path}: lines of {LINE} bytes that differ: {}", offsets.len());
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table.dump {
                caption { (caption) @if offsets.len() > LINES_MAX { "; the first " (LINES_MAX) " are shown" } }
                thead { tr {
                    th scope="col" { "Offset" } th scope="col" { "Without loss" } th scope="col" { "After the crash" }
                } }
                tbody { @for &at in offsets.iter().take(LINES_MAX) {
                    @let (a, b) = (line(kept, at), line(left, at));
                    tr {
                        th scope="row" { (format!("{at:08x}")) }
                        td { (bytes(&a, &b)) }
                        td { (bytes(&b, &a)) }
                    }
                } }
            }
        }
    }
}

/// A line in hexadecimal and as text; what differs from the other side is marked.
fn bytes(ours: &[u8], other: &[u8]) -> Markup {
    let differs = |i: usize| ours.get(i) != other.get(i);
    let hex = |i: usize| ours.get(i).map_or("··".to_string(), |byte| format!("{byte:02x}"));
    let text = |i: usize| match ours.get(i) {
        Some(&byte) if byte == b' ' || byte.is_ascii_graphic() => char::from(byte),
        Some(_) => '.',
        None => ' ',
    };
    // Neighbours that differ are one mark.
    let mut runs: Vec<(bool, std::ops::Range<usize>)> = Vec::new();
    for i in 0..LINE {
        match runs.last_mut() {
            Some((same, range)) if *same == differs(i) => range.end = i + 1,
            _ => runs.push((differs(i), i..i + 1)),
        }
    }
    let row = |cell: &dyn Fn(usize) -> String| {
        html! { @for (differs, range) in &runs {
            @let words: String = range.clone().map(cell).collect();
            @if *differs { mark { (words) } } @else { (words) }
        } }
    };
    html! {
        span.hex { (row(&|i| if i + 1 < LINE { hex(i) + " " } else { hex(i) })) }
        span.text aria-hidden="true" { (row(&|i| text(i).to_string())) }
    }
}
