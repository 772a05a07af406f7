//! Workloads that are drawn: of an engine whose bug needs its ops in some order proptest finds the smallest
//! list that shows it, and the report shows the smallest loss; the same from bytes that `arbitrary` reads, as a
//! fuzz target is given them. The fixed twin passes.

#[path = "drawn/store.rs"]
mod store;

use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use store::{Op, explored};

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..4u8, any::<u8>()).prop_map(|(key, value)| Op::Put(key, value)),
        (0..4u8).prop_map(Op::Remove),
        Just(Op::Compact),
        Just(Op::Reopen),
    ]
}

/// The same lists in every run.
fn drawn(syncs_names: bool, traces: &Path) -> Result<(), TestError<Vec<Op>>> {
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let ops = prop::collection::vec(op(), 0..8);
    TestRunner::new_with_rng(config, random)
        .run(&ops, |ops| Ok(explored(&ops, syncs_names, traces, &[])?))
}

#[test]
fn a_bug_that_needs_its_ops_in_order_is_shown_by_the_least_of_them() {
    let traces = tempfile::tempdir().unwrap();
    let Err(TestError::Fail(reason, ops)) = drawn(false, traces.path()) else {
        panic!("it was not found")
    };
    // What is put behind a compaction goes to a log that has no durable name yet.
    let least = [Op::Put(0, 0), Op::Compact, Op::Put(0, 1)];
    assert_eq!(ops, least, "{reason}");
    let report = reason.message();
    assert!(report.contains(&format!("store of {least:?} under posix: lost")), "{report}");
    assert!(report.contains("Lost only the rename to log, asked for at "), "{report}");
    assert!(report.contains("minimal: it was given back alone"), "{report}");
    // The token leads back to the disk.
    let token = report.split("FAULTFS_REPLAY=").nth(1).and_then(|rest| rest.split(' ').next());
    let token = token.expect("a line to paste").to_string();
    let again = explored(&ops, false, traces.path(), &[token]).unwrap_err().to_string();
    assert!(again.contains(": lost: 2 was acknowledged"), "{again}");
}

#[test]
fn the_fixed_twin_passes_every_list() {
    let traces = tempfile::tempdir().unwrap();
    drawn(true, traces.path()).unwrap();
    assert_eq!(std::fs::read_dir(traces.path()).unwrap().count(), 0, "nothing failed");
}

/// What a fuzz target does, `fuzz_target!(|ops: Vec<Op>| …)`, with more and more bytes: the first list that
/// fails comes of the fewest.
fn fuzzed(syncs_names: bool, traces: &Path) -> Option<(Vec<Op>, String)> {
    let mut random = fastrand::Rng::with_seed(0);
    (0..160).find_map(|draw| {
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(draw / 2).collect();
        let ops = Vec::<Op>::arbitrary_take_rest(Unstructured::new(&bytes)).ok()?;
        let report = explored(&ops, syncs_names, traces, &[]).err()?;
        Some((ops, report.to_string()))
    })
}

#[test]
fn bytes_of_a_fuzzer_are_a_workload_too() {
    let traces = tempfile::tempdir().unwrap();
    let (ops, report) = fuzzed(false, traces.path()).expect("it was not found");
    assert!(ops.contains(&Op::Compact), "{report}");
    assert!(report.contains("Lost only the rename to log, asked for at "), "{report}");
    assert_eq!(fuzzed(true, traces.path()), None);
}
