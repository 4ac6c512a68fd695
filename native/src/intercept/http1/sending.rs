//! A request on its way to the server, while the answer may be coming already.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use tokio::io::AsyncRead;

use crate::intercept::framing::Framing;
use crate::intercept::input::{Broken, Input, Output};
use crate::intercept::pipe::Pipe;

#[derive(PartialEq, Eq)]
enum State {
    Going,
    Complete,
    /// The client ended before its body did, or the server takes no more.
    Stopped,
}

pub struct Sending {
    /// Sent before what is still to be read of the client.
    first: VecDeque<Bytes>,
    framing: Framing,
    /// Bytes at the front of the client's input that belong to the body.
    approved: usize,
    state: State,
    /// The client was asked for its body by us, so it must not be asked by the server.
    pub invited: bool,
}

impl Sending {
    pub fn new(framing: Framing) -> Self {
        Self { first: VecDeque::new(), framing, approved: 0, state: State::Going, invited: false }
    }

    pub fn framing(&mut self) -> &mut Framing {
        &mut self.framing
    }

    /// Puts something before all that is to be sent.
    pub fn put_first(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.first.push_front(bytes);
        }
    }

    /// Sends, and then watches the client; returns when that is broken. Nothing is lost when it is dropped.
    pub async fn run<R: AsyncRead + Unpin>(&mut self, client: &mut Input<R>, server: &mut Output<Pipe>) -> Broken {
        if let Err(broken) = self.complete(client, server).await {
            return broken;
        }
        if let Err(broken) = client.watch().await {
            return broken;
        }
        // The client has ended, and asks for nothing else: the server learns it at once, and may stop its work.
        if client.buffer.is_empty() {
            server.end().await;
        }
        std::future::pending().await
    }

    /// Sends all there is; whether that was all of the request.
    pub async fn complete<R: AsyncRead + Unpin>(
        &mut self,
        client: &mut Input<R>,
        server: &mut Output<Pipe>,
    ) -> Result<bool, Broken> {
        while self.state == State::Going {
            match self.step(client, server).await {
                // What the server has to say about it is still to be read.
                Err(Broken::Server(_)) => self.state = State::Stopped,
                other => other?,
            }
        }
        Ok(self.state == State::Complete)
    }

    async fn step<R: AsyncRead + Unpin>(
        &mut self,
        client: &mut Input<R>,
        server: &mut Output<Pipe>,
    ) -> Result<(), Broken> {
        if let Some(first) = self.first.front_mut() {
            // A client that breaks off while the server takes nothing is noticed too.
            let written = tokio::select! {
                biased;
                written = server.some(first) => written?,
                broken = broken(client) => return Err(broken),
            };
            first.advance(written);
            if first.is_empty() {
                self.first.pop_front();
            }
        } else if self.approved > 0 {
            let written = server.some(&client.buffer.bytes()[..self.approved]).await?;
            client.buffer.consume(written);
            self.approved -= written;
        } else if self.framing.is_done() {
            self.state = State::Complete;
        } else if !client.buffer.is_empty() {
            self.approved = self.framing.take(client.buffer.bytes()).map_err(|_| Broken::Malformed)?;
        } else if client.fill().await? == 0 {
            server.end().await;
            self.state = State::Stopped;
        }
        Ok(())
    }
}

/// Returns only if the client breaks off.
pub async fn broken<R: AsyncRead + Unpin>(client: &mut Input<R>) -> Broken {
    match client.watch().await {
        Err(broken) => broken,
        Ok(()) => std::future::pending().await,
    }
}
