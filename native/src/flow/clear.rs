//! A connection to a peer that is not enrolled: relayed as it is, with half-close and reset.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::net::TcpStream;

use super::application::Socket;
use crate::tunnel::buffers::{Buffer, SIZE};

struct Direction {
    buffer: Buffer,
    ended: bool,
}

impl Direction {
    fn poll<F: Socket, T: Socket>(&mut self, from: &mut F, to: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.buffer.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, self.buffer.bytes()))?;
                self.buffer.consume(written);
            } else if self.ended {
                return Poll::Ready(Ok(()));
            } else if ready!(self.buffer.poll_fill(from, 0, SIZE, cx))? == 0 {
                self.ended = true;
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
            }
        }
    }
}

/// Relays until both directions have ended; an error on either side resets the other.
pub async fn relay<A: Socket>(application: &mut A, remote: &mut TcpStream) -> io::Result<()> {
    let direction = || Direction { buffer: Buffer::frugal(), ended: false };
    let (mut up, mut down) = (direction(), direction());
    let result = std::future::poll_fn(|cx| {
        let up = up.poll(application, remote, cx)?;
        let down = down.poll(remote, application, cx)?;
        if up.is_ready() && down.is_ready() { Poll::Ready(io::Result::Ok(())) } else { Poll::Pending }
    })
    .await;
    if result.is_err() {
        application.reset_on_drop();
        remote.reset_on_drop();
    } else {
        application.end_on_drop();
        remote.end_on_drop();
    }
    result
}
