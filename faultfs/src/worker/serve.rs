//! The worker's side.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Resource, Rlimit, Signal, getppid, setrlimit};

use super::wire::{self, Hello, Said};
use super::{Reply, Role};
use crate::verdict::{Broken, Verdict};

/// Who this process is, where it is a worker; `None` where it is not.
///
/// The first call of a worker's life waits for its pool to say so, and takes the place of its standard
/// input: what the worker reads there afterwards is empty. From then on the worker dies with its pool,
/// and writes no core file.
pub fn current() -> Option<&'static Role> {
    static WORKER: OnceLock<Option<Role>> = OnceLock::new();
    let join = || {
        let hello = join().unwrap_or_else(|error| {
            eprintln!("faultfs: this process was started as a worker, but {error}");
            std::process::exit(1);
        })?;
        *lock(&MEMORY_LIMIT) = hello.memory_limit;
        Some(hello.role)
    };
    WORKER.get_or_init(join).as_ref()
}

/// Answers jobs for the rest of the process's life: calls `check` with each, in the order in which they
/// were given, and sends back what it returns. A panic becomes [`Verdict::Panicked`] and ends the worker,
/// as its memory may be in any state; the pool starts another.
///
/// Ends the process when the pool has no more jobs. Destructors of the caller do not run.
///
/// # Panics
///
/// In a process that is not a worker ([`current`] is `None`), and when called twice.
#[track_caller]
pub fn serve(mut check: impl FnMut(&[u8]) -> Reply) -> ! {
    serve_ahead(move |job, _| check(job))
}

/// As [`serve`]. `check` may look at the jobs that have come behind its own, the next first, with which it
/// will be called in turn, unless one before them ends the worker.
///
/// # Panics
///
/// As [`serve`].
#[track_caller]
pub fn serve_ahead(
    mut check: impl for<'j> FnMut(&'j [u8], &mut dyn Iterator<Item = &'j [u8]>) -> Reply,
) -> ! {
    let mut pool = lock(&POOL).take().expect("serve: ask worker::current() first, and serve once");
    panic::set_hook(Box::new(note_panic));
    if let Some(bytes) = *lock(&MEMORY_LIMIT) {
        limit_memory(bytes);
    }
    SERVING.set(true);
    match pool.answer_all(&mut check) {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("faultfs: a worker lost its pool: {error}");
            std::process::exit(1);
        }
    }
}

static POOL: Mutex<Option<Connection>> = Mutex::new(None);
static MEMORY_LIMIT: Mutex<Option<u64>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds the pool that started this process, if one did.
fn join() -> io::Result<Option<Hello>> {
    let Some(parent) = std::env::var_os(wire::VARIABLE) else { return Ok(None) };
    let is_parent = || getppid().is_some_and(|p| p.as_raw_nonzero().to_string().as_str() == parent);
    if !is_parent() {
        return Ok(None);
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if !is_parent() {
        return Err(io::Error::other("the process that started it is gone"));
    }
    // With a limit of 0 a core may still be piped to a program; the kernel takes 1 for "not at all".
    setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) })?;
    let stdin = io::stdin();
    let stream = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    let Some((message, outbox)) = first_message(&stream)? else {
        return Err(io::Error::other("its pool has nothing for it to do"));
    };
    let hello = wire::decode(&message)?;
    *lock(&POOL) = Some(Connection { stream, outbox: outbox.into() });
    Ok(Some(hello))
}

/// The first message and the outbox that comes with it, reading no further; `None` at the end of the
/// stream.
fn first_message(mut stream: &UnixStream) -> io::Result<Option<(Vec<u8>, OwnedFd)>> {
    let mut len = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let found = recvmsg(stream, &mut [IoSliceMut::new(&mut len)], &mut ancillary, flags)?;
    if found.bytes < len.len() {
        return Ok(None);
    }
    let outbox = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let outbox = outbox.ok_or_else(|| io::Error::other("its pool has sent no outbox"))?;
    let mut message = vec![0; u32::from_le_bytes(len) as usize];
    stream.read_exact(&mut message)?;
    Ok(Some((message, outbox)))
}

/// Private memory from now on: what there is, and `bytes` more.
fn limit_memory(bytes: u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let now =
        status.lines().find_map(|line| line.strip_prefix("VmData:")?.split_whitespace().next());
    let now: u64 = now.and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let limit = Some((now << 10).saturating_add(bytes));
    if let Err(error) = setrlimit(Resource::Data, Rlimit { current: limit, maximum: limit }) {
        eprintln!("faultfs: a worker runs without a memory limit: {error}");
    }
}

type Check<'a> = dyn for<'j> FnMut(&'j [u8], &mut dyn Iterator<Item = &'j [u8]>) -> Reply + 'a;

/// The ways to and from the pool.
struct Connection {
    stream: UnixStream,
    outbox: File,
}

impl Connection {
    fn answer_all(&mut self, check: &mut Check<'_>) -> io::Result<()> {
        let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
        let mut chunk = vec![0; 64 << 10];
        self.say(&Said::Ready, &mut outgoing)?;
        self.call()?;
        loop {
            let mut done = 0;
            while let Some((message, len)) = wire::split(&incoming[done..])? {
                let (job, calls) = wire::parse_job(message)?;
                let mut rest = &incoming[done + len..];
                let mut behind = std::iter::from_fn(|| {
                    let (message, len) = wire::split(rest).ok()??;
                    rest = &rest[len..];
                    Some(wire::parse_job(message).ok()?.0)
                });
                let reply = answer(|| check(job, &mut behind));
                let panicked =
                    matches!(&reply, Err(broken) if broken.verdict() == Verdict::Panicked);
                self.say(&Said::Done(reply), &mut outgoing)?;
                if panicked {
                    // At once: exit handlers of a library in an unknown state could do anything.
                    rustix::process::kill_process(rustix::process::getpid(), Signal::KILL)?;
                }
                if calls {
                    self.call()?;
                }
                done += len;
            }
            incoming.drain(..done);
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => incoming.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts a message into the outbox, in one piece.
    fn say(&mut self, said: &Said, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        said.frame(buffer);
        self.outbox.write_all(buffer)
    }

    fn call(&mut self) -> io::Result<()> {
        self.stream.write_all(&[0])
    }
}

fn answer(check: impl FnOnce() -> Reply) -> Reply {
    let result = panic::catch_unwind(AssertUnwindSafe(check));
    let panics = std::mem::take(&mut *lock(&PANICS));
    match result {
        Ok(reply @ Err(_)) => reply,
        // The check may have caught a panic of its own thread and made something of it; one that ended
        // a thread of the engine it may not even have noticed.
        Ok(reply) => match panics.into_iter().find(|panic| !panic.serving) {
            Some(panic) => Err(Broken::new(Verdict::Panicked, panic.text)),
            None => reply,
        },
        Err(payload) => {
            let noted =
                panics.into_iter().rev().find(|panic| panic.serving).map(|panic| panic.text);
            // `resume_unwind` passes the hook by.
            let text = noted.unwrap_or_else(|| payload_text(&*payload).to_string());
            Err(Broken::new(Verdict::Panicked, text))
        }
    }
}

struct Panic {
    /// It was on the thread that serves.
    serving: bool,
    text: String,
}

static PANICS: Mutex<Vec<Panic>> = Mutex::new(Vec::new());
/// Enough to find the one that counts.
const PANICS_MAX: usize = 64;

thread_local! {
    static SERVING: Cell<bool> = const { Cell::new(false) };
}

fn note_panic(info: &PanicHookInfo<'_>) {
    let location = info.location().map_or(String::new(), |at| format!(", at {at}"));
    let mut text = format!("{}{location}", payload_text(info.payload()));
    let serving = SERVING.get();
    if !serving && let Some(name) = std::thread::current().name() {
        text = format!("thread {name}: {text}");
    }
    // For a panic that turns into an abort: its standard error is all that is left of it.
    eprintln!("panicked: {text}");
    let mut panics = lock(&PANICS);
    if panics.len() < PANICS_MAX {
        panics.push(Panic { serving, text });
    }
}

fn payload_text(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}
