//! The application's side of a connection: its socket, or a pipe once somebody looks into what it says.
//!
//! Whether it is looked into is decided by whatever comes first. Bytes of the application that could begin a request of
//! HTTP go to the engine, which owns the socket from then on; this end goes on with a pipe to it. Anything else, and a
//! server that speaks first, leaves the socket where it is: nothing waits, and nothing is copied once more.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::sockets::{end_on_drop, reset_on_drop};
use crate::intercept::pipe::{Pipe, pipe};
use crate::intercept::sniff::{self, First};
use crate::intercept::{Interception, Subject};

/// What a relay needs of the sockets on its sides.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Makes dropping it a reset.
    fn reset_on_drop(&self);
    /// Makes dropping it an orderly end, which it is not before: a process that is killed ends nothing in order.
    fn end_on_drop(&self);
}

impl Socket for TcpStream {
    fn reset_on_drop(&self) {
        reset_on_drop(self);
    }

    fn end_on_drop(&self) {
        end_on_drop(self);
    }
}

enum Carrier {
    Tcp(TcpStream),
    Pipe(Pipe),
}

pub struct Application {
    carrier: Carrier,
    /// Set as long as it is open whether this connection is looked into.
    sniffing: Option<(Arc<Interception>, Subject)>,
}

impl Application {
    /// `destination` is where the application wanted to go. Without a policy nothing is looked into.
    pub fn new(stream: TcpStream, interception: &Arc<Interception>, connection: u64, destination: SocketAddr) -> Self {
        let sniffing =
            interception.is_active().then(|| (Arc::clone(interception), Subject { connection, destination }));
        Self { carrier: Carrier::Tcp(stream), sniffing }
    }

    /// Reads what is there already. An end or an error shows again at the next read.
    pub fn try_read(&mut self, out: &mut [u8]) -> usize {
        let length = match &self.carrier {
            Carrier::Tcp(stream) => stream.try_read(out).unwrap_or(0),
            Carrier::Pipe(pipe) => pipe.try_read(out),
        };
        if length > 0 && self.is_taken(&out[..length]) { 0 } else { length }
    }

    /// Decides by the application's first bytes. If so, they went to the engine with the socket.
    fn is_taken(&mut self, first: &[u8]) -> bool {
        let Some((interception, subject)) = self.sniffing.take() else { return false };
        if sniff::first(first) == First::Other {
            return false;
        }
        self.hand_over(interception, subject, first);
        true
    }

    fn hand_over(&mut self, interception: Arc<Interception>, subject: Subject, first: &[u8]) {
        let (near, far) = pipe();
        if let Carrier::Tcp(stream) = std::mem::replace(&mut self.carrier, Carrier::Pipe(near)) {
            interception.start(stream, far, subject, first);
        }
    }
}

impl Socket for Application {
    fn reset_on_drop(&self) {
        match &self.carrier {
            Carrier::Tcp(stream) => reset_on_drop(stream),
            Carrier::Pipe(pipe) => pipe.reset(),
        }
    }

    fn end_on_drop(&self) {
        // The socket behind a pipe is the engine's.
        if let Carrier::Tcp(stream) = &self.carrier {
            end_on_drop(stream);
        }
    }
}

impl AsyncRead for Application {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = out.filled().len();
        let stream = match &mut this.carrier {
            Carrier::Tcp(stream) => stream,
            Carrier::Pipe(pipe) => return Pin::new(pipe).poll_read(cx, out),
        };
        ready!(Pin::new(stream).poll_read(cx, out))?;
        if this.sniffing.is_some() && this.is_taken(&out.filled()[before..]) {
            out.set_filled(before);
            return self.poll_read(cx, out);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Application {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some((interception, subject)) = this.sniffing.take() {
            // Servers of HTTP/2 may say their settings before they have heard anything.
            if sniff::is_settings(bytes) {
                this.hand_over(interception, subject, &[]);
                // Whoever waits for the application's bytes waits for the socket: it has to ask the pipe.
                cx.waker().wake_by_ref();
            }
        }
        match &mut this.carrier {
            Carrier::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Carrier::Pipe(pipe) => Pin::new(pipe).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Pipe(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}
