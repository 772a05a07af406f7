//! Rules as code: only faults that fit the op can be written.

use std::marker::PhantomData;
use std::ops::Range;

use super::rule::{OpKind, Pattern, Ratio, Rule};
use crate::errno::Errno;
use crate::fault::{Fault, Part};

/// Where a rule starts: the kind of op that it is about.
///
/// ```
/// use faultfs::errno::EIO;
/// use faultfs::fault::Part;
/// use faultfs::plan::on;
///
/// let rule = on::write().path("db/*.log").take(1).torn(Part::Sectors(3), EIO);
/// assert_eq!(rule.to_string(), "write db/*.log take 1 -> torn 3 sectors EIO");
/// ```
///
/// What an op cannot suffer does not compile. A sync moves no bytes, so it cannot be short:
///
/// ```compile_fail,E0599
/// faultfs::plan::on::sync().short(512);
/// ```
///
/// only a write leaves a part of itself behind, and only a sync can lie:
///
/// ```compile_fail,E0599
/// use faultfs::{errno::EIO, fault::Part, plan::on};
/// on::read().torn(Part::Bytes(7), EIO);
/// ```
///
/// ```compile_fail,E0599
/// faultfs::plan::on::write().lie();
/// ```
pub mod on {
    use super::{OpKind, When};

    macro_rules! kinds {
        ($($function:ident $kind:ident $what:literal)*) => {$(
            #[doc = $what]
            #[derive(Debug)]
            pub enum $kind {}

            #[doc = $what]
            pub fn $function() -> When<$kind> {
                When::new(Some(OpKind::$kind))
            }
        )*};
    }

    kinds! {
        open Open "Opening a file or directory that is there."
        create Create "Opening a path at which a new regular file is made, or making one without a name."
        read Read "Reading a file's data, at the cursor or at an offset."
        write Write "Writing a file's data, at the cursor, at an offset or at the end."
        sync Sync "`fsync` or `fdatasync` of a regular file."
        sync_dir SyncDir "`fsync` or `fdatasync` of a directory."
        sync_all SyncAll "`sync` or `syncfs`."
        set_len SetLen "Setting a file's size."
        metadata Metadata "`stat` and its kin, by path or by descriptor."
        set_mode SetMode "`chmod`."
        rename Rename "Renaming; the path is that of either name."
        exchange Exchange "Exchanging two names, `RENAME_EXCHANGE`; the path is that of either."
        remove Remove "Removing a name of a file."
        remove_dir RemoveDir "Removing a directory."
        link Link "Giving a file a further name; the path is that of either name."
        symlink Symlink "Making a symbolic link."
        read_link ReadLink "Reading a symbolic link."
        create_dir CreateDir "Making a directory."
        read_dir ReadDir "Listing a directory."
    }

    /// Any op.
    #[derive(Debug)]
    pub enum Any {}

    /// Any op at all: `on::any().skip(9).fail(EIO)` is a device that goes away after nine calls.
    pub fn any() -> When<Any> {
        When::new(None)
    }
}

/// A rule that lacks its fault. `O` is one of the types in [`on`].
#[derive(Debug)]
#[must_use = "nothing goes wrong until a fault is named, as in `.fail(EIO)`"]
pub struct When<O> {
    /// Its fault is not the one yet.
    rule: Rule,
    kind: PhantomData<O>,
}

impl<O> When<O> {
    fn new(op: Option<OpKind>) -> Self {
        When { rule: Rule::new(op, Pattern::default()), kind: PhantomData }
    }

    /// Only ops on paths that `pattern` fits; see [`Pattern`].
    ///
    /// # Panics
    ///
    /// Where `pattern` is not a pattern.
    #[track_caller]
    pub fn path(mut self, pattern: &str) -> Self {
        self.rule.path = Pattern::new(pattern).unwrap_or_else(|e| panic!("{e}"));
        self
    }

    /// Only calls that are made after the fail point `name` of the engine was passed, on whichever thread:
    /// from its first pass on that comes after the rule was armed. For whose passes count, and for a rule
    /// that begins anew at each pass, see [`points`](crate::points).
    ///
    /// # Panics
    ///
    /// Where `name` is empty. [Arming](crate::Injector::arm) the rule panics where no fail point of the
    /// program has the name, or all are compiled out.
    #[track_caller]
    pub fn after_point(mut self, name: &str) -> Self {
        assert!(!name.is_empty(), "a fail point has a name");
        self.rule.after = Some(name.into());
        self
    }

    /// Lets the first `count` matching ops pass.
    pub fn skip(mut self, count: u64) -> Self {
        self.rule.skip = count;
        self
    }

    /// Faults `count` ops, then lets the rest pass. Without it the fault is for ever.
    ///
    /// # Panics
    ///
    /// Where `count` is 0: such a rule could never fire.
    #[track_caller]
    pub fn take(mut self, count: u64) -> Self {
        assert!(count > 0, "`take(0)` can never fire; take at least 1, or leave the rule out");
        self.rule.take = Some(count);
        self
    }

    /// Counts for each path by itself: `per_file().take(1)` faults the first op on every file.
    pub fn per_file(mut self) -> Self {
        self.rule.per_file = true;
        self
    }

    /// Faults an op only at the ratio of `numerator` to `denominator`, drawn from `seed`; `take` then
    /// limits the number of faults.
    ///
    /// # Panics
    ///
    /// Where the ratio is 0 or more than 1.
    #[track_caller]
    pub fn sometimes(mut self, numerator: u32, denominator: u32, seed: u64) -> Self {
        assert!(
            0 < numerator && numerator <= denominator,
            "the ratio {numerator}/{denominator} is not above 0 and up to 1"
        );
        self.rule.sometimes = Some(Ratio { numerator, denominator, seed });
        self
    }

    /// The op fails with `errno` and changes nothing.
    pub fn fail(self, errno: Errno) -> Rule {
        self.rule(Fault::Fail(errno))
    }

    /// The op is carried out in full; the caller is told that it failed with `errno`.
    pub fn fail_after(self, errno: Errno) -> Rule {
        self.rule(Fault::FailAfter(errno))
    }

    fn rule(self, fault: Fault) -> Rule {
        Rule { fault, ..self.rule }
    }

    #[track_caller]
    fn short_rule(self, bytes: u64) -> Rule {
        assert!(
            bytes > 0,
            "a short transfer moves at least 1 byte: 0 would mean the end of the file"
        );
        self.rule(Fault::Short(bytes))
    }
}

impl When<on::Read> {
    /// The read returns at most `bytes` bytes (at least 1). Reads of no more than that are not counted.
    ///
    /// # Panics
    ///
    /// Where `bytes` is 0: that would say that the file ends here.
    #[track_caller]
    pub fn short(self, bytes: u64) -> Rule {
        self.short_rule(bytes)
    }
}

impl When<on::Read> {
    /// The bit `bit` of the file, counted from its start (byte `bit / 8`, of lowest value 0), is read as
    /// its opposite; the file itself keeps it. Only reads that span the byte are counted, and only where
    /// the offset is known: positional reads, and files of a [`FaultFs`].
    ///
    /// [`FaultFs`]: crate::FaultFs
    pub fn flip(self, bit: u64) -> Rule {
        self.rule(Fault::Flip(bit))
    }
}

macro_rules! at_offsets {
    ($($kind:ident)*) => {$(
        impl When<on::$kind> {
            /// Only calls that touch these bytes of the file, and whose offset is known: positional ones,
            /// and all on files of a [`FaultFs`].
            ///
            /// # Panics
            ///
            /// Where the range is empty.
            ///
            /// [`FaultFs`]: crate::FaultFs
            #[track_caller]
            pub fn at(mut self, bytes: Range<u64>) -> Self {
                assert!(bytes.start < bytes.end, "the range {bytes:?} is empty");
                self.rule.at = Some((bytes.start, bytes.end));
                self
            }
        }
    )*};
}

at_offsets!(Read Write);

macro_rules! lying_syncs {
    ($($kind:ident)*) => {$(
        impl When<on::$kind> {
            /// The sync says that it succeeded, and nothing has become durable: a disk that ignores
            /// flushes. In the trace of a `FaultFs` there is then no sync.
            pub fn lie(self) -> Rule {
                self.rule(Fault::Lie)
            }
        }
    )*};
}

lying_syncs!(Sync SyncDir SyncAll);

/// How kernels fail the sync of a file (Rebello et al., "Can Applications Recover from fsync Failures?",
/// table 1):
///
/// | kernel | fault | the dirty pages | who is told |
/// |---|---|---|---|
/// | Linux, ext4 ordered and XFS | `fail` | clean, with the new data in memory only | every handle, once |
/// | Linux, ext4 with `data=journal` | `fail_late` | the same | every handle, at its next sync |
/// | Linux, btrfs | `fail_revert` | gone: data and size as at the last sync | every handle, once |
/// | FreeBSD, illumos | `fail_dirty` | still dirty | the caller |
///
/// What is clean in memory only is lost when memory is needed ([`FaultFs::evict`]) or the power goes; that
/// a later sync succeeds says nothing of it. Around a file of your own, of whose pages nothing is known,
/// all four are `fail`.
///
/// [`FaultFs::evict`]: crate::FaultFs::evict
impl When<on::Sync> {
    /// The sync fails with `errno`; the dirty pages stay dirty, and the next sync writes them.
    pub fn fail_dirty(self, errno: Errno) -> Rule {
        self.rule(Fault::FailDirty(errno))
    }

    /// The sync fails with `errno`, and the file is again as the last successful sync left it.
    pub fn fail_revert(self, errno: Errno) -> Rule {
        self.rule(Fault::FailRevert(errno))
    }

    /// The sync says that it succeeded and has written nothing. The next one on each handle that is open
    /// now, or on the first that is opened later, fails with `errno` and writes nothing either.
    pub fn fail_late(self, errno: Errno) -> Rule {
        self.rule(Fault::FailLate(errno))
    }
}

impl When<on::Write> {
    /// The write takes `bytes` bytes (at least 1) and says so. Writes of no more than that are not
    /// counted.
    ///
    /// # Panics
    ///
    /// Where `bytes` is 0: no kernel answers so to a write of more.
    #[track_caller]
    pub fn short(self, bytes: u64) -> Rule {
        self.short_rule(bytes)
    }

    /// The part `keep` of the write reaches the file, then the write fails with `errno`. Writes that
    /// are no longer than the part are not counted.
    pub fn torn(self, keep: Part, errno: Errno) -> Rule {
        self.rule(Fault::Torn { keep, errno })
    }
}
