//! What the engine asks, and what it is told. The engine knows no policy, and a policy knows no wire.
//!
//! A policy is asked once for each call, on a thread that may block, and told once how the call ended.

use std::net::SocketAddr;

use bytes::Bytes;

use super::target::Endpoints;

/// A call, as the client made it.
pub struct LlmRequest {
    /// Index in the policy's endpoints.
    pub endpoint: usize,
    pub method: String,
    /// As it was sent.
    pub target: String,
    /// ISO 8859-1 is Unicode's first 256 characters, so every value is text.
    pub headers: Vec<(String, String)>,
    /// Without its content coding, if that could be undone.
    pub body: Bytes,
    /// There was a content coding.
    pub encoded: bool,
    pub destination: SocketAddr,
    pub connection: u64,
    pub http_version: &'static str,
}

/// A complete answer of the gateway itself.
#[derive(Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// Whether a client that asks again may fare better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    Yes,
    No,
}

impl Reply {
    /// An answer in plain text, where nobody can be asked for a better one. Libraries for LLM APIs try again what has a
    /// status of 500 or more, unless they are told not to.
    pub fn plain(status: u16, text: &str, again: Again) -> Self {
        let mut headers = vec![("Content-Type".to_owned(), "text/plain; charset=utf-8".to_owned())];
        if again == Again::No {
            headers.push(("x-should-retry".to_owned(), "false".to_owned()));
        }
        Self { status, headers, body: Bytes::copy_from_slice(text.as_bytes()) }
    }
}

/// What becomes of a call.
pub struct Decision {
    pub verdict: Verdict,
    pub call: Box<dyn Call>,
}

pub enum Verdict {
    /// The server never sees it.
    Reply(Reply),
    Forward(Forward),
}

#[derive(Default)]
pub struct Forward {
    /// In place of the client's body; without it, that goes on as it was sent.
    pub body: Option<Bytes>,
    pub target: Option<String>,
    /// A value in place of whatever the client sent, or none at all.
    pub set_headers: Vec<(String, Option<String>)>,
    pub answer: Option<Box<dyn AnswerPlan>>,
}

/// What the policy wants of the answer.
pub trait AnswerPlan: Send {
    /// How answers of a content type (without parameters, in lower case) are framed, if they are looked at.
    fn framing_of(&self, content_type: &str) -> Option<String>;
    /// A filter for one body.
    fn start(self: Box<Self>, framing: &str) -> Result<Box<dyn Filter>, Failed>;
    /// Whether `start` must run on a thread that may block.
    fn blocks(&self) -> bool;
    /// Without it, filters only look, and what the server sends goes on as it comes.
    fn edits(&self) -> bool;
}

/// Looks at the body of an answer, without its codings, as it comes.
pub trait Filter: Send {
    /// What can go on of `data` and what was held back before.
    fn feed(&mut self, data: &[u8]) -> Result<Vec<u8>, Failed>;
    fn finish(&mut self) -> Result<Vec<u8>, Failed>;
    /// Nothing more may come; whoever feeds it ends the answer.
    fn ended(&self) -> bool;
    /// An event of a stream, or all of a document, has come. Comments that keep a connection alive are none.
    fn has_event(&self) -> bool;
    /// What it has seen, in JSON.
    fn outcome(&self) -> Vec<u8>;
    /// Whether it must run on a thread that may block.
    fn blocks(&self) -> bool;
}

/// One call that was decided. All methods may block.
pub trait Call: Send + Sync {
    /// Told exactly once, when all is over.
    fn ended(&self, outcome: &[u8], facts: &Facts);
    /// What is sent in place of an answer that a filter has ended before any of it was sent.
    fn refuse(&self, outcome: &[u8]) -> Result<Reply, Failed>;
    /// What is sent in place of an answer that has to be looked at and never can be.
    fn unreadable(&self, why: &str) -> Result<Reply, Failed>;
    /// What ends a stream that a filter has ended.
    fn ending(&self, outcome: &[u8]) -> Result<Vec<u8>, Failed>;
}

/// How a call went. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Of the answer that the client got; 0 without one.
    pub status: u16,
    /// Of bodies, as they were on the wire on the client's side.
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// From when the call had been sent to the server until the first byte of the answer.
    pub seconds_to_first_byte: Option<f64>,
    /// The same until the first event of the answer, if a filter has seen one: servers may send the head long before.
    pub seconds_to_first_chunk: Option<f64>,
    /// From the client's head to the end.
    pub seconds: f64,
    /// What the gateway itself took of that: deciding, and filtering.
    pub overhead_seconds: f64,
    pub client_gone: bool,
    pub upstream_failed: bool,
    /// Whether the call went to the server: not if the client had left by the time of the decision.
    pub sent: bool,
}

/// The policy broke. What it did not decide is not let through.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

pub trait Policy: Send + Sync {
    fn endpoints(&self) -> &Endpoints;
    /// Bytes of a body that are collected at most.
    fn body_limit(&self) -> usize;
    /// Whether calls of an endpoint are decided by their heads alone, as their bodies are no documents. They are asked
    /// about with an empty body, and what the client sends goes on as it comes.
    fn by_head(&self, endpoint: usize) -> bool;
    /// May block.
    fn decide(&self, request: LlmRequest) -> Result<Decision, Failed>;
    /// What answers a call whose body is larger. May block.
    fn too_large(&self, request: LlmRequest) -> Result<Reply, Failed>;
}
