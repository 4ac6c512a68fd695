//! The body of a call, collected before anybody decides: the policy has to see all of it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncRead;

use crate::intercept::budget::{Budget, Held};
use crate::intercept::framing::Framing;
use crate::intercept::input::{Broken, Input};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As much as was asked for is there.
    Enough,
    Complete,
    TooLarge,
    /// The gateway holds as much as it may already.
    NoRoom,
    Malformed,
    /// The client ended before its body did.
    Truncated,
}

pub struct Collector {
    /// As it was sent, with its chunks.
    raw: Vec<u8>,
    /// Without chunks, if there were any.
    content: Option<Vec<u8>>,
    held: Held,
    limit: usize,
}

impl Collector {
    pub fn new(budget: &Arc<Budget>, framing: &Framing, limit: usize) -> Self {
        let content = matches!(framing, Framing::Chunked(_)).then(Vec::new);
        Self { raw: Vec::new(), content, held: Held::new(budget), limit }
    }

    pub fn content(&self) -> &[u8] {
        self.content.as_deref().unwrap_or(&self.raw)
    }

    pub fn into_raw(self) -> Bytes {
        self.raw.into()
    }

    /// The body as it was sent, its content, and what accounts for both.
    pub fn into_parts(self) -> (Bytes, Bytes, Held) {
        let raw = Bytes::from(self.raw);
        let content = self.content.map_or_else(|| raw.clone(), Bytes::from);
        (raw, content, self.held)
    }

    /// Collects until `enough` is true of the content, or until the end.
    pub async fn collect<R: AsyncRead + Unpin>(
        &mut self,
        client: &mut Input<R>,
        framing: &mut Framing,
        enough: fn(&[u8]) -> bool,
    ) -> Result<State, Broken> {
        loop {
            if framing.is_done() {
                return Ok(State::Complete);
            }
            if enough(self.content()) {
                return Ok(State::Enough);
            }
            if client.buffer.is_empty() && client.fill().await? == 0 {
                return Ok(State::Truncated);
            }
            if let Some(state) = self.take(client, framing) {
                return Ok(state);
            }
        }
    }

    fn take<R: AsyncRead + Unpin>(&mut self, client: &mut Input<R>, framing: &mut Framing) -> Option<State> {
        let bytes = client.buffer.bytes();
        let Ok(step) = framing.step(bytes) else { return Some(State::Malformed) };
        let growth = step.used + if self.content.is_some() { step.data.len() } else { 0 };
        if self.content().len() + step.data.len() > self.limit || self.raw.len() > self.limit.saturating_mul(2) {
            return Some(State::TooLarge);
        }
        if !self.held.grow(growth) {
            return Some(State::NoRoom);
        }
        self.raw.extend_from_slice(&bytes[..step.used]);
        if let Some(content) = &mut self.content {
            content.extend_from_slice(&bytes[step.data]);
        }
        client.buffer.consume(step.used);
        None
    }
}

/// Nothing less than the whole.
pub fn all(_: &[u8]) -> bool {
    false
}
