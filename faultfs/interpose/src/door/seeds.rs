//! What makes two runs differ, served from a seed: random bytes and the wall clock.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::*};

use super::inodes::RANDOM;
use super::sys::{self, Returned};
use super::{Call, DOOR};

/// The first time that the wall clock tells: the start of the year 2024.
const EPOCH_SECONDS: u64 = 1_704_067_200;
const STEP_NANOS: u64 = 1_000;
const NANOS: u64 = 1_000_000_000;

/// Two counters: async-signal-safe without a lock, and the same sequence for the same calls.
pub(crate) struct Seeds {
    random: AtomicU64,
    ticks: AtomicU64,
}

impl Seeds {
    pub(crate) const fn new() -> Self {
        Self { random: AtomicU64::new(0), ticks: AtomicU64::new(0) }
    }

    pub(crate) fn start(&self, seed: u64) {
        self.random.store(seed, Relaxed);
        self.ticks.store(0, Relaxed);
    }

    /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014):
    /// a counter and a mixing function, so that threads need no lock between them.
    fn next(&self) -> u64 {
        let mut word = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Relaxed);
        word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ word >> 31
    }

    /// Nanoseconds since 1970, a step later at each call.
    fn now(&self) -> (u64, u64) {
        let nanos = self.ticks.fetch_add(1, Relaxed) * STEP_NANOS;
        (EPOCH_SECONDS + nanos / NANOS, nanos % NANOS)
    }

    /// Fills memory that the program answers for.
    fn fill(&self, address: usize, len: usize) {
        let into = ptr::with_exposed_provenance_mut::<u8>(address);
        for at in (0..len).step_by(8) {
            let bytes = self.next().to_le_bytes();
            // SAFETY: the program asked for `len` bytes at `address`, see `Call::new`.
            unsafe {
                ptr::copy_nonoverlapping(bytes.as_ptr(), into.add(at), bytes.len().min(len - at))
            };
        }
    }
}

/// `read`: of the kernel's random devices only.
pub(super) fn read(call: Call) -> Returned {
    if DOOR.fds.get(call.fd(0)) != RANDOM {
        return call.perform();
    }
    // Closed inside libc, unseen, the number may be anybody's by now.
    if !sys::fstat(call.fd(0)).is_ok_and(|stat| stat.is_random()) {
        DOOR.fds.set(call.fd(0), 0);
        return call.perform();
    }
    DOOR.seeds.fill(call.args[1], call.args[2]);
    call.args[2] as Returned
}

/// `getrandom`.
pub(super) fn random(call: Call) -> Returned {
    DOOR.seeds.fill(call.args[0], call.args[1]);
    call.args[1] as Returned
}

/// `clock_gettime`: of the wall clock only. Clocks that measure spans pass on.
pub(super) fn clock(call: Call) -> Returned {
    match call.fd(0) {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => {
            let (seconds, nanos) = DOOR.seeds.now();
            let into = ptr::with_exposed_provenance_mut::<libc::timespec>(call.args[1]);
            // SAFETY: the program answers for the address, see `Call::new`.
            unsafe { into.write(libc::timespec { tv_sec: seconds as i64, tv_nsec: nanos as i64 }) };
            0
        }
        _ => call.perform(),
    }
}

/// Whether the wall clock is ours to tell.
pub(crate) fn serves() -> bool {
    DOOR.is_active()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_sequence() {
        let seeds = Seeds::new();
        seeds.start(1_234_567);
        // The reference implementation's first outputs for this seed.
        assert_eq!(seeds.next(), 6_457_827_717_110_365_317);
        assert_eq!(seeds.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_wall_clock_advances_by_its_step() {
        let seeds = Seeds::new();
        assert_eq!(seeds.now(), (EPOCH_SECONDS, 0));
        assert_eq!(seeds.now(), (EPOCH_SECONDS, STEP_NANOS));
    }
}
