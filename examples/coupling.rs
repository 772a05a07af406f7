//! A log on real files whose disk goes wrong at its fail points: the next sync fails, the disk stops
//! answering, the power goes. One engine asks for the sync again when it has failed, and believes it;
//! the other writes what it has into a new file.
//!
//! ```sh
//! cargo run --example coupling --features failpoints
//! cargo run --example coupling
//! ```

use std::io::{self, Write};
use std::time::{Duration, Instant};

use faultfs::crash::Loss;
use faultfs::errno::EIO;
use faultfs::plan::on;
use faultfs::{FaultFs, Profile, points};
use faultpoint::{Scenario, Scope, fault_point};

/// What the engine does when a sync has failed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum OnError {
    /// The pages are clean by now: there is nothing left to sync, so this succeeds.
    SyncAgain,
    WriteAgain,
}

struct Log {
    fs: FaultFs,
    file: faultfs::fs::File,
    /// All records so far.
    records: Vec<u8>,
    number: u32,
    on_error: OnError,
}

impl Log {
    fn create(fs: &FaultFs, on_error: OnError) -> io::Result<Log> {
        let file = fs.create("0.log")?;
        fs.sync_dir(".")?;
        Ok(Log { fs: fs.clone(), file, records: Vec::new(), number: 0, on_error })
    }

    /// The record is durable when this returns.
    fn append(&mut self, record: u8) -> io::Result<()> {
        self.file.write_all(&[record])?;
        self.records.push(record);
        fault_point!("log_written")?;
        let synced = match (self.file.sync_data(), self.on_error) {
            (Err(_), OnError::SyncAgain) => self.file.sync_data(),
            (Err(_), OnError::WriteAgain) => self.rotate(),
            (Ok(()), _) => Ok(()),
        };
        fault_point!("log_synced")?;
        synced
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.number += 1;
        self.file = self.fs.create(format!("{}.log", self.number))?;
        self.file.write_all(&self.records)?;
        fault_point!("log_rotated")?;
        self.file.sync_data()?;
        self.fs.sync_dir(".")
    }
}

/// What the newest log holds after a power cut that takes all that it may.
fn after_a_power_cut(fs: &FaultFs) -> io::Result<String> {
    let found = fs.crash_clone(Profile::POSIX, Loss::Everything);
    let newest = (0..2).rev().map(|number| format!("{number}.log"));
    let newest = newest.into_iter().find(|name| found.fs().exists(name).unwrap_or(false));
    newest.map_or(Ok(String::new()), |name| found.fs().read_to_string(name))
}

fn a_sync_fails(on_error: OnError) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let fs = FaultFs::real(folder.path())?;
    let faults = Scenario::new();
    let fails = on::sync().path("*.log").take(1).fail(EIO);
    faults.on("log_written", points::at_pass(3, points::arm(fs.injector(), fails)));
    let mut log = Log::create(&fs, on_error)?;
    let acknowledged: Vec<u8> = (b'1'..=b'3').filter(|id| log.append(*id).is_ok()).collect();
    faults.finish();

    for fault in fs.trace().injected {
        println!("{}: {}, after {}", fault.call, fault.rule, fault.points.join(", "));
    }
    let found = after_a_power_cut(&fs)?;
    let lost: String =
        acknowledged.iter().map(|id| char::from(*id)).filter(|id| !found.contains(*id)).collect();
    println!("  {on_error:?}: found {found:?}, lost {lost:?}");
    assert_eq!(lost.is_empty(), on_error == OnError::WriteAgain);
    Ok(())
}

fn the_disk_stops_answering() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let fs = FaultFs::real(folder.path())?;
    let faults = Scenario::new();
    let frozen = faults.on("log_written", points::freeze(&fs));
    let mut log = Log::create(&fs, OnError::WriteAgain)?;
    let writer = Scope::current().spawn(move || log.append(b'1'));
    frozen.wait_hits(1);
    let asked = Instant::now();
    while fs.waiting() == 0 {
        assert!(asked.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
    println!("log_written: the sync waits, a reader finds {:?}", fs.read_to_string("0.log")?);
    assert!(!writer.is_finished());
    fs.thaw();
    writer.join().expect("the writer does not panic")?;
    faults.finish();
    Ok(())
}

fn the_power_goes() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let fs = FaultFs::real(folder.path())?;
    let faults = Scenario::new();
    faults.on("log_synced", points::at_pass(2, points::cut_power(&fs)));
    let mut log = Log::create(&fs, OnError::WriteAgain)?;
    let outcomes: Vec<bool> = (b'1'..=b'3').map(|id| log.append(id).is_ok()).collect();
    assert_eq!(outcomes, [true, true, false]);
    println!("log_synced: the power goes, found {:?}", after_a_power_cut(&fs)?);
    assert_eq!(after_a_power_cut(&fs)?, "12");
    faults.finish();
    Ok(())
}

fn main() -> io::Result<()> {
    if !faultpoint::has_failpoints() {
        println!("fail points are off: nothing was injected");
        return Ok(());
    }
    a_sync_fails(OnError::SyncAgain)?;
    a_sync_fails(OnError::WriteAgain)?;
    the_disk_stops_answering()?;
    the_power_goes()
}
