//! What an unarmed `FaultFile` costs in time: medians of interleaved rounds, so that the machine's mood
//! meets both.
//!
//! `cargo bench --bench fault_file_medians`

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use faultfs::FaultFile;
use faultfs::session::Session;

const ROUNDS: usize = 201;
const CALLS: u32 = 1000;

fn main() {
    let session = Session::new().expect("a RAM-backed folder");
    let open = |name: &str| {
        let path = session.path().join(name);
        File::options().read(true).write(true).create(true).truncate(true).open(path)
    };
    let bare = open("bare").expect("a file");
    let unarmed = FaultFile::from(open("unarmed").expect("a file"));
    println!(
        "{:<12} {:>6} {:>10} {:>10} {:>7}   ({ROUNDS} rounds, medians)",
        "call", "bytes", "bare ns", "unarmed ns", "ratio"
    );
    for len in [64, 4096] {
        let (data, mut buf) = (vec![7; len], vec![0; len]);
        row(
            "write_at",
            len,
            || bare.write_at(&data, 0).is_ok(),
            || unarmed.write_at(&data, 0).is_ok(),
        );
        let mut again = vec![0; len];
        row(
            "read_at",
            len,
            || bare.read_at(&mut buf, 0).is_ok(),
            || unarmed.read_at(&mut again, 0).is_ok(),
        );
    }
}

fn row(call: &str, len: usize, mut bare: impl FnMut() -> bool, mut unarmed: impl FnMut() -> bool) {
    let (mut of_bare, mut of_unarmed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_bare.push(round(&mut bare));
        of_unarmed.push(round(&mut unarmed));
    }
    let (bare, unarmed) = (median(of_bare), median(of_unarmed));
    println!("{call:<12} {len:>6} {bare:>10.0} {unarmed:>10.0} {:>7.2}", unarmed / bare);
}

/// Nanoseconds a call.
fn round(call: &mut dyn FnMut() -> bool) -> f64 {
    let since = Instant::now();
    for _ in 0..CALLS {
        assert!(call(), "a call on a RAM-backed file succeeds");
    }
    since.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
