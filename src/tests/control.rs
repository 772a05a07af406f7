//! Live control: what a client can do, and what it cannot do to the program.

#![forbid(unsafe_code)]
#![cfg(all(feature = "control", unix))]

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use faultpoint::control::{self, Client, Server};
use faultpoint::{FailScenario, fail_point, fault_point};

fn flush() -> std::io::Result<()> {
    fault_point!("control_flush")
}

fn get() -> u32 {
    fail_point!("control_get", |_| 1);
    0
}

/// A server in a folder of its own. The settings are the process's, so tests take turns.
struct Controlled {
    server: Server,
    _turn: FailScenario<'static>,
    _folder: tempfile::TempDir,
}

fn controlled() -> Controlled {
    let turn = FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let server = control::serve(folder.path().join("control")).unwrap();
    Controlled { server, _turn: turn, _folder: folder }
}

impl Controlled {
    fn client(&self) -> Client {
        Client::connect(self.server.socket()).unwrap()
    }

    fn ask(&self, line: &str) -> Result<Vec<String>, String> {
        let request = line.parse().map_err(|error: faultpoint::Error| error.to_string())?;
        self.client().request(&request).map_err(|error| error.to_string())
    }

    /// What comes back for bytes that no client of ours would send.
    fn answer_to(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.server.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = String::new();
        // Who hangs up on us in the middle has answered before.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let _ = stream.read_to_string(&mut answer);
        answer
    }
}

#[test]
fn a_client_lists_arms_counts_and_disarms() {
    let program = controlled();
    program.ask("arm\tcontrol_flush\t1*off->return(ENOSPC)").unwrap();
    assert!(flush().is_ok());
    assert_eq!(flush().unwrap_err().raw_os_error(), Some(28));
    assert_eq!(program.ask("count\tcontrol_flush").unwrap(), ["hits 2\tfires 1\tpaused 0"]);
    let list = program.ask("list").unwrap();
    let line = list.iter().find(|line| line.starts_with("control_flush\t")).unwrap();
    let fields: Vec<&str> = line.split('\t').collect();
    assert!(fields[1].starts_with("src/tests/control.rs:"), "{line}");
    assert_eq!(fields[2..4], ["faultpoint", "passed"], "{line}");
    assert_eq!(fields[6], "1*off->return(ENOSPC)", "{line}");
    program.ask("disarm\tcontrol_flush").unwrap();
    assert!(flush().is_ok());
    assert!(program.ask("list").unwrap().iter().all(|line| !line.ends_with("ENOSPC)")));
}

#[test]
fn a_client_waits_for_a_pause_and_releases_it() {
    let program = controlled();
    let mut client = program.client();
    client.request(&"arm\tcontrol_get\t1*pause->return".parse().unwrap()).unwrap();
    let paused = thread::spawn(get);
    client.request(&"wait\tcontrol_get\tpaused\t1\t20".parse().unwrap()).unwrap();
    client.request(&"release\tcontrol_get".parse().unwrap()).unwrap();
    assert_eq!(paused.join().unwrap(), 0);
    assert_eq!(get(), 1);
    client.request(&"wait\tcontrol_get\thits\t2\t20".parse().unwrap()).unwrap();
    let error = client.request(&"wait\tcontrol_get\thits\t3\t0".parse().unwrap()).unwrap_err();
    let expected = "waited 0ns in vain; `control_get` was hit 2 times, 0 pause there";
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, control::Failure::Late(_)));
}

#[test]
fn a_wrong_request_is_an_error_that_says_how_to_mend_it() {
    let program = controlled();
    for (line, part) in [
        ("arm\tcontrol_fluhs\toff", "did you mean `control_flush`?"),
        ("arm\tcontrol_flush\treturn(ENOSPACE)", "did you mean `ENOSPC`?"),
        ("disarm\tcontrol_get", "is not armed; arm it first"),
        ("count\tcontrol_get", "is not armed; arm it first"),
        ("wait\tcontrol_gte\thits\t1\t1", "did you mean `control_get`?"),
    ] {
        let error = program.ask(line).unwrap_err();
        assert!(error.contains(part), "{line}: {error}");
    }
    assert_eq!(get(), 0);
}

#[test]
fn what_no_line_can_hold_is_refused_before_it_is_sent_and_listed_in_one_line() {
    let program = controlled();
    let mut client = program.client();
    let arm = |name: &str, actions: &str| control::Request::Arm {
        name: name.to_owned(),
        actions: actions.parse().unwrap(),
    };
    for request in [
        arm("control_get\tpanic", "off"),
        arm("control_get", "return(a\nlist)"),
        arm("control_get", "return(a\tb)"),
        control::Request::Count { name: "a\nlist".to_owned() },
        control::Request::Count { name: String::new() },
    ] {
        let failure = client.request(&request).unwrap_err();
        assert!(matches!(failure, control::Failure::Refused(_)), "{failure}");
    }
    let long = arm("control_get", &format!("return({})", "a".repeat(70_000)));
    let failure = client.request(&long).unwrap_err().to_string();
    assert!(failure.contains("a request has at most 65536 bytes"), "{failure}");
    // The program itself may arm such things.
    faultpoint::cfg("control_get", "return(a\n\tb)").unwrap();
    let list = client.request(&control::Request::List).unwrap();
    assert!(list.iter().any(|line| line.ends_with("\treturn(a\\n\\tb)")), "{list:?}");
    assert!(list.iter().all(|line| line.split('\t').count() == 7), "{list:?}");
}

#[test]
fn the_only_process_of_a_folder_need_not_be_named() {
    let program = controlled();
    let folder = program.server.socket().parent().unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.join("1.sock")).unwrap());
    Client::connect(folder).unwrap().request(&control::Request::List).unwrap();
    let other = std::os::unix::net::UnixListener::bind(folder.join("2.sock")).unwrap();
    let error = Client::connect(folder).unwrap_err().to_string();
    assert!(error.starts_with("name one of several processes: "), "{error}");
    drop(other);
    let empty = tempfile::tempdir().unwrap();
    let error = Client::connect(empty.path()).unwrap_err().to_string();
    assert!(error.contains("no process is controlled over"), "{error}");
}

/// A process that is none of ours, or goes away, is no success and no refusal.
#[test]
fn an_answer_that_makes_no_sense_is_told_from_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    for (answer, part) in [
        ("HTTP/1.1 400\n", "is no answer; is it a `faultpoint` socket?"),
        ("ok two\n", "is no answer"),
        ("ok 2\none\n", "the process hung up"),
        ("ok", "the process hung up"),
        ("", "the process hung up"),
    ] {
        let mut client = Client::connect(&path).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let answering = thread::spawn(move || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(&stream), &mut line).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let failure = client.request(&control::Request::List).unwrap_err();
        answering.join().unwrap();
        assert!(matches!(failure, control::Failure::NoAnswer(_)), "{answer:?}: {failure}");
        assert!(failure.to_string().contains(part), "{answer:?}: {failure}");
    }
}

#[test]
fn malformed_oversized_and_abandoned_requests_disturb_nothing() {
    let program = controlled();
    for (bytes, part) in [
        (&b"nonsense\n"[..], "error there is no request `nonsense`"),
        (b"\n", "error there is no request ``"),
        (b"arm\tcontrol_get\n", "error `arm` does not take 1 fields"),
        (b"list\xff\n", "error a request is text in UTF-8"),
        (b"a\0b\n", "error there is no request `a\\u{0}b`"),
        (b"count\tcontrol_get\nlist\n", "error fail point `control_get` is not armed"),
    ] {
        let answer = program.answer_to(bytes);
        assert!(answer.starts_with(part), "{answer}");
    }
    let oversized = vec![b'a'; 100_000];
    assert!(program.answer_to(&oversized).starts_with("error a request has at most 65536 bytes"));
    // Begun and left: no answer, no harm.
    assert_eq!(program.answer_to(b"list"), "");
    drop(UnixStream::connect(program.server.socket()).unwrap());
    // Asked and not waited for.
    let mut gone = UnixStream::connect(program.server.socket()).unwrap();
    program.ask("arm\tcontrol_get\treturn").unwrap();
    gone.write_all(b"wait\tcontrol_get\thits\t1000000\t3600\n").unwrap();
    drop(gone);
    assert_eq!(get(), 1);
    assert_eq!(program.ask("count\tcontrol_get").unwrap(), ["hits 1\tfires 1\tpaused 0"]);
}

#[test]
fn too_many_clients_are_told_so_and_places_come_free() {
    let program = controlled();
    let mut clients: Vec<Client> = (0..8).map(|_| program.client()).collect();
    for client in &mut clients {
        client.request(&"list".parse().unwrap()).unwrap();
    }
    let error = program.ask("list").unwrap_err();
    assert_eq!(error, "8 clients are served already; try again later");
    drop(clients);
    let start = Instant::now();
    while let Err(error) = program.ask("list") {
        assert!(start.elapsed() < Duration::from_secs(20), "{error}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn only_the_owner_can_come_near_the_socket() {
    let program = controlled();
    let socket = program.server.socket();
    assert_eq!(fs::metadata(socket).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(socket.parent().unwrap()).unwrap().mode() & 0o777, 0o700);

    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), Permissions::from_mode(0o755)).unwrap();
    let error = control::serve(open.path()).unwrap_err().to_string();
    assert!(error.contains("must be its owner's alone; `chmod 700 "), "{error}");
    assert!(fs::read_dir(open.path()).unwrap().next().is_none());
}

#[test]
fn a_socket_goes_with_its_server_and_a_stale_one_is_replaced() {
    let program = controlled();
    let folder = program.server.socket().parent().unwrap().to_owned();
    let socket = program.server.socket().to_owned();
    let error = control::serve(&folder).unwrap_err().to_string();
    assert!(error.contains("is controlled over this folder already"), "{error}");
    let mut waiting = program.client();
    program.ask("arm\tcontrol_get\toff").unwrap();
    let waiting = thread::spawn(move || {
        waiting.request(&"wait\tcontrol_get\thits\t5\t3600".parse().unwrap())
    });
    let Controlled { server, _turn, _folder } = program;
    drop(server);
    assert!(waiting.join().unwrap().is_err(), "a wait ends with the server");
    assert!(!socket.exists());
    let error = Client::connect(&socket).unwrap_err().to_string();
    assert!(error.contains("no process answers at"), "{error}");

    // What processes leave that are killed: this one's number before, and another's.
    let other = folder.join("1.sock");
    for stale in [&socket, &other] {
        drop(std::os::unix::net::UnixListener::bind(stale).unwrap());
        assert!(stale.exists());
    }
    let again = control::serve(&folder).unwrap();
    assert!(!other.exists());
    Client::connect(again.socket()).unwrap().request(&"list".parse().unwrap()).unwrap();
}
