//! `points` as its users meet it: what is asked of a process, what is printed, the exit code. The process
//! is played by the test; what a real one answers is tested with the library's control module.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

fn tool(socket: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cargo-faultfs"))
        .arg("points")
        .arg(socket)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the tool starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Exit code, standard output and standard error of the tool, and what it asked of a process that answers
/// `answer`.
fn asked(args: &[&str], answer: &str) -> (Option<i32>, String, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("process.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = answer.to_owned();
    let process = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        line
    });
    let output = tool(&socket, args);
    let line = process.join().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr), line)
}

#[test]
fn each_command_is_one_request_and_its_answer_is_printed() {
    for (args, line, answer, printed) in [
        (
            &["arm", "log_synced", "2*off->return(EIO)"][..],
            "arm\tlog_synced\t2*off->return(EIO)\n",
            "ok 0\n",
            "",
        ),
        (&["disarm", "log_synced"], "disarm\tlog_synced\n", "ok 0\n", ""),
        (&["release", "log_synced"], "release\tlog_synced\n", "ok 0\n", ""),
        (
            &["count", "log_synced"],
            "count\tlog_synced\n",
            "ok 1\nhits 2\tfires 1\tpaused 0\n",
            "hits 2  fires 1  paused 0\n",
        ),
        (&["wait", "log_synced", "--hits", "3"], "wait\tlog_synced\thits\t3\t30\n", "ok 0\n", ""),
        (
            &["wait", "log_synced", "--paused", "1", "--timeout", "0"],
            "wait\tlog_synced\tpaused\t1\t0\n",
            "ok 0\n",
            "",
        ),
        (
            &["list"],
            "list\n",
            "ok 2\na\tsrc/a.rs:7\tengine\tpassed\t2\t1\toff\nlog_synced\tsrc/log.rs:70\tengine\tnot passed\t0\t0\t\n",
            "POINT       PLACE          PACKAGE  PASSED      HITS  FIRES  ARMED\n\
             a           src/a.rs:7     engine   passed      2     1      off\n\
             log_synced  src/log.rs:70  engine   not passed  0     0\n",
        ),
    ] {
        let (code, stdout, stderr, asked) = asked(args, answer);
        assert_eq!((code, &*stdout, &*asked), (Some(0), printed, line), "{args:?}: {stderr}");
        assert_eq!(stderr, "", "{args:?}");
    }
}

#[test]
fn a_refusal_a_wait_in_vain_and_no_answer_have_codes_of_their_own() {
    for (answer, code, said) in [
        ("error there is no fail point `a`\n", 2, "error: there is no fail point `a`\n"),
        ("late waited 1s in vain\n", 1, "error: waited 1s in vain\n"),
        ("", 3, "error: the process hung up; is it still running?\n"),
        ("SSH-2.0\n", 3, "error: `SSH-2.0` is no answer; is it a `faultpoint` socket?\n"),
    ] {
        let (found, stdout, stderr, _) = asked(&["wait", "a", "--hits", "1"], answer);
        assert_eq!((found, &*stdout, &*stderr), (Some(code), "", said), "{answer:?}");
    }
}

#[test]
fn what_is_wrong_by_itself_is_told_without_asking() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("process.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    for (args, part) in [
        (&["arm", "a", "25retrn"][..], "there is no task `25retrn`"),
        (&["wait", "a"], "--hits"),
        (&["wait", "a", "--hits", "1", "--paused", "1"], "cannot be used with"),
        (&["wait", "a", "--hits", "1", "--timeout", "3601"], "3601 is not in 0..=3600"),
        (&["lst"], "list"),
    ] {
        let output = tool(&socket, args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(part), "{args:?}: {stderr}");
        assert!(listener.accept().is_err(), "{args:?} reached the process");
    }
    let nobody = tool(&folder.path().join("other.sock"), &["list"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(text(&nobody.stderr).contains("no process answers at"), "{}", text(&nobody.stderr));
}
