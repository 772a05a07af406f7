//! The side of the program that is controlled.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::LINE_MAX;
use super::failure::Failure;
use super::request::{Request, What};
use crate::catalogue::{self, catalogue};
use crate::error::{Error, one_line};
use crate::point::Point;
use crate::{compat, scope};

/// Clients at one time; more are told so and hung up on.
const CLIENTS_MAX: usize = 8;
/// How long a client may be silent between requests.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a client may take to take an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How often a wait looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(100);

/// Answers clients until dropped; then the socket is gone.
#[derive(Debug)]
#[must_use = "the socket is removed when this is dropped"]
pub struct Server {
    socket: PathBuf,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Lets other processes of this user control the fail points of this one, over the socket
/// `PID.sock` in `folder`, which is made if it is not there, for its owner alone. Sockets that
/// killed processes have left in it are removed.
///
/// # Errors
///
/// When the folder is there and others may enter it, or it is not this user's; whatever the file
/// system says.
pub fn serve(folder: impl AsRef<Path>) -> io::Result<Server> {
    let folder = folder.as_ref();
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::metadata(folder)?;
    if !metadata.is_dir() || metadata.mode() & 0o077 != 0 {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!(
                "the folder of the control socket must be its owner's alone; `chmod 700 {}` or \
                 name another",
                folder.display()
            ),
        ));
    }
    let socket = folder.join(format!("{}.sock", process::id()));
    remove_stale(folder)?;
    if socket.exists() {
        return Err(io::Error::new(
            ErrorKind::AddrInUse,
            "this process is controlled over this folder already; keep the first `Server`",
        ));
    }
    let listener = UnixListener::bind(&socket)?;
    // From here on a failure takes the socket away again.
    let mut server = Server { socket, is_stopping: Arc::default(), thread: None };
    fs::set_permissions(&server.socket, Permissions::from_mode(0o600))?;
    if fs::metadata(&server.socket)?.uid() != metadata.uid() {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("`{}` is another user's; name a folder of your own", folder.display()),
        ));
    }
    let is_stopping = Arc::clone(&server.is_stopping);
    let builder = thread::Builder::new().name("faultpoint-control".to_owned());
    server.thread = Some(builder.spawn(move || accept(&listener, &is_stopping))?);
    Ok(server)
}

impl Server {
    /// The socket, for [`Client::connect`](super::Client::connect).
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Release);
        // Whoever accepts looks at the flag when somebody comes.
        let is_woken = UnixStream::connect(&self.socket).is_ok();
        let _ = fs::remove_file(&self.socket);
        if let Some(thread) = self.thread.take()
            && is_woken
        {
            let _ = thread.join();
        }
    }
}

/// Processes that were killed have left their sockets.
fn remove_stale(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_socket = path.extension().is_some_and(|extension| extension == "sock");
        let refuses = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
        if is_socket && UnixStream::connect(&path).is_err_and(refuses) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn accept(listener: &UnixListener, is_stopping: &Arc<AtomicBool>) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if is_stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else {
            // Out of file descriptors, most likely: the program needs them more.
            thread::sleep(LOOK);
            continue;
        };
        let Some(place) = Place::take(&clients) else {
            // A socket nobody has written to takes a line without making us wait.
            let error =
                Error::new(format!("{CLIENTS_MAX} clients are served already; try again later"));
            let _ = stream.set_nonblocking(true).and_then(|()| answer(&stream, Err(error.into())));
            continue;
        };
        let is_stopping = Arc::clone(is_stopping);
        let builder = thread::Builder::new().name("faultpoint-client".to_owned());
        // Without a thread for it the client is hung up on.
        let _ = builder.spawn(move || {
            let _ = Session { stream: &stream, is_stopping: &is_stopping }.run();
            drop(place);
        });
    }
}

/// One of the clients that are served at one time.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(clients: &Arc<AtomicUsize>) -> Option<Place> {
        let place = Place(Arc::clone(clients));
        (clients.fetch_add(1, Ordering::AcqRel) < CLIENTS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Session<'a> {
    stream: &'a UnixStream,
    is_stopping: &'a AtomicBool,
}

impl Session<'_> {
    fn run(&self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(SILENCE_MAX))?;
        self.stream.set_write_timeout(Some(ANSWER_MAX))?;
        let mut requests = BufReader::new(self.stream);
        while !self.is_stopping.load(Ordering::Acquire) {
            let mut line = Vec::new();
            let length = requests.by_ref().take(LINE_MAX + 1).read_until(b'\n', &mut line)?;
            if length == 0 {
                return Ok(());
            }
            if line.last() != Some(&b'\n') {
                if length as u64 > LINE_MAX {
                    let error = Error::new(format!(
                        "a request has at most {LINE_MAX} bytes; this one has more"
                    ));
                    return answer(self.stream, Err(error.into()));
                }
                // Hung up in the middle of a request.
                return Ok(());
            }
            line.pop();
            let reply = match str::from_utf8(&line) {
                Ok(line) => match line.parse() {
                    Ok(request) => self.reply(&request),
                    Err(error) => Err(Failure::Refused(error)),
                },
                Err(_) => Err(Error::new("a request is text in UTF-8; this one is not").into()),
            };
            answer(self.stream, reply)?;
        }
        Ok(())
    }

    fn reply(&self, request: &Request) -> Result<Vec<String>, Failure> {
        match request {
            Request::List => Ok(list()),
            Request::Arm { name, actions } => {
                catalogue::check_name(name)?;
                catalogue::check_actions(name, actions)?;
                compat::cfg(name.as_str(), &actions.to_string()).map_err(Error::new)?;
                Ok(Vec::new())
            }
            Request::Disarm { name } => {
                armed(name)?;
                compat::remove(name);
                Ok(Vec::new())
            }
            Request::Release { name } => {
                armed(name)?.release(usize::MAX);
                Ok(Vec::new())
            }
            Request::Count { name } => {
                let status = armed(name)?.status();
                let (hits, fires, paused) = (status.hits, status.fires, status.paused.len());
                Ok(vec![format!("hits {hits}\tfires {fires}\tpaused {paused}")])
            }
            Request::Wait { name, what, count, limit } => {
                self.wait(&*armed(name)?, *what, *count, *limit)
            }
        }
    }

    fn wait(
        &self,
        point: &Point,
        what: What,
        count: u64,
        limit: Duration,
    ) -> Result<Vec<String>, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            let slice = deadline.saturating_duration_since(Instant::now()).min(LOOK);
            let has_come = match what {
                What::Hits => point.wait_hits(count, slice),
                What::Paused => {
                    point.wait_paused(usize::try_from(count).unwrap_or(usize::MAX), slice)
                }
            };
            if has_come {
                return Ok(Vec::new());
            }
            if slice.is_zero() {
                let status = point.status();
                return Err(Failure::Late(Error::new(format!(
                    "waited {limit:?} in vain; `{}` was hit {} times, {} pause there",
                    point.name(),
                    status.hits,
                    status.paused.len()
                ))));
            }
            if self.is_stopping.load(Ordering::Acquire) || self.has_hung_up() {
                return Err(Error::new("nobody waits any more").into());
            }
        }
    }

    fn has_hung_up(&self) -> bool {
        let mut stream = self.stream;
        let mut byte = [0];
        let looked = self.stream.set_nonblocking(true).and_then(|()| stream.read(&mut byte));
        let blocking = self.stream.set_nonblocking(false);
        // A client that asks on before it has its answer breaks the protocol.
        blocking.is_err() || !looked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

fn answer(mut stream: &UnixStream, reply: Result<Vec<String>, Failure>) -> io::Result<()> {
    let text = match reply {
        Ok(lines) => {
            let count = format!("ok {}\n", lines.len());
            lines.iter().fold(count, |text, line| text + line + "\n")
        }
        Err(Failure::Late(error)) => format!("late {error}\n"),
        Err(error) => format!("error {error}\n"),
    };
    stream.write_all(text.as_bytes())
}

fn armed(name: &str) -> Result<Arc<Point>, Error> {
    if let Some(point) = scope::global().get(name) {
        return Ok(point);
    }
    catalogue::check_name(name)?;
    Err(Error::new(format!(
        "fail point `{name}` is not armed; arm it first, with `off` to count its passes only"
    )))
}

fn list() -> Vec<String> {
    let settings = compat::list();
    let setting = |name: &str| settings.iter().find(|(armed, _)| armed == name);
    let sites = catalogue();
    let mut lines: Vec<String> = sites
        .iter()
        .map(|site| {
            let name = site.name().unwrap_or("(computed)");
            let passed = if site.was_passed() { "passed" } else { "not passed" };
            let actions = setting(name).map_or(String::new(), |(_, actions)| one_line(actions));
            format!(
                "{name}\t{site}\t{}\t{passed}\t{}\t{}\t{actions}",
                site.package(),
                site.hits(),
                site.fires()
            )
        })
        .collect();
    let has_site = |name: &str| sites.iter().any(|site| site.name() == Some(name));
    for (name, actions) in settings.iter().filter(|(name, _)| !has_site(name)) {
        let status = scope::global().get(name).map(|point| point.status());
        let (hits, fires) = status.map_or((0, 0), |status| (status.hits, status.fires));
        let passed = if hits > 0 { "passed" } else { "not passed" };
        let (name, actions) = (one_line(name), one_line(actions));
        lines.push(format!("{name}\t\t\t{passed}\t{hits}\t{fires}\t{actions}"));
    }
    lines
}
