//! A release of today: what it promises holds; what it does not promise, it is shown to break, with the words
//! of its documentation. "`check_integrity()` correctly detects the corruption, so this is working as
//! intended", say its authors in issue 1330.

use faultfs::FaultFile;
use faultfs::fs::FsFile;
use faultfs::sweep::Group;
use faultfs::verdict::Verdict::{Aborted, Corrupt, Lost, Panicked};
use redb::{Builder, WriteTransaction};

use crate::known::Known;
use crate::records::Config;
use crate::{ERRORS, Run};

/// `faultfs` has the adapter for it.
pub(crate) fn storage(file: FaultFile<FsFile>) -> FaultFile<FsFile> {
    file
}

pub(crate) fn runs() -> Vec<Run> {
    let two_phases = Config { begin: TWO_PHASES, ..Config::PLAIN };
    let checked = Config { open: CHECKED, ..Config::PLAIN };
    let both = Config { open: CHECKED, ..two_phases };
    // What is written is not read again before the restart.
    let cached = Config { cache: 1 << 20, ..both };
    vec![
        Run { name: "power cuts too", crashes: true, known: &[POISONED], ..ERRORS },
        Run { name: "power cuts too, two phases", crashes: true, config: two_phases, ..ERRORS },
        Run { name: "rot", known: &[TRUSTS, FALLS_BACK, UNCHECKED], ..ROT },
        Run { name: "rot, two phases", config: two_phases, known: &[TRUSTS, UNCHECKED], ..ROT },
        Run { name: "rot, checked", config: checked, known: &[FALLS_BACK, UNCHECKED], ..ROT },
        Run { name: "rot, checked, two phases", config: both, known: &[UNCHECKED], ..ROT },
        Run { name: "lost", known: &[UNWRITTEN, UNCHECKED], ..LOST },
        Run {
            name: "lost, checked, two phases",
            config: cached,
            known: &[NOTHING_WRITTEN, UNCHECKED],
            ..LOST
        },
    ]
}

const TWO_PHASES: fn(&mut WriteTransaction) = |transaction| transaction.set_two_phase_commit(true);
const CHECKED: fn(&mut Builder) = |builder| {
    builder.set_check_integrity_on_open(true);
};

/// What was written is rotten, or read wrong.
const ROT: Run = Run { families: &[Group::BitRot], check: Config::check, ..ERRORS };
/// Writes are lost or land elsewhere, reads come from elsewhere or are stale.
const LOST: Run = Run { families: &[Group::Lost], check: Config::check, ..ERRORS };

/// cberner/redb issue 450 calls it theoretical: "all pages written since the last successful `fsync()` must be
/// assumed to have become poisoned".
const POISONED: Known = Known {
    fault: "sync",
    verdicts: &[Corrupt, Panicked],
    words: "",
    because: "a commit makes its slot the primary and then syncs, once (TransactionalMemory::commit); where \
              that fails, \"the database must be closed and re-opened\" (Error::PreviousIo), and the repair \
              finds the commit whole in the page cache (Database::do_repair): its pages, clean since the sync \
              failed, are not written again, and a later power cut takes them",
};

const TRUSTS: Known = Known {
    fault: "rot",
    verdicts: &[Corrupt, Panicked],
    words: "",
    because: "\"the open trusts a file that was shut down cleanly and may panic if it was corrupted outside \
              redb\" (Database::open); pages are compared with their checksums by a check of the whole file \
              (Btree::verify_checksum), not where they are read (TransactionalMemory::get_page)",
};

const FALLS_BACK: Known = Known {
    fault: "rot",
    verdicts: &[Lost],
    words: "was acknowledged and is gone",
    because: "where the database was not closed, a rotten commit looks like one that a power cut has torn: \
              \"the most recent of the two commit slots with a valid checksum is used\" \
              (WriteTransaction::set_two_phase_commit), and that is the one before (Database::do_repair)",
};

const UNCHECKED: Known = Known {
    fault: "read",
    verdicts: &[Corrupt, Lost, Aborted, Panicked],
    words: "",
    because: "no page is compared with its checksum where it is read (TransactionalMemory::get_page): what the \
              medium gives wrong after the open is used, and written again under a good checksum",
};

const UNWRITTEN: Known = Known {
    fault: "write",
    verdicts: &[Corrupt, Lost, Aborted, Panicked],
    words: "",
    because: "\"following an fsync operation writes are durable\", and \"no bytes outside of that range will \
              change\" (docs/design.md, Assumptions about underlying media)",
};

const NOTHING_WRITTEN: Known = Known {
    fault: "write",
    verdicts: &[Lost],
    words: "was acknowledged and is gone",
    because: "a medium that puts no write where it belongs, from the first commit on, still has the empty \
              database from before, which is whole; one lost or misdirected write alone is found out",
};
