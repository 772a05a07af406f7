//! A store that writes a whole table for each record and names it in a manifest, with one planted mistake in
//! how it answers an error, or none.

use std::io;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;

use crate::faults::files::{self, Files};

/// What the engine does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Nothing: the fixed twin.
    None,
    /// B30: the manifest could not be written, and what memory says is live decides which table goes.
    PurgesByMemory,
}

const MANIFEST: &str = "MANIFEST";

struct Tables<'a, F: Files> {
    fs: &'a F,
    /// The table that the manifest names, and what is in it.
    live: Option<String>,
    ids: Vec<u64>,
    bug: Bug,
}

impl<F: Files> Tables<'_, F> {
    fn open(fs: &F, bug: Bug) -> io::Result<Tables<'_, F>> {
        let mut tables = Tables { fs, live: None, ids: Vec::new(), bug };
        if fs.exists(MANIFEST)? {
            // Its rename may be in memory only.
            fs.sync_dir()?;
            let name = files::read_all(&fs.open(MANIFEST)?)?;
            let name = String::from_utf8(name).map_err(io::Error::other)?;
            let table = files::read_all(&fs.open(&name)?)?;
            tables.ids = table.as_chunks().0.iter().map(|id| u64::from_le_bytes(*id)).collect();
            tables.live = Some(name);
        }
        Ok(tables)
    }

    fn put(&mut self, id: u64) -> io::Result<()> {
        let mut ids = self.ids.clone();
        ids.push(id);
        let name = format!("table-{id}");
        files::write_new(
            self.fs,
            &name,
            &ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>(),
        )?;
        self.fs.sync_dir()?;
        let named = self.name(&name);
        if named.is_ok() || self.bug == Bug::PurgesByMemory {
            if let Some(old) = self.live.replace(name) {
                // A table too many is in nobody's way.
                let _ = self.fs.remove(&old);
            }
            self.ids = ids;
        }
        named
    }

    /// Puts a manifest that names this table in the place of the old one.
    fn name(&self, table: &str) -> io::Result<()> {
        files::write_new(self.fs, "MANIFEST.new", table.as_bytes())?;
        self.fs.rename("MANIFEST.new", MANIFEST)?;
        self.fs.sync_dir()
    }
}

pub(crate) fn workload(fs: &impl Files, bug: Bug) -> Result<(), Broken> {
    files::three_records(fs, || Tables::open(fs, bug), Tables::put)
}

pub(crate) fn check(fs: &impl Files, marks: &Marks, bug: Bug) -> Result<(), Broken> {
    let ids = Tables::open(fs, bug)?.ids;
    files::compare(&ids, marks)
}
