//! Transactions of several rows and a counter of all rows, in a database that is opened again where they
//! fail. For every redb from 2.1 on.

use std::collections::BTreeSet;

use faultfs::FaultFs;
use faultfs::fs::OpenOptions;
use faultfs::trace::{Mark, Marks};
use faultfs::verdict::Broken;
// All of it: the trait that `begin_read` belongs to has come with redb 3.
use redb::*;

use crate::storage;

/// Payloads by transaction and part. One table only: in which order several are written, the seeds of redb's
/// hash maps say, which are others in each run.
const TABLE: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("rows");
/// The key of the number of rows.
const TOTAL: (u64, u64) = (u64::MAX, 0);
const FILE: &str = "app.redb";
const ROWS: u64 = 3;

/// A database and how it is used.
#[derive(Clone, Copy)]
pub(crate) struct Config {
    /// Bytes. With none pages are read again, and a read can fail in the middle of a transaction.
    pub(crate) cache: usize,
    pub(crate) open: fn(&mut Builder),
    pub(crate) begin: fn(&mut WriteTransaction),
    /// That succeed.
    pub(crate) transactions: u64,
    /// Bytes of a row.
    pub(crate) row: usize,
}

impl Config {
    /// As it comes, without a cache.
    pub(crate) const PLAIN: Config =
        Config { cache: 0, open: |_| {}, begin: |_| {}, transactions: 4, row: 640 };

    /// Transactions; where one fails, another on the same database, and where that fails too, another after
    /// a restart. At the end a restart. What is read is what was written, or an error.
    pub(crate) fn run(self, fs: &FaultFs) -> Result<(), Broken> {
        let marks = Marks::default();
        let mut session = Session { config: self, fs, db: self.open(fs)?, marks };
        for _ in 0..self.transactions {
            if session.transaction().or_else(|_| session.transaction()).is_err() {
                session = session.restart()?;
                session.transaction()?;
            }
        }
        session.restart()?;
        Ok(())
    }

    /// What the database gives back is right.
    pub(crate) fn check(self, fs: &FaultFs, marks: &Marks) -> Result<(), Broken> {
        self.compare(&self.open(fs)?, marks)
    }

    /// The same, and now that it was opened and closed, it is whole.
    pub(crate) fn check_whole(self, fs: &FaultFs, marks: &Marks) -> Result<(), Broken> {
        self.check(fs, marks)?;
        match self.open(fs)?.check_integrity() {
            Ok(true) => self.check(fs, marks),
            Ok(false) => Err(Broken::corrupt("closed as whole, and check_integrity repaired it")),
            Err(error) => Err(Broken::corrupt(format!("check_integrity: {error}"))),
        }
    }

    fn open(&self, fs: &FaultFs) -> Result<Database, Broken> {
        let file = fs.open_with(FILE, OpenOptions::new().read(true).write(true).create(true))?;
        fs.sync_dir(".")?;
        let mut builder = Database::builder();
        builder.set_cache_size(self.cache);
        (self.open)(&mut builder);
        Ok(builder.create_with_backend(storage(file))?)
    }
}

/// A database, and what it was asked and has promised.
struct Session<'a> {
    config: Config,
    fs: &'a FaultFs,
    db: Database,
    marks: Marks,
}

impl Session<'_> {
    /// One more, with an id of its own: of a commit that failed nothing is known.
    fn transaction(&mut self) -> Result<(), Broken> {
        let id = self.marks.issued.len() as u64;
        self.fs.begin(id);
        self.marks.add(Mark::Begin(id));
        let done = self.config.put(&self.db, id);
        match done {
            Ok(()) => self.fs.ack(id),
            Err(_) => self.fs.failed(id),
        }
        self.marks.add(if done.is_ok() { Mark::Ack(id) } else { Mark::Failed(id) });
        done
    }

    fn restart(self) -> Result<Self, Broken> {
        drop(self.db);
        let db = self.config.open(self.fs)?;
        self.config.compare(&db, &self.marks)?;
        Ok(Session { db, ..self })
    }
}

impl Config {
    fn payload(&self, id: u64, part: u64) -> Vec<u8> {
        (id * ROWS + part).to_le_bytes().repeat(self.row / 8)
    }

    fn put(&self, db: &Database, id: u64) -> Result<(), Broken> {
        let mut transaction = db.begin_write()?;
        (self.begin)(&mut transaction);
        match self.write(&transaction, id) {
            Ok(()) => Ok(transaction.commit()?),
            Err(broken) => {
                transaction.abort()?;
                Err(broken)
            }
        }
    }

    fn write(&self, transaction: &WriteTransaction, id: u64) -> Result<(), Broken> {
        let mut table = transaction.open_table(TABLE)?;
        for part in 0..ROWS {
            table.insert((id, part), &self.payload(id, part)[..])?;
        }
        let total = table.get(TOTAL)?.map_or(0, |total| number(total.value()));
        table.insert(TOTAL, &total.wrapping_add(ROWS).to_le_bytes()[..])?;
        Ok(())
    }

    /// What was acknowledged is there; what failed is there or not, as a whole; and nothing else is there.
    fn compare(&self, db: &Database, marks: &Marks) -> Result<(), Broken> {
        let (rows, total) = read_all(db)?;
        let mut found = BTreeSet::new();
        for rows in rows.chunk_by(|a, b| a.0 == b.0) {
            let id = rows[0].0;
            if !marks.issued.contains(&id) {
                return Err(Broken::corrupt(format!("transaction {id} was never begun")));
            }
            let whole = (0..ROWS).map(|part| (id, part, self.payload(id, part)));
            if !rows.iter().cloned().eq(whole) {
                return Err(Broken::corrupt(format!(
                    "of transaction {id} there is not what was put"
                )));
            }
            found.insert(id);
        }
        if total != rows.len() as u64 {
            let rows = rows.len();
            return Err(Broken::corrupt(format!("{rows} rows, but their counter says {total}")));
        }
        match marks.acked.difference(&found).next() {
            Some(id) => Err(Broken::lost(format!("transaction {id} was acknowledged and is gone"))),
            None => Ok(()),
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(u64::MAX, u64::from_le_bytes)
}

/// Transaction, part and payload.
type Row = (u64, u64, Vec<u8>);

/// All rows, and how many there are as the counter says.
fn read_all(db: &Database) -> Result<(Vec<Row>, u64), Broken> {
    let transaction = db.begin_read()?;
    let table = match transaction.open_table(TABLE) {
        Err(TableError::TableDoesNotExist(_)) => return Ok((Vec::new(), 0)),
        table => table?,
    };
    let (mut rows, mut total) = (Vec::new(), 0);
    for entry in table.iter()? {
        let (key, value) = entry?;
        match key.value() {
            TOTAL => total = number(value.value()),
            (id, part) => rows.push((id, part, value.value().to_vec())),
        }
    }
    Ok((rows, total))
}
