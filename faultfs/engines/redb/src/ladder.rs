//! Three releases, two bugs: each release mends one of them, but for a remainder.

use faultfs::sweep::Group::{Io, NoSpace};
use faultfs::verdict::Verdict::{Aborted, Corrupt, Lost, Panicked};

use crate::known::Known;
use crate::records::Config;
use crate::{ERRORS, RELEASE, Run};

pub(crate) fn runs() -> Vec<Run> {
    let (known, grows): (&[Known], &[Known]) = match RELEASE {
        "2.1.1" => (&[ASSERTS, GOES_ON], &[ASSERTS]),
        "2.1.2" => (&[ASSERTS], &[ASSERTS]),
        "2.1.3" => (&[], &[ASSERTS_ONCE_MORE]),
        other => panic!("nothing is known of redb {other}"),
    };
    // More than there is room for in a new file. In 2.1.1 `check_integrity` then has something to repair
    // without any fault, so that only what is read can tell.
    let config = Config { transactions: 2, row: 160 << 10, ..Config::PLAIN };
    let grows =
        Run { config, check: Config::check, families: &[Io, NoSpace], known: grows, ..ERRORS };
    vec![Run { known, ..ERRORS }, Run { name: "errors, the file grows", ..grows }]
}

/// cberner/redb commit 63199334.
const ASSERTS: Known = Known {
    fault: "",
    verdicts: &[Panicked],
    words: "needs_recovery",
    because: "commit() or abort() after a commit that failed meets an assertion; 2.1.3 gives \
              StorageError::PreviousIo",
};

/// cberner/redb pull request 836.
const GOES_ON: Known = Known {
    fault: "",
    verdicts: &[Corrupt, Lost, Aborted, Panicked],
    words: "",
    because: "after an error in the midst of a transaction it goes on with what it has in memory, and closes \
              as if all were well; in 2.1.2 an error is the last thing that happens (CheckedBackend)",
};

/// What commit 63199334 left.
const ASSERTS_ONCE_MORE: Known = Known {
    fault: "",
    verdicts: &[Panicked],
    words: "needs_recovery",
    because: "where the file cannot grow, needs_recovery is set (grow), and abort() meets its assertion \
              (rollback_uncommitted_writes)",
};
