//! Runs commands against snapshots: one thread handles events, workers do the work.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use faultpoint::{Scope, fail_point};

use crate::engine::{
    Callback, Context, Engine, Error, IterOptions, Key, Result, ScanMode, Snapshot, Value,
};
use crate::raftkv::TERM;

/// Reads all pairs from `start` on.
pub(crate) struct Scan {
    pub(crate) start: Key,
    pub(crate) cb: Callback<Vec<(Key, Value)>>,
}

enum Event<S> {
    Command(Scan),
    SnapshotFinished { command: Scan, snapshot: Result<S> },
    Stop,
}

pub(crate) struct Scheduler<E: Engine> {
    events: Sender<Event<E::Snap>>,
    thread: Option<JoinHandle<()>>,
}

impl<E: Engine + Send + Sync + 'static> Scheduler<E> {
    pub(crate) fn start(engine: Arc<E>) -> Scheduler<E> {
        let (sender, events) = channel();
        let scope = Scope::current();
        let own = sender.clone();
        let handler = Handler { engine, own, scope: scope.clone(), workers: Vec::new() };
        let thread = Some(scope.spawn(move || handler.run(&events)));
        Scheduler { events: sender, thread }
    }

    /// Runs the command; the callback is dropped uncalled if the scheduler is no more.
    pub(crate) fn run(&self, command: Scan) {
        let _ = self.events.send(Event::Command(command));
    }
}

impl<E: Engine> Drop for Scheduler<E> {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Handler<E: Engine> {
    engine: Arc<E>,
    own: Sender<Event<E::Snap>>,
    scope: Scope,
    workers: Vec<JoinHandle<()>>,
}

impl<E: Engine> Handler<E> {
    fn run(mut self, events: &Receiver<Event<E::Snap>>) {
        for event in events {
            match event {
                Event::Command(command) => self.on_command(command),
                Event::SnapshotFinished { command, snapshot } => {
                    self.on_snapshot_finished(command, snapshot);
                }
                Event::Stop => break,
            }
        }
        for worker in self.workers {
            let _ = worker.join();
        }
    }

    fn on_command(&mut self, command: Scan) {
        let own = self.own.clone();
        let cb = Box::new(move |snapshot| {
            let _ = own.send(Event::SnapshotFinished { command, snapshot });
        });
        // A refused request drops the callback, and with it the command.
        let _ = self.engine.async_snapshot(&Context { term: TERM }, cb);
    }

    /// A peer has answered with a snapshot: on to a worker with it.
    fn on_snapshot_finished(&mut self, command: Scan, snapshot: Result<E::Snap>) {
        fail_point!("scheduler_async_snapshot_finish");
        match snapshot {
            Ok(snapshot) => self.workers.push(self.scope.spawn(move || scan(command, &snapshot))),
            Err(error) => (command.cb)(Err(error)),
        }
    }
}

fn scan(command: Scan, snapshot: &impl Snapshot) {
    let opts = IterOptions { lower_bound: command.start };
    let pairs = snapshot.iter(opts, ScanMode::Forward).and_then(Iterator::collect);
    (command.cb)(pairs);
}

/// Waits for a callback: its outcome, or that it was dropped uncalled.
pub(crate) fn outcome_of<T: Send + 'static>(
    ask: impl FnOnce(Callback<T>) -> Result<()>,
) -> Result<T> {
    let (sender, receiver) = channel();
    ask(Box::new(move |result| {
        let _ = sender.send(result);
    }))?;
    receiver.recv().unwrap_or(Err(Error::Unknown))
}
