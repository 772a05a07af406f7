//! The two ways through an armed point: a thread that may be held up, and a task that must not
//! hold up its thread.

use std::any::Any;
use std::future::poll_fn;
use std::sync::PoisonError;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use super::{Point, Resting, State, who};
use crate::arg::Arg;
use crate::callback::{Callback, Decision, Hit, Outcome};
use crate::site::Site;
use crate::{timer, unwind};

/// What a pass has to do outside the lock.
pub(super) enum Step {
    /// Nothing more, except to return early.
    Done(Option<Arg>),
    Panic(Option<String>),
    Print(Option<String>),
    Yield,
    Rest {
        ticket: u64,
        until: Option<Instant>,
    },
    Delay {
        ticket: u64,
        until: Option<Instant>,
    },
    Call(Callback),
}

impl Point {
    /// A thread comes by.
    pub(crate) fn pass(&self, site: &'static Site, data: Option<&mut dyn Any>) -> Option<Arg> {
        let mut state = self.lock();
        let number = state.arrive(site)?;
        if !state.predecessors.is_empty() {
            self.announce(state);
            self.wait_for_predecessors(site);
            state = self.lock();
        }
        let step = self.decide(&mut state, site, number);
        self.announce(state);
        // A step that `decide` calls done is passed already.
        match step {
            Step::Done(returned) => returned,
            step => self.carry_out(step, self.hit(number, site, data)),
        }
    }

    #[inline(never)]
    fn carry_out(&self, mut step: Step, mut hit: Hit<'_>) -> Option<Arg> {
        let returned = loop {
            match step {
                Step::Call(callback) => step = self.call(&callback, &mut hit),
                Step::Done(returned) => break returned,
                Step::Panic(message) => self.panic(message),
                Step::Print(message) => break self.print(message),
                Step::Yield => {
                    thread::yield_now();
                    break None;
                }
                Step::Rest { ticket, until } => {
                    self.rest(ticket, until);
                    break None;
                }
                Step::Delay { ticket, until } => {
                    while !self.has_rested(ticket, until) {
                        std::hint::spin_loop();
                    }
                    break None;
                }
            }
        };
        self.leave();
        returned
    }

    /// The same for a task: waits without holding up the thread.
    pub(crate) async fn pass_async(&self, site: &'static Site) -> Option<Arg> {
        let number = {
            let mut state = self.lock();
            let number = state.arrive(site)?;
            self.announce(state);
            number
        };
        self.predecessors_passed(site).await;
        let step = {
            let mut state = self.lock();
            let step = self.decide(&mut state, site, number);
            self.announce(state);
            step
        };
        let step = match step {
            Step::Done(returned) => return returned,
            Step::Call(callback) => self.call(&callback, &mut self.hit(number, site, None)),
            step => step,
        };
        self.carry_out_async(step).await
    }

    async fn carry_out_async(&self, step: Step) -> Option<Arg> {
        let mut returned = None;
        match step {
            Step::Call(_) => unreachable!("a callback answers with a task, not a callback"),
            Step::Done(arg) => returned = arg,
            Step::Panic(message) => self.panic(message),
            Step::Print(message) => returned = self.print(message),
            Step::Yield => yield_once().await,
            Step::Rest { ticket, until } => {
                let _left = LeaveRest { point: self, ticket };
                poll_fn(|cx| self.poll_rest(ticket, until, cx)).await;
            }
            Step::Delay { ticket, until } => {
                let _left = LeaveRest { point: self, ticket };
                while !self.has_rested(ticket, until) {
                    yield_once().await;
                }
            }
        }
        self.leave();
        returned
    }

    fn hit<'a>(
        &'a self,
        number: u64,
        site: &'static Site,
        data: Option<&'a mut dyn Any>,
    ) -> Hit<'a> {
        Hit { name: &self.name, number, site, data, limits: &self.limits }
    }

    fn leave(&self) {
        let mut state = self.lock();
        state.passed += 1;
        self.announce(state);
    }

    fn call(&self, callback: &Callback, hit: &mut Hit<'_>) -> Step {
        let site = hit.site;
        let Outcome(decision) = {
            let _in_call = InCall { point: self };
            callback(hit)
        };
        match decision {
            Decision::Value(value) => Step::Done(Some(Arg::value_at(site, value))),
            Decision::Task(task) => {
                let mut state = self.lock();
                let step = self.begin(&mut state, site, task);
                self.announce(state);
                step
            }
        }
    }

    fn print(&self, message: Option<String>) -> Option<Arg> {
        let message = message.unwrap_or_else(|| format!("failpoint {} executed.", self.name));
        #[cfg(feature = "failpoints")]
        log::info!("{message}");
        // Without the feature there are no sites, so nobody comes here.
        #[cfg(not(feature = "failpoints"))]
        drop(message);
        None
    }

    fn panic(&self, message: Option<String>) -> ! {
        unwind::expect_injected();
        match message {
            Some(message) => panic!("{message}"),
            None => panic!("failpoint {} panic", self.name),
        }
    }

    fn wait_for_predecessors(&self, site: &'static Site) {
        let who = self.hold(site);
        for first in self.predecessors() {
            let is_free = first.wait_until(self.limits.patience(), |state| {
                state.passed > 0 || state.is_retired || self.is_retired()
            });
            if !is_free {
                self.report_overdue(&first, &who);
            }
        }
        self.unhold(&who);
    }

    async fn predecessors_passed(&self, site: &'static Site) {
        let predecessors = self.predecessors();
        if predecessors.is_empty() {
            return;
        }
        let who = self.hold(site);
        for first in predecessors {
            let deadline = Instant::now() + self.limits.patience();
            let is_passed = poll_fn(|cx| {
                let mut state = first.lock();
                if state.passed > 0 || state.is_retired || self.is_retired() {
                    return Poll::Ready(true);
                }
                if Instant::now() >= deadline {
                    return Poll::Ready(false);
                }
                state.wakers.push(cx.waker().clone());
                timer::wake_at(deadline, cx.waker().clone());
                Poll::Pending
            });
            if !is_passed.await {
                self.report_overdue(&first, &who);
            }
        }
        self.unhold(&who);
    }

    fn is_retired(&self) -> bool {
        self.lock().is_retired
    }

    fn hold(&self, site: &'static Site) -> String {
        let who = who(site);
        self.lock().held.push(who.clone());
        who
    }

    fn unhold(&self, who: &str) {
        let mut state = self.lock();
        if let Some(index) = state.held.iter().position(|held| held == who) {
            state.held.remove(index);
        }
    }

    fn report_overdue(&self, first: &Point, who: &str) {
        self.limits.report(format!(
            "{who} waited {:?} at `{}` for `{}` to be passed first, and then went on; `{}` was \
             hit {} times",
            self.limits.patience(),
            self.name,
            first.name,
            first.name,
            first.lock().hits
        ));
    }

    fn rest(&self, ticket: u64, until: Option<Instant>) {
        let mut state = self.lock();
        state.watchers += 1;
        while state.resting.contains_key(&ticket) {
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let result = self.changed.wait_timeout(state, left);
                    result.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.watchers -= 1;
        self.time_out(&mut state, ticket);
    }

    /// Takes a ticket that was not taken yet, for its time is over. For a pause that is an
    /// accident: nobody released it.
    fn time_out(&self, state: &mut State, ticket: u64) {
        if let Some(Resting { is_pause: true, who, .. }) = state.resting.remove(&ticket) {
            self.limits.report(format!(
                "{who} paused at `{}` for {:?}, and then went on; nobody released it",
                self.name,
                self.limits.pause_limit().unwrap_or_default()
            ));
        }
    }

    fn has_rested(&self, ticket: u64, until: Option<Instant>) -> bool {
        let mut state = self.lock();
        if until.is_some_and(|until| Instant::now() >= until) {
            self.time_out(&mut state, ticket);
        }
        !state.resting.contains_key(&ticket)
    }

    fn poll_rest(&self, ticket: u64, until: Option<Instant>, cx: &Context<'_>) -> Poll<()> {
        if self.has_rested(ticket, until) {
            return Poll::Ready(());
        }
        if let Some(resting) = self.lock().resting.get_mut(&ticket) {
            resting.waker = Some(cx.waker().clone());
        } else {
            return Poll::Ready(());
        }
        if let Some(until) = until {
            timer::wake_at(until, cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Takes the thread off the list of those in the callback, also when it panics.
struct InCall<'a> {
    point: &'a Point,
}

impl Drop for InCall<'_> {
    fn drop(&mut self) {
        let own = thread::current().id();
        let mut state = self.point.lock();
        if let Some(index) = state.calling.iter().position(|thread| *thread == own) {
            state.calling.swap_remove(index);
        }
        self.point.announce(state);
    }
}

/// Takes a task off the list of those who rest here, also when it is dropped meanwhile.
struct LeaveRest<'a> {
    point: &'a Point,
    ticket: u64,
}

impl Drop for LeaveRest<'_> {
    fn drop(&mut self) {
        self.point.lock().resting.remove(&self.ticket);
    }
}

async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
