//! Workloads that are drawn, one line each: of an engine whose bug needs its steps in some order or of some size,
//! proptest finds the least that shows it, and the report shows the least loss; the same from bytes that
//! `arbitrary` reads, as a fuzz target is given them. The fixed twins pass.

#[path = "drawn/engines.rs"]
mod engines;

use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use engines::{Document, Journal, Store, content};
use faultfs::explore::Explore;
use faultfs::fs::FaultFs;
use faultfs::oracle::Step::{Do, Restart, Tidy};
use faultfs::oracle::{Batch, Batches, Length, Records, Uncrashed, Workload};
use faultfs::{Result, explore, sweep};
use proptest::prelude::any;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

/// The least of 40 drawn workloads that fails, with its report; the same in every run.
fn least<T>(test: impl Fn(&T) -> Result<()>) -> Option<(T, String)>
where
    T: proptest::arbitrary::Arbitrary + std::fmt::Debug + 'static,
{
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let run = TestRunner::new_with_rng(config, random).run(&any::<T>(), |work| Ok(test(&work)?));
    match run {
        Ok(()) => None,
        Err(TestError::Fail(reason, work)) => Some((work, reason.message().to_string())),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// As a drawn workload is explored.
fn small<D: faultfs::explore::Door>(explore: Explore<D>, traces: &Path) -> Explore<D> {
    explore.traces(traces).budget(150).samples(20).in_process()
}

fn of_store(work: &Batches, fixed: bool, traces: &Path, tokens: &[String]) -> Result<()> {
    let open = |fs: &FaultFs| Store::open(fs, fixed);
    let run = explore(|fs| work.run(fs, open, Store::write, Store::compact));
    small(run.named("store").given(work).tokens(tokens), traces)
        .try_check(|fs, marks| work.key_value().check(&content(fs)?, marks))
}

#[test]
fn a_bug_that_needs_its_steps_in_order_is_shown_by_the_least_of_them() {
    let traces = tempfile::tempdir().unwrap();
    let found = least(|work: &Batches| of_store(work, false, traces.path(), &[]));
    let (work, report) = found.expect("it was not found");
    // What is put behind a compaction goes to a log that has no durable name yet.
    let put = Do(Batch(vec![(0, Some(1))]));
    assert_eq!(work, Workload(vec![Tidy, put]), "{report}");
    assert!(report.contains(&format!("store of {work:?} under posix: lost")), "{report}");
    assert!(report.contains("Lost only the rename to log, asked for at "), "{report}");
    assert!(report.contains(", acknowledged at faultfs/tests/properties.rs:"), "{report}");
    assert!(report.contains("minimal: it was given back alone"), "{report}");
    // The token leads back to the disk.
    let token = report.split("FAULTFS_REPLAY=").nth(1).and_then(|rest| rest.split(' ').next());
    let token = token.expect("a line to paste").to_string();
    let again = of_store(&work, false, traces.path(), &[token]).unwrap_err().to_string();
    assert!(again.contains(": lost: 1 was acknowledged"), "{again}");

    let traces = tempfile::tempdir().unwrap();
    assert_eq!(least(|work: &Batches| of_store(work, true, traces.path(), &[])), None);
    assert_eq!(std::fs::read_dir(traces.path()).unwrap().count(), 0, "nothing failed");
}

#[test]
fn a_log_that_forgets_its_syncs_after_a_restart_is_shown_by_one_record() {
    let traces = tempfile::tempdir().unwrap();
    let run = |work: &Records, fixed: bool| {
        let open = |fs: &FaultFs| Journal::open(fs, fixed);
        let run = explore(|fs| work.run(fs, open, Journal::append, |_| Ok(())));
        small(run.named("journal").given(work), traces.path())
            .try_check(|fs, marks| work.log().check(&Journal::records(fs), marks))
    };
    let (work, report) = least(|work| run(work, false)).expect("it was not found");
    assert_eq!(work, Workload(vec![Restart, Do(Length(1))]), "{report}");
    assert_eq!(least(|work| run(work, true)), None);
}

#[test]
fn a_value_that_is_replaced_in_place_where_it_is_small_is_shown_by_one() {
    let traces = tempfile::tempdir().unwrap();
    let run = |work: &Records, fixed: bool| {
        let open = |fs: &FaultFs| Document::open(fs, fixed);
        let run = explore(|fs| work.run(fs, open, Document::save, |_| Ok(())));
        small(run.named("document").given(work), traces.path())
            .try_check(|fs, marks| work.replaced().check(fs.read("document").ok(), marks))
    };
    let (work, report) = least(|work| run(work, false)).expect("it was not found");
    assert_eq!(work, Workload(vec![Do(Length(1))]), "{report}");
    assert_eq!(least(|work| run(work, true)), None);
}

/// No oracle of the engine's own: bytes as in some run that did not crash, and that it opens at all.
#[test]
fn where_nothing_is_known_of_an_engine_a_drawn_workload_is_compared_with_itself() {
    let traces = tempfile::tempdir().unwrap();
    let run = |work: &Records, fixed: bool| {
        let saved = work.clone();
        let workload = move |fs: &FaultFs| {
            saved.run(fs, |fs| Document::open(fs, fixed), Document::save, |_| Ok(()))
        };
        let bytes = |fs: &FaultFs| Ok(fs.read("document").ok());
        let mut uncrashed = Uncrashed::of(workload.clone(), bytes);
        small(explore(workload).named("document").given(work), traces.path())
            .try_check(|fs, marks| uncrashed.check(&bytes(fs)?, marks))
    };
    let (work, report) = least(|work| run(work, false)).expect("it was not found");
    assert_eq!(work.0.len(), 1, "{report}");
    assert_eq!(least(|work| run(work, true)), None);
    let opens = |work: &Records, fixed: bool| {
        let open = |fs: &FaultFs| Journal::open(fs, fixed);
        let run = explore(|fs| work.run(fs, open, Journal::append, |_| Ok(())));
        small(run.named("journal").given(work), traces.path()).try_check(|fs, _| {
            let bytes = fs.read("journal").unwrap_or_default();
            let whole: usize = Journal::records(fs).iter().map(|record| record.len() + 8).sum();
            match fixed || whole == bytes.len() {
                true => Ok(()),
                false => Err(std::io::Error::other("the tail is torn").into()),
            }
        })
    };
    let (work, report) = least(|work| opens(work, false)).expect("it was not found");
    assert_eq!(work, Workload(vec![Do(Length(1)), Do(Length(1))]), "{report}");
    assert_eq!(least(|work| opens(work, true)), None);
}

/// The same workloads under faults: a log that goes on behind a record that failed.
#[test]
fn a_drawn_workload_is_swept_by_the_same_line() {
    let traces = tempfile::tempdir().unwrap();
    let run = |work: &Records, looks: bool| {
        let open = |fs: &FaultFs| Journal::open(fs, true);
        let append = |journal: &mut Journal, record| match journal.append(record) {
            Err(error) if looks => Err(error),
            _ => Ok(()),
        };
        sweep(|fs| work.run(fs, open, append, |_| Ok(())))
            .named("journal")
            .given(work)
            .traces(traces.path())
            .faults([faultfs::sweep::Group::Io])
            .in_process()
            .try_check(|fs, marks| work.log().check(&Journal::records(fs), marks))
    };
    let (work, report) = least(|work| run(work, false)).expect("it was not found");
    assert_eq!(work, Workload(vec![Do(Length(1))]), "{report}");
    assert!(report.contains("fault: write journal take 1 -> fail"), "{report}");
    assert_eq!(least(|work| run(work, true)), None);
}

/// What a fuzz target does, `fuzz_target!(|work: Batches| …)`, with more and more bytes: the first workload that
/// fails comes of the fewest.
fn fuzzed(fixed: bool, traces: &Path) -> Option<(Batches, String)> {
    let mut random = fastrand::Rng::with_seed(0);
    (0..160).find_map(|draw| {
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(draw).collect();
        let work = Batches::arbitrary_take_rest(Unstructured::new(&bytes)).ok()?;
        let report = of_store(&work, fixed, traces, &[]).err()?;
        Some((work, report.to_string()))
    })
}

#[test]
fn bytes_of_a_fuzzer_are_a_workload_too() {
    let traces = tempfile::tempdir().unwrap();
    let (work, report) = fuzzed(false, traces.path()).expect("it was not found");
    assert!(work.0.contains(&Tidy), "{report}");
    assert!(report.contains("Lost only the rename to log, asked for at "), "{report}");
    assert_eq!(fuzzed(true, traces.path()), None);
}
