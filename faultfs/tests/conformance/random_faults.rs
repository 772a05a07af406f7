//! Long random sequences under random faults: memory and a folder must still answer the same, and what the
//! record says must be what is there. `FAULTFS_OPS` sets how many ops.

use fastrand::Rng;
use faultfs::FaultFs;
use faultfs::plan::{OpKind, Plan};

use crate::ask::Ask;
use crate::random::sequence;
use crate::world::Faulty;

/// Ops of a normal test run.
const OPS: usize = 30_000;
/// Asks of a sequence after which another rule is armed or the page cache evicted.
const PIECE: usize = 15;

#[test]
fn memory_and_folder_agree_under_random_faults() {
    let total = match std::env::var("FAULTFS_OPS") {
        Ok(text) => text.parse().expect("FAULTFS_OPS is a number of ops"),
        Err(_) => OPS,
    };
    let (mut asked, mut fired, mut seed) = (0, 0, 0);
    while asked < total {
        let asks = sequence(seed);
        asked += asks.len();
        fired += run(seed, &asks);
        seed += 1;
    }
    assert!(fired * 20 > asked as u64, "only {fired} faults in {asked} ops: a weak generator");
}

/// How many faults there were.
fn run(seed: u64, asks: &[Ask]) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Faulty::new(FaultFs::mem());
    let mut real = Faulty::new(FaultFs::real(folder.path()).unwrap());
    let mut armed = Vec::new();
    for (index, ask) in asks.iter().enumerate() {
        let said = || format!("seed {seed}, ask {index}, under {armed:#?}: {ask:?}");
        if index > 0 && index.is_multiple_of(PIECE) {
            if rng.u8(..4) == 0 {
                let path = ["c", "d", "a/c", "a/b"][rng.usize(..4)];
                let evict = |world: &Faulty| world.fs.evict(path).map_err(|e| e.raw_os_error());
                assert_eq!(evict(&memory), evict(&real), "{}: evict {path}", said());
            }
            if rng.u8(..8) == 0 {
                [&memory, &real].into_iter().for_each(|world| world.fs.injector().disarm());
            }
            let plan = plan(&mut rng);
            [&memory, &real].into_iter().for_each(|world| world.fs.arm(plan.clone()));
            armed.push(plan.to_string());
        }
        let (one, other) = (memory.run(ask), real.run(ask));
        let said = || format!("seed {seed}, ask {index}, under {armed:#?}: {ask:?}");
        assert_eq!(one, other, "{}", said());
    }
    assert_eq!(memory.fs.disk().digest(), real.fs.disk().digest(), "seed {seed}");
    assert_eq!(memory.fs.injector().fired(), real.fs.injector().fired(), "seed {seed}");
    for world in [&memory, &real] {
        let trace = world.fs.take_trace();
        assert_eq!(trace.unmodelled, [""; 0], "seed {seed}, under {armed:#?}");
        assert_eq!(trace.replay().digest(), world.fs.disk().digest(), "seed {seed}");
    }
    memory.fs.injector().fired()
}

fn plan(rng: &mut Rng) -> Plan {
    let errno = ["EIO", "ENOSPC", "EDQUOT", "EROFS", "ESTALE"][rng.usize(..5)];
    let part = format!(
        "{} {}",
        rng.u8(..9),
        ["bytes", "sectors", "pages", "units of 700"][rng.usize(..4)]
    );
    let leaving = ["", " leaving zeros", " leaving garbage 5"][rng.usize(..3)];
    let told = [errno, "silently"][rng.usize(..2)];
    let at = rng.u64(..9000);
    let profile = ["ext4-ordered", "ext4-data-journal", "xfs", "btrfs", "freebsd"][rng.usize(..5)];
    let told_sync = ["caller", "caller-later", "first-opener", "nobody"][rng.usize(..4)];
    let pages = ["clean", "reverted", "dirty"][rng.usize(..3)];
    let size = ["persisted", "reverted"][rng.usize(..2)];
    let moves = ["read", "write"][rng.usize(..2)];
    let read = ["read", "load"][rng.usize(..2)];
    let sync = ["sync", "msync"][rng.usize(..2)];
    let change = loop {
        let kind = OpKind::ALL[rng.usize(..OpKind::ALL.len())];
        if kind.is_change() && kind != OpKind::Store {
            break kind;
        }
    };
    let (op, fault) = match rng.u8(..20) {
        0 | 1 => (OpKind::ALL[rng.usize(..OpKind::ALL.len())].word(), format!("fail {errno}")),
        2 | 3 => (change.word(), format!("fail-after {errno}")),
        4 => ("write", format!("torn {part}{leaving} {told}")),
        5 => ("write", format!("torn last {part}{leaving} {told}")),
        6 => ("write", format!("torn hole {part} after {}{leaving} {told}", rng.u8(..4))),
        7 => ("write", "lose".into()),
        8 => (moves, format!("misdirect to {at}")),
        9 => (["load", moves][rng.usize(..2)], format!("misdirect to {at} of d")),
        10 => (moves, format!("short {}", rng.u8(1..))),
        11 => (read, format!("flip {at}")),
        12 => (read, format!("garbage {at}..{} seed 3", at + 100)),
        13 => (read, ["stale write", "stale sync"][rng.usize(..2)].into()),
        14 => (read, format!("latent {at}..{} {errno}", at + 100)),
        15 => ("set-len", format!("grow {part} {errno}")),
        16 => ("rename", format!("both-names {errno}")),
        17 => (sync, format!("fail-sync {errno} as {profile}")),
        18 => (
            sync,
            format!("fail-sync {errno} pages {pages} told {told_sync} size {size} then go-on"),
        ),
        _ => (sync, "lie".into()),
    };
    let when = ["take 3", "per-file take 1", "sometimes 1/3 seed 4"][rng.usize(..3)];
    format!("{op} * {when} optional -> {fault}").parse().unwrap()
}
