//! Runs a command under the eyes of this process, with all that it starts: whatever it is linked with, each thread
//! stops at the calls that change files.
//!
//! `ptrace(2)` with a seccomp filter that names the calls: all others run at full speed. The filter and the tracing
//! are inherited by every child, whatever it executes, so that shells, stdio, programs without libc and those that
//! are linked statically are seen alike. A call that changes something below the root is let in alone: others that
//! would wait at their entry until it has returned, so that the order of the log is the order of the effects.
//!
//! Whoever is traced dies with the tracer, however that ends (`PTRACE_O_EXITKILL`).

mod calls;
mod faults;
mod mapped;
mod names;
mod ptrace;
mod recording;
mod spawn;
mod stacks;
mod tracee;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::process::ExitStatus;

use faultfs::errno::Errno;
use libc::{c_int, pid_t};

use super::{Recorded, Start};
use calls::{Exit, Then};
pub(super) use faults::Armed;
use faults::Failure;
use ptrace::Stop;
use recording::Recording;
use tracee::Call;

/// Runs a command to its end. What it has started and left behind is killed.
pub(super) fn watch(start: &Start) -> io::Result<ExitStatus> {
    let first = ptrace::start(start, Vec::from([crate::trap::allow()]))?;
    Tracer::new(first, None).run().map(|(status, _)| status)
}

/// The same, and records what is done below `root` by any of them. Standard output must go to the file `output`;
/// `said` acknowledgements were made before. What is `armed` goes wrong.
pub(super) fn record(
    start: &Start,
    root: &Path,
    output: &Path,
    said: u64,
    armed: Option<Armed>,
) -> io::Result<(ExitStatus, Recorded)> {
    let recording = Recording::new(root, output, said, armed)?;
    let first = ptrace::start(start, calls::filter())?;
    let (status, recording) = Tracer::new(first, Some(recording)).run()?;
    Ok((status, recording.expect("given").finish()?))
}

struct Tracer {
    /// The command itself.
    first: pid_t,
    threads: HashMap<pid_t, Doing>,
    /// Who is changing something.
    holder: Option<pid_t>,
    /// Who wants to, in the order in which they came.
    waiting: VecDeque<pid_t>,
    recording: Option<Recording>,
}

enum Doing {
    /// Nothing of interest.
    Runs,
    /// Stopped at the entry of a call, until nobody changes anything.
    Waits,
    /// A call, at whose end this is to be done, and which is then answered by an error, where one is there.
    Leaves(Exit, Option<Errno>),
}

impl Tracer {
    fn new(first: pid_t, recording: Option<Recording>) -> Self {
        let threads = HashMap::from([(first, Doing::Runs)]);
        Tracer { first, threads, holder: None, waiting: VecDeque::new(), recording }
    }

    fn run(mut self) -> io::Result<(ExitStatus, Option<Recording>)> {
        gone(ptrace::go_on(self.first, 0))?;
        let mut status = None;
        while let Some((thread, stop)) = ptrace::wait()? {
            match stop {
                Stop::Ended(how) => {
                    self.ended(thread);
                    if thread == self.first {
                        status = Some(how);
                        self.threads.keys().for_each(|thread| ptrace::kill(*thread));
                    }
                }
                Stop::Entry => self.entry(thread)?,
                Stop::Exit => self.exit(thread)?,
                Stop::Program(before) => {
                    if before != thread {
                        self.ended(before);
                    }
                    gone(ptrace::go_on(thread, 0))?;
                }
                Stop::Signal(signal) => self.signal(thread, signal, status.is_some())?,
                Stop::Other => gone(ptrace::go_on(thread, 0))?,
            }
            self.let_in()?;
        }
        let status = status.ok_or_else(|| io::Error::other("the command's end was not seen"))?;
        Ok((status, self.recording))
    }

    fn ended(&mut self, thread: pid_t) {
        self.threads.remove(&thread);
        self.waiting.retain(|waiting| *waiting != thread);
        self.holder.take_if(|holder| *holder == thread);
    }

    fn signal(&mut self, thread: pid_t, signal: c_int, is_over: bool) -> io::Result<()> {
        // A new thread begins with a stop.
        let is_new = signal == libc::SIGSTOP && !self.threads.contains_key(&thread);
        if is_new {
            self.threads.insert(thread, Doing::Runs);
            if is_over {
                ptrace::kill(thread);
            }
        }
        let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
        let is_group_stop = stops.contains(&signal) && ptrace::is_group_stop(thread);
        gone(ptrace::go_on(thread, if is_new || is_group_stop { 0 } else { signal }))
    }

    fn entry(&mut self, thread: pid_t) -> io::Result<()> {
        let Some(recording) = &mut self.recording else { return gone(ptrace::go_on(thread, 0)) };
        let Ok(registers) = ptrace::registers(thread) else { return Ok(()) };
        let call = Call::new(thread, registers);
        if self.holder.is_some() && recording.may_change(&call) {
            self.threads.insert(thread, Doing::Waits);
            self.waiting.push_back(thread);
            return Ok(());
        }
        let failure = recording.failure(&call);
        let then = recording.entered(call);
        if let Some(Failure::Before(errno)) = failure {
            if let Then::Wait(exit) | Then::Hold(exit) = then {
                exit(recording, -i64::from(errno.raw()));
            }
            return refuse(&call, errno.raw());
        }
        let (exit, holds) = match then {
            Then::Go => return gone(ptrace::go_on(thread, 0)),
            Then::Refuse => return refuse(&call, libc::ENOSYS),
            Then::Wait(exit) => (exit, false),
            Then::Hold(exit) => (exit, true),
        };
        let after = match failure {
            Some(Failure::After(errno)) => Some(errno),
            _ => None,
        };
        self.threads.insert(thread, Doing::Leaves(exit, after));
        if holds {
            self.holder = Some(thread);
        }
        gone(ptrace::to_exit(thread))
    }

    fn exit(&mut self, thread: pid_t) -> io::Result<()> {
        let doing = self.threads.insert(thread, Doing::Runs);
        if let (Some(Doing::Leaves(exit, after)), Some(recording)) = (doing, &mut self.recording)
            && let Ok(registers) = ptrace::registers(thread)
        {
            let returned = registers.rax as i64;
            exit(recording, returned);
            if let Some(errno) = after.filter(|_| returned >= 0) {
                let rax = -i64::from(errno.raw()) as u64;
                let registers = libc::user_regs_struct { rax, ..registers };
                gone(ptrace::set_registers(thread, &registers))?;
            }
        }
        self.holder.take_if(|holder| *holder == thread);
        gone(ptrace::go_on(thread, 0))
    }

    /// Lets in who has waited, as long as nobody changes anything.
    fn let_in(&mut self) -> io::Result<()> {
        while self.holder.is_none()
            && let Some(thread) = self.waiting.pop_front()
        {
            self.entry(thread)?;
        }
        Ok(())
    }
}

/// Answers a call, which is not made, by an error.
fn refuse(call: &Call, errno: c_int) -> io::Result<()> {
    let (orig_rax, rax) = (u64::MAX, -i64::from(errno) as u64);
    let registers = libc::user_regs_struct { orig_rax, rax, ..call.registers };
    gone(ptrace::set_registers(call.thread, &registers))?;
    gone(ptrace::go_on(call.thread, 0))
}

/// A thread that was killed meanwhile is not there any more; that it has ended will be heard.
fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        done => done,
    }
}
