//! The server's answer to a call on a stream of HTTP/2, through what the policy wants of it.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::response::Parts;
use http::{HeaderValue, Response};

use super::call::{reply, without};
use super::message;
use super::stream::{Responder, final_head};
use crate::flow::counters::add;
use crate::intercept::connection::Context;
use crate::intercept::exchange::{AnswerError, Exchange, Treatment};
use crate::intercept::policy::{Again, Failed};

/// Fields about a body that is not sent as it came.
const ABOUT_THE_BODY: [&str; 7] =
    ["etag", "content-md5", "digest", "content-digest", "repr-digest", "trailer", "accept-ranges"];

pub struct CallAnswer<'a> {
    pub context: &'a Arc<Context>,
    pub responder: &'a mut Responder,
    pub exchange: &'a mut Exchange,
    /// Bytes of an answer that is collected.
    pub limit: usize,
    /// Bytes of the body that the client got.
    pub sent: u64,
}

impl CallAnswer<'_> {
    pub async fn run(&mut self, mut answer: ResponseFuture) -> Result<(), Reason> {
        let result = match final_head(&mut answer, self.responder).await {
            Ok(response) => self.handle(response).await,
            Err(reason) => Err(reason),
        };
        self.exchange.facts.response_bytes = self.sent;
        result
    }

    async fn handle(&mut self, response: Response<RecvStream>) -> Result<(), Reason> {
        self.exchange.first_byte();
        let (parts, mut from) = response.into_parts();
        self.exchange.facts.status = parts.status.as_u16();
        if from.is_end_stream() {
            return self.responder.head(Response::from_parts(parts, ()), true).map(drop);
        }
        let codings = message::codings(&parts.headers);
        match self.exchange.treat(message::content_type(&parts.headers).as_deref(), &codings).await {
            Ok(Treatment::Pass | Treatment::Look) => self.look(parts, &mut from).await,
            Ok(Treatment::Stream) => self.stream(parts, &mut from).await,
            Ok(Treatment::Whole) => self.whole(parts, &mut from).await,
            Err(AnswerError::Coding(error)) => self.unreadable(&error.to_string(), error.again()).await,
            Err(AnswerError::Policy(error)) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &Failed) -> Reason {
        let Context { interception, subject } = self.context.as_ref();
        add(&interception.counters.llm_policy_failures, 1);
        interception.warn(*subject, &format!("reset a stream to {}: {error}", subject.destination));
        Reason::INTERNAL_ERROR
    }

    /// An answer that the policy has to see and cannot.
    async fn unreadable(&mut self, why: &str, again: Again) -> Result<(), Reason> {
        let answer = self.exchange.unreadable(why, again).await.map_err(|error| self.failed(&error))?;
        reply(self.responder, &answer).await
    }

    /// The next piece of the answer. The client may give it up, and the server may break off.
    async fn next(&mut self, from: &mut RecvStream) -> Result<Option<Bytes>, Reason> {
        let data = tokio::select! {
            biased;
            data = message::next(from) => data,
            reason = self.responder.given_up() => return Err(reason),
        };
        self.exchange.facts.upstream_failed |= matches!(data, Some(Err(_)));
        data.transpose()
    }

    async fn send(&mut self, data: Bytes) -> Result<(), Reason> {
        self.sent += data.len() as u64;
        match self.responder.body() {
            Some(to) => message::send(to, data).await,
            None => Err(Reason::INTERNAL_ERROR),
        }
    }

    fn end(&mut self) -> Result<(), Reason> {
        self.responder.body().map_or(Err(Reason::INTERNAL_ERROR), message::end)
    }

    async fn look(&mut self, parts: Parts, from: &mut RecvStream) -> Result<(), Reason> {
        self.responder.head(Response::from_parts(parts, ()), false)?;
        while let Some(data) = self.next(from).await? {
            self.send(data.clone()).await?;
            self.exchange.look(&data).await;
        }
        self.exchange.looked().await;
        match self.responder.body() {
            Some(to) => message::finish(from, to).await,
            None => Err(Reason::INTERNAL_ERROR),
        }
    }

    async fn stream(&mut self, mut parts: Parts, from: &mut RecvStream) -> Result<(), Reason> {
        self.edit(&mut parts, None);
        self.responder.head(Response::from_parts(parts, ()), false)?;
        while let Some(data) = self.next(from).await? {
            let Ok(content) = self.exchange.decode(&data) else { return self.broken() };
            let content = content.into_owned();
            let out = self.exchange.filter(&content).await.map_err(|error| self.failed(&error))?;
            self.send(out.into()).await?;
            if self.exchange.is_ended() {
                return self.cut().await;
            }
        }
        let Ok(rest) = self.exchange.decode_rest() else { return self.broken() };
        let mut out = self.exchange.filter(&rest).await.map_err(|error| self.failed(&error))?;
        out.extend(self.exchange.finish().await.map_err(|error| self.failed(&error))?);
        self.send(out.into()).await?;
        if self.exchange.is_ended() { self.cut().await } else { self.end() }
    }

    fn broken(&mut self) -> Result<(), Reason> {
        self.exchange.facts.upstream_failed = true;
        Err(Reason::INTERNAL_ERROR)
    }

    /// The filter has ended the stream. The server's side is reset when it is dropped.
    async fn cut(&mut self) -> Result<(), Reason> {
        add(&self.context.interception.counters.llm_cut, 1);
        let ending = self.exchange.ending().await.map_err(|error| self.failed(&error))?;
        self.send(ending.into()).await?;
        self.end()
    }

    async fn whole(&mut self, mut parts: Parts, from: &mut RecvStream) -> Result<(), Reason> {
        let (mut raw, mut content, mut out) = (Vec::new(), Vec::new(), Vec::new());
        let mut ended = false;
        while !ended && !self.exchange.is_ended() {
            let data = self.next(from).await?;
            ended = data.is_none();
            let data = data.unwrap_or_default();
            let piece = if ended {
                self.exchange.decode_rest()
            } else {
                self.exchange.decode(&data).map(std::borrow::Cow::into_owned)
            };
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return self.unreadable(&error.to_string(), error.again()).await,
            };
            let (length, more) = (content.len() + piece.len(), data.len() + 2 * piece.len());
            if let Err((why, again)) = self.exchange.hold(length, self.limit, more) {
                return self.unreadable(why, again).await;
            }
            raw.extend_from_slice(&data);
            out.extend(self.exchange.filter(&piece).await.map_err(|error| self.failed(&error))?);
            content.extend(piece);
        }
        if !self.exchange.is_ended() {
            out.extend(self.exchange.finish().await.map_err(|error| self.failed(&error))?);
        }
        if self.exchange.is_ended() {
            let answer = self.exchange.refuse().await.map_err(|error| self.failed(&error))?;
            self.exchange.facts.status = answer.status;
            self.sent = answer.body.len() as u64;
            return reply(self.responder, &answer).await;
        }
        if out == content {
            out = raw;
        } else {
            self.edit(&mut parts, Some(out.len()));
        }
        self.responder.head(Response::from_parts(parts, ()), false)?;
        self.send(out.into()).await?;
        self.end()
    }

    /// Fields of an answer whose body is another one.
    fn edit(&self, parts: &mut Parts, length: Option<usize>) {
        without(&mut parts.headers, &ABOUT_THE_BODY);
        if self.exchange.is_encoded() {
            parts.headers.remove(CONTENT_ENCODING);
        }
        if parts.headers.remove(CONTENT_LENGTH).is_some()
            && let Some(length) = length
        {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}
