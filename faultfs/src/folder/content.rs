//! A file given a new content, by as little writing as can be.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;

use super::CHUNK;
use crate::disk::Content;
use crate::op::PAGE;

/// Pages that are written in one go.
const RUN_MAX: usize = 64;

/// Gives a file of `held` bytes its new content; writes what differs. True where anything did. `have` is
/// space for a chunk.
pub(super) fn write(
    file: &File,
    held: u64,
    content: &Content,
    have: &mut [u8],
) -> io::Result<bool> {
    let len = content.len();
    if held > len {
        file.set_len(len)?;
    }
    let common = held.min(len);
    let (mut at, mut wrote) = (0, held != len);
    while at < common {
        at = skip_holes(file, content, at);
        let count = common.saturating_sub(at).min(CHUNK as u64) as usize;
        let have = &mut have[..count];
        file.read_exact_at(have, at)?;
        wrote |= write_differing(file, have, content, at)?;
        at += count as u64;
    }
    if write_new(file, content, common)? < len {
        file.set_len(len)?;
    }
    Ok(wrote)
}

/// The first byte from `at` on that may differ: what is a hole on both sides is passed over. Not asked
/// for files that one chunk holds.
fn skip_holes(file: &File, content: &Content, at: u64) -> u64 {
    if content.len() <= CHUNK as u64 {
        return at;
    }
    let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => data,
        Err(rustix::io::Errno::NXIO) => u64::MAX,
        Err(_) => at,
    };
    if data == at {
        return at;
    }
    let page = content.page_numbers().find(|&page| page >= at / PAGE);
    let wanted = page.map_or(u64::MAX, |page| page * PAGE);
    at.max(data.min(wanted) / PAGE * PAGE)
}

/// Writes the pages of a content that differ from what a file has from byte `at`, the first of a page, on.
/// True where any do.
fn write_differing(file: &File, have: &[u8], content: &Content, at: u64) -> io::Result<bool> {
    let pages = (at / PAGE..).zip(have.chunks(PAGE as usize));
    let differing = pages.filter_map(|(page, have)| {
        let want = &content.page(page)[..have.len()];
        (have != want).then_some((page, want))
    });
    write_pages(file, differing).map(|end| end > 0)
}

/// Writes what a content has from byte `from` on, where a file ends. What is zeros becomes a hole: memory
/// that need not be taken. Where the file ends then.
fn write_new(file: &File, content: &Content, from: u64) -> io::Result<u64> {
    let (page, within) = (from / PAGE, (from % PAGE) as usize);
    let behind = |number: u64| (content.len() - number * PAGE).min(PAGE) as usize;
    let mut end = from;
    // The rest of the last page that there is.
    if within > 0 && from < content.len() {
        let rest = &content.page(page)[within..behind(page)];
        file.write_all_at(rest, from)?;
        end = from + rest.len() as u64;
    }
    let first = from.div_ceil(PAGE);
    let new =
        content.data().filter(|(number, _)| (first..content.len().div_ceil(PAGE)).contains(number));
    let new = new.map(|(number, page)| (number, &page[..behind(number)]));
    write_pages(file, new).map(|last| end.max(last))
}

/// Writes pages, neighbours in one go; where the last of them ends, or 0.
fn write_pages<'a>(file: &File, pages: impl Iterator<Item = (u64, &'a [u8])>) -> io::Result<u64> {
    let (mut run, mut end): (Vec<IoSlice<'_>>, u64) = (Vec::new(), 0);
    let mut start = 0;
    for (page, bytes) in pages {
        if page * PAGE != end || run.len() == RUN_MAX {
            write_run(file, &run, start)?;
            run.clear();
            start = page * PAGE;
        }
        run.push(IoSlice::new(bytes));
        end = page * PAGE + bytes.len() as u64;
    }
    write_run(file, &run, start)?;
    Ok(end)
}

fn write_run(file: &File, run: &[IoSlice<'_>], start: u64) -> io::Result<()> {
    let mut done = match run {
        [] => return Ok(()),
        run => rustix::io::pwritev(file, run, start)?,
    };
    // What did not fit into one call.
    let mut at = start + done as u64;
    for part in run {
        let rest = &part[done.min(part.len())..];
        done -= part.len() - rest.len();
        file.write_all_at(rest, at)?;
        at += rest.len() as u64;
    }
    Ok(())
}
