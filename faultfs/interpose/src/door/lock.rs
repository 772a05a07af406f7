//! The one lock of the door: a futex that may be taken inside a signal handler.
//!
//! Its owner is written into it, so that a signal handler that interrupts the door on its own
//! thread is told so instead of waiting for itself for ever.

use std::sync::atomic::{AtomicU32, Ordering::*};

use super::sys;

const WAITED_FOR: u32 = 1 << 31;
const SPINS: u32 = 64;

pub(crate) struct Lock(AtomicU32);

impl Lock {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// False when this thread holds it already.
    pub(crate) fn acquire(&self, thread: u32) -> bool {
        for _ in 0..SPINS {
            match self.0.compare_exchange_weak(0, thread, Acquire, Relaxed) {
                Ok(_) => return true,
                Err(seen) if seen & !WAITED_FOR == thread => return false,
                Err(_) => std::hint::spin_loop(),
            }
        }
        loop {
            // Whoever comes this way cannot know who else waits, so it takes the lock as waited for.
            let seen = self.0.load(Relaxed);
            if seen == 0 {
                if self.0.compare_exchange(0, thread | WAITED_FOR, Acquire, Relaxed).is_ok() {
                    return true;
                }
                continue;
            }
            let marked = seen | WAITED_FOR;
            if seen == marked || self.0.compare_exchange(seen, marked, Relaxed, Relaxed).is_ok() {
                self.futex(libc::FUTEX_WAIT, marked);
            }
        }
    }

    pub(crate) fn release(&self) {
        if self.0.swap(0, Release) & WAITED_FOR != 0 {
            self.futex(libc::FUTEX_WAKE, 1);
        }
    }

    fn futex(&self, operation: i32, value: u32) {
        let word = self.0.as_ptr().expose_provenance();
        let operation = (operation | libc::FUTEX_PRIVATE_FLAG) as usize;
        // SAFETY: the word lives as long as `self`; no timeout is given.
        unsafe { sys::raw(libc::SYS_futex, sys::args([word, operation, value as usize])) };
    }
}

#[cfg(test)]
mod tests {
    use std::cell::UnsafeCell;

    use super::*;

    struct Guarded(Lock, UnsafeCell<u64>);
    // SAFETY: the cell is only touched with the lock held.
    unsafe impl Sync for Guarded {}

    #[test]
    fn one_thread_at_a_time_and_none_is_forgotten() {
        static GUARDED: Guarded = Guarded(Lock::new(), UnsafeCell::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let thread = sys::thread();
                    for _ in 0..20_000 {
                        assert!(GUARDED.0.acquire(thread));
                        // SAFETY: the lock is held.
                        unsafe { *GUARDED.1.get() += 1 };
                        GUARDED.0.release();
                    }
                });
            }
        });
        // SAFETY: the threads have ended.
        assert_eq!(unsafe { *GUARDED.1.get() }, 80_000);
    }

    #[test]
    fn its_holder_is_refused_a_second_time() {
        let lock = Lock::new();
        assert!(lock.acquire(7));
        assert!(!lock.acquire(7));
        lock.release();
        assert!(lock.acquire(7));
    }
}
