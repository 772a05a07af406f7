//! What a pass costs in time; `benches/points.sh` runs it, off and on.

mod points;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use points::{Guard, PASSES, State};

type Case = (&'static str, fn() -> u64, fn(State) -> Guard, &'static [(&'static str, State)]);

const OFF: &[(&str, State)] = &[("off", State::Idle)];
const ON: &[(&str, State)] = &[
    ("idle", State::Idle),
    ("idle, 100 others armed", State::Others),
    ("armed elsewhere", State::Elsewhere),
    ("armed: off", State::Here("off")),
    ("armed: return", State::Here("return")),
    ("armed: return(value)", State::Here("return(value)")),
];

fn time(criterion: &mut Criterion) {
    println!("build: {}", build());
    let states = if faultpoint::has_failpoints() { ON } else { OFF };
    let cases: [Case; 4] = [
        ("bare", points::bare, |_| Box::new(()), OFF),
        ("faultpoint", points::faultpoint, points::arm_faultpoint, states),
        ("fail", points::fail_0_5, points::arm_fail, states),
        ("fail-parallel", points::fail_parallel, points::arm_fail_parallel, states),
    ];
    let mut group = criterion.benchmark_group("points");
    group.throughput(Throughput::Elements(PASSES));
    for (library, run, arm, states) in cases {
        for (name, state) in states {
            if library == "fail" && matches!(state, State::Elsewhere) {
                continue;
            }
            let guard = arm(*state);
            group.bench_function(format!("{library}/{name}"), |b| b.iter(|| black_box(run())));
            drop(guard);
        }
    }
    group.finish();
}

/// Whether sites are compiled in, by library.
fn build() -> String {
    let state = |is_on| if is_on { "on" } else { "off" };
    format!(
        "faultpoint {}, fail {}, fail-parallel {}",
        state(faultpoint::has_failpoints()),
        state(fail::has_failpoints()),
        state(fail_parallel::has_failpoints())
    )
}

criterion_group!(benches, time);
criterion_main!(benches);
