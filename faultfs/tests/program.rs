//! Workers of a plain program, without libtest: it is started again with its own arguments. And Ctrl-C,
//! which ends a run of it cleanly.

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use faultfs::session::{Session, interrupted};
use faultfs::worker::{self, Launch, Pool, Role, Task};
use rustix::process::{Pid, Signal, kill_process};

/// Where the program's other half, [`run_until_interrupted`], puts its session.
const BASE: &str = "FAULTFS_TEST_PROGRAM_BASE";

fn main() {
    let launch = Launch::here().expect("the main thread of a program");
    let first = launch.next_call();
    let second = launch.next_call();
    match worker::current().map(|role| role.call) {
        Some(call) if call == first => worker::serve(|job| Ok(job.to_ascii_uppercase())),
        Some(call) if call == second => worker::serve(|job| match job {
            b"quick" => Ok(Vec::new()),
            _ => loop {
                std::thread::sleep(Duration::from_secs(1));
            },
        }),
        Some(call) => panic!("there is no call {call}"),
        None => {}
    }
    if let Some(base) = std::env::var_os(BASE) {
        return run_until_interrupted(
            Pool::new(launch, Role::new(Task::Check, second)),
            base.as_ref(),
        );
    }
    a_program_is_started_again_for_its_call(Pool::new(launch, Role::new(Task::Check, first)));
    ctrl_c_ends_a_run_and_leaves_nothing();
}

fn a_program_is_started_again_for_its_call(pool: Pool) {
    let mut replies = Vec::new();
    let jobs = (0..1000).map(|index| format!("job {index}").into_bytes());
    let end = pool.workers(2).run(jobs, |_, reply| {
        replies.push(reply.unwrap());
        ControlFlow::Continue(())
    });
    assert_eq!(end.unwrap(), ControlFlow::Continue(()));
    let expected: Vec<Vec<u8>> = (0..1000).map(|i| format!("JOB {i}").into_bytes()).collect();
    assert_eq!(replies, expected);
}

fn run_until_interrupted(pool: Pool, base: &Path) {
    let session = Session::new_in(base).unwrap();
    let jobs = ["quick", "slow", "slow"].map(|job| job.as_bytes().to_vec());
    let pool = pool.workers(2).time_limit(Duration::from_secs(1000));
    let end = pool.run(jobs.into_iter(), |index, _| {
        println!("done {index}");
        ControlFlow::Continue(())
    });
    assert_eq!(end.unwrap(), ControlFlow::Break(()));
    assert!(interrupted());
    println!("ended early");
    drop(session);
}

fn ctrl_c_ends_a_run_and_leaves_nothing() {
    let base = tempfile::tempdir().unwrap();
    let mut program = Command::new(std::env::current_exe().unwrap())
        .env(BASE, base.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("done 0"));
    kill_process(Pid::from_child(&program), Signal::INT).unwrap();
    assert_eq!(lines.next().as_deref(), Some("ended early"));
    assert!(program.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
}
