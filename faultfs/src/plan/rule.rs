//! One rule as plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::pattern::{CallSite, Pattern};
use crate::errno::EINTR;
use crate::fault::Fault;
use crate::injector::Call;

macro_rules! op_kinds {
    ($($name:ident $word:literal $what:literal)*) => {
        /// What kind of call an engine made, as rules tell them apart.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[derive(Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum OpKind {
            $(#[doc = $what] $name,)*
        }

        impl OpKind {
            /// Every kind.
            pub const ALL: &[OpKind] = &[$(OpKind::$name),*];

            /// The word for the kind in the text of a plan.
            pub const fn word(self) -> &'static str {
                match self {
                    $(OpKind::$name => $word,)*
                }
            }
        }
    };
}

op_kinds! {
    Open "open" "Opening a file or directory that is there."
    Create "create" "Opening a path at which a new regular file is made, or making one without a name."
    Read "read" "Reading a file's data, at the cursor or at an offset."
    Write "write" "Writing a file's data, at the cursor, at an offset or at the end."
    Sync "sync" "`fsync` or `fdatasync` of a regular file."
    SyncDir "sync-dir" "`fsync` or `fdatasync` of a directory."
    SyncAll "sync-all" "`sync` or `syncfs`."
    SetLen "set-len" "Setting a file's size."
    Metadata "metadata" "`stat` and its kin, by path or by descriptor."
    SetMode "set-mode" "`chmod`."
    Rename "rename" "Renaming; the path is that of either name."
    Exchange "exchange" "Exchanging two names, `RENAME_EXCHANGE`; the path is that of either."
    Remove "remove" "Removing a name of a file."
    RemoveDir "remove-dir" "Removing a directory."
    Link "link" "Giving a file a further name; the path is that of either name."
    Symlink "symlink" "Making a symbolic link."
    ReadLink "read-link" "Reading a symbolic link."
    CreateDir "create-dir" "Making a directory."
    ReadDir "read-dir" "Listing a directory."
    Map "map" "Mapping a file into memory."
    Load "load" "Reading a mapped file's bytes in memory: a page fault, where the page is not there."
    Store "store" "Writing a mapped file's bytes in memory: a page fault, where the page is clean."
    SyncMap "msync" "`msync` with `MS_SYNC` of a range of a mapped file."
}

impl OpKind {
    /// True where an op of the kind can change something, or make a change durable.
    pub fn is_change(self) -> bool {
        use OpKind::*;
        !matches!(self, Open | Read | Metadata | ReadLink | ReadDir | Map | Load)
    }

    /// True where a call of the kind can do all of its work and then say that it failed: it changes
    /// something, and is no store, which ends when its page is there.
    pub(crate) fn can_fail_after(self) -> bool {
        self.is_change() && self != OpKind::Store
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// When something goes wrong, and what: a line of a [`Plan`]. Made by [`on`] or from text.
///
/// [`Plan`]: super::Plan
/// [`on`]: super::on
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// `None`: any kind.
    pub(super) op: Option<OpKind>,
    pub(super) path: Pattern,
    /// The name of the thread.
    pub(super) thread: Option<Pattern>,
    pub(super) site: Option<CallSite>,
    /// The number of the op, over all; `None`: whichever.
    pub(super) op_number: Option<u64>,
    /// The fail point that must have been passed.
    pub(super) after: Option<Box<str>>,
    /// First byte, and the one after the last; `None`: wherever.
    pub(super) at: Option<(u64, u64)>,
    pub(super) per_file: bool,
    pub(super) skip: u64,
    /// `None`: for ever.
    pub(super) take: Option<u64>,
    pub(super) sometimes: Option<Ratio>,
    pub(super) optional: bool,
    pub(super) fault: Fault,
}

/// How often, from which seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ratio {
    pub(crate) numerator: u32,
    pub(crate) denominator: u32,
    pub(crate) seed: u64,
}

impl Rule {
    pub(super) fn new(op: Option<OpKind>, path: Pattern) -> Rule {
        let fault = Fault::Short(1);
        Rule {
            op,
            path,
            thread: None,
            site: None,
            op_number: None,
            after: None,
            at: None,
            per_file: false,
            skip: 0,
            take: None,
            sometimes: None,
            optional: false,
            fault,
        }
    }

    /// Does `fault` to calls of the kind and path of `call`.
    pub(crate) fn on_call(call: &Call<'_>, fault: Fault) -> Rule {
        Rule { fault, ..Rule::new(Some(call.kind), Pattern::exactly(call.path)) }
    }

    /// Does `fault` to any call.
    pub(crate) fn on_any(fault: Fault) -> Rule {
        Rule { fault, ..Rule::new(None, Pattern::default()) }
    }

    /// Lets the first `skip` matching calls pass and faults the next `take`, or all.
    pub(crate) fn window(self, skip: u64, take: Option<u64>) -> Rule {
        Rule { skip, take, ..self }
    }

    /// It is fine if this rule never fires.
    pub fn optional(mut self) -> Rule {
        self.optional = true;
        self
    }

    /// True where it is fine that the rule never fires.
    pub fn is_optional(&self) -> bool {
        self.optional
    }

    /// What the rule does.
    pub fn fault(&self) -> Fault {
        self.fault.clone()
    }

    /// The kind of op that it matches; `None` for any.
    pub fn op(&self) -> Option<OpKind> {
        self.op
    }

    /// True where no kernel fails so: the rule can be armed, and what comes of it decides nothing, because
    /// a correct engine may draw wrong conclusions from it.
    ///
    /// That is an error outside of [`OpKind::errnos`] (for a rule about any op: outside of those of every
    /// kind), and `EINTR` without an end: std and most engines ask again for as long as it comes.
    ///
    /// ```
    /// use faultfs::errno::{EIO, ENOENT};
    /// use faultfs::plan::on;
    ///
    /// assert!(on::open().fail(ENOENT).is_hostile());
    /// assert!(!on::open().fail(EIO).is_hostile());
    /// ```
    pub fn is_hostile(&self) -> bool {
        let Some(errno) = self.fault.errno() else { return false };
        let possible = match (self.op, &self.fault) {
            (None, _) | (_, Fault::Vanish(_)) => {
                OpKind::ALL.iter().all(|op| op.can_fail_with(errno))
            }
            (Some(op), _) => op.can_fail_with(errno),
        };
        !possible || (errno == EINTR && self.take.is_none())
    }

    /// The fail point after whose first pass the rule begins to count; `None`: at once.
    pub fn after_point(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// True where time passes: what comes of the rule depends on a clock, so it decides no verdict by itself.
    pub fn is_clock_based(&self) -> bool {
        self.fault.is_clock_based()
    }

    /// Whether it is about calls that are written in one place.
    pub(crate) fn names_site(&self) -> bool {
        self.site.is_some()
    }

    /// True where each path has counts of its own.
    pub(crate) fn is_per_file(&self) -> bool {
        self.per_file
    }

    pub(crate) fn sometimes(&self) -> Option<Ratio> {
        self.sometimes
    }

    /// True where an op is one to fault of which `seen` have matched before, and `due` of them were to
    /// be faulted.
    pub(crate) fn is_due(&self, seen: u64, due: u64) -> bool {
        seen >= self.skip && self.take.is_none_or(|take| due < take)
    }

    /// True where the rule counts this call, before which `calls` were made since it was armed.
    pub(crate) fn matches(&self, call: &Call<'_>, calls: u64) -> bool {
        let mut paths = [Some(call.path), call.other].into_iter().flatten();
        self.op.is_none_or(|op| op == call.kind)
            && self.op_number.is_none_or(|number| number == calls)
            && self.fault.changes(call)
            && self.site.as_ref().is_none_or(|site| site.matches(call.site))
            && self.thread.as_ref().is_none_or(|name| name.matches_this_thread())
            && self.is_in_range(call)
            && paths.any(|path| self.path.matches(path))
    }

    fn is_in_range(&self, call: &Call<'_>) -> bool {
        let Some((first, end)) = self.at else { return true };
        let touches = |offset: u64| offset < end && offset.saturating_add(call.len) > first;
        call.offset.is_some_and(touches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::{EIO, ENOENT, EROFS};
    use crate::plan::on;

    #[test]
    fn a_rule_is_hostile_where_no_kernel_fails_so() {
        for (rule, hostile) in [
            (on::read().fail(EIO), false),
            (on::read().fail(EROFS), true),
            (on::write().fail(EROFS), false),
            (on::open().fail(ENOENT), true),
            (on::any().fail(EIO), false),
            (on::any().fail(EROFS), true),
            (on::read().take(1).fail(EINTR), false),
            (on::read().fail(EINTR), true),
            (on::read().short(1), false),
            (on::sync().lie(), false),
        ] {
            assert_eq!(rule.is_hostile(), hostile, "{rule}");
        }
    }
}
