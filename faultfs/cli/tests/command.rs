//! Any program as a target: it is run unchanged, by commands.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

const NO_CC: &str = "skipped: there is no C compiler `cc`";

/// A folder from which the tool is started.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o755)).unwrap();
    }

    /// Compiles a program, with debug info; false where there is no compiler.
    fn compile(&self, source: &str, name: &str, options: &[&str]) -> bool {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command").join(source);
        let mut cc = Command::new("cc");
        cc.args(["-g", "-o"]).arg(self.path(name)).args(options).arg(source);
        match cc.status() {
            Err(_) => {
                eprintln!("{NO_CC}");
                false
            }
            Ok(status) => {
                assert!(status.success());
                true
            }
        }
    }

    fn tool(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-faultfs"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.tool(args).output().expect("the tool starts")
    }

    /// One run under one profile, and the exit code.
    fn torture(&self, profile: &str, workload: &str, check: &str, more: &[&str]) -> (Value, i32) {
        let mut args = vec!["torture", "command", "--workload", workload, "--check", check];
        args.extend(["--profile", profile, "--traces", "traces", "--format", "json"]);
        args.extend(more);
        let output = self.run(&args);
        let mut json: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
        (json["runs"][0].take(), output.status.code().unwrap())
    }

    /// The verdict of such a run.
    fn verdict(&self, profile: &str, workload: &str, check: &str, more: &[&str]) -> String {
        let (run, code) = self.torture(profile, workload, check, more);
        let verdict = run["verdict"].as_str().unwrap().to_string();
        let expected = match verdict.as_str() {
            "held" => 0,
            "not-measured" => 3,
            _ => 1,
        };
        assert_eq!(code, expected, "{run}");
        verdict
    }
}

fn text(output: &Output) -> String {
    let bytes = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(bytes).expect("text")
}

/// Every `saved KEY` that was printed: the file KEY holds `value-of-KEY`.
const SAVED: &str = r#"
while read -r _ key; do
    value=$(cat "$key" 2>&1)
    [ "$value" = "value-of-$key" ] || { echo "lost: $key is '$value'" >&2; exit 1; }
done < "$FAULTFS_OUTPUT""#;

const TWO: &str = r#""$FAULTFS_HERE/save" a value-of-a && "$FAULTFS_HERE/save" b value-of-b"#;

#[test]
fn a_planted_bug_of_a_c_program_is_found_with_its_line_and_its_fixed_twin_holds() {
    let bench = Bench::new();
    bench.script("check", SAVED);
    if !bench.compile("save.c", "save", &[]) {
        return;
    }
    let (run, code) = bench.torture("xfs", TWO, "./check", &[]);
    assert_eq!((run["verdict"].as_str(), code), (Some("lost"), 1), "{run}");
    let failure = &run["failures"][0];
    assert_eq!(failure["message"], "a is ''");
    let sentence = failure["sentence"].as_str().unwrap();
    assert!(
        sentence.contains("tests/command/save.c:10, acknowledged at 1: stdout `saved a`"),
        "{sentence}"
    );
    assert!(failure["losses"][0]["callers"][0]["file"].as_str().unwrap().ends_with("save.c"));

    for options in [&["-DFIXED"][..], &["-DFIXED", "-static"]] {
        assert!(bench.compile("save.c", "save", options));
        for profile in ["posix", "ext4", "btrfs", "process-kill"] {
            assert_eq!(bench.verdict(profile, TWO, "./check", &[]), "held", "{options:?}");
        }
    }
}

#[test]
fn a_failure_is_replayed_and_its_disk_written_from_the_saved_trace_alone() {
    let bench = Bench::new();
    bench.script("check", SAVED);
    if !bench.compile("save.c", "save", &[]) {
        return;
    }
    let (run, _) = bench.torture("posix", TWO, "./check", &[]);
    let token = run["failures"][0]["token"].as_str().unwrap();
    fs::remove_file(bench.path("save")).unwrap();
    let again = bench.run(&["replay", token, "--traces", "traces"]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
    assert!(text(&again).starts_with(&format!("{token}: lost: a is ''\n")), "{}", text(&again));
    let written = bench.run(&["materialize", token, "disk", "--traces", "traces"]);
    assert!(text(&written).contains("of command --workload"), "{}", text(&written));
    assert!(bench.path("disk/a").exists());
    let trace = bench.path("traces").join(run["trace"].as_str().unwrap()).with_extension("trace");
    let shown = text(&bench.run(&["show", trace.to_str().unwrap()]));
    assert!(shown.contains("acknowledged 1: stdout `saved a`"), "{shown}");
    // With a check that is right now the same disk holds.
    bench.script("check", "exit 0");
    let again = bench.run(&["replay", token, "--traces", "traces"]);
    assert_eq!(text(&again), format!("{token}: held\n"));
}

#[test]
fn stores_of_forked_children_through_a_shared_mapping_are_seen() {
    let bench = Bench::new();
    bench.script(
        "check",
        r#"last=$(tail -n 1 "$FAULTFS_OUTPUT"); [ -n "$last" ] || exit 0
        found=$(dd if=counter bs=1 skip=100 count=1 2>/dev/null | tr '\0' '0')
        case "$found" in 0) ;; *) [ ! "$found" \< "${last#counted }" ] && exit 0 ;; esac
        echo "lost: $last, and the counter is $found" >&2; exit 1"#,
    );
    let workload = r#""$FAULTFS_HERE/store""#;
    for (options, verdict) in [(&[][..], "lost"), (&["-DFIXED"], "held")] {
        if !bench.compile("store.c", "store", options) {
            return;
        }
        assert_eq!(bench.verdict("posix", workload, "./check", &[]), verdict);
    }
}

/// Writers that go on at once are let in one after the other: the trace is what happened.
#[test]
fn processes_that_write_at_once_are_recorded_in_the_order_of_their_effects() {
    let bench = Bench::new();
    let writer = "i=0; while [ $i -lt 8 ]; do echo $i >> log; i=$((i+1)); done";
    let workload = format!("({writer}) & ({writer}) & ({writer}) & wait; sync -f log; echo done");
    let check = r#"[ ! -s "$FAULTFS_OUTPUT" ] || [ "$(wc -l < log)" = 24 ]"#;
    let (run, code) =
        bench.torture("ext4", &workload, check, &["--omissions", "1", "--samples", "20"]);
    assert_eq!((run["verdict"].as_str(), code), (Some("held"), 0), "{run}");
    assert_eq!(run["ops"], 26, "a create, 24 writes, a sync: {run}");
    let unsynced = workload.replace("sync -f log;", "");
    assert_eq!(bench.verdict("ext4", &unsynced, check, &[]), "corrupt");
}

const USUAL: &str = r#"set -e
mkdir -p from/b/c; echo text > from/b/file; echo more > from/b/c/file; ln -s file from/b/soft; ln from/b/file from/hard
cp -r from copied; tar cf tar from; mkdir to; tar xf tar -C to; rm -r from; mv to/from/b moved; rmdir to/from/b 2> /dev/null || :
dd if=/dev/zero of=dd bs=4k count=5 conv=fsync 2> /dev/null; dd if=tar of=dd bs=512 count=3 seek=2 conv=notrunc 2> /dev/null
truncate -s 10000 long; fallocate -l 20000 allocated; fallocate -p -o 4096 -l 4096 dd
sed -i s/text/TEXT/ copied/b/file; install -m 600 dd installed; sort -o sorted tar; chmod 750 moved; cat dd tar >> dd2
(echo 1; echo 2) | tee one > two; exec 7<> both; echo both >&7; exec 7>&-
ls copied moved dd tar | xargs -P 4 -n 1 sh -c 'echo "$0" >> many'; : > empty; sync -f .; echo done"#;

/// What the trace leads to is compared with what is there, byte for byte.
#[test]
fn usual_programs_are_seen_to_the_last_byte() {
    let bench = Bench::new();
    bench.script("usual", USUAL);
    let check = r#"[ ! -s "$FAULTFS_OUTPUT" ] || [ "$(cat moved/file one two both)" = "text
1
2
1
2
both" ]"#;
    let few = ["--omissions", "0", "--samples", "5", "--budget", "60"];
    assert_eq!(bench.verdict("btrfs", "./usual", check, &few), "held");
}

/// What somebody does whom the command has not started.
#[test]
fn changes_that_were_not_seen_are_told_and_nothing_is_said_of_the_rest() {
    let bench = Bench::new();
    let (place, done) = (bench.path("place"), bench.path("done"));
    let stranger = std::thread::spawn(move || {
        let root = loop {
            match fs::read_to_string(&place) {
                Ok(root) if root.ends_with('\n') => break root,
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        fs::write(Path::new(root.trim()).join("stranger"), "x").unwrap();
        fs::write(done, "").unwrap();
    });
    let workload = r#"echo mine > mine; echo "$FAULTFS_ROOT" > "$FAULTFS_HERE/place"
        until [ -e "$FAULTFS_HERE/done" ]; do sleep 0.01; done"#;
    let (run, code) = bench.torture("posix", workload, "true", &[]);
    stranger.join().unwrap();
    assert_eq!((run["verdict"].as_str(), code), (Some("not-measured"), 3), "{run}");
    let why = run["not_measured"][0].as_str().unwrap();
    assert!(why.contains("whom the command had not started") && why.contains("stranger"), "{why}");
}

/// With what was there, which the setup had made.
#[test]
fn what_the_setup_has_made_is_durable_and_its_loss_is_never_forgiven() {
    let bench = Bench::new();
    let setup = ["--setup", "echo 1 > old; mkdir d; ln old d/other; ln -s old link"];
    let check = r#"[ "$(cat old d/other link 2>&1 | tr '\n' ' ')" = "1 1 1 " ] || { echo "unopenable: $(cat old)" >&2; exit 1; }"#;
    assert_eq!(bench.verdict("posix", "echo 2 > new", check, &setup), "held");
    // Before anything was printed a check may refuse to open; what it calls corrupt is.
    let check = r#"[ "$(cat old)" = 1 ] || { echo "old is gone" >&2; exit 1; }"#;
    assert_eq!(bench.verdict("posix", "echo 2 > old", check, &setup), "corrupt");
}

#[test]
fn deaths_of_a_check_are_told_apart_and_an_early_refusal_is_forgiven() {
    let bench = Bench::new();
    let workload = "echo x > file; sync -f file; echo done";
    for (check, verdict) in [
        (r#"[ ! -s "$FAULTFS_OUTPUT" ] || kill -SEGV $$"#, "faulted"),
        (r#"[ ! -s "$FAULTFS_OUTPUT" ] || sh -c 'kill -ABRT $$'"#, "aborted"),
        (r#"[ ! -s "$FAULTFS_OUTPUT" ] || { echo unopenable: no >&2; exit 3; }"#, "unopenable"),
        (r#"[ -s "$FAULTFS_OUTPUT" ] || { echo unopenable: no >&2; exit 3; }"#, "held"),
        (r#"[ -s "$FAULTFS_OUTPUT" ] || exit 3"#, "corrupt"),
    ] {
        assert_eq!(bench.verdict("process-kill", workload, check, &[]), verdict, "{check}");
    }
}

#[test]
fn a_check_that_does_not_end_is_hung_and_its_processes_end_with_it() {
    let bench = Bench::new();
    let check =
        r#"[ ! -s "$FAULTFS_OUTPUT" ] || { echo $$ > "$FAULTFS_HERE/pid"; exec sleep 3600; }"#;
    let more = ["--time-limit", "1", "--jobs", "1", "--hangs", "1"];
    let (run, code) = bench.torture("process-kill", "echo 1; echo 2; echo 3", check, &more);
    assert_eq!((run["verdict"].as_str(), code), (Some("hung"), 1), "{run}");
    let left_out = run["not_measured"][0].as_str().unwrap();
    assert!(left_out.starts_with("2 states left out: 1 that are like each of them hung"), "{run}");
    wait_for_the_end_of(&fs::read_to_string(bench.path("pid")).unwrap());
}

#[test]
fn a_process_of_a_command_gets_no_more_memory_than_is_allowed() {
    let bench = Bench::new();
    let check = "head -c 200000000 /dev/zero | tail -n 1 > /dev/null";
    let of = |mebibytes: &str| {
        let more = ["--memory-limit", mebibytes, "--jobs", "1"];
        bench.verdict("process-kill", "echo done", check, &more)
    };
    assert_eq!((of("64").as_str(), of("1024").as_str()), ("corrupt", "held"));
}

/// A repair that is not atomic: a crash in its midst makes it lose what it was to bring back.
#[test]
fn the_power_goes_during_the_recovery_of_a_command_too() {
    let bench = Bench::new();
    let setup = ["--setup", "echo value > backup", "--recovery-depth", "1"];
    let depth = |check: &str| bench.verdict("process-kill", "rm -f data; echo go", check, &setup);
    let bad = r#"[ ! -e backup ] || { v=$(cat backup); rm backup; echo "$v" > data; }; [ "$(cat data)" = value ]"#;
    let good = r#"[ ! -e backup ] || { cp backup data; rm backup; }; [ "$(cat data)" = value ]"#;
    assert_eq!((depth(bad).as_str(), depth(good).as_str()), ("corrupt", "held"));
}

#[test]
fn nothing_that_was_started_outlives_the_tool() {
    let bench = Bench::new();
    let pid = bench.path("pid");
    let workload = r#"sleep 3600 & echo $! > "$FAULTFS_HERE/pid"; echo x > file"#;
    assert_eq!(bench.verdict("process-kill", workload, "true", &[]), "held");
    let workload_left = fs::read_to_string(&pid).unwrap();
    let check = r#"setsid sleep 3600 & echo $! > "$FAULTFS_HERE/pid""#;
    assert_eq!(bench.verdict("process-kill", "echo x > file", check, &[]), "held");
    for left in [workload_left, fs::read_to_string(&pid).unwrap()] {
        assert!(!Path::new("/proc").join(left.trim()).exists(), "{left} is there");
    }
}

#[test]
fn the_report_does_not_depend_on_the_number_of_workers() {
    let bench = Bench::new();
    let workload = "echo 1 > a; echo 2 > b; mv a c; echo done";
    let check =
        r#"[ "$(cat c 2>/dev/null)" = 1 ] || { echo "$FAULTFS_ROOT has no c" >&2; exit 1; }"#;
    let reports = ["1", "2", "5"].map(|jobs| {
        let (mut run, _) = bench.torture("ext4", workload, check, &["--jobs", jobs]);
        run.as_object_mut().unwrap().remove("seconds").unwrap();
        run
    });
    assert_eq!(reports[0]["verdict"], "corrupt");
    assert_eq!(reports[0]["failures"][0]["message"], "…/root has no c");
    assert!(reports.iter().all(|report| *report == reports[0]));
}

#[test]
fn what_cannot_be_done_is_said_with_its_mend() {
    let bench = Bench::new();
    let both = ["--workload", "echo x > file", "--check", "true"];
    for (args, expected) in [
        (&["torture", "command"][..], "say what runs: --workload"),
        (&["torture", "command", "--workload", "true"], "there is no --check"),
        (&[&["torture", "sqlite"][..], &both].concat(), "are for the target `command`"),
        (&[&["torture", "postgres"][..], &both].concat(), "there are sqlite and command"),
    ] {
        let output = bench.run(args);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(expected), "{}", text(&output));
    }
    let failing = ["torture", "command", "--workload", "echo no >&2; exit 3", "--check", "true"];
    let output = bench.run(&failing);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(
        text(&output).contains("the workload ended with exit status: 3: no"),
        "{}",
        text(&output)
    );
}

/// A sweep of a command, or one plan, and the exit code.
fn swept(bench: &Bench, workload: &str, check: &str, faults: &[&str]) -> (Value, i32) {
    let what = ["torture", "command", "--workload", workload, "--check", check];
    let output =
        bench.run(&[&what[..], faults, &["--traces", "traces", "--format", "json"]].concat());
    let mut json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    (json["sweeps"][0]["report"].take(), output.status.code().unwrap())
}

const IS_SAVED: &str = r#"[ ! -s "$FAULTFS_OUTPUT" ] || [ "$(cat a 2> /dev/null)" = value ] || { echo "lost: a" >&2; exit 1; }"#;

/// Of a sync that has failed the pages are clean, and the next one has nothing to write: the lesson of PostgreSQL's
/// "fsyncgate". The fixed twin gives up.
#[test]
fn a_command_that_syncs_again_after_a_failed_sync_is_found_and_one_that_gives_up_holds() {
    let bench = Bench::new();
    let crash = ["--faults", "crash,fsync"];
    let again = "printf value > a; (sync a || sync a) && sync . && echo saved";
    let (report, code) = swept(&bench, again, IS_SAVED, &crash);
    assert_eq!((report["verdict"].as_str(), code), (Some("lost"), 1), "{report}");
    let failure = &report["failures"][0];
    let fault = failure["fault"].as_str().unwrap();
    assert!(fault.starts_with("sync a take 1 -> fail "), "{report}");
    let token = failure["token"].as_str().unwrap();
    let replayed = bench.run(&["replay", token, "--traces", "traces"]);
    assert_eq!(replayed.status.code(), Some(1), "{}", text(&replayed));
    assert!(text(&replayed).contains("lost: a"), "{}", text(&replayed));

    let once = "printf value > a; sync a && sync . && echo saved";
    let (report, code) = swept(&bench, once, IS_SAVED, &crash);
    assert_eq!((report["verdict"].as_str(), code), (Some("held"), 0), "{report}");
    let swept = &report["swept"];
    assert_eq!(swept["runs"], swept["cases"]["fsync"], "{swept}");
    assert!(swept["injected"].as_u64() >= swept["runs"].as_u64(), "{swept}");
    assert_eq!(swept["calls"], 4, "a create, a write, two syncs: {swept}");
}

/// Every kind of call, by its errors before its effect and after it.
#[test]
fn a_command_that_does_not_look_at_errors_is_found_by_each_family() {
    let bench = Bench::new();
    let careless = "printf value > new; mv new a; echo saved";
    for (faults, first) in [("nospace", "write new"), ("io", "create new")] {
        let (report, code) = swept(&bench, careless, IS_SAVED, &["--faults", faults]);
        assert_eq!((report["verdict"].as_str(), code), (Some("lost"), 1), "{report}");
        let failures = report["failures"].as_array().unwrap();
        let has =
            |call: &str| failures.iter().any(|f| f["fault"].as_str().unwrap().starts_with(call));
        assert!(has(first), "{report}");
        assert!(faults == "nospace" || has("rename new take 1 -> fail "), "{report}");
        let careful = careless.replace(';', " &&");
        let (report, code) = swept(&bench, &careful, IS_SAVED, &["--faults", faults]);
        assert_eq!((report["verdict"].as_str(), code), (Some("held"), 0), "{report}");
    }
    // What is done all the same and then called a failure.
    let plan = ["--plan", "rename new take 1 -> fail-after EIO", "--profile", "process-kill"];
    let gone = "printf value > new; mv new a || rm a; echo saved";
    assert_eq!(swept(&bench, gone, IS_SAVED, &plan).0["verdict"], "lost");
    let short = ["--plan", "write * -> short 1", "--profile", "process-kill"];
    let (report, code) = swept(&bench, gone, IS_SAVED, &short);
    assert_eq!((report["verdict"].as_str(), code), (Some("not-measured"), 3), "{report}");
    let why = report["not_measured"][0].as_str().unwrap();
    assert!(why.contains("as in `sync * take 1 -> fail EIO`"), "{why}");
}

#[test]
fn a_repair_that_ignores_an_error_is_found_by_faults_in_recoveries() {
    let bench = Bench::new();
    let more =
        ["--setup", "echo value > backup", "--recovery-faults", "nospace", "--recoveries", "2"];
    let repaired =
        |check: &str| bench.torture("process-kill", "rm -f data; echo go", check, &more).0;
    let is_there = r#"[ "$(cat data)" = value ]"#;
    let bad = repaired(&format!("[ ! -e backup ] || {{ cp backup data; rm backup; }}; {is_there}"));
    assert_eq!(bad["verdict"], "corrupt", "{bad}");
    let before = bad["failures"][0]["before"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(before.starts_with("in that recovery: "), "{bad}");
    let good =
        repaired(&format!("[ ! -e backup ] || {{ cp backup data && rm backup; }} && {is_there}"));
    assert_eq!(good["verdict"], "held", "{good}");
    assert!(!good["bound"].as_str().unwrap().contains("faults during recovery: 0 "), "{good}");
}

/// Not even where the tool has no time to see to it.
#[test]
fn what_is_traced_dies_with_a_tool_that_is_killed() {
    let bench = Bench::new();
    let workload = r#"echo $$ > "$FAULTFS_HERE/pid"; exec sleep 3600"#;
    let mut tool = bench.tool(&["torture", "command", "--workload", workload, "--check", "true"]);
    let mut tool = tool.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid =
        wait_for(|| fs::read_to_string(bench.path("pid")).ok().filter(|pid| pid.ends_with('\n')));
    assert!(Path::new("/proc").join(pid.trim()).exists());
    tool.kill().unwrap();
    tool.wait().unwrap();
    wait_for_the_end_of(&pid);
}

/// Of a process whose tracer was killed: whoever adopted it may not have buried it yet.
fn wait_for_the_end_of(pid: &str) {
    let status = Path::new("/proc").join(pid.trim()).join("status");
    wait_for(|| match fs::read_to_string(&status) {
        Ok(status) if !status.contains("State:\tZ") => None,
        _ => Some(()),
    });
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2000 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited for twenty seconds");
}

/// Whether a program is there to be tested with.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no `{program}` here");
    }
    found
}

const SQLITE_PUT: &str = r#"
export HOME="$TMPDIR"
sql() { sqlite3 -batch -init /dev/null app.db "PRAGMA synchronous=$1; $2" || exit 1; }
sql $1 "CREATE TABLE item (id INTEGER, value TEXT);"
for id in 1 2; do
    sql $1 "BEGIN; INSERT INTO item VALUES ($id, hex(zeroblob(3000))); INSERT INTO item VALUES ($id, 'x'); COMMIT;"
    echo "committed $id"
done"#;

const SQLITE_CHECK: &str = r#"
export HOME="$TMPDIR"
sql() { sqlite3 -batch -init /dev/null app.db "$1" 2>&1; }
found=$(sql 'PRAGMA integrity_check')
[ "$found" = ok ] || { echo "corrupt: $found" >&2; exit 1; }
while read -r _ id; do
    found=$(sql "SELECT count(*) FROM item WHERE id = $id")
    [ "$found" = 2 ] || { echo "lost: transaction $id: $found" >&2; exit 1; }
done < "$FAULTFS_OUTPUT""#;

/// One process for each transaction, and the verdicts of the documentation (sqlite.org/pragma.html): EXTRA syncs
/// the folder after the journal is removed, FULL does not.
#[test]
fn the_sqlite_shell_keeps_what_its_documentation_promises() {
    if !has("sqlite3") {
        return;
    }
    let bench = Bench::new();
    bench.script("put", SQLITE_PUT);
    bench.script("check", SQLITE_CHECK);
    let few = ["--omissions", "1", "--samples", "20", "--budget", "300"];
    assert_eq!(bench.verdict("ext4", "./put extra", "./check", &few), "held");
    let (run, _) = bench.torture("ext4", "./put full", "./check", &few);
    assert_eq!(run["verdict"], "lost");
    let sentence = run["failures"][0]["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("Lost only the removal of app.db-journal"), "{sentence}");
}

const GIT: &str = r#"export HOME="$TMPDIR" GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b"#;

const GIT_CHECK: &str = r#"
found=$(git fsck --full 2>&1) || { echo "corrupt: $found" >&2; exit 1; }
while read -r _ id; do
    git log --format=%H 2> /dev/null | grep -q "$id" || { echo "lost: commit $id" >&2; exit 1; }
done < "$FAULTFS_OUTPUT""#;

/// Many processes for each commit. With `core.fsync=none` nothing is synced, with `all` every file, and no folder: the
/// branch may be what it was. (ALICE found the same.)
#[test]
fn git_keeps_its_objects_where_it_is_told_to_and_its_branches_where_the_folder_is_synced() {
    if !has("git") {
        return;
    }
    let bench = Bench::new();
    let setup = format!("{GIT}\ngit init -q . && git config core.fsync $1 && git config gc.auto 0");
    bench.script("setup", &setup);
    bench.script("commit", &format!("{GIT}\necho x > file && git add file && git commit -q -m 1 && $1 && echo committed $(git rev-parse HEAD)"));
    bench.script("check", &format!("{GIT}{GIT_CHECK}"));
    let of = |fsync: &str, after: &str| {
        let setup = format!("./setup {fsync}");
        let few = ["--omissions", "1", "--samples", "20", "--budget", "150", "--setup", &setup];
        bench.torture("ext4", &format!("./commit '{after}'"), "./check", &few).0
    };
    assert_eq!(of("none", "true")["verdict"], "corrupt");
    let synced = of("all", "true");
    assert_eq!(synced["verdict"], "lost");
    let sentence = synced["failures"][0]["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("Lost only the rename to .git/refs/heads/"), "{sentence}");
    assert_eq!(of("all", "sync -f .")["verdict"], "held");
}

/// What the other targets have: shares and their sum, JUnit, a baseline.
#[test]
fn shares_are_merged_and_results_are_held_against_a_baseline() {
    let bench = Bench::new();
    let workload = "echo 1 > a; sync -f a; mv a b; echo done";
    let check = r#"[ ! -s "$FAULTFS_OUTPUT" ] || [ -e b ] || { echo "lost: b" >&2; exit 1; }"#;
    let (mut whole, _) = bench.torture("ext4", workload, check, &[]);
    let what =
        ["torture", "command", "--workload", workload, "--check", check, "--profile", "ext4"];
    for share in ["1/2", "2/2"] {
        let more = ["--partition", share, "--shards", "shards", "--traces", "traces"];
        bench.run(&[&what[..], &more].concat());
    }
    let shards = fs::read_dir(bench.path("shards")).unwrap();
    let shards: Vec<String> =
        shards.map(|entry| entry.unwrap().path().to_str().unwrap().to_string()).collect();
    let mut args = vec!["merge", "--format", "json", "--traces", "traces"];
    args.extend(shards.iter().map(String::as_str));
    let merged = bench.run(&args);
    let mut merged: Value = serde_json::from_slice(&merged.stdout).expect("JSON");
    for run in [&mut whole, &mut merged["runs"][0]] {
        run.as_object_mut().unwrap().remove("seconds").unwrap();
    }
    assert_eq!(whole["verdict"], "lost");
    assert_eq!(whole, merged["runs"][0]);

    let more = ["--traces", "traces", "--junit", "junit.xml", "--baseline", "baseline"];
    let first =
        bench.tool(&[&what[..], &more, &["--update-baseline"]].concat()).env_remove("CI").output();
    assert!(bench.path("baseline").exists(), "{}", text(&first.unwrap()));
    assert!(fs::read_to_string(bench.path("junit.xml")).unwrap().contains("lost: b"));
    let again = bench.run(&[&what[..], &more].concat());
    assert!(text(&again).contains("baseline: 1 of 1 runs as before"), "{}", text(&again));
}
