//! SQLite as a target with known answers: its documentation says which configurations keep acknowledged
//! transactions through a power cut, and which do not.
//!
//! The workload commits transactions of several rows and acknowledges each; the check opens the
//! database, runs `PRAGMA integrity_check`, and compares what is there with what was acknowledged.

use std::collections::BTreeSet;
use std::path::Path;

use faultfs::Profile;
use faultfs::model::Kept;
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
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
}

/// What is torn or in the wrong order is found at once; held only where it is promised.
const HELD: &[Verdict] = &[Verdict::Held];
const LOST: &[Verdict] = &[Verdict::Lost];
const CORRUPT_OR_LOST: &[Verdict] = &[Verdict::Corrupt, Verdict::Lost];

/// The configurations, with the verdicts that <https://sqlite.org/pragma.html#pragma_synchronous> lets
/// one expect.
pub(crate) const CONFIGS: [Config; 6] = [
    // "WAL mode with synchronous=FULL: the WAL is synced after each transaction commit."
    config("wal-full", "wal", "full", HELD, HELD),
    // "WAL mode is consistent with synchronous=NORMAL, but does lose durability."
    config("wal-normal", "wal", "normal", LOST, LOST),
    // "EXTRA is like FULL with the addition that the directory containing a rollback journal is synced
    // after that journal is unlinked."
    config("delete-extra", "delete", "extra", HELD, HELD),
    // Without that sync the unlink, which is the commit, may be undone.
    config("delete-full", "delete", "full", LOST, LOST),
    // The commit is a synced overwrite of the journal's header: no directory entry changes.
    config("persist-full", "persist", "full", HELD, HELD),
    // "SQLite continues without syncing … the database might become corrupted."
    config("delete-off", "delete", "off", CORRUPT_OR_LOST, LOST),
];

const fn config(
    name: &'static str,
    journal_mode: &'static str,
    synchronous: &'static str,
    reordered: &'static [Verdict],
    prefix: &'static [Verdict],
) -> Config {
    Config { name, journal_mode, synchronous, reordered, prefix }
}

/// Transactions after the one that makes the tables.
const TRANSACTIONS: u64 = 6;
const ROWS: u64 = 3;
const FILE: &str = "app.db";

impl Config {
    /// The verdicts that are no surprise.
    pub(crate) fn expected(&self, profile: Profile) -> &'static [Verdict] {
        match profile {
            p if p.process_only => HELD,
            p if p.order == Kept::Everything => self.prefix,
            _ => self.reordered,
        }
    }

    /// Commits transactions and acknowledges each, in a database below `root`.
    pub(crate) fn run(&self, root: &Path) -> Result<(), Broken> {
        let mut db = Connection::open(root.join(FILE))?;
        let mode: String =
            db.pragma_update_and_check(None, "journal_mode", self.journal_mode, |row| row.get(0))?;
        if mode != self.journal_mode {
            return Err(Broken::unopenable(format!(
                "journal mode {mode}, asked {}",
                self.journal_mode
            )));
        }
        db.pragma_update(None, "synchronous", self.synchronous)?;
        // Small enough that checkpoints fall into the run.
        db.pragma_update(None, "wal_autocheckpoint", 8)?;
        self.transaction(&mut db, 0, |tx| {
            tx.execute_batch(
                "CREATE TABLE item (id INTEGER, part INTEGER, payload BLOB, PRIMARY KEY (id, part));
                 CREATE TABLE total (parts INTEGER);
                 INSERT INTO total VALUES (0);",
            )
        })?;
        for id in 1..=TRANSACTIONS {
            self.transaction(&mut db, id, |tx| {
                for part in 0..ROWS {
                    tx.execute(
                        "INSERT INTO item VALUES (?, ?, ?)",
                        params![id, part, payload(id, part)],
                    )?;
                }
                tx.execute("UPDATE total SET parts = parts + ?", [ROWS])?;
                Ok(())
            })?;
        }
        db.close().map_err(|(_, error)| error)?;
        Ok(())
    }

    fn transaction(
        &self,
        db: &mut Connection,
        id: u64,
        body: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        faultfs_interpose::begin(id);
        let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        body(&tx)?;
        tx.commit()?;
        faultfs_interpose::ack(id);
        Ok(())
    }
}

/// Bytes that tell which row they belong to, and that do not compress into one page.
fn payload(id: u64, part: u64) -> Vec<u8> {
    let unit = (id * ROWS + part).to_le_bytes();
    unit.iter().copied().cycle().take(700).collect()
}

/// Recovers the database below `root` and compares it with what was asked and acknowledged.
pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    let found = recover(root).map_err(broken)?;
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
    rows: Vec<(u64, u64, Vec<u8>)>,
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
    let mut select = db.prepare("SELECT id, part, payload FROM item ORDER BY id, part")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let rows = rows.collect::<rusqlite::Result<_>>()?;
    Ok(Some(Found { integrity, rows, total }))
}

fn compare(rows: &[(u64, u64, Vec<u8>)], total: u64, marks: &Marks) -> Result<(), Broken> {
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
    if let Some(hole) = (0..last).find(|id| !recovered.contains(id)) {
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
