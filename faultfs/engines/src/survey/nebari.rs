//! Transactions on one tree.

use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use nebari::io::fs::StdFile;
use nebari::tree::{Root, TreeRoot, Unversioned};
use nebari::{Config, Roots};

use super::pairs::{self, Found};

fn open(root: &Path) -> Result<Roots<StdFile>, nebari::Error> {
    Config::default_for(root.join("db")).open()
}

fn tree() -> TreeRoot<Unversioned, StdFile> {
    Unversioned::tree("tree")
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    for ids in pairs::ROUNDS {
        let roots = open(root)?;
        for id in ids {
            begin(id);
            let transaction = roots.transaction(&[tree()])?;
            let mut tree = transaction.tree::<Unversioned>(0).expect("the one that was named");
            for (key, value) in pairs::pair(id) {
                tree.set(key.into_bytes(), value)?;
            }
            drop(tree);
            transaction.commit()?;
            ack(id);
        }
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    let roots = open(root)?;
    let tree = roots.tree(tree())?;
    let mut found = Found::new();
    for (key, _) in marks.issued.iter().flat_map(|id| pairs::pair(*id)) {
        if let Some(value) = tree.get(key.as_bytes())? {
            found.insert(key, value.to_vec());
        }
    }
    pairs::compare(found, marks)
}
