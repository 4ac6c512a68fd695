//! The server's answer to a call, through what the policy wants of it.

use super::answer::{After, Answer, Found};
use super::reply;
use crate::intercept::exchange::{AnswerError, Exchange, Treatment};
use crate::intercept::framing::{self, EMPTY, Framing};
use crate::intercept::head::{Edit, Response};
use crate::intercept::input::Broken;
use crate::intercept::policy::Again;

/// Fields about a body that is not sent as it came. Trailers may be about it too.
const ABOUT_THE_BODY: [&str; 7] =
    ["etag", "content-md5", "digest", "content-digest", "repr-digest", "trailer", "accept-ranges"];

/// An answer to a call, with the call.
pub struct CallAnswer<'a, 'b, 'w> {
    pub answer: Answer<'b, 'w>,
    pub exchange: &'a mut Exchange,
    /// Bytes of an answer that is collected.
    pub limit: usize,
}

impl CallAnswer<'_, '_, '_> {
    pub async fn run(&mut self) -> Result<After, Broken> {
        let after = self.handle().await;
        self.exchange.facts.response_bytes = self.answer.sent;
        after
    }

    async fn handle(&mut self) -> Result<After, Broken> {
        let response = match self.answer.head().await? {
            Found::Response(response) => response,
            Found::Other => {
                self.exchange.facts.upstream_failed = true;
                return if self.exchange.edits() && !self.answer.server.buffer.is_empty() {
                    self.unreadable("its answer is not HTTP", Again::No).await
                } else {
                    self.answer.rest().await
                };
            }
        };
        self.exchange.first_byte();
        self.exchange.facts.status = response.status;
        let framing = framing::of_response(&self.answer.request.method, &response);
        let Some(framing) = framing.filter(|_| response.status != 101) else {
            return if self.exchange.edits() {
                self.unreadable("where its answer ends is not clear", Again::No).await
            } else {
                self.answer.pass_response(&response, None).await
            };
        };
        if framing == EMPTY {
            return self.answer.pass_response(&response, None).await;
        }
        let codings = response.head.list("content-encoding");
        match self.exchange.treat(response.head.content_type().as_deref(), &codings).await {
            Ok(Treatment::Pass | Treatment::Look) => self.answer.pass_response(&response, Some(self.exchange)).await,
            Ok(Treatment::Stream) => self.stream(&response, framing).await,
            Ok(Treatment::Whole) => self.whole(response, framing).await,
            Err(AnswerError::Coding(error)) => self.unreadable(&error.to_string(), error.again()).await,
            Err(AnswerError::Policy(error)) => Err(error.into()),
        }
    }

    /// An answer that the policy has to see and cannot.
    async fn unreadable(&mut self, why: &str, again: Again) -> Result<After, Broken> {
        let reply = self.exchange.unreadable(why, again).await?;
        self.answer.out.send(&reply::complete(&reply, true, false)).await?;
        Ok(After::Cut)
    }

    fn head_of_edited(&self, response: &Response, framing: &Edit) -> Vec<u8> {
        let mut edits: Vec<Edit> = ABOUT_THE_BODY.iter().map(|name| ((*name).to_owned(), None)).collect();
        if self.exchange.is_encoded() {
            edits.push(("content-encoding".to_owned(), None));
        }
        edits.push(framing.clone());
        response.head.edited(None, &edits)
    }

    /// What comes goes on at once, as far as the filter lets it.
    async fn stream(&mut self, response: &Response, mut framing: Framing) -> Result<After, Broken> {
        let chunked = matches!(framing, Framing::Chunked(_))
            || (matches!(framing, Framing::Length(_)) && self.answer.request.is_1_1);
        let mut edits = vec![("content-length".to_owned(), None)];
        if matches!(framing, Framing::Length(_)) {
            let field = if chunked { ("transfer-encoding", "chunked") } else { ("connection", "close") };
            edits.push((field.0.to_owned(), Some(field.1.to_owned())));
        }
        let mut head = self.head_of_edited(response, &edits.swap_remove(0));
        for (name, value) in edits {
            head.truncate(head.len() - 2);
            head.extend_from_slice(format!("{name}: {}\r\n\r\n", value.unwrap_or_default()).as_bytes());
        }
        self.answer.out.send(&head).await?;
        let complete = loop {
            if framing.is_done() {
                break true;
            }
            if self.answer.server.buffer.is_empty() && self.answer.server.fill().await? == 0 {
                break framing == Framing::UntilEnd;
            }
            let Some(content) = self.take(&mut framing) else { break false };
            let Ok(content) = self.exchange.decode(&content) else { break false };
            let content = content.into_owned();
            let out = self.exchange.filter(&content).await?;
            self.send(&out, chunked).await?;
            if self.exchange.is_ended() {
                return self.cut(chunked).await;
            }
        };
        self.finish_stream(complete, chunked, framing == Framing::UntilEnd).await
    }

    async fn finish_stream(&mut self, complete: bool, chunked: bool, until_end: bool) -> Result<After, Broken> {
        let rest = self.exchange.decode_rest();
        let complete = complete && rest.is_ok();
        let mut out = self.exchange.filter(&rest.unwrap_or_default()).await?;
        out.extend(self.exchange.finish().await?);
        self.send(&out, chunked).await?;
        if self.exchange.is_ended() {
            return self.cut(chunked).await;
        }
        self.exchange.facts.upstream_failed |= !complete;
        if !complete {
            return Ok(After::Close);
        }
        if chunked {
            self.answer.out.send(b"0\r\n\r\n").await?;
        }
        Ok(if until_end || !chunked { After::Close } else { After::Next })
    }

    /// All content that has come.
    fn take(&mut self, framing: &mut Framing) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        while !self.answer.server.buffer.is_empty() && !framing.is_done() {
            let bytes = self.answer.server.buffer.bytes();
            let step = framing.step(bytes).ok()?;
            content.extend_from_slice(&bytes[step.data]);
            self.answer.server.buffer.consume(step.used);
        }
        Some(content)
    }

    async fn send(&mut self, content: &[u8], chunked: bool) -> Result<(), Broken> {
        if content.is_empty() {
            return Ok(());
        }
        self.answer.sent += content.len() as u64;
        if !chunked {
            return self.answer.out.send(content).await;
        }
        self.answer.out.send(&chunk(content)).await
    }

    /// The filter has ended the stream: it gets an end that its clients take for one.
    async fn cut(&mut self, chunked: bool) -> Result<After, Broken> {
        let ending = self.exchange.ending().await?;
        self.send(&ending, chunked).await?;
        if chunked {
            self.answer.out.send(b"0\r\n\r\n").await?;
        }
        Ok(After::Cut)
    }

    /// The answer is one document: it goes on when the filter has seen all of it.
    async fn whole(&mut self, response: Response, mut framing: Framing) -> Result<After, Broken> {
        let (mut raw, mut content, mut out) = (Vec::new(), Vec::new(), Vec::new());
        while !framing.is_done() && !self.exchange.is_ended() {
            if self.answer.server.buffer.is_empty() && self.answer.server.fill().await? == 0 {
                if framing == Framing::UntilEnd {
                    break;
                }
                return self.unreadable("its answer ended too early", Again::Yes).await;
            }
            let bytes = self.answer.server.buffer.bytes();
            let Ok(step) = framing.step(bytes) else {
                return self.unreadable("a chunk is malformed", Again::Yes).await;
            };
            raw.extend_from_slice(&bytes[..step.used]);
            let piece = match self.exchange.decode(&bytes[step.data]) {
                Ok(piece) => piece.into_owned(),
                Err(error) => return self.unreadable(&error.to_string(), error.again()).await,
            };
            self.answer.server.buffer.consume(step.used);
            let (length, more) = (content.len() + piece.len(), step.used + 2 * piece.len());
            if let Err((why, again)) = self.exchange.hold(length, self.limit, more) {
                return self.unreadable(why, again).await;
            }
            out.extend(self.exchange.filter(&piece).await?);
            content.extend(piece);
        }
        if !self.exchange.is_ended() {
            match self.exchange.decode_rest() {
                Ok(rest) => {
                    out.extend(self.exchange.filter(&rest).await?);
                    content.extend(rest);
                }
                Err(error) => return self.unreadable(&error.to_string(), error.again()).await,
            }
            out.extend(self.exchange.finish().await?);
        }
        if self.exchange.is_ended() {
            return self.refuse(framing.is_done()).await;
        }
        self.answer.sent += out.len() as u64;
        if out == content {
            self.answer.out.send(response.head.raw()).await?;
            self.answer.out.send(&raw).await?;
        } else {
            self.send_whole(&response, &framing, &out).await?;
        }
        Ok(if framing == Framing::UntilEnd { After::Close } else { After::Next })
    }

    async fn send_whole(&mut self, response: &Response, framing: &Framing, body: &[u8]) -> Result<(), Broken> {
        let is_chunked = matches!(framing, Framing::Chunked(_));
        let length = (!is_chunked).then(|| body.len().to_string());
        let mut message = self.head_of_edited(response, &("content-length".to_owned(), length));
        if is_chunked {
            if !body.is_empty() {
                message.extend(chunk(body));
            }
            message.extend_from_slice(b"0\r\n\r\n");
        } else {
            message.extend_from_slice(body);
        }
        self.answer.out.send(&message).await
    }

    async fn refuse(&mut self, complete: bool) -> Result<After, Broken> {
        let reply = self.exchange.refuse().await?;
        let (close, keep_alive) = reply::persistence(self.answer.request);
        let close = close || !complete;
        self.exchange.facts.status = reply.status;
        self.answer.sent = reply.body.len() as u64;
        self.answer.out.send(&reply::complete(&reply, close, keep_alive)).await?;
        Ok(match (complete, close) {
            (false, _) => After::Cut,
            (true, true) => After::Close,
            (true, false) => After::Next,
        })
    }
}

pub fn chunk(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 24);
    out.extend_from_slice(format!("{:x}\r\n", content.len()).as_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n");
    out
}
