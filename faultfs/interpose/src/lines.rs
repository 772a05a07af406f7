//! What the debug info of a file of code says of its addresses: source lines, or at least names.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use addr2line::Context;
use addr2line::gimli::{self, Dwarf, EndianSlice, LittleEndian, Section};
use memmap2::Mmap;
use object::{Object, ObjectSection, SymbolMap, SymbolMapName};

type Slice = EndianSlice<'static, LittleEndian>;

/// One function that was under way at an address; of inlined ones each its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    /// Its name as the linker knows it.
    pub(crate) function: Option<String>,
    /// The source file as the compiler found it, as the compiler was given it, and the line; 0 for what
    /// the compiler has made.
    pub(crate) place: Option<(String, String, u32)>,
}

/// A file of code.
pub(crate) struct Code {
    lines: Option<Context<Slice>>,
    file: object::File<'static>,
    names: OnceCell<SymbolMap<SymbolMapName<'static>>>,
    known: HashMap<u64, Arc<[Frame]>>,
}

impl Code {
    /// Opens it for as long as the process lives: whoever asks for the lines of one trace will ask for those of
    /// the next.
    pub(crate) fn open(path: &Path) -> Option<Code> {
        let file = File::open(path).ok()?;
        // SAFETY: a program that changes while it runs is not the one that ran; compilers and package managers
        // put a new file in the place of the old one.
        let bytes: &'static Mmap = Box::leak(Box::new(unsafe { Mmap::map(&file) }.ok()?));
        let file = object::File::parse(&**bytes).ok()?;
        let dwarf = Dwarf::load(|id| Ok::<_, gimli::Error>(section(&file, id.name()))).ok()?;
        let has_lines = !dwarf.debug_info.reader().is_empty();
        let lines = has_lines.then(|| Context::from_dwarf(dwarf).ok()).flatten();
        Some(Code { lines, file, names: OnceCell::new(), known: HashMap::new() })
    }

    /// The functions at an address as the file states it, the innermost first. Empty where nothing is known.
    pub(crate) fn frames(&mut self, address: u64) -> Arc<[Frame]> {
        if let Some(known) = self.known.get(&address) {
            return known.clone();
        }
        let mut frames = self.with_lines(address).unwrap_or_default();
        if frames.is_empty() {
            let named = |name: &str| Frame { function: Some(name.into()), place: None };
            frames.extend(self.name(address).map(named));
        }
        let frames: Arc<[Frame]> = frames.into();
        self.known.insert(address, frames.clone());
        frames
    }

    fn with_lines(&self, address: u64) -> Option<Vec<Frame>> {
        let lines = self.lines.as_ref()?;
        let unit = lines.find_dwarf_and_unit(address).skip_all_loads()?;
        let text = |slice: Slice| slice.to_string_lossy().into_owned();
        let folder = unit.comp_dir.map(text).unwrap_or_default();
        let of_unit = unit.name.map(text).unwrap_or_default();
        let mut found = lines.find_frames(address).skip_all_loads().ok()?;
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = found.next() {
            let place = frame.location.and_then(|location| {
                let file = location.file?.to_string();
                let given = as_given(&file, &folder, &of_unit).to_string();
                Some((file, given, location.line.unwrap_or(0)))
            });
            let function = frame.function.map(|function| text(function.name));
            frames.push(Frame { function, place });
        }
        Some(frames)
    }

    fn name(&self, address: u64) -> Option<&str> {
        // Without its own table a file has the names that it exports; what they are near to says nothing.
        let of_file = || match self.file.symbols().next() {
            Some(_) => self.file.symbol_map(),
            None => SymbolMap::new(Vec::new()),
        };
        let names = self.names.get_or_init(of_file);
        names.containing(address).map(|symbol| symbol.name())
    }
}

/// A section of the file; empty where it has none, or a compressed one.
fn section(file: &object::File<'static>, name: &str) -> Slice {
    let found = file.section_by_name(name).and_then(|section| section.uncompressed_data().ok());
    let bytes = match found {
        Some(Cow::Borrowed(bytes)) => bytes,
        _ => &[],
    };
    EndianSlice::new(bytes, LittleEndian)
}

/// A file's name as `file!()` has it: below the folder that the compiler worked in, where it was given names
/// there. Of code that was given by its whole path, as Cargo does with dependencies, the folder of its package
/// and what is below: where packages lie is no part of a run.
fn as_given<'a>(file: &'a str, folder: &str, of_unit: &str) -> &'a str {
    let below = file.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    match below {
        Some(below) if !of_unit.starts_with('/') => below,
        _ => of_package(file),
    }
}

fn of_package(file: &str) -> &str {
    for packages in ["/registry/src/", "/git/checkouts/"] {
        if let Some((_, below)) = file.split_once(packages) {
            return below.split_once('/').map_or(below, |(_, below)| below);
        }
    }
    let folders = ["/src/", "/tests/", "/examples/", "/benches/"];
    match folders.iter().filter_map(|folder| file.rfind(folder)).max() {
        Some(at) => &file[file[..at].rfind('/').map_or(0, |slash| slash + 1)..],
        None => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_the_compiler_was_given_them() {
        for (file, folder, of_unit, expected) in [
            ("/home/x/db/src/log.rs", "/home/x/db", "src/lib.rs/@/db.1", "src/log.rs"),
            ("/home/x/db/core/src/log.rs", "/home/x/db", "core/src/lib.rs", "core/src/log.rs"),
            // A generic function of another package, compiled for this one.
            (
                "/c/registry/src/index-1/redb-4.1.0/src/db.rs",
                "/home/x/db",
                "src/lib.rs",
                "redb-4.1.0/src/db.rs",
            ),
            (
                "/c/registry/src/index-1/redb-4.1.0/src/db.rs",
                "/c/registry/src/index-1/redb-4.1.0",
                "/c/registry/src/index-1/redb-4.1.0/src/lib.rs",
                "redb-4.1.0/src/db.rs",
            ),
            ("/c/git/checkouts/db-12/34/src/a.rs", "/home/x", "/c/git", "34/src/a.rs"),
            (
                "/home/src/db/src/io/log.rs",
                "/home/src/db",
                "/home/src/db/src/lib.rs",
                "db/src/io/log.rs",
            ),
            (
                "/c/sqlite-1/sqlite3/sqlite3.c",
                "/c/sqlite-1",
                "sqlite3/sqlite3.c",
                "sqlite3/sqlite3.c",
            ),
            ("/usr/include/x.h", "/home/x/db", "src/lib.rs", "/usr/include/x.h"),
        ] {
            assert_eq!(as_given(file, folder, of_unit), expected, "{file}");
        }
    }

    #[test]
    fn this_very_place_is_found() {
        let here = std::env::current_exe().unwrap();
        assert!(Code::open(&here).is_some());
        assert!(Code::open(&here.with_extension("none")).is_none());
    }
}
