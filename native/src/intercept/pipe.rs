//! Two ends that stand for a connection within the process: what the application's socket is to the flow, for a connection
//! that is looked into on the way.
//!
//! Unlike tokio's duplex stream it knows a reset beside an end, and owns no memory while nothing is in it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tunnel::buffers::Buffer;

/// One direction.
#[derive(Default)]
struct Lane {
    buffer: Buffer,
    /// No more is written.
    ended: bool,
    /// No more is read.
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Default)]
struct Shared {
    lanes: [Lane; 2],
    reset: bool,
}

/// What the clones of one end have in common: the end is gone when all of them are.
struct End {
    shared: Arc<Mutex<Shared>>,
    /// The lane that this end writes; it reads the other.
    side: usize,
}

/// One end. A clone is the same end, so that one task can read while another writes.
#[derive(Clone)]
pub struct Pipe(Arc<End>);

/// Both ends of a new connection.
pub fn pipe() -> (Pipe, Pipe) {
    let shared = Arc::<Mutex<Shared>>::default();
    let end = |side| Pipe(Arc::new(End { shared: Arc::clone(&shared), side }));
    (end(0), end(1))
}

impl Lane {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl End {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut shared = self.shared();
        shared.lanes[self.side].ended = true;
        shared.lanes[1 - self.side].unread = true;
        shared.lanes.iter_mut().for_each(Lane::wake);
    }
}

impl Pipe {
    /// Breaks the connection: both ends fail from now on, and what was under way is lost.
    pub fn reset(&self) {
        let mut shared = self.0.shared();
        shared.reset = true;
        for lane in &mut shared.lanes {
            lane.buffer = Buffer::default();
            lane.wake();
        }
    }

    /// Reads what is there.
    pub fn try_read(&self, out: &mut [u8]) -> usize {
        let mut shared = self.0.shared();
        if shared.reset {
            return 0;
        }
        shared.lanes[1 - self.0.side].take(out)
    }
}

impl Lane {
    fn take(&mut self, out: &mut [u8]) -> usize {
        let bytes = self.buffer.bytes();
        let length = bytes.len().min(out.len());
        out[..length].copy_from_slice(&bytes[..length]);
        self.buffer.consume(length);
        if length > 0
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
        length
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.0.shared();
        if shared.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let lane = &mut shared.lanes[1 - self.0.side];
        if lane.buffer.is_empty() && !lane.ended {
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let length = lane.take(out.initialize_unfilled());
        out.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = self.0.shared();
        if shared.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let lane = &mut shared.lanes[self.0.side];
        if lane.unread || lane.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = lane.buffer.append(bytes);
        if written == 0 && !bytes.is_empty() {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(reader) = lane.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.0.shared();
        let lane = &mut shared.lanes[self.0.side];
        lane.ended = true;
        lane.wake();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "pipe_tests.rs"]
mod tests;
