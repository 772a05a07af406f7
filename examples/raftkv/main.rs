//! A small replicated store in one process, with fail points where a storage engine wants them: at
//! the submission of a write and at its end, where a snapshot has come, at the creation of an
//! iterator and in the middle of its scan. Each scene arms one of them and checks what a client
//! sees.
//!
//! ```sh
//! cargo run --example raftkv --features failpoints
//! cargo run --example raftkv
//! ```

mod engine;
mod faulty;
mod raftkv;
mod scheduler;

use std::sync::Arc;

use engine::{Context, Engine, Error, IterOptions, Key, Modify, Result, ScanMode, Snapshot, Value};
use faultpoint::{Scenario, Scope, Sweep};
use faulty::Faulty;
use raftkv::{RaftKv, TERM};
use scheduler::{Scan, Scheduler, outcome_of};

fn main() {
    without_faults();
    a_disk_fails_in_the_middle_of_a_scan();
    if !faultpoint::has_failpoints() {
        println!("fail points are off: nothing was injected");
        return;
    }
    a_write_fails_at_submission();
    a_write_fails_through_its_callback();
    a_write_is_never_answered();
    a_write_is_held_up();
    a_client_panics_as_it_submits();
    the_scheduler_panics_when_a_snapshot_has_come();
    an_iterator_fails_at_creation();
    an_iterator_fails_in_the_middle();
    an_iterator_fails_at_creation_and_then_in_the_middle();
    one_store_of_two_is_fuzzed_while_the_other_fails_for_certain();
    every_pass_of_every_point_fails();
}

/// A store, its scheduler, and the little that the scenes ask of them.
struct Node {
    scheduler: Scheduler<RaftKv>,
    store: Arc<RaftKv>,
}

impl Node {
    fn start() -> Node {
        let store = Arc::new(RaftKv::open());
        Node { scheduler: Scheduler::start(Arc::clone(&store)), store }
    }

    fn put(&self, key: &str, value: &str) -> Result<()> {
        let modifies = vec![Modify::Put(key.into(), value.into())];
        outcome_of(|cb| self.store.async_write(&Context { term: TERM }, modifies, cb))
    }

    fn delete(&self, key: &str) -> Result<()> {
        let modifies = vec![Modify::Delete(key.into())];
        outcome_of(|cb| self.store.async_write(&Context { term: TERM }, modifies, cb))
    }

    fn snapshot(&self) -> Result<<RaftKv as Engine>::Snap> {
        outcome_of(|cb| self.store.async_snapshot(&Context { term: TERM }, cb))
    }

    fn get(&self, key: &str) -> Result<Option<Value>> {
        self.snapshot()?.get(key.as_bytes())
    }

    fn scan(&self) -> Result<Vec<(Key, Value)>> {
        scan(&self.scheduler)
    }
}

fn scan<E: Engine + Send + Sync + 'static>(scheduler: &Scheduler<E>) -> Result<Vec<(Key, Value)>> {
    outcome_of(|cb| {
        scheduler.run(Scan { start: Key::new(), cb });
        Ok(())
    })
}

fn without_faults() {
    let node = Node::start();
    node.put("a", "1").unwrap();
    node.put("b", "2").unwrap();
    node.delete("a").unwrap();
    assert_eq!(node.scan().unwrap(), [(b"b".to_vec(), b"2".to_vec())]);
    let snapshot = node.snapshot().unwrap();
    let stale = Context { term: TERM - 1 };
    let refused = outcome_of(|cb| node.store.async_write(&stale, Vec::new(), cb));
    assert_eq!(refused, Err(Error::NotLeader));
    let backward = snapshot.iter(IterOptions::default(), ScanMode::Backward).unwrap();
    assert_eq!(backward.count(), 1);
    println!("without faults: what was written is read");
}

/// Four pairs, and the same store with scans that meet a bad block at the third.
fn with_a_bad_block() -> (Node, Arc<Faulty>) {
    let node = Node::start();
    for key in ["a", "b", "c", "d"] {
        node.put(key, "1").unwrap();
    }
    let store = Arc::clone(&node.store);
    let faulty = Faulty { store, spoil: |scan| scan.fail(2, Error::Io("bad block".to_owned())) };
    (node, Arc::new(faulty))
}

fn a_disk_fails_in_the_middle_of_a_scan() {
    let (node, faulty) = with_a_bad_block();
    let scheduler = Scheduler::start(Arc::clone(&faulty));
    assert_eq!(scan(&scheduler), Err(Error::Io("bad block".to_owned())), "all of it, or an error");
    // A client that leaves errors out has two of four pairs, and no word of it.
    let snapshot = outcome_of(|cb| faulty.async_snapshot(&Context { term: TERM }, cb)).unwrap();
    let cursor = snapshot.iter(IterOptions::default(), ScanMode::Forward).unwrap();
    assert_eq!(cursor.flatten().count(), 2);
    assert_eq!(node.scan().unwrap().len(), 4, "the store itself is whole");
    println!("FaultIter: a scan failed in the middle, and its client was told");
}

fn an_iterator_fails_at_creation_and_then_in_the_middle() {
    let faults = Scenario::new();
    let (_node, faulty) = with_a_bad_block();
    let scheduler = Scheduler::start(faulty);
    faults.arm("raftkv_snapshot_iter", "1*return(NotLeader)");
    assert_eq!(scan(&scheduler), Err(Error::NotLeader));
    assert_eq!(scan(&scheduler), Err(Error::Io("bad block".to_owned())));
    faults.finish();
    println!("raftkv_snapshot_iter, FaultIter: no iterator, then one that fails in its middle");
}

fn a_write_fails_at_submission() {
    let faults = Scenario::new();
    let node = Node::start();
    faults.arm("raftkv_async_write", "1*return(NotLeader)");
    assert_eq!(node.put("a", "1"), Err(Error::NotLeader));
    assert_eq!(node.get("a"), Ok(None));
    assert_eq!(node.put("a", "1"), Ok(()), "a client may retry what was refused");
    faults.finish();
    println!("raftkv_async_write: refused, not applied, retried");
}

fn a_write_fails_through_its_callback() {
    let faults = Scenario::new();
    let node = Node::start();
    faults.arm("raftkv_async_write_finish", "1*return(Stale)");
    assert_eq!(node.put("a", "1"), Err(Error::Stale));
    assert_eq!(node.get("a"), Ok(None));
    faults.finish();
    println!("raftkv_async_write_finish: accepted, then replaced, not applied");
}

fn a_write_is_never_answered() {
    let faults = Scenario::new();
    let node = Node::start();
    faults.arm("raftkv_async_write_finish", "1*return(lost)");
    assert_eq!(node.put("a", "1"), Err(Error::Unknown));
    assert_eq!(node.get("a"), Ok(Some(b"1".to_vec())), "not answered does not mean not applied");
    faults.finish();
    println!("raftkv_async_write_finish: never answered, and applied all the same");
}

fn a_write_is_held_up() {
    let faults = Scenario::new();
    let node = Arc::new(Node::start());
    let write = faults.arm("raftkv_async_write", "1*pause");
    let client = Arc::clone(&node);
    let client = Scope::current().spawn(move || client.put("a", "1"));
    write.wait_paused(1);
    assert_eq!(node.get("a"), Ok(None), "a write that is held up is not visible");
    write.release();
    assert_eq!(client.join().unwrap(), Ok(()));
    assert_eq!(node.get("a"), Ok(Some(b"1".to_vec())));
    faults.finish();
    println!("raftkv_async_write: held up, not visible until it went on");
}

fn a_client_panics_as_it_submits() {
    let faults = Scenario::new();
    let node = Arc::new(Node::start());
    faults.arm("raftkv_async_write", "1*panic");
    let client = Arc::clone(&node);
    let client = Scope::current().spawn(move || client.put("a", "1"));
    let panic = client.join().unwrap_err();
    assert_eq!(*panic.downcast::<String>().unwrap(), "failpoint raftkv_async_write panic");
    assert_eq!(node.put("b", "2"), Ok(()), "the store serves its other clients");
    faults.finish();
    println!("raftkv_async_write: one client panicked, the next was served");
}

fn the_scheduler_panics_when_a_snapshot_has_come() {
    let faults = Scenario::new();
    let node = Node::start();
    node.put("a", "1").unwrap();
    faults.arm("scheduler_async_snapshot_finish", "1*panic");
    assert_eq!(node.scan(), Err(Error::Unknown), "the client is told, it does not wait for ever");
    assert_eq!(node.scan(), Err(Error::Unknown));
    assert_eq!(node.get("a"), Ok(Some(b"1".to_vec())), "the store outlives its scheduler");
    faults.finish();
    println!("scheduler_async_snapshot_finish: the scheduler panicked, no client hangs");
}

fn an_iterator_fails_at_creation() {
    let faults = Scenario::new();
    let node = Node::start();
    faults.arm("raftkv_snapshot_iter", "1*return(bad block)");
    assert_eq!(node.scan(), Err(Error::Io("bad block".to_owned())));
    assert_eq!(node.scan(), Ok(Vec::new()));
    faults.finish();
    println!("raftkv_snapshot_iter: no iterator, then one");
}

fn an_iterator_fails_in_the_middle() {
    let faults = Scenario::new();
    let node = Node::start();
    for key in ["a", "b", "c", "d"] {
        node.put(key, "1").unwrap();
    }
    faults.arm("raftkv_snapshot_iter_next", "2*off->1*return(bad block)");
    let snapshot = node.snapshot().unwrap();
    let cursor = snapshot.iter(IterOptions::default(), ScanMode::Forward).unwrap();
    let seen: Vec<_> = cursor.map(|item| item.map(|(key, _)| key)).collect();
    let error = Error::Io("bad block".to_owned());
    assert_eq!(seen, [Ok(b"a".to_vec()), Ok(b"b".to_vec()), Err(error)], "and nothing after it");
    faults.finish();
    println!("raftkv_snapshot_iter_next: a scan failed in the middle and stopped there");
}

fn one_store_of_two_is_fuzzed_while_the_other_fails_for_certain() {
    let faults = Scenario::seeded(7);
    let (first, second) = (faults.instance("store-1"), faults.instance("store-2"));
    let fuzzed = first.arm("raftkv_async_write", "25%return(NotLeader)");
    second.arm("raftkv_snapshot_iter", "return(bad block)");
    let nodes = [&first, &second].map(|instance| instance.scope().run(Node::start));
    let mut written = 0;
    for number in 0..40 {
        let put = || nodes[0].put(&format!("key-{number:02}"), "1");
        written += usize::from(first.scope().run(put).is_ok());
        assert_eq!(second.scope().run(|| nodes[1].put("a", "1")), Ok(()));
    }
    assert_eq!(nodes[0].scan().unwrap().len(), written, "what was answered is there");
    assert!(nodes[1].scan().is_err());
    let refused = fuzzed.fires();
    faults.finish();
    println!("two stores: one refused {refused} of 40 writes by chance, the other cannot iterate");
}

fn every_pass_of_every_point_fails() {
    let points = [
        "raftkv_async_write",
        "raftkv_async_write_finish",
        "raftkv_snapshot_iter",
        "raftkv_snapshot_iter_next",
    ];
    let report = Sweep::of(points).check(|_| {
        let node = Node::start();
        let is_written = |key: &&str| node.put(key, "1").is_ok();
        let written: Vec<&str> = ["a", "b", "c"].into_iter().filter(is_written).collect();
        if let Ok(pairs) = node.scan() {
            let read: Vec<Key> = pairs.into_iter().map(|(key, _)| key).collect();
            assert!(written.iter().all(|key| read.contains(&Key::from(*key))), "{read:?}");
        }
    });
    println!("each pass of four points in turn: {report}; what was answered was there");
}
