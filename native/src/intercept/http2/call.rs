//! A request for an endpoint of the policy, on a stream of HTTP/2.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use super::call_answer::CallAnswer;
use super::message;
use super::stream::{Responder, Stream, both};
use crate::flow::counters::add;
use crate::intercept::budget::Held;
use crate::intercept::decision::{self, Ask, Decided};
use crate::intercept::exchange::{Exchange, blocking};
use crate::intercept::head::Edit;
use crate::intercept::policy::{Again, Failed, Forward, LlmRequest, Policy, Reply, Verdict};

/// Fields about a body that is not sent as it came.
const ABOUT_THE_BODY: [&str; 4] = ["content-encoding", "content-md5", "digest", "content-digest"];

pub struct Incoming {
    pub policy: Arc<Box<dyn Policy>>,
    pub endpoint: usize,
    pub target: String,
    pub began: Instant,
}

/// What came of collecting a body.
enum Collected {
    Whole(Vec<u8>, Held),
    /// It is no call, whatever its path.
    Other(Vec<u8>),
    TooLarge(Vec<u8>),
    NoRoom,
}

/// Where a call is.
struct Place<'a> {
    stream: &'a mut Stream,
    body: &'a mut RecvStream,
    responder: &'a mut Responder,
}

impl Incoming {
    pub async fn handle(
        self,
        stream: &mut Stream,
        mut request: Request<()>,
        body: &mut RecvStream,
        responder: &mut Responder,
    ) -> Result<(), Reason> {
        let is_json = message::content_type(request.headers()).is_some_and(|media_type| decision::is_json(&media_type));
        if self.policy.by_head(self.endpoint) {
            let held = Held::new(&stream.context.interception.budget);
            let place = Place { stream, body, responder };
            return self.decide(place, request, Bytes::new(), held, false).await;
        }
        let must_look = !is_json && !body.is_end_stream();
        if request.headers_mut().remove(EXPECT).is_some() && !body.is_end_stream() {
            let mut interim = Response::new(());
            *interim.status_mut() = StatusCode::CONTINUE;
            responder.informational(interim)?;
        }
        let collected = self.collect(stream, &request, body, must_look).await?;
        let mut place = Place { stream, body, responder };
        match collected {
            Collected::Other(first) => {
                place.stream.pass(request, vec![first.into()], place.body, place.responder).await
            }
            Collected::NoRoom => {
                add(&place.stream.context.interception.counters.llm_over_limit, 1);
                let text = "kube-gateway: too many large requests at once\n";
                place.reply(&Reply::plain(503, text, Again::Yes)).await
            }
            Collected::TooLarge(prefix) => {
                let llm_request = self.llm_request(place.stream, &request, prefix.into());
                let policy = Arc::clone(&self.policy);
                let answer = blocking(move || policy.too_large(llm_request)).await;
                place.too_large(answer.map_err(|error| place.failed(&error))?).await
            }
            Collected::Whole(content, held) => self.decide(place, request, content.into(), held, must_look).await,
        }
    }

    async fn collect(
        &self,
        stream: &Stream,
        request: &Request<()>,
        body: &mut RecvStream,
        must_look: bool,
    ) -> Result<Collected, Reason> {
        let limit = self.policy.body_limit();
        let mut held = Held::new(&stream.context.interception.budget);
        let mut content = Vec::new();
        let mut looking = must_look && message::codings(request.headers()).is_empty();
        while let Some(data) = message::next(body).await {
            let data = data?;
            if content.len() + data.len() > limit {
                return Ok(Collected::TooLarge(content));
            }
            if !held.grow(data.len()) {
                return Ok(Collected::NoRoom);
            }
            content.extend_from_slice(&data);
            if looking && decision::can_tell(&content) {
                looking = false;
                if !decision::looks_like_json(&content) {
                    return Ok(Collected::Other(content));
                }
            }
        }
        Ok(Collected::Whole(content, held))
    }

    fn llm_request(&self, stream: &Stream, request: &Request<()>, body: Bytes) -> LlmRequest {
        let mut headers = message::fields(request.headers());
        if let Some(authority) = request.uri().authority()
            && !request.headers().contains_key(http::header::HOST)
        {
            headers.insert(0, ("host".to_owned(), authority.as_str().to_owned()));
        }
        LlmRequest {
            endpoint: self.endpoint,
            method: request.method().as_str().to_owned(),
            target: self.target.clone(),
            headers,
            body,
            encoded: false,
            destination: stream.context.subject.destination,
            connection: stream.context.subject.connection,
            http_version: "2",
        }
    }

    async fn decide(
        &self,
        mut place: Place<'_>,
        request: Request<()>,
        content: Bytes,
        held: Held,
        must_look: bool,
    ) -> Result<(), Reason> {
        let asked = Instant::now();
        let ask = Ask {
            policy: Arc::clone(&self.policy),
            request: self.llm_request(place.stream, &request, content.clone()),
            codings: if content.is_empty() { Vec::new() } else { message::codings(request.headers()) },
            must_look,
            began: self.began,
            held,
        };
        let decided = tokio::select! {
            decided = decision::ask(ask) => decided.map_err(|error| place.failed(&error))?,
            reason = place.responder.given_up() => return Err(reason),
        };
        let context = Arc::clone(&place.stream.context);
        let counters = &context.interception.counters;
        match decided {
            Decided::NoCall => place.stream.pass(request, vec![content], place.body, place.responder).await,
            Decided::TooLarge(answer) => place.too_large(answer).await,
            Decided::Call(verdict, mut exchange) => {
                add(&counters.llm_requests, 1);
                exchange.facts.request_bytes = content.len() as u64;
                let result = self.carry_out(&mut place, request, verdict, &mut exchange, (content, asked)).await;
                exchange.facts.client_gone = result.is_err() && !exchange.facts.upstream_failed;
                add(&counters.llm_clients_gone, u64::from(exchange.facts.client_gone));
                add(&counters.llm_upstream_failures, u64::from(exchange.facts.upstream_failed));
                result
            }
        }
    }

    /// `asked`: when the policy was. Until the end says otherwise the client counts as gone: it may leave at any time, and
    /// this is dropped then.
    async fn carry_out(
        &self,
        place: &mut Place<'_>,
        request: Request<()>,
        verdict: Verdict,
        exchange: &mut Exchange,
        (content, asked): (Bytes, Instant),
    ) -> Result<(), Reason> {
        match verdict {
            Verdict::Reply(mut answer) => {
                add(&place.stream.context.interception.counters.llm_replies, 1);
                if request.method() == http::Method::HEAD {
                    answer.body = Bytes::new();
                }
                exchange.accept(None, asked);
                exchange.facts.client_gone = true;
                exchange.facts.status = answer.status;
                exchange.facts.response_bytes = answer.body.len() as u64;
                place.reply(&answer).await
            }
            Verdict::Forward(mut forward) => {
                exchange.accept(forward.answer.take(), asked);
                exchange.facts.client_gone = true;
                // Decided by its head, it is not collected. With trailers, a body that is collected is not at its end yet.
                let more = self.policy.by_head(self.endpoint) && !place.body.is_end_stream();
                place.forward(request, forward, (content, more), exchange, self.policy.body_limit()).await
            }
        }
    }
}

impl Place<'_> {
    fn failed(&self, error: &Failed) -> Reason {
        let context = &self.stream.context;
        add(&context.interception.counters.llm_policy_failures, 1);
        let destination = context.subject.destination;
        context.interception.warn(context.subject, &format!("reset a stream to {destination}: {error}"));
        Reason::INTERNAL_ERROR
    }

    /// What the client still sends is not read: the stream is reset with NO_ERROR when all of this has left.
    async fn reply(&mut self, answer: &Reply) -> Result<(), Reason> {
        reply(self.responder, answer).await
    }

    async fn trailers(&mut self) -> Result<Option<HeaderMap>, Reason> {
        self.body.trailers().await.map_err(|error| message::reason(&error))
    }

    async fn too_large(&mut self, answer: Reply) -> Result<(), Reason> {
        add(&self.stream.context.interception.counters.llm_too_large, 1);
        self.reply(&answer).await
    }

    /// `more`: the body is still to come.
    async fn forward(
        &mut self,
        mut request: Request<()>,
        mut forward: Forward,
        (content, more): (Bytes, bool),
        exchange: &mut Exchange,
        limit: usize,
    ) -> Result<(), Reason> {
        let counters = &self.stream.context.interception.counters;
        let edited = forward.body.is_some() || forward.target.is_some();
        add(if edited { &counters.llm_edited } else { &counters.llm_unchanged }, 1);
        let trailers = if more { None } else { self.trailers().await?.filter(|_| forward.body.is_none()) };
        if more {
            forward.body = None;
        }
        apply(&mut request, &forward);
        let body = forward.body.unwrap_or(content);
        exchange.sent();
        let (answer, mut to) = match self.stream.send(request, !more && body.is_empty() && trailers.is_none()).await {
            Ok(sent) => sent,
            Err(reason) => {
                exchange.facts.upstream_failed = true;
                return Err(reason);
            }
        };
        let from = &mut *self.body;
        let up = async {
            if more {
                return message::pump(from, &mut to).await;
            }
            if !body.is_empty() {
                message::send(&mut to, body).await?;
                if trailers.is_none() {
                    message::end(&mut to)?;
                }
            }
            match trailers {
                Some(trailers) => to.send_trailers(trailers).map_err(|error| message::reason(&error)),
                None => Ok(()),
            }
        };
        let mut down =
            CallAnswer { context: &self.stream.context, responder: self.responder, exchange, limit, sent: 0 };
        both(up, down.run(answer)).await
    }
}

/// Sends an answer of the gateway itself.
pub async fn reply(responder: &mut Responder, answer: &Reply) -> Result<(), Reason> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let edits: Vec<Edit> = answer.headers.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
    message::edit(response.headers_mut(), &edits);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    let to = responder.head(response, answer.body.is_empty())?;
    if answer.body.is_empty() {
        return Ok(());
    }
    message::send(to, answer.body.clone()).await?;
    message::end(to)
}

/// Changes the head of a request as the policy wants it.
fn apply(request: &mut Request<()>, forward: &Forward) {
    if let Some(body) = &forward.body {
        without(request.headers_mut(), &ABOUT_THE_BODY);
        let headers = request.headers_mut();
        if headers.contains_key(CONTENT_LENGTH) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
    }
    message::edit(request.headers_mut(), &forward.set_headers);
    let target = forward.target.as_ref().and_then(|target| target.parse().ok());
    if let Some(target) = target {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(target);
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
}

pub fn without(headers: &mut HeaderMap, names: &[&'static str]) {
    for name in names {
        headers.remove(HeaderName::from_static(name));
    }
}
