//! One stream: a request and its answer.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response, Uri};
use tokio::sync::watch;

use super::call::{Incoming, reply};
use super::message;
use crate::flow::counters::add;
use crate::intercept::connection::Context;
use crate::intercept::policy::{Again, Reply};
use crate::log;

pub struct Stream {
    pub context: Arc<Context>,
    upstream: SendRequest<Bytes>,
    leaving: watch::Sender<bool>,
}

/// The client's end of an answer, before and after its head.
pub struct Responder {
    respond: SendResponse<Bytes>,
    body: Option<SendStream<Bytes>>,
}

impl Responder {
    pub fn head(&mut self, response: Response<()>, end: bool) -> Result<&mut SendStream<Bytes>, Reason> {
        let body = self.respond.send_response(response, end).map_err(|error| message::reason(&error))?;
        Ok(self.body.insert(body))
    }

    pub fn reset(&mut self, reason: Reason) {
        match &mut self.body {
            Some(body) => body.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Waits until the client gives the stream up.
    pub async fn given_up(&mut self) -> Reason {
        let respond = &mut self.respond;
        match &mut self.body {
            Some(body) => message::given_up(body).await,
            None => poll_fn(|cx| respond.poll_reset(cx)).await.unwrap_or(Reason::CANCEL),
        }
    }

    pub fn informational(&mut self, response: Response<()>) -> Result<(), Reason> {
        self.respond.send_informational(response).map_err(|error| message::reason(&error))
    }

    pub fn body(&mut self) -> Option<&mut SendStream<Bytes>> {
        self.body.as_mut()
    }
}

impl Stream {
    pub fn new(context: Arc<Context>, upstream: SendRequest<Bytes>, leaving: watch::Sender<bool>) -> Self {
        Self { context, upstream, leaving }
    }

    pub async fn serve(mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let began = Instant::now();
        let (parts, mut body) = request.into_parts();
        let request = Request::from_parts(parts, ());
        let mut responder = Responder { respond, body: None };
        if let Err(reason) = self.handle(request, &mut body, &mut responder, began).await {
            log::debug(format!("connection {}: a stream ended: {reason}", self.context.subject.connection));
            responder.reset(reason);
        }
    }

    async fn handle(
        &mut self,
        request: Request<()>,
        body: &mut RecvStream,
        responder: &mut Responder,
        began: Instant,
    ) -> Result<(), Reason> {
        let target = target_of(request.uri());
        match self.context.endpoint(request.method().as_str(), &target) {
            Ok(Some((policy, endpoint))) => {
                let call = Incoming { policy, endpoint, target, began };
                call.handle(self, request, body, responder).await
            }
            Ok(None) => self.pass(request, Vec::new(), body, responder).await,
            Err(why) => {
                add(&self.context.interception.counters.intercepted_malformed, 1);
                reply(responder, &Reply::plain(400, &format!("kube-gateway: {why}\n"), Again::No)).await
            }
        }
    }

    /// Everything goes on as it is. `first` was read of the body already.
    pub async fn pass(
        &mut self,
        request: Request<()>,
        first: Vec<Bytes>,
        body: &mut RecvStream,
        responder: &mut Responder,
    ) -> Result<(), Reason> {
        let is_complete = first.is_empty() && body.is_end_stream();
        let (answer, mut to) = self.send(request, is_complete).await?;
        let up = async {
            if is_complete {
                return Ok(());
            }
            for data in first {
                message::send(&mut to, data).await?;
            }
            message::pump(body, &mut to).await
        };
        let down = async {
            let mut answer = answer;
            let response = final_head(&mut answer, responder).await?;
            let (parts, mut from) = response.into_parts();
            let ended = from.is_end_stream();
            let back = responder.head(Response::from_parts(parts, ()), ended)?;
            if ended { Ok(()) } else { message::pump(&mut from, back).await }
        };
        both(up, down).await
    }

    /// Opens the stream on the server's side.
    pub async fn send(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Reason> {
        let sent = match poll_fn(|cx| self.upstream.poll_ready(cx)).await {
            Ok(()) => self.upstream.send_request(addressed(request), end),
            Err(error) => Err(error),
        };
        sent.map_err(|error| {
            // The server takes no more streams on this connection: the client has to make another.
            self.leaving.send_replace(true);
            log::debug(format!("a stream could not be opened: {error}"));
            Reason::REFUSED_STREAM
        })
    }
}

/// Runs both directions until the answer has ended; a request that is still being sent then is not waited for longer than
/// the client goes on with it.
pub async fn both(
    up: impl Future<Output = Result<(), Reason>>,
    down: impl Future<Output = Result<(), Reason>>,
) -> Result<(), Reason> {
    tokio::pin!(up, down);
    let mut sent = false;
    loop {
        tokio::select! {
            biased;
            result = &mut down => {
                result?;
                return if sent { Ok(()) } else { up.await };
            }
            result = &mut up, if !sent => {
                // Why the server takes no more of it shows in its answer.
                sent = result.is_ok();
                if let Err(reason) = result {
                    return if reason == Reason::NO_ERROR { down.await } else { Err(reason) };
                }
            }
        }
    }
}

/// The final head of an answer; those before it are passed on.
pub async fn final_head(
    answer: &mut ResponseFuture,
    responder: &mut Responder,
) -> Result<Response<RecvStream>, Reason> {
    loop {
        tokio::select! {
            biased;
            interim = poll_fn(|cx| answer.poll_informational(cx)) => match interim {
                Some(Ok(interim)) => responder.informational(interim)?,
                Some(Err(error)) => return Err(message::reason(&error)),
                None => break,
            },
            reason = responder.given_up() => return Err(reason),
        }
    }
    tokio::select! {
        biased;
        response = answer => response.map_err(|error| message::reason(&error)),
        reason = responder.given_up() => Err(reason),
    }
}

/// Path and query, or whatever the request is for.
fn target_of(uri: &Uri) -> String {
    uri.path_and_query().map_or_else(|| uri.to_string(), |target| target.as_str().to_owned())
}

/// The client may name the server in a Host field alone.
fn addressed(mut request: Request<()>) -> Request<()> {
    if request.uri().authority().is_none() && request.method() != http::Method::CONNECT {
        let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        parts.authority = host.and_then(|host| host.parse().ok());
        parts.path_and_query = request.uri().path_and_query().cloned();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}
