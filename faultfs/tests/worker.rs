//! What workers survive, and what is left when they do not. Each test starts this binary again for
//! itself: in a worker the test's first line serves.

// A mapping is the one way to meet a bus error; see `touch_past_the_end`.
#![allow(unsafe_code)]

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use faultfs::verdict::Broken;
use faultfs::worker::{self, Launch, Pool, Reply, Role, Task};
use rustix::process::{Signal, kill_process};

/// The check of these tests: does what the job says.
fn planted(job: &[u8]) -> Reply {
    let job = str::from_utf8(job).unwrap();
    let (what, argument) = job.split_once(' ').unwrap_or((job, ""));
    match what {
        "hold" => Ok(argument.into()),
        "lose" => Err(Broken::lost(format!("{argument} is gone"))),
        "error" => Err("x".parse::<u8>().unwrap_err().into()),
        "panic" => panic!("planted {argument}"),
        "thread" => {
            let flusher = std::thread::Builder::new().name("flusher".into());
            let ended = flusher.spawn(|| panic!("planted in a thread")).unwrap().join();
            assert!(ended.is_err());
            Ok(Vec::new())
        }
        "recover" => {
            let caught = std::panic::catch_unwind(|| panic!("planted and caught"));
            assert!(caught.is_err());
            Ok(b"recovered".to_vec())
        }
        "abort" => std::process::abort(),
        "exit" => std::process::exit(7),
        "loop" => loop {
            std::hint::spin_loop();
        },
        "await" => loop {
            if Path::new(argument).exists() {
                break Ok(Vec::new());
            }
            std::thread::sleep(Duration::from_millis(5));
        },
        "chatter" => loop {
            eprintln!("still here");
        },
        "eat" => eat(),
        "allocate" => Ok(vec![1; 1 << 50]),
        "recurse" => Ok(vec![recurse(1) as u8]),
        "bus" => Ok(vec![touch_past_the_end()]),
        "kill" => {
            kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
            unreachable!()
        }
        "stdin" => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            Ok(line.into_bytes())
        }
        "pid" => Ok(std::process::id().to_string().into_bytes()),
        "setup" => Ok(worker::current().unwrap().setup.clone()),
        "large" => Ok(vec![7; argument.parse()?]),
        other => panic!("no such job: {other}"),
    }
}

fn eat() -> Reply {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(vec![1; 1 << 20]);
    }
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    recurse(depth + 1) + page[(depth % 512) as usize]
}

fn touch_past_the_end() -> u8 {
    let file = tempfile::tempfile().unwrap();
    file.set_len(8192).unwrap();
    // SAFETY: nothing else has the file; that the page goes away under the mapping is what is planted.
    let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
    file.set_len(0).unwrap();
    map[4096]
}

/// A pool for the test that calls it. A backtrace of a planted abort takes long, and is of no use.
fn pool() -> Pool {
    let launch = Launch::here().unwrap().env("RUST_BACKTRACE", "0");
    Pool::new(launch, Role::new(Task::Check, 0)).memory_limit(Some(256 << 20))
}

fn serve_in_a_worker() {
    if worker::current().is_some() {
        worker::serve(planted);
    }
}

fn run(pool: &Pool, jobs: &[&str]) -> Vec<Reply> {
    let jobs: Vec<Vec<u8>> = jobs.iter().map(|job| job.as_bytes().to_vec()).collect();
    let count = jobs.len();
    let mut replies = Vec::new();
    let end = pool.run(jobs.into_iter(), |index, reply| {
        assert_eq!(index, replies.len(), "replies come in the order of the jobs");
        replies.push(reply);
        ControlFlow::Continue(())
    });
    assert_eq!(end.unwrap(), ControlFlow::Continue(()));
    assert_eq!(replies.len(), count);
    replies
}

/// Verdict and message: what may not differ from run to run.
fn said(reply: &Reply) -> String {
    match reply {
        Ok(bytes) => format!("held: {}", String::from_utf8_lossy(bytes)),
        Err(broken) => broken.to_string(),
    }
}

#[test]
fn every_way_to_die_has_its_verdict_and_the_run_completes() {
    serve_in_a_worker();
    let table = [
        ("hold a", "held: a"),
        ("abort", "aborted: abort"),
        ("exit", "aborted: ended in the middle of a check, exit status: 7"),
        ("panic 1", "panicked: planted 1, at faultfs/tests/worker.rs:"),
        ("thread", "panicked: thread flusher: planted in a thread, at faultfs/tests/worker.rs:"),
        ("recover", "held: recovered"),
        ("bus", "faulted: bus error"),
        ("eat", "out-of-memory: an allocation failed"),
        ("allocate", "out-of-memory: an allocation failed"),
        ("recurse", "aborted: stack overflow"),
        ("kill", "not-measured: the worker was killed by somebody else"),
        ("lose b", "lost: b is gone"),
        ("error", "unopenable: invalid digit found in string"),
        ("stdin", "held: "),
        ("large 3000000", "held: \u{7}\u{7}"),
        ("hold c", "held: c"),
    ];
    let jobs = table.map(|(job, _)| job);
    let replies = run(&pool().workers(2), &jobs);
    for ((job, expected), reply) in table.iter().zip(&replies) {
        assert!(said(reply).starts_with(expected), "{job}: {}", said(reply));
    }
    assert_eq!(replies[14].as_ref().unwrap().len(), 3_000_000);
    let output = replies[9].as_ref().unwrap_err().output();
    assert!(output.contains("has overflowed its stack"), "the last words are kept: {output:?}");
}

#[test]
fn what_does_not_end_is_hung_however_much_it_says() {
    serve_in_a_worker();
    let pool = pool().workers(2).time_limit(Duration::from_secs(3));
    let replies = run(&pool, &["loop", "hold a", "chatter", "hold b"]);
    let hung = "hung: no answer within 3s";
    assert_eq!(replies.iter().map(said).collect::<Vec<_>>(), [hung, "held: a", hung, "held: b"]);
    assert!(replies[2].as_ref().unwrap_err().output().ends_with("still here"));
}

#[test]
fn the_number_of_workers_does_not_change_the_replies() {
    serve_in_a_worker();
    let kinds = [
        "hold x", "lose y", "abort", "hold z", "panic p", "bus", "hold w", "exit", "allocate",
        "error",
    ];
    // Neighbours differ, so that deaths come right behind answers.
    let jobs: Vec<&str> = (0..100).map(|i| kinds[i * 7 % kinds.len()]).collect();
    let replies = |workers| -> Vec<String> {
        run(&pool().workers(workers), &jobs).iter().map(said).collect()
    };
    let one = replies(1);
    assert_eq!(one, replies(4));
    for (kind, expected) in [("abort", "aborted: abort"), ("allocate", "out-of-memory: ")] {
        let of_kind = jobs.iter().zip(&one).filter(|(job, _)| **job == kind);
        assert_eq!(of_kind.filter(|(_, reply)| reply.starts_with(expected)).count(), 10, "{kind}");
    }
}

/// Quick jobs are handed out by the hundred, and their answers are not called for one by one: a death or a
/// hang in their midst is still that of its own job.
#[test]
fn what_dies_amid_many_quick_jobs_is_told_exactly() {
    serve_in_a_worker();
    let jobs: Vec<String> = (0..3000)
        .map(|id| match id {
            700 | 1999 => format!("abort {id}"),
            701 => format!("panic {id}"),
            1500 => format!("loop {id}"),
            1501 => "large 300000".to_string(),
            2999 => format!("exit {id}"),
            id => format!("hold {id}"),
        })
        .collect();
    let jobs: Vec<&str> = jobs.iter().map(String::as_str).collect();
    for workers in [1, 3] {
        let pool = pool().workers(workers).time_limit(Duration::from_secs(3));
        for (id, reply) in run(&pool, &jobs).iter().enumerate() {
            let expected = match id {
                700 | 1999 => "aborted: abort".to_string(),
                701 => "panicked: planted 701, at faultfs/tests/worker.rs:".to_string(),
                1500 => "hung: no answer within 3s".to_string(),
                1501 => "held: \u{7}\u{7}".to_string(),
                2999 => "aborted: ended in the middle of a check, exit status: 7".to_string(),
                id => format!("held: {id}"),
            };
            assert!(said(reply).starts_with(&expected), "{id}: {}", said(reply));
        }
    }
}

/// Answers are passed on while a worker goes on with what it was given: the last job waits for what is done
/// when the answer before it has come.
#[test]
fn answers_come_before_the_next_job_ends() {
    serve_in_a_worker();
    let folder = tempfile::tempdir().unwrap();
    let come = folder.path().join("come");
    let waits = format!("await {}", come.display());
    let quick = (0..300).map(|id| format!("hold {id}").into_bytes());
    let mut answers = 0;
    let end = pool().run(quick.chain([waits.into_bytes()]), |index, reply| {
        assert!(reply.is_ok(), "{index}: {reply:?}");
        if index == 299 {
            fs::write(&come, "").unwrap();
        }
        answers += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((end.unwrap(), answers), (ControlFlow::Continue(()), 301));
}

#[test]
fn one_worker_serves_many_jobs_unless_they_shall_be_fresh() {
    serve_in_a_worker();
    let pids = |pool: &Pool| {
        let mut pids: Vec<_> = run(pool, &["pid"; 20]).into_iter().map(Result::unwrap).collect();
        pids.sort();
        pids.dedup();
        pids.len()
    };
    assert_eq!(pids(&pool()), 1);
    assert_eq!(pids(&pool().fresh_processes(true)), 20);
}

#[test]
fn one_job_is_answered_by_a_process_that_knows_its_role() {
    serve_in_a_worker();
    let role = Role::new(Task::Record, 0).setup(b"posix".as_slice());
    let pool = Pool::new(Launch::here().unwrap(), role);
    assert_eq!(pool.run_once("setup").unwrap(), Ok(b"posix".to_vec()));
    assert_eq!(said(&pool.run_once("abort").unwrap()), "aborted: abort");
}

#[test]
fn a_run_that_is_stopped_does_not_wait_for_what_hangs() {
    serve_in_a_worker();
    let jobs = ["hold 1", "loop", "loop"].map(|job| job.as_bytes().to_vec());
    let start = Instant::now();
    let pool = pool().workers(2).time_limit(Duration::from_secs(1000));
    let end = pool.run(jobs.into_iter(), |_, _| ControlFlow::Break(())).unwrap();
    assert_eq!(end, ControlFlow::Break(()));
    assert!(start.elapsed() < Duration::from_secs(900), "ended by the stop, not by the limit");
}

#[test]
fn a_panic_of_the_one_who_asks_stops_the_workers() {
    serve_in_a_worker();
    let jobs = ["hold 1", "loop"].map(|job| job.as_bytes().to_vec());
    let pool = pool().workers(2).time_limit(Duration::from_secs(1000));
    let asked = std::panic::AssertUnwindSafe(|| {
        let _ = pool.run(jobs.into_iter(), |_, _| panic!("planted in the parent"));
    });
    assert!(std::panic::catch_unwind(asked).is_err());
}

/// What is seen ahead are the jobs that come next, in order, none twice and none left out; after a death
/// another worker has those behind it.
#[test]
fn jobs_that_are_seen_ahead_are_those_that_come() {
    if worker::current().is_some() {
        let mut ahead = std::collections::VecDeque::new();
        let mut most = 0;
        worker::serve_ahead(move |job, behind| {
            if ahead.is_empty() {
                ahead.extend(std::iter::once(job).chain(behind).map(<[u8]>::to_vec));
                most = most.max(ahead.len());
            }
            assert_eq!(ahead.pop_front().as_deref(), Some(job));
            match job {
                b"most" => Ok(most.to_string().into_bytes()),
                job => planted(job),
            }
        });
    }
    let names: Vec<String> = (0..2_000).map(|id| format!("hold {id}")).collect();
    let mut jobs: Vec<&str> = names.iter().map(String::as_str).collect();
    jobs.insert(700, "abort");
    jobs.insert(1_400, "panic in the midst");
    jobs.push("most");
    for workers in [1, 2] {
        let mut replies = run(&pool().workers(workers), &jobs);
        let most = said(&replies.pop().unwrap());
        let most: usize = most.strip_prefix("held: ").unwrap().parse().unwrap();
        assert!(most > 1, "nothing was seen ahead");
        let panicked = said(&replies.remove(1_400));
        assert!(panicked.starts_with("panicked: planted in the midst"), "{panicked}");
        assert_eq!(said(&replies.remove(700)), "aborted: abort");
        let expected = (0..2_000).map(|id| format!("held: {id}"));
        assert!(replies.iter().map(said).eq(expected));
    }
}

#[test]
fn a_program_that_does_not_come_back_is_an_error_that_shows_how_it_was_started() {
    let launch = Launch::new("/bin/sh").arg("-c").arg("echo not me >&2; exit 3");
    let pool = Pool::new(launch, Role::new(Task::Check, 0));
    let error = pool.run_once("hold").unwrap_err().to_string();
    assert!(error.contains("did not come back to the place that started it"), "{error}");
    assert!(error.contains("/bin/sh -c echo not me"), "{error}");
    assert!(error.contains("exit status: 3") && error.ends_with("\nnot me"), "{error}");
    let pool = Pool::new(Launch::new("/no/such/program"), Role::new(Task::Check, 0));
    let error = pool.run_once("hold").unwrap_err().to_string();
    assert!(error.starts_with("cannot start a worker (/no/such/program): "), "{error}");
}

#[test]
fn a_program_started_by_a_worker_is_not_a_worker() {
    if worker::current().is_some() {
        worker::serve(|_| {
            let exe = std::env::current_exe()?;
            let name = "a_program_started_by_a_worker_is_not_a_worker";
            let mut command = Command::new(exe);
            command.args([name, "--exact"]).env("FAULTFS_TEST_GRANDCHILD", "1");
            Ok(command.stdout(Stdio::null()).status()?.to_string().into_bytes())
        });
    }
    if std::env::var_os("FAULTFS_TEST_GRANDCHILD").is_some() {
        return;
    }
    assert_eq!(said(&pool().run_once("start").unwrap()), "held: exit status: 0");
}

/// The parent of this test is started as a process of its own and killed; its workers, one in a loop
/// and one that waits for a job, must go with it.
#[test]
fn no_worker_outlives_a_parent_that_is_killed() {
    let pids = std::env::var_os("FAULTFS_TEST_PIDS");
    if worker::current().is_some() {
        let pids = pids.unwrap();
        worker::serve(move |job| {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(&pids)?;
            // In one write: the other worker's is not to come in between.
            file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
            planted(job)
        });
    }
    if pids.is_some() {
        let jobs = ["loop", "loop"].map(|job| job.as_bytes().to_vec());
        let pool = pool().workers(2).time_limit(Duration::from_secs(1000));
        let _ = pool.run(jobs.into_iter(), |_, _| ControlFlow::Continue(()));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let parent = Command::new(std::env::current_exe().unwrap())
        .args(["no_worker_outlives_a_parent_that_is_killed", "--exact"])
        .env("FAULTFS_TEST_PIDS", &pids)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut parent = KillOnDrop(parent.unwrap());
    let workers = await_value(|| {
        let pids: Vec<i32> =
            fs::read_to_string(&pids).ok()?.lines().map(|l| l.parse().unwrap()).collect();
        (pids.len() == 2).then_some(pids)
    });
    assert!(workers.iter().all(|&pid| is_alive(pid)));
    parent.0.kill().unwrap();
    parent.0.wait().unwrap();
    await_value(|| workers.iter().all(|&pid| !is_alive(pid)).then_some(()));
}

/// Where the test itself fails, its processes are not to stay.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Polls until there is a value; gives up after a time in which it must have come.
fn await_value<T>(mut value: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// True where the process runs: not gone, and not a zombie that nobody has reaped yet.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !matches!(stat.rsplit(") ").next().map(|s| &s[..1]), Some("Z" | "X")))
}
