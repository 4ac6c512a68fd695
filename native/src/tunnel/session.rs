//! One connection between two gateways, carrying streams one after the other.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWriteExt;

use super::buffers::{Buffer, SIZE};
use super::identity::PeerIdentity;
use super::transport::Transport;
use super::wire::{Decoder, Event, Open, Status, WireError};

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the peer closed the session")]
    Closed,
    /// By the rules of who may reach this pod, or the peer's, which have changed.
    #[error("a stream was ended by policy")]
    Withdrawn,
}

/// A control frame, outside of a stream's data.
#[derive(Debug, PartialEq, Eq)]
pub enum Control {
    Open(Open),
    Status(Status),
    Fin,
    Reset,
    GoAway,
}

/// `peer` is `None` on a session without TLS.
pub struct Session<T> {
    pub transport: T,
    pub input: Buffer,
    pub decoder: Decoder,
    pub peer: Option<Arc<PeerIdentity>>,
}

impl<T: Transport> Session<T> {
    pub fn new(transport: T, peer: Option<Arc<PeerIdentity>>) -> Self {
        Self { transport, input: Buffer::frugal(), decoder: Decoder::default(), peer }
    }

    /// Sends a whole frame now.
    pub async fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.transport.write_all(frame).await?;
        self.transport.flush().await
    }

    /// The next control frame. Data before it is an error, or thrown away when `discard` is set.
    pub async fn receive(&mut self, discard: bool) -> Result<Control, SessionError> {
        loop {
            while !self.input.is_empty() {
                let mut rest = self.input.bytes();
                let before = rest.len();
                let event = self.decoder.next(&mut rest)?;
                let used = before - rest.len();
                let control = match event {
                    Some(Event::Data(_)) if discard => None,
                    Some(Event::Data(_)) => return Err(WireError::Unexpected("DATA").into()),
                    Some(Event::Open(open)) => Some(Control::Open(open)),
                    Some(Event::Status(status)) => Some(Control::Status(status)),
                    Some(Event::Fin) => Some(Control::Fin),
                    Some(Event::Reset) => Some(Control::Reset),
                    Some(Event::GoAway) => Some(Control::GoAway),
                    None => None,
                };
                self.input.consume(used);
                if let Some(control) = control {
                    return Ok(control);
                }
            }
            if std::future::poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
                return Err(SessionError::Closed);
            }
        }
    }

    /// Sends `open`, OPEN and what goes with it, and waits for the answer. The flag tells whether the session takes no further
    /// stream after this one.
    pub async fn ask_for_stream(&mut self, open: &[u8]) -> Result<(Status, bool), SessionError> {
        self.send(open).await?;
        let mut going_away = false;
        loop {
            match self.receive(false).await? {
                Control::Status(status) => return Ok((status, going_away)),
                // It was said before OPEN got there, which is served all the same.
                Control::GoAway if !going_away => going_away = true,
                _ => return Err(WireError::Unexpected("an answer that is no STATUS").into()),
            }
        }
    }

    /// Reads once into the empty input buffer; 0 is the end of the session. Holds no buffer while it waits.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.poll_fill(&mut self.transport, 0, SIZE, cx)
    }

    /// Whether an idle session can carry another stream: nothing has arrived on it, no end, no GOAWAY.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.input.is_empty() && self.decoder.at_boundary() && self.poll_fill(&mut cx).is_pending()
    }
}
