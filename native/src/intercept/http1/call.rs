//! A request for an endpoint of the policy: collected, decided, and then answered or sent on.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::answer::{After, Answer};
use super::call_answer::{CallAnswer, chunk};
use super::collect::{self, Collector, State};
use super::sending::{Sending, broken};
use super::{Next, after_answer, hop_edits, reply};
use crate::flow::counters::add;
use crate::intercept::connection::Context;
use crate::intercept::decision::{self, Ask, Decided};
use crate::intercept::exchange::{Exchange, blocking};
use crate::intercept::framing::{EMPTY, Framing};
use crate::intercept::head::{Edit, Request};
use crate::intercept::input::{Broken, Wire};
use crate::intercept::policy::{Again, Forward, LlmRequest, Policy, Reply, Verdict};

/// Fields about a body that is not sent as it came.
const ABOUT_THE_BODY: [&str; 4] = ["content-encoding", "content-md5", "digest", "content-digest"];
/// Fields that say how a message is framed, which is not for a policy to say.
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "trailer"];

pub struct Incoming<'a> {
    pub context: &'a Context,
    pub policy: Arc<Box<dyn Policy>>,
    pub endpoint: usize,
    pub request: &'a Request,
    pub began: Instant,
}

impl Incoming<'_> {
    /// `None`: it is no call, and what was read of it is in `sending`.
    pub async fn handle(&self, wire: &mut Wire<'_>, sending: &mut Sending) -> Result<Option<Next>, Broken> {
        let head = &self.request.head;
        let codings = head.list("content-encoding");
        let is_json = head.content_type().is_some_and(|media_type| decision::is_json(&media_type));
        // A body that says it is something else is looked at as well: there are servers that do not care what it says.
        let must_look = !is_json && !sending.framing().is_done();
        let limit = self.policy.body_limit();
        if self.policy.by_head(self.endpoint) {
            let body = Collector::new(&self.context.interception.budget, &EMPTY, limit);
            return self.decide(wire, sending, body, false, Vec::new()).await;
        }
        let is_too_large = matches!(sending.framing(), Framing::Length(length) if *length > limit as u64);
        let mut body = Collector::new(&self.context.interception.budget, sending.framing(), limit);
        if !is_too_large || must_look {
            self.invite(wire, sending).await?;
        }
        if must_look && codings.is_empty() {
            match body.collect(&mut wire.client, sending.framing(), decision::can_tell).await? {
                State::Enough | State::Complete if decision::looks_like_json(body.content()) => {}
                State::Enough | State::Complete => {
                    sending.put_first(body.into_raw());
                    return Ok(None);
                }
                other => return self.incomplete(wire, other, body).await.map(Some),
            }
        }
        let state = if is_too_large {
            State::TooLarge
        } else {
            body.collect(&mut wire.client, sending.framing(), collect::all).await?
        };
        if state != State::Complete {
            return self.incomplete(wire, state, body).await.map(Some);
        }
        self.decide(wire, sending, body, must_look, codings).await
    }

    /// A client that waits to be asked for its body is asked: by us, as the server will get the body with the head.
    async fn invite(&self, wire: &mut Wire<'_>, sending: &mut Sending) -> Result<(), Broken> {
        let expects = self.request.is_1_1 && self.request.head.list("expect") == ["100-continue"];
        if expects && !sending.framing().is_done() && wire.client.buffer.is_empty() {
            wire.client_out.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            sending.invited = true;
        }
        Ok(())
    }

    fn llm_request(&self, body: Bytes, encoded: bool) -> LlmRequest {
        LlmRequest {
            endpoint: self.endpoint,
            method: self.request.method.clone(),
            target: self.request.target.clone(),
            headers: self.request.head.fields(),
            body,
            encoded,
            destination: self.context.subject.destination,
            connection: self.context.subject.connection,
            http_version: if self.request.is_1_1 { "1.1" } else { "1.0" },
        }
    }

    /// The body is not all there, and will not be.
    async fn incomplete(&self, wire: &mut Wire<'_>, state: State, body: Collector) -> Result<Next, Broken> {
        let counters = &self.context.interception.counters;
        let answer = match state {
            State::Truncated => return Ok(Next::Close),
            State::TooLarge => {
                add(&counters.llm_too_large, 1);
                let encoded = self.request.head.has("content-encoding");
                let request = self.llm_request(body.into_parts().1, encoded);
                let policy = Arc::clone(&self.policy);
                reply::complete(&blocking(move || policy.too_large(request)).await?, true, false)
            }
            State::NoRoom => {
                drop(body);
                add(&counters.llm_over_limit, 1);
                reply::plain(503, "kube-gateway: too many large requests at once\n", Again::Yes)
            }
            State::Malformed | State::Enough | State::Complete => {
                add(&counters.intercepted_malformed, 1);
                reply::plain(400, "kube-gateway: a chunk is malformed\n", Again::No)
            }
        };
        wire.client_out.send(&answer).await?;
        Ok(Next::Close)
    }

    async fn decide(
        &self,
        wire: &mut Wire<'_>,
        sending: &mut Sending,
        body: Collector,
        must_look: bool,
        codings: Vec<String>,
    ) -> Result<Option<Next>, Broken> {
        let asked = Instant::now();
        let (raw, content, held) = body.into_parts();
        let ask = Ask {
            policy: Arc::clone(&self.policy),
            request: self.llm_request(content, false),
            codings,
            must_look,
            began: self.began,
            held,
        };
        let decided = tokio::select! {
            decided = decision::ask(ask) => decided?,
            broken = broken(&mut wire.client) => return Err(broken),
        };
        let counters = &self.context.interception.counters;
        match decided {
            Decided::NoCall => {
                sending.put_first(raw);
                Ok(None)
            }
            Decided::TooLarge(answer) => {
                add(&counters.llm_too_large, 1);
                wire.client_out.send(&reply::complete(&answer, true, false)).await?;
                Ok(Some(Next::Close))
            }
            Decided::Call(verdict, mut exchange) => {
                add(&counters.llm_requests, 1);
                exchange.facts.request_bytes = raw.len() as u64;
                let next = self.carry_out(wire, sending, verdict, &mut exchange, (raw, asked)).await;
                self.settle(wire, &mut exchange, &next);
                next.map(Some)
            }
        }
    }

    /// `asked`: when the policy was.
    async fn carry_out(
        &self,
        wire: &mut Wire<'_>,
        sending: &mut Sending,
        verdict: Verdict,
        exchange: &mut Exchange,
        (raw, asked): (Bytes, Instant),
    ) -> Result<Next, Broken> {
        match verdict {
            Verdict::Reply(answer) => {
                add(&self.context.interception.counters.llm_replies, 1);
                exchange.accept(None, asked);
                let complete = sending.framing().is_done();
                self.reply(wire, &answer, exchange, complete).await
            }
            Verdict::Forward(mut forward) => {
                exchange.accept(forward.answer.take(), asked);
                self.forward(wire, sending, forward, exchange, raw).await
            }
        }
    }

    async fn reply(
        &self,
        wire: &mut Wire<'_>,
        answer: &Reply,
        exchange: &mut Exchange,
        complete: bool,
    ) -> Result<Next, Broken> {
        let (close, keep_alive) = reply::persistence(self.request);
        let close = close || !complete;
        exchange.facts.status = answer.status;
        exchange.facts.response_bytes = answer.body.len() as u64;
        let mut message = reply::complete(answer, close, keep_alive);
        if self.request.method == "HEAD" {
            message.truncate(message.len() - answer.body.len());
        }
        wire.client_out.send(&message).await?;
        Ok(if close { Next::Close } else { Next::Request })
    }

    async fn forward(
        &self,
        wire: &mut Wire<'_>,
        sending: &mut Sending,
        forward: Forward,
        exchange: &mut Exchange,
        raw: Bytes,
    ) -> Result<Next, Broken> {
        let counters = &self.context.interception.counters;
        let edited = forward.body.is_some() || forward.target.is_some();
        add(if edited { &counters.llm_edited } else { &counters.llm_unchanged }, 1);
        let (head, body) = self.message(sending, forward, raw);
        sending.put_first(body);
        sending.put_first(head);
        exchange.sent();
        let after = {
            let answer = Answer { server: &mut wire.server, out: &mut wire.client_out, request: self.request, sent: 0 };
            let mut answer = CallAnswer { answer, exchange, limit: self.policy.body_limit() };
            tokio::select! {
                biased;
                after = answer.run() => after?,
                broken = sending.run(&mut wire.client, &mut wire.server_out) => return Err(broken),
            }
        };
        if after == After::Cut {
            add(&counters.llm_cut, 1);
        }
        after_answer(wire, sending, after).await
    }

    /// What is sent to the server: only the lines of the head that differ are new.
    fn message(&self, sending: &Sending, forward: Forward, raw: Bytes) -> (Bytes, Bytes) {
        let head = &self.request.head;
        let mut edits: Vec<Edit> = hop_edits(self.request, sending);
        let is_framing = |edit: &Edit| FRAMING.iter().any(|name| edit.0.eq_ignore_ascii_case(name));
        edits.extend(forward.set_headers.into_iter().filter(|edit| !is_framing(edit)));
        let by_head = self.policy.by_head(self.endpoint);
        let body = match forward.body.filter(|_| !by_head) {
            None => raw,
            Some(body) => {
                edits.extend(ABOUT_THE_BODY.iter().map(|name| ((*name).to_owned(), None)));
                if head.has("transfer-encoding") {
                    edits.push(("trailer".to_owned(), None));
                    chunked(&body)
                } else {
                    edits.push(("Content-Length".to_owned(), Some(body.len().to_string())));
                    body
                }
            }
        };
        let first = forward.target.map(|target| {
            let target: String = target.chars().filter(|char| !char.is_whitespace() && !char.is_control()).collect();
            format!("{} {target} HTTP/1.{}", self.request.method, u8::from(self.request.is_1_1))
        });
        if edits.is_empty() && first.is_none() {
            return (Bytes::copy_from_slice(head.raw()), body);
        }
        (head.edited(first.as_deref(), &edits).into(), body)
    }

    /// Notes how it ended.
    fn settle(&self, wire: &Wire<'_>, exchange: &mut Exchange, next: &Result<Next, Broken>) {
        let counters = &self.context.interception.counters;
        let facts = &mut exchange.facts;
        match next {
            Err(Broken::Client(_)) => facts.client_gone = true,
            Err(Broken::Server(_)) => facts.upstream_failed = true,
            _ => {}
        }
        if facts.upstream_failed && wire.client.ended {
            // It had been told that nobody waits for it any more.
            facts.client_gone = true;
            facts.upstream_failed = false;
        }
        add(&counters.llm_clients_gone, u64::from(facts.client_gone));
        add(&counters.llm_upstream_failures, u64::from(facts.upstream_failed));
    }
}

fn chunked(body: &[u8]) -> Bytes {
    let mut out = if body.is_empty() { Vec::new() } else { chunk(body) };
    out.extend_from_slice(b"0\r\n\r\n");
    out.into()
}
