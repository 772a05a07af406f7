//! The typed door: engines written against [`FaultFs`].

use std::path::Path;

use super::{Door, Explore, Faults, Recovered, marks_before};
use crate::disk::Disk;
use crate::fs::FaultFs;
use crate::reads::Reads;
use crate::trace::{Marks, Trace};
use crate::verdict::Broken;
use crate::{Error, Result, Seen, file};

/// Explores what a workload on a [`FaultFs`] may leave on the disk when the power goes.
///
/// The workload runs once, on an empty filesystem in memory, and says through
/// [`begin`](FaultFs::begin), [`ack`](FaultFs::ack) and [`failed`](FaultFs::failed) what it asked for and
/// what it was promised. [`Explore::check`] recovers from every disk.
///
/// ```no_run
/// use std::io::{Read, Write};
/// use faultfs::explore::explore;
/// use faultfs::verdict::Broken;
///
/// // In a test: `#[test] fn a_synced_file_survives() { … }`
/// explore(|fs| {
///     fs.begin(1);
///     let mut file = fs.create("log")?;
///     file.write_all(b"one")?;
///     file.sync_all()?;
///     fs.sync_dir(".")?;
///     fs.ack(1);
///     Ok(())
/// })
/// .check(|fs, marks| match fs.read("log") {
///     Ok(bytes) if bytes == b"one" => Ok(()),
///     _ if marks.acked.is_empty() => Ok(()),
///     found => Err(Broken::lost(format!("acknowledged, and then {found:?}"))),
/// });
/// ```
pub fn explore<W>(workload: W) -> Explore<Typed<W>>
where
    W: FnMut(&FaultFs) -> Result<(), Broken>,
{
    Explore::new(Typed { workload, reads: None })
}

/// The typed door: the workload runs on a [`FaultFs`] in memory.
#[derive(Debug)]
pub struct Typed<W> {
    workload: W,
    reads: Option<Reads>,
}

impl<W> Door for Typed<W>
where
    W: FnMut(&FaultFs) -> Result<(), Broken>,
{
    type Root = FaultFs;

    fn record(&mut self, room: &Path, faults: &Faults) -> Result<(), Broken> {
        let fs = FaultFs::mem();
        fs.arm(faults.plan.clone());
        faults.capacity.into_iter().for_each(|capacity| fs.set_capacity(capacity));
        if faults.observe {
            fs.injector().observe();
        }
        let outcome = (self.workload)(&fs);
        std::fs::write(room.join(TRACE), file::encode(&fs.trace()))?;
        if faults.observe {
            std::fs::write(room.join(CALLS), postcard::to_stdvec(&fs.injector().seen())?)?;
        }
        // Without power every call fails, and that is what was asked for.
        if fs.is_cut() { Ok(()) } else { outcome }
    }

    fn trace(&mut self, room: &Path) -> Result<Trace> {
        file::decode(&read(&room.join(TRACE))?)
    }

    fn calls(&mut self, room: &Path) -> Result<Vec<Seen>> {
        let path = room.join(CALLS);
        if !path.exists() {
            return Ok(Vec::new());
        }
        postcard::from_bytes(&read(&path)?)
            .map_err(|error| Error::new(format!("{}: {error}", path.display())))
    }

    fn repeats(&self) -> bool {
        true
    }

    fn has_capacity(&self) -> bool {
        true
    }

    fn check(
        &mut self,
        _: &Path,
        disk: &Disk,
        check: &mut dyn FnMut(&FaultFs) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        self.reads = None;
        let fs = FaultFs::watched(disk.clone());
        let outcome = check(&fs);
        self.reads = fs.take_reads();
        outcome
    }

    fn recover(
        &mut self,
        _: &Path,
        disk: &Disk,
        marks: &Marks,
        faults: &Faults,
        check: &mut dyn FnMut(&FaultFs) -> Result<(), Broken>,
    ) -> Result<Recovered, Broken> {
        let fs = FaultFs::from_disk(disk.clone());
        marks_before(marks).for_each(|mark| fs.mark(mark, None));
        fs.arm(faults.plan.clone());
        if faults.observe {
            fs.injector().observe();
        }
        check(&fs)?;
        Ok(Recovered { trace: fs.trace(), calls: fs.injector().seen() })
    }

    fn take_reads(&mut self) -> Option<Reads> {
        self.reads.take()
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::new(format!("{}: {error}", path.display())))
}

/// The files in a room in which the typed door leaves its trace and the calls.
const TRACE: &str = "recorded";
const CALLS: &str = "calls";
