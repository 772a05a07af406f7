//! What a `FaultFile` costs in time: medians of interleaved rounds, so that the machine's mood meets all.
//! `benches/fault_file.sh` runs it, with faults compiled in and without.

#[allow(missing_docs, reason = "shared by two programs")]
mod fault_file;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::time::Instant;

use fault_file::{CALLS, State, bare, fault_file as file, partial};
use faultfs::FaultFile;
use partial_io::{PartialRead, PartialWrite};

const ROUNDS: usize = 201;

#[cfg(feature = "faults")]
const STATES: [(&str, State); 4] = [
    ("unarmed", State::Unarmed),
    ("empty plan", State::EmptyPlan),
    ("1 rule elsewhere", State::Rules(1)),
    ("100 rules elsewhere", State::Rules(100)),
];
#[cfg(not(feature = "faults"))]
const STATES: [(&str, State); 1] = [("off", State::Unarmed)];

fn main() {
    println!("medians of {ROUNDS} interleaved rounds, over the bare file:");
    for len in [64, 4096] {
        let mut files: Vec<(&str, Box<dyn Source>)> = vec![("bare", Box::new(bare()))];
        files.extend(STATES.map(|(name, state)| (name, Box::new(file(state)) as Box<dyn Source>)));
        files.push(("partial-io", Box::new(partial::read())));
        table("read", len, &mut files, |file| file.read(&mut vec![0; len]).is_ok());

        let mut files: Vec<(&str, Box<dyn Sink>)> = vec![("bare", Box::new(bare()))];
        files.extend(STATES.map(|(name, state)| (name, Box::new(file(state)) as Box<dyn Sink>)));
        files.push(("partial-io", Box::new(partial::write())));
        let data = vec![7; len];
        table("write", len, &mut files, |file| file.write(&data).is_ok());
    }
}

trait Rewind {
    fn rewind(&mut self) -> std::io::Result<()>;
}

impl Rewind for File {
    fn rewind(&mut self) -> std::io::Result<()> {
        Seek::rewind(self)
    }
}

macro_rules! around_a_file {
    ($($file:ty),*) => {$(
        impl Rewind for $file {
            fn rewind(&mut self) -> std::io::Result<()> {
                Seek::rewind(self.get_mut())
            }
        }
    )*};
}

around_a_file!(FaultFile, PartialRead<File>, PartialWrite<File>);

trait Source: Read + Rewind {}
impl<F: Read + Rewind> Source for F {}
trait Sink: Write + Rewind {}
impl<F: Write + Rewind> Sink for F {}

fn table<F: Rewind + ?Sized>(
    name: &str,
    len: usize,
    files: &mut [(&str, Box<F>)],
    mut call: impl FnMut(&mut F) -> bool,
) {
    let mut times = vec![Vec::new(); files.len()];
    for _ in 0..ROUNDS {
        for ((_, file), times) in files.iter_mut().zip(&mut times) {
            file.rewind().expect("a file has a start");
            let since = Instant::now();
            for _ in 0..CALLS {
                assert!(call(file), "a call on a RAM-backed file succeeds");
            }
            times.push(since.elapsed().as_nanos() as f64 / CALLS as f64);
        }
    }
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    for ((state, _), nanoseconds) in files.iter().zip(&medians) {
        let ratio = nanoseconds / medians[0];
        println!("{name:<6} {len:>5} {state:<20} {nanoseconds:>8.0} ns {ratio:>6.2}");
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
