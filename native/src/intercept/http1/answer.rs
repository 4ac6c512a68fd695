//! The server's answer on its way to the client.

use tokio::net::tcp::WriteHalf;

use crate::intercept::exchange::Exchange;
use crate::intercept::framing::{self, Framing};
use crate::intercept::head::{Request, Response, parse_response};
use crate::intercept::input::{Broken, Input, Output};
use crate::intercept::pipe::Pipe;

/// What can come after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Next,
    Tunnel,
    Close,
    Cut,
}

pub enum Found {
    Response(Response),
    /// No answer of HTTP/1, or only a part of one.
    Other,
}

pub struct Answer<'a, 'w> {
    pub server: &'a mut Input<Pipe>,
    pub out: &'a mut Output<WriteHalf<'w>>,
    pub request: &'a Request,
    /// Bytes of the body that the client got.
    pub sent: u64,
}

impl Answer<'_, '_> {
    /// Everything goes on as it is.
    pub async fn pass(&mut self) -> Result<After, Broken> {
        match self.head().await? {
            Found::Response(response) => self.pass_response(&response, None).await,
            Found::Other => self.rest().await,
        }
    }

    /// The head of the final answer, after those that are not.
    pub async fn head(&mut self) -> Result<Found, Broken> {
        loop {
            match parse_response(self.server.buffer.bytes()) {
                Ok(Some(response)) => {
                    self.server.buffer.consume(response.head.raw().len());
                    if !matches!(response.status, 100..200) || response.status == 101 {
                        return Ok(Found::Response(response));
                    }
                    self.out.send(response.head.raw()).await?;
                }
                Ok(None) if self.server.ended => return Ok(Found::Other),
                Ok(None) => drop(self.server.fill().await?),
                Err(_) => return Ok(Found::Other),
            }
        }
    }

    /// An answer whose head goes on as it is, and its body too; an exchange may look at that.
    pub async fn pass_response(
        &mut self,
        response: &Response,
        exchange: Option<&mut Exchange>,
    ) -> Result<After, Broken> {
        let is_switch = response.status == 101;
        if is_switch && !self.request.head.has("upgrade") {
            return Err(Broken::server("it switches to a protocol that nobody asked for"));
        }
        self.out.send(response.head.raw()).await?;
        if is_switch || (self.request.method == "CONNECT" && matches!(response.status, 200..300)) {
            return Ok(After::Tunnel);
        }
        match framing::of_response(&self.request.method, response) {
            Some(framing) => self.body(framing, exchange).await,
            None => self.rest().await,
        }
    }

    async fn body(&mut self, mut framing: Framing, mut exchange: Option<&mut Exchange>) -> Result<After, Broken> {
        while !framing.is_done() {
            if self.server.buffer.is_empty() && self.server.fill().await? == 0 {
                break;
            }
            let bytes = self.server.buffer.bytes();
            let (mut used, mut pieces) = (0, Vec::new());
            while used < bytes.len() && !framing.is_done() {
                let Ok(step) = framing.step(&bytes[used..]) else { return self.rest().await };
                if !step.data.is_empty() {
                    pieces.push(used + step.data.start..used + step.data.end);
                }
                used += step.used;
            }
            self.out.send(&bytes[..used]).await?;
            for piece in pieces {
                self.sent += piece.len() as u64;
                if let Some(exchange) = &mut exchange {
                    exchange.look(&bytes[piece]).await;
                }
            }
            self.server.buffer.consume(used);
        }
        if let Some(exchange) = exchange {
            exchange.facts.upstream_failed |= !framing.is_done() && framing != Framing::UntilEnd;
            exchange.looked().await;
        }
        Ok(if framing.is_done() { After::Next } else { After::Close })
    }

    /// Nobody can say where this ends but the server, by ending the connection.
    pub async fn rest(&mut self) -> Result<After, Broken> {
        loop {
            let bytes = self.server.buffer.bytes();
            self.out.send(bytes).await?;
            self.sent += bytes.len() as u64;
            let length = bytes.len();
            self.server.buffer.consume(length);
            if self.server.fill().await? == 0 {
                return Ok(After::Close);
            }
        }
    }
}
