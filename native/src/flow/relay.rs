//! One stream of a session, between the application and the frames.
//!
//! Both directions are driven by one task without a lock. Each ends with FIN, or with RESET in its place; once both have
//! ended the session can carry the next stream. A reset after our own FIN has no frame: the session is closed instead,
//! which the other side takes as a reset, so that no frame of one stream can be taken for one of the next.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::Sleep;

use super::application::Socket;
use super::counters::{Counters, add};
use super::withdrawal::Withdrawal;
use crate::tunnel::buffers::Buffer;
use crate::tunnel::session::{Session, SessionError};
use crate::tunnel::transport::Transport;
use crate::tunnel::wire::{self, Event, Status, WireError};

/// How long a stream that was reset here may take to end on the other side before its session is given up.
const RESET_PATIENCE: Duration = Duration::from_secs(5);
/// The same for one that was withdrawn, whether or not the other side reads what it is told.
const WITHDRAWN_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Up {
    /// Application to session.
    Open,
    /// FIN or RESET is in the buffer.
    Ending,
    Ended,
}

struct Relay<'a, A, T> {
    application: &'a mut A,
    session: &'a mut Session<T>,
    counters: &'a Counters,
    up: Up,
    up_buffer: Buffer,
    unflushed: bool,
    down_ended: bool,
    /// Payload at the front of the session's input.
    down_payload: usize,
    /// The application's connection broke, or the peer's did: what still comes is thrown away.
    broken: bool,
    going_away: bool,
    patience: Option<Pin<Box<Sleep>>>,
    /// Of a stream that the peer has opened.
    withdrawal: Option<&'a Withdrawal>,
    withdrawn: bool,
    waker: Option<Waker>,
}

/// Relays until both directions have ended. `Ok(true)`: the session can carry another stream. On an error, or when
/// either side was reset, dropping `application` resets it. `withdrawal` ends a stream that the peer has opened: it is told
/// by STATUS in the place of RESET.
pub async fn relay<A: Socket, T: Transport>(
    application: &mut A,
    session: &mut Session<T>,
    counters: &Counters,
    withdrawal: Option<&Withdrawal>,
) -> Result<bool, SessionError> {
    let mut relay = Relay {
        application,
        session,
        counters,
        up: Up::Open,
        up_buffer: Buffer::frugal(),
        unflushed: false,
        down_ended: false,
        down_payload: 0,
        broken: false,
        going_away: false,
        patience: None,
        withdrawal,
        withdrawn: false,
        waker: None,
    };
    let result = std::future::poll_fn(|cx| relay.poll(cx)).await;
    if result.is_err() || relay.broken {
        relay.application.reset_on_drop();
    } else {
        relay.application.end_on_drop();
    }
    result.map(|()| !relay.going_away)
}

impl<A: Socket, T: Transport> Relay<'_, A, T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        self.look_for_withdrawal(cx)?;
        // Down first: what it learns (a reset) is what up has to act on.
        if let Poll::Ready(Err(error)) = self.poll_down(cx) {
            return Poll::Ready(Err(error));
        }
        if let Poll::Ready(Err(error)) = self.poll_up(cx) {
            return Poll::Ready(Err(error));
        }
        if self.up == Up::Ended && self.down_ended {
            // The peer may take STATUS for an error, so this session carries nothing more.
            return Poll::Ready(if self.withdrawn { Err(SessionError::Withdrawn) } else { Ok(()) });
        }
        if self.broken {
            if self.up == Up::Ended && !self.down_ended && self.patience.is_none() {
                self.patience = Some(Box::pin(tokio::time::sleep(RESET_PATIENCE)));
            }
            if let Some(patience) = &mut self.patience {
                ready!(patience.as_mut().poll(cx));
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut).into()));
            }
        }
        Poll::Pending
    }

    fn look_for_withdrawal(&mut self, cx: &Context<'_>) -> Result<(), SessionError> {
        if self.withdrawn || !self.withdrawal.is_some_and(|withdrawal| withdrawal.poll(cx, &mut self.waker)) {
            return Ok(());
        }
        if self.up != Up::Open {
            // There is no frame after FIN: the end of the session says it.
            return Err(SessionError::Withdrawn);
        }
        (self.withdrawn, self.broken) = (true, true);
        self.patience = Some(Box::pin(tokio::time::sleep(WITHDRAWN_PATIENCE)));
        Ok(())
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        loop {
            if !self.up_buffer.is_empty() {
                let written = ready!(Pin::new(&mut self.session.transport).poll_write(cx, self.up_buffer.bytes()))?;
                if written == 0 {
                    return Poll::Ready(Err(SessionError::Closed));
                }
                self.up_buffer.consume(written);
                self.unflushed = true;
                continue;
            }
            if self.unflushed {
                ready!(Pin::new(&mut self.session.transport).poll_flush(cx))?;
                self.unflushed = false;
            }
            match self.up {
                Up::Open => ready!(self.poll_application(cx)),
                Up::Ending => self.up = Up::Ended,
                Up::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Puts the next frame into the buffer.
    fn poll_application(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.withdrawn {
            self.end_up(&wire::status(Status::Denied));
            return Poll::Ready(());
        }
        if self.broken {
            self.end_up(&wire::reset());
            return Poll::Ready(());
        }
        match ready!(self.up_buffer.poll_fill(self.application, wire::HEADER, wire::DATA_CHUNK, cx)) {
            Ok(0) => self.end_up(&wire::fin()),
            Ok(length) => {
                self.up_buffer.memory()[..wire::HEADER].copy_from_slice(&wire::data_header(length));
                add(&self.counters.bytes_sent, length as u64);
            }
            Err(_) => {
                self.broken = true;
                self.end_up(&wire::reset());
            }
        }
        Poll::Ready(())
    }

    fn end_up(&mut self, frame: &[u8]) {
        self.up_buffer.fill_from(frame);
        self.up = Up::Ending;
    }

    /// Ready only with an error: after its end this direction keeps watch for the end of the session.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        loop {
            if self.down_payload > 0 {
                ready!(self.poll_deliver(cx))?;
            } else if !self.session.input.is_empty() {
                if self.down_ended && self.up == Up::Ended {
                    // The peer's next OPEN: not of this stream.
                    return Poll::Pending;
                }
                self.step()?;
            } else if self.down_ended && self.up == Up::Ended {
                return Poll::Pending;
            } else if ready!(self.session.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(SessionError::Closed));
            }
        }
    }

    fn poll_deliver(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        let payload = &self.session.input.bytes()[..self.down_payload];
        let delivered = if self.broken {
            payload.len()
        } else {
            match ready!(Pin::new(&mut *self.application).poll_write(cx, payload)) {
                Ok(written) => {
                    add(&self.counters.bytes_received, written as u64);
                    written
                }
                Err(_) if self.up == Up::Open => {
                    self.broken = true;
                    payload.len()
                }
                // Our FIN is sent: only the end of the session can still say "reset".
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        };
        self.session.input.consume(delivered);
        self.down_payload -= delivered;
        Poll::Ready(Ok(()))
    }

    /// Takes one event from the session's input.
    fn step(&mut self) -> Result<(), SessionError> {
        let mut rest = self.session.input.bytes();
        let before = rest.len();
        let event = self.session.decoder.next(&mut rest)?;
        let used = before - rest.len();
        let ended = self.down_ended;
        let payload = match event {
            None => 0,
            Some(Event::GoAway) => {
                self.going_away = true;
                0
            }
            Some(Event::Data(data)) if !ended => data.len(),
            Some(Event::Fin) if !ended => {
                self.down_ended = true;
                0
            }
            Some(Event::Reset) if !ended => {
                (self.down_ended, self.broken) = (true, true);
                0
            }
            Some(Event::Open(_)) => return Err(WireError::Unexpected("OPEN").into()),
            Some(Event::Status(Status::Denied)) if !ended && self.withdrawal.is_none() => {
                return Err(SessionError::Withdrawn);
            }
            Some(Event::Status(_)) => return Err(WireError::Unexpected("STATUS").into()),
            Some(_) => return Err(WireError::Unexpected("a frame after the end of its stream").into()),
        };
        self.session.input.consume(used - payload);
        self.down_payload = payload;
        if self.down_ended && !ended && !self.broken {
            // Half-close. An application that is gone already shows it at the next read.
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let _ = Pin::new(&mut *self.application).poll_shutdown(&mut cx);
        }
        Ok(())
    }
}
