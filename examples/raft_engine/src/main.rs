//! raft-engine, whose fail points are the `fail` crate's, driven through `faultpoint` alone.
//!
//! ```sh
//! cargo run --manifest-path examples/raft_engine/Cargo.toml
//! FAILPOINTS='default_fs::create::err=return' \
//!     cargo run --manifest-path examples/raft_engine/Cargo.toml
//! ```

use std::sync::Arc;
use std::thread;

use faultpoint::{FailGuard, FailScenario, Scenario, Scope, list};
use raft_engine::{Config, Engine, LogBatch};

const REGION: u64 = 1;

fn main() {
    let process = FailScenario::setup();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path().to_string_lossy().into_owned();
    let opened = Engine::open(Config { dir, ..Config::default() });
    if !list().is_empty() {
        println!("with {:?}: {:?}", list(), opened.and_then(|engine| put(&engine, "key", "1")));
        return;
    }
    let engine = Arc::new(opened.expect("an empty log"));
    an_append_is_held_up_for_one_thread_only(&engine);
    one_write_in_the_process_fails(&engine);
    a_misspelt_point_fails_its_scenario();
    process.teardown();
}

fn put(engine: &Engine, key: &str, value: &str) -> raft_engine::Result<usize> {
    let mut batch = LogBatch::default();
    batch.put(REGION, key.into(), value.into())?;
    engine.write(&mut batch, true)
}

fn get(engine: &Engine, key: &str) -> Option<String> {
    engine.get(REGION, key.as_bytes()).map(|value| String::from_utf8_lossy(&value).into_owned())
}

fn an_append_is_held_up_for_one_thread_only(engine: &Arc<Engine>) {
    let faults = Scenario::new();
    let append = faults.arm_foreign("file_pipe_log::append", "1*pause");
    let writer = Arc::clone(engine);
    let writer = Scope::current().spawn(move || put(&writer, "held", "up").is_ok());
    append.wait_paused(1);
    assert_eq!(get(engine, "held"), None, "not written, not read");
    append.release();
    assert!(writer.join().expect("the writer"));
    assert_eq!(get(engine, "held").as_deref(), Some("up"));

    let elsewhere = Arc::clone(engine);
    assert!(thread::spawn(move || put(&elsewhere, "a", "1").is_ok()).join().expect("a thread"));
    assert_eq!(append.hits(), 1, "a thread outside the scenario was not counted");
    faults.finish();
    println!("file_pipe_log::append: one writer was held up, released, and read");
}

fn one_write_in_the_process_fails(engine: &Engine) {
    let guard = FailGuard::new("log_fd::write::no_space_err", "1*return->off");
    let guard = guard.expect("an early return for the whole process");
    // raft-engine turns to a new file when one is full, so the writer sees nothing of it.
    put(engine, "b", "2").expect("raft-engine goes on in the next file");
    drop(guard);
    assert_eq!(get(engine, "b").as_deref(), Some("2"));
    println!("log_fd::write::no_space_err: a full file was left for the next");
}

fn a_misspelt_point_fails_its_scenario() {
    let result = thread::spawn(|| {
        let faults = Scenario::new();
        faults.arm_foreign("file_pipe_log::apend", "pause");
        faults.finish();
    });
    let panic = result.join().expect_err("the point does not exist");
    let message = panic.downcast::<String>().expect("a message");
    assert!(message.contains("`file_pipe_log::apend` was armed at"), "{message}");
    println!("file_pipe_log::apend: never reached, and the scenario says so");
}
