//! Three releases, two bugs: each release mends one of them.

use faultfs::verdict::Verdict::{Aborted, Corrupt, Lost, Panicked};

use crate::known::Known;
use crate::{ERRORS, RELEASE, Run};

pub(crate) fn runs() -> Vec<Run> {
    let known: &[Known] = match RELEASE {
        "2.1.1" => &[ASSERTS, GOES_ON],
        "2.1.2" => &[ASSERTS],
        "2.1.3" => &[],
        other => panic!("nothing is known of redb {other}"),
    };
    vec![Run { known, ..ERRORS }]
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
