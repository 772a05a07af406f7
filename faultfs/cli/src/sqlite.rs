//! SQLite as a target with known answers: its documentation says which configurations keep acknowledged
//! transactions through a power cut, and which do not.
//!
//! The workload commits transactions of several rows and acknowledges each; the check opens the
//! database, runs `PRAGMA integrity_check`, and compares what is there with what was acknowledged.

use std::collections::BTreeSet;
use std::path::Path;

use faultfs::Profile;
use faultfs::explore::Door;
use faultfs::model::Kept;
use faultfs::sweep::Group;
use faultfs::trace::{Mark, Marks};
use faultfs::verdict::{Broken, Verdict};
use faultfs_interpose::Interposed;
use rusqlite::{Connection, Error, ErrorCode, params};

/// A journal mode and a level of `PRAGMA synchronous`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Config {
    pub(crate) name: &'static str,
    journal_mode: &'static str,
    synchronous: &'static str,
    /// Verdicts that SQLite's documentation leaves open under a profile that can reorder.
    reordered: &'static [Verdict],
    /// The same where every state is a prefix of what was asked.
    prefix: &'static [Verdict],
    /// The same where nothing is lost but the process.
    killed: &'static [Verdict],
}

/// What is torn or in the wrong order is found at once; held only where it is promised.
pub(crate) const HELD: &[Verdict] = &[Verdict::Held];
const LOST: &[Verdict] = &[Verdict::Lost];
const CORRUPT: &[Verdict] = &[Verdict::Corrupt];
const CORRUPT_OR_LOST: &[Verdict] = &[Verdict::Corrupt, Verdict::Lost];

/// The configurations, with the verdicts that <https://sqlite.org/pragma.html#pragma_synchronous> lets
/// one expect.
pub(crate) const CONFIGS: [Config; 9] = [
    // "WAL mode with synchronous=FULL: the WAL is synced after each transaction commit."
    config("wal-full", "wal", "full", [HELD, HELD, HELD]),
    // "WAL mode is consistent with synchronous=NORMAL, but does lose durability."
    config("wal-normal", "wal", "normal", [LOST, LOST, HELD]),
    // "EXTRA is like FULL with the addition that the directory containing a rollback journal is synced
    // after that journal is unlinked."
    config("delete-extra", "delete", "extra", [HELD, HELD, HELD]),
    // Without that sync the unlink, which is the commit, may be undone.
    config("delete-full", "delete", "full", [LOST, LOST, HELD]),
    // The commit is a synced overwrite of the journal's header: no directory entry changes.
    config("persist-full", "persist", "full", [HELD, HELD, HELD]),
    // The commit is a synced truncation of the journal.
    config("truncate-full", "truncate", "full", [HELD, HELD, HELD]),
    // "If the application using SQLite crashes in the middle of a transaction when the MEMORY journaling
    // mode is set, then the database file will very likely go corrupt."
    config("memory-full", "memory", "full", [CORRUPT; 3]),
    // "If the application crashes in the middle of a transaction when the OFF journaling mode is set, then
    // the database file will very likely go corrupt."
    config("off-full", "off", "full", [CORRUPT; 3]),
    // "SQLite continues without syncing … the database might become corrupted."
    config("delete-off", "delete", "off", [CORRUPT_OR_LOST, LOST, HELD]),
];

const fn config(
    name: &'static str,
    journal_mode: &'static str,
    synchronous: &'static str,
    [reordered, prefix, killed]: [&'static [Verdict]; 3],
) -> Config {
    Config { name, journal_mode, synchronous, reordered, prefix, killed }
}

const NAMES: &str = "the directory of a new file is synced once, and \"ignore errors on the fsync\" says unixSync, \
     nor does it look at those of its open: the database or its log may have no name after the power cut";
const NAMES_OF_JOURNALS: &str = "unixSync ignores the errors of a new journal's directory: without its journal a \
     transaction is not rolled back. Where the sync after a journal's removal fails (unixDelete) the commit is \
     reported as failed, where the directory cannot be opened it is not; the next transaction goes on, and the \
     old journal may come back over it";
const JOURNAL_HEADERS: &str = "where the header of the journal cannot be zeroed or that cannot be synced \
     (zeroJournalHdr) the commit is reported as failed, and the next transaction writes its records over those \
     of a journal that may still have its old header on the disk: a rollback ends at them with half of its pages";

/// Transactions after the one that makes the tables.
const TRANSACTIONS: u64 = 6;
const ROWS: u64 = 3;
const FILE: &str = "app.db";

impl Config {
    /// Those that are asked for, or all.
    pub(crate) fn find(configs: &[String]) -> Result<Vec<Config>, String> {
        let known = CONFIGS.map(|config| config.name);
        if let Some(unknown) = configs.iter().find(|config| !known.contains(&config.as_str())) {
            let known = known.join(", ");
            return Err(format!("unknown configuration `{unknown}` of sqlite; there are {known}"));
        }
        let asked = |name: &str| configs.is_empty() || configs.iter().any(|config| config == name);
        Ok(CONFIGS.into_iter().filter(|config| asked(config.name)).collect())
    }

    /// The configuration that a trace is of.
    pub(crate) fn of_subject(subject: &str) -> Result<Config, faultfs::Error> {
        let of_subject = |config: &Config| config.subject() == subject;
        CONFIGS.into_iter().find(of_subject).ok_or_else(|| {
            faultfs::Error::new(format!(
                "the trace is of `{subject}`, which this command cannot run; if it is a test, run that test with \
                 FAULTFS_REPLAY set to the token"
            ))
        })
    }

    /// The name by which traces know it.
    pub(crate) fn subject(&self) -> String {
        format!("sqlite/{}", self.name)
    }

    /// The workload behind the door through which it is recorded.
    pub(crate) fn door(&self) -> impl Door<Root = Path> + use<> {
        let config = *self;
        Interposed::new(move |root: &Path| config.run(root))
    }

    /// The verdicts that are no surprise.
    pub(crate) fn expected(&self, profile: Profile) -> &'static [Verdict] {
        match profile {
            p if p.process_only => self.killed,
            p if p.order == Kept::Everything => self.prefix,
            _ => self.reordered,
        }
    }

    /// The model of which the documentation promises most under the power cuts of a sweep: the weakest
    /// under which nothing is lost; `None` where a crash in the midst of a transaction is fatal under any.
    pub(crate) fn sweeps_under(&self) -> Option<Profile> {
        let held = |profile: &Profile| self.expected(*profile) == HELD;
        [Profile::POSIX, Profile::PROCESS_KILL].into_iter().find(held)
    }

    /// The verdicts that are no surprise when faults of a family are injected, and why; with `power_cut`, the
    /// power goes after each. The functions named were read in SQLite 3.54.1, beside the trace of the run; the
    /// other reasons are the documentation's.
    pub(crate) fn expected_of(
        &self,
        group: Group,
        power_cut: Option<Profile>,
    ) -> (&'static [Verdict], &'static str) {
        let loses_names = power_cut.is_some_and(|profile| !profile.process_only);
        match (group, self.journal_mode) {
            (Group::Io | Group::NoSpace, "wal" | "truncate") if loses_names => (LOST, NAMES),
            (Group::Io | Group::NoSpace, "delete") if loses_names => (CORRUPT, NAMES_OF_JOURNALS),
            (Group::Io | Group::NoSpace | Group::Torn, "persist") if loses_names => {
                (CORRUPT, JOURNAL_HEADERS)
            }
            (Group::BitRot, _) => (
                CORRUPT,
                "pages carry no checksums, unless the checksum VFS adds them (sqlite.org/cksumvfs.html)",
            ),
            (Group::Fsync, _) if self.synchronous == "off" => {
                (&[Verdict::NotMeasured], "it asks for no sync, so that none can fail")
            }
            (Group::Fsync, "wal") if self.synchronous == "normal" => (
                CORRUPT,
                "as on btrfs, a failed sync takes the log back to what was synced before; the wal-index still \
                 knows the frames that are gone, and the next checkpoint copies what now is in their places \
                 into the database without looking at a checksum (walCheckpoint)",
            ),
            (Group::Fsync, "delete" | "persist" | "truncate") => (
                CORRUPT,
                "a rollback trusts the journal of which a sync has just failed: where its pages are gone it \
                 ends at the first record that is short or whose checksum is wrong, and keeps the changed \
                 pages in the cache (pager_playback); known since Rebello et al., \"Can Applications Recover \
                 from fsync Failures?\", for 3.30.1",
            ),
            (Group::Io | Group::NoSpace | Group::Torn, "memory" | "off") => (
                CORRUPT,
                "what was written in part is not rolled back: \"the database file will very likely go \
                 corrupt\" (sqlite.org/pragma.html#pragma_journal_mode)",
            ),
            _ => (HELD, ""),
        }
    }

    /// Commits transactions and acknowledges each, in a database below `root`.
    pub(crate) fn run(&self, root: &Path) -> Result<(), Broken> {
        let mut db = Connection::open(root.join(FILE))?;
        let mode = self.set_journal_mode(&db)?;
        if mode != self.journal_mode {
            return Err(Broken::unopenable(format!(
                "journal mode {mode}, asked {}",
                self.journal_mode
            )));
        }
        db.pragma_update(None, "synchronous", self.synchronous)?;
        // Small enough that checkpoints fall into the run.
        db.pragma_update(None, "wal_autocheckpoint", 8)?;
        let mut marks = Marks::default();
        transaction(&mut db, 0, &mut marks, |tx| {
            tx.execute_batch(
                "CREATE TABLE item (id INTEGER, part INTEGER, payload BLOB, PRIMARY KEY (id, part));
                 CREATE TABLE total (parts INTEGER);
                 INSERT INTO total VALUES (0);",
            )
        })?;
        for id in 1..=TRANSACTIONS {
            // What failed was rolled back; the next one is another matter.
            let _ = transaction(&mut db, id, &mut marks, |tx| {
                for part in 0..ROWS {
                    tx.execute(
                        "INSERT INTO item VALUES (?, ?, ?)",
                        params![id, part, payload(id, part)],
                    )?;
                }
                tx.execute("UPDATE total SET parts = parts + ?", [ROWS])?;
                Ok(())
            });
        }
        // What is read is what was written, or an error.
        if let Ok(rows) = rows(&db) {
            let total = db.query_row("SELECT parts FROM total", [], |row| row.get(0))?;
            compare(&rows, total, &marks)?;
        }
        db.close().map_err(|(_, error)| error)?;
        Ok(())
    }

    /// To the end of the statement: its row comes before the change is committed, which may fail. (What
    /// `PRAGMA journal_mode` says afterwards does not tell; then the mode is WAL and the journal a rollback
    /// journal that is deleted without a sync of its directory.)
    fn set_journal_mode(&self, db: &Connection) -> rusqlite::Result<String> {
        let mut pragma = db.prepare(&format!("PRAGMA journal_mode = {}", self.journal_mode))?;
        let modes = pragma.query_map([], |row| row.get(0))?;
        let modes: Vec<String> = modes.collect::<rusqlite::Result<_>>()?;
        Ok(modes.concat())
    }
}

/// Commits, and says what it was told.
fn transaction(
    db: &mut Connection,
    id: u64,
    marks: &mut Marks,
    body: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    faultfs_interpose::begin(id);
    let done = commit(db, body);
    match done {
        Ok(()) => faultfs_interpose::ack(id),
        Err(_) => faultfs_interpose::failed(id),
    }
    marks.add(if done.is_ok() { Mark::Ack(id) } else { Mark::Failed(id) });
    done
}

fn commit(
    db: &mut Connection,
    body: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    body(&tx)?;
    tx.commit()
}

/// The verdicts that are no surprise when faults of some families strike recoveries: what a recovery reads wrong
/// it may write down, for pages carry no checksums, and a log whose header is wrong counts as none
/// (sqlite.org/fileformat2.html#walformat); a page that lands elsewhere is found out by nobody.
pub(crate) fn expected_of_recoveries(families: &[Group]) -> &'static [Verdict] {
    match families.iter().any(|family| matches!(family, Group::BitRot | Group::Lost)) {
        // In some recoveries only: all of them may have come out well.
        true => &[Verdict::Corrupt, Verdict::Lost, Verdict::Held],
        false => HELD,
    }
}

/// Bytes that tell which row they belong to, and that do not compress into one page.
fn payload(id: u64, part: u64) -> Vec<u8> {
    const LEN: usize = 700;
    let unit = (id * ROWS + part).to_le_bytes();
    let mut payload = unit.repeat(LEN.div_ceil(unit.len()));
    payload.truncate(LEN);
    payload
}

/// Recovers the database below `root` and compares it with what was asked and acknowledged.
pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    // A database of which nothing was promised yet may refuse to be one.
    let refused = |error| if marks.acked.is_empty() { Broken::from(error) } else { broken(error) };
    let found = recover(root).map_err(refused)?;
    let Some(found) = found else {
        return match marks.acked.first() {
            None => Ok(()),
            Some(id) => Err(Broken::lost(format!(
                "the database is empty, transaction {id} was acknowledged"
            ))),
        };
    };
    if let Some(problem) = &found.integrity {
        return Err(Broken::corrupt(format!("integrity_check: {problem}")));
    }
    compare(&found.rows, found.total, marks)
}

struct Found {
    integrity: Option<String>,
    rows: Vec<Row>,
    total: u64,
}

/// What is in the database; `None` where there are no tables.
fn recover(root: &Path) -> rusqlite::Result<Option<Found>> {
    let db = Connection::open(root.join(FILE))?;
    let integrity: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let tables: u64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if integrity == "ok" && tables == 0 {
        return Ok(None);
    }
    let integrity = (integrity != "ok").then_some(integrity);
    let total = db.query_row("SELECT parts FROM total", [], |row| row.get(0))?;
    Ok(Some(Found { integrity, rows: rows(&db)?, total }))
}

/// Transaction, part and payload.
type Row = (u64, u64, Vec<u8>);

fn rows(db: &Connection) -> rusqlite::Result<Vec<Row>> {
    let mut select = db.prepare("SELECT id, part, payload FROM item ORDER BY id, part")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

/// A transaction that failed may be there or not, as a whole: a failed commit is one of which nothing is
/// known.
fn compare(rows: &[Row], total: u64, marks: &Marks) -> Result<(), Broken> {
    let mut recovered = BTreeSet::from([0]);
    for chunk in rows.chunk_by(|a, b| a.0 == b.0) {
        let id = chunk[0].0;
        let parts: Vec<u64> = chunk.iter().map(|row| row.1).collect();
        if parts != (0..ROWS).collect::<Vec<_>>() {
            return Err(Broken::corrupt(format!(
                "of transaction {id} only the rows {parts:?} are there"
            )));
        }
        if let Some(row) = chunk.iter().find(|row| row.2 != payload(row.0, row.1)) {
            return Err(Broken::corrupt(format!(
                "row {} of transaction {id} has a wrong value",
                row.1
            )));
        }
        recovered.insert(id);
    }
    if total != rows.len() as u64 {
        return Err(Broken::corrupt(format!(
            "{} rows, but their counter says {total}",
            rows.len()
        )));
    }
    if let Some(id) = recovered.difference(&marks.issued).next() {
        return Err(Broken::corrupt(format!("transaction {id} is there, and was never begun")));
    }
    if let Some(id) = marks.acked.difference(&recovered).next() {
        return Err(Broken::lost(format!("transaction {id} was acknowledged and is gone")));
    }
    let last = recovered.last().copied().unwrap_or(0);
    let mut expected = (0..last).filter(|id| !marks.failed.contains(id));
    if let Some(hole) = expected.find(|id| !recovered.contains(id)) {
        return Err(Broken::corrupt(format!(
            "transaction {last} is there, {hole} before it is not"
        )));
    }
    Ok(())
}

fn broken(error: Error) -> Broken {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Broken::corrupt(error.to_string())
        }
        // A table that is not there though others are: part of the first transaction.
        _ if error.to_string().contains("no such table") => Broken::corrupt(error.to_string()),
        _ => Broken::from(error),
    }
}
