//! What a record of the log means in terms of the trace, and whether it fits what came before.

use faultfs::fault::{Size, SyncFailure};
use faultfs::op::{Bytes, Ino, Kind as InodeKind, Name, Op, Slot, SyncKind};

use super::{Decoder, End};
use crate::record::{Kind, Record, linux, write};

/// What the kernel allows.
const OFFSET_MAX: u64 = i64::MAX as u64;

impl Decoder {
    /// What a start means in terms of the trace; none when it makes no sense after what came before.
    pub(super) fn ops(&mut self, record: &Record<'_>, end: Option<End>) -> Option<Vec<Op>> {
        let [a, b, c, d, e, _] = record.words;
        let name = record.name;
        Some(match record.kind {
            Kind::Write => vec![Op::Write {
                ino: self.ino(a)?,
                offset: b,
                data: Bytes::new(record.data),
                direct: c & write::DIRECT != 0,
                sync: match c {
                    _ if c & write::SYNC != 0 => Some(SyncKind::All),
                    _ if c & write::DSYNC != 0 => Some(SyncKind::Data),
                    _ => None,
                },
            }],
            Kind::SetLen => vec![Op::SetLen { ino: self.ino(a)?, len: b }],
            Kind::Allocate => self.allocation(self.ino_ref(a), b, c, d)?,
            Kind::Open if b != 0 => vec![Op::SetLen { ino: self.ino(b)?, len: 0 }],
            Kind::Open => vec![self.create((a, name), InodeKind::File, (d, end))?],
            Kind::MakeDir => vec![self.create((a, name), InodeKind::Dir, (b, end))?],
            Kind::Symlink => {
                let target = InodeKind::Symlink(Name::new(record.data));
                vec![self.create((a, name), target, (0o777, end))?]
            }
            Kind::TempFile => {
                let (ino, mode) = self.made((b, end));
                vec![Op::CreateUnnamed { ino, mode }]
            }
            Kind::Link => {
                let (ino, slot) = (self.ino(a)?, self.slot(b, name)?);
                self.replaced = if c == 0 { None } else { Some(self.slot_of(b, name, c)?) };
                vec![Op::Link { ino, slot }]
            }
            Kind::Unlink | Kind::RemoveDir => {
                vec![Op::Unlink { slot: self.slot_of(a, name, b)? }]
            }
            Kind::Rename => {
                let from = self.slot_of(a, name, b)?;
                let to = self.slot_of(c, record.data, d)?;
                vec![Op::Rename { from, to, exchange: e & linux::RENAME_EXCHANGE != 0 }]
            }
            Kind::Chmod => vec![Op::SetMode { ino: self.ino(a)?, mode: b as u32 & 0o7777 }],
            Kind::Sync => {
                let data = record.number == linux::FDATASYNC;
                self.note_failure(b != 0);
                let kind = if data { SyncKind::Data } else { SyncKind::All };
                vec![Op::Sync { ino: self.ino(a)?, kind }]
            }
            Kind::SyncRange => vec![Op::StartWriteback { ino: self.ino(a)? }],
            Kind::SyncAll => vec![Op::SyncAll],
            Kind::Msync if d & linux::MS_SYNC != 0 => {
                self.note_failure(e != 0);
                vec![Op::SyncMap { ino: self.ino(a)?, offset: b, len: c }]
            }
            Kind::Msync => vec![Op::StartWriteback { ino: self.ino(a)? }],
            Kind::End
            | Kind::MapStore
            | Kind::Mark
            | Kind::Passed
            | Kind::Cut
            | Kind::Unmodelled
            | Kind::Known
            | Kind::Called
            | Kind::Module
            | Kind::Stack => unreachable!("not the start of an operation"),
        })
    }

    /// The sync that starts now fails, and the device keeps the old size.
    fn note_failure(&mut self, old_size: bool) {
        if old_size {
            let how = SyncFailure { size: Size::Reverted, ..SyncFailure::EXT4_ORDERED };
            self.failures.insert(self.recorder.next_start(), how);
        }
    }

    fn create(
        &mut self,
        (dir, name): (u64, &[u8]),
        kind: InodeKind,
        asked: (u64, Option<End>),
    ) -> Option<Op> {
        let slot = self.slot(dir, name)?;
        let (ino, mode) = self.made(asked);
        Some(Op::Create { slot, ino, kind, mode })
    }

    /// A new inode and its mode: as the kernel told it; in flight, as asked for under the usual mask.
    fn made(&mut self, (asked, end): (u64, Option<End>)) -> (Ino, u32) {
        let ino = self.recorder.fresh_ino();
        match end {
            Some(end) if end.returned >= 0 => {
                self.inos.insert(end.ino, ino);
                (ino, end.mode)
            }
            _ => (ino, asked as u32 & 0o7777 & !0o022),
        }
    }

    fn allocation(
        &mut self,
        ino: Option<Ino>,
        mode: u64,
        offset: u64,
        len: u64,
    ) -> Option<Vec<Op>> {
        let Some(ino) = ino else { return self.missed("an inode that no record made") };
        let mode = mode as i32;
        let known = linux::KEEP_SIZE | linux::PUNCH_HOLE | linux::ZERO_RANGE;
        if mode & !known != 0 {
            self.recorder.unmodelled(format!("fallocate with mode {mode:#x}"));
            return None;
        }
        let mut ops = Vec::new();
        if mode & !linux::KEEP_SIZE != 0 {
            ops.push(Op::Zero { ino, offset, len });
        }
        let size = self.recorder.live().content(ino).map_or(0, |content| content.len());
        let end = offset.saturating_add(len);
        if mode & linux::KEEP_SIZE == 0 && end > size {
            ops.push(Op::SetLen { ino, len: end });
        }
        Some(ops)
    }

    pub(super) fn ino(&mut self, kernel: u64) -> Option<Ino> {
        let known = self.ino_ref(kernel);
        if known.is_none() {
            self.missed::<Ino>("an inode that no record made");
        }
        known
    }

    fn ino_ref(&self, kernel: u64) -> Option<Ino> {
        self.inos.get(&kernel).copied()
    }

    fn slot(&mut self, dir: u64, name: &[u8]) -> Option<Slot> {
        Some(Slot::new(self.ino(dir)?, name))
    }

    /// A slot that the door found to hold an inode, or nothing for 0.
    fn slot_of(&mut self, dir: u64, name: &[u8], holds: u64) -> Option<Slot> {
        let slot = self.slot(dir, name)?;
        let holds = if holds == 0 { None } else { Some(self.ino(holds)?) };
        if self.recorder.live().lookup(&slot) != holds {
            let name = String::from_utf8_lossy(name).into_owned();
            return self.missed(&format!("the name {name:?}, which stood for another inode"));
        }
        Some(slot)
    }

    /// Whether the live disk has what an operation names.
    pub(super) fn fits(&mut self, op: &Op) -> bool {
        let live = self.recorder.live();
        let fits = match op {
            Op::Create { slot, .. } => {
                live.entries(slot.dir).is_some() && live.lookup(slot).is_none()
            }
            Op::Link { ino, slot } => {
                live.get(*ino).is_some()
                    && live.entries(slot.dir).is_some()
                    && (live.lookup(slot).is_none() || self.replaced.as_ref() == Some(slot))
            }
            Op::Unlink { slot } => live.lookup(slot).is_some(),
            Op::Rename { from, to, .. } => {
                live.lookup(from).is_some() && live.entries(to.dir).is_some()
            }
            Op::Write { ino, offset, data, .. } | Op::MapStore { ino, offset, data, .. } => {
                live.content(*ino).is_some()
                    && offset.checked_add(data.len() as u64).is_some_and(|end| end <= OFFSET_MAX)
            }
            Op::SetLen { ino, len } => live.content(*ino).is_some() && *len <= OFFSET_MAX,
            Op::Zero { ino, .. } => live.content(*ino).is_some(),
            Op::SetMode { ino, .. }
            | Op::Sync { ino, .. }
            | Op::SyncMap { ino, .. }
            | Op::StartWriteback { ino } => live.get(*ino).is_some(),
            Op::CreateUnnamed { .. } | Op::SyncAll => true,
        };
        if !fits {
            self.missed::<()>(&format!("a {} that does not fit what came before", op.word()));
        }
        fits
    }

    fn missed<T>(&mut self, met: &str) -> Option<T> {
        self.recorder.unmodelled(format!("a file call was not seen by the door: it met {met}"));
        None
    }
}
