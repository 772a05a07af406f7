//! Rules as code: only faults that fit the op can be written.

use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;

use super::pattern::{CallSite, Pattern};
use super::rule::{OpKind, Ratio, Rule};
use crate::errno::Errno;
use crate::fault::{Fault, Keep, Leaves, Part, Place, Since, SyncFailure, Torn};

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
///
/// What changes nothing cannot fail after its effect:
///
/// ```compile_fail,E0599
/// faultfs::plan::on::read().fail_after(faultfs::errno::EIO);
/// ```
///
/// and only a rename can leave two names, not an exchange:
///
/// ```compile_fail,E0599
/// faultfs::plan::on::exchange().both_names(faultfs::errno::EIO);
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
        map Map "Mapping a file into memory."
        load Load "Reading a mapped file's bytes in memory: see [`FaultMap`](crate::FaultMap)."
        store Store "Writing a mapped file's bytes in memory: see [`FaultMap`](crate::FaultMap)."
        msync SyncMap "`msync` with `MS_SYNC` of a range of a mapped file."
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

    /// Only calls of threads whose name `pattern` fits, such as `flush-*`; a thread without a name has none.
    ///
    /// # Panics
    ///
    /// Where `pattern` is not a pattern.
    #[track_caller]
    pub fn thread(mut self, pattern: &str) -> Self {
        self.rule.thread = Some(Pattern::new(pattern).unwrap_or_else(|e| panic!("{e}")));
        self
    }

    /// Only calls that are written at this place of the source: the end of a file's path in whole components,
    /// with a line or without, such as `src/wal.rs:120`. The typed door knows of the places of its callers
    /// that are not std; a call that std makes for the engine (`read_to_end`, `BufWriter`) has none. The interposed
    /// door looks for the innermost line of the engine in the debug info of the program; without it there is none.
    ///
    /// # Panics
    ///
    /// Where `place` is neither.
    #[track_caller]
    pub fn from(mut self, place: &str) -> Self {
        self.rule.site = Some(CallSite::new(place).unwrap_or_else(|e| panic!("{e}")));
        self
    }

    /// Only the op number `number` over all kinds and paths, counted from 0 since the rule was armed.
    pub fn op(mut self, number: u64) -> Self {
        self.rule.op_number = Some(number);
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

    /// The op takes `duration` longer, in whole milliseconds. On paths of a [`FaultFs`] others wait too, as
    /// for a journal that is stuck. What comes of it depends on a clock: see [`Rule::is_clock_based`].
    ///
    /// [`FaultFs`]: crate::FaultFs
    pub fn delay(self, duration: Duration) -> Rule {
        self.rule(Fault::Delay(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The op does not come back until [`Injector::disarm`]; after 30 seconds it fails with `EIO`. What
    /// comes of it depends on a clock: see [`Rule::is_clock_based`].
    ///
    /// [`Injector::disarm`]: crate::Injector::disarm
    pub fn stall(self) -> Rule {
        self.rule(Fault::Stall)
    }

    /// The device goes away: this op and all that follow, of whatever kind and path, fail with `errno`
    /// until [`Injector::disarm`]. The rule itself is due once at most.
    ///
    /// [`Injector::disarm`]: crate::Injector::disarm
    pub fn vanish(self, errno: Errno) -> Rule {
        self.rule(Fault::Vanish(errno))
    }

    /// The power goes at this op, for good: it fails with `EIO`, and so does every later one. On a
    /// [`FaultFs`] the op may have happened in part, and nothing that comes later is recorded, marks
    /// neither: see [`FaultFs::cut_power`].
    ///
    /// [`FaultFs`]: crate::FaultFs
    /// [`FaultFs::cut_power`]: crate::FaultFs::cut_power
    pub fn crash(self) -> Rule {
        self.rule(Fault::Crash)
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

macro_rules! wrong_reads {
    ($($kind:ident)*) => {$(
        impl When<on::$kind> {
            /// The bit `bit` of the file, counted from its start (byte `bit / 8`, of lowest value 0), is read as
            /// its opposite; the file itself keeps it. Only reads that span the byte are counted, and only where
            /// the offset is known: positional reads, and files of a [`FaultFs`].
            ///
            /// [`FaultFs`]: crate::FaultFs
            pub fn flip(self, bit: u64) -> Rule {
                self.rule(Fault::Flip(bit))
            }

            /// These bytes of the file are read as others, drawn from `seed` and the place of each; the file
            /// itself keeps them. Where the offset is known, as for [`flip`](Self::flip).
            ///
            /// # Panics
            ///
            /// Where the range is empty.
            #[track_caller]
            pub fn garbage(self, bytes: Range<u64>, seed: u64) -> Rule {
                let (first, end) = not_empty(bytes);
                self.rule(Fault::Garbage { first, end, seed })
            }

            /// The read finds what the file held earlier: before the last write that touched what is read, or at
            /// the last sync. Only files of a [`FaultFs`] know; a recording that starts anew forgets.
            ///
            /// [`FaultFs`]: crate::FaultFs
            pub fn stale(self, since: Since) -> Rule {
                self.rule(Fault::Stale(since))
            }

            /// The sectors of 512 bytes that these bytes touch cannot be read: whatever touches one of them fails
            /// with `errno`, until it has been written again as a whole, or the file was made anew or cut there.
            /// Where the offset is known, as for [`flip`](Self::flip). A write that something else goes wrong
            /// with heals nothing.
            ///
            /// # Panics
            ///
            /// Where the range is empty.
            #[track_caller]
            pub fn latent(self, bytes: Range<u64>, errno: Errno) -> Rule {
                let (first, end) = not_empty(bytes);
                self.rule(Fault::Latent { first, end, errno })
            }
        }
    )*};
}

wrong_reads!(Read Load);

#[track_caller]
fn not_empty(bytes: Range<u64>) -> (u64, u64) {
    assert!(bytes.start < bytes.end, "the range {bytes:?} is empty");
    (bytes.start, bytes.end)
}

macro_rules! misdirected {
    ($($kind:ident)*) => {$(
        impl When<on::$kind> {
            /// The data goes to another place, or comes from there, and the caller is not told. Written data
            /// leaves what stood in its own place; a file that was to grow grows by zeros. Another file must
            /// be one of the same [`FaultFs`]; the same file must be one of it, or the call positional.
            ///
            /// [`FaultFs`]: crate::FaultFs
            pub fn misdirect(self, place: Place) -> Rule {
                self.rule(Fault::Misdirect(place))
            }
        }
    )*};
}

misdirected!(Read Write Load);

macro_rules! changes {
    ($($kind:ident)*) => {$(
        impl When<on::$kind> {
            /// The op is carried out in full; the caller is told that it failed with `errno`. Kernels do so
            /// where the answer is lost (nfs(5), `soft`), and where the op is done before its sync fails
            /// (`O_SYNC`, `dirsync`).
            pub fn fail_after(self, errno: Errno) -> Rule {
                self.rule(Fault::FailAfter(errno))
            }
        }
    )*};
}

changes! {
    Create Write Sync SyncDir SyncAll SetLen SetMode Rename Exchange Remove RemoveDir Link Symlink CreateDir
    SyncMap
}

impl When<on::SetLen> {
    /// The file grows by a part of what was asked, then the caller is told of `errno`: as `fallocate` does
    /// that runs out of room (fs/ext4/extents.c, `ext4_alloc_file_blocks`). Calls by which it would not grow
    /// as far are not counted. A file that shrinks does so at once: there is only before and after.
    pub fn grow(self, by: Part, errno: Errno) -> Rule {
        self.rule(Fault::Grow { by, errno })
    }
}

impl When<on::Rename> {
    /// The file has its new name, where it replaces what had it, and keeps its old one; the caller is told
    /// of `errno`. Filesystems that make the new entry before they delete the old one leave that behind
    /// (fs/ext4/namei.c, `ext4_rename_delete`, which only warns). Regular files of a [`FaultFs`] only.
    ///
    /// [`FaultFs`]: crate::FaultFs
    pub fn both_names(self, errno: Errno) -> Rule {
        self.rule(Fault::BothNames(errno))
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
                self.rule.at = Some(not_empty(bytes));
                self
            }
        }
    )*};
}

at_offsets!(Read Write Load Store SyncMap);

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

lying_syncs!(Sync SyncDir SyncAll SyncMap);

macro_rules! failed_syncs {
    ($($kind:ident)*) => {$(
        impl When<on::$kind> {
            /// The sync fails as `how` says, with `errno`. What is clean in memory only is lost when memory is needed
            /// ([`FaultFs::evict`]) or the power goes; that a later sync succeeds says nothing of it.
            ///
            /// Around a file of your own, of whose pages nothing is known, it fails where the caller is told by this
            /// sync, and else succeeds; nothing is synced.
            ///
            /// [`FaultFs::evict`]: crate::FaultFs::evict
            pub fn fail_sync(self, how: SyncFailure, errno: Errno) -> Rule {
                self.rule(Fault::FailSync { how, errno })
            }
        }
    )*};
}

failed_syncs!(Sync SyncMap);

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

    /// The part `keep` of the write reaches the file, then the write fails with `errno`. Writes of which
    /// all would arrive are not counted.
    ///
    /// Anything but the first bytes needs a place: a file of a [`FaultFs`], or a positional call.
    ///
    /// [`FaultFs`]: crate::FaultFs
    pub fn torn(self, keep: impl Into<Keep>, errno: Errno) -> Rule {
        self.torn_leaving(keep, Leaves::Old, errno)
    }

    /// As [`torn`](Self::torn), and where the write did not arrive stands something else than before.
    pub fn torn_leaving(self, keep: impl Into<Keep>, leaves: Leaves, errno: Errno) -> Rule {
        self.rule(Fault::Torn(Torn { keep: keep.into(), leaves, errno: Some(errno) }))
    }

    /// The part `keep` of the write reaches the file, and the caller is told that all of it did.
    pub fn torn_silently(self, keep: impl Into<Keep>, leaves: Leaves) -> Rule {
        self.rule(Fault::Torn(Torn { keep: keep.into(), leaves, errno: None }))
    }

    /// Nothing of the write reaches the file, and the caller is told that all of it did: a phantom write. A
    /// file that was to grow grows, by zeros: its size is kept elsewhere.
    pub fn lose(self) -> Rule {
        self.rule(Fault::Torn(Torn::LOST))
    }
}
