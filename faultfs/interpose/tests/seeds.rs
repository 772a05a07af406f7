//! What makes runs differ, served from the seed.

#![allow(unsafe_code, reason = "calls of C")]

#[allow(dead_code, reason = "this test does not look at the words")]
mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use common::Recording;
use faultfs_interpose::Session;

/// Everything that this test can draw.
fn drawn() -> (Vec<u8>, Vec<u64>) {
    let mut bytes = vec![0; 40];
    // SAFETY: the ranges lie in `bytes`.
    unsafe {
        assert_eq!(libc::getrandom(bytes.as_mut_ptr().cast(), 5, 0), 5);
        assert_eq!(libc::getentropy(bytes[5..].as_mut_ptr().cast(), 8), 0);
        assert_eq!(libc::syscall(libc::SYS_getrandom, bytes[13..].as_mut_ptr(), 7usize, 0), 7);
    }
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes[20..]).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // SAFETY: the addresses are those of locals.
    let (time, micros) = unsafe {
        let mut now = libc::timeval { tv_sec: 0, tv_usec: 0 };
        assert_eq!(libc::gettimeofday(&raw mut now, std::ptr::null_mut()), 0);
        (libc::time(std::ptr::null_mut()), now.tv_usec)
    };
    (bytes, vec![now.as_nanos() as u64, time as u64, micros as u64])
}

fn a_number_that_libc_closed_is_no_longer_random() {
    let random = File::open("/dev/urandom").unwrap().into_raw_fd();
    let mut ends = [0; 2];
    // SAFETY: the descriptor becomes the stream's, and each is closed once; the array is a local.
    let (mut read, mut write) = unsafe {
        assert_eq!(libc::fclose(libc::fdopen(random, c"r".as_ptr())), 0);
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
    };
    assert!(ends.contains(&random));
    write.write_all(b"piped").unwrap();
    let mut piped = [0; 5];
    read.read_exact(&mut piped).unwrap();
    assert_eq!(&piped, b"piped");
}

#[test]
fn a_seed_decides_random_bytes_and_the_wall_clock_while_a_session_is_active() {
    let outside = drawn();
    let recorded = |seed: u64| {
        let recording = Recording::new();
        let options = faultfs_interpose::Options { seed, ..recording.options(false) };
        let session = Session::start(&options).unwrap();
        let drawn = drawn();
        a_number_that_libc_closed_is_no_longer_random();
        let start = Instant::now();
        while start.elapsed().as_micros() < 100 {}
        session.finish();
        drawn
    };
    let (bytes, times) = recorded(1);
    assert_eq!((&bytes, &times), (&recorded(1).0, &recorded(1).1));
    assert_ne!(bytes, recorded(2).0);
    assert_eq!(times, [1_704_067_200_000_000_000, 1_704_067_200, 1]);
    assert!(bytes.chunks(8).all(|chunk| chunk.iter().any(|&byte| byte != 0)));
    let after = drawn();
    assert_ne!(outside.0, after.0);
    assert_ne!(after.0, drawn().0);
    assert!(after.1[0] > times[0] && after.1[1] > times[1]);
}
