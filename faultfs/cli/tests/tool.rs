//! The tool as its users meet it: a process, its output, its exit code, and what it leaves behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn tool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-faultfs"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    tool(args).output().expect("the tool starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn json(output: &Output) -> Value {
    let json = serde_json::from_slice(&output.stdout);
    json.unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// A torture whose traces go to `traces`, as JSON.
fn torture(traces: &Path, config: &str, profile: &str, more: &[&str]) -> Value {
    let mut args = vec!["torture", "sqlite", "--config", config, "--profile", profile];
    args.extend(["--format", "json", "--traces", traces.to_str().unwrap()]);
    args.extend(more);
    let output = run(&args);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(output.stderr.is_empty(), "no progress bar in a pipe: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Without what the clock decides.
fn timeless(mut json: Value) -> Value {
    for run in json["runs"].as_array_mut().expect("runs") {
        run.as_object_mut().expect("a run").remove("seconds").expect("seconds");
    }
    json
}

#[test]
fn the_report_depends_neither_on_the_run_nor_on_the_number_of_workers() {
    let traces = tempfile::tempdir().unwrap();
    let one = torture(traces.path(), "delete-full", "ext4", &["--jobs", "1"]);
    let run = &one["runs"][0];
    assert_eq!(run["verdict"], "lost");
    assert_eq!(run["expected"], "lost");
    for count in ["ops", "crash_points", "states", "distinct"] {
        assert!(run[count].as_u64().unwrap() > 100, "{count}: {run}");
    }
    let two = torture(traces.path(), "delete-full", "ext4", &["--jobs", "2"]);
    let five = torture(traces.path(), "delete-full", "ext4", &["--jobs", "5"]);
    assert_eq!(timeless(one.clone()), timeless(two));
    assert_eq!(timeless(one), timeless(five));
}

/// What a failure is, as data that says the same as its words.
#[test]
fn a_failure_names_its_crash_point_and_every_loss_as_data() {
    let traces = tempfile::tempdir().unwrap();
    let json = torture(traces.path(), "delete-full", "posix", &[]);
    let run = &json["runs"][0];
    assert!(traces.path().join(run["trace"].as_str().unwrap()).with_extension("trace").exists());
    for failure in run["failures"].as_array().unwrap() {
        let (at, crash) = (&failure["at"], failure["crash"].as_str().unwrap());
        match at["op"].as_u64() {
            Some(op) => assert!(crash.contains(&format!("op {op} of {}", run["ops"])), "{failure}"),
            None => assert_eq!(at["place"], "mark", "{failure}"),
        }
        assert!(failure["marks"]["acked"].is_array(), "{failure}");
        let losses = failure["losses"].as_array().unwrap();
        assert!(!losses.is_empty(), "{failure}");
        for (index, loss) in losses.iter().enumerate() {
            let words = failure["omitted"][index].as_str().unwrap();
            for field in ["what", "path"] {
                assert!(words.contains(loss[field].as_str().unwrap()), "{field}: {failure}");
            }
            assert!(words.contains(&format!("(op {}, ", loss["op"])), "{failure}");
            assert_eq!(loss["rule"], failure["rules"][index]);
            // C code, called by Rust.
            assert_eq!(loss["site"]["file"], "sqlite3/sqlite3.c", "{failure}");
            let called = |file| {
                let callers = loss["callers"].as_array().unwrap();
                callers.iter().any(|caller| caller["file"].as_str().unwrap().ends_with(file))
            };
            assert!(called("sqlite3.c") && called("cli/src/sqlite.rs"), "{failure}");
            if let Some([from, to]) = loss["bytes"].as_array().map(|b| [&b[0], &b[1]]) {
                assert!(words.contains(&format!("{from}..{to}")), "{failure}");
            }
        }
    }
}

/// What was left out because it was known changes nothing.
#[test]
fn the_report_does_not_depend_on_pruning() {
    let traces = tempfile::tempdir().unwrap();
    for config in ["wal-full", "delete-off"] {
        let pruned = torture(traces.path(), config, "posix", &[]);
        let full = torture(traces.path(), config, "posix", &["--no-pruning", "--jobs", "1"]);
        assert_eq!(timeless(pruned), timeless(full));
    }
}

/// Eight shares, made in any order with any number of workers, and merged: the report of one run.
#[test]
fn eight_shards_merged_equal_one_run_but_for_times() {
    let dir = tempfile::tempdir().unwrap();
    let shards = dir.path().join("shards");
    let merged_traces = dir.path().join("merged");
    let whole = torture(dir.path(), "delete-full", "data-journal", &["--jobs", "2"]);
    for index in (1..=8).rev() {
        let (share, jobs) = (format!("{index}/8"), (index % 3 + 1).to_string());
        let more = ["--partition", &share, "--shards", shards.to_str().unwrap(), "--jobs", &jobs];
        let part =
            torture(&dir.path().join(format!("at-{index}")), "delete-full", "data-journal", &more);
        let run = &part["runs"][0];
        assert!(run["not_measured"][0].as_str().unwrap().starts_with(&format!("share {share}: ")));
        assert!(run["distinct"].as_u64() < whole["runs"][0]["distinct"].as_u64());
    }
    let mut files: Vec<String> = fs::read_dir(&shards)
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_string())
        .collect();
    assert_eq!(files.len(), 8);
    let merge = |files: &[String]| {
        let more = ["--format", "json", "--traces", merged_traces.to_str().unwrap()];
        let args: Vec<&str> = ["merge"].into_iter().chain(files.iter().map(|f| &**f)).collect();
        run(&[&args[..], &more].concat())
    };
    let output = merge(&files);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let merged: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |json: &Value| serde_json::to_string_pretty(&timeless(json.clone())).unwrap();
    assert_eq!(text(&merged), text(&whole));
    // The same page, and what replays its tokens, too.
    let id = whole["runs"][0]["trace"].as_str().unwrap();
    for extension in ["trace", "html"] {
        let saved = |dir: &Path| fs::read(dir.join(id).with_extension(extension)).unwrap();
        assert!(saved(&merged_traces) == saved(dir.path()), "{extension}");
    }

    let removed = files.pop().unwrap();
    let missing = merge(&files);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("/8 is missing"), "{}", stderr(&missing));
    files.extend([removed.clone(), removed.clone()]);
    assert!(stderr(&merge(&files)).contains("/8 is there twice"));
    fs::write(&removed, "no shard").unwrap();
    assert!(stderr(&merge(&files)).contains("not a shard of faultfs"));
}

/// Few states, so that recoveries come early.
const FEW: [&str; 6] = ["--omissions", "0", "--samples", "0", "--budget", "40"];

/// What is done to recoveries belongs to the whole run: merging does what the shares were told.
#[test]
fn shares_of_a_run_with_faults_in_recoveries_are_merged_and_those_of_another_run_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let shards = dir.path().join("shards");
    let recoveries =
        ["--recovery-depth", "1", "--recovery-faults", "crash,nospace", "--recoveries", "2"];
    let told = [&FEW[..], &recoveries].concat();
    let whole = torture(dir.path(), "truncate-full", "process-kill", &told);
    let bound = whole["runs"][0]["bound"].as_str().unwrap();
    assert!(bound.contains("; crashes during recovery to depth 1: "), "{bound}");
    assert!(bound.contains(" of 2 of ") && bound.contains("(nospace at every call"), "{bound}");
    let share = |share: &str, told: &[&str]| {
        let folder = shards.join(told.join("").replace(',', "")).join(share.replace('/', ""));
        let more = [&["--partition", share, "--shards", folder.to_str().unwrap()], told].concat();
        torture(dir.path(), "truncate-full", "process-kill", &more);
        let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
        file.to_str().unwrap().to_string()
    };
    let merge = |files: &[&str]| {
        let traces = dir.path().join("merged");
        run(&[&["merge", "--format", "json", "--traces", traces.to_str().unwrap()], files].concat())
    };
    let first = share("1/2", &told);
    let output = merge(&[&first, &share("2/2", &told)]);
    let merged = json(&output);
    assert_eq!(timeless(merged), timeless(whole));

    for (more, refusal) in [
        (&["--effort", "7"][..], "made with effort 7, "),
        (&["--hangs", "5"], "made with hangs 5, "),
        (&["--seed", "9"], "made with seed 9, "),
        (&["--crash-points", "1"], "in 2 recoveries, 1 crash points after each, "),
    ] {
        let refused = merge(&[&first, &share("2/2", &[&told, more].concat())]);
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert!(stderr(&refused).contains(refusal), "{}", stderr(&refused));
    }
    let other = [&FEW[..], &["--recovery-depth", "2"], &recoveries[2..]].concat();
    let refused = stderr(&merge(&[&first, &share("2/2", &other)]));
    assert!(refused.contains("made with recovery depth 2, "), "{refused}");
    let other = [&FEW[..], &recoveries[..2], &["--recovery-plan", "sync * -> fail EIO"]].concat();
    let refused = stderr(&merge(&[&first, &share("2/2", &other)]));
    let plan = "made with faults in recoveries sync * -> fail EIO in 8 recoveries, 4 crash points";
    assert!(refused.contains(plan) && refused.contains("with crash, nospace in 2"), "{refused}");
}

#[test]
fn faults_in_recoveries_are_those_that_were_asked_for() {
    let traces = tempfile::tempdir().unwrap();
    let bound = |more: &[&str]| {
        let json = torture(traces.path(), "wal-full", "process-kill", &[&FEW[..], more].concat());
        json["runs"][0]["bound"].as_str().unwrap().to_string()
    };
    let two = ["--recoveries", "2"];
    let short = bound(&[&["--recovery-faults", "short"][..], &two].concat());
    assert!(short.contains("(short at every call, once and for ever)"), "{short}");
    assert!(short.contains(" in runs of 2 of ") && short.contains("no power cuts"), "{short}");
    let crashes = ["--recovery-faults", "fsync,crash,torn", "--crash-points", "3"];
    let crashes = bound(&[&crashes[..], &two].concat());
    assert!(crashes.contains("(fsync, torn at every call"), "{crashes}");
    assert!(crashes.contains("at the first 3 crash points after each fault"), "{crashes}");
    let plan = bound(&[&["--recovery-plan", "read *.db take 1 -> fail EIO"][..], &two].concat());
    assert!(plan.contains("2 in runs of 2 of "), "{plan}");
    assert!(plan.contains("(read *.db take 1 -> fail EIO)"), "{plan}");
}

#[test]
fn effort_time_and_the_crash_points_of_a_sweep_are_bounds_that_are_told() {
    let traces = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let more = [&["--budget", "300"], more].concat();
        torture(traces.path(), "delete-off", "posix", &more)["runs"][0].take()
    };
    let usual = run(&[]);
    let searched = |run: &Value| run["bound"].as_str().unwrap().contains("the search ended after");
    assert!(!searched(&usual), "{usual}");
    let little = run(&["--effort", "1"]);
    assert!(searched(&little), "{little}");
    let ended = |part: &Value| part["search_ended"] == true;
    assert!(little["coverage"].as_array().unwrap().iter().any(ended), "{little}");
    assert!(usual["incomparable"].is_null(), "{usual}");

    let sweep = |more: &[&str]| {
        let args = ["torture", "sqlite", "--config", "truncate-full", "--format", "json"];
        let killed = ["--profile", "process-kill", "--traces", traces.path().to_str().unwrap()];
        let output = self::run(&[&args[..], &killed, &["--faults", "crash,short"], more].concat());
        json(&output)["sweeps"][0]["report"]["bound"].as_str().unwrap().to_string()
    };
    let bound = sweep(&["--crash-points", "2", "--budget", "9", "--samples", "0"]);
    assert!(bound.contains("crashes at the first 2 crash points after each fault"), "{bound}");
    assert!(
        bound.contains("without faults nothing lost: not complete, 5 of 5 at 5 of "),
        "{bound}"
    );
}

/// A baseline is made, holds, and is not rewritten by CI.
#[test]
fn a_baseline_holds_on_to_what_was_found_and_ci_cannot_rewrite_it() {
    let dir = tempfile::tempdir().unwrap();
    let (file, junit) = (dir.path().join("baseline.json"), dir.path().join("junit.xml"));
    let (baseline, traces) = (file.to_str().unwrap(), dir.path().to_str().unwrap());
    let run = |profile: &str, more: &[&str], ci: &str| {
        let args = ["torture", "sqlite", "--config", "delete-off", "--profile", profile];
        let args = [&args[..], &["--traces", traces, "--baseline", baseline], more].concat();
        tool(&args).env("CI", ci).output().unwrap()
    };
    let code = |output: &Output| (output.status.code(), stderr(output));

    let (missing, error) = code(&run("process-kill", &[], ""));
    assert_eq!(missing, Some(2));
    assert!(error.contains("--update-baseline makes one"), "{error}");
    let (refused, error) = code(&run("process-kill", &["--update-baseline"], "true"));
    assert_eq!(refused, Some(2));
    assert!(error.contains("the variable CI is set") && !file.exists(), "{error}");

    let update = ["--update-baseline", "--junit", junit.to_str().unwrap()];
    assert_eq!(code(&run("process-kill", &update, "false")).0, Some(0));
    assert!(fs::read_to_string(&junit).unwrap().contains("<testcase name=\"process-kill\""));
    let (same, said) = code(&run("process-kill", &[], "true"));
    assert_eq!(same, Some(0), "{said}");
    assert!(said.contains("1 of 1 runs as before"), "{said}");

    // One run is gone, another came.
    let (unmeasured, said) = code(&run("data-journal", &[], "true"));
    assert_eq!(unmeasured, Some(3), "{said}");
    let of = "sqlite/delete-off under";
    assert!(
        said.contains(&format!("UNMEASURED {of} process-kill: was held, and was not run")),
        "{said}"
    );
    assert!(said.contains(&format!("new        {of} data-journal: lost")), "{said}");

    fs::write(
        &file,
        fs::read_to_string(&file).unwrap().replace("\"distinct\": ", "\"distinct\": 9"),
    )
    .unwrap();
    assert_eq!(code(&run("process-kill", &[], "true")).0, Some(3));
    fs::write(&file, "{}").unwrap();
    assert!(code(&run("process-kill", &[], "true")).1.contains("not a baseline"));
}

#[test]
fn a_replay_line_reproduces_its_verdict_also_from_a_copied_trace() {
    let traces = tempfile::tempdir().unwrap();
    let json = torture(traces.path(), "delete-off", "data-journal", &[]);
    let failure = &json["runs"][0]["failures"][0];
    let token = failure["token"].as_str().unwrap();
    assert_eq!(failure["replay"].as_str().unwrap(), format!("cargo faultfs replay {token}"));
    let expected = format!("{token}: {}", failure["verdict"].as_str().unwrap());

    // As Cargo calls an installed tool, with the words of the replay line behind `cargo`.
    let words = ["faultfs", "replay", token, "--traces", traces.path().to_str().unwrap()];
    let there = run(&words);
    assert_eq!(there.status.code(), Some(1), "{}", stderr(&there));
    assert!(stdout(&there).starts_with(&expected), "{}", stdout(&there));

    let elsewhere = tempfile::tempdir().unwrap();
    let saved = fs::read_dir(traces.path()).unwrap().next().unwrap().unwrap().path();
    let copy = elsewhere.path().join("copied");
    fs::copy(saved, &copy).unwrap();
    let here = run(&["replay", token, "--trace", copy.to_str().unwrap()]);
    assert_eq!(stdout(&here), stdout(&there));

    let disk = elsewhere.path().join("disk");
    let args = ["materialize", token, disk.to_str().unwrap(), "--trace", copy.to_str().unwrap()];
    assert_eq!(run(&args).status.code(), Some(0));
    assert!(disk.is_dir());

    let show = run(&["show", copy.to_str().unwrap()]);
    assert!(stdout(&show).contains("acknowledged 3"), "{}", stdout(&show));
}

/// A family of faults at every call; what is not expected has its own exit code, a token runs it again.
#[test]
fn a_sweep_counts_what_it_tried_and_its_token_fails_again() {
    let traces = tempfile::tempdir().unwrap();
    let folder = traces.path().to_str().unwrap();
    let sweep = |what: &[&str]| {
        let mut args = vec!["torture", "sqlite", "--format", "json", "--traces", folder];
        args.extend(what);
        let output = run(&args);
        let json = json(&output);
        (output.status.code(), json["sweeps"][0].clone())
    };
    let (code, corrupt) = sweep(&["--config", "off-full", "--faults", "torn"]);
    let swept = &corrupt["report"]["swept"];
    assert_eq!(
        (code, &corrupt["expected"][0]),
        (Some(0), &corrupt["report"]["verdict"]),
        "{corrupt}"
    );
    assert_eq!(swept["runs"], swept["cases"]["torn"], "{swept}");
    assert!(swept["calls"].as_u64() > Some(50) && swept["runs"].as_u64() > Some(100), "{swept}");
    let token = corrupt["report"]["failures"][0]["token"].as_str().unwrap();
    let again = run(&["replay", token, "--traces", folder]);
    assert_eq!(again.status.code(), Some(1), "{}", stderr(&again));
    assert!(stdout(&again).starts_with(token), "{}", stdout(&again));

    let killed = ["--config", "wal-full", "--profile", "process-kill", "--plan"];
    let plan = |text| sweep(&[&killed[..], &[text]].concat());
    let (code, held) = plan("sync app.db-wal skip 2 take 1 -> fail EIO");
    let report = &held["report"];
    assert_eq!((code, &report["verdict"]), (Some(0), &Value::from("held")), "{held}");
    assert_eq!(report["swept"]["injected"], 1, "{held}");
    let (code, never) = plan("sync nothing -> fail EIO");
    assert_eq!((code, &never["report"]["verdict"]), (Some(3), &Value::from("not-measured")));
}

#[test]
fn bad_usage_is_one_clear_error_that_says_how_to_mend_it() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("foreign");
    fs::write(&foreign, "no trace").unwrap();
    let foreign = foreign.to_str().unwrap();
    let full = dir.path().to_str().unwrap();
    let token = "9f3a2c71d0e45b68-posix-41-m17";
    for (args, reason) in [
        (vec!["torture", "redis"], "there are sqlite and command"),
        (vec!["torture", "sqlite", "--config", "wal"], "there are wal-full, wal-normal"),
        (vec!["torture", "sqlite", "--profile", "ntfs"], "there are posix, ext3-writeback"),
        (vec!["torture", "sqlite", "--jobs", "0"], "1..=256"),
        (vec!["torture", "sqlite", "--effort", "0"], "1.."),
        (vec!["torture", "sqlite", "--hangs", "0"], "1.."),
        (
            vec!["torture", "sqlite", "--recoveries", "4"],
            "with --recovery-faults or --recovery-plan",
        ),
        (
            vec!["torture", "sqlite", "--recovery-faults", "8"],
            "`8` is no family of faults; they are",
        ),
        (
            vec!["torture", "sqlite", "--recovery-faults", "crash"],
            "as in `--recovery-faults crash,io`",
        ),
        (
            vec!["torture", "sqlite", "--faults", "io", "--crash-points", "2"],
            "add `crash` to --faults or --recovery-faults",
        ),
        (
            vec!["torture", "sqlite", "--time-budget", "1", "--partition", "1/2", "--shards", full],
            "cannot be used with",
        ),
        (vec!["torture", "sqlite", "--faults", "bit-rot"], "did you mean `bitrot`?"),
        (vec!["torture", "sqlite", "--faults", "crash"], "`crash` alone injects nothing"),
        (vec!["torture", "sqlite", "--plan", "snyc * -> fail EIO"], "column 1: unknown op `snyc`"),
        (vec!["replay", "nonsense"], "copy it whole from a report"),
        (vec!["replay", token, "--traces", full], "9f3a2c71d0e45b68"),
        (vec!["replay", token, "--trace", foreign], "not a"),
        (vec!["show", foreign], "not a"),
    ] {
        let output = run(&args);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(reason), "{args:?}: {error}");
        assert!(output.stdout.is_empty());
        assert!(!error.contains("panicked"), "{error}");
    }
}

#[test]
fn a_disk_is_not_written_over_what_is_there() {
    let traces = tempfile::tempdir().unwrap();
    let json = torture(traces.path(), "delete-off", "data-journal", &[]);
    let token = json["runs"][0]["failures"][0]["token"].as_str().unwrap().to_string();
    let dir = traces.path().to_str().unwrap();
    let output = run(&["materialize", &token, dir, "--traces", dir]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("is not empty"), "{}", stderr(&output));
}

/// Starts a long torture and waits until it has a session folder, whose path is returned.
fn start_torture(traces: &Path) -> (Child, PathBuf) {
    let args = ["torture", "sqlite", "--traces", traces.to_str().unwrap()];
    let mut child = tool(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if let Some(folder) = session_of(&child) {
            return (child, folder);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("no session folder within a minute: {:?}", child.wait());
}

/// The folder of a process' session: beside the lock file that it holds open.
fn session_of(child: &Child) -> Option<PathBuf> {
    let open = fs::read_dir(format!("/proc/{}/fd", child.id())).ok()?;
    let lock = open
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .find(|path| path.to_string_lossy().contains("/faultfs-") && path.is_file())?;
    let folder = lock.with_extension("");
    folder.join("recording").is_dir().then_some(folder)
}

fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

#[test]
fn what_a_killed_run_left_behind_is_removed_by_the_next() {
    let traces = tempfile::tempdir().unwrap();
    let (mut child, folder) = start_torture(traces.path());
    signal(&child, "-KILL");
    child.wait().unwrap();
    assert!(folder.exists(), "a killed process cannot clean up");
    let marker = folder.join("left by the killed run");
    fs::write(&marker, "").unwrap();
    torture(traces.path(), "delete-full", "process-kill", &[]);
    assert!(!marker.exists(), "{} is still there", folder.display());
}

#[test]
fn an_interrupted_run_says_what_it_covered_and_leaves_nothing() {
    // While the first workload is recorded, and while states are checked.
    for wait in [0, 1000] {
        let traces = tempfile::tempdir().unwrap();
        let (child, folder) = start_torture(traces.path());
        std::thread::sleep(Duration::from_millis(wait));
        signal(&child, "-INT");
        let output = child.wait_with_output().unwrap();
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(130), "{error}");
        assert!(error.contains("of 54 runs were finished, the others are not measured"), "{error}");
        assert!(!error.contains("54 of 54"), "{error}");
        assert!(stdout(&output).starts_with("config"), "{}", stdout(&output));
        assert!(!folder.join("recording").exists(), "{} is still there", folder.display());
    }
}
