//! Commits of documents to an index in a folder, by one thread.

use std::fs;
use std::path::Path;

use faultfs::trace::Marks;
use faultfs::verdict::Broken;
use faultfs_interpose::{ack, begin};
use tantivy::collector::DocSetCollector;
use tantivy::directory::MmapDirectory;
use tantivy::query::AllQuery;
use tantivy::schema::{BytesOptions, Field, STORED, STRING, Schema, Value};
use tantivy::{Index, TantivyDocument, TantivyError};

use super::pairs::{self, Found};

const KEY: Field = Field::from_field_id(0);
const VALUE: Field = Field::from_field_id(1);

fn open(root: &Path) -> Result<Index, TantivyError> {
    let mut schema = Schema::builder();
    schema.add_text_field("key", STRING | STORED);
    schema.add_bytes_field("value", BytesOptions::default() | STORED);
    Index::open_or_create(MmapDirectory::open(root.join("index"))?, schema.build())
}

pub(crate) fn run(root: &Path) -> Result<(), Broken> {
    fs::create_dir(root.join("index"))?;
    // The folder's own entry is the caller's to make durable.
    fs::File::open(root)?.sync_all()?;
    for ids in pairs::ROUNDS {
        let index = open(root)?;
        let mut writer = index.writer_with_num_threads::<TantivyDocument>(1, 15_000_000)?;
        for id in ids {
            begin(id);
            for (key, value) in pairs::pair(id) {
                let mut document = TantivyDocument::new();
                document.add_text(KEY, key);
                document.add_bytes(VALUE, &value);
                writer.add_document(document)?;
            }
            writer.commit()?;
            ack(id);
        }
        writer.wait_merging_threads()?;
    }
    Ok(())
}

pub(crate) fn check(root: &Path, marks: &Marks) -> Result<(), Broken> {
    if marks.issued.is_empty() {
        return Ok(());
    }
    let index = open(root)?;
    let searcher = index.reader()?.searcher();
    let mut found = Found::new();
    for at in searcher.search(&AllQuery, &DocSetCollector)? {
        let document: TantivyDocument = searcher.doc(at)?;
        let key = document.get_first(KEY).and_then(|key| key.as_str()).unwrap_or_default();
        let value = document.get_first(VALUE).and_then(|value| value.as_bytes());
        found.insert(key.to_owned(), value.unwrap_or_default().to_vec());
    }
    pairs::compare(found, marks)
}
