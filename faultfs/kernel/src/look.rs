//! A disk in words, sector by sector, so that what a kernel left and what a model allows are compared as
//! texts.

use std::collections::BTreeMap;

use faultfs::disk::{Body, Disk};
use faultfs::op::{Ino, PAGE, SECTOR};
use faultfs::trace::Trace;

/// The sectors that a program ever has in its files, by what they are called.
pub(crate) struct Sectors {
    names: BTreeMap<Vec<u8>, String>,
}

impl Sectors {
    /// All sectors that the files of `trace` hold at its start and after each of its ops.
    pub(crate) fn of(trace: &Trace) -> Sectors {
        let mut sectors = Sectors { names: BTreeMap::new() };
        let mut live = trace.base.clone();
        sectors.add(&live);
        for record in &trace.ops {
            live.apply(&record.op);
            sectors.add(&live);
        }
        sectors
    }

    fn add(&mut self, disk: &Disk) {
        let files = disk.walk().into_iter().filter_map(|(_, ino)| disk.content(ino));
        // Files that have lost their name, or have none yet, have been or will be seen with one, but for
        // those that never do.
        for content in files {
            for page in content.to_vec().chunks(PAGE as usize) {
                for (at, sector) in page.chunks(SECTOR as usize).enumerate() {
                    let number = self.names.len();
                    let name = || named(sector, at).unwrap_or_else(|| format!("s{number}"));
                    self.names.entry(sector.to_vec()).or_insert_with(name);
                }
            }
        }
    }

    /// The sectors of data, for a device that is to fail when they are written.
    pub(crate) fn data(&self) -> impl Iterator<Item = &[u8]> {
        self.names.keys().filter(|sector| sector.iter().any(|&byte| byte != 0)).map(|s| &s[..])
    }

    fn name(&self, sector: &[u8]) -> &str {
        match self.names.get(sector) {
            _ if sector.iter().all(|&byte| byte == 0) => "Z",
            Some(name) => name,
            // Neither zeros nor anything that was ever in a file: stale bytes of the device.
            None => "G",
        }
    }

    /// Every name below the root with what it stands for: `a=O.N` two pages, `b->a` one file with `a`,
    /// `d/`, `a=NNNNZZZZ` a torn page, `a=O:1024` a last page of 1024 bytes, `a(600)=O` another mode than
    /// is usual.
    pub(crate) fn text(&self, disk: &Disk) -> String {
        let mut first: BTreeMap<Ino, String> = BTreeMap::new();
        let mut out = Vec::new();
        for (path, ino) in disk.walk() {
            let path = String::from_utf8_lossy(&path).into_owned();
            let Some(inode) = disk.get(ino) else { continue };
            if let Some(first) = first.get(&ino) {
                out.push(format!("{path}->{first}"));
                continue;
            }
            first.insert(ino, path.clone());
            let mode = |usual: u32| match inode.mode & 0o7777 {
                mode if mode == usual => String::new(),
                mode => format!("({mode:o})"),
            };
            out.push(match &inode.body {
                Body::Dir(_) => format!("{path}/{}", mode(0o755)),
                Body::Symlink(target) => format!("{path}@{target}"),
                Body::File(content) => {
                    format!("{path}{}={}", mode(0o644), self.pages(&content.to_vec()))
                }
            });
        }
        if out.is_empty() { "nothing".into() } else { out.join(" ") }
    }

    fn pages(&self, bytes: &[u8]) -> String {
        if bytes.is_empty() {
            return "0".into();
        }
        let pages = bytes.chunks(PAGE as usize).map(|page| {
            let names: Vec<&str> = page.chunks(SECTOR as usize).map(|s| self.name(s)).collect();
            let text = match names.iter().all(|name| *name == names[0]) {
                true => names[0].into(),
                false => names.concat(),
            };
            if page.len() < PAGE as usize { format!("{text}:{}", page.len()) } else { text }
        });
        pages.collect::<Vec<_>>().join(".")
    }
}

/// The letter of a sector of the litmus programs' pages, with its number where it is out of place.
fn named(sector: &[u8], at: usize) -> Option<String> {
    let (letter, number) = (*sector.first()?, *sector.get(1)?);
    let is_page = letter.is_ascii_uppercase() && sector.chunks(2).all(|c| c == [letter, number]);
    let place = if usize::from(number) == at { String::new() } else { number.to_string() };
    (is_page && sector.len() == SECTOR as usize).then(|| format!("{}{place}", letter as char))
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultfs::crash::litmus;

    #[test]
    fn a_disk_is_told_by_its_names_and_its_sectors() {
        let (_, trace) = litmus::programs().find(|(name, _)| name.starts_with("p08")).unwrap();
        let sectors = Sectors::of(&trace);
        assert_eq!(sectors.text(&trace.base), "a=O");
        assert_eq!(sectors.text(&trace.replay()), "a=N");
        let mut disk = trace.base.clone();
        disk.write_at(Ino(1), &trace.replay().content(Ino(2)).unwrap().to_vec()[..1024], 0);
        disk.write_at(Ino(1), &[7; 512], 1024);
        assert_eq!(sectors.text(&disk), "a=NNGOOOOO");
    }
}
