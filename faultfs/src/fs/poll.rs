//! Judging what is polled: an op once, however often it is polled.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::at::Stream;
use super::door::{Decided, Door, answer};
use crate::errno::EIO;
use crate::fault::Effect;
use crate::injector::Reach;
use crate::plan::OpKind;

/// What was decided of the read and of the write that are not ready yet.
#[derive(Default)]
pub(super) struct Waiting {
    read: Mutex<Option<Decided>>,
    write: Mutex<Option<Decided>>,
}

pub(super) fn poll_read(
    door: &Door,
    inner: Pin<&mut impl AsyncRead>,
    context: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let mut polled = Polled { inner, context, pending: false };
    let space = buf.initialize_unfilled();
    let len = space.len() as u64;
    let mut filled = 0;
    let outcome = judged(
        &door.waiting.read,
        || door.decide(OpKind::Read, None, len, Reach::Call),
        |decided| {
            let outcome = door.carry_out_read(decided, &mut polled, &Stream, space);
            let outcome = outcome.map(|count| filled = count);
            if polled.pending { Poll::Pending } else { Poll::Ready(outcome) }
        },
    );
    buf.advance(filled);
    outcome
}

/// As [`Door::write`]; the part of a torn write is handed to `inner` once, which may take less of it.
pub(super) fn poll_write(
    door: &Door,
    inner: Pin<&mut impl AsyncWrite>,
    context: &mut Context<'_>,
    buf: &[u8],
) -> Poll<io::Result<usize>> {
    let mut polled = Polled { inner, context, pending: false };
    let len = buf.len() as u64;
    judged(
        &door.waiting.write,
        || door.decide(OpKind::Write, None, len, Reach::Call),
        |decided| {
            let outcome = door.carry_out_write(decided, &mut polled, &Stream, None, buf);
            if polled.pending { Poll::Pending } else { Poll::Ready(outcome) }
        },
    )
}

/// A call that is one future: all of it is done, or nothing.
pub(super) async fn call(
    door: &Door,
    kind: OpKind,
    len: u64,
    act: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    match door.before(kind, len) {
        Effect::Nothing(errno) => answer((), errno),
        Effect::Crash => Err(EIO.into()),
        Effect::Part { errno, .. } => answer(act.await?, errno),
        _ => act.await,
    }
}

/// Polls with what was decided at the first poll of the op.
fn judged<T>(
    waiting: &Mutex<Option<Decided>>,
    decide: impl FnOnce() -> Decided,
    poll: impl FnOnce(&Decided) -> Poll<T>,
) -> Poll<T> {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let decided = waiting.take().unwrap_or_else(decide);
    let outcome = poll(&decided);
    if outcome.is_pending() {
        *waiting = Some(decided);
    }
    outcome
}

/// One poll as a synchronous stream, so that faults are applied in one place.
struct Polled<'a, 'b, F> {
    inner: Pin<&'a mut F>,
    context: &'a mut Context<'b>,
    pending: bool,
}

impl<F> Polled<'_, '_, F> {
    fn ready<T>(&mut self, poll: Poll<io::Result<T>>) -> io::Result<T> {
        match poll {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                self.pending = true;
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }
}

impl<F: AsyncRead> Read for Polled<'_, '_, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        let poll = self.inner.as_mut().poll_read(self.context, &mut buf);
        self.ready(poll)?;
        Ok(buf.filled().len())
    }
}

impl<F: AsyncWrite> Write for Polled<'_, '_, F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let poll = self.inner.as_mut().poll_write(self.context, buf);
        self.ready(poll)
    }

    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        // A second call may not be ready, and then the first would be made again.
        self.write(buf).map(drop)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
