//! What a pass costs in instructions, counted by callgrind; `benches/points.sh` runs it, off and
//! on. Needs valgrind, and the gungraun-runner of the version in Cargo.lock.

// The attributes make undocumented items.
#![allow(missing_docs)]

mod points;

use std::hint::black_box;

use gungraun::prelude::*;
use points::{Guard, State};

fn nothing() -> Guard {
    Box::new(())
}

#[library_benchmark]
#[bench::off(setup = nothing)]
fn bare(guard: Guard) -> Guard {
    black_box(points::bare());
    guard
}

#[library_benchmark(setup = points::arm_faultpoint)]
#[bench::idle(State::Idle)]
#[bench::others(State::Others)]
#[bench::elsewhere(State::Elsewhere)]
#[bench::armed_off(State::Here("off"))]
#[bench::armed_return(State::Here("return"))]
#[bench::armed_return_value(State::Here("return(value)"))]
fn faultpoint(guard: Guard) -> Guard {
    black_box(points::faultpoint());
    guard
}

#[library_benchmark(setup = points::arm_fail)]
#[bench::idle(State::Idle)]
#[bench::others(State::Others)]
#[bench::armed_off(State::Here("off"))]
#[bench::armed_return(State::Here("return"))]
#[bench::armed_return_value(State::Here("return(value)"))]
fn fail(guard: Guard) -> Guard {
    black_box(points::fail_0_5());
    guard
}

#[library_benchmark(setup = points::arm_fail_parallel)]
#[bench::idle(State::Idle)]
#[bench::others(State::Others)]
#[bench::elsewhere(State::Elsewhere)]
#[bench::armed_off(State::Here("off"))]
#[bench::armed_return(State::Here("return"))]
#[bench::armed_return_value(State::Here("return(value)"))]
fn fail_parallel(guard: Guard) -> Guard {
    black_box(points::fail_parallel());
    guard
}

// The group's name, which is printed with each case, says what the build is.
#[cfg(feature = "failpoints")]
library_benchmark_group!(name = on, benchmarks = [bare, faultpoint, fail, fail_parallel]);
#[cfg(feature = "failpoints")]
main!(library_benchmark_groups = on);

#[cfg(not(feature = "failpoints"))]
library_benchmark_group!(name = off, benchmarks = [bare, faultpoint, fail, fail_parallel]);
#[cfg(not(feature = "failpoints"))]
main!(library_benchmark_groups = off);
