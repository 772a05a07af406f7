//! Cells of one sector, each in two files, with one planted mistake in how they meet bad media, or none.
//!
//! A cell holds its checksum, its place, its generation and its value; a reader takes the newer of the two
//! copies that are whole.

use std::io;
use std::os::unix::fs::FileExt;

use faultfs::fs::Storage;
use faultfs::trace::{Mark, Marks};
use faultfs::verdict::Broken;

use crate::faults::files::Files;

/// What the engine does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Nothing: the fixed twin.
    None,
    /// B50: a copy that is not whole counts as empty, and the other is not asked.
    OneCopy,
    /// B51: the checksum covers the place, and nobody compares it.
    NoPlace,
    /// B52: the first copy that is whole is taken, however old.
    NoGeneration,
    /// B53: a copy that is not whole is a panic.
    Panics,
}

const CELL: usize = 512;
const CELLS: u64 = 3;
const FILES: [&str; 2] = ["a", "b"];

pub(crate) struct Cells<F: Files> {
    files: Vec<F::File>,
    bug: Bug,
}

/// A value and its generation; none where nothing was ever written.
type Cell = Option<(u64, u64)>;

impl<F: Files> Cells<F> {
    pub(crate) fn open(fs: &F, bug: Bug) -> io::Result<Cells<F>> {
        let open = |name: &&str| {
            let file = fs.open_or_create(name)?;
            file.sync_all()?;
            Ok(file)
        };
        let files: Vec<F::File> = FILES.iter().map(open).collect::<io::Result<_>>()?;
        fs.sync_dir()?;
        Ok(Cells { files, bug })
    }

    pub(crate) fn put(&self, place: u64, value: u64) -> io::Result<()> {
        let generation = self.get(place)?.map_or(1, |(_, generation)| generation + 1);
        let mut body = [0; CELL - 8];
        for (slot, number) in
            body.chunks_exact_mut(8).zip([place, generation, value].iter().cycle())
        {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        let mut cell = u64::from(crc32fast::hash(&body)).to_le_bytes().to_vec();
        cell.extend(body);
        for file in &self.files {
            file.write_all_at(&cell, place * CELL as u64)?;
            file.sync_data()?;
        }
        Ok(())
    }

    pub(crate) fn get(&self, place: u64) -> io::Result<Cell> {
        let copies = self.files.iter().map(|file| read(file, place, self.bug));
        let copies: Vec<io::Result<Cell>> = copies.collect();
        match self.bug {
            Bug::OneCopy => return Ok(copies.into_iter().next().unwrap().unwrap_or_default()),
            Bug::Panics => copies.iter().for_each(|copy| assert!(copy.is_ok(), "{copy:?}")),
            Bug::NoGeneration => {
                return copies.into_iter().find(Result::is_ok).unwrap_or(Ok(None));
            }
            Bug::NoPlace | Bug::None => {}
        }
        let whole = copies.iter().filter_map(|copy| *copy.as_ref().ok()?);
        match (whole.max_by_key(|(_, generation)| *generation), &copies[..]) {
            (Some(cell), _) => Ok(Some(cell)),
            // The second copy is begun when the first is durable: this was the first write ever.
            (None, [_, Ok(None)]) => Ok(None),
            (None, _) => copies.into_iter().collect::<io::Result<Vec<Cell>>>().map(|_| None),
        }
    }
}

fn read(file: &impl FileExt, place: u64, bug: Bug) -> io::Result<Cell> {
    let mut cell = [0; CELL];
    match file.read_exact_at(&mut cell, place * CELL as u64) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    if cell == [0; CELL] {
        return Ok(None);
    }
    let number = |index: usize| u64::from_le_bytes(cell[index * 8..][..8].try_into().unwrap());
    let (sum, body) = (number(0), &cell[8..]);
    if sum != u64::from(crc32fast::hash(body)) || (number(1) != place && bug != Bug::NoPlace) {
        return Err(io::Error::other(format!("cell {place} is not whole")));
    }
    Ok(Some((number(3), number(2))))
}

fn value(id: u64) -> u64 {
    1000 + id
}

/// Every cell is written, the first one twice; each value is read back. Writes are numbered.
pub(crate) fn workload(fs: &impl Files, bug: Bug) -> Result<(), Broken> {
    let cells = Cells::open(fs, bug)?;
    for id in 0..=CELLS {
        fs.mark(Mark::Begin(id));
        cells.put(id % CELLS, value(id))?;
        fs.mark(Mark::Ack(id));
    }
    drop(cells);
    let cells = Cells::open(fs, bug)?;
    let marks =
        Marks { issued: (0..=CELLS).collect(), acked: (0..=CELLS).collect(), ..Marks::default() };
    compare(&cells, &marks)
}

pub(crate) fn check(fs: &impl Files, marks: &Marks, bug: Bug) -> Result<(), Broken> {
    compare(&Cells::open(fs, bug)?, marks)
}

/// Each cell holds the last value that was acknowledged for it, or one that was asked for later.
fn compare(cells: &Cells<impl Files>, marks: &Marks) -> Result<(), Broken> {
    for place in 0..CELLS {
        let of_place = |ids: &std::collections::BTreeSet<u64>| -> Vec<u64> {
            ids.iter().copied().filter(|id| id % CELLS == place).collect()
        };
        let found = cells.get(place)?.map(|(value, _)| value);
        let acked = of_place(&marks.acked).into_iter().max();
        let mut allowed: Vec<Option<u64>> = of_place(&marks.issued)
            .into_iter()
            .filter(|id| acked.is_none_or(|acked| *id >= acked))
            .map(|id| Some(value(id)))
            .collect();
        allowed.extend(acked.is_none().then_some(None));
        if allowed.contains(&found) {
            continue;
        }
        let words = format!("cell {place} holds {found:?}, allowed is {allowed:?}");
        return Err(match found {
            None => Broken::lost(words),
            Some(_) => Broken::corrupt(words),
        });
    }
    Ok(())
}
