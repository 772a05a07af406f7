//! What happens to the calls of a mapping while a rule may fire.

use std::io::{self, Read};
use std::ops::{ControlFlow, Range};

use super::at::Stream;
use super::door::{Doing, Door, Synced, answer};
use super::mapping::{Mapping, MappingMut};
use crate::disk::page_spans;
use crate::fault::Effect;
use crate::injector::Reach;
use crate::plan::OpKind;

impl Door {
    #[cold]
    #[track_caller]
    pub(super) fn load<M: Mapping, T>(
        &self,
        map: &M,
        range: Range<usize>,
        look: impl FnOnce(&[u8]) -> T,
    ) -> io::Result<T> {
        let at = map.offset() + range.start as u64;
        let decided = self.decide(OpKind::Load, Some(at), range.len() as u64, Reach::Call);
        if decided.is_none() {
            return map.read(range, look);
        }
        let mut bytes = vec![0; range.len()];
        let mut loads = Loads { map, at: range.start };
        self.carry_out_read(&decided, &mut loads, &Stream, &mut bytes)?;
        Ok(look(&bytes))
    }

    #[cold]
    #[track_caller]
    pub(super) fn store(
        &self,
        map: &mut impl MappingMut,
        data: &[u8],
        offset: usize,
    ) -> io::Result<()> {
        let at = map.offset() + offset as u64;
        match self.before_store(at, data.len()) {
            Effect::Nothing(Some(errno)) => Err(errno.into()),
            Effect::Crash => self.crash(Doing::Store(at, data)),
            _ => map.write_all_at(data, offset),
        }
    }

    #[cold]
    #[track_caller]
    pub(super) fn edit<T>(
        &self,
        map: &mut impl MappingMut,
        range: Range<usize>,
        change: impl FnOnce(&mut [u8]) -> T,
    ) -> io::Result<T> {
        let at = map.offset() + range.start as u64;
        match self.before_store(at, range.len()) {
            Effect::Nothing(Some(errno)) => Err(errno.into()),
            Effect::Crash => {
                let before = map.read(range, <[u8]>::to_vec)?;
                let mut after = before.clone();
                change(&mut after);
                match changed(&before, &after) {
                    Some(span) => {
                        self.crash(Doing::Store(at + span.start as u64, &after[span.clone()]))
                    }
                    None => self.crash(Doing::Nothing),
                }
            }
            _ => map.edit(range, change),
        }
    }

    #[track_caller]
    fn before_store(&self, at: u64, len: usize) -> Effect {
        let decided = self.decide(OpKind::Store, Some(at), len as u64, Reach::Call);
        decided.map_or(Effect::WHOLE, |(fault, offset)| fault.effect(offset, 1))
    }

    #[cold]
    #[track_caller]
    pub(super) fn msync(&self, map: &impl MappingMut, offset: usize, len: usize) -> io::Result<()> {
        let (at, bytes) = (map.offset() + offset as u64, len as u64);
        let what = Synced::Range { offset: at, len: bytes };
        let decided = self.decide(OpKind::SyncMap, Some(at), bytes, Reach::Call);
        match self.before_sync(decided, what) {
            ControlFlow::Break(done) => done,
            ControlFlow::Continue(errno) => answer(map.flush_range(offset, len)?, errno),
        }
    }
}

/// A mapping from a byte on, as a stream.
struct Loads<'a, M> {
    map: &'a M,
    at: usize,
}

impl<M: Mapping> Read for Loads<'_, M> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let range = self.at..self.at + buf.len();
        self.map.read(range, |bytes| buf.copy_from_slice(bytes))?;
        Ok(buf.len())
    }
}

/// From the first byte that differs to the last; `None` where none does.
fn changed(before: &[u8], after: &[u8]) -> Option<Range<usize>> {
    let differ = |(one, other): (&u8, &u8)| one != other;
    let first = before.iter().zip(after).position(differ)?;
    let last = before.iter().zip(after).rposition(differ)?;
    Some(first..last + 1)
}

/// As [`changed`], for each page of what lies at `offset` by itself.
pub(super) fn changed_in_pages<'a>(
    offset: u64,
    before: &'a [u8],
    after: &'a [u8],
) -> impl Iterator<Item = Range<usize>> + 'a {
    page_spans(offset, before.len() as u64).filter_map(|(_, _, page)| {
        let span = changed(&before[page.clone()], &after[page.clone()])?;
        Some(page.start + span.start..page.start + span.end)
    })
}
