//! Transactions whose commit waits for a sync of the write-ahead log.

use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use surrealkv::{Durability, LSMIterator, Tree, TreeBuilder};
use tokio::runtime::Builder;

use super::pairs::{self, Found};

/// Runs it with the tree open, and closes the tree.
fn with<T>(
    root: &Path,
    work: impl AsyncFnOnce(&Tree) -> Result<T, surrealkv::Error>,
) -> Result<T, Broken> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let tree = TreeBuilder::new().with_path(root.join("db")).build_async().await?;
        let done = work(&tree).await?;
        tree.close().await?;
        Ok(done)
    })
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    for ids in pairs::ROUNDS {
        with(root, async |tree| {
            for id in ids {
                begin(id);
                let mut transaction = tree.begin()?;
                for (key, value) in pairs::pair(id) {
                    transaction.set(key.as_bytes(), &value)?;
                }
                transaction.set_durability(Durability::Immediate);
                transaction.commit().await?;
                ack(id);
            }
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    let found = with(root, async |tree| {
        let transaction = tree.begin()?;
        let mut entries = transaction.iter()?;
        let mut found = Found::new();
        entries.seek_first()?;
        while entries.valid() {
            let key = String::from_utf8_lossy(entries.key().user_key()).into_owned();
            found.insert(key, entries.value()?.to_vec());
            entries.next()?;
        }
        Ok(found)
    })?;
    pairs::compare(found, marks)
}
