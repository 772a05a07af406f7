//! Which faults are tried on which call: a table, and the cases that it makes of the calls of a run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::case::{Case, Rot, Rotten, files};
use crate::crash::Token as StateToken;
use crate::disk::Disk;
use crate::errno::{EDQUOT, EINTR, EIO, ENOSPC, EROFS, Errno};
use crate::error::{Error, closest};
use crate::explore::Faults;
use crate::fault::{Fault, Keep, Leaves, Part, Place, Since, SyncFailure, Torn};
use crate::fs::Capacity;
use crate::injector::{Call, Seen};
use crate::op::{PAGE, SECTOR};
use crate::plan::{OpKind, Plan, Rule};

/// A family of faults, as a sweep is told which to try.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Group {
    /// The power goes after each other fault, and without any.
    Crash,
    /// Every error that a kernel can give for a call, before its effect; `EIO` after it; a device that
    /// goes away.
    Io,
    /// Syncs that fail as on each kernel.
    Fsync,
    /// No space and no quota at every call that needs them; disks that are too small.
    NoSpace,
    /// Short reads and writes.
    Short,
    /// A part of a write reaches the file, then it fails.
    Torn,
    /// Data that is read wrong, and data at rest that has changed.
    BitRot,
    /// Writes that are lost or land elsewhere, reads that come from elsewhere or are stale.
    Lost,
}

impl Group {
    /// Every family.
    pub const ALL: [Group; 8] = [
        Group::Crash,
        Group::Io,
        Group::Fsync,
        Group::NoSpace,
        Group::Short,
        Group::Torn,
        Group::BitRot,
        Group::Lost,
    ];

    fn word(self) -> &'static str {
        match self {
            Group::Crash => "crash",
            Group::Io => "io",
            Group::Fsync => "fsync",
            Group::NoSpace => "nospace",
            Group::Short => "short",
            Group::Torn => "torn",
            Group::BitRot => "bitrot",
            Group::Lost => "lost",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Group {
    type Err = Error;

    fn from_str(text: &str) -> Result<Group, Error> {
        Group::ALL.into_iter().find(|group| group.word() == text).ok_or_else(|| {
            let words = Group::ALL.map(Group::word);
            let mend = match closest(text, words) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("they are {}", words.join(", ")),
            };
            Error::new(format!("`{text}` is no family of faults; {mend}"))
        })
    }
}

/// One line of the table: what may be done to which kinds of calls, given the call.
struct Line {
    group: Group,
    kinds: &'static [OpKind],
    fault: fn(&Call<'_>) -> Option<Fault>,
}

use OpKind::*;

/// Calls that change something: only these can fail after their effect.
const CHANGES: &[OpKind] = &[
    Create, Write, Sync, SyncDir, SyncAll, SetLen, SetMode, Rename, Exchange, Remove, RemoveDir,
    Link, Symlink, CreateDir, SyncMap,
];

/// Besides the errors of [`OpKind::errnos`] and the ways in which a sync fails. A line here is tried on every call that it fits; what it
/// makes of a call that it would not change, or that the door cannot do, is dropped.
const TABLE: &[Line] = &[
    Line { group: Group::Io, kinds: CHANGES, fault: |_| Some(Fault::FailAfter(EIO)) },
    Line { group: Group::Io, kinds: &[Rename], fault: |_| Some(Fault::BothNames(EIO)) },
    Line { group: Group::NoSpace, kinds: &[SetLen], fault: half_grown },
    Line { group: Group::Short, kinds: &[Read, Write], fault: |_| Some(Fault::Short(1)) },
    Line { group: Group::Short, kinds: &[Read, Write], fault: |call| half(call).map(Fault::Short) },
    Line {
        group: Group::Torn,
        kinds: &[Write],
        fault: |call| Some(torn(Part::Bytes(half(call)?))),
    },
    Line { group: Group::Torn, kinds: &[Write], fault: |_| Some(torn(Part::Sectors(1))) },
    Line { group: Group::Torn, kinds: &[Write], fault: |_| Some(torn(Part::Pages(1))) },
    Line {
        group: Group::Torn,
        kinds: &[Write],
        fault: |_| Some(torn(Keep::Last(Part::Sectors(1)))),
    },
    Line { group: Group::Torn, kinds: &[Write], fault: |_| Some(torn(HOLE)) },
    Line { group: Group::BitRot, kinds: &[Read, Load], fault: |call| bit(call, 0) },
    Line { group: Group::BitRot, kinds: &[Read, Load], fault: |call| bit(call, call.len / 2) },
    Line { group: Group::BitRot, kinds: &[Read, Load], fault: garbage },
    Line { group: Group::Lost, kinds: &[Write], fault: |_| Some(Fault::Torn(Torn::LOST)) },
    Line { group: Group::Lost, kinds: &[Read, Write, Load], fault: |call| astray(call, true) },
    Line { group: Group::Lost, kinds: &[Read, Write, Load], fault: |call| astray(call, false) },
    Line { group: Group::Lost, kinds: &[Read, Load], fault: |_| Some(Fault::Stale(Since::Write)) },
    Line { group: Group::Lost, kinds: &[Read, Load], fault: |_| Some(Fault::Stale(Since::Sync)) },
];

const HOLE: Keep = Keep::Hole { missing: Part::Sectors(1), after: 1 };

fn half(call: &Call<'_>) -> Option<u64> {
    (call.len > 3).then_some(call.len / 2)
}

fn half_grown(call: &Call<'_>) -> Option<Fault> {
    let growth = call.len.checked_sub(call.offset?)?;
    Some(Fault::Grow { by: Part::Bytes(growth / 2), errno: ENOSPC })
}

fn torn(keep: impl Into<Keep>) -> Fault {
    Fault::Torn(Torn { keep: keep.into(), leaves: Leaves::Old, errno: Some(EIO) })
}

fn bit(call: &Call<'_>, byte: u64) -> Option<Fault> {
    call.offset.map(|offset| Fault::Flip((offset + byte) * 8))
}

fn garbage(call: &Call<'_>) -> Option<Fault> {
    let first = call.offset?;
    Some(Fault::Garbage { first, end: first + call.len.max(1), seed: 1 })
}

/// To or from where the next transfer of this length would be, or the one before.
fn astray(call: &Call<'_>, behind: bool) -> Option<Fault> {
    let offset = match behind {
        true => call.offset?.checked_add(call.len),
        false => call.offset?.checked_sub(call.len),
    };
    Some(Fault::Misdirect(Place::at(offset?)))
}

fn any_fault(case: &Case, is: impl Fn(&Fault) -> bool) -> bool {
    match case {
        Case::Rot(_) => false,
        Case::Faults(faults) => faults.plan.rules().iter().any(|rule| is(&rule.fault())),
    }
}

/// True where the caller is not told: an engine that finds out may refuse, and may not answer wrong.
pub(super) fn is_silent(case: &Case) -> bool {
    matches!(case, Case::Rot(_))
        || any_fault(case, |fault| match fault {
            Fault::Flip(_) | Fault::Garbage { .. } | Fault::Stale(_) | Fault::Misdirect(_) => true,
            Fault::Torn(torn) => torn.errno.is_none(),
            _ => false,
        })
}

/// True where the power may go afterwards. A sync that says it succeeded and reports its failure at the
/// next one (ext4 with `data=journal`) takes away what an engine had every right to promise.
pub(super) fn may_crash(case: &Case) -> bool {
    !any_fault(case, |fault| fault.sync_failure().is_some_and(|how| !how.told.is_now()))
}

/// The faults of one call, with their families.
fn faults_of(call: &Call<'_>, groups: &[Group]) -> Vec<(Group, Fault)> {
    // A file that is opened for reading does not need a disk that can be written.
    let fits = |errno: &Errno| *errno != EROFS || call.kind != Open || call.writes;
    let errnos = call.kind.errnos().map(|(errno, _)| errno).filter(fits);
    let errors = errnos.map(|errno| {
        let group = match errno {
            ENOSPC | EDQUOT => Group::NoSpace,
            _ if matches!(call.kind, Sync | SyncMap) => Group::Fsync,
            _ => Group::Io,
        };
        let fault = match (call.kind, errno) {
            // A sync that was interrupted has given up nothing: whoever asks again is right, as std does.
            (Sync | SyncMap, EINTR) => Fault::FailSync { how: SyncFailure::FREEBSD, errno },
            _ => Fault::Fail(errno),
        };
        (group, fault)
    });
    let lines = TABLE.iter().filter(|line| line.kinds.contains(&call.kind));
    let others = lines.filter_map(|line| Some((line.group, (line.fault)(call)?)));
    let mut faults: Vec<(Group, Fault)> = Vec::new();
    for (group, fault) in errors.chain(failed_syncs(call.kind)).chain(others) {
        if groups.contains(&group)
            && fault.changes(call)
            && !faults.iter().any(|(_, known)| *known == fault)
        {
            faults.push((group, fault));
        }
    }
    faults
}

/// How each filesystem fails the sync of a file; a plain `fail` is the first of them.
fn failed_syncs(kind: OpKind) -> impl Iterator<Item = (Group, Fault)> {
    let profiles = SyncFailure::PROFILES.iter().map(|(_, how)| *how);
    let others = profiles
        .filter(move |how| matches!(kind, Sync | SyncMap) && *how != SyncFailure::EXT4_ORDERED);
    others.map(|how| (Group::Fsync, Fault::FailSync { how, errno: EIO }))
}

/// Every single fault on every call: once, and from then on for ever. What no kernel does is left out.
pub(super) fn on_calls(calls: &[Seen], groups: &[Group]) -> Vec<(Group, Case)> {
    let mut cases = Vec::new();
    for (index, seen) in calls.iter().enumerate() {
        let call = seen.call();
        for (group, fault) in faults_of(&call, groups) {
            let for_ever = on_call(calls, index, fault.clone(), None);
            let too_often = |later: &Seen| {
                is_endless(&later.call(), &fault) && for_ever.matches(&later.call(), 0)
            };
            let endless = calls[index..].iter().any(too_often);
            for take in [Some(1), None] {
                let rule = on_call(calls, index, fault.clone(), take);
                if !rule.is_hostile() && (take.is_some() || !endless) {
                    cases.push((group, plan(rule)));
                }
            }
        }
        if groups.contains(&Group::Io) {
            cases.push((Group::Io, plan(gone_after(index, None))));
        }
    }
    cases
}

/// The rule of a fault at one call of a run, so often from there on.
fn on_call(calls: &[Seen], index: usize, fault: Fault, take: Option<u64>) -> Rule {
    let rule = Rule::on_call(&calls[index].call(), fault);
    let before = calls[..index].iter().filter(|seen| rule.matches(&seen.call(), 0)).count();
    rule.window(before as u64, take)
}

/// One fault in a recovery, or a plan of them.
pub(crate) struct Trial {
    pub(crate) faults: Faults,
    /// The engine is not told: it may refuse.
    pub(crate) is_silent: bool,
    /// The power may go afterwards.
    pub(crate) may_crash: bool,
}

impl From<Faults> for Trial {
    fn from(faults: Faults) -> Trial {
        let case = Case::Faults(faults.clone());
        Trial { faults, is_silent: is_silent(&case), may_crash: may_crash(&case) }
    }
}

/// As [`on_calls`], with one error number of each family at each call.
pub(crate) fn on_recovery(calls: &[Seen], groups: &[Group]) -> Vec<Trial> {
    let stands_for_all = |rule: &Rule| match rule.fault() {
        Fault::Fail(errno) | Fault::FailAfter(errno) => [EIO, ENOSPC].contains(&errno),
        Fault::FailSync { errno, .. } => errno == EIO,
        _ => true,
    };
    let cases = on_calls(calls, groups).into_iter().filter_map(|(_, case)| match case {
        Case::Faults(faults) => Some(faults),
        Case::Rot(_) => None,
    });
    cases.filter(|faults| faults.plan.rules().iter().all(stands_for_all)).map(Trial::from).collect()
}

/// True where this call would become more than a few dozen, which shows no more and takes its time, and the
/// memory of whoever notes them; and where later calls of the kind need not fail so.
fn is_endless(call: &Call<'_>, fault: &Fault) -> bool {
    matches!(fault, Fault::Short(bytes) if call.len / bytes > PIECES_MAX)
        || (call.kind == Open && *fault == Fault::Fail(EROFS))
}

/// Calls into which a short transfer that goes on for ever cuts one.
const PIECES_MAX: u64 = 64;

fn plan(rule: Rule) -> Case {
    Case::Faults(Faults::from(Plan::from(rule)))
}

fn gone_after(calls: usize, take: Option<u64>) -> Rule {
    Rule::on_any(Fault::Fail(EIO)).window(calls as u64, take)
}

/// The run with which a sweep ends: a fault behind the last call, which must not fire.
pub(super) fn behind(calls: &[Seen]) -> Case {
    plan(gone_after(calls.len(), Some(1)))
}

/// Disks that are too small, from nothing to one page less than `pages`; at most [`SIZES_MAX`] sizes.
pub(super) fn small_disks(pages: u64) -> Vec<Case> {
    let step = pages.div_ceil(SIZES_MAX).max(1);
    let sizes = (0..pages).step_by(step as usize);
    sizes
        .map(|pages| {
            let bytes = pages * PAGE;
            Case::Faults(Faults::from(Capacity { bytes, ..Capacity::UNLIMITED }))
        })
        .collect()
}

/// How many sizes of a disk are tried.
pub(super) const SIZES_MAX: u64 = 64;

/// Every sector of every file of a disk gone bad, holes apart: as a whole, and one bit in each 64 bytes of
/// it, of large files one bit.
pub(super) fn rot(disk: &Disk, state: &StateToken) -> Vec<Case> {
    let mut cases = Vec::new();
    for (path, content) in
        files(disk).into_iter().filter_map(|(path, ino)| Some((path, disk.content(ino)?)))
    {
        let mut push = |what| {
            let (path, state) = (path.clone(), state.clone());
            cases.push(Case::Rot(Rot { path, what, state }));
        };
        let len = content.len();
        let pages: Vec<u64> = content.page_numbers().collect();
        let starts = |apart: u64| {
            let of_page =
                move |page: &u64| (page * PAGE..(page + 1) * PAGE).step_by(apart as usize);
            pages.iter().flat_map(of_page).filter(move |start| *start < len)
        };
        for start in starts(SECTOR) {
            push(Rotten::Bytes(start..(start + SECTOR).min(len)));
        }
        let apart = if pages.len() > LARGE_PAGES { SECTOR } else { BITS_APART };
        for (index, start) in (0..).zip(starts(apart)) {
            // Another byte and another bit each time, so that all places of a repeated structure come up.
            let byte = (start + index * 13 % apart).min(len - 1);
            push(Rotten::Bit(byte * 8 + index % 8));
        }
    }
    cases
}

/// One bit in so many bytes is flipped.
const BITS_APART: u64 = 64;
/// A file with more pages than this is large: one bit in each sector is flipped.
const LARGE_PAGES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(calls: &[Call<'_>], groups: &[Group]) -> Vec<String> {
        let calls: Vec<Seen> = calls.iter().map(Seen::from).collect();
        on_calls(&calls, groups).iter().map(|(_, case)| case.to_string()).collect()
    }

    fn write(path: &str, offset: u64, len: u64) -> Call<'_> {
        let kind = OpKind::Write;
        Call { offset: Some(offset), len, ..Call::new(kind, std::path::Path::new(path)) }
    }

    #[test]
    fn an_address_counts_what_its_own_rule_would_have_matched_before() {
        let calls =
            [write("log", 0, 1), write("log", 1, 100), write("b", 0, 100), write("log", 9, 9)];
        let found = texts(&calls, &[Group::Short]);
        let expected = [
            "write log take 1 -> short 1",
            "write log take 1 -> short 50",
            "write log -> short 50",
            "write b take 1 -> short 1",
            "write b take 1 -> short 50",
            "write b -> short 50",
            "write log skip 1 take 1 -> short 1",
            "write log skip 1 -> short 1",
            "write log skip 1 take 1 -> short 4",
            "write log skip 1 -> short 4",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_short_transfer_goes_on_for_ever_only_where_no_later_call_falls_to_pieces() {
        let small = write("log", 0, 4);
        let large = |path: &'static str| write(path, 4, 4096);
        let for_ever = "write log -> short 1".to_string();
        let goes_on = |later| texts(&[small, later], &[Group::Short]).contains(&for_ever);
        assert_eq!([goes_on(large("b")), goes_on(large("log"))], [true, false]);
    }

    #[test]
    fn each_fault_of_a_call_comes_once_for_a_while_and_for_ever_and_none_is_hostile() {
        let calls = [write("a*b", 0, 4096)];
        let found = texts(&calls, &Group::ALL);
        let mut known = found.clone();
        known.sort();
        known.dedup();
        assert_eq!(known.len(), found.len());
        for text in [
            "write a[*]b take 1 -> fail EIO",
            "write a[*]b -> fail ENOSPC",
            "write a[*]b take 1 -> fail-after EIO",
            "write a[*]b take 1 -> torn 1 sectors EIO",
            "write a[*]b take 1 -> fail EINTR",
            "any * -> fail EIO",
        ] {
            assert!(found.contains(&text.to_string()), "{text} in {found:#?}");
        }
        assert!(!found.contains(&"write a[*]b -> fail EINTR".to_string()), "it never ends");
        for text in &found {
            assert_eq!(text.parse::<Case>().unwrap().to_string(), *text);
        }
    }

    #[test]
    fn an_open_for_reading_does_not_fail_on_a_disk_that_cannot_be_written() {
        let open = |writes| Call { writes, ..Call::new(Open, std::path::Path::new("a")) };
        let fails = |writes| {
            let found = texts(&[open(writes)], &[Group::Io]);
            assert!(found.contains(&"open a take 1 -> fail EIO".to_string()));
            found.contains(&"open a take 1 -> fail EROFS".to_string())
        };
        assert_eq!([fails(false), fails(true)], [false, true]);
    }

    #[test]
    fn a_sync_fails_as_on_each_filesystem_and_one_that_was_interrupted_has_given_up_nothing() {
        let found = texts(&[Call::new(Sync, std::path::Path::new("a"))], &[Group::Fsync]);
        for (_, how) in SyncFailure::PROFILES {
            let as_plain = *how == SyncFailure::EXT4_ORDERED;
            let how = if as_plain { "fail EIO".into() } else { format!("fail-sync EIO {how}") };
            for take in [" take 1", ""] {
                let text = format!("sync a{take} -> {how}");
                assert!(found.contains(&text), "{text} in {found:#?}");
            }
        }
        assert!(found.contains(&"sync a take 1 -> fail-sync EINTR as freebsd".to_string()));
        assert!(!found.iter().any(|text| text.ends_with("fail EINTR")), "{found:#?}");
    }

    #[test]
    fn what_an_engine_is_not_told_of_it_may_refuse_and_what_it_is_told_late_no_crash_follows() {
        for (text, silent, crash) in [
            ("sync a take 1 -> fail EIO", false, true),
            ("sync a take 1 -> fail-sync EIO as btrfs", false, true),
            ("sync a take 1 -> fail-sync EIO as ext4-data-journal", false, false),
            ("write a take 1 -> torn 1 sectors EIO", false, true),
            ("write a take 1 -> lose", true, true),
            ("write a take 1 -> misdirect to 0", true, true),
            ("read a take 1 -> misdirect to 0", true, true),
            ("read a take 1 -> stale sync", true, true),
            ("read a take 1 -> flip 3", true, true),
            ("read a take 1 -> garbage 0..9 seed 1", true, true),
            ("read a take 1 -> short 1", false, true),
            ("disk 4096 bytes", false, true),
            ("rot a bit 3 in 9f3a2c71d0e45b68-posix-41-k", true, true),
        ] {
            let case: Case = text.parse().unwrap();
            assert_eq!((is_silent(&case), may_crash(&case)), (silent, crash), "{text}");
        }
    }

    #[test]
    fn disks_are_too_small_from_nothing_to_a_page_less_in_so_many_sizes_at_most() {
        let sizes = |pages| small_disks(pages).iter().map(Case::to_string).collect::<Vec<_>>();
        assert_eq!(sizes(3), ["disk 0 bytes", "disk 4096 bytes", "disk 8192 bytes"]);
        assert_eq!(sizes(0), [""; 0]);
        let many = sizes(1000);
        assert!(many.len() as u64 <= SIZES_MAX && many.len() as u64 > SIZES_MAX / 2);
        assert_eq!(many[0], "disk 0 bytes");
    }

    #[test]
    fn every_sector_that_holds_data_rots_as_a_whole_and_bit_by_bit() {
        use crate::op::{Ino, Kind, Op, Slot};
        let mut disk = Disk::new();
        let ino = disk.fresh_ino();
        let slot = Slot::new(Ino::ROOT, "log");
        disk.apply(&Op::Create { slot, ino, kind: Kind::File, mode: 0o644 });
        // A page, a hole of one, and a part of a third.
        disk.write_at(ino, &[7; PAGE as usize], 0);
        disk.write_at(ino, &[7; 600], 2 * PAGE);
        let state = "9f3a2c71d0e45b68-posix-41-k";
        let found = rot(&disk, &state.parse().unwrap());
        let (bits, bytes): (Vec<String>, Vec<String>) =
            found.iter().map(Case::to_string).partition(|text| text.starts_with("rot log bit "));
        let sectors = (0..8).map(|sector| sector * 512..(sector + 1) * 512);
        let sectors = sectors.chain([8192..8704, 8704..8792]);
        let sectors =
            sectors.map(|at| format!("rot log bytes {}..{} in {state}", at.start, at.end));
        assert_eq!(bytes, sectors.collect::<Vec<_>>());
        assert_eq!(bits.len(), 64 + 600_usize.div_ceil(64));
    }

    #[test]
    fn the_families_have_words_and_a_slip_is_mended() {
        for group in Group::ALL {
            assert_eq!(group.to_string().parse(), Ok(group));
        }
        let error = "bit-rot".parse::<Group>().unwrap_err().to_string();
        assert_eq!(error, "`bit-rot` is no family of faults; did you mean `bitrot`?");
    }
}
