//! Calls that the injector was asked about.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use faultfs::plan::OpKind;
use faultfs::{Call, Reach};

use crate::record::{REACHES, Record, damaged};

/// A call as it was put to the injector.
pub(super) struct Called<'a> {
    kind: OpKind,
    path: &'a [u8],
    other: &'a [u8],
    offset: Option<u64>,
    len: u64,
    reach: Reach,
    writes: bool,
    /// Empty: nothing went wrong.
    pub(super) rule: &'a [u8],
    /// Fail points, each behind a zero byte.
    points: &'a [u8],
}

impl<'a> Called<'a> {
    pub(super) fn of(record: &Record<'a>) -> io::Result<Self> {
        let [kind, has_offset, offset, len, reach, writes] = record.words;
        let kind = usize::try_from(kind).ok().and_then(|index| OpKind::ALL.get(index));
        let end = record.data.iter().position(|&byte| byte == 0);
        let reach = usize::try_from(reach).ok().and_then(|index| REACHES.get(index));
        let (Some(&kind), Some(end), Some(&reach)) = (kind, end, reach) else {
            return Err(damaged("a call makes no sense"));
        };
        let offset = (has_offset != 0).then_some(offset);
        let (other, rest) = (&record.data[..end], &record.data[end + 1..]);
        let rule_len = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
        let (rule, points) = rest.split_at(rule_len);
        let (path, writes) = (record.name, writes != 0);
        Ok(Called { kind, path, other, offset, len, reach, writes, rule, points })
    }

    pub(super) fn points(&self) -> Vec<Arc<str>> {
        let points = self.points.split(|&byte| byte == 0).skip(1);
        points.map(|point| String::from_utf8_lossy(point).into()).collect()
    }

    pub(super) fn call(&self) -> Call<'a> {
        let path = |bytes| Path::new(OsStr::from_bytes(bytes));
        let other = (!self.other.is_empty()).then(|| path(self.other));
        let Called { offset, len, reach, writes, .. } = *self;
        Call { other, offset, len, reach, writes, ..Call::new(self.kind, path(self.path)) }
    }
}
