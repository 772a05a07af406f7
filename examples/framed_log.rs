//! A log of records, each framed by its length and a checksum (`crc32fast`), around any file: production code
//! hands it a `File`, a test a `FaultFile` and a plan in words. A checksum tells a bad record from a right one;
//! it does not tell that a record is missing, which is why the last plan loses one and nobody notices.
//!
//! `cargo run --example framed_log`

use std::io;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use faultfs::plan::Plan;
use faultfs::{FaultFile, Injector};

const RECORDS: [&str; 3] = ["first", "second", "third"];

/// Writes a record at the end: length, checksum, payload, all in one write.
fn append(log: &impl FileExt, end: &mut u64, record: &str) -> io::Result<()> {
    let mut frame = (record.len() as u32).to_le_bytes().to_vec();
    frame.extend(crc32fast::hash(record.as_bytes()).to_le_bytes());
    frame.extend(record.as_bytes());
    log.write_all_at(&frame, *end)?;
    *end += frame.len() as u64;
    Ok(())
}

/// The records of a log. Behind the last whole one there may be a part of another: its write was never
/// acknowledged.
fn scan(log: &impl FileExt) -> io::Result<Vec<String>> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match log.read_at(&mut chunk, bytes.len() as u64)? {
            0 => break,
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
    let (mut rest, mut records) = (&bytes[..], Vec::new());
    while let Some((header, behind)) = rest.split_first_chunk::<8>() {
        let [len, sum] = [&header[..4], &header[4..]]
            .map(|half| u32::from_le_bytes(half.try_into().expect("four bytes")));
        // Zeros, as a size without its data leaves them, are no record, though the checksum of nothing is 0.
        let Some((payload, behind)) = behind.split_at_checked(len as usize).filter(|_| len > 0)
        else {
            break;
        };
        if crc32fast::hash(payload) != sum {
            let why = format!("the checksum of record {} is wrong", records.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        records.push(String::from_utf8_lossy(payload).into_owned());
        rest = behind;
    }
    Ok(records)
}

/// Writes all records while the plan goes wrong, and reads what is there; in words.
fn run(plan: &Plan) -> io::Result<String> {
    let injector = Injector::new(plan.clone());
    let log = FaultFile::armed(tempfile::tempfile()?, &injector, "log");
    let (mut end, mut written) = (0, Vec::new());
    for record in RECORDS {
        match append(&log, &mut end, record).and_then(|()| log.sync_data()) {
            Ok(()) => written.push(record),
            Err(error) => {
                written.push("an error");
                eprintln!("  {record}: {error}");
                break;
            }
        }
    }
    let found = scan(&log).map_or_else(|error| error.to_string(), |found| found.join(", "));
    injector.finish().map_err(io::Error::other)?;
    Ok(format!("{}; found {found}", written.join(", ")))
}

fn main() -> ExitCode {
    let mut surprises = 0;
    for (plan, expected) in [
        // Who writes and reads until all is there does not mind.
        (
            "write log take 1 -> short 3; read log take 1 -> short 1",
            "first, second, third; found first, second, third",
        ),
        // A bit of the first payload.
        (
            "read log take 1 -> flip 64",
            "first, second, third; found the checksum of record 0 is wrong",
        ),
        ("write log skip 1 take 1 -> torn 10 bytes EIO", "first, an error; found first"),
        (
            "sync log skip 2 take 1 -> fail EIO",
            "first, second, an error; found first, second, third",
        ),
        ("write log skip 2 take 1 -> lose", "first, second, third; found first, second"),
    ] {
        println!("{plan}");
        let came_out = run(&plan.parse().expect("a plan")).expect("a file, and every rule fires");
        println!("  wrote {came_out}");
        if came_out != expected {
            println!("  EXPECTED {expected}");
            surprises += 1;
        }
    }
    ExitCode::from(u8::from(surprises > 0))
}
