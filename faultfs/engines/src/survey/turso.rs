//! Transactions on a table, with the defaults: a write-ahead log, synced at each commit.

use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use tokio::runtime::Builder;
use turso::Connection;

use super::pairs::{self, Found};

fn with<T>(
    root: &Path,
    work: impl AsyncFnOnce(&Connection) -> Result<T, turso::Error>,
) -> Result<T, Broken> {
    let path = root.join("db");
    let path = path.to_str().expect("a plain name");
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connection = turso::Builder::new_local(path).build().await?.connect()?;
        connection
            .execute("CREATE TABLE IF NOT EXISTS pairs (key TEXT PRIMARY KEY, value BLOB)", ())
            .await?;
        Ok(work(&connection).await?)
    })
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    for ids in pairs::ROUNDS {
        with(root, async |connection| {
            for id in ids {
                begin(id);
                connection.execute("BEGIN", ()).await?;
                for (key, value) in pairs::pair(id) {
                    connection.execute("INSERT INTO pairs VALUES (?, ?)", (key, value)).await?;
                }
                connection.execute("COMMIT", ()).await?;
                ack(id);
            }
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    let found = with(root, async |connection| {
        let mut rows = connection.query("SELECT key, value FROM pairs", ()).await?;
        let mut found = Found::new();
        while let Some(row) = rows.next().await? {
            let (key, value) = (row.get_value(0)?, row.get_value(1)?);
            let key = key.as_text().cloned().unwrap_or_default();
            found.insert(key, value.as_blob().cloned().unwrap_or_default());
        }
        Ok(found)
    })?;
    pairs::compare(found, marks)
}
