//! One worker process, as its pool sees it.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::Launch;
use super::output::{Output, Report};
use super::wire::{self, Hello, Said};
use crate::verdict::{Broken, Verdict};

/// How long a process may take to end after it has closed its connection.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How often is looked for what a worker says without a call.
const TICK: Duration = Duration::from_millis(20);

/// A running worker. Dropped, it is killed, with all of its process group, and reaped.
pub(super) struct Process {
    child: Child,
    stream: UnixStream,
    stderr: Option<ChildStderr>,
    outbox: Outbox,
    output: Output,
    oom_kills: u64,
}

/// What came of listening to a worker.
pub(super) enum Heard {
    /// It is ready, or done with its next jobs: at least one thing.
    Said(Vec<Said>),
    /// It said nothing before the deadline.
    Silence,
    /// It is gone, or talks nonsense.
    End,
}

impl Process {
    /// Starts a worker and tells it who it is.
    pub(super) fn start(launch: &Launch, hello: &Hello) -> io::Result<Process> {
        let (stream, theirs) = UnixStream::pair()?;
        let outbox = Outbox::new()?;
        let mut child = launch
            .command()
            .env(wire::VARIABLE, std::process::id().to_string())
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let stderr = child.stderr.take();
        let mut frame = Vec::new();
        wire::frame(&mut frame, &[&wire::encode(hello)]);
        // Where it is gone already, that is heard when it is listened to.
        let _ = send_with(&stream, &frame, &outbox.file);
        let output = Output::default();
        let process = Process { child, stream, stderr, outbox, output, oom_kills: oom_kills() };
        if let Some(stderr) = &process.stderr {
            rustix::io::ioctl_fionbio(stderr, true)?;
        }
        Ok(process)
    }

    /// The process group, which holds whatever the worker starts in turn.
    pub(super) fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Hands over framed jobs. Where the worker does not take them, that is heard when it is listened to.
    pub(super) fn send(&mut self, jobs: &[u8], limit: Duration) {
        let _ = self.stream.set_write_timeout(Some(limit));
        let _ = self.stream.write_all(jobs);
    }

    /// What the worker says next; `limit` is for the first of it. Where nobody has asked it to call, that
    /// is looked for now and then.
    pub(super) fn hear(&mut self, limit: Duration) -> Heard {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(ready) = self.wait(left.min(TICK)) else { return Heard::End };
            if ready.stderr {
                self.drain_output();
            }
            let ended = ready.stream && !self.drain_calls();
            // Even past the deadline, as after a pause of the whole machine, what is there is heard, and
            // after the end what was said before it.
            match self.outbox.take() {
                Err(_) => return Heard::End,
                Ok(said) if !said.is_empty() => return Heard::Said(said),
                Ok(_) if ended => return Heard::End,
                Ok(_) if left.is_zero() => return Heard::Silence,
                Ok(_) => {}
            }
        }
    }

    /// The last lines of its standard error.
    pub(super) fn output(&self) -> String {
        self.output.tail()
    }

    /// Waits for the end of a worker that has closed its connection, and says what it died of.
    pub(super) fn death(mut self) -> Broken {
        let ended = self.await_end();
        let status = self.end();
        self.drain_output();
        let oom_killed = oom_kills() > self.oom_kills;
        let broken = match status {
            _ if !ended => Broken::new(Verdict::Aborted, "closed its connection and did not end"),
            Ok(status) => cause(status, self.output.report(), oom_killed),
            Err(error) => Broken::new(Verdict::NotMeasured, format!("the worker is lost: {error}")),
        };
        broken.with_output(self.output())
    }

    fn wait(&self, limit: Duration) -> io::Result<Ready> {
        let timeout =
            Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        let stderr = self.stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN));
        let count = 1 + usize::from(stderr.is_some());
        let stream = PollFd::new(&self.stream, PollFlags::IN);
        let mut fds = [stream.clone(), stderr.unwrap_or(stream)];
        match poll(&mut fds[..count], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |index: usize| index < count && !fds[index].revents().is_empty();
        Ok(Ready { stream: ready(0), stderr: ready(1) })
    }

    /// Takes the calls that are there; false at the end of the connection.
    fn drain_calls(&mut self) -> bool {
        match self.stream.read(&mut [0; 64]) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        }
    }

    /// Takes what is there from standard error; keeps the last of it.
    fn drain_output(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        let mut chunk = [0; 4 << 10];
        // A worker that writes without end is not waited for: the deadline is looked at in between.
        for _ in 0..16 {
            match stderr.read(&mut chunk) {
                Ok(0) => return self.stderr = None,
                Ok(count) => self.output.push(&chunk[..count]),
                Err(_) => return,
            }
        }
    }

    /// True once the process has ended; it is not yet reaped, so its number is still its own.
    fn await_end(&self) -> bool {
        let deadline = Instant::now() + END_LIMIT;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let mut pause = Duration::from_micros(50);
        while Instant::now() < deadline {
            if !matches!(waitid(WaitId::Pid(self.group()), options), Ok(None)) {
                return true;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        false
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        let _ = kill_process_group(self.group(), Signal::KILL);
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Reaped already: its number may be another's by now.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.end();
        }
    }
}

struct Ready {
    stream: bool,
    stderr: bool,
}

/// The file to which a worker writes what it says.
struct Outbox {
    file: File,
    /// Bytes that were taken from it, and up to where their memory was given back.
    taken: u64,
    freed: u64,
    /// The beginning of a message whose rest is not there yet.
    rest: Vec<u8>,
}

/// Memory of an outbox is given back in pieces of this size.
const FREED_BYTES: u64 = 1 << 20;

impl Outbox {
    fn new() -> io::Result<Outbox> {
        let file = memfd_create(c"faultfs outbox", MemfdFlags::CLOEXEC)?.into();
        Ok(Outbox { file, taken: 0, freed: 0, rest: Vec::new() })
    }

    /// The whole messages that have come since.
    fn take(&mut self) -> io::Result<Vec<Said>> {
        let mut chunk = [0; 16 << 10];
        loop {
            let count = self.file.read_at(&mut chunk, self.taken)?;
            self.rest.extend_from_slice(&chunk[..count]);
            self.taken += count as u64;
            if count < chunk.len() {
                break;
            }
        }
        if self.taken - self.freed >= FREED_BYTES {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.file, hole, self.freed, self.taken - self.freed)?;
            self.freed = self.taken;
        }
        let (mut said, mut done) = (Vec::new(), 0);
        while let Some((message, len)) = wire::split(&self.rest[done..])? {
            said.push(Said::parse(message)?);
            done += len;
        }
        self.rest.drain(..done);
        Ok(said)
    }
}

/// Sends bytes, and with the first of them a descriptor.
fn send_with(mut stream: &UnixStream, bytes: &[u8], file: &File) -> io::Result<()> {
    let descriptors = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    stream.write_all(&bytes[sent..])
}

/// What a process died of: see the table in the module's documentation.
fn cause(status: ExitStatus, report: Option<Report>, oom_killed: bool) -> Broken {
    let signal = |number| Signal::from_named_raw(number);
    let (verdict, message) = match status.signal().map(|number| (number, signal(number))) {
        Some((_, Some(Signal::SEGV))) => (Verdict::Faulted, "segmentation fault".into()),
        Some((_, Some(Signal::BUS))) => (Verdict::Faulted, "bus error".into()),
        Some((_, Some(Signal::ABORT))) => match report {
            Some(Report::Memory) => (Verdict::OutOfMemory, "an allocation failed".into()),
            Some(Report::Stack) => (Verdict::Aborted, "stack overflow".into()),
            None => (Verdict::Aborted, "abort".into()),
        },
        Some((_, Some(Signal::KILL))) if oom_killed => {
            (Verdict::OutOfMemory, "killed by the kernel for want of memory".into())
        }
        Some((_, Some(Signal::KILL))) => {
            (Verdict::NotMeasured, "the worker was killed by somebody else".into())
        }
        Some((number, _)) => (Verdict::Aborted, format!("killed by signal {number}")),
        None => (Verdict::Aborted, format!("ended in the middle of a check, {status}")),
    };
    Broken::new(verdict, message)
}

/// What a child of a worker died of, by the table in the module's documentation: how it ended, what it had written
/// to its standard error, and [`oom_kills`] from before it was started.
pub fn cause_of_death(status: ExitStatus, errors: &[u8], oom_kills_before: u64) -> Broken {
    let mut output = Output::default();
    output.push(errors);
    cause(status, output.report(), oom_kills() > oom_kills_before)
}

/// How often the kernel has killed for want of memory since it was started, cgroups included.
pub fn oom_kills() -> u64 {
    let counts = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let count = counts.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_death_has_its_own_verdict() {
        let (memory, stack) = (Some(Report::Memory), Some(Report::Stack));
        for (raw, report, oom_killed, expected) in [
            (6, None, false, "aborted: abort"),
            (6, memory, false, "out-of-memory: an allocation failed"),
            (6, stack, false, "aborted: stack overflow"),
            (7, memory, false, "faulted: bus error"),
            (9, None, true, "out-of-memory: killed by the kernel for want of memory"),
            (9, memory, false, "not-measured: the worker was killed by somebody else"),
            (11, None, true, "faulted: segmentation fault"),
            (4, None, false, "aborted: killed by signal 4"),
            (3 << 8, None, false, "aborted: ended in the middle of a check, exit status: 3"),
        ] {
            let broken = cause(ExitStatus::from_raw(raw), report, oom_killed);
            assert_eq!(broken.to_string(), expected, "{raw} {report:?}");
        }
    }
}
